//! Wrong use and broken files: one clear message, the right exit code, nothing left behind.

use crate::support::{Scratch, bikes, clip, fixture, model, picture, spotter, tool};

/// Runs the program and writes down what a user would see.
fn seen(scratch: &Scratch, args: &[&str]) -> String {
    let before = scratch.names();
    let ran = spotter(args);
    assert_eq!(scratch.names(), before, "{args:?} left something behind");
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    assert_eq!(ran.stdout, "", "{args:?}: no data comes out of a failure");
    let stderr: Vec<&str> =
        ran.stderr.lines().filter(|line| !line.contains("untrained") && !line.contains(" frames/s")).collect();
    let text = scratch.generic(&stderr.join("\n")).replace(&model(), "MODEL").replace(&bikes(), "bikes.mp4");
    let text = text.replace(&fixture("").display().to_string(), "FIXTURES/");
    format!("exit {}\n{text}", ran.code.expect("an exit code"))
}

#[test]
fn queries() {
    let scratch = Scratch::new();
    let picture = picture(&scratch, "a.png", (60, 40));
    let model = model();
    let query = |text: &str| seen(&scratch, &["ground", &picture, "--model", &model, "--query", text]);
    insta::assert_snapshot!("empty", query(""));
    insta::assert_snapshot!("blank", query("  \t "));
    insta::assert_snapshot!("unreadable", query("猫と犬"));

    let long = spotter(&["ground", &picture, "--model", &model, "--query", "abcdefgh ijk lmn"]).expect_success();
    assert!(long.stderr.contains("is longer than the model's 8 pieces; cut off: \"ijk lmn\""), "{}", long.stderr);
    let partly = spotter(&["ground", &picture, "--model", &model, "--query", "cat 猫"]).expect_success();
    assert!(partly.stderr.contains("does not know [\"猫\"]"), "{}", partly.stderr);
    // What nobody would read is not quoted whole.
    for endless in ["猫".repeat(3000), format!("cat {}", "x".repeat(3000))] {
        let said = spotter(&["ground", &picture, "--model", &model, "--query", &endless]).stderr;
        assert!(said.contains("\"…") && said.chars().count() < 1000, "{said}");
    }
}

#[test]
fn sources() {
    let scratch = Scratch::new();
    let (jsonl, mp4) = (format!("jsonl:{}", scratch.file("o.jsonl")), format!("mp4:{}", scratch.file("o.mp4")));
    let model = model();
    let run = |source: &str| {
        seen(&scratch, &["run", "--source", source, "--query", "a", "--model", &model, "--out", &jsonl, "--out", &mp4])
    };
    insta::assert_snapshot!("source_missing", run(&scratch.file("nothing.mp4")));
    insta::assert_snapshot!("source_folder", run(scratch.path().to_str().expect("UTF-8")));
    insta::assert_snapshot!("source_scheme", run("ftp://camera/1"));
    let empty = scratch.write("empty.mp4", b"");
    insta::assert_snapshot!("source_empty", run(&empty));
    let noise = scratch.write("noise.mp4", &[0x5a; 5000]);
    insta::assert_snapshot!("source_noise", run(&noise));
    let whole = std::fs::read(bikes()).expect("read");
    // Its index stands at the end, so half of it does not play at all.
    let cut = scratch.write("cut.mp4", &whole[..whole.len() / 2]);
    insta::assert_snapshot!("source_cut", run(&cut));
    let sound = scratch.file("sound.wav");
    tool("ffmpeg", &["-v", "error", "-f", "lavfi", "-i", "sine=duration=1", &sound]);
    insta::assert_snapshot!("source_sound_only", run(&sound));
}

