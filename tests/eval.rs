//! `spotter eval`: its accuracy against one counted by hand from the boxes that `spotter ground` gives.

use crate::support::{
    Scratch, clip, command, grounding_dino, json_lines, model, model_with_presence, of_schema, repository, spotter,
    turn,
};

/// The pictures and phrases of the REFER fixture, with the boxes that its `instances.json` gives: `(x, y, w, h)`.
const TRUTH: [(&str, &str, [f64; 4]); 4] = [
    ("one.png", "red box on the left", [8.73, 10.99, 20.51, 16.4]),
    ("one.png", "man's box", [8.73, 10.99, 20.51, 16.4]),
    ("two.png", "blue thing", [5.0, 6.5, 12.9, 30.2]),
    ("two.png", "the whole", [0.0, 0.0, 40.0, 60.0]),
];
const SPLITS: [(&str, std::ops::Range<usize>); 3] = [("train", 0..2), ("testA", 2..3), ("val", 3..4)];

/// Published boxes are read as whole pixels: corner and size cut off, as the reference does.
fn overlap(found: &serde_json::Value, truth: [f64; 4]) -> f64 {
    let side = |key: &str| found[key].as_f64().expect("a number");
    let [x, y, w, h] = truth.map(f64::trunc);
    let found = [side("x"), side("y"), side("x") + side("w"), side("y") + side("h")];
    let width = (found[2].min(x + w) - found[0].max(x)).max(0.0);
    let height = (found[3].min(y + h) - found[1].max(y)).max(0.0);
    let area = (found[2] - found[0]) * (found[3] - found[1]);
    width * height / (area + w * h - width * height)
}

fn fixtures() -> std::path::PathBuf {
    repository().join("crates/qrnet-train/tests/fixtures")
}

/// A recipe whose sets are the splits of the fixture, and one of drawn shapes.
fn recipe(scratch: &Scratch) -> String {
    let folder = fixtures().display().to_string();
    let mut text = String::from(
        "name = \"eval\"\nseed = 1\nmodel = \"tiny\"\ntokenizer = \"words\"\nsteps = 1\nbatch = 1\n\
         [optimiser]\nrate = 1e-3\nweight_decay = 0.0\n\
         [[phase]]\n[phase.scenes]\nshapes = 0.0\nstyles = [\"nowhere\"]\n",
    );
    for (split, _) in SPLITS {
        text.extend([format!(
            "[[eval]]\nname = \"{split}\"\n[[eval.lists]]\nformat = \"refer\"\nname = \"fixture\"\n\
             folder = \"{folder}/refer\"\npictures = \"{folder}/pictures\"\nrefs = \"unc\"\nsplit = \"{split}\"\n"
        )]);
    }
    text += "[[eval]]\nname = \"drawn\"\ncount = 12\n[eval.scenes]\nside = 64\nsizes = [0.3, 0.5]\nobjects = [2, 3]\n";
    scratch.write("eval.toml", text.as_bytes())
}

