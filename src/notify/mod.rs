//! Telling others what was seen: webhooks, MQTT with Home Assistant, NATS and files, each through a queue on disk, so that
//! nothing is lost while nobody listens.
//!
//! One thread serves all receivers. What a stream publishes goes through a bounded channel to that thread, which writes it
//! into the queue of every receiver that wants it; from there it is told in order, at least once, until the receiver has
//! said that it has it. A stream is never held up: where the channel is full, because the disk of the queues takes nothing
//! for a while, what comes then is lost, counted and said.

mod board;
mod deliver;
mod end;
mod entry;
mod file;
mod handover;
mod home_assistant;
mod lane;
mod limits;
mod mqtt;
mod nats;
mod queue;
mod settings;
pub(crate) mod tls;
mod topics;
mod webhook;

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use crate::error::{Error, Result};
pub use crate::limits::QuietHours;
use board::Board;
pub use board::Watched;
use end::Ending;
pub use entry::NotifyEntry;
use handover::Handover;
pub use lane::NotifierCounts;
use lane::{Counters, Lane};
pub use limits::Limits;
pub use queue::QueueSettings;
pub use settings::{Key, MqttSettings, NatsSettings, NotifySettings, Peer, Receiver, SnapshotForm, WebhookSettings};

/// Something came.
pub const START: &str = "sighting_start";
/// It is still there, or a better picture of it.
pub const UPDATE: &str = "sighting_update";
/// It went.
pub const END: &str = "sighting_end";
/// Kinds of events that receivers can choose among.
pub const KINDS: [&str; 3] = [START, UPDATE, END];
/// What the kind of a summary is called.
pub const HELD_BACK: &str = "held_back";

/// Something to tell.
#[derive(Debug, Clone)]
pub struct Notice {
    /// Of this event alone, in any run: what is published twice under one id is told once.
    pub id: String,
    /// The stream.
    pub stream: String,
    /// The query's name.
    pub query: String,
    /// Which event it is: `sighting_start` and so on.
    pub kind: String,
    /// The event's line, a JSON object.
    pub event: Value,
    /// A picture, as JPEG.
    pub snapshot: Option<Arc<[u8]>>,
}

impl Notice {
    /// What receivers get: the event with its id, a JSON object in one line.
    fn line(&self) -> String {
        let mut event = self.event.clone();
        event["id"] = self.id.as_str().into();
        event.to_string()
    }
}

/// Changes what a stream looks for: the names of stream and query, and the new sentence. May take its time.
pub type SetQuery = Arc<dyn Fn(&str, &str, &str) -> Result<()> + Send + Sync>;

/// Notices that wait to be written into the queues. With pictures, they take a few hundred kilobytes each.
const CHANNEL: usize = 256;
/// How long what an earlier run owes waits for room in the channel.
const OWED: Duration = Duration::from_secs(10);
/// How long things that were begun may take after the end, such as compiling a sentence.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// Tells receivers. Copies lead to the same.
#[derive(Clone)]
pub struct Notifiers(Option<Arc<Running>>);

struct Running {
    notices: mpsc::Sender<Notice>,
    board: Arc<Board>,
    counters: Vec<Arc<Counters>>,
    handover: Arc<Handover>,
    /// The channel was full when something was published last.
    full: AtomicBool,
    end: watch::Sender<Ending>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Notifiers {
    /// Nobody is told anything.
    pub fn none() -> Self {
        Self(None)
    }

    /// Whether nobody is told anything.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Opens the queues and begins to tell what waits there. `watched` are the streams of the run and what they are asked;
    /// `set_query` is called where somebody wants another sentence, none where nobody may.
    ///
    /// # Errors
    /// A queue cannot be opened, or the system has no thread to give.
    pub fn start(settings: &[NotifySettings], watched: &[Watched], set_query: Option<SetQuery>) -> Result<Self> {
        if settings.is_empty() {
            return Ok(Self::none());
        }
        let lanes = settings.iter().map(Lane::open).collect::<Result<Vec<_>>>()?;
        let counters = lanes.iter().map(|lane| Arc::clone(&lane.counters)).collect();
        let board = Arc::new(Board::new(watched));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Error::Worker(format!("notify: {e}")))?;
        let (notices, inbox) = mpsc::channel(CHANNEL);
        let (end, ending) = watch::channel(None);
        let (settings, for_thread) = (settings.to_vec(), Arc::clone(&board));
        let handover = Arc::<Handover>::default();
        let queued = Arc::clone(&handover);
        let serve = move || {
            let lanes: Vec<Rc<Lane>> = lanes.into_iter().map(Rc::new).collect();
            let all = LocalSet::new();
            for (lane, settings) in lanes.iter().zip(&settings) {
                let (lane, ending) = (Rc::clone(lane), ending.clone());
                match &settings.receiver {
                    Receiver::Webhook(webhook) => {
                        let target = webhook::Webhook::new(webhook, settings.timeout);
                        all.spawn_local(deliver::run(lane, target, settings.clone(), ending));
                    }
                    Receiver::Mqtt(mqtt) => {
                        let (board, set_query) = (Arc::clone(&for_thread), set_query.clone());
                        let target = mqtt::Mqtt::new(mqtt, settings.timeout, Rc::clone(&lane), board, set_query);
                        all.spawn_local(deliver::run(lane, target, settings.clone(), ending));
                    }
                    Receiver::Nats(nats) => {
                        let target = nats::Nats::new(nats, settings.timeout);
                        all.spawn_local(deliver::run(lane, target, settings.clone(), ending));
                    }
                    Receiver::File(path, rotation) => {
                        let target = file::LinesFile::new(path, *rotation);
                        all.spawn_local(deliver::run(lane, target, settings.clone(), ending));
                    }
                }
            }
            all.spawn_local(lane::take_all(lanes, inbox, queued, ending));
            // All tasks end by themselves once they are told to.
            runtime.block_on(all);
            runtime.shutdown_timeout(AFTERWARDS);
        };
        let thread = std::thread::Builder::new().name("notify".into()).spawn(serve);
        let thread = Mutex::new(Some(thread.map_err(|e| Error::Worker(format!("notify: {e}")))?));
        let full = AtomicBool::new(false);
        Ok(Self(Some(Arc::new(Running { notices, board, counters, handover, full, end, thread }))))
    }

