//! Training with a frozen text tower: features of a phrase are computed once, and nothing else changes.

use std::collections::HashSet;

use blocks::pass::Pass;
use candle_core::Device;
use qrnet::plan::CanvasPlan;
use qrnet::{Config, QrNet, weights};
use qrnet_train::features::Features;
use qrnet_train::trainer::End;

use crate::support::{batch, bits, config, recipe, run, trainer, values};

fn frozen() -> Config {
    let mut config = config();
    config.bert.frozen = true;
    config
}

#[test]
fn it_trains_and_reads_every_phrase_once() {
    let (config, mut recipe) = (frozen(), recipe());
    (recipe.steps, recipe.batch, recipe.ema) = (9, 4, 0.5);
    recipe.phase[0].examples = Some(6);
    let start = trainer(&recipe, &config);
    let out = tempfile::tempdir().expect("a folder");
    let (trained, end) = run(&recipe, &config, out.path(), None).expect("runs");
    assert_eq!(end, End::Finished);
    let phrases: HashSet<Vec<u32>> =
        batch(&recipe, &config, 6).ids.chunks(config.max_query_len).map(<[u32]>::to_vec).collect();
    assert_eq!(trained.encoded(), Some(phrases.len() as u64), "36 examples were seen");
    assert!(!trained.variables().keys().any(|name| name.starts_with("textmodel.")), "the tower is no variable");
    let (before, after) = (start.weights(), trained.weights());
    for (name, weight) in &after {
        let same = bits(weight) == bits(&before[name]);
        if name.starts_with("textmodel.") {
            assert!(same, "{name} stays as it is, and is part of the model");
        }
    }
    for name in ["text_proj.weight", "bbox_embed.layers.2.bias", "visumodel.neck.lateral_convs.0.conv.weight"] {
        assert_ne!(bits(&after[name]), bits(&before[name]), "{name} learns");
    }
    assert_eq!(trainer(&recipe, &crate::support::config()).encoded(), None, "a tower that learns keeps nothing");
}

#[test]
fn kept_features_give_the_numbers_of_the_whole_forward_pass() {
    let (config, recipe) = (frozen(), recipe());
    let batch = batch(&recipe, &config, 6);
    let mut trainer = trainer(&recipe, &config);
    let (first, again) = (trainer.losses(&batch, 0).expect("a loss"), trainer.losses(&batch, 0).expect("a loss"));
    assert_eq!(bits(&first.total), bits(&again.total), "what was kept is what was computed");
    assert_eq!(trainer.encoded().expect("a count"), {
        let phrases: HashSet<&[u32]> = batch.ids.chunks(config.max_query_len).collect();
        phrases.len() as u64
    });

    // The same weights in a tower that could learn, all phrases in one pass.
    let plain = crate::support::config();
    let (vars, vb) = weights::variables(&plain, &trainer.weights(), &Device::Cpu).expect("variables");
    let model = QrNet::new(&plain, &vb).expect("builds");
    let plan = CanvasPlan::new(&plain, plain.canvas, &Device::Cpu).expect("a plan");
    let inputs = batch.inputs(&Device::Cpu).expect("inputs");
    let whole = model
        .forward(&inputs.image, &inputs.image_ignore, &inputs.ids, &inputs.text_ignore, &plan, &mut Pass::eval())
        .expect("runs");
    let (l1, giou) = (first.terms[0], first.terms[1]);
    let targets: Vec<_> = batch.targets.iter().flatten().copied().collect();
    let present: Vec<u32> = (0..6).filter(|&i| batch.targets[i as usize].is_some()).collect();
    let rows = candle_core::Tensor::from_slice(&present, present.len(), &Device::Cpu).expect("rows");
    let boxes = whole.boxes.index_select(&rows, 0).expect("boxes");
    let loss = qrnet_train::loss::box_loss(&boxes, &targets).expect("a loss");
    let found = f64::from(loss.to_scalar::<f32>().expect("a number"));
    assert!((found - l1 - giou).abs() < 1e-5, "{found} in one pass, {} with kept features", l1 + giou);
    // And the gradients of everything but the tower.
    let (kept, whole) = (first.total.backward().expect("backward"), loss.backward().expect("backward"));
    assert!(vars.iter().any(|(name, var)| name.starts_with("textmodel.") && whole.get(var).is_some()));
    let text = trainer.weights();
    assert!(text.iter().filter(|(name, _)| name.starts_with("textmodel.")).all(|(_, t)| kept.get(t).is_none()));
}

#[test]
fn gradients_are_those_of_a_tower_without_gradient() {
    let (config, mut recipe) = (frozen(), recipe());
    recipe.loss = qrnet_train::objective::Weights::default();
    let batch = batch(&recipe, &config, 6);
    let (mut kept, mut plain) = (trainer(&recipe, &config), trainer(&recipe, &crate::support::config()));
    let grads = |trainer: &mut qrnet_train::trainer::Trainer| {
        trainer.losses(&batch, 0).expect("a loss").total.backward().expect("backward")
    };
    let (a, b) = (grads(&mut kept), grads(&mut plain));
    let mut compared = 0;
    for (name, var) in kept.variables() {
        let other = &plain.variables()[name];
        let (Some(a), Some(b)) = (a.get(var), b.get(other)) else {
            assert!(a.get(var).is_none() && b.get(other).is_none(), "{name}");
            continue;
        };
        for (a, b) in values(a).into_iter().zip(values(b)) {
            assert!((a - b).abs() <= 1e-5 + 1e-3 * b.abs(), "{name}: {a} with kept features, {b} without");
        }
        compared += 1;
    }
    assert!(compared > 50, "{compared} tensors");
}

#[test]
fn memory_is_bounded_and_the_numbers_are_the_same() {
    let (config, recipe) = (frozen(), recipe());
    let batch = batch(&recipe, &config, 6);
    let trainer = trainer(&recipe, &config);
    let model = QrNet::new(&config, &weights::builder(&trainer.weights(), &Device::Cpu)).expect("builds");
    let row = config.max_query_len * config.bert.hidden_size * 4;
    let distinct = batch.ids.chunks(config.max_query_len).collect::<HashSet<_>>().len() as u64;
    let mut results = Vec::new();
    for (limit, calls) in [(usize::MAX, distinct), (2 * row, distinct + distinct - 2), (0, 12)] {
        let mut features = Features::with_limit(limit);
        let all = [(); 2].map(|()| bits(&features.of(&model.query, &batch, &Device::Cpu).expect("features")));
        assert_eq!(all[0], all[1]);
        if distinct == 6 || limit != 2 * row {
            assert_eq!(features.encoded(), calls, "with room for {limit} bytes");
        }
        results.push(all[0].clone());
    }
    assert!(results.iter().all(|result| *result == results[0]));
    // All phrases at once, as without keeping, up to the order of additions.
    let inputs = batch.inputs(&Device::Cpu).expect("inputs");
    let whole = model.query.features(&inputs.ids, &inputs.text_ignore, &mut Pass::eval()).expect("features");
    for (a, b) in values(&whole).into_iter().zip(&results[0]) {
        assert!((a - f32::from_bits(*b)).abs() < 1e-5);
    }
}
