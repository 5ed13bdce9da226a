//! Input that is no model, or no query: one clear message each.

use std::path::Path;

use candle_core::{Device, Tensor};
use grounding_dino::{Grounder, ModelDir};

use crate::support::{load, path};

/// A copy of a model that a test may break.
pub(crate) fn copied(model: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(path(model)).expect("readable") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("copied");
    }
    folder
}

fn message(dir: &Path) -> String {
    Grounder::load(dir, &Device::Cpu).err().expect("no model").to_string()
}

#[test]
fn another_architecture() {
    let folder = copied("idea-7");
    let config = folder.path().join("config.json");
    std::fs::write(&config, r#"{"model_type": "detr", "d_model": 256}"#).expect("written");
    let message = message(folder.path());
    assert!(message.contains("config.json: `model_type` is detr, expected grounding-dino or"), "{message}");
}

#[test]
fn a_missing_file() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(message(folder.path()).contains("is no model directory, expected a folder with config.json"));
    for (name, expected) in [
        ("model.safetensors", "holds neither model.safetensors nor model.safetensors.index.json"),
        ("vocab.txt", "cannot read"),
    ] {
        let folder = copied("idea-7");
        std::fs::remove_file(folder.path().join(name)).expect("removed");
        let message = message(folder.path());
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_missing_shard_is_named() {
    let folder = copied("mm-12");
    let shard = "model-00002-of-00005.safetensors";
    std::fs::remove_file(folder.path().join(shard)).expect("removed");
    let message = message(folder.path());
    assert!(message.contains(shard) && message.contains("the weights are not whole"), "{message}");
}

#[test]
fn a_damaged_shard_is_named() {
    let folder = copied("mm-12");
    let shard = folder.path().join("model-00003-of-00005.safetensors");
    let bytes = std::fs::read(&shard).expect("readable");
    std::fs::write(&shard, &bytes[..bytes.len() / 2]).expect("cut");
    assert!(message(folder.path()).contains("model-00003-of-00005.safetensors"));
    let index = folder.path().join("model.safetensors.index.json");
    std::fs::write(&index, r#"{"weight_map": {"a": "../elsewhere.safetensors"}}"#).expect("written");
    assert!(message(folder.path()).contains("expected names of files beside it"));
}

/// Writes the weights anew, without one tensor or with another instead.
pub(crate) fn rewrite(folder: &Path, change: impl FnOnce(&mut std::collections::HashMap<String, Tensor>)) {
    let file = folder.join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).expect("readable");
    change(&mut tensors);
    candle_core::safetensors::save(&tensors, &file).expect("written");
}

#[test]
fn missing_tensors_and_other_shapes_are_named() {
    let folder = copied("idea-7");
    let name = "model.encoder.layers.1.fusion_layer.attn.vision_proj.weight";
    rewrite(folder.path(), |tensors| drop(tensors.remove(name)));
    let message = |folder: &tempfile::TempDir| message(folder.path());
    let found = message(&folder);
    assert!(found.contains("1 tensor missing") && found.contains(name) && found.contains("[24, 32]"), "{found}");

    let folder = copied("idea-7");
    let query = "model.backbone.conv_encoder.model.encoder.layers.0.blocks.1.attention.self.query.weight";
    rewrite(folder.path(), |tensors| drop(tensors.remove(query)));
    assert!(message(&folder).contains(query));

    let folder = copied("idea-7");
    let table =
        "model.backbone.conv_encoder.model.encoder.layers.0.blocks.0.attention.self.relative_position_bias_table";
    rewrite(folder.path(), |tensors| {
        let other = Tensor::zeros((529, 1), candle_core::DType::F32, &Device::Cpu).expect("zeros");
        tensors.insert(table.into(), other);
    });
    let found = message(&folder);
    assert!(found.contains(table) && found.contains("[529, 1]") && found.contains("[169, 1]"), "{found}");
}

#[test]
fn heads_may_lie_in_the_decoder() {
    let folder = copied("mm-7");
    rewrite(folder.path(), |tensors| {
        let heads: Vec<String> =
            tensors.keys().filter(|name| name.contains("bbox_embed") && !name.starts_with("model.")).cloned().collect();
        assert!(!heads.is_empty());
        for name in heads {
            let tensor = tensors.remove(&name).expect("a head");
            tensors.insert(format!("model.decoder.{name}"), tensor);
        }
    });
    Grounder::load(folder.path(), &Device::Cpu).expect("loads");
}

#[test]
fn a_tokenizer_of_another_vocabulary() {
    let folder = copied("idea-7");
    let vocabulary = folder.path().join("vocab.txt");
    std::fs::write(&vocabulary, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n.\nred\ncar\n").expect("written");
    let message = message(folder.path());
    assert!(message.contains("vocab.txt: reads a full stop as [2, 4, 3], expected [101, 1012, 102]"), "{message}");
}

#[test]
fn other_preprocessing() {
    for (written, expected) in [
        (r#"{"image_mean": [0.5, 0.5, 0.5]}"#, "`image_mean` is [0.5, 0.5, 0.5], expected ImageNet's"),
        (r#"{"resample": 3}"#, "`resample` is 3, expected 2, bilinear"),
        (
            r#"{"size": {"height": 640, "width": 640}}"#,
            "`size` is {\"height\":640,\"width\":640}, expected shortest_edge",
        ),
        (r#"{"size": {"shortest_edge": 0, "longest_edge": 5}}"#, "`size.shortest_edge` is 0"),
        ("[", "preprocessor_config.json"),
    ] {
        let folder = copied("idea-7");
        std::fs::write(folder.path().join("preprocessor_config.json"), written).expect("written");
        let message = ModelDir::open(folder.path()).expect_err("unusable").to_string();
        assert!(message.contains(expected), "{message}");
    }
    let folder = copied("idea-7");
    std::fs::remove_file(folder.path().join("preprocessor_config.json")).expect("removed");
    let sizing = ModelDir::open(folder.path()).expect("defaults").sizing();
    assert_eq!((sizing.shortest, sizing.longest), (800, 1333));
}

#[test]
fn queries_without_words_or_with_too_many() {
    let grounder = load("idea-7");
    for text in ["", "   ", "...", "?!", " . ? , "] {
        let error = grounder.compile(text).expect_err("no query");
        assert!(error.is_usage(), "{text:?}: {error}");
    }
    // A long one is cut, and leaves room for the full stop: the tower has 40 positions.
    let long = grounder.compile(&"red car ".repeat(200)).expect("compiles");
    assert_eq!(long.ids().len(), 40);
    let unknown = grounder.compile("zebra").expect_err("no word is known").to_string();
    assert!(unknown.contains("the model's tokenizer lacks"), "{unknown}");
}

#[test]
fn the_digest_follows_what_lies_there() {
    let folder = copied("idea-7");
    let digest = |dir: &Path| ModelDir::open(dir).and_then(|dir| dir.digest()).expect("a digest");
    let before = digest(folder.path());
    assert_eq!(before, digest(&path("idea-7")));
    rewrite(folder.path(), |tensors| {
        let changed = tensors["model.level_embed"].affine(2.0, 0.0).expect("doubled");
        tensors.insert("model.level_embed".into(), changed);
    });
    assert_ne!(before, digest(folder.path()));
    let config = folder.path().join("config.json");
    let text = std::fs::read_to_string(&config).expect("readable").replacen('{', r#"{"digest": "abc","#, 1);
    std::fs::write(&config, text).expect("written");
    assert_eq!(digest(folder.path()), "abc");
}
