//! The camera's own pictures as MP4, against ffprobe and the times of records.

use std::collections::BTreeMap;
use std::net::TcpStream;

use serde_json::Value;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Error, Message};

use super::{PATIENCE, encoded, get, place};
use crate::served::Service;
use crate::support::{Scratch, clip, tool, until};

/// What came over the socket until the stream ended.
struct Watched {
    /// What was said of each film.
    heads: Vec<Value>,
    /// Their bytes.
    films: Vec<Vec<u8>>,
    /// Stream times of records, by their number, ns.
    times: BTreeMap<u64, f64>,
}

fn watch(source: &str) -> Watched {
    let service = Service::start(&["--source", source, "--query", "a", "--page", "127.0.0.1:0"]);
    let place = place(&service);
    let name = encoded(source);
    until("a film", PATIENCE, || {
        let stream = get(&place, &format!("/api/v1/streams/{name}")).json();
        stream["video"].as_array()?.contains(&"mp4".into()).then_some(())
    });
    let stream = TcpStream::connect(&place).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let url = format!("ws://{place}/api/v1/streams/{name}/live?video=mp4");
    let (mut socket, _) = tungstenite::client(url.into_client_request().expect("a request"), stream).expect("a socket");
    let mut watched = Watched { heads: Vec::new(), films: Vec::new(), times: BTreeMap::new() };
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => {
                let line: Value = serde_json::from_str(&text).expect("JSON");
                if let Some(seq) = line["seq"].as_u64().filter(|_| line["schema"] == "spotter.frame/2") {
                    watched.times.insert(seq, line["pts_ns"].as_f64().expect("a time"));
                } else if line["film"].is_object() {
                    watched.heads.push(line["film"].clone());
                    watched.films.push(Vec::new());
                }
            }
            Ok(Message::Binary(bytes)) => watched.films.last_mut().expect("a film has begun").extend(&bytes[..]),
            Ok(Message::Close(_)) | Err(Error::ConnectionClosed) => return watched,
            Ok(other) => panic!("{other:?}"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Times at which ffprobe shows the frames of a film, seconds.
fn shown(file: &str) -> Vec<f64> {
    let args = ["-v", "error", "-show_entries", "frame=pts_time", "-of", "csv=p=0", file];
    let lines = tool("ffprobe", &args);
    // Side data of a frame end its line with a comma, and bring an empty one.
    let times = lines.lines().map(|line| line.trim_end_matches(',')).filter(|line| !line.is_empty());
    times.map(|time| time.parse().expect("a time")).collect()
}

/// The pictures of a film are those of the records, at their times.
fn holds(scratch: &Scratch, options: &[&str]) {
    let source = clip(
        scratch,
        "clip.mp4",
        "160x120",
        250,
        &[&["-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "10"], options].concat(),
    );
    let Watched { heads, films, times } = watch(&source);
    assert_eq!(heads.len(), 1, "{heads:?}");
    let head = &heads[0];
    assert_eq!((&head["width"], &head["height"]), (&160.into(), &120.into()));
    assert!(head["codec"].as_str().is_some_and(|codec| codec.starts_with("avc1.") && codec.len() == 11), "{head}");
    let file = scratch.write("film.mp4", &films[0]);
    // Every frame decodes: anything that is wrong is said on standard error.
    assert_eq!(tool("sh", &["-c", &format!("ffmpeg -v warning -i {file} -f null - 2>&1")]), "");
    let shown = shown(&file);
    assert!(shown.len() > 20, "{} frames were watched", shown.len());
    let origin = head["origin_ns"].as_f64().expect("a time");
    let unknown = |time: &&f64| !times.values().any(|known| (known - (origin + *time * 1e9)).abs() < 2e6);
    // Records of frames from before the viewer came are not there.
    let first = times.values().copied().fold(f64::MAX, f64::min);
    let later = shown.iter().filter(|time| origin + *time * 1e9 > first - 2e6);
    assert_eq!(later.clone().find(unknown), None, "{shown:?} from {origin} against {times:?}");
    assert!(later.count() > 20, "{} records", times.len());
}

#[test]
fn pictures_in_order_have_the_times_of_their_records() {
    holds(&Scratch::new(), &["-bf", "0"]);
}

#[test]
fn pictures_out_of_order_have_the_times_of_their_records() {
    holds(&Scratch::new(), &["-bf", "3"]);
}

#[test]
fn what_is_no_film_is_said() {
    let service =
        Service::start(&["--source", "test:ball?live=true&size=160x120", "--query", "a", "--page", "127.0.0.1:0"]);
    let place = place(&service);
    let name = encoded("test:ball?live=true&size=160x120");
    let stream = get(&place, &format!("/api/v1/streams/{name}")).json();
    assert_eq!(stream["video"], serde_json::json!(["jpeg"]));
    let stream = TcpStream::connect(&place).expect("connects");
    let url = format!("ws://{place}/api/v1/streams/{name}/live?video=mp4");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let (mut socket, _) = tungstenite::client(url.into_client_request().expect("a request"), stream).expect("a socket");
    for _ in 0..100 {
        let Message::Text(text) = socket.read().expect("a message") else { panic!("a film that is none") };
        if text.contains("\"film\":null") {
            return;
        }
    }
    panic!("it is not said");
}
