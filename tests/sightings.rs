//! Sightings by way of the program: films whose truth is drawn, runs that are killed, settings that are wrong, and another
//! tool's counts of the same boxes.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use blocks::preprocess::Rect;
use grounding::Canvas;
use qrnet_train::scenes::motion::{Film, Truth};
use qrnet_train::scenes::{Art, SceneSettings, Scenes};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use records::track::{FrameResult, Object, QueryResult, TrackedQuery, Tracking};
use records::{
    EVENT_SCHEMA, Event, EventKind, FrameRecord, FrameStatus, Line as RecordLine, Query, QueryStatus, RecordFile,
    RecordPlace, Resolution,
};
use serde_json::Value;
use spotter::run::stream;
use spotter::sightings::{
    Anchor, Confirm, FrameFacts, Line, Origin, QuerySighting, SightingSettings, Sightings, WatchedQuery, Zone,
};
use spotter::stage::{Answer, Ground, Job, one_box};

use crate::queries::validate;
use crate::support::{
    Raw, Scratch, aloud, clip, encode, model_with_presence, picture, raw_lines, repository, run_settings, spotter,
};

const WIDTH: usize = 320;
const HEIGHT: usize = 192;
const RATE: u32 = 25;
pub(crate) const FRAME_NS: u64 = 1_000_000_000 / RATE as u64;
const SIDE: usize = 40;

pub(crate) fn events<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

/// A white square on dark ground, at this place on each frame, or none.
fn drawn(scratch: &Scratch, places: impl Iterator<Item = Option<(usize, usize)>>) -> String {
    drawn_with(scratch, places, &[])
}

/// The same; `options` are the encoder's.
pub(crate) fn drawn_with(
    scratch: &Scratch,
    places: impl Iterator<Item = Option<(usize, usize)>>,
    options: &[&str],
) -> String {
    let file = scratch.file("drawn.mp4");
    let raw = Raw { format: "gray", size: (WIDTH, HEIGHT), rate: RATE };
    let frame = |place: Option<(usize, usize)>| {
        let is_inside = |at: usize, from: usize| (from..from + SIDE).contains(&at);
        let pixel = |at: usize| {
            let white = place.is_some_and(|(x, y)| is_inside(at % WIDTH, x) && is_inside(at / WIDTH, y));
            if white { 235 } else { 40 }
        };
        (0..WIDTH * HEIGHT).map(pixel).collect()
    };
    encode(&file, raw, places.map(frame), &[&["-crf", "8", "-color_range", "tv"][..], options].concat());
    file
}

/// Finds the white square.
pub(crate) struct Finder;

impl Ground for Finder {
    fn canvas(&self) -> Canvas {
        Canvas { width: WIDTH, height: HEIGHT }
    }

    fn ground(&mut self, jobs: &[Job]) -> grounding::Result<Vec<Answer>> {
        let answer = |job: &Job| {
            let white = |at: &usize| job.picture.pixels[*at] > 0.0;
            let found: Vec<(usize, usize)> =
                (0..WIDTH * HEIGHT).filter(white).map(|at| (at % WIDTH, at / WIDTH)).collect();
            let side = |of: fn(&(usize, usize)) -> usize| {
                let range = found.iter().map(of);
                (range.clone().min().unwrap_or(0) as f64, range.max().unwrap_or(0) as f64 + 1.0)
            };
            let ((x0, x1), (y0, y1)) = (side(|at| at.0), side(|at| at.1));
            one_box(Rect { x0, y0, x1, y1 }, Some(if found.is_empty() { 0.1 } else { 0.9 }))
        };
        Ok(jobs.iter().map(answer).collect())
    }
}

const HALVES: &str = r#"
[[zone]]
name = "left half"
points = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
[[line]]
name = "middle"
points = [[0.5, 0], [0.5, 1]]
"#;

