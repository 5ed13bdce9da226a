//! A run that was stopped and resumed computes what it would have computed without the stop, to the bit.

use std::fmt::Write;
use std::path::Path;

use qrnet::Config;
use qrnet_train::augment::Augment;
use qrnet_train::data::video::NoVideo;
use qrnet_train::data::{DataSet, Origin, Source};
use qrnet_train::log::{FILE, read};
use qrnet_train::recipe::{EvalSet, Every, Phase, Recipe};
use qrnet_train::trainer::End;

use crate::support::{Run, config, convolutional, recipe, saved, scenes};

const STEPS: u64 = 9;

/// Everything that could depend on where a run began: dropout, stochastic depth, averaged weights, two passes a step,
/// two phases, shuffled lists with augmentation, measurements, sums of the log between its lines.
fn everything(folder: &Path, mut config: Config) -> (Recipe, Config) {
    if let Some(swin) = &mut config.swin {
        swin.drop_path_rate = 0.2;
    }
    (config.bert.dropout, config.vl.dropout) = (0.1, 0.1);
    let mut recipe = recipe();
    (recipe.steps, recipe.batch, recipe.accumulate, recipe.ema) = (STEPS, 3, 2, 0.9);
    recipe.every = Every { log: 2, checkpoint: 3, eval: 4, eval_examples: 4, keep: 2 };
    recipe.augment = Some(Augment { blur: true, ..Augment::default() });
    recipe.phase[0].until = 0.4;
    recipe.phase.push(Phase { until: 1.0, lists: vec![list(folder)], ..Phase::default() });
    let scenes = recipe.phase[0].scenes.clone();
    recipe.eval = vec![EvalSet { name: "other".into(), count: 4, watch: true, scenes, lists: Vec::new() }];
    (recipe, config)
}

/// Seven drawn scenes as files: no multiple of a batch.
fn list(folder: &Path) -> Source {
    let settings = recipe().phase[0].scenes.clone().expect("scenes");
    let mut lines = String::new();
    for (i, example) in scenes(&settings, 3, 7).examples(0..7).expect("examples").into_iter().enumerate() {
        let (picture, name) = (&example.picture, format!("{i}.png"));
        let (width, height) = (picture.width as u32, picture.height as u32);
        image::save_buffer(folder.join(&name), &picture.rgb, width, height, image::ExtendedColorType::Rgb8)
            .expect("saved");
        let target =
            example.target.map(|r| serde_json::json!({ "x": r.x0, "y": r.y0, "w": r.width(), "h": r.height() }));
        let line = serde_json::json!({ "image": name, "phrase": example.phrase, "box": target });
        writeln!(lines, "{line}").expect("written");
    }
    let file = folder.join("list.jsonl");
    std::fs::write(&file, lines).expect("written");
    Source::Jsonl { name: None, file }
}

/// What a run leaves that must not depend on stops: the last checkpoint, the best weights, the log without times.
fn left(out: &Path) -> (Vec<u8>, Vec<u8>, String) {
    let bytes = |name: &str| std::fs::read(out.join(name)).expect("left behind");
    let mut log = String::new();
    for line in read(&out.join(FILE)).expect("a log") {
        let scalars: Vec<_> = line.scalars.into_iter().filter(|(name, _)| !name.ends_with("_seconds")).collect();
        writeln!(log, "{} {} {:?} {scalars:?}", line.step, line.samples, line.kind).expect("written");
    }
    (bytes(&format!("checkpoint-{STEPS:08}.safetensors")), bytes("best/model.safetensors"), log)
}

