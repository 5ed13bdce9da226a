//! What is measured: a model directory of full size with drawn weights, which all engines read, pictures and queries.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use blocks::canvas::{Canvas, Grid};
use blocks::preprocess::{Letterboxed, Transform};
use candle_core::{Device, Tensor};
use grounding_dino::{CompiledQuery, Config, Grounder, Part, STOP, TensorSpec, parameters};
use rand::RngExt;

/// IDEA's tiny; all sizes that are left out are its own.
pub(crate) const CONFIG: &str =
    r#"{"model_type": "grounding-dino", "architectures": ["GroundingDinoForObjectDetection"]}"#;
/// Pieces that are words of the vocabulary written here.
const WORDS: u32 = 2000;

/// Seeded noise of the size that a layer's input asks for.
pub(crate) fn drawn(name: &str, dims: &[usize]) -> Tensor {
    let inputs: usize = dims.iter().skip(1).product();
    let (middle, spread) = match dims.len() {
        1 if name.ends_with("weight") => (1.0, 0.1),
        0 | 1 => (0.0, 0.1),
        _ => (0.0, 1.7 / (inputs as f32).sqrt()),
    };
    let values = noise(name, dims.iter().product()).into_iter().map(|value| middle + spread * value).collect();
    Tensor::from_vec(values, dims, &Device::Cpu).expect("a tensor")
}

/// From -1 to 1.
pub(crate) fn noise(name: &str, count: usize) -> Vec<f32> {
    let mut rng = blocks::seeded::stream(1, name);
    (0..count).map(|_| rng.random::<f32>() * 2.0 - 1.0).collect()
}

/// The model directory, written once.
pub(crate) fn model(folder: &Path) -> PathBuf {
    let dir = folder.join("grounding-dino-tiny");
    if dir.join("config.json").exists() {
        return dir;
    }
    std::fs::create_dir_all(&dir).expect("made");
    let config = Config::from_json(CONFIG, "config.json").expect("sizes");
    let mut tensors = HashMap::new();
    for TensorSpec { name, shape } in
        [Part::Text, Part::Frame].into_iter().flat_map(|part| parameters(&config, part).expect("names"))
    {
        let mut tensor = drawn(&name, &shape);
        // Products of wide rows are large: all scores would be 1, and no box the best.
        if name.starts_with("model.decoder.layer_norm.") {
            tensor = tensor.affine(0.05, 0.0).expect("scaled");
        }
        tensors.insert(name, tensor);
    }
    candle_core::safetensors::save(&tensors, dir.join("model.safetensors")).expect("written");
    let piece = |id: usize| match id {
        0 => "[PAD]".into(),
        100 => "[UNK]".into(),
        101 => "[CLS]".into(),
        102 => "[SEP]".into(),
        103 => "[MASK]".into(),
        1012 => ".".into(),
        1029 => "?".into(),
        2000.. => format!("w{id}"),
        _ => format!("[unused{id}]"),
    };
    let vocabulary: Vec<String> = (0..config.bert.vocab_size).map(piece).collect();
    std::fs::write(dir.join("vocab.txt"), vocabulary.join("\n") + "\n").expect("written");
    std::fs::write(dir.join("config.json"), CONFIG).expect("written");
    dir
}

/// A sentence of `words` words.
pub(crate) fn sentence(number: u32, words: u32) -> String {
    let word = |word: u32| format!("w{}", WORDS + 100 * number + word);
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

/// A picture that fills its canvas.
pub(crate) fn picture(size: Grid) -> Letterboxed {
    let transform = Transform::pasted(size.w, size.h, 0, 0, Canvas { width: size.w, height: size.h });
    let pixels = noise("picture", 3 * size.len()).into_iter().map(|value| 2.0 * value).collect();
    Letterboxed { pixels, transform }
}

/// Queries as a stream asks them: compiled before.
pub(crate) fn queries(grounder: &Grounder, words: u32) -> [CompiledQuery; 3] {
    [0, 1, 2].map(|number| {
        let query = grounder.compile(&sentence(number, words)).expect("compiles");
        assert_eq!((query.ids().len(), query.ids().last()), (words as usize + 1, Some(&STOP)), "{:?}", query.ids());
        query
    })
}
