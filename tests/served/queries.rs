//! Changing the query while frames come.

use std::collections::HashMap;

use rand::RngExt;
use serde_json::{Value, json};

use super::{Line, PATIENCE, Service, until};
use crate::support::{Scratch, bikes, model, spotter, tool};

const QUERIES: [&str; 3] = ["the red car", "a bicycle", "dog on the left"];
const CHANGES: usize = 20;

/// Boxes by frame, of a run that asks for nothing else.
fn undisturbed(clip: &str, query: &str) -> Vec<Value> {
    let args = ["run", "--source", clip, "--query", query, "--model", &model(), "--out", "jsonl:-"];
    let lines = spotter(&args).expect_success().lines();
    lines.into_iter().filter(|line| line["seq"].is_number() && line["box"].is_object()).collect()
}

#[test]
fn twenty_changes_lose_no_frame_and_each_begins_where_it_says() {
    let scratch = Scratch::new();
    let clip = scratch.file("clip.mp4");
    tool("ffmpeg", &["-v", "error", "-stream_loop", "3", "-i", &bikes(), "-c", "copy", "-an", &clip]);
    let truth: HashMap<&str, Vec<Value>> = QUERIES.iter().map(|query| (*query, undisturbed(&clip, query))).collect();
    let total = truth[QUERIES[0]].len();
    let same = (0..total).filter(|k| truth[QUERIES[0]][*k]["box"] == truth[QUERIES[1]][*k]["box"]).count();
    assert!(same * 10 < total, "queries have boxes of their own: {same} of {total} are equal");

    let settings = |query: &str| format!("query = \"{query}\"\nmode = \"every-frame\"\npace = \"realtime\"\n");
    let config = scratch.write("run.toml", settings(QUERIES[0]).as_bytes());
    let path = scratch.file("control");
    let flags = ["--config", &config, "--source", &clip, "--model", &model(), "--out", "jsonl:-"];
    let service = Service::start(&[&flags[..], &["--control", &format!("unix:{path}")]].concat());
    let mut line = Line::to(&path);
    let mut random = rand::rng();
    let mut records = Vec::new();
    let (mut rev, mut now) = (1, QUERIES[0]);
    for change in 0..CHANGES {
        for _ in 0..random.random_range(1..30) {
            records.push(service.record("line", |_| true));
        }
        let others: Vec<&str> = QUERIES.iter().copied().filter(|query| *query != now).collect();
        now = others[random.random_range(0..others.len())];
        rev += 1;
        if change % 2 == 0 {
            let answer = line.ask(&json!({"command": "set-query", "query": now}));
            assert_eq!(answer["queries"], json!({ clip.as_str(): { now: rev } }), "{answer}");
        } else {
            scratch.write("run.toml", settings(now).as_bytes());
            tool("kill", &["-HUP", &service.id()]);
            // The file is read beside the run; nothing else is asked until it was.
            until("new query", PATIENCE, || {
                let status = line.ask(&json!({"command": "status"}));
                (status["streams"][0]["queries"][0]["rev"] == rev).then_some(())
            });
        }
    }
    records.extend(service.records.iter().map(|line| super::parsed(&line)));

    let events: Vec<&Value> = records.iter().filter(|line| line["event"] == "query").collect();
    assert_eq!(events.len(), CHANGES);
    let frames: Vec<&Value> = records.iter().filter(|line| line["schema"] == "spotter.frame/2").collect();
    let order: Vec<u64> = frames.iter().map(|frame| frame["seq"].as_u64().expect("a number")).collect();
    assert_eq!(order, (0..total as u64).collect::<Vec<_>>(), "no frame is lost");
    for (seq, frame) in frames.iter().enumerate() {
        let last = events.iter().rfind(|event| event["seq"].as_u64() <= Some(seq as u64));
        let (query, rev) = last.map_or((QUERIES[0], 1), |event| {
            (event["text"].as_str().expect("a text"), event["rev"].as_u64().expect("a number"))
        });
        assert_eq!((frame["query"].as_str(), frame["query_rev"].as_u64()), (Some(query), Some(rev)), "{frame}");
        assert_eq!(frame["box"], truth[query][seq]["box"], "the box of frame {seq} is that of {query:?}");
    }
    let end = records.iter().find(|line| line["event"] == "end").expect("an end");
    let boxes = end["queries"].as_array().expect("a list").iter().filter_map(|counts| counts["box"].as_u64());
    assert_eq!((boxes.sum::<u64>(), end["frames"]["decoded"].as_u64()), (total as u64, Some(total as u64)));
}

