//! The page: one small server in the program that shows what the run sees, and takes questions. Everything that the page knows, it
//! knows by its API (docs/openapi.json), which programs use as well.

mod access;
mod api;
mod archives;
mod assets;
mod file;
mod film;
mod h264;
mod live;
mod mjpeg;
mod pictures;
mod playable;
mod reply;
mod request;
mod routes;
mod server;
mod socket;
mod watching;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Result;
use crate::service::{Command, Queries, RunStatus};
use access::Access;
pub(crate) use archives::Archives;
pub(crate) use live::LiveStream;
use playable::Playable;
use reply::Refusal;
pub(crate) use server::PageServer;

/// Who watches at once, at most, in any of the ways in which one can.
const VIEWERS: usize = 64;

/// Where the page is, and for whom.
#[derive(Debug, Clone)]
pub struct PageSettings {
    /// Where to listen. Port 0 takes any that is free.
    pub place: SocketAddr,
    /// Certificate and key in one PEM file; without it, no TLS.
    pub tls: Option<PathBuf>,
    /// Names beside `localhost` and addresses by which browsers may come.
    pub hosts: Vec<String>,
    /// A file with the hash of a password.
    pub password: Option<PathBuf>,
    /// A file with the token of programs.
    pub token: Option<PathBuf>,
}

/// What is done about a command; the fields of an answer, or why there is none.
pub(crate) type CommandHandler = Arc<dyn Fn(Command) -> Result<Value> + Send + Sync>;

/// What the page shows.
pub(crate) struct Shown {
    pub(crate) streams: Vec<Arc<LiveStream>>,
    pub(crate) run_status: Arc<RunStatus>,
    pub(crate) queries: Arc<Queries>,
    pub(crate) command: CommandHandler,
    /// What was seen, where it is kept.
    pub(crate) archives: Archives,
    /// What runs: program, model, device.
    pub(crate) about: Value,
}

/// What all answers are made of.
struct Context {
    access: Access,
    shown: Shown,
    viewers: Arc<Semaphore>,
    /// Clips, encoded for browsers.
    playable: Playable,
}

impl Context {
    /// A place for one who watches, while it is kept.
    fn viewer(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let reason = format!("{VIEWERS} watch already");
        let full = || Refusal::new(hyper::StatusCode::SERVICE_UNAVAILABLE, reason);
        Arc::clone(&self.viewers).try_acquire_owned().map_err(|_| full())
    }

    fn stream(&self, name: &str) -> Result<&Arc<LiveStream>, Refusal> {
        let found = self.shown.streams.iter().find(|stream| stream.name == name);
        found.ok_or_else(|| Refusal::not_found(&format!("stream {name}")))
    }
}
