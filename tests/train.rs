//! `spotter train`: what a run leaves, how it stops and goes on, and what it refuses.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::support::{Scratch, command, json_lines, repository, spotter};

/// Sizes that train in seconds.
const MODEL: &str = include_str!("../crates/qrnet-train/tests/fixtures/smallest.toml");

/// Coloured shapes. The model's file is named relative to the recipe.
fn recipe(steps: u64) -> String {
    format!(
        r#"
name = "shapes"
seed = 2
model = "model.toml"
tokenizer = "words"
steps = {steps}
batch = 4
ema = 0.9

[optimiser]
rate = 2e-3
weight_decay = 0.01
clip = 1.0

[loss]
presence = 0.5
class = 1.0

[every]
log = 20
checkpoint = 100
eval = 100
eval_examples = 8

[[phase]]
[phase.scenes]
side = 64
objects = [2, 3]
sizes = [0.3, 0.5]

[[eval]]
name = "shapes"
watch = true
[eval.scenes]
side = 64
"#
    )
}

fn prepared(steps: u64) -> (Scratch, String, String) {
    let scratch = Scratch::new();
    scratch.write("model.toml", MODEL.as_bytes());
    let recipe = scratch.write("recipe.toml", recipe(steps).as_bytes());
    let out = scratch.file("run");
    (scratch, recipe, out)
}

fn names(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("listed");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

#[test]
fn a_run_leaves_logs_curves_checkpoints_and_a_model() {
    let (scratch, recipe, out) = prepared(300);
    let ran = spotter(&["train", &recipe, "--out", &out]).expect_success();
    assert!(ran.stderr.contains("300 steps made"), "{}", ran.stderr);
    let names = names(&out);
    let events: Vec<&String> = names.iter().filter(|name| name.starts_with("events.out.tfevents.")).collect();
    assert_eq!(events.len(), 1, "{names:?}");
    let others: Vec<&str> = names.iter().filter(|name| *name != events[0]).map(String::as_str).collect();
    let expected = [
        "best",
        "checkpoint-00000200.safetensors",
        "checkpoint-00000300.safetensors",
        "curves.png",
        "log.jsonl",
        "model",
        "recipe.toml",
    ];
    assert_eq!(others, expected);
    assert!(image::open(format!("{out}/curves.png")).expect("a picture").width() > 100);
    assert_eq!(scratch.read("run/recipe.toml"), scratch.read("recipe.toml"));
    let log = json_lines(&scratch.read("run/log.jsonl"));
    let train: Vec<&serde_json::Value> = log.iter().filter(|line| line["kind"] == "train").collect();
    assert_eq!((train.len(), log.len()), (15, 15 + 3));
    let loss = |line: &serde_json::Value| line["loss"].as_f64().expect("a loss");
    assert!(loss(train[14]) < loss(train[0]), "it learns: {} to {}", loss(train[0]), loss(train[14]));
    assert!(log.iter().any(|line| line["kind"] == "eval" && line["acc50_shapes"].is_number()));

    let scene = scratch.file("scene");
    spotter(&["train", &recipe, "--preview", "1", "--out", &scene]).expect_success();
    let picture = format!("{scene}/preview-0000.png");
    let model = format!("{out}/model");
    let ran = spotter(&["ground", &picture, "--query", "the red circle", "--model", &model]).expect_success();
    assert!(!ran.stderr.contains("untrained"), "{}", ran.stderr);
    assert!(ran.lines()[0]["presence"].is_number());
    let check = spotter(&["check", &model, "--deep"]).expect_success();
    assert!(!check.stdout.contains("untrained"), "{}", check.stdout);
    spotter(&["eval", &recipe, "--model", &model, "--count", "4"]).expect_success();

    // A folder that holds a run is nobody else's.
    let again = spotter(&["train", &recipe, "--out", &out]);
    assert_eq!(again.code, Some(2));
    assert!(again.stderr.contains("holds a run at step 300; go on with --resume"), "{}", again.stderr);
    // A finished run that is resumed has nothing left to do, also by the copy of its recipe.
    std::fs::copy(scratch.file("model.toml"), scratch.file("run/model.toml")).expect("copied");
    spotter(&["train", &format!("{out}/recipe.toml"), "--out", &out, "--resume"]).expect_success();
    assert_eq!(scratch.read("run/recipe.toml"), scratch.read("recipe.toml"), "the recipe is still whole");
}

#[test]
fn ctrl_c_leaves_a_checkpoint_and_resume_finishes() {
    let (scratch, recipe, out) = prepared(200_000);
    let mut child = command(&["train", &recipe, "--out", &out]).stderr(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines().map(|line| line.expect("UTF-8"));
    // Without a terminal the program says how far it is; from then on it watches for signals.
    let first = lines.find(|line| line.contains("examples/s")).expect("it trains");
    assert!(first.contains("of 200000"), "{first}");
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().expect("ends").code(), Some(130), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("go on with --resume")), "{rest:?}");
    let saved: Vec<String> = names(&out).into_iter().filter(|name| name.starts_with("checkpoint-")).collect();
    let step: u64 = saved.last().expect("a checkpoint")[11..19].parse().expect("a step");
    assert!(!names(&out).contains(&"model".to_owned()), "no model of an unfinished run");
    // The end is brought near.
    let text = scratch.read("recipe.toml").replace("steps = 200000", &format!("steps = {}", step + 5));
    scratch.write("recipe.toml", text.as_bytes());
    let ran = spotter(&["train", &recipe, "--out", &out, "--resume"]).expect_success();
    assert!(ran.stderr.contains(&format!("going on at step {step}")), "{}", ran.stderr);
    assert!(names(&out).contains(&"model".to_owned()));
}

