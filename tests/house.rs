//! Rules of the house that a test can see.

use crate::support::{repository, tool};

fn tree(package: &str) -> String {
    let manifest = repository().join("Cargo.toml");
    let manifest = manifest.to_str().expect("UTF-8");
    tool(
        env!("CARGO"),
        &[
            "tree",
            "--offline",
            "--locked",
            "--manifest-path",
            manifest,
            "-p",
            package,
            "--prefix",
            "none",
            "--format",
            "{lib}",
        ],
    )
}

#[test]
fn blocks_know_no_model() {
    let blocks = tree("spotter-blocks");
    assert!(blocks.contains("candle_core"), "the tree is there");
    for word in ["gstreamer", "qrnet", "spotter"] {
        assert!(!blocks.contains(word), "blocks depend on {word}");
    }
}

#[test]
fn the_model_knows_neither_gstreamer_nor_training() {
    let model = tree("qrnet");
    assert!(model.contains("candle_core"), "the tree is there");
    for word in ["gstreamer", "qrnet_train", "spotter"] {
        assert!(!model.contains(word), "qrnet depends on {word}");
    }
    assert!(!tree("qrnet-train").contains("gstreamer"), "qrnet-train depends on GStreamer");
}
