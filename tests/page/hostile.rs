//! Whatever is sent to it: nobody else loses anything, and the page goes on.

use std::io::{Read, Write};
use std::net::TcpStream;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::{CAMERA, PATIENCE, Said, Viewer, ask, camera, encoded, get, served, tell};
use crate::support::until;

/// Sends bytes as they are; what came back, and whether the connection was closed, as far as it goes.
fn raw(place: &str, bytes: &[u8]) -> Vec<u8> {
    exchange(place, bytes, true)
}

/// The same; `ends` where no more is to come than `bytes`: who says so may be taken for gone, and not be answered.
fn exchange(place: &str, bytes: &[u8], ends: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(place).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut answered = stream.try_clone().expect("cloned");
    let reader = std::thread::spawn(move || {
        let mut answer = Vec::new();
        // It may be broken off: there is more to take than was read.
        let _ = answered.read_to_end(&mut answer);
        answer
    });
    // Whoever refuses need not read to the end.
    let _ = stream.write_all(bytes);
    if ends {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    reader.join().expect("no panic")
}

fn status(answer: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(answer).into_owned();
    text.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()
}

/// A socket whose frames are nobody's but ours.
fn opened(place: &str, parameters: &str) -> TcpStream {
    let mut stream = TcpStream::connect(place).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let path = camera(&format!("/live{parameters}"));
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {place}\r\n{upgrade}{key}\r\n").expect("sent");
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    assert_eq!(status(&head), Some(101));
    stream
}

/// A frame with this first byte (RFC 6455, section 5.2), or what looks like one.
fn frame(first: u8, masked: bool, length: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    let mask = if masked { 0x80 } else { 0 };
    frame.push(length[0] | mask);
    frame.extend(&length[1..]);
    if masked {
        frame.extend([0; 4]);
    }
    frame.extend(payload);
    frame
}

/// Frames that nobody may send, one kind after the other, then noise.
fn hostile(turn: usize, random: &mut StdRng) -> Vec<u8> {
    const TEXT: u8 = 0x81;
    const PING: u8 = 0x89;
    let huge = [&[127][..], &(1u64 << 40).to_be_bytes()].concat();
    let long = [&[126][..], &60_000u16.to_be_bytes()].concat();
    match turn % 14 {
        0 => frame(TEXT, false, &[5], b"hello"),
        1 => frame(TEXT, true, &huge, b"and so on"),
        2 => frame(TEXT, true, &long, &vec![b'a'; 60_000]),
        3 => frame(TEXT, true, &[4], &[0xff, 0xfe, 0xc0, 0x80]),
        // Reserved bits, and reserved kinds.
        4 => frame(0xf1, true, &[1], b"a"),
        5 => frame(0x83, true, &[1], b"a"),
        6 => frame(0x8f, true, &[1], b"a"),
        // A ping in two parts, one that is too long, and a thousand of them.
        7 => frame(0x09, true, &[1], b"a"),
        8 => frame(PING, true, &[126, 1, 0], &[b'a'; 256]),
        9 => frame(PING, true, &[100], &[b'a'; 100]).repeat(1000),
        // A message that never ends, one that never began, and a close with a reason that is none.
        10 => [frame(0x01, true, &[1], b"a"), frame(0x00, true, &[1], b"b").repeat(6000)].concat(),
        11 => frame(0x80, true, &[1], b"a"),
        12 => frame(0x88, true, &[1], &[3]),
        _ => {
            let length = random.random_range(1..3000);
            (0..length).map(|_| random.random()).collect()
        }
    }
}

#[test]
fn hostile_frames_lose_nobody_else_a_line() {
    const SEED: u64 = 7;
    let (_service, place) = served(&[]);
    let mut viewer = Viewer::open(&place, CAMERA[1], "");
    let mut film = Viewer::open(&place, CAMERA[1], "?video=mp4");
    let mut random = StdRng::seed_from_u64(SEED);
    let mut seqs: Vec<u64> = Vec::new();
    for turn in 0..140 {
        let mut socket = opened(&place, ["", "?video=jpeg", "?video=mp4"][turn % 3]);
        let bytes = hostile(turn, &mut random);
        // Some stay away in the middle of a frame; others wait for what is said to them.
        let all = if turn % 2 == 0 { bytes.len() } else { random.random_range(0..=bytes.len()) };
        let _ = socket.write_all(&bytes[..all]);
        while seqs.len() <= turn {
            if let Said::Line(line) = viewer.next() {
                assert!(line["lost"].is_null(), "turn {turn} lost something for somebody else");
                seqs.extend(line["seq"].as_u64().filter(|_| line["status"].is_string()));
            }
        }
        assert!(!matches!(film.next(), Said::End), "turn {turn} ended the film of somebody else");
    }
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
    until("all of them gone", PATIENCE, || (get(&place, "/api/v1/health").json()["viewers"] == 2).then_some(()));
}

/// Requests that are none.
#[test]
fn noise_is_answered_or_hung_up_on() {
    const SEED: u64 = 11;
    let (_service, place) = served(&[]);
    let mut random = StdRng::seed_from_u64(SEED);
    for turn in 0..60 {
        let length = random.random_range(1..2000);
        let noise: Vec<u8> = (0..length).map(|_| random.random()).collect();
        let answer = match turn % 3 {
            0 => raw(&place, &noise),
            1 => raw(&place, &[b"GET /", &noise[..], b" HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat()),
            _ => raw(
                &place,
                &[b"POST /api/v1/queries HTTP/1.1\r\nHost: localhost\r\nX: ", &noise[..], b"\r\n\r\n"].concat(),
            ),
        };
        assert!(
            status(&answer).is_none_or(|status| (400..500).contains(&status)),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    // Parts of a path that are anything, each well encoded.
    for _ in 0..200 {
        let length = random.random_range(0..40);
        let part: Vec<u8> = (0..length).map(|_| random.random()).collect();
        let part = percent_encode(&part, NON_ALPHANUMERIC).to_string();
        for path in [
            format!("/{part}"),
            format!("/api/v1/streams/{part}"),
            format!("/api/v1/streams/{part}/live"),
            format!("/api/v1/sightings/{part}/files/{part}"),
            format!("/api/v1/sightings?stream={part}&since={part}"),
            format!("/stream/{part}.mjpg"),
        ] {
            let answer = get(&place, &path);
            assert!(answer.status < 500 && answer.status != 101, "{path}: {}", answer.text());
        }
    }
    assert_eq!(get(&place, "/api/v1/streams").status, 200);
}

/// Ten megabytes of whatever: it is not read to the end, and nothing is kept of it.
#[test]
fn ten_megabytes_are_refused() {
    const MUCH: usize = 10 << 20;
    let (service, place) = served(&[]);
    let head = |what: &str| format!("{what} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n");
    let json = "Content-Type: application/json\r\n";
    let query = format!("{{\"query\": \"{}\"}}", "a".repeat(MUCH));
    let posted = format!("{}{json}Content-Length: {}\r\n\r\n{query}", head("POST /api/v1/queries"), query.len());
    let answer = raw(&place, posted.as_bytes());
    // The end of the connection may come before the answer is read.
    assert!(status(&answer).is_none_or(|status| status == 413), "{}", String::from_utf8_lossy(&answer));
    // In parts, whose length nobody says before.
    let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
    let chunks = format!(
        "{}{json}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        head("POST /api/v1/queries"),
        chunk.repeat(160)
    );
    let answer = raw(&place, chunks.as_bytes());
    assert!(status(&answer).is_none_or(|status| status == 413), "{}", String::from_utf8_lossy(&answer));
    // One that is told: it is longer than anybody may send.
    let told = format!("{}{json}Content-Length: {MUCH}\r\n\r\n{}", head("POST /api/v1/queries"), "a".repeat(70_000));
    assert!(status(&raw(&place, told.as_bytes())).is_none_or(|status| status == 413));
    for long in [
        format!("{}\r\n", head(&format!("GET /api/v1/findings?stream={}", "a".repeat(MUCH)))),
        format!("{}X: {}\r\n\r\n", head("GET /"), "a".repeat(MUCH)),
    ] {
        let answer = raw(&place, long.as_bytes());
        assert!(
            status(&answer).is_none_or(|status| [414, 431].contains(&status)),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    let deep = format!("{{\"query\": {}1{}}}", "[".repeat(30_000), "]".repeat(30_000));
    let deep = ask(&place, "POST", "/api/v1/queries", &[("Content-Type", "application/json")], &deep);
    assert_eq!(deep.status, 400, "{}", deep.text());
    assert_eq!(get(&place, "/api/v1/queries").json()["streams"][0]["queries"].as_array().map(Vec::len), Some(1));
    service.record("a later frame", |line| line["status"].is_string());
}

/// Words of any language, names that hold what paths are made of, and letters that are none.
#[test]
fn unicode_goes_through_whole() {
    let (service, place) = served(&[]);
    service.record("measured frame", |line| line["measured"] == true);
    for (text, name) in [
        ("the red 猫が座っている", "猫"),
        ("the white Bär 🐻\u{200d}❄️", "a/b/../c"),
        ("the circle \u{202e}txet \u{0301}", "%2F?#&=+;"),
        ("the red кошка", "\"quoted\" 'name' \\"),
        ("a square \u{10ffff}", "\u{feff}mark"),
    ] {
        let added = tell(&place, "POST", "/api/v1/queries", &json!({ "query": text, "name": name }));
        assert_eq!(added.status, 201, "{name}: {}", added.text());
        let event = service.record("change", |line| line["event"] == "query" && line["change"] == "added");
        assert_eq!((event["text"].as_str(), event["name"].as_str()), (Some(text), Some(name)));
        let path = format!("/api/v1/queries/{}", encoded(name));
        assert_eq!(tell(&place, "PATCH", &path, &json!({ "threshold": 0.25 })).status, 200, "{name}");
        assert_eq!(ask(&place, "DELETE", &path, &[], "").status, 200, "{name}");
    }
    let before = get(&place, "/api/v1/queries").text();
    let raw_body = |body: &[u8]| {
        let head = format!(
            "POST /api/v1/queries HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        status(&exchange(&place, &[head.as_bytes(), body].concat(), false))
    };
    for body in [
        &b"{\"query\": \"\\ud800\"}"[..],
        b"{\"query\": \"\xff\xfe\"}",
        b"{\"query\": \"a\\u0000b\"}",
        b"{\"query\": \"a\", \"query\": \"b\"}",
        b"{\"query\": \"a\", \"threshold\": 1e999}",
        b"{\"query\": \"a\", \"threshold\": NaN}",
        b"\xef\xbb\xbf{}",
        b"null",
        b"",
    ] {
        assert_eq!(raw_body(body), Some(400), "{}", String::from_utf8_lossy(body));
    }
    assert_eq!(get(&place, "/api/v1/queries").text(), before, "nothing of it was taken");
    let long = tell(&place, "POST", "/api/v1/queries", &json!({ "query": "猫".repeat(1001) }));
    assert_eq!(long.status, 400, "{}", long.text());
    let line: Value = service.record("frame", |line| line["status"].is_string());
    assert_eq!(line["query"], CAMERA[3]);
}
