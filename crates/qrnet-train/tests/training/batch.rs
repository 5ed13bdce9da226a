//! What the losses are told of a picture, and what averaged weights are the average of.

use std::sync::Arc;

use blocks::preprocess::{Picture, Rect};
use candle_core::Device;
use qrnet::plan::CanvasPlan;
use qrnet_train::batch::{Collator, LABEL_LEVELS, Prepared};
use qrnet_train::checkpoint::{self, Checkpoint};
use qrnet_train::data::{Example, Labels, ObjectLabel};
use qrnet_train::recipe::Every;
use qrnet_train::trainer::Setup;

use crate::support::{config, recipe, run, trainer, values};

/// A picture of 64x32 whose right half, from column 40, shows one object; it stands in the middle of the canvas.
fn wide() -> (CanvasPlan, Prepared) {
    let (width, height, edge) = (64, 32, 40);
    let instance = (0..width * height).map(|at| u8::from(at % width >= edge)).collect();
    let labels = Labels { instance, objects: vec![ObjectLabel { class: 7, colour: 3 }] };
    let example = Example {
        picture: Arc::new(Picture { width, height, rgb: vec![90; 3 * width * height] }),
        phrase: "the ring".into(),
        target: Some(Rect { x0: edge as f64, y0: 0.0, x1: width as f64, y1: height as f64 }),
        source: "test".into(),
        kind: "name".into(),
        labels: Some(Arc::new(labels)),
        moment: None,
    };
    let absent = Example { target: None, labels: None, ..example.clone() };
    let config = config();
    let setup = Setup::new(recipe(), config.clone(), std::path::Path::new("")).expect("a setup");
    let plan = CanvasPlan::new(&config, config.canvas, &Device::Cpu).expect("a plan");
    let batch = Collator::new(&plan, &setup.tokenizer).collate(&[example, absent]).expect("a batch");
    (plan, batch)
}

#[test]
fn cells_know_how_much_of_them_the_box_covers() {
    let (plan, batch) = wide();
    // The box covers columns 40..64 and rows 16..48 of the canvas of 64x64; cells of 8 and of 32 pixels.
    let fine = batch.coverage(&plan, 1);
    let expected = |x: usize, y: usize| f32::from(u8::from(x >= 5 && (2..6).contains(&y)));
    let cells: Vec<f32> = (0..64).map(|cell| expected(cell % 8, cell / 8)).collect();
    assert_eq!(fine[..64], cells);
    assert_eq!(batch.coverage(&plan, 3)[..4], [0.0, 0.375, 0.0, 0.375]);
    // One cell for the whole canvas: the box's share of it.
    assert_eq!(batch.coverage(&plan, 4), [0.1875, 0.0]);
    assert!(fine[64..].iter().all(|share| *share == 0.0), "nothing is covered where nothing is meant");
}

#[test]
fn cells_are_labelled_by_what_their_centre_shows() {
    let (_, batch) = wide();
    for (slot, level) in LABEL_LEVELS.into_iter().enumerate() {
        let (side, stride) = (64 >> (level + 2), 4 << level);
        for cell in 0..side * side {
            let (x, y) = (cell % side * stride + stride / 2, cell / side * stride + stride / 2);
            let shown = x >= 40 && (16..48).contains(&y);
            let found = (batch.classes[slot][cell], batch.colours[slot][cell]);
            assert_eq!(found, if shown { (7, 3) } else { (0, 0) }, "level {level}, centre ({x}, {y})");
        }
        let unknown = &batch.classes[slot][side * side..];
        assert!(unknown.iter().all(|class| *class == qrnet_train::batch::UNLABELLED), "no labels, no lesson");
    }
}

#[test]
fn averaged_weights_keep_what_they_should_of_the_step_before() {
    let (config, mut recipe) = (config(), recipe());
    (recipe.steps, recipe.ema) = (12, 0.5);
    recipe.every = Every { checkpoint: 1, keep: 12, ..Every::default() };
    let out = tempfile::tempdir().expect("a folder");
    run(&recipe, &config, out.path(), None).expect("runs");
    let name = "vl_transformer.encoder.layers.0.linear1.weight";
    let mut average = values(&trainer(&recipe, &config).weights()[name]);
    for (step, path) in checkpoint::list(out.path()).expect("checkpoints") {
        let saved = Checkpoint::load(&path, &Device::Cpu).expect("whole");
        // Early averages forget faster: 2/11 after the first step, never above the recipe's half.
        let keep = 0.5f64.min((1.0 + step as f64) / (10.0 + step as f64)) as f32;
        let weights = values(&saved.tensors[&format!("model.{name}")]);
        let stored = values(&saved.tensors[&format!("ema.{name}")]);
        for ((average, weight), stored) in average.iter_mut().zip(weights).zip(stored) {
            *average = keep * *average + (1.0 - keep) * weight;
            assert!((*average - stored).abs() < 1e-6, "step {step}: {average}, stored {stored}");
            *average = stored;
        }
    }
}