fn compare(recipe: &Recipe, config: &Config, stops: &[&[u64]]) {
    let whole = tempfile::tempdir().expect("a folder");
    let run = |out: &Path, threads, steps| Run { recipe, config, out, threads }.go(steps).expect("runs").1;
    assert_eq!(run(whole.path(), 1, None), End::Finished);
    let expected = left(whole.path());
    assert_eq!(expected.2.lines().count(), 5 + 3, "lines of the log at 2, 4, 6, 8, 9 and of measurements at 4, 8, 9");
    for stops in stops {
        let broken = tempfile::tempdir().expect("a folder");
        let mut made = 0;
        for stop in *stops {
            assert_eq!(run(broken.path(), 1, Some(stop - made)), End::Interrupted);
            made = *stop;
            assert_eq!(saved(broken.path()).last(), Some(stop), "a stop leaves a checkpoint");
        }
        // Other threads bring the same data.
        assert_eq!(run(broken.path(), 3, None), End::Finished);
        let found = left(broken.path());
        assert_eq!(expected.2, found.2, "the log after stops at {stops:?}");
        assert!(expected.0 == found.0, "the last checkpoint after stops at {stops:?}");
        assert!(expected.1 == found.1, "the best weights after stops at {stops:?}");
    }
}

#[test]
fn a_stop_at_any_step_leaves_no_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let (recipe, config) = everything(folder.path(), config());
    compare(&recipe, &config, &[&[1], &[2], &[3], &[4], &[5], &[6], &[7], &[8], &[1, 2, 5]]);
}

#[test]
fn nor_with_a_frozen_text_tower() {
    let folder = tempfile::tempdir().expect("a folder");
    let (recipe, mut config) = everything(folder.path(), config());
    config.bert.frozen = true;
    compare(&recipe, &config, &[&[5], &[2, 7]]);
}

#[test]
fn nor_on_a_convolutional_backbone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (recipe, config) = everything(folder.path(), convolutional());
    // Which canvas a batch takes is drawn as well.
    assert_eq!((config.mobilenet.is_some(), config.all_canvases().len()), (true, 2));
    compare(&recipe, &config, &[&[4], &[5], &[2, 7]]);
}

#[test]
fn nor_with_lists_and_scenes_in_one_phase() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut recipe, config) = everything(folder.path(), config());
    recipe.phase[1].scenes = recipe.phase[0].scenes.clone();
    recipe.phase[1].shares = [("list".to_owned(), 2.0), ("scenes".to_owned(), 1.0)].into();
    recipe.phase[1].questions = Some(3);
    recipe.augment = recipe.augment.map(|augment| Augment { resize: [0.7, 1.5], noise: 0.5, jpeg: 0.5, ..augment });
    compare(&recipe, &config, &[&[4], &[5], &[2, 7]]);
}

#[test]
fn a_run_that_was_killed_does_its_last_steps_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (recipe, config) = everything(folder.path(), config());
    let (whole, killed) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let run = |out: &Path, steps| Run { recipe: &recipe, config: &config, out, threads: 2 }.go(steps).expect("runs").1;
    run(whole.path(), None);
    // A kill at step 5 leaves the checkpoint of step 3 and a log that is ahead of it, its last line torn.
    run(killed.path(), Some(5));
    std::fs::remove_file(killed.path().join("checkpoint-00000005.safetensors")).expect("removed");
    let log = killed.path().join(FILE);
    let text = std::fs::read_to_string(&log).expect("a log");
    std::fs::write(&log, format!("{text}{{\"step\":6,\"sam")).expect("written");
    assert_eq!(saved(killed.path()), [3]);
    run(killed.path(), None);
    assert!(left(whole.path()) == left(killed.path()));
}

#[test]
fn a_longer_epoch_holds_every_example_once() {
    let mut recipe = recipe();
    (recipe.steps, recipe.batch) = (10, 3);
    recipe.phase[0].examples = Some(5);
    let origin = Origin { base: Path::new(""), video: &NoVideo, dense: true };
    let feed = qrnet_train::feed::Feed::new(&recipe, origin, &crate::support::art()).expect("a feed");
    let phrases: Vec<String> = (0..30).map(|position| feed.example(position).expect("an example").phrase).collect();
    let sorted = |epoch: &[String]| {
        let mut epoch = epoch.to_vec();
        epoch.sort();
        epoch
    };
    for epoch in phrases.chunks(5) {
        assert_eq!(sorted(epoch), sorted(&phrases[..5]));
    }
    assert!(phrases.chunks(5).any(|epoch| epoch != &phrases[..5]), "in another order");
}
