//! The built-in model with a backbone in bf16 and in bytes beside the same in f32; and all on every vector unit of the
//! processor.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use blocks::ops::kernel::{VECTOR_UNIT, VectorUnit};
use blocks::preprocess::{Letterboxed, Letterboxer, Picture, RgbView};
use candle_core::Device;
use qrnet::{CompiledQuery, Grounder, Grounding, Placement, Precision};
use rand::RngExt;

/// Set in child processes.
const CHILD: &str = "QRNET_VECTOR_UNIT_CHILD";
const QUERIES: [&str; 4] = ["a woman in a black coat", "a car", "the man on the left", "a bicycle"];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn load(precision: Precision) -> Grounder {
    let place = Placement { device: Device::Cpu, precision };
    Grounder::load(&root().join("models/spotter-base"), place).expect("loads")
}

/// Parts of a photographed scene, and drawn ones: blocks of colour with noise.
fn pictures(grounder: &Grounder) -> Vec<Letterboxed> {
    let photograph = Picture::open(&root().join("examples/camera-finetune/woman.jpg")).expect("a picture");
    let stride = 3 * photograph.width;
    let mut letterboxer = Letterboxer::default();
    let mut pictures = Vec::new();
    let mut add = |width: usize, height: usize, stride: usize, rgb: &[u8]| {
        let view = RgbView::new(width, height, stride, rgb).expect("a picture");
        pictures.push(letterboxer.letterbox(&view, grounder.canvas_for(width, height)).expect("letterboxed"));
    };
    let (width, height) = (photograph.width / 3, photograph.height / 2);
    for (column, row) in (0..6).map(|i| (i % 3, i / 3)) {
        let first = row * height * stride + 3 * column * width;
        add(width, height, stride, &photograph.rgb[first..]);
    }
    for (number, (width, height)) in [(320, 192), (256, 256), (640, 360), (200, 300)].into_iter().enumerate() {
        let mut rng = blocks::seeded::stream(3, &format!("picture {number}"));
        let colours: Vec<[u8; 3]> = (0..48).map(|_| rng.random()).collect();
        let mut rgb = Vec::with_capacity(3 * width * height);
        for (x, y) in (0..width * height).map(|i| (i % width, i / width)) {
            let colour = colours[8 * (6 * y / height) + 8 * x / width];
            rgb.extend(colour.map(|value| value.saturating_add(rng.random_range(0..24))));
        }
        add(width, height, 3 * width, &rgb);
    }
    pictures
}

/// What is found of every query in every picture.
fn findings(grounder: &Grounder) -> Vec<Grounding> {
    let queries: Vec<CompiledQuery> = QUERIES.iter().map(|text| grounder.compile(text).expect("compiles")).collect();
    let queries: Vec<&CompiledQuery> = queries.iter().collect();
    let pictures = pictures(grounder);
    let each = pictures.iter().flat_map(|picture| grounder.ground_all(&[picture], &queries).expect("grounds"));
    each.flatten().collect()
}

#[test]
fn a_backbone_in_fewer_bytes_finds_what_one_in_f32_finds() {
    let exact = findings(&load(Precision::F32));
    near(&exact, Precision::Bf16, (0.02, 0.9, 0.95));
    near(&exact, Precision::Int8, (0.05, 0.7, 0.85));
}

/// How far presence may be apart, and how little boxes of what is claimed may overlap, the least and in the mean.
#[expect(clippy::print_stdout, reason = "the numbers behind the limits, for the log")]
fn near(exact: &[Grounding], precision: Precision, (apart_most, overlap_least, overlap_mean): (f32, f64, f64)) {
    let bytes = findings(&load(precision));
    let overlaps: Vec<f64> = exact.iter().zip(&bytes).map(|(a, b)| a.rect.overlap(&b.rect)).collect();
    let presence = |grounding: &Grounding| grounding.presence.expect("a presence head");
    let apart: Vec<f32> = exact.iter().zip(&bytes).map(|(a, b)| (presence(a) - presence(b)).abs()).collect();
    // Where nothing is, a box means little.
    let claimed: Vec<f64> =
        overlaps.iter().zip(exact).filter(|(_, found)| presence(found) > 0.2).map(|(overlap, _)| *overlap).collect();
    let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let most = apart.iter().copied().fold(0.0, f32::max);
    println!(
        "{precision:?}: overlap of boxes: mean {:.4}, least {:.4}; of {} that are claimed: mean {:.4}, least {:.4}; presence: mean {:.5}, \
         most {most:.5} apart",
        mean(&overlaps),
        least(&overlaps),
        claimed.len(),
        mean(&claimed),
        least(&claimed),
        apart.iter().sum::<f32>() / apart.len() as f32,
    );
    assert!(claimed.len() >= 4, "too few are found for a comparison");
    assert!(most > 0.0 && most < apart_most, "presence is {most} apart");
    assert!(least(&claimed) > overlap_least && mean(&claimed) > overlap_mean, "boxes lie apart: {claimed:?}");
}

/// Bits of every answer.
fn bits(grounder: &Grounder) -> String {
    let numbers = findings(grounder).into_iter().flat_map(|found| found.raw.into_iter().chain(found.presence));
    numbers.map(|number| number.to_bits().to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_vector_unit_gives_the_same_bytes() {
    if std::env::var_os(CHILD).is_some() {
        for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
            println!("{CHILD} {precision:?} {}", bits(&load(precision)));
        }
        return;
    }
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for unit in VectorUnit::ALL.into_iter().filter(|unit| unit.available()) {
        let output = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "every_vector_unit_gives_the_same_bytes", "--nocapture"])
            .env(CHILD, "1")
            .env(VECTOR_UNIT, unit.name())
            .output()
            .expect("the child runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{unit:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        let answers: Vec<&str> = text.lines().filter_map(|line| line.split_once(CHILD)).map(|(_, rest)| rest).collect();
        assert_eq!(answers.len(), 3, "{unit:?}: {text}");
        // Without one, multiplication and addition are rounded apart.
        for answer in answers.into_iter().filter(|_| unit > VectorUnit::None) {
            let (precision, bits) = answer.trim().split_once(' ').expect("precision and bits");
            let first = known.entry(precision.to_owned()).or_insert_with(|| bits.to_owned());
            assert!(first == bits, "{unit:?} gives other bytes in {precision}");
        }
    }
}
