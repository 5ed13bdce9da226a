//! The page: who may see it, its API against its description, findings and video as they come, and viewers who are slow, many or hostile.

mod access;
mod api;
mod asking;
mod browser;
mod crowd;
mod encoded;
mod film;
mod hostile;
mod live;
mod places;
mod schema;
mod seen;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use records::Counts;
use serde_json::Value;
use spotter::run::stream_until;
use spotter::stage::Ground;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Error, Message, WebSocket};

use crate::served::Service;
use crate::support::servers::free_port;
use crate::support::{run_settings, tool, until};

/// How long anything may take to happen.
const PATIENCE: Duration = Duration::from_mins(1);
/// A camera of our own that never ends.
const CAMERA: [&str; 4] = ["--source", "test:ball?live=true&size=160x120&fps=25", "--query", "the white circle"];

/// A name as a part of a path.
fn encoded(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

/// Where the camera is, in the API.
fn camera(rest: &str) -> String {
    format!("/api/v1/streams/{}{rest}", encoded(CAMERA[1]))
}

/// The program with a page, and where that is.
fn served(flags: &[&str]) -> (Service, String) {
    let service = Service::start(&[&CAMERA[..], &["--out", "jsonl:-", "--page", "127.0.0.1:0"], flags].concat());
    let place = place(&service);
    (service, place)
}

/// A run inside this process, with a model of its own and a page.
struct Run {
    place: String,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<spotter::Result<Counts>>>,
}

impl Run {
    fn start(flags: &[&str], model: impl Ground + 'static) -> Self {
        let place = format!("127.0.0.1:{}", free_port());
        let settings = run_settings(&[flags, &["--page", &place]].concat());
        let (stop, stopped) = bounded::<()>(0);
        let thread = std::thread::spawn(move || stream_until(&settings, Box::new(model), None, true, stopped));
        until("a page", PATIENCE, || TcpStream::connect(&place).ok());
        Self { place, stop: Some(stop), thread: Some(thread) }
    }

    /// Ends it; what it counted.
    fn end(mut self) -> Counts {
        self.stop = None;
        self.thread.take().expect("runs").join().expect("no panic").expect("no failure")
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Who watches a stream.
struct Viewer(WebSocket<TcpStream>);

/// What comes to who watches.
enum Said {
    /// A line of the records, or of the socket's own.
    Line(Value),
    Bytes(Vec<u8>),
    End,
}

impl Viewer {
    /// `parameters` with the question mark.
    fn open(place: &str, stream: &str, parameters: &str) -> Self {
        let name = encoded(stream);
        let stream = TcpStream::connect(place).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let url = format!("ws://{place}/api/v1/streams/{name}/live{parameters}");
        let request = url.into_client_request().expect("a request");
        let (socket, answer) = tungstenite::client(request, stream).expect("a socket");
        assert_eq!(answer.status(), 101);
        Self(socket)
    }

    fn next(&mut self) -> Said {
        match self.0.read() {
            Ok(Message::Text(text)) => Said::Line(serde_json::from_str(&text).expect("JSON")),
            Ok(Message::Binary(bytes)) => Said::Bytes(bytes.to_vec()),
            Ok(Message::Close(_)) | Err(Error::ConnectionClosed) => Said::End,
            Ok(other) => panic!("{other:?}"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// A film as it came over a socket.
struct Film {
    /// What was said of it.
    head: Value,
    bytes: Vec<u8>,
}

/// Films and lines that came to who watches.
#[derive(Default)]
struct Watched {
    films: Vec<Film>,
    lines: Vec<Value>,
    /// It was said that there is no film.
    none: bool,
}

impl Watched {
    fn add(&mut self, said: Said) {
        match said {
            Said::Line(line) if line["film"].is_object() => {
                self.films.push(Film { head: line["film"].clone(), bytes: Vec::new() });
            }
            Said::Line(line) => {
                self.none |= line.get("film").is_some();
                self.lines.push(line);
            }
            Said::Bytes(bytes) => self.films.last_mut().expect("a film has begun").bytes.extend(bytes),
            Said::End => {}
        }
    }

    /// Until that is so, or the stream ends.
    fn until(viewer: &mut Viewer, mut enough: impl FnMut(&Self) -> bool) -> Self {
        let mut watched = Self::default();
        watched.read(viewer, &mut enough);
        watched
    }

    /// More of it, until that is so.
    fn read(&mut self, viewer: &mut Viewer, mut enough: impl FnMut(&Self) -> bool) {
        while !enough(self) {
            let said = viewer.next();
            if matches!(said, Said::End) {
                return;
            }
            self.add(said);
        }
    }
}

/// Sees that every picture of a film decodes: anything that is wrong is said on standard error.
fn decodes(file: &str) {
    assert_eq!(tool("sh", &["-c", &format!("ffmpeg -v warning -i {file} -fps_mode passthrough -f null - 2>&1")]), "");
}

/// Where a page is.
fn place(service: &Service) -> String {
    let told = service.told("page at http");
    told.trim_start_matches('s').trim_start_matches("://").trim_end_matches('/').to_owned()
}

/// What an HTTP server said.
#[derive(Debug)]
struct Answer {
    status: u16,
    /// Names in lower case.
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("UTF-8")
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {}", self.text()))
    }
}

/// A request on a connection of its own. `Host` is the place itself where `headers` has none.
fn ask(place: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut reader = send(place, method, path, headers, body);
    let (status, headers) = head(&mut reader);
    let mut body = Vec::new();
    match headers.get("content-length").map(|length| length.parse::<u64>().expect("a number")) {
        Some(length) => _ = reader.take(length).read_to_end(&mut body).expect("read"),
        None if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") => {
            Chunks { reader, left: 0 }.read_to_end(&mut body).expect("read");
        }
        None => {}
    }
    Answer { status, headers, body }
}

fn get(place: &str, path: &str) -> Answer {
    ask(place, "GET", path, &[], "")
}

/// A request with JSON.
fn tell(place: &str, method: &str, path: &str, body: &Value) -> Answer {
    ask(place, method, path, &[("Content-Type", "application/json")], &body.to_string())
}

fn send(place: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(place).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let own = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    let host = if own { String::new() } else { format!("Host: {place}\r\n") };
    let rest = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<Vec<_>>().concat();
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let text = format!("{method} {path} HTTP/1.1\r\n{host}{rest}{length}Connection: close\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).expect("sent");
    BufReader::new(stream)
}

fn head(reader: &mut impl BufRead) -> (u16, BTreeMap<String, String>) {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).expect("read");
        line.trim_end().to_owned()
    };
    let first = line();
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status in {first:?}"));
    let mut headers = BTreeMap::new();
    loop {
        let text = line();
        let Some((name, value)) = text.split_once(':') else { return (status, headers) };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
}

/// A body that comes in chunks (RFC 9112, section 7.1).
struct Chunks {
    reader: BufReader<TcpStream>,
    left: usize,
}

impl Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            if line.trim().is_empty() {
                line.clear();
                self.reader.read_line(&mut line)?;
            }
            self.left = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
            if self.left == 0 {
                return Ok(0);
            }
        }
        let most = into.len().min(self.left);
        let length = self.reader.read(&mut into[..most])?;
        self.left -= length;
        Ok(length)
    }
}

/// Server-sent events: name and data.
struct Events(BufReader<Chunks>);

impl Events {
    fn open(place: &str, path: &str) -> Self {
        let mut reader = send(place, "GET", path, &[], "");
        let (status, headers) = head(&mut reader);
        assert_eq!((status, headers["content-type"].as_str()), (200, "text/event-stream"));
        let mut events = Self(BufReader::new(Chunks { reader, left: 0 }));
        // A comment says that it listens.
        let mut line = String::new();
        events.0.read_line(&mut line).expect("read");
        assert!(line.starts_with(':'), "{line:?}");
        events
    }

    fn next(&mut self) -> (String, String) {
        let (mut name, mut data) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).expect("read") > 0, "the events end");
            let line = line.trim_end_matches('\n');
            if let Some(text) = line.strip_prefix("event: ") {
                text.clone_into(&mut name);
            } else if let Some(text) = line.strip_prefix("data: ") {
                text.clone_into(&mut data);
            } else if line.is_empty() && !name.is_empty() {
                return (name, data);
            }
        }
    }
}
