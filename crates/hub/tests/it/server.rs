//! A hub on loopback, with a second server for large files, as the real one has: redirects, headers of linked files, marks,
//! parts. Tests say where it is to misbehave.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use blocks::files::hex;
use sha2::{Digest, Sha256};

/// The repository that it has.
pub(crate) const REPOSITORY: &str = "lab/model";
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// What addresses of large files are signed with.
pub(crate) const SIGNATURE: &str = "Signature=s3cr3t";

/// Which of both servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Hub,
    Cdn,
}

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) side: Side,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The first byte that is wanted.
    pub(crate) fn from(&self) -> usize {
        let range = self.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        range.map_or(0, |from| from.parse().expect("a number"))
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// As long as the headers say, but it breaks off after so many bytes of its body.
    Cut {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
        after: usize,
    },
    /// The same, but it falls silent there.
    Stalled {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
        after: usize,
    },
    /// Nothing, for as long as whoever asks keeps the connection.
    Silence,
}

impl Reply {
    pub(crate) fn status(status: u16, headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self::Answer { status, headers, body: Vec::new() }
    }

    pub(crate) fn page() -> Self {
        let headers = vec![("Content-Type".to_owned(), "text/html; charset=utf-8".to_owned())];
        Self::Answer { status: 200, headers, body: b"<html>log in</html>".to_vec() }
    }

    /// The same, broken off.
    pub(crate) fn cut(self, after: usize) -> Self {
        match self {
            Self::Answer { status, headers, body } => Self::Cut { status, headers, body, after },
            other => other,
        }
    }
}

/// A file; large ones are linked.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    pub(crate) bytes: Vec<u8>,
    pub(crate) linked: bool,
}

type Fault = Arc<dyn Fn(&Asked, &Reply) -> Option<Reply> + Send + Sync>;

struct State {
    hub: String,
    cdn: String,
    commit: Mutex<String>,
    files: Mutex<BTreeMap<String, Blob>>,
    asked: Mutex<Vec<Asked>>,
    fault: Mutex<Option<Fault>>,
}

/// Answers until the test ends.
#[derive(Clone)]
pub(crate) struct HubServer(Arc<State>);

