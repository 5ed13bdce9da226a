//! Ids over time: what `spotter eval` says of records, and what `TrackEval`, the tool of the field, says of the same files.

use std::process::Command;

use blocks::preprocess::Rect;
use qrnet_train::metrics::Things;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use records::track::{FrameResult, Object, QueryResult};
use records::{Format, FrameRecord, FrameStatus, Line, Query, QueryStatus, RecordFile, RecordPlace, Resolution};
use serde_json::Value;

use crate::support::{Scratch, aloud, raw_lines, repository, spotter};

/// What all films are asked.
const PHRASE: &str = "a person";
/// Of all pictures.
const SIZE: Resolution = Resolution { width: 640, height: 480, rotation: 0, par: 1.0 };
/// Films that chance made.
const RANDOM: u64 = 60;
/// What both sides tell.
const SHARES: [&str; 5] = ["hota", "det_a", "ass_a", "idf1", "mota"];

/// A film that was labelled and recorded.
struct World {
    name: String,
    frames: Vec<Things>,
    /// One of so many frames has labels.
    step: usize,
    /// What the labels ask for.
    referent: &'static str,
}

impl World {
    fn new(name: &str, referent: &'static str, frames: Vec<Things>) -> Self {
        Self { name: name.to_owned(), frames, step: 1, referent }
    }

    /// Frames with labels, from 1.
    fn labelled(&self) -> impl Iterator<Item = (usize, &Things)> {
        self.frames.iter().enumerate().map(|(index, things)| (index + 1, things)).step_by(self.step)
    }

    /// The last of them.
    fn last(&self) -> usize {
        self.labelled().map(|(frame, _)| frame).last().expect("frames")
    }

    /// Labels as the challenge has them: pixels from 1, and a confidence, a class and a visibility behind the box. Somebody
    /// who is not asked for is of a class that does not count there.
    fn labels(&self) -> String {
        let line = |frame: usize, id: u64, rect: &Rect, class: u64| {
            let (left, top) = (rect.x0 + 1.0, rect.y0 + 1.0);
            format!("{frame},{id},{left},{top},{},{},1,{class},1\n", rect.width(), rect.height())
        };
        let mut lines: Vec<String> = self
            .labelled()
            .flat_map(|(frame, things)| things.there.iter().map(move |(id, rect)| line(frame, *id, rect, 1)))
            .collect();
        if self.referent != EVERYONE {
            lines.push(line(self.last(), 999, &Rect { x0: 0.0, y0: 0.0, x1: 9.0, y1: 9.0 }, 9));
        }
        lines.concat()
    }

    /// Writes labels and records; those of the challenge hold the labelled frames alone, which are all that counts.
    fn write(&self, scratch: &Scratch, native: &RecordFile) {
        let Self { name, referent, .. } = self;
        scratch.write(&format!("{name}.gt.txt"), self.labels().as_bytes());
        let asked = format!("[[referent]]\nname = \"people\"\nphrases = [{PHRASE:?}]\n{referent}\n");
        scratch.write(&format!("{name}.toml"), asked.as_bytes());
        let mot = RecordPlace::new(Format::Mot, scratch.path().join("mot").join(format!("{name}.txt")));
        let mot = RecordFile::new(&mot, false);
        let (query, film) = (Query::of(PHRASE), format!("{name}.mp4"));
        for (place, things) in self.frames.iter().enumerate() {
            let objects: Vec<Object> = things.claimed.iter().map(|(id, rect)| object(*id, *rect)).collect();
            let status = if objects.is_empty() { QueryStatus::Absent } else { QueryStatus::Box };
            let seen = QueryResult { status, measured: true, presence: Some(0.9), cause: None, objects };
            let seen = FrameResult { status: FrameStatus::Measured, cause: None, queries: vec![seen] };
            let index = place as u64;
            let record = FrameRecord::new(("test", film.as_str()), index, [&query], &seen, Some(SIZE));
            let record = FrameRecord { frame_index: Some(index), ..record };
            native.write(Line::Frame(&record)).expect("written");
            if place.is_multiple_of(self.step) {
                mot.write(Line::Frame(&record)).expect("written");
            }
        }
        mot.finish().expect("written");
    }

    /// As a list of an evaluation set.
    fn list(&self) -> String {
        let Self { name, step, .. } = self;
        format!(
            "[[eval.lists]]\nformat = \"clip\"\nname = \"{name}\"\nclip = \"{name}.mp4\"\nlabels = \"{name}.gt.txt\"\n\
             queries = \"{name}.toml\"\nstep = {step}\n"
        )
    }
}

