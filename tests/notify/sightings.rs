//! Runs that tell what they see.

use base64::Engine;
use serde_json::Value;
use spotter::notify::{NotifyEntry, SnapshotForm};
use spotter::run::stream;

use super::entry;
use super::receiver::{Answer, Post, Receiver};
use crate::sightings::{Finder, drawn_with, events};
use crate::support::{Scratch, raw_lines, run_settings};

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
