//! Who may watch: places, passwords, certificates, and what is refused before anything starts.

use std::net::TcpListener;
use std::time::Duration;

use super::{Service, until};
use crate::support::servers::free_port;
use crate::support::{Scratch, command, spotter, tool};

const SOURCE: [&str; 4] = ["--source", "test:ball?live=true&size=320x240&fps=25", "--query", "the white circle"];

/// Certificate and key for this machine, in one file.
pub(super) fn certificate(scratch: &Scratch) -> String {
    let (cert, key) = (scratch.file("cert.pem"), scratch.file("key.pem"));
    let request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"];
    let names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", &key, "-out", &cert];
    tool("openssl", &[&request[..], &names].concat());
    scratch.write("server.pem", (scratch.read("cert.pem") + &scratch.read("key.pem")).as_bytes())
}

/// The status line of an answer to DESCRIBE, and how it asks for a password.
fn describe(address: &str, header: &str) -> (String, Vec<String>) {
    use std::io::{Read, Write};
    let server = address.strip_prefix("rtsp://").and_then(|rest| rest.split('/').next()).expect("an address");
    let mut stream = std::net::TcpStream::connect(server).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    write!(stream, "DESCRIBE {address} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n{header}\r\n").expect("sent");
    let mut bytes = vec![0; 4096];
    let length = stream.read(&mut bytes).expect("an answer");
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    let asks = text.lines().filter_map(|line| line.strip_prefix("WWW-Authenticate: "));
    (text.lines().next().unwrap_or_default().to_owned(), asks.map(String::from).collect())
}

#[test]
fn passwords_are_asked_for_in_both_ways() {
    let scratch = Scratch::new();
    let users = scratch.write("users", b"viewer:word\n");
    let service =
        Service::start(&[&SOURCE[..], &["--out", "rtsp://127.0.0.1:0/x", "--out-credentials", &users]].concat());
    let address = service.address();
    let (status, asks) = describe(&address, "");
    assert!(status.contains("401") && asks.iter().any(|ask| ask.starts_with("Basic")), "{status} {asks:?}");
    assert!(asks.iter().any(|ask| ask.starts_with("Digest")), "{asks:?}");
    let basic = |login: &str| {
        use base64::Engine;
        let encoded = base64::engine::general_purpose::STANDARD.encode(login);
        describe(&address, &format!("Authorization: Basic {encoded}\r\n")).0
    };
    assert!(basic("viewer:wrong").contains("401") && basic("nobody:word").contains("401"));
    until("first frame", super::PATIENCE, || basic("viewer:word").contains("200").then_some(()));
    assert!(basic(":").contains("401"));
}

/// A login in an address opens that address, one for all opens all.
#[test]
fn every_address_has_its_own_guests() {
    use base64::Engine;
    let scratch = Scratch::new();
    let run = |out: [&str; 3], users: Option<&str>| {
        let out = out.map(|path| format!("rtsp://{path}"));
        let mut flags =
            [&SOURCE[..], &["--out", &out[0], "--out", &out[1], "--out", &out[2], "--out", "jsonl:-"]].concat();
        flags.extend(users.map(|users| ["--out-credentials", users]).iter().flatten());
        let service = Service::start(&flags);
        service.record("frame", |line| line["seq"].is_number());
        service
    };
    let place = format!("127.0.0.1:{}", free_port());
    let asks = |path: &str, login: Option<&str>| {
        let basic = login.map(|login| base64::engine::general_purpose::STANDARD.encode(login));
        let header = basic.map(|basic| format!("Authorization: Basic {basic}\r\n")).unwrap_or_default();
        let status = describe(&format!("rtsp://{place}/{path}"), &header).0;
        status.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok()).expect("a code")
    };
    let (alice, bob) = (format!("alice:word-a@{place}/a"), format!("bob:word-b@{place}/b"));
    let service = run([&alice, &bob, &format!("{place}/open")], None);
    let [alices, bobs] = [Some("alice:word-a"), Some("bob:word-b")];
    assert_eq!([asks("a", alices), asks("a", bobs), asks("a", None)], [200, 401, 401]);
    assert_eq!([asks("b", alices), asks("b", bobs), asks("b", None)], [401, 200, 401]);
    assert_eq!(asks("open", None), 200);
    assert!(service.stop().0.success());
    let users = scratch.write("users", b"carol:word-c\n");
    let service = run([&alice, &bob, &format!("{place}/open")], Some(&users));
    let carols = Some("carol:word-c");
    assert_eq!([asks("a", carols), asks("b", carols), asks("open", carols)], [200, 200, 200]);
    assert_eq!([asks("a", alices), asks("b", alices), asks("open", alices), asks("open", None)], [200, 401, 401, 401]);
    assert!(service.stop().0.success());
}

