//! Fixture files and comparison by name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use blocks::preprocess::{MEAN, STD};
use candle_core::{DType, Device, Tensor};
use grounding_dino::{FrameModel, Grounder, ModelDir, Weights};
use serde::Deserialize;

/// Largest difference allowed on a tensor on the way.
pub(crate) const FEATURE_LIMIT: f32 = 1e-4;
/// Largest difference allowed on scores and boxes, both 0..1.
pub(crate) const OUTPUT_LIMIT: f32 = 1e-5;

/// All models.
pub(crate) const MODELS: [&str; 4] = ["idea-7", "idea-12", "mm-7", "mm-12"];

pub(crate) fn path(name: &str) -> PathBuf {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    std::env::var_os("GROUNDING_DINO_FIXTURES").map_or_else(|| PathBuf::from(here), PathBuf::from).join(name)
}

pub(crate) fn load(model: &str) -> Grounder {
    Grounder::load(&path(model), &Device::Cpu).unwrap_or_else(|e| panic!("{model}: {e}"))
}

/// The half that reads pictures, on tensors.
pub(crate) fn frame(model: &str) -> FrameModel {
    let config = ModelDir::open(&path(model)).expect("a model").config().clone();
    let vb = Weights::open(&path(model)).expect("weights").into_builder(&Device::Cpu);
    FrameModel::from_builder(&config, &vb).unwrap_or_else(|e| panic!("{model}: {e}"))
}

/// The tensors of a fixture file.
pub(crate) fn tensors(name: &str) -> BTreeMap<String, Tensor> {
    let path = path(name);
    let tensors = candle_core::safetensors::load(&path, &Device::Cpu);
    tensors.unwrap_or_else(|e| panic!("{}: {e}", path.display())).into_iter().collect()
}

/// What was asked in one case.
#[derive(Deserialize)]
pub(crate) struct Asked {
    pub(crate) phrases: Vec<String>,
    /// Of the whole text, framing included.
    pub(crate) ids: Vec<u32>,
    /// Tokens of every phrase's words.
    pub(crate) spans: Vec<Vec<usize>>,
    /// Height and width that all pictures are padded to.
    pub(crate) canvas: (usize, usize),
    /// Height and width of every picture.
    pub(crate) pictures: Vec<(usize, usize)>,
}

/// All cases of a model, by name.
pub(crate) fn cases(model: &str) -> BTreeMap<String, Asked> {
    let text = std::fs::read_to_string(path(model).join("cases.json")).expect("readable");
    serde_json::from_str(&text).expect("cases")
}

/// A picture `[3, h, w]` of bytes, normalised, in the corner of zeros: `[1, 3, H, W]`.
pub(crate) fn on_canvas(picture: &Tensor, (height, width): (usize, usize)) -> Tensor {
    let (_, h, w) = picture.dims3().expect("a picture");
    let channel = |values: [f32; 3]| Tensor::new(&values, &Device::Cpu).and_then(|t| t.reshape((3, 1, 1)));
    let made = || {
        let values = (picture.to_dtype(DType::F32)? / 255.0)?;
        let normal = values.broadcast_sub(&channel(MEAN)?)?.broadcast_div(&channel(STD)?)?;
        normal.pad_with_zeros(1, 0, height - h)?.pad_with_zeros(2, 0, width - w)?.unsqueeze(0)
    };
    made().expect("a tensor")
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1()).expect("readable")
}

/// Largest absolute difference; the sizes must agree, but for a batch of one.
pub(crate) fn difference(ours: &Tensor, golden: &Tensor) -> f32 {
    let dims = |tensor: &Tensor| {
        let dims = tensor.dims().to_vec();
        if dims.first() == Some(&1) { dims[1..].to_vec() } else { dims }
    };
    assert_eq!(dims(ours), dims(golden), "shapes differ");
    let pairs = values(ours).into_iter().zip(values(golden));
    pairs.map(|(a, b)| if a.is_nan() || b.is_nan() { f32::INFINITY } else { (a - b).abs() }).fold(0.0, f32::max)
}

pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
