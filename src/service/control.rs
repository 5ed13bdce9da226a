//! The control socket: one JSON object a line, one line of answer to each.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::secrets;

/// The longest line that is read, its end included.
const LONGEST: u64 = 64 * 1024;
/// Connections at once, at most.
const CONNECTIONS: usize = 16;
/// How long to wait where a client cannot be taken.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a client may take to take an answer.
const TO_LISTEN: Duration = Duration::from_secs(5);
/// Root may do everything anyway.
const ROOT: u32 = 0;

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Command {
    /// Look for something else.
    SetQuery {
        /// The sentence; as it is without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        query: Option<String>,
        /// Which query; the only one without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Presence from which on it counts as there; as it is without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        threshold: Option<f32>,
        /// One stream; all without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stream: Option<String>,
    },
    /// Look for something else too.
    AddQuery {
        /// The sentence.
        query: String,
        /// How it is called; by its sentence without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Presence from which on it counts as there; the run's without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        threshold: Option<f32>,
        /// Whether all that match are wanted.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        all: bool,
        /// One stream; all without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stream: Option<String>,
    },
    /// Look for something no more.
    RemoveQuery {
        /// How it is called.
        name: String,
        /// One stream; all without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stream: Option<String>,
    },
    /// Say how things are.
    Status,
    /// End the run.
    Stop,
}

/// What is done about a command; the fields of an answer, or why there is none.
type CommandHandler = dyn Fn(Command) -> Result<Value> + Send + Sync;

/// Listens until it goes, and takes its socket away then.
pub(crate) struct Control {
    path: PathBuf,
    /// Device and number of the socket: what is there later may be somebody else's.
    identity: (u64, u64),
    listener: Arc<UnixListener>,
    ending: Arc<AtomicBool>,
    connections: Connections,
    thread: Option<JoinHandle<()>>,
}

/// Those that are open.
#[derive(Clone, Default)]
struct Connections(Arc<Mutex<Vec<Connection>>>);

