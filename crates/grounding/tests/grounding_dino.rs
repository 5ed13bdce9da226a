//! A model of the Grounding DINO family behind the common front door.

use std::path::PathBuf;

use blocks::preprocess::{Letterboxer, Picture};
use grounding::{CompiledQuery, Device, Family, Grounder, Placement, Precision, QueryCompiler};

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

#[test]
fn computes_in_f32_alone() {
    let place = Placement { device: Device::Cpu, precision: Precision::F16 };
    let message = Grounder::load(&model("idea-7"), place).err().expect("refused").to_string();
    assert!(message.contains("F16") && message.contains("compute in f32"), "{message}");
}
