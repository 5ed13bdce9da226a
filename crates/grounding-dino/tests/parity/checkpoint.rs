//! Checkpoints as files: compared with their configuration name by name, and written anew in another element type.

use std::collections::BTreeSet;
use std::path::Path;

use blocks::findings::Findings;
use blocks::preprocess::Letterboxer;
use blocks::preprocess::Picture;
use candle_core::{DType, Device, Tensor};
use grounding_dino::{Grounder, ModelDir, Weights};

use crate::broken::{copied, rewrite};
use crate::support::{MODELS, path};

fn compare(dir: &Path) -> grounding_dino::Comparison {
    let config = ModelDir::open(dir).expect("opens").config().clone();
    Weights::open(dir).and_then(|weights| weights.compare(&config)).expect("compared")
}

#[test]
fn whole_checkpoints_fit_their_configuration() {
    for model in MODELS {
        let comparison = compare(&path(model));
        assert!(comparison.fits(), "{model}: {comparison:?}");
        assert_eq!(
            Weights::open(&path(model)).and_then(|weights| weights.damaged()).expect("read"),
            [""; 0],
            "{model}"
        );
    }
}

#[test]
fn names_that_are_missing_extra_and_wrong_are_told_all_at_once() {
    let folder = copied("idea-7");
    let before = compare(folder.path()).extra;
    let [gone, bent] = ["model.level_embed", "model.text_projection.weight"];
    rewrite(folder.path(), |tensors| {
        tensors.remove(gone).expect("was there");
        let other = Tensor::zeros((3, 5), DType::F32, &Device::Cpu).expect("zeros");
        tensors.insert(bent.into(), other.clone());
        tensors.insert("model.of.another".into(), other);
    });
    let comparison = compare(folder.path());
    assert!(!comparison.fits());
    let missing: Vec<&str> = comparison.missing.iter().map(|spec| spec.name.as_str()).collect();
    assert_eq!(missing, [gone]);
    let wrong: Vec<(&str, &[usize])> =
        comparison.wrong.iter().map(|(spec, found)| (spec.name.as_str(), found.as_slice())).collect();
    assert_eq!(wrong, [(bent, &[3, 5][..])]);
    let extra: Vec<&String> = comparison.extra.iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(extra, ["model.of.another"]);
}

#[test]
fn what_is_no_number_is_named() {
    let folder = copied("mm-7");
    let name = "model.level_embed";
    rewrite(folder.path(), |tensors| {
        let bad = tensors[name].affine(0.0, f64::NAN).expect("made");
        tensors.insert(name.into(), bad);
    });
    assert_eq!(Weights::open(folder.path()).and_then(|weights| weights.damaged()).expect("read"), [name]);
}

/// What a model says of stripes.
fn said(dir: &Path) -> Findings {
    let grounder = Grounder::load(dir, &Device::Cpu).expect("loads");
    let (width, height) = (96, 64);
    let rgb = (0..3 * width * height).map(|i| (i * 37 % 251) as u8).collect();
    let picture = Picture { width, height, rgb };
    let brought = grounder.bring_in(&mut Letterboxer::default(), &picture.view().expect("a view")).expect("brought in");
    let query = grounder.compile("a red car").expect("compiles");
    let found = grounder.ground_each(&[&brought], &[&[&query]]).expect("grounds");
    found.into_iter().flatten().next().expect("findings")
}

#[test]
fn in_two_bytes_a_model_keeps_its_names_and_says_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    for model in MODELS {
        let (dir, out) = (ModelDir::open(&path(model)).expect("opens"), folder.path().join(model));
        let new = dir.write_as(&out, DType::F16, false).expect("written");
        let names = |dir: &Path| -> BTreeSet<String> {
            Weights::open(dir).expect("opens").names().map(str::to_owned).collect()
        };
        assert_eq!(names(&path(model)), names(&out), "{model}");
        assert_eq!(Weights::open(&out).expect("opens").stored(), (vec![DType::F16], 1), "{model}");
        assert_eq!(new.config(), dir.config());
        assert_eq!(new.verify_digest().ok(), new.digest().ok());
        assert_ne!(new.digest().ok(), dir.digest().ok(), "other bytes, another model");
        let (before, after) = (said(&path(model)), said(&out));
        let score = |findings: &Findings| findings.presence.expect("a score");
        assert!((score(&before) - score(&after)).abs() < 5e-3, "{model}: {} and {}", score(&before), score(&after));
        // And back: what two bytes hold, four do.
        let back = folder.path().join(format!("{model}-back"));
        new.write_as(&back, DType::F32, false).expect("written");
        assert_eq!(said(&back), after, "{model}");
    }
}

#[test]
fn a_written_model_gives_way_only_where_that_is_asked_and_tells_of_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dir, out) = (ModelDir::open(&path("idea-7")).expect("opens"), folder.path().join("new"));
    let new = dir.write_as(&out, DType::F32, false).expect("written");
    let refused = dir.write_as(&out, DType::F32, false).expect_err("is there").to_string();
    assert!(refused.contains("exists already"), "{refused}");
    dir.write_as(&out, DType::F16, true).expect("replaced");
    // Somebody else's folder stays.
    std::fs::write(out.join("notes.txt"), "mine").expect("written");
    let refused = dir.write_as(&out, DType::F16, true).expect_err("not ours alone").to_string();
    assert!(refused.contains("no model directory that was written here"), "{refused}");
    assert!(out.join("notes.txt").is_file());
    let weights = new.path().join("model.safetensors");
    let mut bytes = std::fs::read(&weights).expect("read");
    *bytes.last_mut().expect("bytes") ^= 1;
    std::fs::write(&weights, bytes).expect("written");
    let changed = ModelDir::open(new.path()).and_then(|dir| dir.verify_digest()).expect_err("changed").to_string();
    assert!(changed.contains("stores digest") && changed.contains("a file was changed"), "{changed}");
}

#[test]
fn numbers_beyond_two_bytes_are_refused() {
    let folder = copied("idea-7");
    rewrite(folder.path(), |tensors| {
        let large = tensors["model.level_embed"].affine(0.0, 1e6).expect("made");
        tensors.insert("model.level_embed".into(), large);
    });
    let out = folder.path().join("half");
    let dir = ModelDir::open(folder.path()).expect("opens");
    let message = dir.write_as(&out, DType::F16, false).expect_err("too large").to_string();
    assert!(message.contains("`model.level_embed` holds 1000000, expected at most 65504"), "{message}");
    assert!(!out.exists());
}
