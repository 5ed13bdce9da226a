//! Metrics and probes, against the frame accounting and Prometheus' own tool.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{Line, PATIENCE, Service, page, until};
use crate::rtsp::{AS_CAMERAS, RATE};
use crate::support::counter::counter_clip;
use crate::support::servers::Server;
use crate::support::{Scratch, aloud, repository};

/// The sum of all samples of a metric that have this label.
fn sum(text: &str, metric: &str, label: &str) -> u64 {
    let lines = text.lines().filter(|line| line.starts_with(&format!("{metric}{{")) && line.contains(label));
    lines.map(|line| line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok()).expect("a number") as u64).sum()
}

/// What Prometheus' own tool finds wrong; nothing where it is not there, which is said.
pub(super) fn promtool(what: &[&str], text: &str) {
    let program = repository().join("target/promtool/promtool");
    if !program.exists() {
        aloud(&format!("SKIPPED: {} is not there (make peers)", program.display()));
        return;
    }
    let mut promtool = Command::new(program);
    promtool.args(what).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().expect("promtool starts");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("taken");
    let output = child.wait_with_output().expect("ends");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && (said.is_empty() || what[1] != "metrics"), "{said}");
}

#[test]
fn metrics_agree_with_the_frame_accounting_and_hold_no_secret() {
    const PASSWORDS: [&str; 2] = ["s3cr:t/p@ss \"w'", "v1ewer-w0rd"];
    let scratch = Scratch::new();
    let clip = counter_clip(&scratch, RATE, 60 * RATE as usize, &AS_CAMERAS);
    let camera = Server::camera(&clip, &["--login", &format!("me:{}", PASSWORDS[0])]);
    let login = scratch.write("login", format!("me:{}\n", PASSWORDS[0]).as_bytes());
    let users = scratch.write("users", format!("viewer:{}\n", PASSWORDS[1]).as_bytes());
    let path = scratch.file("control");
    let flags =
        ["--source", &camera.address, "--credentials", &login, "--query", "a", "--out", "jsonl:-", "--stride", "3"];
    let out = ["--out", "rtsp://127.0.0.1:0/x", "--out-credentials", &users, "--metrics", "127.0.0.1:0"];
    let operate = ["--control", &format!("unix:{path}"), "--reconnect-interval", "200ms"];
    let service = Service::start(&[&flags[..], &out, &operate].concat());
    let place = service.told("metrics at http://").replace("/metrics", "");
    until("readiness", PATIENCE, || (page(&place, "/ready").0 == 200).then_some(()));
    let mut records: Vec<Value> = (0..2 * RATE).map(|_| service.record("line", |_| true)).collect();
    drop(camera);
    // Every frame of the connection is delivered before the gap is told.
    while records.last().is_none_or(|line| line["event"] != "gap_start") {
        records.push(service.record("gap", |_| true));
    }
    assert_eq!(page(&place, "/ready").0, 503, "no frames come");
    assert_eq!((page(&place, "/live").0, page(&place, "/startup").0), (200, 200));
    assert_eq!((page(&place, "/nothing").0, page(&place, "/metrics?x=y").0), (404, 200));
    let (_, text) = page(&place, "/metrics");
    promtool(&["check", "metrics"], &text);
    let status = Line::to(&path).ask(&json!({"command": "status"}));
    let (ended, rest) = service.stop();
    assert!(ended.success());
    records.extend(rest);
    let books = &records.iter().find(|line| line["event"] == "end").expect("an end")["books"];
    let number = |key: &str| books[key].as_u64().expect("a number");
    assert_eq!(status["streams"][0]["frames"]["decoded"], books["decoded"]);
    assert_eq!(status["streams"][0]["counts"][0]["box"], books["box"]);
    assert!(number("decoded") > u64::from(RATE) && number("skipped") > 10, "{books}");
    for outcome in ["measured", "skipped", "dropped", "error"] {
        let counted = sum(&text, "spotter_frames_total", &format!("status=\"{outcome}\""));
        assert_eq!(counted, number(outcome), "{outcome}: {books}\n{text}");
    }
    assert_eq!(sum(&text, "spotter_frames_total", "cause=\"stride\""), number("skipped"));
    assert_eq!(sum(&text, "spotter_frames_decoded_total", ""), number("decoded"));
    let of_query = |status: &str| sum(&text, "spotter_query_frames_total", &format!("query=\"a\",status=\"{status}\""));
    assert_eq!(of_query("carried"), number("carried"));
    assert_eq!((of_query("box"), of_query("absent")), (number("box"), number("absent")));
    let measured = number("measured");
    assert_eq!(sum(&text, "spotter_grounding_seconds_count", ""), measured);
    assert_eq!(sum(&text, "spotter_grounding_seconds_bucket", "le=\"+Inf\""), measured);
    assert_eq!((sum(&text, "spotter_up", ""), sum(&text, "spotter_gaps_total", "")), (0, 1));
    let told = format!("{text}{status}");
    for secret in PASSWORDS.iter().flat_map(|password| [*password, &password[..4]]) {
        assert!(!told.contains(secret), "{told}");
    }
}