/// Connections that say nothing are borne, up to a number, and leave no trace.
#[test]
fn a_crowd_of_silent_clients_shuts_nobody_out_for_good() {
    let out = ["--out", "rtsp://127.0.0.1:0/x", "--out", "jsonl:-", "--metrics", "127.0.0.1:0"];
    let service = Service::start(&[&SOURCE[..], &out].concat());
    let metrics = service.told("metrics at http://").replace("/metrics", "");
    let address = service.address();
    service.record("frame", |line| line["seq"].is_number());
    let server =
        address.strip_prefix("rtsp://").and_then(|rest| rest.split('/').next()).expect("an address").to_owned();
    let crowd: Vec<_> = (0..400).map(|_| std::net::TcpStream::connect(&server).expect("connects")).collect();
    // Those that may not stay are told at once; those that may, after a while.
    until("room", super::PATIENCE, || {
        let (_, text) = super::page(&metrics, "/metrics");
        text.lines().any(|line| line.starts_with("spotter_rtsp_clients{") && line.ends_with(" 0")).then_some(())
    });
    assert!(describe(&address, "").0.contains("200"), "although the crowd still holds its ends");
    drop(crowd);
    let messages = service.messages.clone();
    assert!(service.stop().0.success());
    let said = messages.iter().collect::<Vec<_>>().join("\n");
    assert!(!said.contains("CRITICAL"), "{said}");
}

#[test]
fn before_the_first_frame_clients_are_told_to_come_back() {
    let away = format!("rtsp://127.0.0.1:{}/nobody", free_port());
    let users = Scratch::new();
    let file = users.write("users", b"viewer:word\n");
    let out = ["--source", &away, "--query", "a", "--reconnect-interval", "60s", "--out", "rtsp://127.0.0.1:0/x"];
    for with_password in [false, true] {
        let mut flags = out.to_vec();
        if with_password {
            flags.extend(["--out-credentials", &file]);
        }
        let service = Service::start(&flags);
        let address = service.address();
        let header = "Authorization: Basic dmlld2VyOndvcmQ=\r\n";
        assert!(describe(&address, header).0.contains("503"), "{}", describe(&address, header).0);
        if with_password {
            assert!(describe(&address, "").0.contains("401"), "strangers are told nothing");
        }
        assert!(describe(&address, header).0.contains("503"), "and again");
        assert!(service.stop().0.success());
    }
}

#[test]
fn a_login_may_stand_in_the_address_or_the_environment() {
    let config = Scratch::new();
    let file = config.write("run.toml", b"out = [\"rtsp://viewer:w%40rd@127.0.0.1:0/x\"]\n");
    let service = Service::start(&[&SOURCE[..], &["--config", &file]].concat());
    let address = service.address();
    assert!(!address.contains("w%40rd") && describe(&address, "").0.contains("401"));
    let run = [&["run"], &SOURCE[..], &["--out", "rtsp://0.0.0.0:0/x"]].concat();
    let mut run = command(&run);
    run.env("SPOTTER_OUT_USER", "viewer").env("SPOTTER_OUT_PASSWORD", "word");
    let service = Service::of(run);
    assert!(describe(&service.address().replace("0.0.0.0", "127.0.0.1"), "").0.contains("401"));
    let mut empty = command(&[&["run"], &SOURCE[..], &["--out", "rtsp://0.0.0.0:0/x"]].concat());
    empty.env("SPOTTER_OUT_USER", "").env("SPOTTER_OUT_PASSWORD", "");
    let refused = crate::support::Ran::from(empty.output().expect("starts"));
    assert!(refused.code == Some(2) && refused.stderr.contains("without a password"), "{}", refused.stderr);
}

/// With everything that GStreamer's server can say of those who watch.
#[test]
fn no_output_holds_the_password_of_who_watches() {
    use base64::Engine;
    const PASSWORD: &str = "v1ewer-w0rd";
    let scratch = Scratch::new();
    let users = scratch.write("users", format!("viewer:{PASSWORD}\n").as_bytes());
    let log = scratch.file("gst.log");
    let out = ["--out", "rtsp://127.0.0.1:0/x", "--out-credentials", &users, "--out", "jsonl:-"];
    let mut run = command(&[&["-vv", "run"], &SOURCE[..], &out].concat());
    run.env("GST_DEBUG", "5,rtsp*:9").env("GST_DEBUG_FILE", &log).env("GST_DEBUG_NO_COLOR", "1");
    let service = Service::of(run);
    let address = service.address();
    service.record("frame", |line| line["seq"].is_number());
    let full = address.replacen("://", &format!("://viewer:{PASSWORD}@"), 1);
    tool("ffmpeg", &["-v", "error", "-rtsp_transport", "tcp", "-i", &full, "-frames:v", "5", "-f", "null", "-"]);
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("viewer:{PASSWORD}"));
    assert!(describe(&address, &format!("Authorization: Basic {basic}\r\n")).0.contains("200"));
    // Somebody's password, mistyped.
    let wrong = base64::engine::general_purpose::STANDARD.encode(format!("viewer:{PASSWORD}x"));
    assert!(describe(&address, &format!("Authorization: Basic {wrong}\r\n")).0.contains("401"));
    let messages = service.messages.clone();
    let (ended, records) = service.stop();
    assert!(ended.success());
    let records: String = records.iter().map(ToString::to_string).collect();
    let log = String::from_utf8_lossy(&std::fs::read(&log).expect("a log")).into_owned();
    let said = messages.iter().collect::<Vec<_>>().join("\n");
    assert!(log.contains("rtspclient") && said.contains("response=\"***\""), "the server's own words are there");
    assert!(said.contains("Basic ***"), "and what it is told");
    for (name, text) in [("log", log), ("messages", said), ("records", records)] {
        for form in [PASSWORD, "v1ewer", basic.trim_end_matches('='), &wrong[..wrong.len() - 4]] {
            let line = text.lines().find(|line| line.contains(form));
            assert_eq!(line, None, "{name} holds {form}");
        }
    }
}