fn object(id: u64, rect: Rect) -> Object {
    Object { id, rect, raw: Some(rect), score: Some(0.9), measured: true, cause: None }
}

/// Each track of the table.
const EVERYONE: &str = "all = true";
/// Some of them.
const SOME: &str = "all = true\ntracks = [1, 2, 3, 4, 5, 6, 7, 8, 9]";
/// One.
const ONE: &str = "tracks = [1]";
/// None of them.
const NOBODY: &str = "tracks = []";

fn rect([x0, y0, width, height]: [f64; 4]) -> Rect {
    Rect { x0, y0, x1: x0 + width, y1: y0 + height }
}

/// Somebody who walks through a part of the film.
struct Walker {
    from: [f64; 4],
    step: [f64; 2],
    frames: std::ops::RangeInclusive<usize>,
}

/// Things that walk, come and go, and records of them: boxes are missed, shaken, or of nothing, ids change and swap.
fn random(seed: u64) -> World {
    let mut rng = StdRng::seed_from_u64(seed);
    let (length, count): (usize, usize) = (rng.random_range(12..50), [1, 1, 2, 4, 9][seed as usize % 5]);
    let walkers: Vec<Walker> = (0..count)
        .map(|_| {
            let place = [rng.random_range(100.0..400.0), rng.random_range(80.0..250.0f64)].map(f64::round);
            let size = [rng.random_range(20.0..100.0), rng.random_range(30.0..120.0f64)].map(f64::round);
            let step = [rng.random_range(-1.5..1.5), rng.random_range(-1.0..1.0)];
            // Four frames at least: one of them has labels.
            let frames = rng.random_range(1..=length / 4)..=rng.random_range(length / 2..=length);
            Walker { from: [place[0], place[1], size[0], size[1]], step, frames }
        })
        .collect();
    let mut ids: Vec<u64> = (1..=count as u64).collect();
    let mut next = count as u64 + 1;
    let mut frames: Vec<Things> = Vec::new();
    for frame in 1..=length {
        for place in 0..count {
            if rng.random_bool(0.05) {
                ids[place] = next;
                next += 1;
            }
            if rng.random_bool(0.05) {
                ids.swap(place, rng.random_range(0..count));
            }
        }
        let mut things = Things::default();
        for (place, walker) in walkers.iter().enumerate().filter(|(_, walker)| walker.frames.contains(&frame)) {
            let [x, y, width, height] = walker.from;
            let [dx, dy] = walker.step.map(|step| (step * frame as f64).round());
            things.there.push((place as u64 + 1, rect([x + dx, y + dy, width, height])));
            if rng.random_bool(0.85) {
                let shaking: usize = rng.random_range(0..3);
                let most: f64 = [0.02, 0.1, 0.3][shaking];
                let [a, b, c, d]: [f64; 4] = [(); 4].map(|()| rng.random_range(-most..most));
                let shaken =
                    [x + dx + a * width, y + dy + b * height, width * (1.0 + c), height * (1.0 + d)].map(hundredths);
                things.claimed.push((ids[place], rect(shaken)));
            }
        }
        if rng.random_bool(0.2) {
            let place = [rng.random_range(0.0..560.0), rng.random_range(0.0..420.0)].map(hundredths);
            things.claimed.push((next, rect([place[0], place[1], 50.0, 60.0])));
            next += u64::from(rng.random_bool(0.7));
        }
        frames.push(things);
    }
    // Where nobody else is in the table, it ends with the last of them.
    while frames.last().is_some_and(|things| things.there.is_empty()) {
        frames.pop();
    }
    let referent = match count {
        1 => ONE,
        2 => EVERYONE,
        _ => SOME,
    };
    // A table ends with the last frame that it has a box of, which must be one with labels.
    let step = if referent == EVERYONE { 1 } else { 1 + seed as usize % 3 };
    World { step, ..World::new(&format!("random-{seed}"), referent, frames) }
}

