//! Models that ship do what their cards say: the small one on scenes that need no fetched art, the built-in one on a real
//! clip.

use std::path::Path;
use std::sync::Arc;

use qrnet::ModelDir;
use qrnet_train::data::DataSet;
use qrnet_train::evaluate::{Compiled, evaluate};
use qrnet_train::metrics::Summary;
use qrnet_train::scenes::motion::Films;
use qrnet_train::scenes::{Art, SceneSettings, Scenes};
use spotter::config::load_model;

use crate::support::{Scratch, bikes, command, repository, spotter};

const EXAMPLES: usize = 400;
// The card's numbers less three standard errors of so many examples.
const ACCURACY: f64 = 0.93;
const AUROC: f64 = 0.985;
const IN_MOTION: f64 = 0.92;
/// Of 83 frames and questions about a clip that nothing was trained on.
const RIGHT_IN_A_REAL_CLIP: f64 = 0.75;

fn measure(settings: SceneSettings) -> Summary {
    let art = Arc::new(Art::load(Path::new("."), &[]).expect("shapes need no art"));
    let motion = settings.motion;
    let scenes = Scenes::new(settings, art, 20_001, EXAMPLES).expect("scenes");
    let data: Box<dyn DataSet> = if motion { Box::new(Films::new(scenes, EXAMPLES)) } else { Box::new(scenes) };
    let dir = ModelDir::open(Path::new("models/spotter-tiny")).expect("its folder");
    let grounder = load_model(Some(dir.path()), "cpu", grounding::Precision::F32, false).expect("the small model");
    assert!(grounder.trained());
    evaluate(&Compiled::new(&grounder), data.as_ref(), EXAMPLES, |_| ()).expect("measured").summary()
}

fn accuracy(summary: &Summary) -> f64 {
    summary.all.accuracy_at(0.5).map_or(0.0, |share| share.value)
}

#[test]
fn finds_shapes_and_knows_what_is_missing() {
    let summary = measure(SceneSettings::default());
    assert!(accuracy(&summary) > ACCURACY, "{summary}");
    assert!(summary.all.auroc.expect("both kinds").value > AUROC, "{summary}");
}

#[test]
fn follows_a_shape_in_motion() {
    let summary = measure(SceneSettings { motion: true, side: 256, square: 0.0, ..SceneSettings::default() });
    assert!(accuracy(&summary) > IN_MOTION, "{summary}");
}

/// The built-in model is the one in its folder, whole and unchanged.
#[test]
fn is_what_its_folder_holds() {
    let dir = ModelDir::open(Path::new("models/spotter-base")).expect("its folder");
    let digest = dir.verify_digest().expect("unchanged");
    assert!(std::env::var_os("SPOTTER_MODEL").is_none(), "SPOTTER_MODEL names another model");
    assert_eq!(load_model(None, "cpu", grounding::Precision::F32, false).expect("the built-in model").digest(), digest);
    let bytes: u64 = std::fs::read_dir(dir.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").metadata().expect("its size").len())
        .sum();
    assert!(bytes <= 24_000_000, "{bytes} bytes");
}

/// The questions of `make demo`, compared with boxes that were drawn by hand.
#[test]
fn the_built_in_model_finds_things_in_a_real_clip() {
    let scratch = Scratch::new();
    let sets = repository().join("examples/bikes/sets.toml").display().to_string();
    let mut measure = vec!["eval".to_owned(), sets, "--json".into(), scratch.file("found.json")];
    for (i, query) in ["the man in the suit", "a bicycle", "a dog"].into_iter().enumerate() {
        let records = scratch.file(&format!("{i}.jsonl"));
        let out = format!("jsonl:{records}");
        let mut run = command(&["-q", "run", "--source", &bikes(), "--query", query, "--out", &out]);
        assert!(run.env_remove("SPOTTER_MODEL").status().expect("the program starts").success());
        measure.extend(["--records".into(), records]);
    }
    spotter(&measure.iter().map(String::as_str).collect::<Vec<_>>()).expect_success();
    let found: serde_json::Value = serde_json::from_str(&scratch.read("found.json")).expect("JSON");
    let all = &found["bikes"]["all"];
    assert_eq!((all["examples"].as_u64(), all["present"].as_u64()), (Some(83), Some(23)));
    // "Not here" on every frame is right for 60 of 83: boxes have to be, too.
    let found_of = |kind: &str| found["bikes"]["by_kind"][kind]["accuracy"][0]["share"]["value"].as_f64();
    assert!(found_of("man").expect("a share") > 0.9 && found_of("bicycle").expect("a share") > 0.4, "{found:#}");
    assert!(all["right"]["value"].as_f64().expect("a share") > RIGHT_IN_A_REAL_CLIP, "{found:#}");
}

#[test]
fn where_no_model_is_named_the_environment_may_name_one() {
    let scratch = Scratch::new();
    let asked = ["bench", "--rounds", "1", "--batch", "1"];
    let ran = command(&asked).env("SPOTTER_MODEL", scratch.file("nothing")).output().expect("the program starts");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.code() == Some(1) && said.contains("nothing: is no model directory"), "{said}");
    let small = spotter(&asked).expect_success();
    assert!(small.stdout.contains("spotter-tiny"), "{}", small.stdout);
    let built_in = command(&asked).env("SPOTTER_MODEL", "").output().expect("the program starts");
    assert!(String::from_utf8_lossy(&built_in.stdout).contains("the built-in model"));
}
