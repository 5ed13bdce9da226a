//! Many who watch, who freeze, who go; and streams that change, die and come back while they do.

use std::net::TcpStream;

use serde_json::Value;

use super::{PATIENCE, Said, Viewer, Watched, decodes, get, place, tell};
use crate::served::Service;
use crate::support::servers::{Server, free_port};
use crate::support::{Scratch, clip, probe, until};

/// The books of a run, by its last event.
fn books(records: &[Value]) -> Value {
    let end = records.iter().rfind(|line| line["event"] == "end").expect("an end");
    end["frames"].clone()
}

fn closed(frames: &Value) -> bool {
    let count = |key: &str| frames[key].as_u64().unwrap_or_else(|| panic!("no {key} in {frames}"));
    count("decoded") == ["measured", "skipped", "dropped", "error"].map(count).iter().sum::<u64>()
}

/// A field of the program's status, KiB.
fn memory(service: &Service, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", service.id())).expect("there");
    let line = text.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

/// A hundred come at once; as many as there is room for are let in, take nothing, and go. Whoever reads meanwhile loses nothing, nor does
/// the run, and nothing is left of them.
#[test]
fn a_hundred_who_come_freeze_and_go() {
    const ROOM: usize = 64;
    let source = "test:snow?live=true&size=640x360&fps=25";
    let flags = ["--source", source, "--query", "a", "--max-fps", "5", "--out", "jsonl:-", "--page", "127.0.0.1:0"];
    let service = Service::start(&flags);
    let place = place(&service);
    service.record("frame", |line| line["status"].is_string());
    let viewers = || get(&place, "/api/v1/health").json()["viewers"].as_u64().expect("a number") as usize;
    let mut reader = Viewer::open(&place, source, "");
    let before = memory(&service, "VmRSS:");
    let ways = ["?video=mp4", "?video=jpeg", ""];
    let ask = |number: usize| {
        let url = format!("ws://{place}/api/v1/streams/{}/live{}", super::encoded(source), ways[number % ways.len()]);
        let stream = TcpStream::connect(&place).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        tungstenite::client(url, stream).map_err(Box::new)
    };
    let mut seqs = Vec::new();
    let mut read = |reader: &mut Viewer, count: usize| {
        let until = seqs.len() + count;
        while seqs.len() < until {
            if let Said::Line(line) = reader.next() {
                assert!(line["lost"].is_null(), "{line}");
                seqs.extend(line["seq"].as_u64().filter(|_| line["status"].is_string()));
            }
        }
        assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
    };
    for _ in 0..2 {
        let all: Vec<_> = (0..100).map(ask).collect();
        let (inside, outside): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
        assert_eq!((inside.len(), viewers()), (ROOM - 1, ROOM), "the reader is one of them");
        for refused in outside {
            let error = refused.expect_err("refused");
            let full = matches!(&*error, tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer)) if answer.status() == 503);
            assert!(full, "{error}");
        }
        read(&mut reader, 100);
        drop(inside);
        until("all of them gone", PATIENCE, || (viewers() == 1).then_some(()));
    }
    read(&mut reader, 25);
    // Another one is let in, and sees something.
    let watched = Watched::until(&mut Viewer::open(&place, source, "?video=mp4"), |watched| {
        watched.films.first().is_some_and(|film| film.bytes.len() > 100_000)
    });
    assert_eq!(watched.films.len(), 1);
    drop(reader);
    until("nobody", PATIENCE, || (viewers() == 0).then_some(()));
    // What was kept for them is bounded: rings, sockets' buffers, encoders.
    let grown = memory(&service, "VmHWM:").saturating_sub(before) / 1024;
    assert!(grown < 400, "{grown} MiB more than before");
    let (status, records) = service.stop();
    assert!(status.success(), "{status}");
    let frames = books(&records);
    assert!(closed(&frames), "{frames}");
}