/// As records have it.
fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Worlds at the ends of the scale, and one that is at a threshold.
fn by_hand() -> Vec<World> {
    let (here, there) = (rect([10.0, 10.0, 20.0, 10.0]), rect([100.0, 10.0, 20.0, 30.0]));
    let half = rect([10.0, 10.0, 10.0, 10.0]);
    let frame =
        |there: &[(u64, Rect)], claimed: &[(u64, Rect)]| Things { there: there.to_vec(), claimed: claimed.to_vec() };
    let perfect = vec![frame(&[(1, here), (2, there)], &[(7, here), (9, there)]); 5];
    let other = [vec![frame(&[(1, here)], &[(1, half)]); 3], vec![frame(&[(1, here)], &[(2, here)]); 2]].concat();
    vec![
        World::new("perfect", EVERYONE, perfect),
        World::new("silent", ONE, vec![frame(&[(1, here)], &[]); 5]),
        World::new("nothing", NOBODY, vec![frame(&[], &[(1, here)]); 5]),
        World::new("empty", NOBODY, vec![frame(&[], &[]); 5]),
        World::new("other", ONE, other),
    ]
}

/// What `TrackEval` says of them, and of all together; none where it is not there, which is said.
fn peer(scratch: &Scratch, worlds: &[World]) -> Option<Vec<Value>> {
    let packages = ["trackeval", "readers"].map(|name| repository().join("target").join(name));
    if let Some(missing) = packages.iter().find(|folder| !folder.exists()) {
        aloud(&format!("SKIPPED: {} is not there (make peers)", missing.display()));
        return None;
    }
    let script = repository().join("tests/support/track_eval.py");
    let lengths = worlds.iter().map(|world| format!("{}={}", world.name, world.last()));
    let packages = std::env::join_paths(packages).expect("no colon in them");
    let output =
        Command::new("python3").arg(script).arg(scratch.path()).args(lengths).env("PYTHONPATH", packages).output();
    let output = output.expect("python3 starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(raw_lines(&String::from_utf8(output.stdout).expect("UTF-8")))
}

#[test]
fn ids_over_time_are_measured_as_trackeval_does() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path().join("mot")).expect("a folder");
    let worlds: Vec<World> = by_hand().into_iter().chain((0..RANDOM).map(random)).collect();
    let native = RecordFile::new(&RecordPlace::native(scratch.file("said.jsonl")), false);
    for world in &worlds {
        world.write(&scratch, &native);
    }
    native.finish().expect("written");
    let lists: Vec<String> = worlds.iter().map(World::list).collect();
    let alone = worlds.iter().zip(&lists).map(|(world, list)| format!("[[eval]]\nname = \"{}\"\n{list}", world.name));
    let together = format!("[[eval]]\nname = \"together\"\n{}", lists.concat());
    let sets = format!("name = \"worlds\"\n{}{together}", alone.collect::<Vec<_>>().concat());
    let (sets, said, json) =
        (scratch.write("sets.toml", sets.as_bytes()), scratch.file("said.jsonl"), scratch.file("out.json"));
    let ran = spotter(&["eval", &sets, "--records", &said, "--json", &json]).expect_success();
    let figures: Value = serde_json::from_str(&scratch.read("out.json")).expect("JSON");
    let ours = |name: &str| figures[name]["all"]["film"]["identity"].clone();

    let line = "HOTA 1.0000 (DetA 1.0000, AssA 1.0000), IDF1 1.0000, MOTA 1.0000, 0 id switches\n";
    assert!(ran.stdout.contains(line), "{}", ran.stdout);
    assert!(ran.stdout.contains("IDF1 0.6000, MOTA 0.8000, 1 id switch\n"), "{}", ran.stdout);
    for name in ["nothing", "empty"] {
        assert!(
            figures[name]["all"].is_object() && ours(name).is_null(),
            "nothing is there to be followed in {name:?}"
        );
    }

    let Some(theirs) = peer(&scratch, &worlds) else { return };
    assert_eq!(theirs.len(), worlds.len() + 1);
    let (mut compared, mut switches) = (0, 0);
    for theirs in &theirs {
        let name = theirs["film"].as_str().expect("a name");
        let ours = ours(name);
        if ours.is_null() {
            assert!(["nothing", "empty"].contains(&name), "{name:?} lacks figures");
            continue;
        }
        for key in SHARES {
            let [a, b] = [&ours, theirs].map(|side| side[key].as_f64().expect("a number"));
            assert!((a - b).abs() < 1e-6, "{name}, {key}: {a} is not {b}");
        }
        assert_eq!(ours["id_switches"], theirs["id_switches"], "{name}");
        compared += 1;
        switches += ours["id_switches"].as_u64().expect("a number");
    }
    assert_eq!(compared, worlds.len() - 1, "all but the two without a true box, and all together");
    assert!(switches > 100, "{switches}: there is something to be counted");
}