#[test]
fn outputs_and_options() {
    let scratch = Scratch::new();
    let model = model();
    let source = clip(&scratch, "clip.mkv", "64x64", 2, &["-c:v", "ffv1", "-pix_fmt", "yuv420p"]);
    let run = |extra: &[&str]| {
        let mut args = vec!["run", "--source", &source, "--query", "a", "--model", &model];
        args.extend(extra);
        seen(&scratch, &args)
    };
    insta::assert_snapshot!("out_kind", run(&["--out", "avi:x.avi"]));
    insta::assert_snapshot!("out_folder_missing", run(&["--out", "mp4:/nowhere/x.mp4"]));
    insta::assert_snapshot!("out_is_source", run(&["--out", &format!("mp4:{source}")]));
    insta::assert_snapshot!("out_is_source_by_address", {
        let address = format!("file://{source}");
        seen(
            &scratch,
            &["run", "--source", &address, "--query", "a", "--model", &model, "--out", &format!("mp4:{source}")],
        )
    });
    insta::assert_snapshot!("out_twice", run(&["--out", "jsonl:-", "--out", "jsonl:-"]));
    let around =
        format!("jsonl:{}/../{}/o", scratch.path().display(), scratch.path().file_name().expect("a name").display());
    insta::assert_snapshot!(
        "out_twice_by_another_name",
        run(&["--out", &format!("mp4:{}", scratch.file("o")), "--out", &around])
    );
    let small = clip(&scratch, "small.mkv", "8x8", 2, &["-c:v", "ffv1", "-pix_fmt", "yuv420p"]);
    insta::assert_snapshot!("too_small_for_video", {
        seen(
            &scratch,
            &[
                "run",
                "--source",
                &small,
                "--query",
                "a",
                "--model",
                &model,
                "--out",
                &format!("mp4:{}", scratch.file("o.mp4")),
            ],
        )
    });
    insta::assert_snapshot!("threshold_without_head", run(&["--out", "jsonl:-", "--threshold", "0.4"]));
    insta::assert_snapshot!("static_gate", run(&["--out", "jsonl:-", "--static-gate", "0"]));
    insta::assert_snapshot!("static_recheck", run(&["--out", "jsonl:-", "--static-recheck", "9"]));
    insta::assert_snapshot!("device", run(&["--out", "jsonl:-", "--device", "tpu"]));
    insta::assert_snapshot!("device_cuda", run(&["--out", "jsonl:-", "--device", "cuda"]));
    let foreign = scratch.file("foreign.safetensors");
    let a = picture(&scratch, "a.png", (60, 40));
    spotter(&["ground", &a, "--query", "cat", "--save-query", &foreign]).expect_success();
    let compiled = |file: &str| {
        let args = ["run", "--source", &bikes(), "--model", &model, "--out", "jsonl:-", "--compiled-query", file];
        seen(&scratch, &args)
    };
    insta::assert_snapshot!("compiled_query_missing", compiled(&scratch.file("nothing.safetensors")));
    insta::assert_snapshot!("compiled_query_none", compiled(&a));
    let said = compiled(&foreign);
    assert!(said.starts_with("exit 2") && said.contains("compile the query again with this model"), "{said}");
    insta::assert_snapshot!("precision_cpu", run(&["--out", "jsonl:-", "--precision", "f16"]));
}

#[test]
fn pictures() {
    let scratch = Scratch::new();
    let good = picture(&scratch, "good.png", (60, 40));
    let model = model();
    let two =
        seen(&scratch, &["ground", &good, &good, "--query", "a", "--model", &model, "--out", &scratch.file("o.png")]);
    insta::assert_snapshot!("two_pictures_one_file", two);
    let out = |out: &str| seen(&scratch, &["ground", &good, "--query", "a", "--model", &model, "--out", out]);
    insta::assert_snapshot!("drawing_over_the_picture", out(&good));
    insta::assert_snapshot!("drawing_over_the_picture_in_its_folder", out(scratch.path().to_str().expect("UTF-8")));
    let jpeg = scratch.file("whole.jpg");
    image::open(&good).expect("a picture").into_rgb8().save(&jpeg).expect("saved");
    let jpeg = std::fs::read(jpeg).expect("read");
    let whole = std::fs::read(&good).expect("read");
    for (name, bytes) in [
        ("empty.png", &b""[..]),
        ("noise.png", b"no picture"),
        ("cut.png", &whole[..whole.len() / 3]),
        ("cut.jpg", &jpeg[..jpeg.len() - 40]),
    ] {
        let file = scratch.write(name, bytes);
        let before = scratch.names();
        let ran = spotter(&["ground", &file, "--query", "a", "--model", &model, "--out", &scratch.file("o.png")]);
        assert_eq!((ran.code, scratch.names()), (Some(1), before), "{name}");
        insta::assert_snapshot!(format!("picture_{name}"), scratch.generic(&ran.stderr).replace(&model, "MODEL"));
    }
}

