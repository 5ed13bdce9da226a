//! Records in other people's formats: each as it was once looked at, and each read by the tool of its field.

use std::process::Command;

use blocks::canvas::Canvas;
use blocks::preprocess::Rect;
use grounding::{Finding, Findings};
use serde_json::Value;
use spotter::run::stream;
use spotter::stage::{Answer, Ground, Job};

use crate::support::{
    Scratch, aloud, bikes, clip, json_lines, of_schema, raw_lines, repository, run_settings, spotter,
};

/// What `--out` calls them.
const FORMATS: [&str; 5] = ["mot", "coco", "vtt", "dls", "csv"];

/// Finds something that wanders, and is away on every third picture that it looks at.
struct Wanderer(u32);

impl Ground for Wanderer {
    fn canvas(&self) -> Canvas {
        Canvas { width: 64, height: 64 }
    }

    fn ground(&mut self, jobs: &[Job]) -> grounding::Result<Vec<Answer>> {
        let answers = jobs.iter().map(|_| {
            self.0 += 1;
            let step = f64::from(self.0);
            let at = |x0: f64, y0: f64, score: f32| {
                let rect = Rect { x0, y0, x1: x0 + 30.25, y1: y0 + 20.0 + step / 7.0 };
                Finding { rect, on_canvas: [0.0; 4], score: Some(score) }
            };
            let one = |found: Finding| Findings { presence: found.score, found: vec![found] };
            let there = !self.0.is_multiple_of(3);
            let (x, y) = (3.0 + 2.125 * step, 40.0 - step / 3.0);
            let both = Findings { presence: Some(0.95), found: vec![at(x, 70.0, 0.95), at(100.0 - x, 90.0, 0.85)] };
            vec![
                one(at(x, y, if there { 0.9 } else { 0.1 })),
                one(at(60.0, y + 5.0, if there { 0.2 } else { 0.4 })),
                both,
            ]
        });
        Ok(answers.collect())
    }
}

/// The flags that write every format beside our own.
fn outs(scratch: &Scratch) -> Vec<String> {
    let all = ["jsonl"].into_iter().chain(FORMATS);
    all.flat_map(|kind| ["--out".to_owned(), format!("{kind}:{}", scratch.file(kind))]).collect()
}

/// What the stub is asked: for one thing, for another that is found when the first is not, and for all of a kind.
const QUERIES: &str = r#"
[[query]]
text = 'the "left" thing, <b>red</b> --> & so'
[[query]]
name = "other"
text = "the other one"
threshold = 0.3
[[query]]
name = "both"
text = "two of a kind"
all = true
"#;

/// Grounds `film` with the stub into every format.
fn wander(scratch: &Scratch, film: &str, flags: &[&str]) {
    let (outs, config) = (outs(scratch), scratch.write("queries.toml", QUERIES.as_bytes()));
    let outs: Vec<&str> = outs.iter().map(String::as_str).collect();
    let common = ["--source", film, "--config", &config, "--reproducible"];
    let settings = run_settings(&[&common[..], &outs, flags].concat());
    stream(&settings, Box::new(Wanderer(0)), Some(0.5), true).expect("runs");
}

/// A thing on a frame.
struct Found {
    frame: u64,
    milliseconds: u64,
    id: u64,
    rect: [f64; 4],
    label: String,
    score: Option<f64>,
}

/// Every thing, as our own records have it.
fn native(scratch: &Scratch) -> Vec<Found> {
    let lines = raw_lines(&scratch.read("jsonl"));
    let mut all = Vec::new();
    for frame in of_schema(&lines, "spotter.frame/2") {
        let milliseconds = frame["pts_ns"].as_u64().expect("a time") / 1_000_000;
        let number = frame["frame_index"].as_u64().expect("a number");
        all.extend(frame["objects"].as_array().expect("a list").iter().map(|object| Found {
            frame: number,
            milliseconds,
            id: object["id"].as_u64().expect("an id"),
            rect: ["x", "y", "w", "h"].map(|key| object["box"][key].as_f64().expect("a number")),
            label: object["query"].as_str().expect("a name").to_owned(),
            score: object["score"].as_f64(),
        }));
    }
    all
}

/// What the tool of the field reads; none where it is not there, which is said.
fn read(kind: &str, file: &str) -> Option<Vec<Value>> {
    let packages = repository().join("target/readers");
    if !packages.exists() {
        aloud(&format!("SKIPPED: {} is not there (make peers)", packages.display()));
        return None;
    }
    let script = repository().join("tests/support/read_formats.py");
    let output = Command::new("python3").arg(script).args([kind, file]).env("PYTHONPATH", packages).output();
    let output = output.expect("python3 starts");
    assert!(output.status.success(), "{kind}: {}", String::from_utf8_lossy(&output.stderr));
    Some(json_lines(&String::from_utf8(output.stdout).expect("UTF-8")))
}

