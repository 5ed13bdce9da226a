//! What an operator sees of a run, and how it is told something while it goes on: metrics and probes over HTTP, a control
//! socket, changes of the query.

mod control;
mod http;
mod metrics;
mod queries;
mod rate;
mod status;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use crate::error::Result;
use crate::notify::{NotifierCounts, Notifiers};
use crate::page::PageSettings;
pub(crate) use control::{Command, Control, hide};
use http::HttpServer;
use metrics::Metrics;
pub(crate) use queries::{
    AskedStream, Compile, EditOutcome, EditResult, Queries, QueryEdit, QueryRequest, TrackingOf, check_all,
};
pub(crate) use status::{Found, Status};

/// Where an operator can look.
#[derive(Debug, Clone, Default)]
pub struct ServiceSettings {
    /// Metrics and probes over HTTP.
    pub metrics: Option<SocketAddr>,
    /// The control socket.
    pub control: Option<PathBuf>,
    /// The page.
    pub page: Option<PageSettings>,
}

/// The state of a run as an operator sees it. HTTP is served while somebody holds it.
pub(crate) struct Service {
    pub(crate) run_status: Arc<RunStatus>,
    _http: Option<HttpServer>,
}

/// What is known of a run.
pub(crate) struct RunStatus {
    metrics: Metrics,
    /// By stream.
    streams: Vec<Arc<Status>>,
    /// Models are loaded and queries compiled.
    started: AtomicBool,
    /// Clients by the server's address.
    clients: OnceLock<Vec<(SocketAddr, Arc<AtomicUsize>)>>,
    /// Folders of sightings, and the bytes that their files take.
    kept: OnceLock<Vec<(PathBuf, Arc<AtomicU64>)>>,
    /// Who is told what was seen.
    notifiers: OnceLock<Notifiers>,
}

impl Service {
    /// For streams with these names.
    ///
    /// # Errors
    /// The address for metrics is taken or not this machine's.
    pub(crate) fn start<'a>(settings: &ServiceSettings, streams: impl Iterator<Item = &'a str>) -> Result<Self> {
        let metrics = Metrics::new();
        let streams = streams.map(|name| Arc::new(Status::new(name, &metrics))).collect();
        let run_status = Arc::new(RunStatus {
            metrics,
            streams,
            started: AtomicBool::new(false),
            clients: OnceLock::new(),
            kept: OnceLock::new(),
            notifiers: OnceLock::new(),
        });
        let http = settings.metrics.map(|place| HttpServer::start(place, Arc::clone(&run_status))).transpose()?;
        Ok(Self { run_status, _http: http })
    }
}

impl RunStatus {
    /// Where a stream's frames are noted, counted from 0.
    pub(crate) fn stream(&self, number: usize) -> &Arc<Status> {
        &self.streams[number]
    }

    pub(crate) fn streams(&self) -> &[Arc<Status>] {
        &self.streams
    }

    /// Everything is loaded; frames are looked at as they come.
    pub(crate) fn set_started(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// Who watches, once servers are there.
    pub(crate) fn set_clients(&self, clients: Vec<(SocketAddr, Arc<AtomicUsize>)>) {
        // Servers are started once.
        let _ = self.clients.set(clients);
    }

    /// Where files of sightings are kept, and how many bytes they take, once that is known.
    pub(crate) fn set_kept(&self, kept: Vec<(PathBuf, Arc<AtomicU64>)>) {
        // Stores are opened once.
        let _ = self.kept.set(kept);
    }

    fn kept(&self) -> impl Iterator<Item = (String, u64)> {
        let kept = self.kept.get().map(Vec::as_slice).unwrap_or_default();
        kept.iter().map(|(folder, bytes)| (folder.display().to_string(), bytes.load(Ordering::Relaxed)))
    }

    /// Who is told, once they are.
    pub(crate) fn set_notifiers(&self, notifiers: Notifiers) {
        // They are started once.
        let _ = self.notifiers.set(notifiers);
    }

    fn notified(&self) -> Vec<NotifierCounts> {
        self.notifiers.get().map(Notifiers::counts).unwrap_or_default()
    }

    fn clients(&self) -> impl Iterator<Item = (String, usize)> {
        let clients = self.clients.get().map(Vec::as_slice).unwrap_or_default();
        clients.iter().map(|(place, count)| (place.to_string(), count.load(Ordering::Acquire)))
    }

    pub(crate) fn has_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    /// Frames come from every source that has not ended.
    pub(crate) fn is_ready(&self) -> bool {
        self.has_started() && self.streams.iter().all(|stream| stream.is_up() || stream.has_ended())
    }

    /// No frame waits for a model or a reader that does nothing.
    pub(crate) fn is_live(&self) -> bool {
        self.streams.iter().all(|stream| !stream.is_stuck())
    }

    /// All of it, as the control socket tells it.
    pub(crate) fn to_json(&self) -> Value {
        let clients: serde_json::Map<_, _> = self.clients().map(|(place, count)| (place, count.into())).collect();
        let streams: Vec<Value> = self.streams.iter().map(|stream| stream.to_json()).collect();
        let notified = self.notified();
        json!({ "started": self.has_started(), "ready": self.is_ready(), "live": self.is_live(), "rtsp_clients": clients,
            "streams": streams, "notify": notified.iter().map(notified_json).collect::<Vec<_>>() })
    }
}

/// What became of a receiver's notices.
fn notified_json(NotifierCounts { name, waiting, sent, failures, held, lost }: &NotifierCounts) -> Value {
    let by_cause = |counts: &[(&str, u64)]| -> Value {
        counts.iter().map(|(cause, count)| ((*cause).to_owned(), Value::from(*count))).collect()
    };
    json!({
        "name": name, "waiting": waiting, "sent": sent, "failures": failures, "held": by_cause(held),
        "lost": by_cause(lost),
    })
}
