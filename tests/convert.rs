//! `spotter convert` and `spotter check`: checkpoints in, model directories, checkpoints out.

use std::collections::BTreeSet;

use crate::support::{Scratch, fixture, model, picture, spotter};

fn vocabulary(scratch: &Scratch) -> String {
    let lines: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
        .map(String::from)
        .into_iter()
        .chain((4..120).map(|i| format!("w{i}")))
        .collect();
    scratch.write("vocab.txt", lines.join("\n").as_bytes())
}

fn names(file: &str) -> BTreeSet<String> {
    let bytes = std::fs::read(file).expect("read");
    safetensors::SafeTensors::deserialize(&bytes).expect("safetensors").names().into_iter().map(String::from).collect()
}

#[test]
fn a_reference_checkpoint_makes_the_round_trip() {
    let scratch = Scratch::new();
    let vocabulary = vocabulary(&scratch);
    let (checkpoint, dir, back) =
        (fixture("tiny_checkpoint.pth"), scratch.file("model"), scratch.file("back.safetensors"));
    let checkpoint = checkpoint.to_str().expect("UTF-8");
    let ran = spotter(&["convert", checkpoint, "--config", "tiny", "--tokenizer", &vocabulary, "--out", &dir])
        .expect_success();
    assert!(ran.stderr.contains("270 tensors loaded, 17 ignored, 0 at their initial value"), "{}", ran.stderr);
    let files: BTreeSet<_> =
        std::fs::read_dir(&dir).expect("listed").map(|e| e.expect("an entry").file_name()).collect();
    assert_eq!(files, ["README.md", "config.json", "model.safetensors", "tokenizer.json"].map(Into::into).into());

    let check = spotter(&["check", &dir, "--deep"]).expect_success();
    assert!(
        check.stdout.contains("verified") && check.stdout.contains("grounding   a grey picture"),
        "{}",
        check.stdout
    );
    assert!(check.stdout.contains("weights     trained"), "a converted checkpoint counts as trained: {}", check.stdout);

    spotter(&["convert", &dir, "--out", &back]).expect_success();
    let reference = names(fixture("tiny.safetensors").to_str().expect("UTF-8"));
    let missing: Vec<_> = reference.difference(&names(&back)).cloned().collect();
    assert!(missing.iter().all(|name| name.contains("rpn_head") || name.contains("pooler")), "{missing:?}");
    let again = spotter(&["convert", &dir, "--out", &back]);
    assert_eq!(again.code, Some(2), "an existing file is not overwritten");

    // Both forms of one model see the same.
    let dir2 = scratch.file("model2");
    spotter(&["convert", &back, "--config", "tiny", "--tokenizer", &vocabulary, "--out", &dir2]).expect_success();
    let picture = picture(&scratch, "a.png", (100, 50));
    let boxed = |dir: &str| {
        spotter(&["ground", &picture, "--query", "w5 w6", "--model", dir]).expect_success().lines()[0]["box"].clone()
    };
    assert_eq!(boxed(&dir), boxed(&dir2));
}

#[test]
fn random_models_follow_their_seed_and_halves_are_half() {
    let scratch = Scratch::new();
    let make = |name: &str, seed: &str, dtype: &str| {
        let dir = scratch.file(name);
        spotter(&["convert", "--random", seed, "--config", "tiny", "--dtype", dtype, "--out", &dir]).expect_success();
        (
            spotter(&["check", &dir]).expect_success().stdout,
            std::fs::metadata(format!("{dir}/model.safetensors")).expect("there").len(),
            dir,
        )
    };
    let digest = |text: &str| text.lines().find(|line| line.starts_with("digest")).expect("a digest").to_owned();
    let (a, size, dir) = make("a", "1", "f32");
    let (b, _, _) = make("b", "1", "f32");
    let (c, _, _) = make("c", "2", "f32");
    let (_, half, half_dir) = make("d", "1", "f16");
    assert_eq!(digest(&a), digest(&b));
    assert_ne!(digest(&a), digest(&c));
    assert!(half < size * 6 / 10, "{half} against {size}");
    assert!(a.contains("weights     untrained"), "{a}");
    let picture = picture(&scratch, "a.png", (100, 50));
    let x = |dir: &str| {
        let ran = spotter(&["ground", &picture, "--query", "abc", "--model", dir]).expect_success();
        ran.lines()[0]["box_norm"]["x"].as_f64().expect("a number")
    };
    assert!((x(&dir) - x(&half_dir)).abs() < 1e-2, "half precision moves the box a little");
}