#[test]
fn accuracy_is_what_grounding_each_picture_gives() {
    let scratch = Scratch::new();
    let recipe = recipe(&scratch);
    let measured = |model: &str, threshold: &[&str], compiled: bool| {
        let overlaps: Vec<f64> = TRUTH
            .iter()
            .map(|(picture, phrase, truth)| {
                let picture = fixtures().join("pictures").join(picture);
                let picture = picture.to_str().expect("UTF-8");
                let asked = ["ground", picture, "--query", phrase, "--model", model];
                let ran = spotter(&[&asked[..], threshold].concat()).expect_success();
                overlap(&ran.lines()[0]["box"], *truth)
            })
            .collect();
        let json = scratch.file("out.json");
        for (split, range) in SPLITS {
            let mut args = vec!["eval", &recipe, "--model", model, "--split", split, "--json", &json];
            args.extend(compiled.then_some("--compiled"));
            let ran = spotter(&args).expect_success();
            let figures = &json_lines(&scratch.read("out.json").replace('\n', ""))[0][split]["all"];
            let overlaps = &overlaps[range];
            assert_eq!(figures["examples"], overlaps.len(), "{split}");
            for (i, threshold) in [0.5, 0.3, 0.7, 0.9].into_iter().enumerate() {
                let right = overlaps.iter().filter(|overlap| **overlap >= threshold).count();
                let share = right as f64 / overlaps.len() as f64;
                assert_eq!(figures["accuracy"][i]["share"]["value"], share, "{split} at {threshold}: {figures}");
                let line = format!("Acc@{threshold:.1} {share:.4}");
                assert!(ran.stdout.contains(&line), "{line} in {}", ran.stdout);
            }
            let mean = overlaps.iter().sum::<f64>() / overlaps.len() as f64;
            let found = figures["mean_iou"]["value"].as_f64().expect("a mean");
            assert!((found - mean).abs() < 1e-3, "{split}, compiled {compiled}: mean overlap {found}, by hand {mean}");
        }
    };
    for compiled in [false, true] {
        measured(&model(), &[], compiled);
    }
    // A model of another family, whose boxes are claimed from any score on.
    measured(&grounding_dino("idea-7"), &["--threshold", "0"], false);
    measured(&grounding_dino("mm-12"), &["--threshold", "0"], true);
}

/// Four boxes whose overlap with `found` is known: moved aside by `s`, a box of width `w` overlaps `(w - s) / (w + s)`;
/// one of half its sides, inside it, a quarter.
fn around(found: &serde_json::Value) -> [(f64, [f64; 4]); 4] {
    let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| found[key].as_f64().expect("a number"));
    let aside = |overlap: f64| (overlap, [x + w * (1.0 - overlap) / (1.0 + overlap), y, w, h]);
    [aside(0.95), aside(0.6), aside(0.4), (0.25, [x + 0.25 * w, y + 0.25 * h, 0.5 * w, 0.5 * h])]
}

#[test]
fn shares_are_those_of_boxes_with_known_overlaps() {
    let scratch = Scratch::new();
    let (recipe, model) = (recipe(&scratch), model());
    let picture = fixtures().join("pictures/one.png");
    let picture = picture.to_str().expect("UTF-8");
    let ran = spotter(&["ground", picture, "--query", "red box", "--model", &model]).expect_success();
    let mut lines = format!("{{\"image\": {picture:?}, \"phrase\": \"red box\", \"box\": null}}\n");
    for (_, [x, y, w, h]) in around(&ran.lines()[0]["box"]) {
        let target = serde_json::json!({ "x": x, "y": y, "w": w, "h": h });
        lines.extend([format!("{{\"image\": {picture:?}, \"phrase\": \"red box\", \"box\": {target}}}\n")]);
    }
    scratch.write("known.jsonl", lines.as_bytes());
    let text = scratch.read("eval.toml")
        + "[[eval]]\nname = \"known\"\n[[eval.lists]]\nformat = \"jsonl\"\nfile = \"known.jsonl\"\n";
    scratch.write("eval.toml", text.as_bytes());
    for extra in [&[][..], &["--compiled"]] {
        let mut args = vec!["eval", &recipe, "--model", &model, "--split", "known"];
        args.extend(extra);
        let stdout = spotter(&args).expect_success().stdout;
        assert!(stdout.starts_with("known: 5 examples"), "{stdout}");
        for line in ["Acc@0.5 0.5000 ± 0.2500", "Acc@0.3 0.7500", "Acc@0.7 0.2500", "Acc@0.9 0.2500"] {
            assert!(stdout.contains(line), "{line} in {stdout}");
        }
    }
}

