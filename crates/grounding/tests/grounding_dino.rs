//! A model of the Grounding DINO family behind the common front door.

use std::path::PathBuf;

use blocks::preprocess::{Letterboxer, Picture};
use grounding::{
    Calibration, CompiledQuery, Device, Family, Grounder, Placement, Precision, QueryCompiler, load_tokenizer,
};

fn model(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../grounding-dino/tests/fixtures")).join(name)
}

/// Stripes, which is all that random weights need.
fn picture() -> Picture {
    let (width, height) = (90, 60);
    let rgb = (0..3 * width * height).map(|i| (i * 37 % 251) as u8).collect();
    Picture { width, height, rgb }
}

#[test]
fn gives_all_boxes_of_every_query_with_scores() {
    for name in ["idea-7", "mm-12"] {
        assert_eq!(Family::of(&model(name)).ok(), Some(Family::GroundingDino));
        let grounder = Grounder::load(&model(name), &Device::Cpu).expect("loads");
        assert!(grounder.gives_all() && grounder.has_presence() && grounder.trained());
        assert_eq!(grounder.claims_from(), Some(0.25));
        let picture = picture();
        let canvas = grounder.canvas_for(picture.width, picture.height);
        assert!(grounder.canvases().contains(&canvas) && grounder.canvases().contains(&grounder.canvas()));
        let boxed = Letterboxer::default().letterbox(&picture.view().expect("a view"), canvas).expect("letterboxed");
        let queries = ["a red car", "The dog."].map(|text| grounder.compile(text).expect("compiles"));
        assert_eq!((queries[1].text(), queries[1].pieces()), ("The dog.", 5));
        let queries: Vec<&CompiledQuery> = queries.iter().collect();
        let found = grounder.ground(&[&boxed, &boxed], &queries).expect("grounds");
        assert_eq!((found.len(), found[0].len()), (2, 2));
        assert_eq!(found[0], found[1], "equal pictures, equal answers");
        for findings in &found[0] {
            assert!(findings.found.len() > 1, "{name}: {} boxes", findings.found.len());
            assert!(findings.found.is_sorted_by(|a, b| a.score >= b.score));
            assert_eq!(findings.presence, findings.best().and_then(|best| best.score));
            for finding in &findings.found {
                let rect = finding.rect;
                assert!(0.0 <= rect.x0 && rect.x0 <= rect.x1 && rect.x1 <= 90.0, "{finding:?}");
                assert!(0.0 <= rect.y0 && rect.y0 <= rect.y1 && rect.y1 <= 60.0, "{finding:?}");
            }
        }
        // Each picture has its own queries, and may have none.
        let each = grounder.ground_each(&[&boxed, &boxed], &[&[], &queries]).expect("grounds");
        assert_eq!((each[0].len(), &each[1]), (0, &found[0]));
    }
}

#[test]
fn queries_are_compiled_apart_and_kept_in_files() {
    let (folder, device) = (tempfile::tempdir().expect("a folder"), Device::Cpu);
    let path = folder.path().join("query.safetensors");
    let compiler = QueryCompiler::load(&model("mm-7"), &device).expect("loads");
    compiler.compile("the left dog").and_then(|query| query.save(&path)).expect("saved");
    assert_eq!(CompiledQuery::text_of(&path).expect("a query"), "the left dog");
    let mut grounder = Grounder::load(&model("mm-7"), &device).expect("loads");
    assert_eq!(grounder.digest(), compiler.digest());
    grounder.drop_text();
    assert!(grounder.compile("a dog").is_err());
    let query = grounder.load_query(&path).expect("read");
    assert_eq!(query.model(), grounder.digest());
    let other = Grounder::load_for_frames(&model("idea-7"), &device).expect("loads");
    assert!(other.load_query(&path).is_err());
}

/// A copy of a model, to which a test may add.
fn copied(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(model(name)).expect("listed") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("copied");
    }
    folder
}

#[test]
fn a_calibration_beside_the_model_makes_probabilities_of_scores() {
    let folder = copied("mm-7");
    let raw = Grounder::load(folder.path(), &Device::Cpu).expect("loads");
    assert!(!raw.is_calibrated());
    let calibration = Calibration::new(raw.digest(), 0.5, 2.5, 0.625, "nothing");
    calibration.save(folder.path()).expect("written");
    let calibrated = Grounder::load(folder.path(), &Device::Cpu).expect("loads");
    assert!(calibrated.is_calibrated());
    assert_eq!((calibrated.claims_from(), calibrated.digest()), (Some(0.625), raw.digest()));
    assert!(Grounder::load_for_frames(folder.path(), &Device::Cpu).expect("loads").is_calibrated());
    let without = Grounder::load_uncalibrated(folder.path(), &Device::Cpu).expect("loads");
    let ask = |grounder: &Grounder| {
        let picture = picture();
        let canvas = grounder.canvas_for(picture.width, picture.height);
        let boxed = Letterboxer::default().letterbox(&picture.view().expect("a view"), canvas).expect("letterboxed");
        let query = grounder.compile("a red car").expect("compiles");
        grounder.ground(&[&boxed], &[&query]).expect("grounds").remove(0).remove(0)
    };
    let (before, after) = (ask(&raw), ask(&calibrated));
    assert_eq!(ask(&without), before);
    assert_eq!(after.presence, before.presence.map(|score| calibration.probability(score)));
    assert!(before.found.len() > 1 && before.found.len() == after.found.len());
    for (before, after) in before.found.iter().zip(&after.found) {
        assert_eq!((before.rect, before.score.map(|score| calibration.probability(score))), (after.rect, after.score));
    }
    assert_ne!(before.presence, after.presence);

    calibration.for_model("another").save(folder.path()).expect("written");
    let refused = Grounder::load(folder.path(), &Device::Cpu).err().expect("refused").to_string();
    assert!(refused.contains("calibration.json") && refused.contains("another"), "{refused}");
}

#[test]
fn three_hundred_queries_are_answered_and_none_without_words_is_taken() {
    let grounder = Grounder::load(&model("idea-7"), &Device::Cpu).expect("loads");
    let picture = picture();
    let canvas = grounder.canvas_for(picture.width, picture.height);
    let boxed = Letterboxer::default().letterbox(&picture.view().expect("a view"), canvas).expect("letterboxed");
    let words = ["red car", "dog", "umbrella"];
    let queries: Vec<CompiledQuery> = (0..300).map(|i| grounder.compile(words[i % 3]).expect("compiles")).collect();
    let found = grounder.ground(&[&boxed], &queries.iter().collect::<Vec<_>>()).expect("grounds");
    assert_eq!(found[0].len(), 300);
    assert!(found[0].iter().all(|findings| findings.best().is_some()));
    for text in ["?!", "...", " . , "] {
        let error = grounder.compile(text).expect_err("no words");
        assert!(error.is_usage() && error.to_string().contains("expected words"), "{error}");
    }
}

#[test]
fn tokenizers_of_both_families_are_found() {
    assert!(load_tokenizer(&model("mm-7")).is_ok());
    let nowhere = load_tokenizer(&model("nowhere")).err().expect("nothing there").to_string();
    assert!(nowhere.contains("is no model directory"), "{nowhere}");
}

#[test]
fn computes_in_f32_alone() {
    let place = Placement { device: Device::Cpu, precision: Precision::F16 };
    let message = Grounder::load(&model("idea-7"), place).err().expect("refused").to_string();
    assert!(message.contains("F16") && message.contains("compute in f32"), "{message}");
}
