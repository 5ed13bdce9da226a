//! Several questions to one stream: records, schemas, ids, and what cannot be asked.

use serde_json::Value;

use crate::support::{
    Scratch, bikes, clip, command, model, model_with_presence, of_schema, raw_lines, repository, spotter,
};

const FRAME: &str = "spotter.frame/2";
const QUERIES: [&str; 3] = ["the circle", "the star", "the ring"];

/// Sees that every line keeps what `docs/schema` promises.
pub(crate) fn validate(lines: &[Value]) {
    let of = |name: &str| {
        let path = repository().join("docs/schema").join(name);
        let text = std::fs::read_to_string(&path).expect("is there");
        jsonschema::validator_for(&serde_json::from_str(&text).expect("JSON")).expect("a schema")
    };
    let (frame, event) = (of("spotter.frame.2.json"), of("spotter.event.1.json"));
    for line in lines {
        let schema = if line["schema"] == FRAME { &frame } else { &event };
        let errors: Vec<String> = schema.iter_errors(line).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{line}: {errors:?}");
    }
}

#[test]
fn every_query_has_the_answers_that_it_has_alone() {
    let (film, dir) = (bikes(), model_with_presence());
    let run = |queries: &[&str]| {
        let mut args = vec!["run", "--source", &film, "--model", &dir, "--threshold", "0.3", "--reproducible"];
        args.extend(queries.iter().flat_map(|query| ["--query", query]));
        args.extend(["--out", "jsonl:-"]);
        raw_lines(&spotter(&args).expect_success().stdout)
    };
    let together = run(&QUERIES);
    validate(&together);
    let frames = of_schema(&together, FRAME);
    assert_eq!(frames.len(), 250);
    for query in QUERIES {
        let alone = run(&[query]);
        for (both, alone) in frames.iter().zip(of_schema(&alone, FRAME)) {
            let claim = |frame: &Value| {
                let claim = frame["queries"].as_array().expect("a list").iter().find(|q| q["name"] == query).cloned();
                let boxes: Vec<Value> = frame["objects"]
                    .as_array()
                    .expect("a list")
                    .iter()
                    .filter(|object| object["query"] == query)
                    .map(|object| object["box"].clone())
                    .collect();
                (claim, boxes)
            };
            assert_eq!(claim(both), claim(alone), "{query:?} on frame {}", both["seq"]);
        }
    }
    let end = &together.last().expect("lines");
    for counts in end["queries"].as_array().expect("a list") {
        let sum = counts["box"].as_u64().expect("a count") + counts["absent"].as_u64().expect("a count");
        assert_eq!(Some(sum), end["frames"]["measured"].as_u64(), "{end}");
    }
}

/// With frames that are skipped and held, and a clip that is damaged; those that are dropped come from a camera
/// (`rtsp/schemas.rs`).
#[test]
fn every_line_keeps_its_schema() {
    let scratch = Scratch::new();
    let film = clip(&scratch, "film.mp4", "160x120", 60, &["-c:v", "libx264", "-g", "10"]);
    let bytes = std::fs::read(&film).expect("read");
    let middle = bytes.len() / 2;
    let broken: Vec<u8> =
        bytes.iter().enumerate().map(|(i, b)| if (middle..middle + 400).contains(&i) { !b } else { *b }).collect();
    let broken = scratch.write("broken.mp4", &broken);
    let dir = model_with_presence();
    let run = |source: &str, flags: &[&str]| {
        let mut args = vec!["run", "--source", source, "--model", &dir, "--out", "jsonl:-"];
        args.extend(QUERIES.iter().flat_map(|query| ["--query", query]));
        raw_lines(&spotter(&[&args[..], flags].concat()).stdout)
    };
    let mut statuses = std::collections::BTreeSet::new();
    for (source, flags) in [
        (&film, &["--stride", "3", "--hold", "200ms"][..]),
        (&film, &["--static-gate", "20", "--smooth", "one-euro"]),
        (&broken, &[]),
        (&film, &["--mode", "freshest", "--pace", "realtime", "--max-fps", "5"]),
    ] {
        let lines = run(source, flags);
        validate(&lines);
        statuses.extend(lines.iter().filter_map(|line| Some(line["status"].as_str()?.to_owned())));
        assert_eq!(lines.last().expect("lines")["event"], "end");
    }
    let pictures = [crate::support::picture(&scratch, "a.png", (60, 40)), scratch.write("no.png", b"no picture")];
    let args = ["ground", &pictures[0], &pictures[1], "--query", "the circle", "--query", "the star", "--model", &dir];
    let lines = raw_lines(&spotter(&args).stdout);
    validate(&lines);
    statuses.extend(lines.iter().filter_map(|line| Some(line["status"].as_str()?.to_owned())));
    assert!(["measured", "skipped", "error"].iter().all(|status| statuses.contains(*status)), "{statuses:?}");
    assert_eq!((lines.len(), lines[0]["queries"].as_array().map(Vec::len)), (2, Some(2)));
}

