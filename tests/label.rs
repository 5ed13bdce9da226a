//! `spotter label`: what the model of drawn scenes says of films and pictures, against their truth; corrections of it; and that
//! it is read as labels.

use blocks::preprocess::Rect;
use qrnet_train::data::clip::{Asked, read_table};

use crate::support::{Scratch, frame_of, grounding_dino, json_lines, model, repository, spotter};

/// Frames between labels.
const STRIDE: u64 = 5;

/// A drawn film of some seconds in `name/film.mp4`, and its truth: frame from 0, phrase, box, whether it is clear.
fn film(scratch: &Scratch, name: &str, number: &str, seconds: &str) -> Vec<serde_json::Value> {
    let recipe = repository().join("configs/train/shapes.toml").display().to_string();
    let out = scratch.file(name);
    spotter(&["train", &recipe, "--film", seconds, "--film-number", number, "--out", &out]).expect_success();
    json_lines(&scratch.read(&format!("{name}/film.jsonl")))
}

fn phrases(truth: &[serde_json::Value]) -> Vec<String> {
    let of_first = truth.iter().filter(|line| line["frame"] == 0);
    of_first.map(|line| line["phrase"].as_str().expect("text").to_owned()).collect()
}

/// Labels `name/film.mp4` in `name/labels`, asked for all of the phrases.
fn label(scratch: &Scratch, name: &str, phrases: &[String], flags: &[&str]) -> crate::support::Ran {
    let (film, out) = (scratch.file(&format!("{name}/film.mp4")), scratch.file(&format!("{name}/labels")));
    let stride = STRIDE.to_string();
    let mut args = vec!["label", &film, "--stride", &stride, "--out", &out];
    args.extend(phrases.iter().flat_map(|phrase| ["--query", phrase.as_str()]));
    args.extend(flags);
    spotter(&args)
}

/// A box of a line of JSON; none where there is none.
fn rect(value: &serde_json::Value) -> Option<Rect> {
    let side = |key: &str| value[key].as_f64().expect("a number");
    value.is_object().then(|| {
        let [x0, y0] = [side("x"), side("y")];
        Rect { x0, y0, x1: x0 + side("w"), y1: y0 + side("h") }
    })
}

/// Whether both say that nothing is there, or mean the same thing.
fn agree(truth: Option<Rect>, found: Option<Rect>) -> bool {
    match (truth, found) {
        (None, None) => true,
        (Some(truth), Some(found)) => truth.overlap(&found) >= 0.5,
        _ => false,
    }
}

#[test]
fn a_films_labels_are_its_own_truth() {
    let scratch = Scratch::new();
    let (mut right, mut asked) = ([0_u32; 2], [0_u32; 2]);
    for number in ["0", "1", "2"] {
        let name = format!("film{number}");
        let truth = film(&scratch, &name, number, "7");
        let phrases = phrases(&truth);
        label(&scratch, &name, &phrases, &[]).expect_success();
        let folder = scratch.path().join(&name).join("labels");
        let table = read_table(&folder.join("film.csv")).expect("a table");
        let questions = Asked::read(&folder.join("film.queries.toml")).expect("what was asked");
        let names: Vec<&str> = questions.referent.iter().map(|referent| referent.phrases[0].as_str()).collect();
        assert_eq!(names, phrases);
        for line in truth.iter().filter(|line| line["clear"] == true) {
            let frame = line["frame"].as_u64().expect("a number");
            if !frame.is_multiple_of(STRIDE) {
                assert_eq!(table.of_frame(frame + 1).count(), 0, "frame {frame} was not looked at");
                continue;
            }
            let place = phrases.iter().position(|phrase| line["phrase"] == **phrase).expect("asked");
            let found = table.at(frame + 1, place as u64 + 1);
            let truth = rect(&line["box"]);
            asked[usize::from(truth.is_some())] += 1;
            right[usize::from(truth.is_some())] += u32::from(agree(truth, found));
        }
        for sheet in ["film.sheet.png", "film.unsure.png"] {
            let sheet = image::open(folder.join(sheet)).expect("a picture");
            assert!(sheet.width() == 2560 && sheet.height() > 100, "{}x{}", sheet.width(), sheet.height());
        }
    }
    // The card of the model: 0.92 where a thing is there, 0.98 where it is not.
    let share = |there: usize| f64::from(right[there]) / f64::from(asked[there]);
    assert!(asked[0] >= 15 && asked[1] >= 100, "{asked:?}");
    assert!(share(0) > 0.75 && share(1) > 0.75, "{right:?} of {asked:?}");
}

/// The lines that a recipe reads the labels with, as the file with the questions tells them.
fn list(questions: &str) -> String {
    let lines = questions.lines().skip_while(|line| !line.contains("[[phase.lists]]"));
    let lines = lines.map_while(|line| line.strip_prefix("# "));
    let lines: Vec<String> = lines.map(|line| line.replace("phase.lists", "eval.lists")).collect();
    lines.join("\n") + "\n"
}

