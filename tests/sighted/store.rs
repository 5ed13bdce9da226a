//! The store: what is kept, found again, and deleted.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use spotter::sightings::{FileRef, Filter, Keep, PathPoint, Sighting, Store, day_folder};

use crate::support::Scratch;
use crate::support::clips::sighting;

const DAY: i64 = 86_400_000_000_000;

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos()).expect("a time")
}

/// One that began at this moment and lasted a second.
fn at(id: &str, start: i64) -> Sighting {
    let zones = if id.ends_with('z') { vec!["drive".into(), "door".into()] } else { Vec::new() };
    Sighting {
        start_unix_ns: start,
        last_unix_ns: start + 1_000_000_000,
        zones,
        path: vec![PathPoint { pts_ns: Some(7), x: 0.25, y: 0.5 }],
        ..sighting(id, &Value::Null, &Value::Null)
    }
}

/// A file of so many bytes in the folder of its day.
fn file(store: &Store, sighting: &Sighting, kind: &str, bytes: usize) -> FileRef {
    let folder = store.day(sighting.start_unix_ns);
    std::fs::create_dir_all(&folder).expect("made");
    let path = folder.join(format!("{}.{kind}", sighting.id));
    std::fs::write(&path, vec![0; bytes]).expect("written");
    FileRef { kind: kind.into(), path, start_pts_ns: Some(1), end_pts_ns: None }
}

fn ids(store: &Store, filter: &Filter) -> Vec<String> {
    store.list(filter).expect("read").into_iter().map(|stored| stored.sighting.id).collect()
}

#[test]
fn what_is_put_is_found_by_what_it_is() {
    let scratch = Scratch::new();
    let start = now();
    let mut store = Store::open(scratch.path(), Keep::default()).expect("opened");
    let one = at("one", start);
    let mut two = Sighting { stream: "yard".into(), query: "cat".into(), ..at("two-z", start + 5_000_000_000) };
    store.put(&two).expect("put");
    store.put(&one).expect("put");
    let clip = file(&store, &one, "clip", 10);
    store.add_file("one", &clip).expect("added");
    two.last_unix_ns += 60_000_000_000;
    store.end(&two, "gone").expect("ended");
    // Another process, or the next run.
    let store = Store::open(scratch.path(), Keep::default()).expect("opened");
    let got = store.get("one").expect("read").expect("there");
    let files = vec![FileRef { path: std::fs::canonicalize(&clip.path).expect("there"), ..clip }];
    assert_eq!((got.sighting, got.cause), (Sighting { files, ..one }, None));
    let got = store.get("two-z").expect("read").expect("there");
    assert_eq!((got.sighting, got.cause.as_deref()), (two, Some("gone")));
    assert_eq!(store.get("three").expect("read"), None);
    assert_eq!(store.bytes().expect("read"), 10);
    let all = Filter::default();
    assert_eq!(ids(&store, &all), ["one", "two-z"], "the oldest first");
    assert_eq!(ids(&store, &Filter { most: Some(1), ..all.clone() }), ["two-z"], "the newest ones");
    assert_eq!(ids(&store, &Filter { open: true, ..all.clone() }), ["one"]);
    assert_eq!(ids(&store, &Filter { stream: Some("yard".into()), ..all.clone() }), ["two-z"]);
    assert_eq!(ids(&store, &Filter { query: Some("cat".into()), ..all.clone() }), ["two-z"]);
    assert_eq!(ids(&store, &Filter { zone: Some("door".into()), ..all.clone() }), ["two-z"]);
    assert_eq!(ids(&store, &Filter { zone: Some("garden".into()), ..all.clone() }), [""; 0]);
    let since = Some(start + 10_000_000_000);
    assert_eq!(ids(&store, &Filter { since_unix_ns: since, ..all.clone() }), ["two-z"], "it lasted until then");
    assert_eq!(ids(&store, &Filter { until_unix_ns: Some(start + 1), ..all }), ["one"]);
}

