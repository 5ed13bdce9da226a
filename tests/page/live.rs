//! What those see who watch.

use std::collections::BTreeSet;
use std::io::{BufRead, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use tungstenite::{Message, WebSocket};

use super::{CAMERA, Chunks, Events, PATIENCE, Viewer, ask, camera, encoded, get, head, place, send, served};
use crate::served::Service;
use crate::support::until;

fn socket(place: &str, stream: &str, parameters: &str) -> WebSocket<TcpStream> {
    Viewer::open(place, stream, parameters).0
}

#[test]
fn events_are_the_lines_of_the_records() {
    let (service, place) = served(&[]);
    let mut events = Events::open(&place, &format!("/api/v1/findings?stream={}", encoded(CAMERA[1])));
    let mut told = Vec::new();
    while told.len() < 40 {
        let (name, data) = events.next();
        assert!(name == "frame" || told.is_empty() && name == "event", "{data}");
        told.push(data);
    }
    // Records from before anybody listened come first.
    let mut recorded = service.records.iter().skip_while(|line| *line != told[0]);
    for line in &told {
        assert_eq!(recorded.next().as_ref(), Some(line));
    }
}

#[test]
fn a_change_of_queries_is_told_where_it_stands_in_the_records() {
    let (service, place) = served(&[]);
    let mut events = Events::open(&place, "/api/v1/findings");
    let first = events.next().1;
    let body = serde_json::json!({ "query": "a red square" });
    assert_eq!(super::tell(&place, "POST", "/api/v1/queries", &body).status, 201);
    let mut told = vec![first];
    let mut kind = String::new();
    while kind != "query" {
        let data = events.next().1;
        let line: Value = serde_json::from_str(&data).expect("JSON");
        (kind, told) = (line["event"].as_str().unwrap_or_default().to_owned(), [told, vec![data]].concat());
    }
    told.push(events.next().1);
    let recorded: Vec<String> = service.records.iter().skip_while(|line| *line != told[0]).take(told.len()).collect();
    assert_eq!(recorded, told);
}

/// The number of a picture, and itself.
fn picture(message: &[u8]) -> (u64, image::DynamicImage) {
    let (number, jpeg) = message.split_at(8);
    let picture = image::load_from_memory_with_format(jpeg, image::ImageFormat::Jpeg).expect("a JPEG");
    (u64::from_be_bytes(number.try_into().expect("eight bytes")), picture)
}

#[test]
fn a_frame_comes_behind_its_record() {
    let (_service, place) = served(&[]);
    let mut socket = socket(&place, CAMERA[1], "?video=jpeg");
    let (mut known, mut pictures) = (BTreeSet::new(), Vec::new());
    while pictures.len() < 10 {
        match socket.read().expect("a message") {
            Message::Text(text) => {
                let line: Value = serde_json::from_str(&text).expect("JSON");
                known.extend(line["seq"].as_u64());
            }
            Message::Binary(message) => {
                let (number, picture) = picture(&message);
                assert!(known.contains(&number), "{number} is not among {known:?}");
                assert_eq!((picture.width(), picture.height()), (160, 120));
                pictures.push(number);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(pictures.is_sorted_by(|a, b| a < b), "{pictures:?}");
    socket.close(None).expect("closed");
}

#[test]
fn lines_alone_where_no_picture_is_wanted() {
    let (_service, place) = served(&[]);
    let mut socket = socket(&place, CAMERA[1], "");
    let mut numbers: Vec<u64> = Vec::new();
    while numbers.len() < 30 {
        match socket.read().expect("a message") {
            Message::Text(text) => numbers.extend(serde_json::from_str::<Value>(&text).expect("JSON")["seq"].as_u64()),
            other => panic!("{other:?}"),
        }
    }
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    let wrong = ask(&place, "GET", &camera("/live?video=film"), &[], "");
    assert_eq!(wrong.status, 400, "{}", wrong.text());
    assert_eq!(get(&place, &camera("/live")).status, 426, "no request for a socket");
    assert_eq!(get(&place, "/api/v1/streams/nobody/live").status, 404);
}

#[test]
fn pictures_are_for_any_program_and_have_their_boxes_drawn() {
    // Whatever the model makes of it, there is a box.
    let (_service, place) = served(&["--threshold", "0"]);
    let mut reader = send(&place, "GET", &format!("/stream/{}.mjpg", encoded(CAMERA[1])), &[], "");
    let (status, headers) = head(&mut reader);
    assert_eq!((status, headers["content-type"].as_str()), (200, "multipart/x-mixed-replace; boundary=frame"));
    let mut parts = std::io::BufReader::new(Chunks { reader, left: 0 });
    let coloured = |picture: &image::RgbImage| {
        // The pattern is black and white.
        picture
            .pixels()
            .filter(|pixel| pixel.0.iter().max().zip(pixel.0.iter().min()).is_some_and(|(a, b)| a - b > 60))
            .count()
    };
    let mut drawn = 0;
    for _ in 0..5 {
        let mut line = String::new();
        let mut length = None;
        loop {
            line.clear();
            parts.read_line(&mut line).expect("read");
            if let Some(number) = line.strip_prefix("Content-Length: ") {
                length = Some(number.trim().parse::<usize>().expect("a number"));
            }
            if line == "\r\n" && length.is_some() {
                break;
            }
        }
        let mut jpeg = vec![0; length.expect("a length")];
        parts.read_exact(&mut jpeg).expect("a picture");
        let picture = image::load_from_memory(&jpeg).expect("a JPEG").into_rgb8();
        assert_eq!(picture.dimensions(), (160, 120));
        drawn = drawn.max(coloured(&picture));
    }
    assert!(drawn > 20, "{drawn} pixels have a colour: no box is drawn");
    let still = get(&place, &camera("/picture.jpg"));
    assert_eq!((still.status, still.headers["content-type"].as_str()), (200, "image/jpeg"));
    assert_eq!(image::load_from_memory(&still.body).expect("a JPEG").width(), 160);
}

#[test]
fn who_is_slow_is_slow_alone() {
    const FRAMES: u64 = 400;
    let source = ["--source", "test:snow?live=true&size=640x480&fps=50", "--query", "a", "--stride", "10"];
    let service = Service::start(&[&source[..], &["--out", "jsonl:-", "--page", "127.0.0.1:0"]].concat());
    let place = place(&service);
    let viewers = || get(&place, "/api/v1/health").json()["viewers"].as_u64();
    let slow = socket(&place, source[1], "?video=jpeg");
    let mut quick = socket(&place, source[1], "");
    until("two viewers", PATIENCE, || (viewers() == Some(2)).then_some(()));
    let mut numbers = Vec::new();
    let (mut last, mut pause) = (Instant::now(), Duration::ZERO);
    while numbers.len() < FRAMES as usize {
        if let Message::Text(text) = quick.read().expect("a message") {
            let line: Value = serde_json::from_str(&text).expect("JSON");
            assert!(line["lost"].is_null(), "the quick one lost something: {line}");
            numbers.extend(line["seq"].as_u64());
            pause = pause.max(last.elapsed());
            last = Instant::now();
        }
    }
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    // Nobody waited for the slow one, who is let go of after ten seconds.
    assert!(pause < Duration::from_secs(8), "held up for {pause:?}");
    // The run is not held up: it is where the quick one is, or further.
    let mut recorded = service.records.iter().map(|line| serde_json::from_str::<Value>(&line).expect("JSON"));
    assert!(recorded.any(|line| line["seq"] == numbers[numbers.len() - 1]));
    // Who takes nothing at all is let go of, after a while.
    until("the slow one gone", PATIENCE, || (viewers() == Some(1)).then_some(()));
    drop(slow);
}

#[test]
fn an_end_is_told_to_all_who_watch() {
    let source = ["--source", "test:ball?live=true&size=160x120&fps=25&frames=150", "--query", "a"];
    let service = Service::start(&[&source[..], &["--out", "jsonl:-", "--page", "127.0.0.1:0"]].concat());
    let place = place(&service);
    let mut socket = socket(&place, source[1], "?video=jpeg");
    let mut events = Events::open(&place, "/api/v1/findings");
    loop {
        match socket.read() {
            Ok(Message::Close(_)) | Err(tungstenite::Error::ConnectionClosed) => break,
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let mut before = String::new();
    let end = loop {
        let (name, data) = events.next();
        if name == "end" {
            break data;
        }
        before = data;
    };
    assert_eq!(end, serde_json::json!({ "stream": source[1] }).to_string());
    let last = service.records.iter().last();
    assert_eq!(last.as_deref(), Some(before.as_str()), "the last line comes before the end");
}

#[test]
fn a_page_is_enough_of_an_output() {
    let service = Service::start(&[&CAMERA[..], &["--page", "127.0.0.1:0"]].concat());
    let place = place(&service);
    let mut events = Events::open(&place, "/api/v1/findings");
    while events.next().0 != "frame" {}
    let (status, records) = service.stop();
    assert!(status.success(), "{status}");
    assert_eq!(records, Vec::<Value>::new());
}
