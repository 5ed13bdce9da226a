//! Runs that tell what they see.

use std::io::{BufRead, Read};

use base64::Engine;
use rand::RngExt;
use serde_json::Value;
use spotter::notify::{NotifyEntry, SnapshotForm};
use spotter::run::stream;

use super::receiver::{Answer, Post, Receiver};
use super::{PATIENCE, entry, first_time};
use crate::sighted::live::{endless_with, read_until};
use crate::sightings::{Finder, drawn_with, events};
use crate::support::{Scratch, raw_lines, run_settings, tool, until};

/// Told is what stands in the records, with an id; once, in order, with the picture where that is wanted.
#[test]
fn sightings_of_a_run_are_told_once_and_in_order() {
    let scratch = Scratch::new();
    let place = |frame: usize| (20..70).contains(&frame).then(|| (12 + 5 * (frame - 20), 100));
    let film = drawn_with(&scratch, (0..120).map(place), &[]);
    let table = format!("[sightings]\ndir = {:?}\nsnapshots = true\n", scratch.file("kept"));
    let table = scratch.write("zones.toml", table.as_bytes());
    let out = format!("jsonl:{}", scratch.file("out.jsonl"));
    let flags = ["--source", &film, "--query", "the square", "--zones", &table, "--confirm", "10", "--forget", "400ms"];
    let mut settings = run_settings(&[&flags[..], &["--out", &out]].concat());
    let receiver = Receiver::start(0, |_| Answer::Status(200));
    let web = NotifyEntry {
        snapshot: Some(SnapshotForm::Base64),
        queue: Some(scratch.path().join("web.sqlite")),
        ..entry(&scratch, &receiver.address())
    };
    let file = entry(&scratch, &format!("jsonl:{}", scratch.file("events.jsonl")));
    let name = settings.streams[0].address.name.clone();
    settings.notify = NotifyEntry::resolve(&[web, file], &[name.as_str()]).expect("valid");
    stream(&settings, Box::new(Finder), Some(0.5), true).expect("runs");

    let records = raw_lines(&scratch.read("out.jsonl"));
    let (starts, ends) = (events(&records, "sighting_start"), events(&records, "sighting_end"));
    assert_eq!((starts.len(), ends.len()), (1, 1), "{records:?}");
    let kinds = ["sighting_start", "sighting_update", "sighting_end"];
    let recorded: Vec<&Value> = records.iter().filter(|line| kinds.iter().any(|kind| line["event"] == *kind)).collect();
    let told = raw_lines(&scratch.read("events.jsonl"));
    let ids: Vec<&str> = told.iter().map(|line| line["id"].as_str().expect("an id")).collect();
    let without_id = |line: &Value| {
        let mut line = line.clone();
        line.as_object_mut().expect("an object").remove("id");
        line
    };
    let lines: Vec<Value> = told.iter().map(without_id).collect();
    assert_eq!(lines.iter().collect::<Vec<_>>(), recorded, "the same lines, in the same order");
    let id = starts[0]["sighting"]["id"].as_str().expect("an id");
    assert_eq!((ids[0], ids[ids.len() - 1]), (&*format!("{id}.start"), &*format!("{id}.end")));
    let updates: Vec<String> = (1..ids.len() - 1).map(|number| format!("{id}.update.{number}")).collect();
    assert_eq!(ids[1..ids.len() - 1], updates);

    let posts = receiver.posts();
    assert_eq!(posts.iter().map(Post::id).collect::<Vec<_>>(), ids, "everybody is told the same");
    for post in &posts {
        let coded = post.json()["snapshot"]["base64"].as_str().expect("a picture").to_owned();
        let bytes = base64::engine::general_purpose::STANDARD.decode(coded).expect("base64");
        let picture = image::load_from_memory(&bytes).expect("a JPEG");
        assert_eq!((picture.width(), picture.height()), (320, 192));
    }
}

/// The program is killed ten times, at any moment: whoever was to be told of a start is, and of one end behind it.
#[test]
fn a_program_that_is_killed_tells_every_start_and_every_end() {
    const KILLS: usize = 10;
    /// Frames until a kill, at most. Things are sure after five.
    const FRAMES: usize = 30;
    const QUERIES: [&str; 5] = ["a", "the", "red", "car", "on"];
    let scratch = Scratch::new();
    let receiver = Receiver::start(0, |_| Answer::Status(200));
    let settings = format!(
        "[sightings]\ndir = {:?}\n\n[[notify]]\nto = {:?}\nqueue = {:?}\nretry_interval = \"20ms\"\n",
        scratch.file("kept"),
        receiver.address(),
        scratch.file("queue.sqlite")
    );
    let settings = scratch.write("run.toml", settings.as_bytes());
    let flags: Vec<&str> =
        ["--config", &settings].into_iter().chain(QUERIES.iter().flat_map(|q| ["--query", q])).collect();
    let id = |event: &Value| event["sighting"]["id"].as_str().expect("an id").to_owned();
    let mut random = rand::rng();
    let (mut started, mut ended) = (Vec::new(), Vec::new());
    for _ in 0..KILLS {
        let (mut run, mut records) = endless_with(&flags, &[]);
        let mut text = String::new();
        let (wanted, mut frames) = (random.random_range(0..FRAMES), 0);
        while frames < wanted {
            let before = text.len();
            assert!(records.read_line(&mut text).expect("read") > 0, "it ended by itself");
            frames += usize::from(text[before..].contains("spotter.frame/2"));
        }
        run.kill().expect("killed");
        run.wait().expect("gone");
        records.read_to_string(&mut text).expect("read");
        // The last line may be cut.
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        started.extend(events(&lines, "sighting_start").into_iter().map(id));
        ended.extend(events(&lines, "sighting_end").into_iter().map(id));
    }
    let (mut last, mut records) = endless_with(&flags, &[]);
    let mut lines = Vec::new();
    while events(&lines, "sighting_start").len() < QUERIES.len() {
        lines.extend(read_until(&mut records, "sighting_start"));
    }
    // A farewell is short, and the queue of ten killed runs may be long.
    until("the ends of killed runs", PATIENCE, || {
        let told: Vec<String> = receiver.taken().iter().map(Post::id).collect();
        started.iter().all(|id| told.contains(&format!("{id}.end"))).then_some(())
    });
    tool("kill", &["-TERM", &last.id().to_string()]);
    let mut rest = String::new();
    records.read_to_string(&mut rest).expect("read");
    assert!(last.wait().expect("ends").success());
    lines.extend(raw_lines(&rest));
    started.extend(events(&lines, "sighting_start").into_iter().map(id));
    ended.extend(events(&lines, "sighting_end").into_iter().map(id));
    assert!(started.len() > QUERIES.len(), "no run lasted long enough");

    let told = first_time(receiver.taken().iter().map(Post::id));
    let place = |id: &str, step: &str| told.iter().position(|told| *told == format!("{id}.{step}"));
    for id in &started {
        let (start, end) = (place(id, "start"), place(id, "end"));
        assert!(start.is_some() && start < end, "{id}: {start:?}, {end:?} of {told:?}");
        assert!(ended.contains(id), "the records of some run say how {id} ended");
    }
    // Of what else began there is as much.
    let count = |step: &str| told.iter().filter(|id| id.ends_with(step)).count();
    assert_eq!(count(".start"), count(".end"), "{told:?}");
}
