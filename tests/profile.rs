//! Where the time goes: a trace that can be read, and a table that agrees with it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::{Scratch, clip, model, spotter};

#[test]
fn a_trace_holds_every_part_of_every_frame() {
    const FRAMES: u32 = 9;
    let scratch = Scratch::new();
    let film = clip(&scratch, "film.mkv", "96x64", FRAMES, &["-c:v", "ffv1", "-pix_fmt", "yuv420p"]);
    let (trace, mp4) = (scratch.file("trace.json"), format!("mp4:{}", scratch.file("out.mp4")));
    let model = model();
    let run = ["run", "--source", &film, "--query", "a", "--model", &model, "--out", "jsonl:-", "--out", &mp4];
    let ran = spotter(&[&run[..], &["--profile", &trace]].concat()).expect_success();

    let events: Value = serde_json::from_str(&scratch.read("trace.json")).expect("JSON to its end");
    // Begin and end of spans nest on every thread.
    let mut open: BTreeMap<u64, Vec<(String, f64)>> = BTreeMap::new();
    let mut parts: BTreeMap<String, (u32, f64)> = BTreeMap::new();
    for event in events.as_array().expect("a list") {
        let stack = open.entry(event["tid"].as_u64().expect("a thread")).or_default();
        let (name, time) = (event["name"].as_str().unwrap_or_default(), event["ts"].as_f64().unwrap_or_default());
        match event["ph"].as_str() {
            Some("B") => stack.push((name.to_owned(), time)),
            Some("E") => {
                let (began, at) = stack.pop().expect("begun before");
                assert_eq!(began, name);
                let inside: Vec<&str> = stack.iter().map(|(name, _)| name.as_str()).collect();
                let part = parts.entry([&inside[..], &[name]].concat().join("/")).or_default();
                *part = (part.0 + 1, part.1 + (time - at) / 1e3);
            }
            _ => {}
        }
    }
    assert!(open.values().all(Vec::is_empty), "all that began ended: {open:?}");
    for part in ["prepare/letterbox", "ground", "model/backbone/stage 3/block 1/windows", "model/head/layer 0", "draw"]
    {
        assert_eq!(parts.get(part).map(|part| part.0), Some(FRAMES), "{part} of {:?}", parts.keys());
    }
    // What tasks do is on the threads that do it: eight blocks, a task of each at least.
    let tasks = parts.iter().filter(|(part, _)| part.rsplit('/').next() == Some("attention"));
    assert!(tasks.map(|(_, (times, _))| times).sum::<u32>() >= 8 * FRAMES, "{:?}", parts.keys());
    // What is in a part takes no longer than it.
    for (part, (_, took)) in &parts {
        let inside = parts.iter().filter(|(other, _)| other.rsplit_once('/').is_some_and(|(around, _)| around == part));
        assert!(inside.map(|(_, (_, took))| took).sum::<f64>() <= *took, "{part}");
    }

    let row = |name: &str| {
        let row =
            ran.stderr.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_else(|| panic!("{name}"));
        row.trim_start()[name.len()..].split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let ground = row("ground ");
    assert_eq!(ground[0], FRAMES.to_string(), "{}", ran.stderr);
    let (said, traced) = (ground[2].parse::<f64>().expect("milliseconds"), parts["ground"].1);
    assert!((said - traced).abs() < 0.05 * traced + 1.0, "{said} ms and {traced} ms");
    assert_eq!(row("patch embed ")[0], FRAMES.to_string());

    let nowhere = spotter(&[&run[..], &["--profile", "/nowhere/trace.json"]].concat());
    assert_eq!(nowhere.code, Some(1), "{}", nowhere.stderr);
    assert!(nowhere.stderr.contains("/nowhere/trace.json"), "{}", nowhere.stderr);
}
