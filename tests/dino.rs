//! Models of the Grounding DINO family through the verbs, with small random ones: checked, converted, calibrated, and refused
//! where something is wrong with them.

use std::collections::{BTreeSet, HashMap};

use candle_core::{Device, Tensor};

use crate::support::{Scratch, grounding_dino, json_lines, repository, spotter};

/// A copy of a model that a test may change.
fn copied(name: &str) -> Scratch {
    let scratch = Scratch::new();
    for entry in std::fs::read_dir(grounding_dino(name)).expect("listed") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), scratch.path().join(entry.file_name())).expect("copied");
    }
    scratch
}

fn folder(scratch: &Scratch) -> String {
    scratch.path().to_str().expect("UTF-8").to_owned()
}

/// Writes the weights anew, changed.
fn rewrite(model: &Scratch, change: impl FnOnce(&mut HashMap<String, Tensor>)) {
    let file = model.file("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).expect("readable");
    change(&mut tensors);
    candle_core::safetensors::save(&tensors, &file).expect("written");
}

/// Pictures that differ, as PNG.
fn picture(scratch: &Scratch, number: u32) -> String {
    let file = scratch.file(&format!("{number}.png"));
    let rgb = image::RgbImage::from_fn(96, 64, |x, y| {
        let at = |factor: u32| ((x * factor + y * (number + 1) * 3) * (number + 2) % 256) as u8;
        image::Rgb([at(2), at(5), at(11 + number)])
    });
    rgb.save(&file).expect("saved");
    file
}

#[test]
fn a_whole_model_is_described_and_run() {
    for (name, class) in [("idea-7", "grounding-dino"), ("mm-12", "mm-grounding-dino")] {
        let model = grounding_dino(name);
        let said = spotter(&["check", &model]).expect_success().stdout;
        for line in [&format!("family      Grounding DINO ({class})"), "not calibrated", "weights     f32 in"] {
            assert!(said.contains(line), "{line} in {said}");
        }
        assert!(!said.contains("grounding  "), "{said}");
        let deep = spotter(&["check", &model, "--deep"]).expect_success().stdout;
        assert!(deep.contains("grounding   \"a person\" has presence 0."), "{deep}");
    }
}

#[test]
fn what_is_wrong_with_a_checkpoint_is_told_name_by_name() {
    let refused = |model: &Scratch, flags: &[&str]| {
        let ran = spotter(&[&["check", &folder(model)], flags].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{}", ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        ran.stderr
    };
    let model = copied("idea-7");
    rewrite(&model, |tensors| {
        let other = Tensor::zeros((3, 5), candle_core::DType::F32, &Device::Cpu).expect("zeros");
        tensors.remove("model.level_embed").expect("was there");
        tensors.insert("model.text_projection.weight".into(), other.clone());
        tensors.insert("model.of.another".into(), other);
    });
    for flags in [&[][..], &["--deep"]] {
        let said = refused(&model, flags);
        assert!(said.contains("1 tensors missing, 1 of another shape"), "{said}");
        for line in [
            "missing model.level_embed [",
            "wrong model.text_projection.weight [3, 5], expected [",
            "extra model.of.another",
        ] {
            assert!(said.contains(line), "{line} in {said}");
        }
    }
    // Weights of another architecture.
    let model = copied("idea-7");
    std::fs::copy(repository().join("models/spotter-tiny/model.safetensors"), model.file("model.safetensors"))
        .expect("copied");
    let said = refused(&model, &[]);
    assert!(said.contains("does not fit its config.json") && said.contains("  and "), "{said}");
    // Damage that no name tells of.
    let model = copied("mm-7");
    rewrite(&model, |tensors| {
        let bad = tensors["model.level_embed"].affine(0.0, f64::INFINITY).expect("made");
        tensors.insert("model.level_embed".into(), bad);
    });
    spotter(&["check", &folder(&model)]).expect_success();
    let said = refused(&model, &["--deep"]);
    assert!(said.contains("1 of its tensors hold what is no number, first `model.level_embed`"), "{said}");
}

#[test]
fn what_is_no_model_of_the_family_is_one_clear_error() {
    let scratch = Scratch::new();
    let picture = picture(&scratch, 1);
    let refused = |model: &Scratch| {
        let grounded = spotter(&["ground", &picture, "--query", "a red car", "--model", &folder(model)]);
        let checked = spotter(&["check", &folder(model)]);
        for ran in [&grounded, &checked] {
            assert!(matches!(ran.code, Some(1 | 2)) && !ran.stderr.contains("panicked"), "{}", ran.stderr);
            assert_eq!(ran.stderr.trim().lines().count(), 1, "{}", ran.stderr);
            assert_eq!(ran.stdout, "");
        }
        assert_eq!(grounded.stderr, checked.stderr);
        grounded.stderr
    };
    let config = |change: &dyn Fn(&mut serde_json::Value)| {
        let model = copied("idea-7");
        let mut json: serde_json::Value = serde_json::from_str(&model.read("config.json")).expect("JSON");
        change(&mut json);
        model.write("config.json", json.to_string().as_bytes());
        refused(&model)
    };
    let said = config(&|json| json["model_type"] = "detr".into());
    assert!(said.contains("`model_type` is \"detr\", expected qrnet or grounding-dino"), "{said}");
    let said = config(&|json| json["d_model"] = 100.into());
    assert!(said.contains("`d_model` is 100, expected a multiple of 32"), "{said}");
    let said = config(&|json| json["num_queries"] = 0.into());
    assert!(said.contains("`num_queries` is 0, expected from 1"), "{said}");
    let said = config(&|json| json["encoder_attention_heads"] = 4_000_000_000u64.into());
    assert!(said.contains("`encoder_attention_heads` is 4000000000, expected from 1"), "{said}");

    let model = copied("idea-7");
    model.write("vocab.txt", b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n.\nred\ncar\n");
    let said = refused(&model);
    assert!(said.contains("vocab.txt: reads a full stop as"), "{said}");

    let model = copied("mm-12");
    std::fs::remove_file(model.file("model-00002-of-00005.safetensors")).expect("removed");
    let said = refused(&model);
    assert!(said.contains("model-00002-of-00005.safetensors") && said.contains("not whole"), "{said}");
}

#[test]
fn queries_without_words_and_too_many_of_them() {
    let scratch = Scratch::new();
    let (picture, model) = (picture(&scratch, 1), grounding_dino("idea-7"));
    for text in ["?!", ".", " ... "] {
        let ran = spotter(&["ground", &picture, "--query", text, "--model", &model]);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains("expected words that describe an object"), "{}", ran.stderr);
    }
    let queries: Vec<String> = (0..300).map(|number| format!("red car {number}")).collect();
    let mut args = vec!["ground", &picture, "--model", &model];
    args.extend(queries.iter().flat_map(|query| ["--query", query.as_str()]));
    let ran = spotter(&args);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("asks 300 queries, expected at most 64"), "{}", ran.stderr);
    // As many as there may be are more than one pass of the model takes.
    args.truncate(4 + 2 * 64);
    let ran = spotter(&args).expect_success();
    assert_eq!(ran.stdout.lines().count(), 1);
    let record: serde_json::Value = serde_json::from_str(ran.stdout.trim()).expect("JSON");
    assert_eq!(record["queries"].as_array().map(Vec::len), Some(64));
}

fn names(file: &str) -> BTreeSet<String> {
    let bytes = std::fs::read(file).expect("read");
    safetensors::SafeTensors::deserialize(&bytes).expect("safetensors").names().into_iter().map(String::from).collect()
}

#[test]
fn half_the_size_and_the_same_names() {
    let scratch = Scratch::new();
    let (model, out) = (grounding_dino("mm-7"), scratch.file("half"));
    let args = ["convert", &model, "--dtype", "f16", "--out", &out];
    spotter(&args).expect_success();
    assert_eq!(names(&format!("{model}/model.safetensors")), names(&format!("{out}/model.safetensors")));
    let said = spotter(&["check", &out, "--deep"]).expect_success().stdout;
    assert!(said.contains("weights     f16 in 1 file") && said.contains(", verified"), "{said}");
    let picture = picture(&scratch, 3);
    let presence = |model: &str| {
        let ran = spotter(&["ground", &picture, "--query", "a red car", "--model", model]).expect_success();
        ran.lines()[0]["presence"].as_f64().expect("a score")
    };
    let (before, after) = (presence(&model), presence(&out));
    assert!((before - after).abs() < 5e-3, "{before} and {after}");

    // Damage to a model that was written here is seen.
    let weights = format!("{out}/model.safetensors");
    let mut bytes = std::fs::read(&weights).expect("read");
    *bytes.last_mut().expect("bytes") ^= 1;
    std::fs::write(&weights, bytes).expect("written");
    let ran = spotter(&["check", &out, "--deep"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("a file was changed"), "{}", ran.stderr);

    for (flags, reason) in [
        (&["--out", &out][..], "exists already"),
        (&["--out", &scratch.file("a.safetensors")], "the model is a folder"),
        (&["--out", &scratch.file("b"), "--canvas", "640x384"], "--canvas: has no meaning"),
        (&["--out", &scratch.file("b"), "--config", "tiny"], "--config: has no meaning"),
    ] {
        let ran = spotter(&[&["convert", &model], flags].concat());
        assert!(ran.code == Some(2) && ran.stderr.contains(reason), "{reason:?} is not in {}", ran.stderr);
    }
}

/// A set of pictures and sentences, in which the things are called there that the model scores highest, but for some.
fn set(scratch: &Scratch, model: &str) -> String {
    let mut scored: Vec<(f64, String, &str)> = Vec::new();
    for number in 0..12 {
        let picture = picture(scratch, number);
        for phrase in ["a red car", "the dog", "small blue umbrella"] {
            let ran = spotter(&["ground", &picture, "--query", phrase, "--model", model]).expect_success();
            scored.push((ran.lines()[0]["presence"].as_f64().expect("a score"), picture.clone(), phrase));
        }
    }
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = scored.len() / 2;
    let mut lines = String::new();
    for (place, (_, picture, phrase)) in scored.iter().enumerate() {
        let is_there = (place >= half) != (place % 7 == 3);
        let target =
            if is_there { serde_json::json!({"x": 5, "y": 5, "w": 20, "h": 20}) } else { serde_json::Value::Null };
        let line = serde_json::json!({"image": picture, "phrase": phrase, "box": target});
        lines.extend([line.to_string(), "\n".to_owned()]);
    }
    scratch.write("set.jsonl", lines.as_bytes());
    scratch.write(
        "sets.toml",
        b"name = \"asked\"\n[[eval]]\nname = \"asked\"\n[[eval.lists]]\nformat = \"jsonl\"\nfile = \"set.jsonl\"\n",
    )
}

#[test]
fn calibrated_scores_are_probabilities() {
    let (scratch, model) = (Scratch::new(), copied("mm-7"));
    let dir = folder(&model);
    let sets = set(&scratch, &dir);
    let picture = picture(&scratch, 5);
    let asked = ["ground", &picture, "--query", "a red car", "--model", &dir];
    let before = spotter(&asked).expect_success();
    assert_eq!(before.stderr.matches("are no probabilities").count(), 1, "{}", before.stderr);
    let figures = || {
        let json = scratch.file("out.json");
        spotter(&["eval", &sets, "--model", &dir, "--json", &json]).expect_success();
        let figures: serde_json::Value = serde_json::from_str(&scratch.read("out.json")).expect("JSON");
        let all = &figures["asked"]["all"];
        [&all["calibration_error"], &all["auroc"]["value"]].map(|value| value.as_f64().expect("a number"))
    };
    let [error_before, ranked] = figures();
    let args = ["calibrate", &sets, "--split", "asked", "--model", &dir];
    let ran = spotter(&args).expect_success();
    assert!(ran.stderr.contains("36 questions, AUROC") && ran.stderr.contains("calibration error"), "{}", ran.stderr);
    let written: serde_json::Value = serde_json::from_str(&model.read("calibration.json")).expect("JSON");
    let number = |key: &str| written[key].as_f64().unwrap_or_else(|| panic!("{key} in {written}"));
    assert!(number("temperature") > 0.0 && (0.0..=1.0).contains(&number("threshold")), "{written}");
    let [error_after, ranked_after] = figures();
    assert!(error_after < error_before, "{error_before} before, {error_after} after");
    assert!((ranked - ranked_after).abs() < 1e-3, "the order stays: {ranked}, {ranked_after}");

    let after = spotter(&asked).expect_success();
    assert!(!after.stderr.contains("are no probabilities"), "{}", after.stderr);
    let record = &after.lines()[0];
    let presence = |record: &serde_json::Value| record["presence"].as_f64().expect("a number");
    // Both stand in records with four decimals.
    let rounded = 0.5001e-4;
    let score = presence(&before.lines()[0]);
    let by_hand = |score: f64| {
        let logit = (score / (1.0 - score)).ln() / number("temperature") + number("offset");
        1.0 / (1.0 + (-logit).exp())
    };
    let range = by_hand(score - rounded) - rounded..=by_hand(score + rounded) + rounded;
    assert!(range.contains(&presence(record)), "{} of {score}, by hand {range:?}", presence(record));
    assert!(range.end() - range.start() < 2e-2, "{range:?} says something");
    assert_eq!(record["status"] == "box", presence(record) >= number("threshold"), "{record} and {written}");
    let said = spotter(&["check", &dir]).expect_success().stdout;
    assert!(said.contains("presence    calibrated, there from"), "{said}");

    // It goes with the model into another element type, and is nobody else's.
    let half = scratch.file("half");
    spotter(&["convert", &dir, "--dtype", "f16", "--out", &half]).expect_success();
    assert!(spotter(&["check", &half]).expect_success().stdout.contains("presence    calibrated"));
    std::fs::copy(model.file("calibration.json"), format!("{half}/calibration.json")).expect("copied");
    let ran = spotter(&["check", &half]);
    assert!(ran.code == Some(1) && ran.stderr.contains("was made for model"), "{}", ran.stderr);

    for (flags, reason) in [
        (&[][..], "exists already; replace it with --force"),
        (&["--out", "elsewhere"], "--out: has no meaning for this model"),
        (&["--dtype", "f16"], "--dtype: has no meaning for this model"),
    ] {
        let ran = spotter(&[&args[..], flags].concat());
        assert!(ran.code == Some(2) && ran.stderr.contains(reason), "{reason:?} is not in {}", ran.stderr);
    }
    // Scores are calibrated, not what was made of them before.
    let first = model.read("calibration.json");
    spotter(&[&args[..], &["--force"]].concat()).expect_success();
    assert_eq!(json_lines(&first.replace('\n', "")), json_lines(&model.read("calibration.json").replace('\n', "")));
}