#[test]
fn an_untrained_model_stays_untrained_through_an_export() {
    let scratch = Scratch::new();
    let (file, dir) = (scratch.file("out.safetensors"), scratch.file("again"));
    spotter(&["convert", &model(), "--out", &file]).expect_success();
    let tokenizer = format!("{}/tokenizer.json", model());
    spotter(&["convert", &file, "--config", "tiny", "--tokenizer", &tokenizer, "--out", &dir]).expect_success();
    let check = spotter(&["check", &dir, "--deep"]).expect_success();
    assert!(check.stdout.contains("weights     untrained"), "{}", check.stdout);
}

#[test]
fn detector_and_bert_start_a_model() {
    let scratch = Scratch::new();
    let vocabulary = vocabulary(&scratch);
    let (detector, bert) = (fixture("tiny_detector.pth"), fixture("tiny_bert"));
    let ran = spotter(&[
        "convert",
        "--random",
        "3",
        "--config",
        "tiny",
        "--detector",
        detector.to_str().expect("UTF-8"),
        "--bert",
        bert.to_str().expect("UTF-8"),
        "--tokenizer",
        &vocabulary,
        "--out",
        &scratch.file("model"),
    ])
    .expect_success();
    for part in ["tensors loaded", "fpn_convs", "initial:"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
}

#[test]
fn a_changed_byte_is_found_by_the_deep_check_only() {
    let scratch = Scratch::new();
    let dir = scratch.file("model");
    spotter(&["convert", "--random", "1", "--config", "tiny", "--out", &dir]).expect_success();
    let file = format!("{dir}/model.safetensors");
    let mut bytes = std::fs::read(&file).expect("read");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, bytes).expect("written");
    spotter(&["check", &dir]).expect_success();
    let deep = spotter(&["check", &dir, "--deep"]);
    assert_eq!(deep.code, Some(1));
    assert!(deep.stderr.contains("a file was changed"), "{}", deep.stderr);
}

#[test]
fn an_existing_model_gives_way_only_when_forced() {
    let scratch = Scratch::new();
    let dir = scratch.file("model");
    let convert = |extra: &[&str]| {
        let mut args = vec!["convert", "--random", "1", "--config", "tiny", "--out", &dir];
        args.extend(extra);
        spotter(&args)
    };
    convert(&[]).expect_success();
    let refused = convert(&[]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("exists already"), "{}", refused.stderr);
    convert(&["--force"]).expect_success();
    assert_eq!(scratch.names(), ["model"], "nothing is left beside it");
    let folder = scratch.file("mine");
    std::fs::create_dir(&folder).expect("made");
    scratch.write("mine/letter.txt", b"dear");
    let spared = spotter(&["convert", "--random", "1", "--config", "tiny", "--out", &folder, "--force"]);
    assert!(spared.code == Some(2) && spared.stderr.contains("is no model directory"), "{}", spared.stderr);
    assert_eq!(scratch.read("mine/letter.txt"), "dear");
    // A directory of somebody else's that happens to hold a config.json.
    scratch.write("mine/config.json", b"{\"hidden_size\": 32}");
    let spared = spotter(&["convert", "--random", "1", "--config", "tiny", "--out", &folder, "--force"]);
    assert_eq!((spared.code, scratch.read("mine/letter.txt").as_str()), (Some(2), "dear"), "{}", spared.stderr);
    assert!(spotter(&["check", &model()]).code == Some(0));
}