#[test]
fn labels_are_read_as_they_are_told_and_corrections_win() {
    let scratch = Scratch::new();
    let truth = film(&scratch, "film", "0", "5");
    let phrases = phrases(&truth);
    let ran = label(&scratch, "film", &phrases, &["--threshold", "0.4"]).expect_success();
    assert!(ran.stderr.contains("boxes on 25 frames; look at"), "{}", ran.stderr);
    let questions = scratch.read("film/labels/film.queries.toml");
    let text = format!("name = \"own\"\n[[eval]]\nname = \"own\"\n{}", list(&questions));
    let sets = scratch.write("film/labels/sets.toml", text.as_bytes());
    let figures = || {
        let json = scratch.file("out.json");
        let tiny = repository().join("models/spotter-tiny").display().to_string();
        spotter(&["eval", &sets, "--compiled", "--model", &tiny, "--json", &json]).expect_success();
        let figures: serde_json::Value = serde_json::from_str(&scratch.read("out.json")).expect("JSON");
        let all = &figures["own"]["all"];
        let number = |value: &serde_json::Value| value.as_f64().expect("a number");
        (number(&all["examples"]), number(&all["present"]), number(&all["accuracy"][0]["share"]["value"]))
    };
    // A model finds what it labelled itself.
    let (examples, present, accuracy) = figures();
    assert!(examples >= 20.0 && present > 5.0, "{examples} examples, {present} of them there");
    assert!(accuracy > 1.0 - 1e-9, "{accuracy}");
    let table = scratch.read("film/labels/film.csv");
    let scores: Vec<f64> = table
        .lines()
        .skip(1)
        .map(|line| line.rsplit(',').next().expect("a score").parse().expect("a number"))
        .collect();
    assert!(scores.iter().all(|score| (0.4..=1.0).contains(score)), "{scores:?}");

    // The first box is taken away, the second is somewhere else.
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let corrections = format!(
        "frame,track,left,top,width,height,confidence\n{},{},,,,,0\n{},{},0,0,4,4,1\n",
        rows[0][0], rows[0][1], rows[1][0], rows[1][1]
    );
    scratch.write("film/labels/film.corrections.csv", corrections.as_bytes());
    let (same, fewer, less) = figures();
    assert!((same - examples).abs() + (fewer - present + 1.0).abs() < 1e-9, "{same}, {fewer} of {examples}, {present}");
    assert!((less - (fewer - 1.0) / fewer).abs() < 1e-9, "one of {fewer} boxes is another: {less}");

    // Labelling anew is asked for, and leaves corrections alone.
    let again = label(&scratch, "film", &phrases, &[]);
    assert!(again.code == Some(2) && again.stderr.contains("exists already"), "{}", again.stderr);
    label(&scratch, "film", &phrases, &["--force", "--threshold", "0.4"]).expect_success();
    assert_eq!(scratch.read("film/labels/film.csv"), table);
    assert_eq!(scratch.read("film/labels/film.corrections.csv"), corrections);
}

#[test]
fn pictures_become_lines_of_json() {
    let scratch = Scratch::new();
    let truth = film(&scratch, "film", "1", "3");
    let phrases = phrases(&truth);
    let film = scratch.file("film/film.mp4");
    std::fs::create_dir(scratch.file("labels")).expect("made");
    let pictures = [(10, "labels/a.png"), (60, "b.png")].map(|(frame, name)| frame_of(&scratch, &film, frame, name));
    let noise = scratch.write("noise.png", &[0x5a; 500]);
    let out = scratch.file("labels");
    let mut args = vec!["label", &pictures[0], &noise, &pictures[1], "--out", &out];
    args.extend(phrases.iter().flat_map(|phrase| ["--query", phrase.as_str()]));
    let ran = spotter(&args);
    assert!(ran.code == Some(1) && ran.stderr.contains("1 of 3 pictures failed"), "{}", ran.stderr);
    let lines = json_lines(&scratch.read("labels/labels.jsonl"));
    assert_eq!(lines.len(), 2 * phrases.len());
    assert_eq!(lines[0]["image"], "a.png", "within the folder");
    assert!(lines.iter().all(|line| line["score"].is_number()), "{lines:?}");
    let (mut right, mut asked) = (0_u32, 0_u32);
    for (line, at) in lines.iter().zip((0..2).flat_map(|picture| phrases.iter().map(move |phrase| (picture, phrase)))) {
        assert_eq!(line["phrase"], **at.1);
        let truth = truth.iter().find(|truth| truth["frame"] == [10, 60][at.0] && truth["phrase"] == **at.1);
        let truth = truth.expect("known");
        if truth["clear"] == true {
            asked += 1;
            right += u32::from(agree(rect(&truth["box"]), rect(&line["box"])));
        }
    }
    assert!(asked >= 3 && 3 * right >= 2 * asked, "{right} of {asked}: {lines:?}");
    let list =
        "name = \"own\"\n[[eval]]\nname = \"own\"\n[[eval.lists]]\nformat = \"jsonl\"\nfile = \"labels.jsonl\"\n";
    let sets = scratch.write("labels/sets.toml", list.as_bytes());
    let right = || {
        let json = scratch.file("out.json");
        let tiny = repository().join("models/spotter-tiny").display().to_string();
        spotter(&["eval", &sets, "--compiled", "--model", &tiny, "--json", &json]).expect_success();
        let figures: serde_json::Value = serde_json::from_str(&scratch.read("out.json")).expect("JSON");
        figures["own"]["all"]["right"]["value"].as_f64().expect("a share")
    };
    assert!(right() > 1.0 - 1e-9);
    let mut first = lines[0].clone();
    first["box"] = if first["box"].is_null() {
        serde_json::json!({"x": 0, "y": 0, "w": 2, "h": 2})
    } else {
        serde_json::Value::Null
    };
    scratch.write("labels/labels.corrections.jsonl", format!("{first}\n").as_bytes());
    let expected = 1.0 - 1.0 / lines.len() as f64;
    assert!((right() - expected).abs() < 1e-9, "{} and {expected}", right());
}

