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

/// What may not be among the dependencies of a crate: names of libraries, or how they begin.
const RULES: [(&str, &[&str]); 8] = [
    ("spotter-blocks", &["gstreamer", "qrnet", "grounding", "records", "spotter"]),
    ("qrnet", &["gstreamer", "qrnet_train", "grounding", "records", "spotter"]),
    ("spotter-grounding-dino", &["gstreamer", "qrnet", "grounding", "records", "spotter"]),
    ("spotter-grounding", &["gstreamer", "qrnet_train", "records", "spotter"]),
    ("spotter-frames", &["gstreamer_app", "gstreamer_rtsp", "qrnet", "grounding", "spotter"]),
    ("spotter-hub", &["gstreamer", "qrnet", "grounding", "records", "spotter"]),
    ("spotter-records", &["gstreamer", "qrnet", "grounding", "spotter"]),
    ("qrnet-train", &["gstreamer", "records", "spotter"]),
];

#[test]
fn crates_know_only_what_they_may() {
    for (package, forbidden) in RULES {
        let tree = tree(package);
        assert!(tree.contains("candle_core"), "the tree of {package} is there");
        for word in forbidden {
            // The first line is the crate itself.
            let found = tree.lines().skip(1).find(|library| library.starts_with(word));
            assert_eq!(found, None, "{package} depends on it");
        }
    }
}
