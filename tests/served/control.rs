//! The control socket: whom it hears, and what it bears.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use rand::RngExt;
use serde_json::json;

use super::{Line, PATIENCE, Service, until};
use crate::support::{Scratch, spotter, tool};

const SOURCE: [&str; 6] =
    ["--source", "test:ball?live=true&size=160x120&fps=25", "--query", "the white circle", "--out", "jsonl:-"];

fn service(path: &str) -> Service {
    let service = Service::start(&[&SOURCE[..], &["--control", &format!("unix:{path}")]].concat());
    service.record("frame", |line| line["seq"].is_number());
    service
}

#[test]
fn garbage_does_no_harm() {
    let scratch = Scratch::new();
    let path = scratch.file("control");
    let service = service(&path);
    let mode = std::fs::metadata(&path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "{mode:o}");
    let mut random = rand::rng();
    for _ in 0..50 {
        let length = random.random_range(1..2000);
        let bytes: Vec<u8> = (0..length).map(|_| random.random()).collect();
        // It may hang up on us in the middle.
        let mut line = Line::to(&path);
        let _ = std::io::Write::write_all(line.reader.get_mut(), &bytes);
    }
    let status = || {
        // The crowd may still be leaving.
        until("answer", PATIENCE, || {
            let mut line = Line::to(&path);
            let asked = std::io::Write::write_all(line.reader.get_mut(), b"{\"command\": \"status\"}\n");
            asked.ok().and_then(|()| line.answer()).filter(|answer| answer["ok"] == true)
        })
    };
    status();
    let mut line = Line::to(&path);
    for wrong in [
        "{}",
        "[]",
        "null",
        "{\"command\": 7}",
        "{\"command\": \"dance\"}",
        "{\"command\": \"set-query\"}",
        "{\"command\": \"set-query\", \"query\": 7}",
        "{\"command\": \"set-query\", \"query\": \"  \"}",
        "{\"command\": \"set-query\", \"query\": \"a\", \"stream\": \"nobody\"}",
        "{\"command\": \"set-query\", \"query\": \"a\", \"loud\": true}",
        "{\"command\": \"status\"",
        "\u{0}\u{1}",
    ] {
        line.send(format!("{wrong}\n").as_bytes());
        let answer = line.answer().expect("an answer");
        assert!(answer["ok"] == false && answer["error"].is_string(), "{wrong}: {answer}");
    }
    // A line as long as it may be, and one that is longer.
    let fits = format!("{{\"command\": \"status\"{}}}\n", " ".repeat(64 * 1024 - 22));
    assert_eq!(fits.len(), 64 * 1024);
    line.send(fits.as_bytes());
    assert_eq!(line.answer().expect("an answer")["ok"], true);
    // It may hang up before the last byte.
    let _ = std::io::Write::write_all(line.reader.get_mut(), &vec![b'x'; 64 * 1024 + 1]);
    let answer = line.answer().expect("an answer");
    assert!(answer["error"].as_str().expect("a text").contains("longer than 65536 bytes"), "{answer}");
    assert!(line.answer().is_none(), "and it hangs up");
    // A crowd that says nothing.
    let crowd: Vec<Line> = (0..40).map(|_| Line::to(&path)).collect();
    drop(crowd);
    assert_eq!(status()["streams"][0]["queries"][0]["rev"], 1, "nothing has changed");
    service.record("further frame", |line| line["seq"].is_number());
    let (ended, _) = service.stop();
    assert!(ended.success());
    assert!(!std::path::Path::new(&path).exists(), "the socket goes with the run");
}

#[test]
fn the_program_itself_gives_commands() {
    let scratch = Scratch::new();
    let path = scratch.file("control");
    let mut service = service(&path);
    let socket = format!("unix:{path}");
    let tell = |command: &[&str]| spotter(&[&["control", &socket], command].concat());
    let status = tell(&["status"]).expect_success().lines();
    assert!(status[0]["streams"][0]["queries"][0]["text"] == "the white circle", "{}", status[0]);
    let changed = tell(&["set-query", "the red square", "--stream", SOURCE[1]]).expect_success().lines();
    assert_eq!(changed[0]["queries"], json!({SOURCE[1]: {"the red square": 2}}));
    service.record("change", |line| line["event"] == "query");
    let refused = tell(&["set-query", "a dog", "--stream", "nobody"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("stream nobody: there is none"), "{}", refused.stderr);
    tell(&["stop"]).expect_success();
    assert!(service.child.wait().expect("ends").success());
    let nobody = tell(&["status"]);
    assert!(
        nobody.code == Some(1) && nobody.stderr.contains(&format!("cannot connect to {path}")),
        "{}",
        nobody.stderr
    );
}

#[test]
fn stop_ends_the_run_cleanly() {
    let scratch = Scratch::new();
    let path = scratch.file("control");
    let mut service = service(&path);
    let mut line = Line::to(&path);
    // The next line is there before the answer to the first one is read.
    line.send(b"{\"command\": \"status\"}\n{\"command\": \"stop\"}\n");
    let status = line.answer().expect("an answer");
    let stream = &status["streams"][0];
    assert!(
        status["ready"] == true && stream["up"] == true && stream["frames"]["decoded"].as_u64() > Some(0),
        "{status}"
    );
    assert_eq!(line.answer().expect("an answer"), json!({"ok": true}));
    let end = service.record("end", |line| line["event"] == "end");
    assert!(end["error"].is_null(), "{end}");
    assert!(service.child.wait().expect("ends").success());
}

#[test]
fn strangers_are_refused() {
    if tool("id", &["-u"]).trim() != "0" {
        crate::support::aloud("SKIPPED: only root can be somebody else");
        return;
    }
    let scratch = Scratch::new();
    let path = scratch.file("control");
    let service = service(&path);
    std::fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o755)).expect("set");
    let ask =
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.makefile().readline())";
    let stranger = || {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", ask, &path]);
        let output = command.output().expect("setpriv starts");
        String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8")
    };
    assert!(stranger().contains("Permission denied"), "the file system keeps them out");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).expect("set");
    assert!(stranger().contains("user 65534 is refused"), "and so does the program");
    service.record("further frame", |line| line["seq"].is_number());
    assert!(service.stop().0.success());
}

#[test]
fn a_socket_that_is_left_is_replaced_and_nothing_else() {
    let scratch = Scratch::new();
    let path = scratch.file("control");
    let mut killed = service(&path);
    killed.child.kill().expect("killed");
    killed.child.wait().expect("gone");
    assert!(std::path::Path::new(&path).exists(), "left behind");
    let running = service(&path);
    let second = |path: &str| spotter(&[&["run"], &SOURCE[..], &["--control", &format!("unix:{path}")]].concat());
    let ran = second(&path);
    assert!(ran.code == Some(2) && ran.stderr.contains("somebody else listens there"), "{}", ran.stderr);
    let file = scratch.write("file", b"mine");
    let ran = second(&file);
    assert!(ran.code == Some(2) && ran.stderr.contains("is there and no socket"), "{}", ran.stderr);
    assert_eq!(scratch.read("file"), "mine");
    let ran = second(&scratch.file("no/such/folder"));
    assert!(ran.code == Some(2) && ran.stderr.contains("its folder does not exist"), "{}", ran.stderr);
    assert!(running.stop().0.success());
    drop(UnixListener::bind(&path).expect("free again"));
}