#[test]
fn all_that_match_are_tracks_of_their_own() {
    let scratch = Scratch::new();
    let clip = crate::support::clip(&scratch, "a.mp4", "96x64", 6, &["-c:v", "libx264", "-pix_fmt", "yuv420p"]);
    let (out, model) = (scratch.file("labels"), grounding_dino("idea-7"));
    let args = [
        "label",
        &clip,
        "--all",
        "a dog",
        "--query",
        "the red car",
        "--model",
        &model,
        "--threshold",
        "0",
        "--out",
        &out,
    ];
    let ran = spotter(&args).expect_success();
    assert_eq!(ran.stderr.matches("are no probabilities").count(), 1, "{}", ran.stderr);
    let asked = Asked::read(&scratch.path().join("labels/a.queries.toml")).expect("what was asked");
    let table = read_table(&scratch.path().join("labels/a.csv")).expect("a table");
    let [one, all] = asked.referent.as_slice() else { panic!("{asked:?}") };
    assert_eq!((one.name.as_str(), one.all, one.tracks.as_deref()), ("the red car", false, Some(&[1][..])));
    let tracks = all.tracks.as_ref().expect("tracks");
    assert!(all.all && tracks.len() > 1 && tracks.iter().all(|track| *track > 2), "{all:?}");
    for frame in 1..=6 {
        let boxes: Vec<u64> = table.of_frame(frame).map(|(track, _)| track).collect();
        assert!(boxes.contains(&1) && boxes.len() > 2, "frame {frame}: {boxes:?}");
        assert!(boxes.iter().all(|track| *track == 1 || tracks.contains(track)), "frame {frame}: {boxes:?}");
    }
    assert!(scratch.read("labels/a.queries.toml").contains("# referents = [\"the red car\"]"));
}

#[test]
fn what_cannot_be_labelled_is_one_clear_error() {
    let scratch = Scratch::new();
    let picture = crate::support::picture(&scratch, "a.png", (60, 40));
    let clip = crate::support::clip(&scratch, "b.mp4", "96x64", 3, &["-c:v", "libx264", "-pix_fmt", "yuv420p"]);
    std::fs::create_dir(scratch.file("other")).expect("made");
    let twin = scratch.file("other/b.mp4");
    std::fs::copy(&clip, &twin).expect("copied");
    let noise = scratch.write("noise.mp4", &[0x5a; 5000]);
    let (out, plain) = (scratch.file("labels"), model());
    for (args, code, reason) in [
        (&[&clip, "--all", "a dog"][..], 2, "--all \"a dog\": this model gives one box for a sentence"),
        (&[&picture, "--all", "a dog"], 2, "is a picture, whose labels hold one box"),
        (&[&clip, &twin, "--query", "a dog"], 2, "two films would be labelled in"),
        (&[&clip, "--query", "a dog", "--query", "A dog "], 2, "is asked twice"),
        (&[&clip, "--query", "  "], 2, "--query"),
        (&[&clip, "--query", "a dog", "--threshold", "2"], 2, "--threshold 2: expected a probability"),
        (&[&clip, "--query", "abc", "--model", &plain, "--threshold", "0.5"], 2, "no presence head"),
        (&[&scratch.file("nothing.mp4"), "--query", "a dog"], 1, "cannot read"),
        (&[&noise, "--query", "a dog"], 1, "noise.mp4"),
        (&[&clip], 2, "--query"),
    ] {
        let ran = spotter(&[&["label", "--out", &out], args].concat());
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(reason) && !ran.stderr.contains("panicked"), "{reason:?} is not in {}", ran.stderr);
        let left = std::fs::read_dir(&out).map(Iterator::count).unwrap_or_default();
        assert_eq!(left, 0, "{args:?} left something behind");
    }
}