#[test]
fn a_thing_that_comes_and_goes_is_told_with_its_first_and_last_frame() {
    let scratch = Scratch::new();
    // There on frames 20 to 69; its middle is at 32 pixels at first, and goes five pixels a frame: over 160 with frame 46.
    let place = |frame: usize| (20..70).contains(&frame).then(|| (12 + 5 * (frame - 20), 100));
    let film = drawn(&scratch, (0..120).map(place));
    let zones = scratch.write("zones.toml", HALVES.as_bytes());
    let (jsonl, table) =
        (format!("jsonl:{}", scratch.file("out.jsonl")), format!("sightings:{}", scratch.file("out.tsv")));
    let flags = ["--source", &film, "--query", "the square", "--zones", &zones, "--confirm", "10", "--forget", "400ms"];
    let settings = run_settings(&[&flags[..], &["--reproducible", "--out", &jsonl, "--out", &table]].concat());
    stream(&settings, Box::new(Finder), Some(0.5), true).expect("runs");
    let lines = raw_lines(&scratch.read("out.jsonl"));
    validate(&lines);

    let (starts, ends) = (events(&lines, "sighting_start"), events(&lines, "sighting_end"));
    assert_eq!((starts.len(), ends.len()), (1, 1), "{lines:?}");
    let (start, end) = (&starts[0]["sighting"], &ends[0]["sighting"]);
    assert_eq!(start["id"], end["id"]);
    assert_eq!(start["start_pts_ns"].as_u64(), Some(20 * FRAME_NS), "the first frame: {start}");
    assert_eq!(end["last_pts_ns"].as_u64(), Some(69 * FRAME_NS), "the last frame: {end}");
    assert_eq!((ends[0]["cause"].as_str(), end["query"].as_str()), (Some("gone"), Some("the square")));
    assert_eq!(end["zones"], serde_json::json!(["left half"]));
    let told = |line: &Value| lines.iter().position(|other| other == line).expect("is there");
    let frame = |seq: u64| lines.iter().position(|line| line["seq"] == seq && line["queries"].is_array());
    // Ten frames confirm, and the event follows the last of them.
    assert_eq!(told(starts[0]), frame(29).expect("a frame") + 1);
    let (entered, left, crossed) =
        (events(&lines, "zone_enter"), events(&lines, "zone_leave"), events(&lines, "line_cross"));
    assert_eq!((entered.len(), left.len(), crossed.len()), (1, 1, 1), "{lines:?}");
    assert_eq!((entered[0]["seq"].as_u64(), left[0]["seq"].as_u64()), (Some(20), Some(46)));
    assert_eq!(left[0]["dwell_s"].as_f64(), Some(26.0 / f64::from(RATE)));
    assert_eq!((crossed[0]["seq"].as_u64(), crossed[0]["direction"].as_str()), (Some(46), Some("left")));
    assert_eq!(crossed[0]["counts"], serde_json::json!({"left": 1, "right": 0}));
    assert_eq!(events(&lines, "sighting_update").len(), 0, "nothing about it is new: no better picture, no other zone");
    let rows: Vec<String> = scratch.read("out.tsv").lines().map(str::to_owned).collect();
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rows[1].contains("\tgone\t") && rows[1].contains("\tleft half\t"), "{rows:?}");

    // What was recorded can be looked up.
    let found = scratch.file("out.jsonl");
    let list = spotter(&["sightings", "list", &found, "--zone", "left half"]).expect_success().stdout;
    assert!(list.lines().count() == 1 && list.contains("the square") && list.contains("2.0 s"), "{list}");
    assert_eq!(spotter(&["sightings", "list", &found, "--query", "another"]).expect_success().stdout, "");
    let id = end["id"].as_str().expect("an id");
    let shown: Value =
        serde_json::from_str(&spotter(&["sightings", "show", &found, id]).expect_success().stdout).expect("JSON");
    assert_eq!((&shown["id"], &shown["cause"]), (&end["id"], &ends[0]["cause"]));
    let export = spotter(&["sightings", "export", &found, "--format", "table"]).expect_success().stdout;
    assert_eq!(export, scratch.read("out.tsv"), "the same table");
    let none = spotter(&["sightings", "show", &found, "nobody"]);
    assert!(none.code == Some(2) && none.stderr.contains("has no sighting \"nobody\""), "{}", none.stderr);
}