#[test]
fn what_must_not_or_cannot_be_served_is_refused_at_once() {
    let scratch = Scratch::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = format!("rtsp://127.0.0.1:{}/x", taken.local_addr().expect("bound").port());
    let free = free_port();
    let (here, there) = (format!("rtsp://127.0.0.1:{free}/x"), format!("rtsps://127.0.0.1:{free}/y"));
    let garbage = scratch.write("garbage.pem", b"nothing\n");
    let no_key = {
        certificate(&scratch);
        scratch.file("cert.pem")
    };
    let (empty, odd) = (scratch.write("empty", b"\n\n"), scratch.write("odd", b"viewer:a\nnocolon\n"));
    let mine =
        scratch.write("mine.toml", b"[[sink]]\ntarget = \"rtsp\"\nlaunch = \"videoconvert ! x264enc ! rtph264pay\"\n");
    let nobody = scratch.write("nobody", b"viewer:\n");
    let (other, other_too) = (format!("rtsp://me:a@127.0.0.1:{free}/x"), format!("rtsp://me:b@127.0.0.1:{free}/y"));
    let cases: [(&[&str], i32, &str); 18] = [
        (&["--out", &here, "--out", &taken], 1, "cannot listen there"),
        (&["--out", "rtsp://:@0.0.0.0:0/x"], 2, "its name or its password is empty"),
        (&["--out", &here, "--out-credentials", &nobody], 2, "line 1 is no user:password"),
        (&["--out", &other, "--out", &other_too], 2, "user me has two passwords at one port"),
        (&["--out", "rtsp://0.0.0.0:0/x"], 2, "other machines could watch without a password"),
        (&["--out", "rtsp://[::]:0/x"], 2, "other machines could watch without a password"),
        (&["--out", "rtsps://127.0.0.1:0/x"], 2, "needs a certificate"),
        (&["--out", "rtsps://127.0.0.1:0/x", "--out-tls", &garbage], 2, "expected a certificate and its key"),
        (&["--out", "rtsps://127.0.0.1:0/x", "--out-tls", &no_key], 2, "expected a certificate and its key"),
        (&["--out", &taken], 1, "cannot listen there"),
        (&["--out", "rtsp://203.0.113.9:8554/x", "--allow-anonymous"], 1, "at an address of this machine"),
        (&["--out", &here, "--out", &here], 2, "is named twice"),
        (&["--out", &here, "--out", &there, "--out-tls", &garbage], 2, "either both have TLS or none"),
        (&["--out", "rtsp://127.0.0.1:1"], 2, "has no name after the port"),
        (&["--out", &here, "--out-credentials", &empty], 2, "expected user:password, one a line"),
        (&["--out", &here, "--out-credentials", &odd], 2, "line 2 is no user:password"),
        (&["--out", &here, "--pipeline", &mine], 2, "rtph264pay name=pay0"),
        (&["--out", "jsonl:-", "--pipeline", &mine], 2, "--pipeline replaces rtsp:, but no --out rtsp: is given"),
    ];
    for (flags, code, expected) in cases {
        let ran = spotter(&[&["run"], &SOURCE[..], flags].concat());
        assert!(ran.stderr.contains(expected), "{flags:?}: {}", ran.stderr);
        assert_eq!(ran.code, Some(code), "{flags:?}: {}", ran.stderr);
        assert_eq!(ran.stderr.matches("ERROR").count() + ran.stderr.matches("error:").count(), 1, "{}", ran.stderr);
    }
    let several = ["--source", "test:ball?live=true", "--source", "test:snow?live=true", "--query", "a"];
    let ran = spotter(&[&["run"], &several[..], &["--out", &here]].concat());
    assert!(ran.code == Some(2) && ran.stderr.contains("put {source} into the path"), "{}", ran.stderr);
}