/// Every format says the same boxes, times, labels and scores as our own records, to whoever reads it.
fn compare(scratch: &Scratch) -> usize {
    let expected = native(scratch);
    for kind in FORMATS {
        let Some(found) = read(kind, &scratch.file(kind)) else { continue };
        assert_eq!(found.len(), expected.len(), "{kind}");
        // Shares of the picture have five digits.
        let tolerance = if kind == "dls" { 0.011 } else { 1e-9 };
        for (found, Found { frame, milliseconds, id, rect, label, score }) in found.iter().zip(&expected) {
            assert_eq!(found["id"].as_u64(), Some(*id), "{kind}: {found}");
            let same = |a: &Value, b: f64, tolerance: f64| (a.as_f64().expect("a number") - b).abs() <= tolerance;
            assert_eq!(found["frame"].as_u64(), Some(*frame), "{kind}: {found}");
            assert!((0..4).all(|i| same(&found["box"][i], rect[i], tolerance)), "{kind}: {found} is not {rect:?}");
            match score {
                Some(score) => assert!(same(&found["score"], *score, 1e-9), "{kind}: {found} is not {score}"),
                // A MOT file must have a number there.
                None => assert!(found["score"].is_null() || kind == "mot", "{kind}: {found}"),
            }
            if kind != "mot" {
                assert_eq!(found["ms"].as_u64(), Some(*milliseconds), "{kind}: {found}");
                assert_eq!(found["label"].as_str(), Some(label.as_str()), "{kind}");
            }
        }
    }
    expected.len()
}

#[test]
fn formats_as_they_were_looked_at() {
    let scratch = Scratch::new();
    let film = clip(&scratch, "film.mp4", "160x120", 9, &["-c:v", "libx264", "-bf", "2"]);
    wander(&scratch, &film, &["--stride", "2"]);
    for kind in ["jsonl"].into_iter().chain(FORMATS) {
        let text = scratch.generic(&scratch.read(kind));
        insta::assert_snapshot!(format!("format_{kind}"), text);
    }
}

#[test]
fn the_tool_of_each_field_reads_what_our_own_records_say() {
    let scratch = Scratch::new();
    let film = clip(&scratch, "film.mp4", "160x120", 40, &["-c:v", "libx264", "-bf", "2", "-r", "30000/1001"]);
    wander(&scratch, &film, &["--stride", "3"]);
    let boxes = compare(&scratch);
    assert!((80..160).contains(&boxes), "{boxes}: some frames have fewer");
}

#[test]
fn a_real_clip_with_the_small_model() {
    let scratch = Scratch::new();
    let outs = outs(&scratch);
    let outs: Vec<&str> = outs.iter().map(String::as_str).collect();
    let clip = bikes();
    spotter(&[&["run", "--source", &clip, "--query", "the circle", "--threshold", "0"], &outs[..]].concat())
        .expect_success();
    assert_eq!(compare(&scratch), 250);
}

#[test]
fn files_end_well_without_a_box_and_where_streams_share_them() {
    let scratch = Scratch::new();
    let film = clip(&scratch, "film.mp4", "64x48", 3, &["-c:v", "libx264"]);
    let outs = outs(&scratch);
    let outs: Vec<&str> = outs.iter().map(String::as_str).collect();
    let nothing = ["run", "--source", &film, "--query", "the circle", "--threshold", "1"];
    spotter(&[&nothing, &outs[..]].concat()).expect_success();
    assert_eq!(compare(&scratch), 0);

    let other = clip(&scratch, "other.mp4", "96x64", 4, &["-c:v", "libx264"]);
    let both = ["run", "--source", &film, "--source", &other, "--query", "the circle", "--threshold", "0"];
    let (coco, csv) = (format!("coco:{}", scratch.file("coco")), format!("csv:{}", scratch.file("csv")));
    spotter(&[&both[..], &["--out", &coco, "--out", &csv]].concat()).expect_success();
    assert_eq!(read("coco", &scratch.file("coco")).map_or(7, |boxes| boxes.len()), 7);
    assert_eq!(scratch.read("csv").lines().count(), 1 + 7);
    for kind in ["mot", "vtt"] {
        let out = format!("{kind}:{}", scratch.file(kind));
        let ran = spotter(&[&both[..], &["--out", &out]].concat());
        assert_eq!(ran.code, Some(2));
        assert!(ran.stderr.contains("several streams cannot share it"), "{}", ran.stderr);
    }
}

#[test]
fn records_are_put_aside_when_they_are_many() {
    let scratch = Scratch::new();
    scratch.write("found.jsonl", b"of an earlier run\n");
    let source = ["run", "--source", "test:ball?frames=60&size=160x120", "--query", "the white circle"];
    let to = format!("jsonl:{},rotate=10kB", scratch.file("found.jsonl"));
    let ran = spotter(&[&source[..], &["--out", "jsonl:-", "--out", &to]].concat()).expect_success();
    let mut names = scratch.names();
    assert!(names.len() > 3, "{names:?}");
    assert_eq!(names.pop().as_deref(), Some("found.jsonl"), "the newest has no number");
    assert_eq!(scratch.read(&names.remove(0)), "of an earlier run\n");
    let parts = names.iter().map(|name| scratch.read(name)).chain([scratch.read("found.jsonl")]);
    assert_eq!(parts.collect::<String>(), ran.stdout);
    for (out, expected) in [
        ("jsonl:-,rotate=1GiB", "need a file"),
        ("csv:x.csv,rotate=1GiB", "are for jsonl:FILE"),
        ("jsonl:x.jsonl,rotate=much", "expected a number of bytes"),
        ("jsonl:x.jsonl,keep=3", "keep= is for files with rotate="),
    ] {
        let ran = spotter(&[&source[..], &["--out", out]].concat());
        assert!(ran.code == Some(2) && ran.stderr.contains(expected), "{out}: {}", ran.stderr);
    }
}
