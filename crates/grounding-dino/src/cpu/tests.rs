//! Packed weights against tensor operations, on the fixtures' models.

use std::path::PathBuf;

use blocks::canvas::Canvas;
use blocks::pass::Pass;
use blocks::preprocess::{Letterboxed, Transform};
use candle_core::Device;
use rand::RngExt;

use super::*;
use crate::decoder::sigmoid;
use crate::{CompiledQuery, FrameModel, Grounder, ModelDir, Weights};

/// Largest difference of scores and boxes, both 0..1.
const LIMIT: f32 = 1e-5;
const MODELS: [&str; 4] = ["idea-7", "idea-12", "mm-7", "mm-12"];
const PHRASES: [&str; 3] = ["the woman with the red umbrella", "a red car", "cats"];

struct Both {
    name: &'static str,
    packed: CpuFrame,
    plain: FrameModel,
    grounder: Grounder,
}

impl Both {
    fn new(name: &'static str) -> Self {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        let config = ModelDir::open(&dir).expect("a model").config().clone();
        let vb = Weights::open(&dir).expect("weights").into_builder(&Device::Cpu);
        Self {
            name,
            packed: CpuFrame::new(&config, &vb).expect("builds"),
            plain: FrameModel::from_builder(&config, &vb).expect("builds"),
            grounder: Grounder::load(&dir, &Device::Cpu).expect("loads"),
        }
    }

    fn ground(&self, picture: &[f32], plan: &Geometry, texts: &[&Words]) -> Result<Vec<Detected>> {
        let Grid { h, w } = plan.plan.image;
        let transform = Transform::pasted(w, h, 0, 0, Canvas { width: w, height: h });
        let picture = Letterboxed { pixels: picture.to_vec(), transform };
        let mut found = Vec::new();
        let view = View::new(&picture).map_err(candle_core::Error::wrap)?;
        self.packed.ground(view, plan, texts, &mut |number, detected| {
            assert_eq!(number, found.len());
            found.push(detected.clone());
        })?;
        Ok(found)
    }

    fn words(&self, phrases: &[&str]) -> Words {
        self.packed.words(&self.text(phrases)).expect("words")
    }

    fn text(&self, phrases: &[&str]) -> Text {
        let queries: Vec<CompiledQuery> =
            phrases.iter().map(|phrase| self.grounder.compile(phrase).expect("compiles")).collect();
        self.grounder.text_of(&queries.iter().collect::<Vec<_>>()).expect("a text")
    }

    fn agree(&self, image: Grid, shown: Grid, phrases: &[&str]) {
        let what = format!("{}, {image:?} of which {shown:?}, {} phrases", self.name, phrases.len());
        let (picture, text) = (picture(image, shown, "agree"), self.text(phrases));
        let plan = self.packed.plan(image, shown).expect("a plan");
        let words = self.packed.words(&text).expect("words");
        let found = self.ground(&picture, &plan, &[&words]).expect("grounds");
        let tensor = Tensor::from_slice(&picture, (1, 3, image.h, image.w), &Device::Cpu).expect("a picture");
        let plan = self.plain.plan(image, shown).expect("a plan");
        let mut pass = Pass::eval();
        let seen = self.plain.look(&tensor, &plan, &mut pass).expect("looks");
        let expected = self.plain.find(&seen, &text, &plan, &mut pass).expect("finds");
        assert_eq!((found.len(), found[0].boxes.len()), (1, expected.boxes.len()), "{what}");
        let both = found[0].boxes.iter().flatten().zip(expected.boxes.iter().flatten());
        let scores = found[0].logits.iter().zip(&expected.logits);
        let scores = scores.map(|(a, b)| (sigmoid(*a) - sigmoid(*b)).abs());
        let most = both
            .map(|(a, b)| (a - b).abs())
            .chain(scores)
            .fold(0.0, |most: f32, apart| if apart.is_nan() { f32::INFINITY } else { most.max(apart) });
        assert!(most < LIMIT, "{what}: {most}");
        // The comparison means something: boxes are not alike.
        let columns = expected.boxes.iter().map(|own| own[0]);
        let (low, high) = columns.fold((1.0_f32, 0.0_f32), |(low, high), x| (low.min(x), high.max(x)));
        assert!(high - low > 0.05, "{what}: boxes from {low} to {high}");
    }
}

/// Noise in the top left corner, and zeros.
fn picture(image: Grid, shown: Grid, seed: &str) -> Vec<f32> {
    let mut rng = blocks::seeded::stream(7, seed);
    let mut of = |i: usize| {
        let (y, x) = (i / image.w % image.h, i % image.w);
        if y < shown.h && x < shown.w { rng.random::<f32>() * 4.0 - 2.0 } else { 0.0 }
    };
    (0..3 * image.len()).map(&mut of).collect()
}

#[test]
fn packed_is_plain() {
    for name in MODELS {
        let both = Both::new(name);
        // Whole windows and patches, neither, padding, and a smaller picture behind a larger one.
        for ((h, w), shown) in [
            ((64, 96), (64, 96)),
            ((101, 75), (101, 75)),
            ((128, 96), (90, 96)),
            ((96, 128), (70, 61)),
            ((33, 47), (33, 47)),
        ] {
            let (image, shown) = (Grid { h, w }, Grid { h: shown.0, w: shown.1 });
            for count in [3, 1] {
                both.agree(image, shown, &PHRASES[..count]);
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let both = Both::new("mm-7");
    let image = Grid { h: 120, w: 160 };
    let (picture, plan) = (picture(image, image, "threads"), both.packed.plan(image, image).expect("a plan"));
    let answers = |threads: usize| -> (Vec<u32>, Vec<u32>) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let text = both.words(&PHRASES);
        let found = pool.install(|| both.ground(&picture, &plan, &[&text])).expect("grounds");
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
        (bits(found[0].boxes.as_flattened()), bits(&found[0].logits))
    };
    let one = answers(1);
    assert!(one.0.len() > 10, "{} numbers of boxes", one.0.len());
    for threads in [2, 3, 7] {
        assert_eq!(answers(threads), one, "{threads} threads");
    }
}

#[test]
fn texts_of_one_picture_answer_as_they_do_alone() {
    let both = Both::new("idea-12");
    let image = Grid { h: 64, w: 96 };
    let (picture, plan) = (picture(image, image, "texts"), both.packed.plan(image, image).expect("a plan"));
    let texts = [both.words(&PHRASES), both.words(&PHRASES[1..2])];
    let together = both.ground(&picture, &plan, &[&texts[0], &texts[1]]).expect("grounds");
    for (text, together) in texts.iter().zip(&together) {
        let alone = both.ground(&picture, &plan, &[text]).expect("grounds");
        assert_eq!((&alone[0].boxes, &alone[0].logits), (&together.boxes, &together.logits));
    }
    assert_ne!(together[0].boxes, together[1].boxes);
}

#[test]
fn a_damaged_picture_is_told_and_does_not_spoil_the_next() {
    let both = Both::new("idea-7");
    let image = Grid { h: 64, w: 96 };
    let (mut damaged, plan) = (picture(image, image, "nan"), both.packed.plan(image, image).expect("a plan"));
    damaged[1000] = f32::NAN;
    let text = both.words(&PHRASES[..1]);
    let found = both.ground(&damaged, &plan, &[&text]).expect("grounds");
    assert!(found[0].logits.iter().any(|logit| logit.is_nan()));
    both.agree(image, image, &PHRASES[..1]);
    assert!(both.ground(&damaged[1..], &plan, &[&text]).is_err());
}