struct Connection {
    number: u64,
    stream: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// # Errors
    /// There is something else at that place, or another run listens there.
    pub(crate) fn start(
        path: &Path,
        handle: impl Fn(Command) -> Result<Value> + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = Arc::new(listen(path)?);
        let identity = identity(path).unwrap_or_default();
        let ending = Arc::new(AtomicBool::new(false));
        let connections = Connections::default();
        let thread = std::thread::Builder::new().name("control".into()).spawn({
            let (listener, ending, connections) = (Arc::clone(&listener), Arc::clone(&ending), connections.clone());
            let handle: Arc<CommandHandler> = Arc::new(handle);
            move || accept(&listener, &ending, &connections, &handle)
        });
        let thread = thread.map_err(Error::io("serve", path))?;
        tracing::info!("control socket at {}", path.display());
        Ok(Self { path: path.to_path_buf(), identity, listener, ending, connections, thread: Some(thread) })
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Drop for Control {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        // Nobody waits for the next client any more.
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        let open = std::mem::take(&mut *self.connections.lock());
        for Connection { stream, thread, .. } in open {
            // What is being answered is answered; nothing more is read.
            drop(stream.shutdown(Shutdown::Read));
            if let Some(thread) = thread {
                drop(thread.join());
            }
        }
        if identity(&self.path) == Some(self.identity) {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// The socket appears with its rights: it is made in a folder that nobody else may enter, and moved.
fn listen(path: &Path) -> Result<UnixListener> {
    let fail = |reason: String| Error::Usage(format!("--control unix:{}: {reason}", path.display()));
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(fail("is there and no socket, expected a free place".into()));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(fail("somebody else listens there".into())),
        // Left behind by a run that was killed; moving replaces it.
        _ => {}
    }
    let mut private = tempfile::Builder::new();
    private.prefix(".spotter").permissions(PermissionsExt::from_mode(0o700));
    let folder = private.tempdir_in(blocks::files::parent(path)).map_err(|e| fail(e.to_string()))?;
    let made = folder.path().join("socket");
    let listener = UnixListener::bind(&made).map_err(|e| fail(e.to_string()))?;
    std::fs::set_permissions(&made, PermissionsExt::from_mode(0o600)).map_err(|e| fail(e.to_string()))?;
    std::fs::rename(&made, path).map_err(|e| fail(e.to_string()))?;
    Ok(listener)
}

fn accept(listener: &UnixListener, ending: &AtomicBool, connections: &Connections, handle: &Arc<CommandHandler>) {
    for (number, stream) in (0..).zip(listener.incoming()) {
        if ending.load(Ordering::Acquire) {
            return;
        }
        let Ok(mut stream) = stream else {
            // Out of descriptors, for one.
            std::thread::sleep(PAUSE);
            continue;
        };
        if let Err(refusal) = check_peer(&stream, connections) {
            tracing::warn!("control: {refusal}");
            reply(&mut stream, &Err(Error::Usage(refusal)));
            continue;
        }
        let Ok(copy) = stream.try_clone() else { continue };
        // Nobody is waited for who asks and does not listen.
        drop(stream.set_write_timeout(Some(TO_LISTEN)));
        // Held until the thread is on the list, which it leaves by itself.
        let mut list = connections.lock();
        let (leaving, handle) = (connections.clone(), Arc::clone(handle));
        let serve = move || {
            serve_client(stream, &*handle);
            leaving.lock().retain(|other| other.number != number);
        };
        match std::thread::Builder::new().name("control".into()).spawn(serve) {
            Ok(thread) => list.push(Connection { number, stream: copy, thread: Some(thread) }),
            Err(error) => tracing::warn!("control: {error}"),
        }
    }
}

/// Refuses strangers, and more clients than there is any use for.
fn check_peer(stream: &UnixStream, connections: &Connections) -> std::result::Result<(), String> {
    let peer = rustix::net::sockopt::socket_peercred(stream).map_err(|e| format!("cannot tell who it is: {e}"))?;
    let (theirs, ours) = (peer.uid.as_raw(), rustix::process::geteuid().as_raw());
    if theirs != ours && theirs != ROOT {
        return Err(format!("user {theirs} is refused, only {ours} and root may give commands"));
    }
    match connections.lock().len() {
        CONNECTIONS.. => Err(format!("{CONNECTIONS} clients are connected, expected fewer")),
        _ => Ok(()),
    }
}

/// Answers line by line until the client leaves or goes too far.
fn serve_client(stream: UnixStream, handle: &CommandHandler) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(length) if length as u64 == LONGEST && line.last() != Some(&b'\n') => {
                let reason = format!("a line is longer than {LONGEST} bytes");
                reply(&mut writer, &Err(Error::Usage(reason)));
                // What follows is the rest of it.
                return;
            }
            Ok(_) if line.trim_ascii().is_empty() => {}
            Ok(_) => {
                let answer = match serde_json::from_slice(&line) {
                    Ok(command) => handle(command),
                    Err(error) => Err(Error::Usage(format!(
                        "{error}; expected an object as in {{\"command\": \"status\"}}, with set-query, add-query, \
                         remove-query, status or stop"
                    ))),
                };
                if !reply(&mut writer, &answer) {
                    return;
                }
            }
        }
    }
}

/// False where nobody listens.
fn reply(stream: &mut UnixStream, answer: &Result<Value>) -> bool {
    let mut line = match answer {
        Ok(Value::Object(fields)) => Value::Object(fields.clone()),
        Ok(_) => json!({}),
        Err(error) => json!({ "error": error.to_string() }),
    };
    hide(&mut line);
    line["ok"] = answer.is_ok().into();
    stream.write_all(format!("{line}\n").as_bytes()).is_ok()
}

/// Takes secrets out of texts, and leaves the form of an answer as it is, whatever they are.
pub(crate) fn hide(value: &mut Value) {
    match value {
        Value::String(text) => *text = secrets::hidden(text),
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::Object(fields) => fields.values_mut().for_each(hide),
        _ => {}
    }
}

impl Connections {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