#[test]
fn nothing_is_told_where_nobody_asks() {
    let scratch = Scratch::new();
    let film = drawn(&scratch, (0..40).map(|_| Some((50, 50))));
    let out = format!("jsonl:{}", scratch.file("out.jsonl"));
    let settings = run_settings(&["--source", &film, "--query", "the square", "--out", &out]);
    stream(&settings, Box::new(Finder), Some(0.5), true).expect("runs");
    let lines = raw_lines(&scratch.read("out.jsonl"));
    assert!(!lines.iter().any(|line| line["event"].as_str().is_some_and(|event| event.starts_with("sighting"))));
}

/// Frames from which on and until which something is clearly there, where it is there for long enough to be sure of it. In
/// between another thing may stand before it.
fn stays(truths: &[Truth], least: usize) -> Vec<(usize, usize)> {
    let (mut stays, mut is_away): (Vec<(usize, usize)>, bool) = (Vec::new(), true);
    for (frame, truth) in truths.iter().enumerate() {
        match (truth, stays.last_mut()) {
            (Truth::Here(_), Some((_, last))) if !is_away => *last = frame,
            (Truth::Here(_), _) => stays.push((frame, frame)),
            _ => {}
        }
        is_away = match truth {
            Truth::Here(_) => false,
            Truth::Absent => true,
            Truth::Unclear => is_away,
        };
    }
    stays.retain(|(first, last)| last - first >= least);
    stays
}

/// The small model on films that are drawn as those that it learnt from: what comes and goes is told once for each time.
#[test]
fn drawn_films_are_told_as_they_were_drawn() {
    const FILMS: usize = 4;
    const SECONDS: usize = 14;
    /// Frames by which a start or an end may be off: at the edge of the picture half of a thing is to be seen.
    const OFF: usize = RATE as usize * 3 / 4;
    let scratch = Scratch::new();
    let art = Arc::new(Art::load(Path::new("."), &[]).expect("shapes need no art"));
    let settings = SceneSettings {
        side: WIDTH,
        square: 0.0,
        aspect: Some([WIDTH, HEIGHT]),
        objects: [2, 3],
        absent: 0.0,
        ..SceneSettings::default()
    };
    let scenes = Scenes::new(settings, art, 23, usize::MAX).expect("scenes");
    let mut as_drawn = 0;
    for number in 0..FILMS {
        let film = Film::new(&scenes, number).expect("has room");
        let (mut frames, mut truths) = (Vec::new(), Vec::new());
        for frame in 0..SECONDS * RATE as usize {
            let (picture, truth) = film.frame(frame as f32 / RATE as f32);
            frames.push(picture.rgb);
            truths.push(truth.into_iter().next().expect("of the visitor"));
        }
        let file = scratch.file(&format!("{number}.mp4"));
        let raw = Raw { format: "rgb24", size: film.size(), rate: RATE };
        encode(&file, raw, frames.into_iter(), &["-preset", "veryfast", "-crf", "16"]);
        let phrase = film.phrases().next().expect("asks").to_owned();
        let flags = ["run", "--source", &file, "--query", &phrase, "--threshold", "0.5", "--reproducible"];
        let told = ["--sightings", "--confirm", "500ms", "--forget", "1s", "--out", "jsonl:-"];
        let lines = raw_lines(&spotter(&[&flags[..], &told].concat()).expect_success().stdout);
        validate(&lines);
        let frame_of = |time: &Value| (time.as_u64().expect("a time") / FRAME_NS) as usize;
        let found: Vec<(usize, usize)> = events(&lines, "sighting_end")
            .iter()
            .map(|end| (frame_of(&end["sighting"]["start_pts_ns"]), frame_of(&end["sighting"]["last_pts_ns"])))
            .collect();
        assert_eq!(found.len(), events(&lines, "sighting_start").len());
        // Three times what confirms.
        let wanted = stays(&truths, RATE as usize * 3 / 2);
        let near = |(a, b): (usize, usize), (c, d): (usize, usize)| a.abs_diff(c) <= OFF && b.abs_diff(d) <= OFF;
        let each_once = wanted.iter().all(|stay| found.iter().filter(|told| near(**told, *stay)).count() == 1);
        // Nothing else is told: whatever is, touches a time at which it is there, however short.
        let all = stays(&truths, 0);
        let is_there = |told: &(usize, usize)| all.iter().any(|stay| told.0 <= stay.1 + OFF && stay.0 <= told.1 + OFF);
        let is_right = each_once && !wanted.is_empty() && found.iter().all(is_there) && found.len() <= all.len();
        as_drawn += usize::from(is_right);
        aloud(&format!("film {number}, {phrase:?}: there on {wanted:?}, told on {found:?}"));
    }
    assert!(as_drawn + 1 >= FILMS, "{as_drawn} of {FILMS}");
}