#[test]
fn a_disk_without_room_costs_no_older_checkpoint() {
    let (scratch, recipe, whole) = prepared(9);
    // Without a watched set the checkpoint is the only large file.
    let text = scratch.read("recipe.toml").replace("watch = true\n", "");
    scratch.write("recipe.toml", text.as_bytes());
    spotter(&["train", &recipe, "--out", &whole]).expect_success();
    let last = |out: &str| std::fs::read(format!("{out}/checkpoint-00000009.safetensors")).expect("the last one");
    let temporary = |out: &str| names(out).into_iter().filter(|name| name.starts_with(".tensors-")).collect::<Vec<_>>();
    // Files may grow to 100 blocks of 512 bytes: whether the signal for it is taken by who started the program or by the program
    // itself, the write is refused, as by a full disk.
    for trap in ["", "trap '' XFSZ;"] {
        let out = scratch.file(if trap.is_empty() { "signalled" } else { "full" });
        let stopped = spotter(&["train", &recipe, "--out", &out, "--stop-after", "4"]);
        assert_eq!(stopped.code, Some(130), "{}", stopped.stderr);
        let program = env!("CARGO_BIN_EXE_spotter");
        let script =
            format!("{trap} ulimit -c 0; ulimit -f 100; exec '{program}' train '{recipe}' --out '{out}' --resume");
        let ran = Command::new("sh").args(["-c", &script]).output().expect("sh");
        let stderr = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("checkpoint-00000009.safetensors") && stderr.contains("too large"), "{stderr}");
        assert!(temporary(&out).is_empty(), "{:?}", names(&out));
        assert!(names(&out).contains(&"checkpoint-00000004.safetensors".to_owned()), "{:?}", names(&out));
        let resumed = spotter(&["train", &recipe, "--out", &out, "--resume"]).expect_success();
        assert!(resumed.stderr.contains("going on at step 4"), "{}", resumed.stderr);
        assert!(last(&out) == last(&whole), "and nothing differs from a run without the fault");
    }
}

/// What a user sees of a run that cannot be.
fn refused(scratch: &Scratch, args: &[&str]) -> String {
    let before = scratch.names();
    let ran = spotter(args);
    assert_eq!(scratch.names(), before, "{args:?} left something behind");
    assert_eq!(ran.stdout, "");
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    let text = scratch.generic(&ran.stderr).replace(repository().to_str().expect("UTF-8"), "REPOSITORY");
    format!("exit {}\n{text}", ran.code.expect("an exit code"))
}