#[test]
fn both_paths_give_the_same_tables_and_contact_sheets_show_them() {
    let scratch = Scratch::new();
    let (recipe, model) = (recipe(&scratch), model_with_presence());
    let run = |extra: &[&str]| {
        let mut args = vec!["eval", &recipe, "--model", &model, "--split", "drawn"];
        args.extend(extra);
        spotter(&args).expect_success().stdout
    };
    let plain = run(&[]);
    assert!(plain.starts_with("drawn: 12 examples\nAcc@0.5 "), "{plain}");
    assert_eq!(plain, run(&["--compiled"]).replace("12 examples, compiled", "12 examples"));
    assert!(run(&["--count", "5"]).starts_with("drawn: 5 examples\n"));
    let sheets = scratch.file("sheets");
    run(&["--draw", &sheets]);
    let drawn: Vec<_> = std::fs::read_dir(&sheets).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    assert!(!drawn.is_empty());
    for sheet in drawn {
        assert!(image::open(&sheet).expect("a picture").width() > 64, "{}", sheet.display());
    }
}

/// A clip whose labels are what a model says of it, so that everything about the model is right: recipe and model.
fn echo(scratch: &Scratch) -> (String, String) {
    let film = clip(scratch, "film.mp4", "160x120", 20, &["-c:v", "libx264", "-bf", "2"]);
    let model = model_with_presence();
    let records = format!("jsonl:{}", scratch.file("said.jsonl"));
    let common = ["--query", "red box", "--model", &model, "--threshold", "0", "--out", &records];
    spotter(&[&["run", "--source", &film], &common[..]].concat()).expect_success();
    let said = json_lines(&scratch.read("said.jsonl"));
    let rows = of_schema(&said, "spotter.frame/2").into_iter().map(|frame| {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| frame["box"][key].as_f64().expect("a box"));
        format!("{},1,{x},{y},{w},{h}\n", frame["frame_index"].as_u64().expect("a number") + 1)
    });
    // The last five frames are without it, as far as the labels know.
    let table: String = rows.take(15).collect();
    scratch.write("gt.csv", format!("frame,track,left,top,width,height\n{table}20,2,0,0,9,9\n").as_bytes());
    scratch.write("queries.toml", b"[[referent]]\nname = \"it\"\ntracks = [1]\nphrases = [\"red box\"]\n");
    let recipe = scratch.write(
        "film.toml",
        b"name = \"film\"\nseed = 1\nmodel = \"tiny\"\ntokenizer = \"words\"\nsteps = 1\nbatch = 1\n\
          optimiser = { rate = 1e-3, weight_decay = 0.0 }\n[[phase]]\n[[phase.lists]]\nformat = \"clip\"\n\
          clip = \"film.mp4\"\nlabels = \"gt.csv\"\nqueries = \"queries.toml\"\nframes = [[1, 4]]\n\
          [[eval]]\nname = \"film\"\n[[eval.lists]]\nformat = \"clip\"\nclip = \"film.mp4\"\nlabels = \"gt.csv\"\n\
          queries = \"queries.toml\"\n",
    );
    (recipe, model)
}