#[test]
fn settings_that_cannot_be_taken_change_nothing() {
    let scratch = Scratch::new();
    let config = scratch.write("run.toml", b"query = \"the circle\"\nstride = 1\n");
    let source = ["--source", "test:ball?live=true&size=160x120&fps=25", "--out", "jsonl:-"];
    let service = Service::start(&[&source[..], &["--config", &config]].concat());
    service.record("frame", |line| line["seq"].is_number());
    let reread = |text: &str, told: &str| {
        scratch.write("run.toml", text.as_bytes());
        tool("kill", &["-HUP", &service.id()]);
        service.told(told)
    };
    let unknown = reread("query = \"the square\"\nqueri = \"the star\"\n", "the settings are not taken:");
    assert!(unknown.contains("unknown key `queri`"), "{unknown}");
    reread("query = \" \"\nstride = 1\n", "the settings are not taken:");
    reread("query = \"qqq\"\nstride = 1\n", "the settings are not taken: query \"qqq\":");
    let later = reread("query = \"the square\"\nstride = 2\n", "taken at the next start only:");
    assert_eq!(later, "stride");
    let event = service.record("change", |line| line["event"] == "query");
    assert_eq!((event["text"].as_str(), event["rev"].as_u64()), (Some("the square"), Some(2)));
    assert!(service.stop().0.success());
}

#[test]
fn a_stream_that_has_ended_does_not_keep_the_others_from_their_query() {
    let scratch = Scratch::new();
    let both = |short: &str, long: &str| {
        let stream = |id: &str, source: &str, query: &str| {
            format!(
                "[[stream]]\nid = \"{id}\"\nsource = \"test:ball?{source}size=160x120&fps=25\"\nquery = \"{query}\"\n"
            )
        };
        stream("short", "frames=5&", short) + &stream("long", "live=true&", long)
    };
    let streams = scratch.write("two.streams", both("the circle", "the circle").as_bytes());
    let path = scratch.file("control");
    let service = Service::start(&["--source", &streams, "--out", "jsonl:-", "--control", &format!("unix:{path}")]);
    let mut line = Line::to(&path);
    until("end", PATIENCE, || {
        let status = line.ask(&json!({"command": "status"}));
        (status["streams"][0]["ended"] == true).then_some(())
    });
    // One sentence that cannot be taken, and none is.
    scratch.write("two.streams", both("the star", "qqq").as_bytes());
    tool("kill", &["-HUP", &service.id()]);
    service.told("the settings are not taken: query \"qqq\":");
    scratch.write("two.streams", both("the star", "the square").as_bytes());
    tool("kill", &["-HUP", &service.id()]);
    service.told("short has ended; its queries are not taken");
    let changed = service.record("change", |line| line["event"] == "query");
    assert_eq!((changed["source"].as_str(), changed["text"].as_str()), (Some("long"), Some("the square")));
    let answer = line.ask(&json!({"command": "set-query", "query": "the circle", "stream": "short"}));
    assert!(answer["error"].as_str().expect("refused").contains("stream short: has ended"), "{answer}");
    let answer = line.ask(&json!({"command": "set-query", "query": "the ring"}));
    assert_eq!(answer["queries"], json!({"long": {"the ring": 3}}));
    assert_eq!(service.stop().0.code(), Some(130), "one of them was no service");
}

/// A closed terminal says so with the same signal.
#[test]
fn a_hangup_ends_a_run_with_nothing_to_read_unless_it_is_to_outlive_it() {
    let flags =
        ["run", "--source", "test:ball?live=true&size=160x120&fps=25", "--query", "the circle", "--out", "jsonl:-"];
    // Whoever runs the tests may be one that is to outlive its terminal.
    let mut attended = std::process::Command::new("env");
    attended.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_spotter")]).args(flags);
    let mut ends = Service::of(attended);
    ends.record("frame", |line| line["seq"].is_number());
    tool("kill", &["-HUP", &ends.id()]);
    assert_eq!(ends.child.wait().expect("ends").code(), Some(130));
    let mut nohup = std::process::Command::new("nohup");
    nohup.arg(env!("CARGO_BIN_EXE_spotter")).args(flags).stdin(std::process::Stdio::null());
    let stays = Service::of(nohup);
    stays.record("frame", |line| line["seq"].is_number());
    tool("kill", &["-HUP", &stays.id()]);
    for _ in 0..20 {
        stays.record("frame", |line| line["seq"].is_number());
    }
    assert!(stays.stop().0.success());
}

