//! Sightings of runs that go on until somebody ends them, also by force.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;

use crate::queries::validate;
use crate::sightings::events;
use crate::support::{Scratch, clock_of, command, model_with_presence, probe, raw_lines, spotter, tool};

/// A run that tells of a sighting as long as it goes on, and its records.
fn endless(dir: &str) -> (Child, BufReader<ChildStdout>) {
    endless_with(&["--query", "a", "--sightings-dir", dir], &[])
}

/// The same as these flags and variables say; one of each query.
pub(crate) fn endless_with(flags: &[&str], environment: &[(&str, String)]) -> (Child, BufReader<ChildStdout>) {
    let model = model_with_presence();
    let source = ["run", "--source", "test:ball?live=true&size=160x120&fps=25", "--model", &model];
    let told = ["--threshold", "0", "--confirm", "5", "--out", "jsonl:-"];
    let mut run = command(&[&source[..], &told, flags].concat());
    run.envs(environment.iter().cloned()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = run.spawn().expect("starts");
    let records = BufReader::new(child.stdout.take().expect("piped"));
    (child, records)
}

/// Reads until a line is found, at most so many.
pub(crate) fn read_until(records: &mut impl BufRead, event: &str) -> Vec<Value> {
    const MOST: usize = 1000;
    let mut lines = Vec::new();
    for _ in 0..MOST {
        let mut line = String::new();
        assert!(records.read_line(&mut line).expect("read") > 0, "no {event} until the end");
        lines.push(serde_json::from_str::<Value>(&line).expect("JSON"));
        if lines[lines.len() - 1]["event"] == event {
            return lines;
        }
    }
    panic!("no {event} in {MOST} lines");
}

#[test]
fn after_a_kill_the_next_run_says_how_everything_ended() {
    let scratch = Scratch::new();
    let dir = scratch.file("kept");
    let id = |event: &Value| event["sighting"]["id"].as_str().expect("an id").to_owned();
    let (mut first, mut records) = endless(&dir);
    let mut lines = read_until(&mut records, "sighting_start");
    first.kill().expect("killed");
    first.wait().expect("ends");
    let mut rest = String::new();
    records.read_to_string(&mut rest).expect("read");
    // The last line may be cut.
    lines.extend(rest.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()));
    let mut open: Vec<String> = events(&lines, "sighting_start").into_iter().map(id).collect();
    let ended: Vec<String> = events(&lines, "sighting_end").into_iter().map(id).collect();
    open.retain(|id| !ended.contains(id));
    assert!(!open.is_empty(), "{lines:?}");

    let (mut second, mut records) = endless(&dir);
    let lines = read_until(&mut records, "sighting_start");
    validate(&lines);
    let restarted: Vec<String> =
        events(&lines, "sighting_end").into_iter().filter(|end| end["cause"] == "restart").map(id).collect();
    for id in &open {
        assert_eq!(restarted.iter().filter(|other| *other == id).count(), 1, "{id} of {open:?} in {restarted:?}");
    }
    assert!(!restarted.iter().any(|id| ended.contains(id)), "what had ended ends no other way");
    // Two runs cannot keep one journal.
    let (mut third, mut none) = endless(&dir);
    let mut said = String::new();
    none.read_to_string(&mut said).expect("read");
    assert_eq!((third.wait().expect("ends").code(), said.as_str()), (Some(2), ""));

    tool("kill", &["-TERM", &second.id().to_string()]);
    let mut rest = String::new();
    records.read_to_string(&mut rest).expect("read");
    assert!(second.wait().expect("ends").success());
    let mut all = lines;
    all.extend(raw_lines(&rest));
    // In the second run every start has its end.
    let mut balance: BTreeMap<String, i32> = BTreeMap::new();
    for start in events(&all, "sighting_start") {
        *balance.entry(id(start)).or_default() += 1;
    }
    for end in events(&all, "sighting_end").into_iter().filter(|end| balance.contains_key(&id(end))).collect::<Vec<_>>()
    {
        *balance.entry(id(end)).or_default() -= 1;
    }
    assert!(balance.values().all(|left| *left == 0), "{balance:?}");
    for entry in std::fs::read_dir(&dir).expect("listed") {
        let path = entry.expect("an entry").path();
        assert_eq!(std::fs::metadata(&path).expect("there").len(), 0, "nothing is open: {}", path.display());
    }
}

/// The machine's clock is set back an hour while a thing is there: that ends nothing, and what is kept of it is whole.
#[test]
fn a_clock_that_is_set_back_ends_no_sighting() {
    const HOUR: i64 = 3_600_000_000_000;
    let scratch = Scratch::new();
    let dir = scratch.file("kept");
    let keys = "snapshots = true\nclips = { before = \"1s\", after = \"1s\" }\nkeep = { days = 1 }";
    let zones = scratch.write("zones.toml", format!("[sightings]\ndir = {dir:?}\n{keys}\n").as_bytes());
    let clock = scratch.write("clock", b"+0");
    let (mut run, mut records) = endless_with(&["--query", "a", "--zones", &zones], &clock_of(&clock));
    let mut lines = read_until(&mut records, "sighting_start");
    let began = lines[lines.len() - 1]["sighting"]["start_unix_ns"].as_i64().expect("a time");
    std::fs::write(&clock, "-1h").expect("written");
    // For two seconds by its own time.
    let mut set_back = 0;
    while set_back < 50 {
        let mut line = String::new();
        assert!(records.read_line(&mut line).expect("read") > 0, "it ended");
        let line: Value = serde_json::from_str(&line).expect("JSON");
        set_back += usize::from(line["capture_unix_ns"].as_i64().is_some_and(|time| time < began - HOUR / 2));
        lines.push(line);
    }
    tool("kill", &["-TERM", &run.id().to_string()]);
    let mut rest = String::new();
    records.read_to_string(&mut rest).expect("read");
    assert!(run.wait().expect("ends").success());
    lines.extend(raw_lines(&rest));
    validate(&lines);
    let (starts, ends) = (events(&lines, "sighting_start"), events(&lines, "sighting_end"));
    assert_eq!((starts.len(), ends.len()), (1, 1), "{starts:?} {ends:?}");
    let end = &ends[0]["sighting"];
    assert_eq!((&ends[0]["cause"], &end["id"]), (&Value::from("end"), &starts[0]["sighting"]["id"]));
    let time = |key: &str| end[key].as_i64().expect("a time");
    assert!(time("last_pts_ns") - time("start_pts_ns") > 2_000_000_000, "{end}");
    assert!(time("last_unix_ns") < began - HOUR / 2, "as the clock says: {end}");
    let files = events(&lines, "sighting_file");
    assert!(files.iter().all(|file| file["error"].is_null()), "{files:?}");
    let clip = files.iter().find(|file| file["file"]["kind"] == "clip").expect("a clip");
    let (.., count) = probe(clip["file"]["path"].as_str().expect("a path"));
    assert!(count > 50, "{count} pictures");
    let listed = spotter(&["sightings", "list", &dir]).expect_success().stdout;
    assert!(listed.lines().count() == 1 && listed.contains(end["id"].as_str().expect("an id")), "{listed}");
}
