//! RTSP out, and what an operator has: other people's players, many of them, changes of the query, metrics.

mod access;
mod control;
mod crowd;
mod deploy;
mod endless;
mod home;
mod metrics;
mod notify;
mod players;
mod queries;
mod quiet;
mod together;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use serde_json::Value;

use crate::support::{command, of_one_query, tool, until};

/// How long anything may take to happen.
const PATIENCE: Duration = Duration::from_mins(1);

/// The program as a service, in a process of its own.
pub(crate) struct Service {
    child: Child,
    /// Messages.
    pub(crate) messages: Receiver<String>,
    /// Records.
    pub(crate) records: Receiver<String>,
}

impl Service {
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::of(command(&[&["run"], flags].concat()))
    }

    fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        let (messages, records) =
            (lines(child.stderr.take().expect("piped")), lines(child.stdout.take().expect("piped")));
        Self { child, messages, records }
    }

    pub(crate) fn id(&self) -> String {
        self.child.id().to_string()
    }

    /// What stands behind `what` in the first message that has it.
    pub(crate) fn told(&self, what: &str) -> String {
        let mut before = Vec::new();
        let line = wait(&self.messages, what, |line| {
            before.push(line.to_owned());
            line.contains(what)
        });
        line.split_once(what).expect("is there").1.trim().to_owned()
    }

    /// Where it serves; asked once for every place, in the order of ports.
    fn address(&self) -> String {
        let told = self.told("serves ");
        told.split(' ').next().unwrap_or_default().to_owned()
    }

    /// The next record that is looked for.
    pub(crate) fn record(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let line = wait(&self.records, what, |line| wanted(&parsed(line)));
        parsed(&line)
    }

    /// Ends it as an operator does, and says how it ended, with all records that are left.
    pub(crate) fn stop(mut self) -> (ExitStatus, Vec<Value>) {
        tool("kill", &["-TERM", &self.id()]);
        let records: Vec<Value> = self.records.iter().map(|line| parsed(&line)).collect();
        (self.child.wait().expect("ends"), records)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let ended = self.child.try_wait().ok().flatten();
            let said: Vec<String> = self.messages.try_iter().collect();
            crate::support::aloud(&format!("the service (ended: {ended:?}) said last:\n{}", said.join("\n")));
        }
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parsed(line: &str) -> Value {
    of_one_query(serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}")))
}

/// The lines of a pipe, read as they come, so that nobody waits for a reader.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (say, lines) = bounded(100_000);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if say.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn wait(lines: &Receiver<String>, what: &str, mut wanted: impl FnMut(&str) -> bool) -> String {
    let (began, mut last) = (Instant::now(), String::new());
    loop {
        match lines.recv_timeout(PATIENCE.saturating_sub(began.elapsed())) {
            Ok(line) if wanted(&line) => return line,
            Ok(line) => last = line,
            Err(RecvTimeoutError::Timeout) => panic!("no {what} within {PATIENCE:?}; the last line: {last}"),
            Err(RecvTimeoutError::Disconnected) => panic!("no {what} until the end; the last line: {last}"),
        }
    }
}

/// An HTTP page: status and text.
fn page(place: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(place).expect("connects");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("answers");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

/// A conversation over a control socket.
struct Line {
    reader: BufReader<UnixStream>,
}

impl Line {
    fn to(path: &str) -> Self {
        let stream = until("control socket", PATIENCE, || UnixStream::connect(path).ok());
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        Self { reader: BufReader::new(stream) }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).expect("sent");
    }

    /// The next answer; none where the other side hung up.
    fn answer(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.reader.read_line(&mut line).ok().filter(|length| *length > 0).map(|_| parsed(&line))
    }

    fn ask(&mut self, command: &Value) -> Value {
        self.send(format!("{command}\n").as_bytes());
        self.answer().expect("an answer")
    }
}