#[test]
fn a_square_model_becomes_one_for_wide_pictures() {
    let scratch = Scratch::new();
    let sizes = include_str!("../configs/model/tiny.toml")
        .replace("canvas = { width = 128, height = 128 }", "canvas = { width = 256, height = 256 }");
    let sizes = scratch.write("tiny-256.toml", sizes.as_bytes());
    let (square, wide, stretched) = (scratch.file("square"), scratch.file("wide"), scratch.file("stretched"));
    spotter(&["convert", "--random", "7", "--config", &sizes, "--out", &square]).expect_success();
    let ran = spotter(&["convert", &square, "--canvas", "256x128", "--out", &wide]).expect_success();
    assert!(ran.stderr.contains("positions in the middle of those of 256x256"), "{}", ran.stderr);
    let read = |dir: &str, name: &str| std::fs::read(format!("{dir}/{name}")).expect("read");
    assert_eq!(read(&square, "model.safetensors"), read(&wide, "model.safetensors"), "the weights are the same");
    let config: serde_json::Value = serde_json::from_slice(&read(&wide, "config.json")).expect("JSON");
    assert_eq!(config["canvas"], serde_json::json!({"width": 256, "height": 128}));
    assert_eq!(config["pos_canvas"], serde_json::json!({"width": 256, "height": 256}));
    let picture = picture(&scratch, "a.png", (200, 100));
    let line = spotter(&["ground", &picture, "--query", "a", "--model", &wide]).expect_success().lines()[0].clone();
    assert_eq!(line["status"], "box", "{line}");
    spotter(&["check", &wide, "--deep"]).expect_success();

    let ran = spotter(&["convert", &square, "--canvas", "384x256", "--out", &stretched]).expect_success();
    assert!(ran.stderr.contains("positions stretched from 256x256"), "{}", ran.stderr);
    assert!(ran.stderr.contains("are a start for training"), "{}", ran.stderr);
    for (args, reason) in [
        (["convert", &square, "--canvas", "250x100"], "expected a multiple of 64"),
        (["convert", &square, "--canvas", "250"], "expected width and height in pixels"),
        (["convert", &sizes, "--canvas", "256x128"], "is for a model directory"),
    ] {
        let ran = spotter(&[&args[..], &["--out", &scratch.file("none")]].concat());
        assert_eq!(ran.code, Some(2), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(reason), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn a_model_of_several_canvases_becomes_one_of_one_of_them() {
    let scratch = Scratch::new();
    let own = "canvas = { width = 128, height = 128 }";
    let several = format!("{own}\ncanvases = [{{ width = 256, height = 128 }}, {{ width = 128, height = 256 }}]");
    let sizes = include_str!("../configs/model/tiny.toml").replace(own, &several);
    assert!(sizes.contains("canvases"));
    let sizes = scratch.write("several.toml", sizes.as_bytes());
    let (vocabulary, checkpoint, all) = (vocabulary(&scratch), fixture("tiny_checkpoint.pth"), scratch.file("all"));
    let checkpoint = checkpoint.to_str().expect("UTF-8");
    spotter(&["convert", checkpoint, "--config", &sizes, "--tokenizer", &vocabulary, "--out", &all]).expect_success();
    let boxed = |picture: &str, model: &str| {
        let ran = spotter(&["ground", picture, "--query", "w5 w6", "--model", model]).expect_success();
        let found = &ran.lines()[0]["box_norm"];
        ["x", "y", "w", "h"].map(|key| found[key].as_f64().expect("a number"))
    };
    // Pictures that take the canvas in question, of all that the model is for.
    for (canvas, size, how) in [
        ("256x128", (200, 100), "positions sampled from 128x128"),
        ("128x256", (100, 200), "positions sampled from 128x128"),
        ("128x128", (100, 100), "positions as they are, those of 128x128"),
    ] {
        let one = scratch.file(canvas);
        let ran = spotter(&["convert", &all, "--canvas", canvas, "--out", &one]).expect_success();
        assert!(ran.stderr.contains(how), "{canvas}: {}", ran.stderr);
        assert!(!ran.stderr.contains("are a start for training"), "{canvas}: {}", ran.stderr);
        let config: serde_json::Value =
            serde_json::from_str(&scratch.read(&format!("{canvas}/config.json"))).expect("JSON");
        assert!(config.get("canvases").is_none() && config.get("pos_canvas").is_none(), "{config}");
        let check = spotter(&["check", &one, "--deep"]).expect_success().stdout;
        for said in [format!("canvas      {canvas}").as_str(), "weights     trained", "verified"] {
            assert!(check.contains(said), "{said} is not in {check}");
        }
        let picture = picture(&scratch, &format!("{canvas}.png"), size);
        for (one, other) in boxed(&picture, &one).into_iter().zip(boxed(&picture, &all)) {
            assert!((one - other).abs() < 1e-3, "{canvas}: {one} and {other}");
        }
    }
    // One that it never saw is no model yet, and has none of the others either.
    let stretched = scratch.file("stretched");
    let ran = spotter(&["convert", &all, "--canvas", "384x256", "--out", &stretched]).expect_success();
    assert!(ran.stderr.contains("are a start for training"), "{}", ran.stderr);
    assert!(!scratch.read("stretched/config.json").contains("canvases"));
    let check = spotter(&["check", &stretched, "--deep"]).expect_success().stdout;
    assert!(check.contains("weights     untrained"), "{check}");
}
