//! Fixture files, the configuration they were made with, and comparison by name.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use blocks::canvas::Canvas;
use blocks::swin::SwinConfig;
use blocks::text::BertConfig;
use candle_core::{DType, Device, Tensor};
use qrnet::config::{Config, FusionConfig, MobileNetConfig, NeckConfig, QdAttConfig};
use serde::Deserialize;

/// Largest difference allowed on a feature.
pub(crate) const FEATURE_LIMIT: f32 = 1e-4;
/// Largest difference allowed on a box.
pub(crate) const BOX_LIMIT: f32 = 1e-5;

pub(crate) fn path(name: &str) -> PathBuf {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    std::env::var_os("QRNET_FIXTURES").map_or_else(|| PathBuf::from(here), PathBuf::from).join(name)
}

/// True for the fixtures that lie here: then counts are known, and nothing may be missing.
pub(crate) fn standard() -> bool {
    std::env::var_os("QRNET_FIXTURES").is_none()
}

/// The tensors of a fixture file.
pub(crate) fn tensors(name: &str) -> HashMap<String, Tensor> {
    tensors_at(&path(name))
}

/// As [`tensors`], of any file.
pub(crate) fn tensors_at(path: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[derive(Deserialize)]
struct Reference {
    imsize: usize,
    max_query_len: usize,
    swin: Option<SwinConfig>,
    mobilenet: Option<MobileNetConfig>,
    qdatt: QdAttConfig,
    neck: NeckConfig,
    bert: BertConfig,
    vl: FusionConfig,
}

/// Sizes in the reference's spelling, as `tiny.json` holds them.
pub(crate) fn config() -> Config {
    config_at(&path("tiny.json"))
}

/// As [`config`], of any set.
pub(crate) fn config_at(path: &Path) -> Config {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let r: Reference = serde_json::from_str(&text).expect("tiny.json holds the reference's sizes");
    let config = Config {
        canvas: Canvas { width: r.imsize, height: r.imsize },
        pos_canvas: None,
        max_query_len: r.max_query_len,
        presence: false,
        threshold: None,
        canvases: Vec::new(),
        swin: r.swin,
        mobilenet: r.mobilenet,
        qdatt: r.qdatt,
        neck: r.neck,
        bert: r.bert,
        vl: r.vl,
    };
    config.validate("tiny.json").expect("valid sizes");
    config
}

/// One golden case: its inputs and the canvas they are on.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) image: Tensor,
    pub(crate) image_ignore: Tensor,
    pub(crate) ids: Tensor,
    pub(crate) text_ignore: Tensor,
    pub(crate) canvas: Canvas,
    /// Everything the reference computed, without the case's prefix.
    pub(crate) golden: BTreeMap<String, Tensor>,
}

/// All cases of `tiny_io.safetensors`.
pub(crate) fn cases() -> Vec<Case> {
    cases_at(&path("tiny_io.safetensors"))
}

/// As [`cases`], of any set.
pub(crate) fn cases_at(path: &Path) -> Vec<Case> {
    let mut by_case: BTreeMap<String, BTreeMap<String, Tensor>> = BTreeMap::new();
    for (name, tensor) in tensors_at(path) {
        let (case, rest) = name.split_once('.').expect("names start with their case");
        by_case.entry(case.to_owned()).or_default().insert(rest.to_owned(), tensor);
    }
    by_case.into_iter().map(|(name, golden)| case(name, golden)).collect()
}

fn case(name: String, mut golden: BTreeMap<String, Tensor>) -> Case {
    let mut take = |key: &str| golden.remove(key).unwrap_or_else(|| panic!("case {name} lacks {key}"));
    let image = take("in.image");
    let (_, _, height, width) = image.dims4().expect("pictures are [B, 3, H, W]");
    let real = take("in.token_mask").to_dtype(DType::F32).expect("cast");
    Case {
        image_ignore: take("in.image_mask").to_dtype(DType::U8).expect("cast"),
        ids: take("in.token_ids").to_dtype(DType::U32).expect("cast"),
        text_ignore: (1.0 - real).and_then(|t| t.to_dtype(DType::U8)).expect("cast"),
        canvas: Canvas { width, height },
        image,
        golden,
        name,
    }
}

/// Largest absolute difference; shapes must agree.
pub(crate) fn difference(ours: &Tensor, golden: &Tensor) -> f32 {
    assert_eq!(ours.dims(), golden.dims(), "shapes differ");
    let flat = |t: &Tensor| {
        t.to_dtype(DType::F32).and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1::<f32>()).expect("readable")
    };
    flat(ours)
        .into_iter()
        .zip(flat(golden))
        .map(|(a, b)| if a.is_nan() || b.is_nan() { f32::INFINITY } else { (a - b).abs() })
        .fold(0.0, f32::max)
}