#[test]
fn films_by_every_path_and_from_records() {
    let scratch = Scratch::new();
    let (recipe, model) = echo(&scratch);
    let json = scratch.file("out.json");
    let figures = |flags: &[&str]| {
        spotter(&[&["eval", &recipe, "--json", &json], flags].concat()).expect_success();
        json_lines(&scratch.read("out.json").replace('\n', ""))[0]["film"].clone()
    };
    let said = scratch.file("said.jsonl");
    let paths: [&[&str]; 4] = [
        &["--model", &model],
        &["--model", &model, "--compiled"],
        &["--model", &model, "--streaming", "--threshold", "0"],
        &["--records", &said],
    ];
    for flags in paths {
        let film = figures(flags);
        let all = &film["all"];
        assert_eq!((all["examples"].as_u64(), all["present"].as_u64()), (Some(20), Some(15)), "{flags:?}");
        assert_eq!(all["accuracy"][0]["share"]["value"], 1.0, "{flags:?}: {all}");
        // Claimed on all frames: the last five are wrong, and the tube is five frames too long.
        let claims_all = flags.contains(&"0") || flags.contains(&"--records");
        if claims_all {
            assert_eq!(all["right"]["value"], 0.75, "{flags:?}");
            let viou = all["film"]["viou"]["value"].as_f64().expect("a tube");
            assert!((viou - 0.75).abs() < 2e-3, "{flags:?}: {viou}");
            let detected = all["film"]["identity"]["det_a"].as_f64().expect("ids");
            assert!((detected - 0.75).abs() < 2e-3, "{flags:?}: {detected}");
        } else {
            assert!(all["film"]["identity"].is_null(), "{flags:?}: answers to single pictures have no ids");
        }
        assert_eq!(film["by_phrase"]["red box"]["examples"], 20);
        assert_eq!(film["baselines"]["always_absent"], 0.25);
    }
    // Boxes that are carried are claims too, and are where the thing was.
    let strided = figures(&["--model", &model, "--streaming", "--threshold", "0", "--stride", "4"]);
    assert_eq!(strided["all"]["right"]["value"].as_f64().map(|right| right > 0.5), Some(true), "{strided}");

    for (flags, reason) in [
        (&["--records", &recipe][..], "line 1"),
        (&["--records", &scratch.write("none.jsonl", b"")], "nothing is recorded of any of its phrases on its film"),
        (&["--streaming", "--records", &said], "cannot be used with"),
        (&["--model", &model, "--stride", "2"], "--streaming"),
    ] {
        let ran = spotter(&[&["eval", &recipe], flags].concat());
        assert_eq!(ran.code, Some(2), "{flags:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(reason), "{reason:?} is not in {}", ran.stderr);
    }
    let all = scratch.read("said.jsonl");
    let holes: Vec<&str> = all.lines().filter(|line| !line.contains("\"seq\":7,")).collect();
    let holes = scratch.write("holes.jsonl", holes.join("\n").as_bytes());
    let ran = spotter(&["eval", &recipe, "--records", &holes]);
    assert!(ran.stderr.contains("the records of \"red box\" lack frame 8"), "{}", ran.stderr);
}

#[test]
fn all_that_match_are_measured_on_streams_and_records() {
    let scratch = Scratch::new();
    let (recipe, model) = echo(&scratch);
    let asked = "[[referent]]\nname = \"them\"\nall = true\ntracks = [1]\nphrases = [\"red box\"]\n";
    scratch.write("queries.toml", asked.as_bytes());
    let (json, said) = (scratch.file("out.json"), scratch.file("said.jsonl"));
    for flags in [&["--model", &model, "--streaming", "--threshold", "0"][..], &["--records", &said]] {
        let ran = spotter(&[&["eval", &recipe, "--json", &json], flags].concat()).expect_success();
        assert!(ran.stdout.contains("\nHOTA 0."), "{flags:?}: {}", ran.stdout);
        let figures: serde_json::Value = serde_json::from_str(&scratch.read("out.json")).expect("JSON");
        let detected = figures["film"]["all"]["film"]["identity"]["det_a"].as_f64().expect("ids");
        assert!((0.5..0.76).contains(&detected), "{flags:?}: fifteen of twenty boxes, {detected}");
    }
    let ran = spotter(&["eval", &recipe, "--model", &model]);
    assert!(ran.code == Some(2) && ran.stderr.contains("\"them\" asks for `all`"), "{}", ran.stderr);

    // A thing cannot be in two places.
    let (text, object) = (scratch.read("said.jsonl"), "\"objects\":[");
    let (before, after) = text.lines().find_map(|line| line.split_once(object)).expect("objects");
    let first = after.split_once("}]").map(|(objects, _)| format!("{objects}}}")).expect("an object");
    let twice = scratch.write("twice.jsonl", format!("{before}{object}{first},{after}\n").as_bytes());
    let ran = spotter(&["eval", &recipe, "--records", &twice]);
    assert!(ran.code == Some(2) && ran.stderr.contains(" twice, expected an id for each thing"), "{}", ran.stderr);
}

#[test]
fn a_film_that_is_turned_is_upright_on_every_path() {
    let scratch = Scratch::new();
    let film = clip(&scratch, "film.mp4", "160x96", 4, &["-c:v", "libx264"]);
    turn(&scratch, &film, 96);
    // As wide as high pictures are: outside of one that lies on its side.
    scratch.write("gt.csv", b"frame,track,left,top,width,height\n1,1,10,110,40,40\n4,1,10,110,40,40\n");
    scratch.write("queries.toml", b"[[referent]]\nname = \"it\"\ntracks = [1]\nphrases = [\"red box\"]\n");
    let recipe = scratch.write(
        "film.toml",
        b"name = \"film\"\nseed = 1\nmodel = \"tiny\"\ntokenizer = \"words\"\nsteps = 1\nbatch = 1\n\
          optimiser = { rate = 1e-3, weight_decay = 0.0 }\n[[phase]]\n[phase.scenes]\n[[eval]]\nname = \"film\"\n\
          [[eval.lists]]\nformat = \"clip\"\nclip = \"turned.mp4\"\nlabels = \"gt.csv\"\nqueries = \"queries.toml\"\n",
    );
    let model = model_with_presence();
    for path in [&["--compiled"][..], &["--streaming"]] {
        let stdout = spotter(&[&["eval", &recipe, "--model", &model], path].concat()).expect_success().stdout;
        assert!(stdout.starts_with("film: 4 examples"), "{stdout}");
    }
}

/// Sets of evaluation alone, with as many questions about drawn shapes.
fn sets(scratch: &Scratch, count: usize) -> String {
    let text = format!(
        "name = \"drawn\"\n[[eval]]\nname = \"drawn\"\ncount = {count}\n\
         [eval.scenes]\nside = 64\nsizes = [0.3, 0.5]\nobjects = [2, 3]\n"
    );
    scratch.write("sets.toml", text.as_bytes())
}

#[test]
fn sets_alone_are_measured_as_those_of_a_recipe() {
    let scratch = Scratch::new();
    let (whole, alone, model) = (recipe(&scratch), sets(&scratch, 12), model());
    let measured = |file: &str| spotter(&["eval", file, "--model", &model, "--split", "drawn"]).expect_success().stdout;
    assert_eq!(measured(&whole), measured(&alone));
    let train = spotter(&["train", &alone]);
    assert!(train.code == Some(2) && train.stderr.contains("missing field"), "{}", train.stderr);
    let misspelt = scratch.write("misspelt.toml", b"name = \"a\"\n[[eval]]\nnme = \"b\"\n");
    let ran = spotter(&["eval", &misspelt, "--model", &model]);
    assert!(ran.code == Some(2) && ran.stderr.contains("did you mean `eval.name`"), "{}", ran.stderr);
    let nameless = command(&["eval", &alone]).env_remove("SPOTTER_MODEL").output().expect("the program starts");
    let said = String::from_utf8_lossy(&nameless.stderr);
    assert!(nameless.status.code() == Some(2) && said.contains("--model DIR: is needed"), "{said}");
    let checked = spotter(&["check", &alone]).expect_success();
    assert!(checked.stdout.starts_with("sets        drawn"), "{}", checked.stdout);
}

#[test]
fn fixed_questions_are_written_and_measured_as_those_made_on_the_way() {
    let scratch = Scratch::new();
    let picture = image::RgbImage::from_fn(64, 48, |x, y| image::Rgb([4 * x as u8, 5 * y as u8, 90]));
    picture.save(scratch.file("a.png")).expect("a picture");
    let boxes =
        r#"[{"label": "dog", "x": 4, "y": 6, "w": 20, "h": 24}, {"label": "cat", "x": 30, "y": 10, "w": 30, "h": 30}]"#;
    scratch.write(
        "labels.jsonl",
        format!("{{\"image\": \"a.png\", \"width\": 64, \"height\": 48, \"boxes\": {boxes}}}\n").as_bytes(),
    );
    let list =
        |rest: &str| format!("name = \"pets\"\n[[eval]]\nname = \"pets\"\n[[eval.lists]]\nname = \"pets\"\n{rest}");
    let fixed = "format = \"boxes\"\nfile = \"labels.jsonl\"\ncomplete = true\nask = { questions = \"absence\" }\n";
    let made = scratch.write("made.toml", list(fixed).as_bytes());
    let folder = scratch.file("questions");
    let ran = spotter(&["eval", &made, "--write-questions", &folder]).expect_success();
    assert!(ran.stdout.is_empty() && ran.stderr.contains("2 questions"), "{}{}", ran.stdout, ran.stderr);
    let written = scratch.read("questions/pets.jsonl");
    let lines: Vec<serde_json::Value> = json_lines(&written);
    let asked: Vec<_> = lines.iter().map(|line| (line["phrase"].as_str(), line["box"]["x"].as_f64())).collect();
    assert_eq!(asked, [(Some("the dog"), Some(4.0)), (Some("the cat"), Some(30.0))]);

    let read = scratch.write("read.toml", list("format = \"jsonl\"\nfile = \"questions/pets.jsonl\"\n").as_bytes());
    let measured = |file: &str| {
        let json = scratch.file("out.json");
        spotter(&["eval", file, "--model", &model_with_presence(), "--json", &json]).expect_success();
        let figures: serde_json::Value = serde_json::from_str(&scratch.read("out.json")).expect("JSON");
        figures["pets"]["all"].clone()
    };
    let figures = measured(&made);
    assert_eq!(figures["examples"], 2);
    assert_eq!(figures, measured(&read));

    // Sets that ask nothing fixed leave nothing.
    let ran = spotter(&["eval", &sets(&scratch, 3), "--write-questions", &scratch.file("none")]);
    assert!(ran.code == Some(2) && ran.stderr.contains("none of its sets has fixed questions"), "{}", ran.stderr);
    assert!(!std::path::Path::new(&scratch.file("none")).exists());
}

#[test]
fn a_model_is_measured_in_the_precision_that_is_asked_for() {
    let scratch = Scratch::new();
    let (sets, json) = (sets(&scratch, 300), scratch.file("out.json"));
    let model = repository().join("models/spotter-tiny").display().to_string();
    let measured = |precision: &str| {
        let args = ["eval", &sets, "--model", &model, "--precision", precision, "--device", "cpu", "--json", &json];
        let told = spotter(&args).expect_success().stdout;
        let figures: serde_json::Value = serde_json::from_str(&scratch.read("out.json")).expect("JSON");
        let all = &figures["drawn"]["all"];
        let accuracy = all["accuracy"].as_array().expect("a list").iter().find(|a| a["iou"] == 0.5).expect("Acc@0.5");
        let [accuracy, auroc] = [&accuracy["share"]["value"], &all["auroc"]["value"]].map(|v| v.as_f64().expect("one"));
        (told, accuracy, auroc)
    };
    let (plain, accuracy, auroc) = measured("f32");
    assert!(plain.starts_with("drawn: 300 examples\n"), "{plain}");
    for precision in ["int8", "bf16"] {
        let (told, found, ranked) = measured(precision);
        assert!(told.starts_with(&format!("drawn: 300 examples, compiled, {precision}\n")), "{told}");
        assert!((found - accuracy).abs() < 0.05, "{precision}: Acc@0.5 {found}, in f32 {accuracy}");
        assert!((ranked - auroc).abs() < 0.05, "{precision}: AUROC {ranked}, in f32 {auroc}");
    }
    let refused = spotter(&["eval", &sets, "--records", "a.jsonl", "--precision", "int8"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("no meaning for --records"), "{}", refused.stderr);
}

#[test]
fn calibrated_presence_means_what_it_says() {
    let scratch = Scratch::new();
    let (sets, out) = (sets(&scratch, 600), scratch.file("calibrated"));
    let model = repository().join("models/spotter-tiny").display().to_string();
    let error = |model: &str| {
        let json = scratch.file("out.json");
        spotter(&["eval", &sets, "--model", model, "--json", &json]).expect_success();
        let figures: serde_json::Value = serde_json::from_str(&scratch.read("out.json")).expect("JSON");
        let all = &figures["drawn"]["all"];
        [&all["calibration_error"], &all["auroc"]["value"]].map(|value| value.as_f64().expect("a number"))
    };
    let args = ["calibrate", &sets, "--split", "drawn", "--model", &model, "--out", &out];
    let ran = spotter(&args).expect_success();
    assert!(ran.stderr.contains("600 questions") && ran.stderr.contains("threshold"), "{}", ran.stderr);
    let ([before, ranked], [after, ranked_after]) = (error(&model), error(&out));
    assert!(after < 0.05, "{before} before, {after} after");
    assert!(ranked > 0.9 && (ranked - ranked_after).abs() < 1e-3, "the order stays: {ranked}, {ranked_after}");
    let config: serde_json::Value = serde_json::from_str(&scratch.read("calibrated/config.json")).expect("JSON");
    let threshold = config["threshold"].as_f64().expect("a threshold");
    spotter(&["check", &out, "--deep"]).expect_success();

    // What the model says of itself is what `ground` goes by.
    let picture = fixtures().join("pictures/one.png").display().to_string();
    let ran = spotter(&["ground", &picture, "--query", "the red circle", "--model", &out]).expect_success();
    let record = &ran.lines()[0];
    let presence = record["presence"].as_f64().expect("a probability");
    assert_eq!(record["status"] == "box", presence >= threshold, "{record} with threshold {threshold}");

    let again = spotter(&args);
    assert!(again.code == Some(2) && again.stderr.contains("exists already"), "{}", again.stderr);
    let never = spotter(&[&args[..], &["--prevalence", "0"]].concat());
    assert!(never.code == Some(2) && never.stderr.contains("--prevalence 0: expected a share"), "{}", never.stderr);
    // The weights keep their two bytes a value.
    let bytes = |folder: &str| std::fs::metadata(format!("{folder}/model.safetensors")).expect("weights").len();
    assert_eq!(bytes(&model), bytes(&out));
    let checkpoint = scratch.file("calibrated.safetensors");
    spotter(&["convert", &out, "--out", &checkpoint]).expect_success();
    let tokenizer = format!("{out}/tokenizer.json");
    let back = scratch.file("back");
    spotter(&["convert", &checkpoint, "--config", "sprites-tiny", "--tokenizer", &tokenizer, "--out", &back])
        .expect_success();
    let said = spotter(&["check", &back]).expect_success().stdout;
    assert!(said.contains(&format!("there from {}", threshold as f32)), "{said} lacks {threshold}");

    // An untrained model ranks by chance, here the wrong way around.
    let turned = scratch.file("turned");
    let ran = spotter(&["calibrate", &sets, "--split", "drawn", "--model", &model_with_presence(), "--out", &turned]);
    assert!(ran.code == Some(2) && ran.stderr.contains("the lower where things are there"), "{}", ran.stderr);
    assert!(!std::path::Path::new(&turned).exists());
    let silent = spotter(&["calibrate", &sets, "--split", "drawn", "--model", &crate::support::model(), "--out", "x"]);
    assert!(silent.code == Some(2) && silent.stderr.contains("no presence head"), "{}", silent.stderr);
}