/// Probes decide over life and death of the service: nobody who asks badly may hold them up.
#[test]
fn bad_clients_hold_up_neither_probes_nor_the_end() {
    use std::io::Write;
    let source = ["--source", "test:ball?live=true&size=160x120&fps=25", "--query", "the circle"];
    let service = Service::start(&[&source[..], &["--out", "jsonl:-", "--metrics", "127.0.0.1:0"]].concat());
    let place = service.told("metrics at http://").replace("/metrics", "");
    service.record("frame", |line| line["seq"].is_number());
    let mut held = Vec::new();
    for request in [
        "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".to_owned(),
        "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(200),
        "GET /met".to_owned(),
        format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000)),
        "\0\u{1}\u{2}garbage\r\n\r\n".to_owned(),
        String::new(),
    ] {
        let mut stream = std::net::TcpStream::connect(&place).expect("connects");
        // It may be told to leave before it is done.
        let _ = stream.write_all(request.as_bytes());
        held.push(stream);
        assert_eq!(page(&place, "/live").0, 200, "after {:?}", request.get(..40));
    }
    // As many as there is room for, and more.
    held.extend((0..60).map(|_| std::net::TcpStream::connect(&place).expect("connects")));
    assert_eq!(page(&place, "/live").0, 200);
    assert!(service.stop().0.success(), "although they are all there still");
}

/// Answers stay JSON, whatever a password is.
#[test]
fn passwords_that_are_common_words_do_not_spoil_answers() {
    let scratch = Scratch::new();
    let path = scratch.file("control");
    for password in ["true", "box", "name", "100"] {
        let users = scratch.write("users", format!("viewer:{password}\n").as_bytes());
        let source =
            ["--source", "test:ball?live=true&size=160x120&fps=25", "--query", "the circle", "--out", "jsonl:-"];
        let more = ["--out", "rtsp://127.0.0.1:0/x", "--out-credentials", &users, "--control", &format!("unix:{path}")];
        let service = Service::start(&[&source[..], &more].concat());
        let status = Line::to(&path).ask(&json!({"command": "status"}));
        assert!(status["ok"] == true && status["streams"][0]["name"].is_string(), "{status}");
        assert!(service.stop().0.success());
    }
}

#[test]
fn a_place_that_is_taken_or_none_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("bound").to_string();
    for (place, expected) in [(taken.as_str(), "cannot listen there"), ("nonsense", "expected HOST:PORT")] {
        let args = ["run", "--source", "test:ball?frames=1", "--query", "a", "--out", "jsonl:-", "--metrics", place];
        let ran = crate::support::spotter(&args);
        assert!(ran.code == Some(2) && ran.stderr.contains(expected), "{}", ran.stderr);
    }
}
