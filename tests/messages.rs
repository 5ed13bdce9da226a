//! What is said while a run goes on: to people on a terminal, to machines in JSON.

use crate::support::{Scratch, command, model_with_presence, spotter, tool};

#[test]
fn messages_for_machines_are_json_with_their_spans() {
    let model = model_with_presence();
    let nobody = "rtsp://127.0.0.1:1/camera";
    let ran = command(&["--log-format", "json", "run", "--source", nobody, "--query", "a", "--model", &model])
        .args(["--out", "jsonl:/dev/null", "--reconnect-attempts", "1", "--reconnect-interval", "10ms"])
        .output()
        .expect("starts");
    let text = String::from_utf8(ran.stderr).expect("UTF-8");
    let lines = crate::support::json_lines(&text);
    let warning = lines.iter().find(|line| line["span"].is_object()).unwrap_or_else(|| panic!("a warning: {text}"));
    assert!(warning["message"].as_str().is_some_and(|m| m.starts_with("STREAM_CONNECTION_FAILED: ")), "{warning}");
    assert_eq!((&warning["span"]["name"], &warning["span"]["stream"]), (&"source".into(), &nobody.into()));
    assert!(warning["timestamp"].is_string());
    assert_eq!(lines.last().expect("some")["level"], "ERROR");
}

#[test]
fn what_this_machine_has_stands_in_columns() {
    let ran = spotter(&["doctor"]).expect_success();
    let rows: Vec<&str> = ran.stdout.lines().skip_while(|line| !line.is_empty()).skip(1).collect();
    assert!(rows.len() > 40, "{}", ran.stdout);
    for row in rows {
        // Purposes are of any length, and none runs into what is said of it.
        let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let [_, purpose, state] = cells.as_slice() else { panic!("{row}") };
        assert!(*state == "there" || state.starts_with("missing: apt install "), "{row}");
        assert!(!purpose.ends_with("there"), "{row}");
    }
}

/// `script` (bsdutils) gives the program a terminal.
#[test]
fn a_terminal_shows_a_line_for_every_stream() {
    let scratch = Scratch::new();
    let (program, model) = (env!("CARGO_BIN_EXE_spotter"), model_with_presence());
    let shown = scratch.file("shown");
    let run = format!(
        "{program} run --source 'test:ball?live=true&frames=60' --source 'test:snow?live=true&frames=60' --query a \
         --model {model} --out jsonl:{}",
        scratch.file("out.jsonl")
    );
    tool("script", &["-qec", &run, &shown]);
    let text = scratch.read("shown");
    for name in ["test:ball", "test:snow"] {
        let line = text.lines().flat_map(|line| line.split('\r')).rfind(|line| {
            line.contains(name)
                && line.contains(" fps in, ")
                && line.contains(" grounded, ")
                && line.contains(" dropped, ")
        });
        assert!(line.is_some(), "no line of {name}:\n{text}");
    }
    assert!(text.contains("120 frames:"), "the end is told below:\n{text}");
    tool("script", &["-qec", &run.replacen(" run ", " -q run ", 1), &shown]);
    assert!(!scratch.read("shown").contains("fps in"), "nobody wants to know");
}
