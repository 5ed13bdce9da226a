//! The built-in model does what its card says, on scenes that need no fetched art.

use std::path::Path;
use std::sync::Arc;

use qrnet::plan::CanvasPlan;
use qrnet::{Device, ModelDir};
use qrnet_train::batch::Collator;
use qrnet_train::data::DataSet;
use qrnet_train::evaluate::{Compiled, evaluate};
use qrnet_train::metrics::Summary;
use qrnet_train::scenes::motion::Films;
use qrnet_train::scenes::{Art, SceneSettings, Scenes};
use spotter::config::load_model;

const EXAMPLES: usize = 400;
// The card's numbers less three standard errors of so many examples.
const ACCURACY: f64 = 0.93;
const AUROC: f64 = 0.985;
const IN_MOTION: f64 = 0.92;

fn measure(settings: SceneSettings) -> Summary {
    let art = Arc::new(Art::load(Path::new("."), &[]).expect("shapes need no art"));
    let motion = settings.motion;
    let scenes = Scenes::new(settings, art, 20_001, EXAMPLES).expect("scenes");
    let data: Box<dyn DataSet> = if motion { Box::new(Films::new(scenes, EXAMPLES)) } else { Box::new(scenes) };
    let grounder = load_model(None, "cpu", qrnet::Precision::F32, false).expect("the built-in model");
    assert!(grounder.trained());
    let dir = ModelDir::open(Path::new("models/spotter-tiny")).expect("its folder");
    let plan = CanvasPlan::new(dir.config(), dir.config().canvas, &Device::Cpu).expect("a plan");
    let tokenizer = dir.load_tokenizer().expect("its words");
    let mut collator = Collator::new(&plan, &tokenizer);
    evaluate(&Compiled(&grounder), data.as_ref(), &mut collator, EXAMPLES, |_| ()).expect("measured").summary()
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
    let dir = ModelDir::open(Path::new("models/spotter-tiny")).expect("its folder");
    let digest = dir.verify_digest().expect("unchanged");
    assert_eq!(load_model(None, "cpu", qrnet::Precision::F32, false).expect("the built-in model").digest(), digest);
    let bytes: u64 = std::fs::read_dir(dir.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").metadata().expect("its size").len())
        .sum();
    assert!(bytes <= 24_000_000, "{bytes} bytes");
}
