//! A web server that does as a test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use super::certificates;
use crate::support::Scratch;

/// What it was sent.
#[derive(Debug, Clone)]
pub(super) struct Post {
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Post {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(super) fn id(&self) -> String {
        self.json()["id"].as_str().expect("an id").to_owned()
    }
}

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Status(u16),
    /// Not at all; the connection stays open.
    Nothing,
    /// It hangs up.
    HangUp,
}

type Behaviour = dyn Fn(&Post) -> Answer + Send + Sync;

/// A server on a port of this machine, until it goes.
pub(super) struct Receiver {
    port: u16,
    scheme: &'static str,
    shared: Arc<Shared>,
    listener: Arc<TcpListener>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    posts: Mutex<Vec<Post>>,
    taken: Mutex<Vec<Post>>,
    connections: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
    ending: AtomicBool,
    behaviour: Box<Behaviour>,
    tls: Option<Arc<ServerConfig>>,
}

impl Receiver {
    /// On any port, or on `port`.
    pub(super) fn start(port: u16, behaviour: impl Fn(&Post) -> Answer + Send + Sync + 'static) -> Self {
        Self::of(port, Box::new(behaviour), None)
    }

    /// With TLS and certificates in `scratch`.
    pub(super) fn with_tls(scratch: &Scratch, behaviour: impl Fn(&Post) -> Answer + Send + Sync + 'static) -> Self {
        certificates(scratch);
        let chain = CertificateDer::pem_file_iter(scratch.file("cert.pem")).expect("read");
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_file(scratch.file("key.pem")).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
        let config = config.with_single_cert(chain, key).expect("they belong together");
        Self::of(0, Box::new(behaviour), Some(Arc::new(config)))
    }

    fn of(port: u16, behaviour: Box<Behaviour>, tls: Option<Arc<ServerConfig>>) -> Self {
        // A port that was in use a moment ago is free again soon.
        let listener =
            crate::support::until("a free port", super::PATIENCE, || TcpListener::bind(("127.0.0.1", port)).ok());
        let listener = Arc::new(listener);
        let port = listener.local_addr().expect("an address").port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            posts: Mutex::default(),
            taken: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: Mutex::default(),
            ending: AtomicBool::new(false),
            behaviour,
            tls,
        });
        let (accepting, of_thread) = (Arc::clone(&listener), Arc::clone(&shared));
        let thread = std::thread::spawn(move || {
            for client in accepting.incoming() {
                if of_thread.ending.load(Ordering::Acquire) {
                    return;
                }
                let Ok(client) = client else { continue };
                of_thread.connections.fetch_add(1, Ordering::AcqRel);
                of_thread.open.lock().expect("whole").push(client.try_clone().expect("cloned"));
                let shared = Arc::clone(&of_thread);
                std::thread::spawn(move || match shared.tls.clone() {
                    Some(config) => {
                        let connection = ServerConnection::new(config).expect("a connection");
                        shared.serve(StreamOwned::new(connection, client));
                    }
                    None => shared.serve(client),
                });
            }
        });
        Self { port, scheme, shared, listener, thread: Some(thread) }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn address(&self) -> String {
        format!("{}://127.0.0.1:{}/hook", self.scheme, self.port)
    }

    /// All that came.
    pub(super) fn posts(&self) -> Vec<Post> {
        self.shared.posts.lock().expect("whole").clone()
    }

    /// What was answered with a success.
    pub(super) fn taken(&self) -> Vec<Post> {
        self.shared.taken.lock().expect("whole").clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Release);
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        for stream in self.shared.open.lock().expect("whole").drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        self.thread.take().expect("once").join().expect("ends");
    }
}

impl Shared {
    fn serve(&self, stream: impl Read + Write) {
        let mut stream = BufReader::new(stream);
        while let Some(post) = read(&mut stream) {
            self.posts.lock().expect("whole").push(post.clone());
            match (self.behaviour)(&post) {
                Answer::Status(status) => {
                    if status < 300 {
                        self.taken.lock().expect("whole").push(post);
                    }
                    let words = if status == 204 { "" } else { "Content-Length: 5\r\n\r\nwords" };
                    let end = if words.is_empty() { "\r\n" } else { "" };
                    let answer = format!("HTTP/1.1 {status} As told\r\n{words}{end}");
                    let out = stream.get_mut();
                    if out.write_all(answer.as_bytes()).and_then(|()| out.flush()).is_err() {
                        return;
                    }
                }
                Answer::Nothing => {}
                Answer::HangUp => return,
            }
        }
    }
}

/// A request; none where the client left.
fn read(stream: &mut impl BufRead) -> Option<Post> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    assert!(lines.first()?.starts_with("POST /hook HTTP/1.1"), "{lines:?}");
    let headers: Vec<(String, String)> = lines
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut post = Post { headers, body: Vec::new() };
    post.body.resize(post.header("content-length")?.parse().ok()?, 0);
    stream.read_exact(&mut post.body).ok()?;
    Some(post)
}
