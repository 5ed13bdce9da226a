//! The convolutional backbone and what stands on it, against an independent writing in PyTorch
//! (`benches/peer/qrnet_torch.py`): every intermediate tensor, every gradient norm. Weights are too large to lie here: both
//! sides draw them by one formula.

use std::collections::BTreeMap;
use std::path::PathBuf;

use blocks::checkpoint::Tensors;
use blocks::pass::Pass;
use candle_core::{Device, Tensor};
use qrnet::plan::CanvasPlan;
use qrnet::{Config, QrNet, weights};

use crate::gradients::{loss, norm};
use crate::support::{BOX_LIMIT, FEATURE_LIMIT, cases_at, config_at, difference, tensors_at};

const SETS: [&str; 2] = ["stride32", "stride16"];
const RELATIVE_LIMIT: f64 = 1e-3;
/// A hidden value so near to 0 or 6 that rounding decides on which side it lies has a gradient here and none there.
const FULL_LIMIT: f64 = 5e-3;
/// Below this a gradient is rounding noise around a mathematical zero.
const NOISE: f64 = 1e-6;

fn path(set: &str, file: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/mobilenet")).join(set).join(file)
}

/// FNV-1a of the name, then `SplitMix64`: uniform in `shift` ± `scale`.
fn formula(name: &str, count: usize, scale: f32, shift: f32) -> Vec<f32> {
    let state = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |s, b| (s ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3));
    let draw = |i: u64| {
        let mut z = state.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        shift + scale * (((z ^ (z >> 31)) >> 40) as f32 / 8_388_608.0 - 1.0)
    };
    (1..=count as u64).map(draw).collect()
}

fn drawn(set: &str) -> Tensors {
    let text = std::fs::read_to_string(path(set, "tiny_weights.json")).expect("tiny_weights.json");
    let specs: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    let tensor = |(name, spec): (String, serde_json::Value)| {
        let shape: Vec<usize> = serde_json::from_value(spec["shape"].clone()).expect("a shape");
        let number = |key: &str| spec[key].as_f64().expect("a number") as f32;
        let values = formula(&name, shape.iter().product(), number("scale"), number("shift"));
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor");
        (name, tensor)
    };
    specs.into_iter().map(tensor).collect()
}

/// The fixtures count the neck's levels from its first one; here levels are counted by their stride.
fn own_name(name: &str, config: &Config) -> Option<String> {
    let levels = config.neck_levels();
    for prefix in ["neck.down", "neck.out", "visu_mask"] {
        let Some(rest) = name.strip_prefix(prefix) else { continue };
        let place = rest[..1].parse::<usize>().expect("a digit");
        // The level behind the last is made only where the head reads it.
        let read = place + 1 < levels.len() || config.token_levels().contains(&levels[place]);
        return read.then(|| format!("{prefix}{}{}", levels[place], &rest[1..]));
    }
    Some(name.to_owned())
}

#[test]
fn every_golden_tensor_matches() {
    for set in SETS {
        let config = config_at(&path(set, "tiny.json"));
        let model = QrNet::new(&config, &weights::builder(&drawn(set), &Device::Cpu)).expect("the model builds");
        let mut compared = 0;
        for case in cases_at(&path(set, "tiny_io.safetensors")) {
            let plan = CanvasPlan::new(&config, case.canvas, &Device::Cpu).expect("a valid canvas");
            let mut pass = Pass::eval().with_taps();
            model
                .forward(&case.image, &case.image_ignore, &case.ids, &case.text_ignore, &plan, &mut pass)
                .expect("the forward pass runs");
            let ours = pass.into_taps();
            for (name, golden) in &case.golden {
                let Some(own) = own_name(name, &config) else { continue };
                let tensor = ours.get(&own).unwrap_or_else(|| panic!("{set}: {name} ({own}) is not computed"));
                let limit = if name == "pred_box" { BOX_LIMIT } else { FEATURE_LIMIT };
                let found = difference(tensor, golden);
                assert!(found <= limit, "{set}: {name} differs by {found}, allowed {limit}");
                compared += 1;
            }
        }
        assert!(compared >= 33, "{set}: {compared} golden tensors, not 33");
    }
}

#[test]
fn gradients_match_by_norm_and_in_full() {
    for set in SETS {
        let (config, device) = (config_at(&path(set, "tiny.json")), Device::Cpu);
        let (vars, vb) = weights::variables(&config, &drawn(set), &device).expect("variables");
        let model = QrNet::new(&config, &vb).expect("the model builds");
        let case = cases_at(&path(set, "tiny_io.safetensors")).remove(0);
        let plan = CanvasPlan::new(&config, case.canvas, &device).expect("a valid canvas");
        let output = model
            .forward(&case.image, &case.image_ignore, &case.ids, &case.text_ignore, &plan, &mut Pass::eval())
            .expect("the forward pass runs");
        let golden = tensors_at(&path(set, "tiny_grads.safetensors"));
        let grads = loss(&output.boxes, &golden["target"]).and_then(|loss| loss.backward()).expect("runs back");
        let text = std::fs::read_to_string(path(set, "tiny_grads.json")).expect("tiny_grads.json");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let mut checked = 0;
        for (name, expected) in json["grad_norms"].as_object().expect("norms") {
            let Some(expected) = expected.as_f64() else {
                assert!(!vars.contains_key(name), "{set}: {name} is frozen, yet we train it");
                continue;
            };
            let var = vars.get(name).unwrap_or_else(|| panic!("{set}: {name} is not a variable of ours"));
            let found = norm(grads.get(var).unwrap_or_else(|| panic!("{set}: {name} got no gradient")));
            let close = (found - expected).abs() / expected.max(NOISE) < RELATIVE_LIMIT;
            assert!(close || (found - expected).abs() < NOISE, "{set}: {name}: norm {found}, expected {expected}");
            checked += 1;
        }
        for (name, expected) in golden.iter().filter_map(|(key, value)| Some((key.strip_prefix("grad.")?, value))) {
            let found = grads.get(&vars[name]).unwrap_or_else(|| panic!("{set}: {name} got no gradient"));
            let relative = norm(&(found - expected).expect("same shape")) / norm(expected).max(NOISE);
            assert!(relative < FULL_LIMIT, "{set}: {name}: the full gradient differs by {relative} of its norm");
        }
        assert!(checked >= 180, "{set}: {checked} norms, not 180");
    }
}
