//! `spotter bench`: rows for what was asked, and engines beside it.

use crate::support::{Scratch, model, spotter};

/// Batch, queries and engine of every row.
fn rows(text: &str) -> Vec<(u32, u32, String)> {
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let numbers = [2, 3, 5, 6].map(|i| words[i].parse::<f64>().expect("a number"));
        assert!(numbers.iter().all(|number| *number > 0.0), "{line}");
        let count = |i: usize| words[i].parse().expect("a number");
        (count(0), count(1), words[7..].join(" "))
    };
    text.lines().skip(2).map(row).collect()
}

#[test]
fn batches_are_measured_as_asked() {
    let ran =
        spotter(&["bench", "--model", &model(), "--batch", "1", "--batch", "3", "--rounds", "2"]).expect_success();
    assert_eq!(rows(&ran.stdout), [(1, 1, "spotter".into()), (3, 1, "spotter".into())], "{}", ran.stdout);
    assert!(ran.stdout.contains("canvas 128x128") && ran.stdout.contains("f32, threads"), "{}", ran.stdout);
    let built_in = spotter(&["bench", "--rounds", "1"]).expect_success();
    assert_eq!(rows(&built_in.stdout).len(), 3, "{}", built_in.stdout);
    let several = spotter(&["bench", "--rounds", "1", "--batch", "1", "--queries", "2,3"]).expect_success();
    let expected = [1, 2, 3].map(|queries| (1, queries, "spotter".to_owned()));
    assert_eq!(rows(&several.stdout), expected, "{}", several.stdout);
}

#[test]
fn another_engine_is_measured_in_turns_and_its_box_compared() {
    let scratch = Scratch::new();
    // Says what it was given, then answers as benches/peer/serve.py does, always with one box.
    let answers = "import json, os, sys
model, inputs, threads, cache, device = sys.argv[1:]
assert os.path.exists(model + '/model.safetensors') and os.path.getsize(inputs) > 1000 and device == 'cpu'
print(json.dumps({'ready': 0.1}), flush=True)
for line in sys.stdin:
    print(json.dumps({'ms': 2.5, 'box': [[0.5, 0.5, 0.25, 0.25]]}), flush=True)
";
    let engine = format!("python3 {}", scratch.write("engine.py", answers.as_bytes()));
    let model = model();
    let bench = |peer: &str| spotter(&["bench", "--model", &model, "--batch", "1", "--rounds", "2", "--peer", peer]);
    let ran = bench(&engine).expect_success();
    assert_eq!(rows(&ran.stdout), [(1, 1, "spotter".into()), (1, 1, engine.clone())], "{}", ran.stdout);
    assert!(ran.stdout.contains("2.50"), "its own clock counts: {}", ran.stdout);
    assert!(ran.stderr.contains("answers something else"), "{}", ran.stderr);

    let babbles = format!("python3 {}", scratch.write("babbles.py", b"print('hello', flush=True)\ninput()\n"));
    for (peer, reason) in [
        (babbles.as_str(), "said \"hello\", expected an answer"),
        ("true", "ended before it answered"),
        ("/nowhere/engine", "cannot be started"),
    ] {
        let ran = bench(peer);
        assert_eq!(ran.code, Some(1), "{peer}: {}", ran.stderr);
        assert!(ran.stderr.contains(reason) && ran.stdout.is_empty(), "{peer}: {}", ran.stderr);
    }
}

#[test]
fn what_cannot_be_measured_is_one_error() {
    for (flags, reason) in [
        (&["--batch", "0"][..], "--batch 0: expected a number from 1 to 64"),
        (&["--threads", "100000"], "--threads 100000: expected a number from 1 to "),
        (&["--threads", "0"], "--threads 0: expected a number from 1 to "),
        (&["--queries", "0"], "--queries 0: expected a number from 1 to 64"),
        (&["--rounds", "0"], "--rounds 0: expected a number from 1 on"),
        (&["--peer", "true"], "--model"),
    ] {
        let ran = spotter(&[&["bench"], flags].concat());
        assert_eq!(ran.code, Some(2), "{flags:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(reason), "{flags:?}: {}", ran.stderr);
    }
}