#[test]
fn bad_recipes() {
    let (scratch, _, out) = prepared(3);
    let good = recipe(3);
    let changed = |from: &str, to: &str| {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from}");
        let file = scratch.write("bad.toml", text.as_bytes());
        refused(&scratch, &["train", &file, "--out", &out])
    };
    scratch.write("bad.toml", b"");
    insta::assert_snapshot!("recipe_key_unknown", changed("weight_decay", "wieght_decay"));
    insta::assert_snapshot!("recipe_scene_key_unknown", changed("objects", "objekts"));
    insta::assert_snapshot!("recipe_key_missing", changed("batch = 4\n", ""));
    insta::assert_snapshot!("recipe_type", changed("steps = 3", "steps = \"three\""));
    insta::assert_snapshot!("recipe_no_steps", changed("steps = 3", "steps = 0"));
    insta::assert_snapshot!("recipe_rate", changed("rate = 2e-3", "rate = 20.0"));
    let two = "[[phase]]\nuntil = 0.5\n[phase.scenes]\nside = 64\n\n[[phase]]\nuntil = 0.5\n[phase.scenes]";
    insta::assert_snapshot!("recipe_until", changed("[[phase]]\n[phase.scenes]", two));
    insta::assert_snapshot!("recipe_no_examples", changed("[[phase]]", "[[phase]]\nexamples = 0"));
    insta::assert_snapshot!("recipe_objects", changed("objects = [2, 3]", "objects = [3, 2]"));
    insta::assert_snapshot!("recipe_model", changed("model.toml", "tinny"));
    insta::assert_snapshot!("recipe_tokenizer", changed("\"words\"", "\"vocab.txt\""));
    let art = "art = \"art\"\n\n[optimiser]";
    insta::assert_snapshot!("recipe_styles_needed", changed("objects = [2, 3]", "shapes = 0.5"));
    let styles = good.replacen("objects = [2, 3]", "shapes = 0.5\nstyles = [\"noto\"]", 1);
    let file = scratch.write("bad.toml", styles.replacen("[optimiser]", art, 1).as_bytes());
    insta::assert_snapshot!("recipe_art_missing", refused(&scratch, &["train", &file, "--out", &out]));
    let list = "[[phase.lists]]\nformat = \"jsonl\"\nfile = \"nothing.jsonl\"\n\n[[eval]]";
    let scenes = "[phase.scenes]\nside = 64\nobjects = [2, 3]\nsizes = [0.3, 0.5]\n\n";
    insta::assert_snapshot!("recipe_both", changed("[[eval]]", list));
    insta::assert_snapshot!("recipe_data_missing", changed(&format!("{scenes}[[eval]]"), list));
    insta::assert_snapshot!("recipe_start_missing", {
        changed("[optimiser]", "[init]\nbackbone = \"detector.pth\"\n\n[optimiser]")
    });
    insta::assert_snapshot!("recipe_missing", {
        refused(&scratch, &["train", &scratch.file("nothing.toml"), "--out", &out])
    });
    let good = scratch.file("recipe.toml");
    insta::assert_snapshot!("nothing_to_resume", refused(&scratch, &["train", &good, "--out", &out, "--resume"]));
    let model = crate::support::model();
    insta::assert_snapshot!("split_unknown", {
        refused(&scratch, &["eval", &good, "--model", &model, "--split", "testC"]).replace(&model, "MODEL")
    });
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_older_one_is_used() {
    let (_scratch, recipe, out) = prepared(8);
    spotter(&["train", &recipe, "--out", &out, "--stop-after", "2"]);
    spotter(&["train", &recipe, "--out", &out, "--resume", "--stop-after", "2"]);
    let newest = format!("{out}/checkpoint-00000004.safetensors");
    let bytes = std::fs::read(&newest).expect("read");
    std::fs::write(&newest, &bytes[..bytes.len() / 2]).expect("written");
    let ran = spotter(&["train", &recipe, "--out", &out, "--resume"]).expect_success();
    assert!(ran.stderr.contains("checkpoint-00000004.safetensors: is neither whole safetensors"), "{}", ran.stderr);
    assert!(ran.stderr.contains("going on at step 2"), "{}", ran.stderr);
}
