//! Runs that keep clips and snapshots of what they see, in a store.

use std::path::Path;

use serde_json::Value;
use spotter::run::stream;

use crate::queries::validate;
use crate::sightings::{FRAME_NS, Finder, drawn_with, events};
use crate::support::clips::text;
use crate::support::counter::lumas;
use crate::support::{Scratch, clip, model_with_presence, probe, raw_lines, run_settings, spotter};

/// Frames of the film.
const LENGTH: usize = 120;
/// The first frame with the square, and the last one.
const SEEN: (usize, usize) = (20, 69);
/// Seconds around it, in frames: a key frame is there.
const AROUND: u64 = 10;

/// Runs over a film in which a square comes and goes, and keeps this of it. Returns the lines of its records.
fn run(scratch: &Scratch, dir: &str, keys: &str) -> Vec<Value> {
    let place = |frame: usize| (SEEN.0..=SEEN.1).contains(&frame).then(|| (12 + 5 * (frame - SEEN.0), 100));
    let film = drawn_with(scratch, (0..LENGTH).map(place), &["-g", "10"]);
    let table = scratch.write("zones.toml", format!("[sightings]\ndir = {dir:?}\n{keys}\n").as_bytes());
    let out = format!("jsonl:{}", scratch.file("out.jsonl"));
    let flags = ["--source", &film, "--query", "the square", "--zones", &table, "--confirm", "10", "--forget", "400ms"];
    let settings = run_settings(&[&flags[..], &["--out", &out]].concat());
    stream(&settings, Box::new(Finder), Some(0.5), true).expect("runs");
    let lines = raw_lines(&scratch.read("out.jsonl"));
    validate(&lines);
    lines
}

/// Files by their kinds.
fn of_kind<'a>(files: &'a Value, kind: &str) -> Vec<&'a Value> {
    files.as_array().expect("files").iter().filter(|file| file["kind"] == kind).collect()
}

fn path(file: &Value) -> &Path {
    Path::new(file["path"].as_str().expect("a path"))
}

#[test]
fn a_sighting_has_a_clip_and_pictures_and_is_found_with_them() {
    let scratch = Scratch::new();
    let dir = scratch.file("kept");
    let keys = "snapshots = true\nclips = { before = \"400ms\", after = \"400ms\", cues = true }\nkeep = { days = 7 }";
    let lines = run(&scratch, &dir, keys);
    let (starts, ends) = (events(&lines, "sighting_start"), events(&lines, "sighting_end"));
    assert_eq!((starts.len(), ends.len()), (1, 1), "{lines:?}");
    let (start, end) = (&starts[0]["sighting"], &ends[0]["sighting"]);
    let frames = (start["start_pts_ns"].as_u64(), end["last_pts_ns"].as_u64());
    assert_eq!(frames, (Some(SEEN.0 as u64 * FRAME_NS), Some(SEEN.1 as u64 * FRAME_NS)));

    for kind in ["snapshot", "crop"] {
        let (first, last) = (of_kind(&start["files"], kind), of_kind(&end["files"], kind));
        assert_eq!((first.len(), last.len()), (1, 1), "{kind}: {end}");
        assert_eq!(path(first[0]), path(last[0]), "a better one takes its place");
        let picture = image::open(path(last[0])).expect("a picture");
        let is_whole = (picture.width(), picture.height()) == (320, 192);
        assert_eq!(is_whole, kind == "snapshot", "{kind}: {}x{}", picture.width(), picture.height());
    }

    // A clip is whole some time after the end.
    let files: Vec<&Value> = events(&lines, "sighting_file");
    assert!(files.iter().all(|file| file["sighting_id"] == end["id"] && file["error"].is_null()), "{files:?}");
    let kinds: Vec<&Value> = files.iter().map(|file| &file["file"]["kind"]).collect();
    assert_eq!(kinds, ["clip", "cues"], "{files:?}");
    let clip = &files[0]["file"];
    let time = |key: &str| clip[key].as_u64().expect("a time");
    let (from, to) = (time("start_pts_ns"), time("end_pts_ns"));
    let (wanted_from, wanted_to) = (SEEN.0 as u64 - AROUND, SEEN.1 as u64 + AROUND);
    // Times in files are rounded.
    let near = FRAME_NS / 4;
    assert!(from <= wanted_from * FRAME_NS + near && to + near >= wanted_to * FRAME_NS, "{clip}");
    assert!(from > 0 && to < (LENGTH as u64 - 1) * FRAME_NS, "not the whole film: {clip}");
    let video = text(path(clip));
    let count = u64::from(probe(video).2);
    assert_eq!(count, (to - from + near) / FRAME_NS + 1, "all frames can be decoded: {clip}");
    // The square comes where it came in the film.
    let bright = lumas(video, (30, 120)).into_iter().position(|luma| luma > 150);
    assert_eq!(bright, Some(SEEN.0 - ((from + near) / FRAME_NS) as usize), "{clip}");

    let list = spotter(&["sightings", "list", &dir, "--query", "the square"]).expect_success().stdout;
    let id = end["id"].as_str().expect("an id");
    assert_eq!(list.lines().count(), 1, "{list}");
    assert!(["gone", "snapshot", "crop", "clip", "cues", id].iter().all(|word| list.contains(word)), "{list}");
    let shown = spotter(&["sightings", "show", &dir, id]).expect_success().stdout;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(path(of_kind(&shown["files"], "clip")[0]), path(clip));
    assert_eq!((&shown["cause"], &shown["last_pts_ns"]), (&ends[0]["cause"], &end["last_pts_ns"]));
    let none = spotter(&["sightings", "list", text(scratch.path())]);
    assert!(none.code == Some(2) && none.stderr.contains("has no sightings.sqlite"), "{}", none.stderr);
}

