//! One batch of 16 photographs of 320x240 (JPEG) for a canvas of 256x256, on one thread: read and letterboxed, read and
//! changed, and every change by itself on a picture of the canvas's size.

use std::fmt::Write;
use std::path::Path;

use blocks::canvas::Canvas;
use blocks::preprocess::Picture;
use blocks::text::tokenizer::QueryTokenizer;
use candle_core::Device;
use qrnet::Config;
use qrnet::plan::CanvasPlan;
use qrnet_train::augment::{Augment, blur, gamma, hue, jpeg, noise, saturation, soften};
use qrnet_train::batch::Collator;
use qrnet_train::data::video::NoVideo;
use qrnet_train::data::{Origin, Source};
use qrnet_train::feed::Feed;
use qrnet_train::recipe::{Phase, Recipe};
use qrnet_train::scenes::Art;
use qrnet_train::trainer::Setup;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The program's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

const BATCH: usize = 16;
const CANVAS: Canvas = Canvas { width: 256, height: 256 };

/// All that photographs are changed by.
const ALL: Augment = Augment {
    resize: [0.6, 1.6],
    stretch: 0.15,
    jitter: true,
    hue: 15.0,
    gamma: 0.3,
    grey: 0.1,
    soften: 0.3,
    noise: 0.3,
    jpeg: 0.3,
    flip: true,
    translate: true,
    ..Augment::NONE
};

/// Slopes, edges and grain.
fn photograph(width: usize, height: usize, number: usize) -> Picture {
    let value = |x: usize, y: usize, c: usize| {
        let (wave, edge) = ((x * (c + 1) + y * number) % 256, 90 * usize::from((x / 37 + y / 23).is_multiple_of(2)));
        (wave / 2 + edge + (x * 31 + y * 17 + c * 7) % 13) as u8
    };
    let rgb = (0..width * height).flat_map(|at| [0, 1, 2].map(|c| value(at % width, at / width, c))).collect();
    let mut picture = Picture { width, height, rgb };
    noise(&mut picture, 3.0, &mut ChaCha8Rng::seed_from_u64(number as u64));
    picture
}

struct Stage {
    feed: Feed,
    plan: CanvasPlan,
    tokenizer: QueryTokenizer,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn new(augment: Option<Augment>, questions: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut lines = String::new();
        for number in 0..2 * BATCH {
            let picture = photograph(320, 240, number);
            let name = format!("{number}.jpg");
            image::save_buffer(folder.path().join(&name), &picture.rgb, 320, 240, image::ExtendedColorType::Rgb8)
                .expect("saved");
            let target = r#"{"x": 90, "y": 60, "w": 80, "h": 70}"#;
            writeln!(lines, r#"{{"image": "{name}", "phrase": "the circle", "box": {target}}}"#).expect("written");
        }
        let file = folder.path().join("list.jsonl");
        std::fs::write(&file, lines).expect("written");
        let text = "name = \"b\"\nseed = 1\nmodel = \"given\"\ntokenizer = \"words\"\nsteps = 100\nbatch = 16\n\
            [optimiser]\nrate = 1e-3\nweight_decay = 0.0\n[[phase]]\n[phase.scenes]\n";
        let mut recipe = Recipe::from_toml(text, "recipe").expect("a recipe");
        let lists = vec![Source::Jsonl { name: None, file }];
        recipe.phase = vec![Phase { until: 1.0, lists, questions: Some(questions), ..Phase::default() }];
        recipe.augment = augment;
        let config =
            Config::from_toml(include_str!("../../../configs/model/sprites-tiny.toml"), "sizes").expect("valid");
        let plan = CanvasPlan::new(&config, CANVAS, &Device::Cpu).expect("a plan");
        let origin = Origin { base: Path::new(""), video: &NoVideo, dense: true };
        let art = Art::load(Path::new(""), &[]).expect("shapes").into();
        let feed = Feed::new(&recipe, origin, &art).expect("a feed");
        let tokenizer = Setup::new(recipe, config, Path::new("")).expect("a setup").tokenizer;
        Self { feed, plan, tokenizer, _folder: folder }
    }

    fn bench(&self, bencher: divan::Bencher) {
        let mut collator = Collator::new(&self.plan, &self.tokenizer);
        let mut number = 0;
        bencher.counter(divan::counter::ItemsCount::new(BATCH)).bench_local(|| {
            number += 1;
            self.feed.prepare(number % 90, &mut collator).expect("a batch")
        });
    }
}

#[divan::bench]
fn batch_as_it_is(bencher: divan::Bencher) {
    Stage::new(None, 1).bench(bencher);
}

#[divan::bench]
fn batch_as_the_reference_changes_it(bencher: divan::Bencher) {
    Stage::new(Some(Augment::default()), 1).bench(bencher);
}

#[divan::bench]
fn batch_changed(bencher: divan::Bencher) {
    Stage::new(Some(ALL), 1).bench(bencher);
}

#[divan::bench]
fn batch_of_four_pictures_with_four_questions(bencher: divan::Bencher) {
    Stage::new(Some(ALL), 4).bench(bencher);
}

#[divan::bench(args = ["hue", "gamma", "grey", "soften", "noise", "jpeg", "blur"])]
fn change(bencher: divan::Bencher, name: &str) {
    let picture = photograph(CANVAS.width, CANVAS.height, 1);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    bencher.with_inputs(|| picture.clone()).bench_local_values(|mut picture| {
        match name {
            "hue" => hue(&mut picture, 10.0),
            "gamma" => gamma(&mut picture, 1.2),
            "grey" => saturation(&mut picture, 0.0),
            "soften" => soften(&mut picture, 1.0),
            "noise" => noise(&mut picture, 8.0, &mut rng),
            "jpeg" => jpeg(&mut picture, 60).expect("a JPEG"),
            _ => blur(&mut picture, 1.0),
        }
        picture
    });
}