/// One who reads one message where another reads ten.
#[test]
fn a_slow_viewer_of_a_film_misses_pictures_alone_and_goes_on_with_a_key_frame() {
    let source = "test:snow?live=true&size=640x360&fps=50";
    let service = Service::start(&["--source", source, "--query", "a", "--max-fps", "5", "--page", "127.0.0.1:0"]);
    let place = place(&service);
    let [mut slow, mut quick] = [(); 2].map(|()| Viewer::open(&place, source, "?video=mp4"));
    let (mut of_slow, mut of_quick, mut seqs) = (Watched::default(), Watched::default(), Vec::<u64>::new());
    while seqs.len() < 400 {
        for _ in 0..10 {
            let said = quick.next();
            if let Said::Line(line) = &said {
                assert!(line["lost"].is_null(), "the quick one lost something: {line}");
                seqs.extend(line["seq"].as_u64().filter(|_| line["status"].is_string()));
            }
            of_quick.add(said);
        }
        of_slow.add(slow.next());
    }
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
    let scratch = Scratch::new();
    assert_eq!(of_quick.films.len(), 1, "one film from its beginning on");
    for (name, film) in of_quick.films.iter().chain(&of_slow.films).enumerate() {
        // The last picture may have been on its way.
        let file = scratch.write(&format!("{name}.mp4"), &film.bytes);
        decodes(&file);
    }
}

/// A camera that dies, and comes back with another size, and with another codec.
#[test]
fn a_stream_that_dies_and_comes_back_as_another_one_goes_on_for_who_watches() {
    let scratch = Scratch::new();
    let port = free_port().to_string();
    let made = |name: &str, size: &str, codec: &[&str]| {
        let coded = [&["-pix_fmt", "yuv420p", "-preset", "ultrafast"][..], codec].concat();
        clip(&scratch, name, size, 1500, &coded)
    };
    let h264 = ["-c:v", "libx264", "-g", "25"];
    let hevc = ["-c:v", "libx265", "-x265-params", "keyint=25:log-level=none"];
    let films = [
        (made("a.mp4", "320x192", &h264), &["--port", &port][..], (320, 192)),
        (made("b.mp4", "480x272", &h264), &["--port", &port], (480, 272)),
        (made("c.mp4", "480x272", &hevc), &["--port", &port, "--h265"], (480, 272)),
        (made("d.mp4", "320x192", &h264), &["--port", &port], (320, 192)),
    ];
    let mut camera = Some(Server::camera(&films[0].0, films[0].1));
    let address = camera.as_ref().expect("there").address.clone();
    let flags = ["--source", &address, "--query", "a", "--max-fps", "5", "--reconnect-interval", "100ms"];
    let service = Service::start(&[&flags[..], &["--out", "jsonl:-", "--page", "127.0.0.1:0"]].concat());
    let place = place(&service);
    let mut viewer = Viewer::open(&place, &address, "?video=mp4");
    let mut watched = Watched::default();
    for (turn, (file, flags, size)) in films.iter().enumerate() {
        let (films, lines) = (watched.films.len(), watched.lines.len());
        if turn > 0 {
            let came =
                |watched: &Watched, event: &str| watched.lines[lines..].iter().any(|line| line["event"] == event);
            drop(camera.take());
            watched.read(&mut viewer, |watched| came(watched, "gap_start"));
            camera = Some(Server::camera(file, flags));
            watched.read(&mut viewer, |watched| came(watched, "gap_end"));
        }
        watched.read(&mut viewer, |watched| {
            watched.films.len() > films && watched.films.last().is_some_and(|film| film.bytes.len() > 60_000)
        });
        let film = watched.films.last().expect("a film");
        let name = format!("{turn}.mp4");
        let file = scratch.write(&name, &film.bytes);
        decodes(&file);
        let (width, height, count) = probe(&file);
        assert!((width, height) == *size && count > 5, "{name}: {width}x{height}, {count} pictures");
        assert_eq!(
            (film.head["width"].as_u64(), film.head["height"].as_u64()),
            (Some(size.0.into()), Some(size.1.into()))
        );
        // The page goes on answering, and the queries can be changed.
        let changed = tell(&place, "PATCH", "/api/v1/queries/a", &serde_json::json!({ "query": format!("a {turn}") }));
        assert_eq!(changed.status, 200, "{}", changed.text());
    }
    let (status, records) = service.stop();
    assert!(status.success(), "{status}");
    assert!(closed(&books(&records)), "{}", books(&records));
}
