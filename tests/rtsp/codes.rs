//! Why a camera cannot be had: one code for each reason, once for each attempt.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use super::{AS_CAMERAS, RATE, events};
use crate::support::counter::counter_clip;
use crate::support::relay::{self, Harm};
use crate::support::servers::{Server, free_port};
use crate::support::{Ran, Scratch, command, model, tool};

/// A run that tries twice.
fn attempts(source: &str, flags: &[&str]) -> Ran {
    let mut command = try_twice(source, flags);
    command.output().expect("the program starts").into()
}

fn try_twice(source: &str, flags: &[&str]) -> Command {
    let model = model();
    let mut command = command(&["run", "--source", source, "--query", "a", "--model", &model, "--out", "jsonl:-"]);
    command.args(["--reconnect-attempts", "1", "--reconnect-interval", "50ms", "--refused-interval", "50ms"]);
    command.args(["--stall-timeout", "2s"]).args(flags);
    command
}

/// Both attempts fail for the reason that is meant, and each is told once.
fn assert_code(ran: &Ran, code: &str, says: &str) {
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let lines = ran.lines();
    let starts = events(&lines, "gap_start");
    assert_eq!(starts.len(), 1, "{}", ran.stdout);
    assert_eq!(starts[0]["code"], code, "{}", ran.stdout);
    let end = events(&lines, "end")[0]["error"].as_str().expect("an error").to_owned();
    assert!(end.starts_with(&format!("{code}: source ")), "{end}");
    assert!(end.contains("given up after 1 attempt") && end.contains(says), "{end}");
    assert_eq!(ran.stdout.matches(code).count(), 2, "{}", ran.stdout);
    assert_eq!(ran.stderr.matches(code).count(), 2, "{}", ran.stderr);
}

fn camera(scratch: &Scratch, options: &[&str]) -> Server {
    Server::camera(&counter_clip(scratch, RATE, 20 * RATE as usize, &AS_CAMERAS), options)
}

#[test]
fn a_wrong_password_and_none() {
    let scratch = Scratch::new();
    for options in [&["--login", "me:right word"][..], &["--login", "me:right word", "--basic"]] {
        let camera = camera(&scratch, options);
        let wrong = camera.address.replace("rtsp://", "rtsp://me:wrong@");
        assert_code(&attempts(&wrong, &[]), "STREAM_AUTH_FAILED", "Unauthorized (401)");
        assert_code(&attempts(&camera.address, &[]), "STREAM_AUTH_FAILED", "Unauthorized (401)");
    }
}

#[test]
fn a_wrong_path_and_a_refused_port() {
    let scratch = Scratch::new();
    let camera = camera(&scratch, &[]);
    let ran = attempts(&camera.address.replace("/camera", "/elsewhere"), &[]);
    assert_code(&ran, "STREAM_NOT_FOUND", "Not Found (404)");
    let nobody = format!("rtsp://127.0.0.1:{}/nobody", free_port());
    assert_code(&attempts(&nobody, &[]), "STREAM_CONNECTION_FAILED", "Connection refused");
    assert_code(&attempts("rtsp://no.such.host.invalid/x", &[]), "STREAM_CONNECTION_FAILED", "no.such.host.invalid");
}

/// A port that takes connections into its queue until that is full: what is sent then is not even refused.
#[test]
fn a_black_hole() {
    let listener = socket_with_full_queue();
    let address = format!("rtsp://{}/camera", listener.0.local_addr().expect("an address"));
    assert_code(&attempts(&address, &[]), "STREAM_TIMEOUT", "");
}

fn socket_with_full_queue() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut waiting = Vec::new();
    let limit = std::time::Duration::from_millis(300);
    // The queue's length is the system's choice.
    while let Ok(stream) = TcpStream::connect_timeout(&address, limit) {
        waiting.push(stream);
        assert!(waiting.len() < 10_000, "the queue of a listener is never full here");
    }
    (listener, waiting)
}

