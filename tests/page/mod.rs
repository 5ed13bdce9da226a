//! The page: who may see it, its API against its description, findings as they come, and viewers who are slow.

mod access;
mod api;
mod asking;
mod browser;
mod film;
mod live;
mod places;
mod seen;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::served::Service;

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
