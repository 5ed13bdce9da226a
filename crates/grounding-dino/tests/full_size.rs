//! The full size: a model as large as IDEA's tiny with drawn weights, against `transformers`. Where it lies says
//! `GROUNDING_DINO_FULL`; `tests/fixtures/make.py --full FOLDER` makes it. `make test-slow` does both.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

use blocks::canvas::{Canvas, Grid};
use blocks::pass::Pass;
use blocks::preprocess::{Letterboxed, MEAN, STD, Transform};
use candle_core::{DType, Device, Tensor};
use grounding_dino::{CompiledQuery, FrameModel, Grounder, LEAST, Weights};

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).and_then(|t| t.flatten_all()?.to_vec1()).expect("readable")
}

/// Largest difference, in shares of the largest value: tensors of a network this deep are large.
fn difference(ours: &Tensor, theirs: &Tensor) -> f32 {
    let (ours, theirs) = (values(ours), values(theirs));
    assert_eq!(ours.len(), theirs.len());
    let largest = theirs.iter().fold(1.0, |largest: f32, value| largest.max(value.abs()));
    ours.iter().zip(&theirs).fold(0.0, |most: f32, (a, b)| most.max((a - b).abs())) / largest
}

#[test]
fn full_size_is_the_references() {
    let folder =
        std::env::var_os("GROUNDING_DINO_FULL").map(PathBuf::from).expect("GROUNDING_DINO_FULL names a folder");
    let began = Instant::now();
    let grounder = Grounder::load(&folder, &Device::Cpu).expect("loads");
    println!("loaded in {:.1} s", began.elapsed().as_secs_f64());
    let golden: HashMap<String, Tensor> =
        candle_core::safetensors::load(folder.join("golden.safetensors"), &Device::Cpu).expect("golden tensors");
    let phrases: Vec<String> =
        serde_json::from_slice(&std::fs::read(folder.join("phrases.json")).expect("readable")).expect("phrases");
    let queries: Vec<CompiledQuery> =
        phrases.iter().map(|phrase| grounder.compile(phrase).expect("compiles")).collect();
    let queries: Vec<&CompiledQuery> = queries.iter().collect();

    let (_, height, width) = golden["picture"].dims3().expect("a picture");
    let plane = height * width;
    let normal = |(i, byte): (usize, f32)| (byte / 255.0 - MEAN[i / plane]) / STD[i / plane];
    let pixels: Vec<f32> = values(&golden["picture"]).into_iter().enumerate().map(normal).collect();
    let image = Tensor::from_slice(&pixels, (1, 3, height, width), &Device::Cpu).expect("an image");
    let vb = Weights::open(&folder).expect("weights").into_builder(&Device::Cpu);
    let frame = FrameModel::from_builder(grounder.config(), &vb).expect("builds");
    let size = Grid { h: height, w: width };
    let plan = frame.plan(size, size).expect("a plan");
    let text = grounder.text_of(&queries).expect("a text");
    let mut pass = Pass::eval().with_taps();
    let seen = frame.look(&image, &plan, &mut pass).expect("looks");
    frame.find(&seen, &text, &plan, &mut pass).expect("finds");
    let taps = pass.into_taps();
    for name in [
        "map0",
        "map1",
        "map2",
        "level3",
        "text",
        "encoder0.vision",
        "encoder5.vision",
        "encoder5.text",
        "proposal_scores",
    ] {
        let found = difference(&taps[name], &golden[name]);
        println!("{name}: {found:.1e}");
        assert!(found < 1e-5, "{name} differs by {found}");
    }
    // In whatever order: the same proposals, with the same scores and boxes.
    let order = |picked: &Tensor| -> HashMap<usize, usize> {
        values(picked).into_iter().enumerate().map(|(slot, token)| (token as usize, slot)).collect()
    };
    let (ours, theirs) = (order(&taps["picked"]), order(&golden["picked"]));
    let columns = text.spans.iter().map(Vec::len).sum::<usize>() + 4;
    let [logits, golden_logits, boxes, golden_boxes] =
        [&taps["logits"], &golden["logits"], &taps["boxes"], &golden["boxes"]].map(values);
    assert_eq!(logits.len(), ours.len() * columns);
    assert_eq!(golden_logits.len(), theirs.len() * columns);
    let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
    let mut most = [0.0_f32; 2];
    for (token, theirs) in theirs {
        let ours = *ours.get(&token).unwrap_or_else(|| panic!("token {token} was not picked"));
        for i in 0..columns {
            let (a, b) = (logits[ours * columns + i], golden_logits[theirs * columns + i]);
            most[0] = most[0].max((sigmoid(a) - sigmoid(b)).abs());
        }
        for i in 0..4 {
            most[1] = most[1].max((boxes[4 * ours + i] - golden_boxes[4 * theirs + i]).abs());
        }
    }
    println!("scores differ by {:.1e}, boxes by {:.1e}", most[0], most[1]);
    assert!(most.iter().all(|difference| *difference < 1e-5), "{most:?}");

    let transform = Transform::pasted(width, height, 0, 0, Canvas { width, height });
    let picture = Letterboxed { pixels, transform };
    // What frames run, compiled and folded: every box that comes out is one of the reference's, with its score.
    let found = grounder.ground_each(&[&picture], &[&queries]).expect("grounds");
    let rows = golden_logits.chunks_exact(columns).zip(golden_boxes.as_chunks::<4>().0);
    let mut furthest = 0.0_f32;
    assert_eq!(found[0].len(), text.spans.len());
    for (findings, span) in found[0].iter().zip(&text.spans) {
        let best = |logits: &[f32]| sigmoid(span.iter().map(|&word| logits[word]).fold(f32::NEG_INFINITY, f32::max));
        let theirs: Vec<(f32, &[f32; 4])> = rows.clone().map(|(logits, own)| (best(logits), own)).collect();
        let count = theirs.iter().filter(|(score, _)| *score >= LEAST).count().max(1);
        assert!(findings.found.len().abs_diff(count) <= 1, "{} boxes, expected {count}", findings.found.len());
        for finding in &findings.found {
            let score = finding.score.expect("a score");
            let apart = |(theirs, own): &(f32, &[f32; 4])| {
                let sides = own.iter().zip(finding.on_canvas).map(|(a, b)| (a - b).abs());
                sides.fold((theirs - score).abs(), f32::max)
            };
            furthest = furthest.max(theirs.iter().map(apart).fold(f32::INFINITY, f32::min));
        }
    }
    println!("packed weights: boxes and scores differ by {furthest:.1e}");
    assert!(furthest < 1e-5, "{furthest}");
    for round in 0..3 {
        let began = Instant::now();
        let seen = frame.look(&image, &plan, &mut Pass::eval()).expect("looks");
        frame.find(&seen, &text, &plan, &mut Pass::eval()).expect("finds");
        let plain = began.elapsed().as_secs_f64();
        let began = Instant::now();
        let found = grounder.ground_each(&[&picture], &[&queries]).expect("grounds");
        let took = began.elapsed().as_secs_f64();
        println!("{width}x{height}, round {round}: {took:.2} s, on tensors {plain:.2} s");
        assert_eq!(found[0].len(), queries.len());
    }
}
