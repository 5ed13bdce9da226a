//! Video of what is no H.264: encoded once for all who watch, while somebody does; and clips of it, when somebody asks for one.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::api::{check, description};
use super::{PATIENCE, Run, Viewer, Watched, ask, decodes, encoded, get, place};
use crate::served::Service;
use crate::sources::probed;
use crate::support::counter::{Counter, counter_clip, counters};
use crate::support::{Scratch, clip, probe, tool, until};

const RAW: &str = "test:ball?live=true&size=320x240&fps=25";

/// Encoders of a process, by the threads that feed them: nothing else of a run without an output is fed by an `appsrc`. An encoder's own
/// threads are called as the one that began them.
fn encoders(service: &Service) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", service.id())).expect("listed");
    let names = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("appsrc")).collect::<BTreeSet<_>>().len()
}

/// Two streams of different codecs, and who watches comes and goes.
#[test]
fn each_is_encoded_once_for_all_and_only_while_somebody_watches() {
    let scratch = Scratch::new();
    let hevc = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "keyint=25:log-level=none"];
    let film = clip(&scratch, "hevc.mp4", "320x192", 3000, &hevc);
    let sources = ["--source", RAW, "--source", &film, "--query", "a", "--max-fps", "5"];
    let service = Service::start(&[&sources[..], &["--page", "127.0.0.1:0"]].concat());
    let place = place(&service);
    until("frames", PATIENCE, || {
        let streams = get(&place, "/api/v1/streams").json()["streams"].clone();
        streams.as_array()?.iter().all(|stream| stream["up"] == true).then_some(())
    });
    let watch = |source: &str| {
        let mut viewer = Viewer::open(&place, source, "?video=mp4");
        let enough = |watched: &Watched| watched.films.first().is_some_and(|film| film.bytes.len() > 20_000);
        let watched = Watched::until(&mut viewer, enough);
        (viewer, watched)
    };
    assert_eq!(encoders(&service), 0, "nobody watches");
    // Lines and pictures alone need no video.
    let lines = Viewer::open(&place, RAW, "");
    let (first, of_first) = watch(RAW);
    assert_eq!(encoders(&service), 1);
    let (second, of_second) = watch(RAW);
    assert_eq!(encoders(&service), 1, "it is encoded once");
    let (third, of_third) = watch(&film);
    assert_eq!(encoders(&service), 2);
    for (name, watched, size) in
        [("a.mp4", of_first, (320, 240)), ("b.mp4", of_second, (320, 240)), ("c.mp4", of_third, (320, 192))]
    {
        assert_eq!(watched.films.len(), 1, "{name}");
        let file = scratch.write(name, &watched.films[0].bytes);
        decodes(&file);
        let (width, height, count) = probe(&file);
        assert!((width, height) == size && count > 5, "{name}: {width}x{height}, {count} pictures");
    }
    drop(first);
    until("the other encoder", PATIENCE, || (get(&place, "/api/v1/health").json()["viewers"] == 3).then_some(()));
    assert_eq!(encoders(&service), 2, "one of two left");
    drop((second, third));
    until("no encoder", PATIENCE, || (encoders(&service) == 0).then_some(()));
    // Whoever comes then begins with what is there then.
    let (_fourth, of_fourth) = watch(RAW);
    assert_eq!((of_fourth.films.len(), encoders(&service)), (1, 1));
    decodes(&scratch.write("d.mp4", &of_fourth.films[0].bytes));
    drop(lines);
}

#[test]
fn a_clip_of_another_codec_is_encoded_once_when_it_is_asked_for() {
    let scratch = Scratch::new();
    let dir = scratch.file("kept");
    let hevc = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "keyint=25:bframes=3:log-level=none"];
    let silent = counter_clip(&scratch, 25, 200, &hevc);
    let film = scratch.file("film.mp4");
    let sine = ["-f", "lavfi", "-i", "sine=frequency=440", "-c:v", "copy", "-c:a", "aac", "-shortest"];
    tool("ffmpeg", &[&["-v", "error", "-i", &silent][..], &sine, &[&film]].concat());
    let table = format!("[sightings]\ndir = {dir:?}\nclips = {{ before = \"1s\", after = \"1s\" }}\n");
    let table = scratch.write("zones.toml", table.as_bytes());
    let out = format!("jsonl:{}", scratch.file("out.jsonl"));
    // The other stream goes on when the film is over, and the page with it.
    let sources = ["--source", &film, "--source", "test:black?live=true&size=320x192&fps=5", "--query", "the counter"];
    let run = Run::start(
        &[&sources[..], &["--zones", &table, "--confirm", "5", "--out", &out]].concat(),
        Counter { takes: Duration::ZERO },
    );
    let list = format!("/api/v1/sightings?stream={}", encoded(&film));
    let clip = until("a clip", PATIENCE, || {
        let all = get(&run.place, &list).json()["sightings"].clone();
        let files = all.as_array()?.iter().find_map(|one| one["files"].as_array().filter(|files| !files.is_empty()))?;
        Some(files.iter().find(|file| file["kind"] == "clip")?.clone())
    });
    let (kept, played) = (clip["href"].as_str().expect("an address"), clip["play"].as_str().expect("an address"));
    let codec = |file: &str| {
        let entries = ["-v", "error", "-of", "csv=p=0", "-show_entries", "stream=codec_name"];
        tool("ffprobe", &[&entries[..], &[file]].concat()).split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let kept = scratch.write("kept.mp4", &get(&run.place, kept).body);
    assert_eq!(codec(&kept), ["hevc", "aac"]);
    // Everybody who asks at once gets the same one.
    let answers: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..4).map(|_| scope.spawn(|| get(&run.place, played))).collect();
        asked.into_iter().map(|answer| answer.join().expect("no panic")).collect()
    });
    for answer in &answers {
        check(&description(), "/api/v1/sightings/{id}/files/{number}", "get", answer);
        let is_film = answer.status == 200 && answer.headers["content-type"] == "video/mp4";
        assert!(is_film, "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        assert!(answer.body == answers[0].body, "it was encoded more than once");
    }
    let shown = scratch.write("played.mp4", &answers[0].body);
    assert_eq!(codec(&shown), ["h264", "aac"]);
    decodes(&shown);
    assert_eq!(counters(&shown), counters(&kept));
    let even = probed(&shown).iter().zip(probed(&kept)).all(|(a, b)| (a - b).abs() < 2e-3);
    assert!(even, "every picture is shown when it was");
    let part = ask(&run.place, "GET", played, &[("Range", "bytes=100-199")], "");
    assert_eq!((part.status, part.body.as_slice()), (206, &answers[0].body[100..200]));
    assert_eq!(get(&run.place, &played.replace("h264", "h265")).status, 400);
    // What was deleted is told apart from what never was.
    let files = std::fs::read_dir(&dir).expect("listed").flatten().filter(|entry| entry.path().is_dir());
    for file in files.flat_map(|day| std::fs::read_dir(day.path()).expect("listed")).flatten() {
        std::fs::remove_file(file.path()).expect("removed");
    }
    let gone = get(&run.place, played);
    assert_eq!(gone.status, 410, "{}", gone.text());
    check(&description(), "/api/v1/sightings/{id}/files/{number}", "get", &gone);
    let never = get(&run.place, &played.replace("/files/", "/files/9"));
    assert_eq!((never.status, never.json()["error"].is_string()), (404, true), "{}", json!(never.text()));
    run.end();
}