#[test]
fn models_and_checkpoints() {
    let scratch = Scratch::new();
    let picture = picture(&scratch, "a.png", (60, 40));
    let ground = |model: &str| seen(&scratch, &["ground", &picture, "--query", "a", "--model", model]);
    insta::assert_snapshot!("model_missing", ground(&scratch.file("nothing")));
    insta::assert_snapshot!("model_is_a_file", ground(&picture));

    let dir = scratch.file("model");
    let fresh = || {
        spotter(&["convert", "--random", "1", "--config", "tiny", "--out", &dir, "--force"]).expect_success();
    };
    let change = |key: &str, to: serde_json::Value| {
        fresh();
        let file = format!("{dir}/config.json");
        let mut json: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&file).expect("read")).expect("JSON");
        *json.pointer_mut(key).expect("a key") = to;
        std::fs::write(&file, json.to_string()).expect("written");
        ground(&dir)
    };
    insta::assert_snapshot!("canvas", change("/canvas/width", 100.into()));
    insta::assert_snapshot!("config_contradicts_weights", change("/vl/dim_feedforward", 81.into()));
    insta::assert_snapshot!("config_asks_for_more", change("/vl/enc_layers", 3.into()));
    fresh();
    std::fs::remove_file(format!("{dir}/tokenizer.json")).expect("removed");
    insta::assert_snapshot!("tokenizer_missing", ground(&dir));
    insta::assert_snapshot!("deeper_than_any_model", change("/swin/depths", serde_json::json!([1u64 << 60, 2, 2, 2])));
    insta::assert_snapshot!("negative_eps", change("/bert/layer_norm_eps", (-1).into()));
    fresh();
    let weights = format!("{dir}/model.safetensors");
    let bytes = std::fs::read(&weights).expect("read");
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).expect("written");
    insta::assert_snapshot!("weights_cut", ground(&dir));
    std::fs::write(&weights, b"").expect("written");
    insta::assert_snapshot!("weights_empty", ground(&dir));

    // Weights that are no numbers: the last tensor of the file is one that every box depends on.
    let mut broken = bytes.clone();
    let start = broken.len() - 4 * 8;
    broken[start..].fill(0xff);
    std::fs::write(&weights, &broken).expect("written");
    insta::assert_snapshot!("weights_not_numbers", ground(&dir));

    let vocabulary = scratch.write("vocab.txt", b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n");
    let new = scratch.file("new");
    let convert = |input: &str, config: &str| {
        seen(&scratch, &["convert", input, "--config", config, "--tokenizer", &vocabulary, "--out", &new])
    };
    let whole = std::fs::read(fixture("tiny_checkpoint.pth")).expect("read");
    let cut = scratch.write("cut.pth", &whole[..whole.len() / 2]);
    insta::assert_snapshot!("checkpoint_cut", convert(&cut, "tiny"));
    let old = scratch.write("old.pth", b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.");
    insta::assert_snapshot!("checkpoint_old", convert(&old, "tiny"));
    let tiny = fixture("tiny.safetensors");
    let tiny = tiny.to_str().expect("UTF-8");
    insta::assert_snapshot!("variant_misspelt", convert(tiny, "tinny"));
    insta::assert_snapshot!("variant_of_other_size", convert(tiny, "small"));
    let text = std::fs::read_to_string(crate::support::repository().join("configs/model/tiny.toml")).expect("read");
    let misspelt = scratch.write("mine.toml", text.replace("window_size", "windowsize").as_bytes());
    insta::assert_snapshot!("config_misspelt", convert(tiny, &misspelt));
    let no_vocabulary = seen(&scratch, &["convert", tiny, "--config", "tiny", "--out", &new]);
    insta::assert_snapshot!("tokenizer_needed", no_vocabulary);
}