    /// Hands over something to tell. Returns at once.
    pub fn publish(&self, notice: &Notice) {
        let Some(running) = &self.0 else { return };
        // Copied before anybody else waits for it.
        let notice = notice.clone();
        let full = !running.handover.one(|| running.notices.try_send(notice).is_ok());
        if full {
            running.counters.iter().for_each(|counters| counters.lost_in_channel.add(1));
        }
        if running.full.swap(full, Ordering::AcqRel) != full {
            if full {
                tracing::error!("notify: the disk does not keep up; events are lost until it does");
            } else {
                let lost: u64 = running.counters.first().map_or(0, |counters| counters.lost_in_channel.get());
                tracing::warn!("notify: events are queued again; {lost} were lost so far");
            }
        }
    }

    /// Hands over something that an earlier run owes. There may be more of it than the channel holds, and no frame is there yet
    /// that would be held up.
    ///
    /// # Blocking
    /// Until there is room in the channel, for ten seconds at most.
    pub fn publish_owed(&self, notice: &Notice) {
        if let Some(running) = &self.0 {
            running.handover.wait_for(OWED, || running.notices.capacity() > 0);
        }
        self.publish(notice);
    }

    /// How much was handed over until now, by all streams.
    pub fn handed_over(&self) -> u64 {
        self.0.as_ref().map_or(0, |running| running.handover.handed_over())
    }

    /// How much of it is in the queues of all who want it, where it outlasts the process. Nothing is missing where nobody is told
    /// anything.
    pub fn queued(&self) -> u64 {
        self.0.as_ref().map_or(u64::MAX, |running| running.handover.queued())
    }

    /// Waits until so much is, but not for longer than this.
    pub fn wait_until_queued(&self, number: u64, limit: Duration) {
        if let Some(running) = &self.0 {
            running.handover.wait(number, limit);
        }
    }

    /// Whether a query's thing is there, and how many there are.
    pub fn state(&self, stream: &str, query: &str, present: bool, count: usize) {
        let Some(running) = &self.0 else { return };
        running.board.change(stream, |state| {
            if let Some(state) = state.queries.get_mut(query) {
                (state.present, state.count) = (present, count);
            }
        });
    }

    /// Whether frames come from a stream.
    pub fn available(&self, stream: &str, up: bool) {
        let Some(running) = &self.0 else { return };
        running.board.change(stream, |state| state.up = up);
    }

    /// What a stream is asked from now on: names and sentences.
    pub fn queries(&self, stream: &str, queries: &[(String, String)]) {
        if let Some(running) = &self.0 {
            running.board.ask(stream, queries);
        }
    }

    /// What became of notices, by receiver.
    pub fn counts(&self) -> Vec<NotifierCounts> {
        self.0.iter().flat_map(|running| &running.counters).map(|counters| counters.read()).collect()
    }

    /// Tells what waits, for so long at most; who fails then is not tried again. The rest waits for the next start. Does
    /// nothing the second time.
    pub fn finish(&self, timeout: Duration) {
        if let Some(running) = &self.0 {
            running.finish(timeout);
        }
    }
}

impl Running {
    fn finish(&self, timeout: Duration) {
        // Nobody listens any more where the thread is gone already.
        self.end.send_replace(Some(Instant::now() + timeout));
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("notify: its thread ended by an error of the program; what waited stays in the queues");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.finish(Duration::ZERO);
    }
}