#[test]
fn what_is_too_much_is_gone_when_the_run_is_over() {
    let scratch = Scratch::new();
    let dir = scratch.file("kept");
    let lines = run(&scratch, &dir, "snapshots = true\nkeep = { bytes = \"1kB\" }");
    let end = &events(&lines, "sighting_end")[0]["sighting"];
    let picture = path(of_kind(&end["files"], "snapshot")[0]);
    assert!(picture.starts_with(std::fs::canonicalize(&dir).expect("is there")), "{}", picture.display());
    assert!(!picture.exists() && !picture.parent().expect("a folder").exists(), "{}", picture.display());
    assert_eq!(spotter(&["sightings", "list", &dir]).expect_success().stdout, "");
}

/// Films whose names differ in what files cannot be called by; done twice they have the same records, and the same files.
#[test]
fn films_of_a_batch_keep_clips_and_pictures() {
    let scratch = Scratch::new();
    for folder in ["a", "a_b"] {
        std::fs::create_dir(scratch.path().join(folder)).expect("made");
    }
    let names = ["a/b_c.mp4", "a_b/c.mp4"];
    let films = names.map(|name| clip(&scratch, name, "160x96", 40, &["-c:v", "libx264", "-g", "10"]));
    let (dir, model) = (scratch.file("kept"), model_with_presence());
    let table = "snapshots = true\nclips = { before = \"400ms\", after = \"400ms\", cues = true }";
    let table = scratch.write("zones.toml", format!("[sightings]\ndir = {dir:?}\n{table}\n").as_bytes());
    let batch = |out: &str| {
        let out = scratch.file(out);
        let common = ["batch", &films[0], &films[1], "--query", "a", "--model", &model, "--threshold", "0"];
        spotter(&[&common[..], &["--zones", &table, "--confirm", "5", "--jobs", "2", "--out", &out]].concat())
            .expect_success();
        ["b_c", "c"]
            .map(|name| std::fs::read_to_string(Path::new(&out).join(format!("{name}.jsonl"))).expect("records"))
    };
    let list = || spotter(&["sightings", "list", &dir]).expect_success().stdout;
    let first = batch("first");
    let listed = list();
    for records in &first {
        let lines = raw_lines(records);
        validate(&lines);
        let ends = events(&lines, "sighting_end");
        assert!(!ends.is_empty());
        let files = events(&lines, "sighting_file");
        assert!(files.iter().all(|file| file["error"].is_null()), "{files:?}");
        for end in ends {
            let id = &end["sighting"]["id"];
            assert!(listed.contains(id.as_str().expect("an id")), "{id} in {listed}");
            let pictures = ["snapshot", "crop"].map(|kind| of_kind(&end["sighting"]["files"], kind));
            assert!(pictures.iter().all(|found| found.len() == 1 && path(found[0]).is_file()), "{end}");
            let clips = files.iter().filter(|file| file["sighting_id"] == *id && file["file"]["kind"] == "clip");
            let clips: Vec<&Path> = clips.map(|file| path(&file["file"])).collect();
            assert!(!clips.is_empty() && clips.iter().all(|clip| probe(text(clip)).2 > 0), "{files:?}");
        }
    }
    assert_eq!(batch("again"), first, "the same bytes");
    assert_eq!(list(), listed, "nothing twice");
}
