//! Every intermediate tensor of the plain forward pass.

use blocks::pass::Pass;
use candle_core::Device;
use qrnet::plan::CanvasPlan;
use qrnet::{QrNet, weights};
use std::io::Write;

use crate::support::{BOX_LIMIT, FEATURE_LIMIT, cases, config, difference, path, standard};

fn model(file: &str) -> QrNet {
    let config = config();
    let (tensors, _) = weights::load(&path(file), &config, &Device::Cpu).expect("the fixture's weights load");
    QrNet::new(&config, &weights::builder(&tensors, &Device::Cpu)).expect("the model builds")
}

#[test]
fn every_golden_tensor_matches() {
    let (config, model) = (config(), model("tiny.safetensors"));
    let mut worst = Vec::new();
    let mut compared = 0;
    for case in cases() {
        let plan = CanvasPlan::new(&config, case.canvas, &Device::Cpu).expect("a valid canvas");
        let mut pass = Pass::eval().with_taps();
        model
            .forward(&case.image, &case.image_ignore, &case.ids, &case.text_ignore, &plan, &mut pass)
            .expect("the forward pass runs");
        let ours = pass.into_taps();
        for (name, golden) in &case.golden {
            let tensor = ours.get(name).unwrap_or_else(|| panic!("case {}: {name} is not computed", case.name));
            let limit = if name == "pred_box" { BOX_LIMIT } else { FEATURE_LIMIT };
            let found = difference(tensor, golden);
            assert!(found <= limit, "case {}: {name} differs by {found}, allowed {limit}", case.name);
            worst.push((found, format!("{}.{name}", case.name)));
            compared += 1;
        }
    }
    assert!(compared > 0, "the fixture holds no golden tensor");
    assert!(!standard() || compared == 172, "{compared} golden tensors, not 172");
    worst.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!("{compared} tensors compared; worst: {:?}", &worst[..worst.len().min(3)]);
}

#[test]
fn trainer_checkpoint_gives_the_same_box() {
    if !path("tiny_checkpoint.pth").exists() {
        writeln!(std::io::stderr(), "SKIPPED: {} is not there", path("tiny_checkpoint.pth").display())
            .expect("written");
        return;
    }
    let config = config();
    let (from_safetensors, from_pth) = (model("tiny.safetensors"), model("tiny_checkpoint.pth"));
    for case in cases() {
        let plan = CanvasPlan::new(&config, case.canvas, &Device::Cpu).expect("a valid canvas");
        let boxes = |model: &QrNet| {
            model
                .forward(&case.image, &case.image_ignore, &case.ids, &case.text_ignore, &plan, &mut Pass::eval())
                .expect("runs")
                .boxes
        };
        assert_eq!(difference(&boxes(&from_pth), &boxes(&from_safetensors)), 0.0, "case {}", case.name);
    }
}