/// Whatever is asked, the answer is this.
fn answers(text: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("rtsp://{}/camera", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut asked = [0; 4096];
                while stream.read(&mut asked).is_ok_and(|count| count > 0) && stream.write_all(text).is_ok() {}
            });
        }
    });
    address
}

#[test]
fn garbage_in_place_of_rtsp() {
    let noise = answers(b"\x00\xff\x13garbage\r\n\r\n\x80\x81");
    assert_code(&attempts(&noise, &[]), "STREAM_CONNECTION_FAILED", "Parse error");
    let web = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    assert_code(&attempts(&web, &[]), "STREAM_CONNECTION_FAILED", "");
    let silent = answers(b"");
    assert_code(&attempts(&silent, &[]), "STREAM_TIMEOUT", "");
}

#[test]
fn a_codec_that_nobody_knows_and_no_video_at_all() {
    let scratch = Scratch::new();
    let camera = camera(&scratch, &[]);
    let (address, _lever) = relay::tcp(&camera.address, Harm::Replace("H264/90000", "H999/90000"));
    assert_code(&attempts(&address, &[]), "STREAM_CODEC_UNSUPPORTED", "H999");
    let sound = scratch.file("sound.wav");
    tool("ffmpeg", &["-v", "error", "-f", "lavfi", "-i", "sine=duration=30", &sound]);
    let radio = Server::camera(&sound, &[]);
    assert_code(&attempts(&radio.address, &[]), "STREAM_CODEC_UNSUPPORTED", "no video");
}

#[test]
fn certificates_that_nobody_vouches_for_and_servers_without_tls() {
    let scratch = Scratch::new();
    let (key, certificate, both) = (scratch.file("key.pem"), scratch.file("cert.pem"), scratch.file("both.pem"));
    tool(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-keyout",
            &key,
            "-out",
            &certificate,
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ],
    );
    let pem = [std::fs::read(&certificate).expect("read"), std::fs::read(&key).expect("read")].concat();
    scratch.write("both.pem", &pem);
    let camera = camera(&scratch, &["--tls", &both]);
    assert!(camera.address.starts_with("rtsps://"));
    let ran = attempts(&camera.address, &[]);
    assert_code(&ran, "STREAM_TLS_CERTIFICATE", "unknown-ca");
    // Who knows the certificate gets the pictures; but not under another name.
    let named = camera.address.replace("127.0.0.1", "localhost");
    let ran = attempts(&named, &["--tls-ca", &certificate]);
    assert_code(&ran, "STREAM_TLS_CERTIFICATE", "bad-identity");
    let mut live = super::Live::start(
        &["--source", &camera.address, "--query", "a", "--tls-ca", &certificate],
        crate::support::counter::Counter { takes: std::time::Duration::ZERO },
    );
    live.wait_for_frames(10);
    assert!(live.end().0.expect("no failure").frames.closed());

    let plain = Server::camera(&scratch.file("counter.mp4"), &[]);
    let ran = attempts(&plain.address.replace("rtsp://", "rtsps://"), &[]);
    assert_code(&ran, "STREAM_TLS_HANDSHAKE", "does not speak TLS");
}

/// The first connection that fails is no reason to wait for the next one.
#[test]
fn a_run_that_never_connected_ends_when_it_is_told_to() {
    let nobody = format!("rtsp://127.0.0.1:{}/nobody", free_port());
    let model = model();
    let child = command(&["run", "--source", &nobody, "--query", "a", "--model", &model, "--out", "jsonl:-"])
        .args(["--reconnect-interval", "1h", "--reconnect-max-interval", "1h"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("starts");
    let mut child = child;
    let mut first = String::new();
    let stdout = child.stdout.take().expect("piped");
    let mut stdout = std::io::BufReader::new(stdout);
    std::io::BufRead::read_line(&mut stdout, &mut first).expect("a line");
    assert!(first.contains("gap_start"), "{first}");
    tool("kill", &["-TERM", &child.id().to_string()]);
    let status = child.wait().expect("ends");
    assert_eq!(status.code(), Some(0), "that is how a service ends");
}