#[test]
fn an_update_takes_the_place_of_what_was_known_and_keeps_the_files() {
    let scratch = Scratch::new();
    let mut store = Store::open(scratch.path(), Keep::default()).expect("opened");
    let mut one = at("one", now());
    store.put(&one).expect("put");
    let snapshot = file(&store, &one, "snapshot", 3);
    for bytes in [3, 8] {
        std::fs::write(&snapshot.path, vec![0; bytes]).expect("written");
        store.add_file("one", &snapshot).expect("added");
    }
    one.objects.push(2);
    store.put(&one).expect("put");
    let got = store.get("one").expect("read").expect("there").sighting;
    assert_eq!((got.objects, got.files.len()), (vec![1, 2], 1));
    assert_eq!(store.bytes().expect("read"), 8, "a better picture took its place");
    assert!(store.add_file("nobody", &snapshot).is_err(), "files belong to somebody");
    store.end(&one, "end").expect("ended");
    store.put(&one).expect("put");
    assert_eq!(store.get("one").expect("read").expect("there").cause.as_deref(), Some("end"), "it stays ended");
}

#[test]
fn the_oldest_go_first_and_that_is_told() {
    let scratch = Scratch::new();
    let keep = Keep { days: Some(7), bytes: Some(250) };
    let mut store = Store::open(scratch.path(), keep).expect("opened");
    let foreign = scratch.write("foreign.mp4", b"mine");
    let put = |store: &mut Store, id: &str, days: i64, ended: bool| -> PathBuf {
        let one = at(id, now() - days * DAY);
        store.put(&one).expect("put");
        let clip = file(store, &one, "clip", 100);
        store.add_file(id, &clip).expect("added");
        if ended {
            store.end(&one, "gone").expect("ended");
        }
        clip.path
    };
    let ancient = put(&mut store, "ancient", 30, true);
    let lasting = put(&mut store, "lasting", 29, false);
    let [old, new, newest] = [("old", 3), ("new", 2), ("newest", 0)].map(|(id, days)| put(&mut store, id, days, true));
    let outside = Scratch::new();
    let elsewhere = FileRef {
        kind: "clip".into(),
        path: outside.write("kept.mp4", b"x").into(),
        start_pts_ns: None,
        end_pts_ns: None,
    };
    store.add_file("ancient", &elsewhere).expect("added");
    let removed = store.sweep().expect("swept");
    let told: Vec<_> = removed.iter().map(|one| (one.sighting.as_str(), one.bytes, one.limit)).collect();
    assert_eq!(told, [("ancient", 100, "days"), ("old", 100, "bytes"), ("new", 100, "bytes")]);
    assert_eq!(removed[0].files.len(), 1, "{removed:?}");
    let is_there = |path: &Path| path.exists();
    assert_eq!([&ancient, &lasting, &old, &new, &newest].map(|path| is_there(path)), [false, true, false, false, true]);
    assert!(is_there(&elsewhere.path) && is_there(Path::new(&foreign)), "what is not ours is left alone");
    assert!(!ancient.parent().is_some_and(Path::exists), "and its day is gone");
    assert_eq!(ids(&store, &Filter::default()), ["lasting", "newest"]);
    assert_eq!(store.bytes().expect("read"), 200);
    assert_eq!(store.sweep().expect("swept"), [], "nothing more");
    // What somebody deleted is no reason to stop.
    std::fs::remove_file(&newest).expect("deleted");
    let mut store = Store::open(scratch.path(), Keep { days: None, bytes: Some(0) }).expect("opened");
    let removed = store.sweep().expect("swept");
    assert_eq!(removed.iter().map(|one| one.sighting.as_str()).collect::<Vec<_>>(), ["newest"]);
}

#[test]
fn an_index_of_another_version_is_left_alone() {
    let scratch = Scratch::new();
    drop(Store::open(scratch.path(), Keep::default()).expect("opened"));
    let index = rusqlite::Connection::open(scratch.path().join("sightings.sqlite")).expect("opened");
    index.pragma_update(None, "user_version", 99).expect("written");
    drop(index);
    let error = Store::open(scratch.path(), Keep::default()).expect_err("another version").to_string();
    assert!(error.contains("has layout 99, expected 1"), "{error}");
}

#[test]
fn days_have_folders() {
    assert_eq!(day_folder(Path::new("a"), 0), Path::new("a/1970-01-01"));
    assert_eq!(day_folder(Path::new("a"), 1_764_547_199_999_999_999), Path::new("a/2025-11-30"));
    assert_eq!(day_folder(Path::new("a"), 1_764_547_200_000_000_000), Path::new("a/2025-12-01"));
}
