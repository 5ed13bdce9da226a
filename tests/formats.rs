//! Records in other people's formats: each as it was once looked at, and each read by the tool of its field.

use std::process::Command;

use blocks::canvas::Canvas;
use blocks::preprocess::Rect;
use serde_json::Value;
use spotter::run::stream;
use spotter::stage::{Answer, Ground, Job};

use crate::support::{Scratch, aloud, bikes, clip, json_lines, of_schema, repository, run_settings, spotter};

/// What `--out` calls them.
const FORMATS: [&str; 5] = ["mot", "coco", "vtt", "dls", "csv"];

/// Finds something that wanders, and is away on every third picture that it looks at.
struct Wanderer(u32);

impl Ground for Wanderer {
    fn canvas(&self) -> Canvas {
        Canvas { width: 64, height: 64 }
    }

    fn ground(&mut self, jobs: &[Job]) -> qrnet::Result<Vec<Answer>> {
        let answers = jobs.iter().map(|_| {
            self.0 += 1;
            let step = f64::from(self.0);
            let (x0, y0) = (3.0 + 2.125 * step, 40.0 - step / 3.0);
            (
                Rect { x0, y0, x1: x0 + 30.25, y1: y0 + 20.0 + step / 7.0 },
                Some(if self.0.is_multiple_of(3) { 0.1 } else { 0.9 }),
            )
        });
        Ok(answers.collect())
    }
}

/// The flags that write every format beside our own.
fn outs(scratch: &Scratch) -> Vec<String> {
    let all = ["jsonl"].into_iter().chain(FORMATS);
    all.flat_map(|kind| ["--out".to_owned(), format!("{kind}:{}", scratch.file(kind))]).collect()
}

/// Grounds `film` with the stub into every format.
fn wander(scratch: &Scratch, film: &str, flags: &[&str]) {
    let outs = outs(scratch);
    let outs: Vec<&str> = outs.iter().map(String::as_str).collect();
    let query = "the \"left\" thing, <b>red</b> --> & so";
    let common = ["--source", film, "--query", query, "--reproducible"];
    let settings = run_settings(&[&common[..], &outs, flags].concat());
    stream(&settings, Box::new(Wanderer(0)), Some(0.5), true).expect("runs");
}

/// A frame with a box.
struct Found {
    frame: u64,
    milliseconds: u64,
    rect: [f64; 4],
    label: String,
    score: Option<f64>,
}

/// Every box, as our own records have it.
fn native(scratch: &Scratch) -> Vec<Found> {
    let lines = json_lines(&scratch.read("jsonl"));
    let frames = of_schema(&lines, "spotter.frame/1");
    let boxes = frames.into_iter().filter(|frame| !frame["box"].is_null()).map(|frame| {
        let side = |key: &str| frame["box"][key].as_f64().expect("a number");
        let label = frame["query"].as_str().expect("a sentence").to_owned();
        let pts = frame["pts_ns"].as_u64().expect("a time");
        let index = frame["frame_index"].as_u64().expect("a number");
        Found {
            frame: index,
            milliseconds: pts / 1_000_000,
            rect: ["x", "y", "w", "h"].map(side),
            label,
            score: frame["presence"].as_f64(),
        }
    });
    boxes.collect()
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
        for (found, Found { frame, milliseconds, rect, label, score }) in found.iter().zip(&expected) {
            let same = |a: &Value, b: f64, tolerance: f64| (a.as_f64().expect("a number") - b).abs() <= tolerance;
            assert_eq!(found["frame"].as_u64(), Some(*frame), "{kind}: {found}");
            assert!((0..4).all(|i| same(&found["box"][i], rect[i], tolerance)), "{kind}: {found} is not {rect:?}");
            match score {
                Some(score) => assert!(same(&found["score"], *score, 1e-9), "{kind}: {found} is not {score}"),
                // A carried box has no probability of its own; a MOT file must have a number there.
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
    assert!((20..40).contains(&boxes), "{boxes}: some frames have none");
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