#[test]
fn films_of_a_batch_have_a_table_each() {
    let scratch = Scratch::new();
    let films = ["a.mp4", "b.mp4"].map(|name| clip(&scratch, name, "160x96", 40, &["-c:v", "libx264", "-g", "10"]));
    let zones = scratch.write("zones.toml", HALVES.as_bytes());
    let model = model_with_presence();
    let batch = |out: &str| {
        let out = scratch.file(out);
        let common = ["batch", &films[0], &films[1], "--query", "a", "--model", &model, "--threshold", "0"];
        let told = ["--zones", &zones, "--confirm", "5", "--format", "native", "--format", "sightings", "--out", &out];
        spotter(&[&common[..], &told].concat()).expect_success();
        ["a", "b"].map(|name| {
            let read = |ending: &str| std::fs::read_to_string(Path::new(&out).join(format!("{name}.{ending}")));
            (read("jsonl").expect("records"), read("sightings.tsv").expect("a table"))
        })
    };
    let first = batch("first");
    for (records, table) in &first {
        let lines = raw_lines(records);
        validate(&lines);
        let ends = events(&lines, "sighting_end");
        assert!(!ends.is_empty() && table.lines().count() == 1 + ends.len(), "{table}");
    }
    assert_eq!(batch("again"), first, "the same bytes");
}