#[test]
fn what_cannot_be_asked_is_told() {
    let scratch = Scratch::new();
    let film = clip(&scratch, "film.mp4", "64x64", 2, &["-c:v", "libx264"]);
    let dir = model();
    let many: Vec<String> = (0..100).map(|k| format!("a circle {k}")).collect();
    let many: Vec<&str> = many.iter().flat_map(|text| ["--query", text.as_str()]).collect();
    let long = "x".repeat(65);
    let long = format!("[[query]]\nname = \"{long}\"\ntext = \"a\"\n");
    let files: [(&str, &str); 6] = [
        (
            "[[query]]\nname = \"a\"\ntext = \"a\"\n[[query]]\nname = \"a\"\ntext = \"b\"\n",
            "two queries are called \"a\"",
        ),
        ("[[query]]\nname = \"a\\nb\"\ntext = \"a\"\n", "expected no control characters"),
        (&long, "has 65 letters, expected at most 64"),
        ("[[query]]\ntext = \"a\"\nall = true\n", "this model gives one box for a sentence"),
        ("[[query]]\ntext = \"a\"\nthreshold = 0.4\n", "this model has no presence head"),
        ("[[query]]\ntext = \"a\"\ntreshold = 0.4\n", "treshold"),
    ];
    for (text, reason) in files {
        let config = scratch.write("run.toml", text.as_bytes());
        let ran = spotter(&["run", "--source", &film, "--config", &config, "--model", &dir, "--out", "jsonl:-"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{text}: {}", ran.stderr);
        assert!(ran.stderr.contains(reason), "{text}: {}", ran.stderr);
    }
    for (flags, reason) in [
        (&["--query", "a", "--query", "a"][..], "two queries are called \"a\""),
        (&["--query", "a", "--query", " "], "says nothing"),
        (&many, "asks 100 queries, expected at most 64"),
    ] {
        let ran = spotter(&[&["run", "--source", &film, "--model", &dir, "--out", "jsonl:-"], flags].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{}", ran.stderr);
        assert!(ran.stderr.contains(reason), "{}", ran.stderr);
    }
    let both = "[[stream]]\nsource = \"test:\"\nquery = \"a\"\n[[stream.query]]\ntext = \"b\"\n";
    let streams = scratch.write("two.streams", both.as_bytes());
    let ran = spotter(&["run", "--source", &streams, "--model", &dir, "--out", "jsonl:-"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    let ran = command(&["run", "--source", &film, "--query", "a", "--overlay", "boxes,hats"]).output().expect("starts");
    assert_eq!(ran.status.code(), Some(2));
}

#[test]
fn streams_and_settings_ask_in_sentences_and_in_tables() {
    let scratch = Scratch::new();
    let of = |name: &str, text: &str, queries: &[[&str; 2]]| {
        let streams = scratch.write(name, text.as_bytes());
        let is_settings = std::path::Path::new(name).extension().is_some_and(|ending| ending == "toml");
        let flag = if is_settings { "--config" } else { "--source" };
        let args = ["run", flag, &streams, "--query", "the ring", "--model", &model(), "--out", "jsonl:-"];
        let args = if is_settings { [&args[..3], &args[5..]].concat() } else { args.to_vec() };
        let lines = raw_lines(&spotter(&args).expect_success().stdout);
        let frame = of_schema(&lines, FRAME)[0].clone();
        let told: Vec<[&str; 2]> = frame["queries"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|q| [q["name"].as_str().expect("a name"), q["text"].as_str().expect("a text")])
            .collect();
        assert_eq!(told, queries, "{text}");
    };
    let source = "source = \"test:ball?frames=2&size=64x64\"\n";
    of("a.streams", &format!("[[stream]]\n{source}"), &[["the ring", "the ring"]]);
    of("b.streams", &format!("[[stream]]\n{source}query = \"the star\"\n"), &[["the star", "the star"]]);
    let tables = "[[stream.query]]\nname = \"s\"\ntext = \"the star\"\n[[stream.query]]\ntext = \"the circle\"\n";
    of("c.streams", &format!("[[stream]]\n{source}{tables}"), &[["s", "the star"], ["the circle", "the circle"]]);
    of("d.toml", &format!("{source}query = \"the star\"\n"), &[["the star", "the star"]]);
    let tables = tables.replace("stream.query", "query");
    of("e.toml", &format!("{source}{tables}"), &[["s", "the star"], ["the circle", "the circle"]]);
}