impl HubServer {
    pub(crate) fn start(files: &[(&str, &[u8], bool)]) -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = |listener: &TcpListener| format!("http://{}", listener.local_addr().expect("an address"));
        let (hub, cdn) = (listen(), listen());
        let state = State {
            hub: address(&hub),
            cdn: address(&cdn),
            commit: Mutex::new(COMMIT.to_owned()),
            files: Mutex::default(),
            asked: Mutex::default(),
            fault: Mutex::new(None),
        };
        let server = Self(Arc::new(state));
        for (name, bytes, linked) in files {
            server.put(name, bytes, *linked);
        }
        for (listener, side) in [(hub, Side::Hub), (cdn, Side::Cdn)] {
            let server = server.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let server = server.clone();
                    // Who asks may go at any time.
                    std::thread::spawn(move || drop(server.serve(&stream, side)));
                }
            });
        }
        server
    }

    /// Its address, for `HF_ENDPOINT`.
    pub(crate) fn address(&self) -> &str {
        &self.0.hub
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8], linked: bool) {
        let blob = Blob { bytes: bytes.to_vec(), linked };
        self.0.files.lock().expect("files").insert(name.to_owned(), blob);
    }

    pub(crate) fn remove(&self, name: &str) {
        self.0.files.lock().expect("files").remove(name);
    }

    /// The branch goes on.
    pub(crate) fn commit(&self, commit: &str) {
        commit.clone_into(&mut self.0.commit.lock().expect("a commit"));
    }

    /// From now on what `fault` gives is answered in place of what it is shown.
    pub(crate) fn misbehave(&self, fault: impl Fn(&Asked, &Reply) -> Option<Reply> + Send + Sync + 'static) {
        *self.0.fault.lock().expect("a fault") = Some(Arc::new(fault));
    }

    /// All that was asked for so far, in order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.0.asked.lock().expect("what was asked").clone()
    }

    /// How often files were asked for at the second server, by file.
    pub(crate) fn downloads(&self) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.side == Side::Cdn && asked.method == "GET").collect()
    }

    fn serve(&self, stream: &TcpStream, side: Side) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        while let Some(asked) = read(&mut reader, side)? {
            self.0.asked.lock().expect("what was asked").push(asked.clone());
            let usual = match side {
                Side::Hub => self.hub(&asked),
                Side::Cdn => self.cdn(&asked),
            };
            // A fault may take its time, and others go on meanwhile.
            let fault = self.0.fault.lock().expect("a fault").clone();
            match fault.and_then(|fault| fault(&asked, &usual)).unwrap_or(usual) {
                Reply::Answer { status, headers, body } => {
                    write(stream, &asked, status, &headers, (&body, body.len()))?;
                }
                Reply::Cut { status, headers, body, after } => {
                    write(stream, &asked, status, &headers, (&body, after))?;
                    return stream.shutdown(std::net::Shutdown::Both);
                }
                Reply::Stalled { status, headers, body, after } => {
                    write(stream, &asked, status, &headers, (&body, after))?;
                    while reader.read_line(&mut String::new())? > 0 {}
                }
                Reply::Silence => while reader.read_line(&mut String::new())? > 0 {},
            }
        }
        Ok(())
    }

    fn hub(&self, asked: &Asked) -> Reply {
        let commit = self.0.commit.lock().expect("a commit").clone();
        let missing = |code: &str| Reply::status(404, &[("X-Error-Code", code), ("X-Error-Message", "Not here")]);
        let path = asked.path.split('?').next().unwrap_or_default();
        let direct = path.strip_prefix(&format!("/api/resolve-cache/models/{REPOSITORY}/{commit}/"));
        let behind = path.strip_prefix(&format!("/{REPOSITORY}/resolve/"));
        let (revision, file) = match (direct, behind.and_then(|rest| rest.split_once('/'))) {
            (Some(file), _) => (commit.as_str(), file),
            (None, Some((revision, file))) => (revision, file),
            // What nobody may know of is not told apart from what is not there.
            (None, None) => return Reply::status(401, &[("X-Error-Code", "RepoNotFound")]),
        };
        if revision != "main" && revision != commit {
            return missing("RevisionNotFound");
        }
        let files = self.0.files.lock().expect("files");
        let Some(blob) = files.get(file) else { return missing("EntryNotFound") };
        let sum = hex(&Sha256::digest(&blob.bytes));
        let head = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut headers = vec![head("X-Repo-Commit", &commit)];
        if blob.linked {
            headers.push(head("X-Linked-Size", &blob.bytes.len().to_string()));
            headers.push(head("X-Linked-ETag", &format!("\"{sum}\"")));
            headers.push(head("Location", &format!("{}/blobs/{file}?{SIGNATURE}", self.0.cdn)));
            return Reply::Answer { status: 302, headers, body: b"Found".to_vec() };
        }
        headers.push(head("ETag", &format!("\"{}\"", &sum[..40])));
        if direct.is_none() {
            headers.push(head("Location", &format!("/api/resolve-cache/models/{REPOSITORY}/{commit}/{file}?x")));
            return Reply::Answer { status: 307, headers, body: Vec::new() };
        }
        headers.push(head("Content-Type", "text/plain; charset=utf-8"));
        part(asked, headers, &blob.bytes)
    }

    fn cdn(&self, asked: &Asked) -> Reply {
        let files = self.0.files.lock().expect("files");
        let file = asked.path.strip_prefix("/blobs/").and_then(|rest| rest.strip_suffix(&format!("?{SIGNATURE}")));
        let Some(blob) = file.and_then(|file| files.get(file)) else { return Reply::status(403, &[]) };
        let mark = format!("\"{}\"", hex(&Sha256::digest(&blob.bytes)[..16]));
        part(asked, vec![("ETag".to_owned(), mark)], &blob.bytes)
    }
}

/// All of it, or what is asked for.
fn part(asked: &Asked, mut headers: Vec<(String, String)>, bytes: &[u8]) -> Reply {
    let mark = headers.iter().find(|(name, _)| name == "ETag").map(|(_, mark)| mark.as_str());
    let from = if asked.header("if-range").is_none_or(|wanted| Some(wanted) == mark) { asked.from() } else { 0 };
    if from == 0 {
        return Reply::Answer { status: 200, headers, body: bytes.to_vec() };
    }
    if from >= bytes.len() {
        return Reply::Answer { status: 416, headers, body: Vec::new() };
    }
    headers.push(("Content-Range".to_owned(), format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len())));
    Reply::Answer { status: 206, headers, body: bytes[from..].to_vec() }
}

fn read(reader: &mut BufReader<&TcpStream>, side: Side) -> std::io::Result<Option<Asked>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Ok(Some(Asked { side, method, path, headers }))
}

fn write(
    mut stream: &TcpStream,
    asked: &Asked,
    status: u16,
    headers: &[(String, String)],
    (body, sent): (&[u8], usize),
) -> std::io::Result<()> {
    let mut head = vec![format!("HTTP/1.1 {status} Answer\r\nContent-Length: {}\r\n", body.len())];
    head.extend(headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
    stream.write_all(format!("{}\r\n", head.concat()).as_bytes())?;
    if asked.method != "HEAD" {
        stream.write_all(&body[..sent.min(body.len())])?;
    }
    stream.flush()
}