#[test]
fn every_stream_has_a_query_of_its_own() {
    let scratch = Scratch::new();
    let stream = |id: &str, query: &str| {
        format!(
            "[[stream]]\nid = \"{id}\"\nsource = \"test:{id}?live=true&size=160x120&fps=25\"\nquery = \"{query}\"\n"
        )
    };
    let both = |left: &str, right: &str| stream("ball", left) + &stream("snow", right);
    let streams = scratch.write("two.streams", both("the circle", "the star").as_bytes());
    let path = scratch.file("control");
    let flags = ["--source", &streams, "--out", "jsonl:-", "--control", &format!("unix:{path}")];
    let service = Service::start(&flags);
    let event = || service.record("change", |line| line["event"] == "query");
    let mut line = Line::to(&path);
    let answer = line.ask(&json!({"command": "set-query", "query": "the ring", "stream": "snow"}));
    assert_eq!(answer["queries"], json!({"snow": {"the ring": 2}}));
    assert_eq!(event()["source"], "snow");
    // The other file again: one of them is as it was.
    scratch.write("two.streams", both("the circle", "the square").as_bytes());
    tool("kill", &["-HUP", &service.id()]);
    let changed = event();
    assert_eq!((changed["source"].as_str(), changed["text"].as_str()), (Some("snow"), Some("the square")));
    let answer = line.ask(&json!({"command": "set-query", "query": "the square"}));
    let both = json!({"ball": {"the square": 2}, "snow": {"the square": 3}});
    assert_eq!(answer["queries"], both, "what is asked already is not asked anew");
    assert_eq!(event()["source"], "ball");
    assert!(service.stop().0.success());
}

#[test]
fn a_compiled_query_gives_way_to_what_settings_say_later() {
    let scratch = Scratch::new();
    let picture = crate::support::picture(&scratch, "a.png", (60, 40));
    let compiled = |name: &str, query: &str| {
        let file = scratch.file(name);
        spotter(&["ground", &picture, "--query", query, "--save-query", &file]).expect_success();
        file
    };
    let (circle, star) = (compiled("circle.safetensors", "the circle"), compiled("star.safetensors", "the star"));
    let source = "source = \"test:ball?live=true&size=160x120&fps=25\"\n";
    let settings = scratch.write("run.toml", format!("{source}compiled_query = {circle:?}\n").as_bytes());
    let path = scratch.file("control");
    let service = Service::start(&["--config", &settings, "--out", "jsonl:-", "--control", &format!("unix:{path}")]);
    let record = |query: &str| service.record("frame", |line| line["seq"].is_number() && line["query"] == query);
    record("the circle");
    // The text's half of the model was not loaded; it is now that it is needed.
    let answer = Line::to(&path).ask(&json!({"command": "set-query", "query": "the ring"}));
    assert!(answer["queries"].is_object(), "{answer}");
    record("the ring");
    scratch.write("run.toml", format!("{source}compiled_query = {star:?}\n").as_bytes());
    tool("kill", &["-HUP", &service.id()]);
    record("the star");
}

