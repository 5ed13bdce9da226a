//! A model learns a few scenes by heart.

use std::path::Path;

use qrnet_train::data::Origin;
use qrnet_train::data::video::NoVideo;
use qrnet_train::feed;
use qrnet_train::log::{FILE, Kind, read};
use qrnet_train::recipe::Every;
use qrnet_train::trainer::End;

use crate::support::{art, config, recipe, run};

const SCENES: usize = 32;

#[test]
fn thirty_two_scenes_are_learnt_by_heart() {
    let config = config();
    let mut recipe = recipe();
    recipe.steps = 500;
    recipe.batch = 16;
    recipe.optimiser.rate = 4e-3;
    recipe.optimiser.weight_decay = 0.0;
    recipe.schedule.warm_up = 40;
    recipe.phase[0].examples = Some(SCENES);
    recipe.every = Every { log: 100, ..Every::default() };
    let out = tempfile::tempdir().expect("a folder");
    let (trainer, end) = run(&recipe, &config, out.path(), None).expect("runs");
    assert_eq!(end, End::Finished);
    let scenes = recipe.phase[0].scenes.as_ref();
    let origin = Origin { base: Path::new(""), video: &NoVideo, dense: false };
    let data = feed::open(scenes, &[], (origin, &art()), recipe.seed, SCENES).expect("the same scenes");
    let summary = trainer.measure(data.as_ref(), SCENES).expect("measured");
    let losses: Vec<f64> = read(&out.path().join(FILE))
        .expect("a log")
        .iter()
        .filter(|line| line.kind == Kind::Train)
        .map(|line| line.scalars.iter().find(|(name, _)| name == "loss").expect("a loss").1)
        .collect();
    println!("losses {losses:?}\n{summary}");
    assert!((16..SCENES).contains(&summary.all.present), "most are there, some are not: {}", summary.all.present);
    assert_eq!(summary.all.accuracy_at(0.5).expect("an accuracy").value.to_bits(), 1f64.to_bits(), "{summary}");
    let auroc = summary.all.auroc.expect("present and absent ones").value;
    assert!(auroc > 0.99, "what is there is told from what is not: {auroc}");
    assert!(losses.last() < losses.first(), "{losses:?}");
}