#[test]
fn what_cannot_be_is_told() {
    let scratch = Scratch::new();
    let said = |text: &str| {
        let file = scratch.write("run.toml", text.as_bytes());
        let source = ["run", "--config", &file, "--source", "test:ball?frames=2&size=64x64", "--query", "a"];
        let ran = spotter(&[&source[..], &["--out", "jsonl:-"]].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{text}: {}", ran.stderr);
        ran.stderr
    };
    let zone = |name: &str, points: &str| format!("[[zone]]\nname = \"{name}\"\npoints = {points}\n");
    let square = "[[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]";
    for (text, expected) in [
        (
            zone("drive", "[[0.1, 0.1], [1.5, 0.1], [0.5, 0.9]]"),
            "zone \"drive\": the point [1.5, 0.1] is outside the picture",
        ),
        (
            zone("drive", "[[0.1, 0.1], [0.9, 0.9], [0.9, 0.1], [0.1, 0.9]]"),
            "zone \"drive\": crosses or touches itself",
        ),
        (zone("drive", "[[0.1, 0.1], [0.9, 0.9]]"), "zone \"drive\": has 2 corners, expected at least 3"),
        (
            zone("drive", square) + &zone("drive", square),
            "zone \"drive\": another zone or line of this stream has the same name",
        ),
        (zone("", square), "its name is empty"),
        (zone("drive", square) + "confirm = 0\n", "confirm = 0: expected a number of frames"),
        (zone("drive", square) + "anchor = \"side\"\n", "expected one of"),
        (zone("drive", square) + "colour = \"red\"\n", "unknown key `zone.colour`"),
        ("[[line]]\nname = \"gate\"\npoints = [[0.1, 0.1]]\n".into(), "line \"gate\": has 1 points, expected 2"),
        ("[sightings]\nconfrim = \"1s\"\n".into(), "did you mean `sightings.confirm`?"),
        ("[sightings]\nconfirm = \"soon\"\n".into(), "--confirm soon"),
        ("[sightings]\nquiet_hours = [\"22-7\"]\n".into(), "expected two times of day, as in 22:00-06:30"),
        ("[sightings]\nper_minute = 0\n".into(), "per_minute = 0"),
        ("[sightings]\ndir = \"/nowhere/at/all\"\n".into(), "its folder does not exist"),
        ("[sightings]\nsnapshots = true\n".into(), "[sightings] snapshots: is for files in a folder, expected dir"),
        ("[sightings]\nclips = {}\n".into(), "[sightings] clips: is for files in a folder, expected dir"),
        ("[sightings]\ndir = \"x\"\nclips = { befor = \"1s\" }\n".into(), "did you mean `sightings.clips.before`?"),
        ("[sightings]\ndir = \"x\"\nclips = { before = \"1h\" }\n".into(), "clips.before: 1h: expected a time"),
        (
            "[sightings]\ndir = \"x\"\nclips = { memory = \"1kB\" }\n".into(),
            "clips.memory: 1kB: expected at least 1MiB",
        ),
        ("[sightings]\ndir = \"x\"\nkeep = {}\n".into(), "keep: expected days from 1 on, or bytes"),
        ("[sightings]\ndir = \"x\"\nkeep = { bytes = \"much\" }\n".into(), "keep: much: expected a number of bytes"),
    ] {
        let said = said(&text);
        assert!(said.contains(expected), "{text}: {said}");
    }
    let streams = format!(
        "[[stream]]\nid = \"gate\"\nsource = \"test:ball?frames=2&size=64x64\"\n[[stream.zone]]\nname = \"driveway\"\n\
         points = {square}\n[[stream.query]]\ntext = \"a car\"\nrequired_zones = [\"drivewy\"]\n"
    );
    let file = scratch.write("a.streams", streams.as_bytes());
    let ran = spotter(&["run", "--source", &file, "--out", "jsonl:-"]);
    let expected = "query \"a car\": required_zones: no zone is called \"drivewy\"; did you mean \"driveway\"?";
    assert!(ran.code == Some(2) && ran.stderr.contains(expected), "{}", ran.stderr);
    let fixed = scratch.write("b.streams", streams.replace("drivewy", "driveway").as_bytes());
    spotter(&["run", "--source", &fixed, "--out", "jsonl:-"]).expect_success();
    let checked = spotter(&["check", &fixed]).expect_success().stdout;
    assert!(checked.contains("zone        driveway (4 corners)"), "{checked}");
}

#[test]
fn zones_can_be_looked_at() {
    let scratch = Scratch::new();
    let plain = picture(&scratch, "street.png", (320, 192));
    let zones = scratch.write("zones.toml", HALVES.as_bytes());
    let film = drawn(&scratch, (0..30).map(|_| None));
    for (source, name) in [(&plain, "picture.png"), (&film, "film.png")] {
        let out = scratch.file(name);
        spotter(&["zones", source, "--config", &zones, "--out", &out]).expect_success();
        let drawn = image::open(&out).expect("a picture").into_rgb8();
        assert_eq!((drawn.width(), drawn.height()), (320, 192));
        // The edge between the halves is drawn from top to bottom; nothing is beside it.
        let is_light = |x: u32, y: u32| drawn.get_pixel(x, y).0.iter().all(|value| *value > 150);
        assert!((20..170).step_by(10).all(|y| (158..163).any(|x| is_light(x, y))), "{name}");
        // The film is dark throughout.
        assert!(name != "film.png" || (240..300).all(|x| !is_light(x, 100)), "nothing else is drawn");
    }
    let names = scratch.names();
    assert!(names.iter().all(|name| !name.starts_with(".tmp")), "{names:?}");
    let nothing = scratch.write("none.toml", b"[sightings]\n");
    let ran = spotter(&["zones", &plain, "--config", &nothing, "--out", &scratch.file("none.png")]);
    assert!(ran.code == Some(2) && ran.stderr.contains("has no [[zone]] and no [[line]]"), "{}", ran.stderr);
    let ran = spotter(&["zones", &plain, "--config", &zones, "--out", &plain]);
    assert!(ran.code == Some(2) && ran.stderr.contains("is the source"), "{}", ran.stderr);
}

/// Things that wander about, some at a time: what is told of them, and the records of their boxes.
fn wander(scratch: &Scratch, seed: u64) -> String {
    const THINGS: u64 = 20;
    const FRAMES: u64 = 1500;
    let resolution = Resolution { width: 640, height: 360, rotation: 0, par: 1.0 };
    let mut random = StdRng::seed_from_u64(seed);
    let zone =
        |name: &str, corners: &[[f64; 2]], confirm| Zone::new(name, corners, Anchor::Bottom, confirm).expect("valid");
    let line = |name: &str, ends: &[[f64; 2]], confirm| Line::new(name, ends, Anchor::Bottom, confirm).expect("valid");
    let settings = SightingSettings {
        confirm: Confirm::Frames(1),
        forget: Duration::from_mins(1),
        zones: vec![zone("square", &SQUARE, 3), zone("slant", &SLANT, 2)],
        lines: vec![line("across", &ACROSS, 3), line("down", &DOWN, 1)],
        ..SightingSettings::default()
    };
    let query = Query::of("it");
    let tracking = Tracking { all: true, ..Tracking::plain(Some(0.5)) };
    let watched =
        WatchedQuery { tracked: TrackedQuery { query: query.clone(), tracking }, own: QuerySighting::default() };
    let origin = Origin { run_id: "run".into(), stream: "film".into(), file_name: "film".into() };
    let mut sightings = Sightings::new(&settings, origin, vec![watched], false).expect("no journal");
    let path = scratch.file("wander.jsonl");
    let file = RecordFile::new(&RecordPlace::native(&path), false);
    let mut things: Vec<[f64; 4]> = (0..THINGS)
        .map(|_| {
            let mut between = |from: f64, to: f64| random.random_range(from..to);
            [between(30.0, 610.0), between(50.0, 350.0), between(-5.0, 5.0), between(-4.0, 4.0)]
        })
        .collect();
    for frame in 0..FRAMES {
        for [x, y, dx, dy] in &mut things {
            *dx = (*dx + random.random_range(-1.0..1.0)).clamp(-7.0, 7.0);
            *dy = (*dy + random.random_range(-1.0..1.0)).clamp(-6.0, 6.0);
            let (next_x, next_y) = (*x + *dx, *y + *dy);
            if !(10.0..630.0).contains(&next_x) {
                *dx = -*dx;
            }
            if !(45.0..355.0).contains(&next_y) {
                *dy = -*dy;
            }
            // As records round them.
            let hundredth = |value: f64| (value * 100.0).round() / 100.0;
            (*x, *y) = (hundredth(next_x.clamp(10.0, 630.0)), hundredth(next_y.clamp(45.0, 355.0)));
        }
        let object = |(id, [x, y, ..]): (u64, &[f64; 4])| {
            let rect = Rect { x0: x - 10.0, y0: y - 40.0, x1: x + 10.0, y1: *y };
            Object { id, rect, raw: Some(rect), score: Some(0.9), measured: true, cause: None }
        };
        let objects = (1..).zip(&things).map(object).collect();
        let claim = QueryResult { status: QueryStatus::Box, measured: true, presence: Some(0.9), cause: None, objects };
        let result = FrameResult { status: FrameStatus::Measured, cause: None, queries: vec![claim] };
        let pts = frame * FRAME_NS;
        let record = FrameRecord::new(("run", "film"), frame, [&query], &result, Some(resolution));
        file.write(RecordLine::Frame(&FrameRecord { pts_ns: Some(pts), ..record })).expect("written");
        let facts = FrameFacts {
            seq: frame,
            frame_index: Some(frame),
            time: Duration::from_nanos(pts),
            pts_ns: Some(pts),
            unix_ns: pts as i64,
            resolution,
            cut: false,
        };
        let mut told = sightings.frame(&facts, &result).expect("no journal");
        if frame + 1 == FRAMES {
            told.extend(sightings.end().expect("no journal"));
        }
        for told in &told {
            let kind: EventKind = told.kind();
            let event = Event { schema: EVENT_SCHEMA, run_id: "run", source: "film", kind: &kind };
            file.write(RecordLine::Event(&event)).expect("written");
        }
    }
    file.finish().expect("written");
    path
}

const SQUARE: [[f64; 2]; 4] = [[0.05, 0.1], [0.4, 0.1], [0.4, 0.95], [0.05, 0.95]];
const SLANT: [[f64; 2]; 4] = [[0.5, 0.2], [0.95, 0.4], [0.8, 0.9], [0.45, 0.7]];
const ACROSS: [[f64; 2]; 2] = [[0.0, 0.5], [1.0, 0.5]];
const DOWN: [[f64; 2]; 2] = [[0.6, 0.0], [0.6, 1.0]];

/// Lines through the whole picture have the same counts; zones nearly, since `supervision` paints them on whole pixels. Shorter
/// lines are another question there: see `scripts/compare-supervision.py`.
#[test]
fn supervision_counts_the_same_on_the_same_boxes() {
    let packages = repository().join("target/supervision");
    if !packages.exists() {
        aloud(&format!("SKIPPED: {} is not there (make peers)", packages.display()));
        return;
    }
    let scratch = Scratch::new();
    let table = |kind: &str, name: &str, points: &[[f64; 2]], confirm: u32| {
        format!("[[{kind}]]\nname = \"{name}\"\npoints = {points:?}\nconfirm = {confirm}\n")
    };
    let text = table("zone", "square", &SQUARE, 3)
        + &table("zone", "slant", &SLANT, 2)
        + &table("line", "across", &ACROSS, 3)
        + &table("line", "down", &DOWN, 1);
    let zones = scratch.write("zones.toml", text.as_bytes());
    for seed in 1..4 {
        let records = wander(&scratch, seed);
        validate(&raw_lines(&scratch.read("wander.jsonl")));
        let script = repository().join("scripts/compare-supervision.py");
        // numpy and scipy are the readers'.
        let path = std::env::join_paths([&packages, &repository().join("target/readers")]).expect("paths");
        let output = Command::new("python3").arg(script).args([&records, &zones]).env("PYTHONPATH", path).output();
        let output = output.expect("python3 starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        aloud(&format!("seed {seed}: {report}"));
        let pair = |counts: &Value| [0, 1].map(|side| counts[side].as_u64().expect("a count"));
        for line in ["across", "down"] {
            for side in ["left", "right"] {
                let [ours, theirs] = pair(&report["lines"][line][side]);
                assert!(ours == theirs && ours > 20, "{line}, to the {side}: {report}");
            }
        }
        for zone in ["square", "slant"] {
            let [ours, theirs] = pair(&report["zones"][zone]);
            assert!(ours > 50 && ours.abs_diff(theirs) * 25 <= ours, "{zone}: {report}");
        }
    }
}