/// Queries come, go and change among the frames; each has the boxes that it has alone, and those that stay keep their ids.
#[test]
fn queries_are_added_changed_and_removed_between_two_frames() {
    const NAMES: [&str; 4] = ["one", "two", "three", "four"];
    let scratch = Scratch::new();
    let clip = scratch.file("clip.mp4");
    tool("ffmpeg", &["-v", "error", "-stream_loop", "2", "-i", &bikes(), "-c", "copy", "-an", &clip]);
    let truth: HashMap<&str, Vec<Value>> = QUERIES.iter().map(|query| (*query, undisturbed(&clip, query))).collect();
    let total = truth[QUERIES[0]].len();
    let config = scratch.write(
        "run.toml",
        format!("mode = \"every-frame\"\npace = \"realtime\"\n[[query]]\nname = \"one\"\ntext = \"{}\"\n", QUERIES[0])
            .as_bytes(),
    );
    let path = scratch.file("control");
    let flags = ["--config", &config, "--source", &clip, "--model", &model(), "--out", "jsonl:-"];
    let service = Service::start(&[&flags[..], &["--control", &format!("unix:{path}")]].concat());
    let mut line = Line::to(&path);
    let mut random = rand::rng();
    let mut lines = Vec::new();
    let mut asked: Vec<&str> = vec!["one"];
    let mut changes = 0;
    while changes < CHANGES {
        for _ in 0..random.random_range(1..25) {
            lines.push(service.record("line", |_| true));
        }
        let name = NAMES[random.random_range(0..NAMES.len())];
        let query = QUERIES[random.random_range(0..QUERIES.len())];
        let command = match (asked.contains(&name), random.random_range(0..2)) {
            (false, _) => json!({"command": "add-query", "query": query, "name": name}),
            (true, 0) if asked.len() > 1 => json!({"command": "remove-query", "name": name}),
            (true, _) => json!({"command": "set-query", "query": query, "name": name}),
        };
        let answer = line.ask(&command);
        assert_eq!(answer["ok"], true, "{command}: {answer}");
        match command["command"].as_str() {
            Some("add-query") => asked.push(name),
            Some("remove-query") => asked.retain(|other| *other != name),
            _ => {}
        }
        changes += 1;
    }
    for (wrong, reason) in [
        (json!({"command": "remove-query", "name": "nobody"}), "asks no query \"nobody\", expected one of"),
        (json!({"command": "add-query", "query": "a", "name": asked[0]}), "two queries are called"),
        (json!({"command": "add-query", "query": "a", "name": "x", "all": true}), "gives one box for a sentence"),
        (json!({"command": "add-query", "query": "a", "name": "tab\there"}), "expected no control characters"),
        (json!({"command": "set-query", "query": "a", "name": asked[0], "threshold": 1.5}), "expected a probability"),
    ] {
        let answer = line.ask(&wrong);
        assert!(answer["error"].as_str().is_some_and(|error| error.contains(reason)), "{wrong}: {answer}");
    }
    lines.extend(service.records.iter().map(|line| super::parsed(&line)));

    // What is asked, as the events say it.
    let mut now: Vec<(String, String, u64)> = vec![("one".into(), QUERIES[0].into(), 1)];
    let (mut seq, mut ids) = (0, HashMap::<u64, String>::new());
    for line in &lines {
        if line["event"] == "query" {
            assert_eq!(line["seq"], seq, "it keeps its place");
            let name = line["name"].as_str().expect("a name").to_owned();
            let query = (
                name.clone(),
                line["text"].as_str().expect("a text").to_owned(),
                line["rev"].as_u64().expect("a count"),
            );
            let place = now.iter().position(|(known, ..)| *known == name);
            match (line["change"].as_str(), place) {
                (Some("removed"), Some(place)) => drop(now.remove(place)),
                (Some("changed"), Some(place)) => now[place] = query,
                (Some("added"), None) => now.push(query),
                _ => panic!("{line} after {now:?}"),
            }
        } else if line["seq"].is_number() {
            let queries = line["queries"].as_array().expect("a list").iter();
            let told: Vec<_> = queries
                .map(|q| {
                    (
                        q["name"].as_str().expect("a name").into(),
                        q["text"].as_str().expect("a text").into(),
                        q["rev"].as_u64().expect("a count"),
                    )
                })
                .collect();
            assert_eq!(told, now, "frame {seq}");
            for object in line["objects"].as_array().expect("a list") {
                let name = object["query"].as_str().expect("a name");
                let (_, text, _) = now.iter().find(|(known, ..)| known == name).expect("is asked");
                let alone = &truth[text.as_str()][usize::try_from(seq).expect("small")]["box"];
                assert_eq!(object["box"], *alone, "the box of {text:?} on frame {seq}");
                let id = object["id"].as_u64().expect("an id");
                let owner = ids.entry(id).or_insert_with(|| name.to_owned());
                assert_eq!(owner, name, "id {id} is given twice");
            }
            seq += 1;
        }
    }
    assert_eq!(seq as usize, total, "no frame is lost");
    let end = lines.iter().rfind(|line| line["event"] == "end").expect("an end");
    assert_eq!((end["frames"]["decoded"].as_u64(), end["frames"]["measured"].as_u64()), (Some(seq), Some(seq)));
}
