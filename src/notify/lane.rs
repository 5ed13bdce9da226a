//! The way to one receiver: what is wanted goes into its queue.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval};

use super::end::{EndWatch, told_to_end};
use super::handover::Handover;
use super::limits::{Admission, Cause, Limiter, Now};
use super::queue::Queue;
use super::{Notice, NotifySettings};
use crate::error::Result;

/// Notices that are written together.
const BATCH: usize = 64;
/// Notices that wait in memory while the queue cannot be written.
const UNWRITTEN: usize = 256;
/// How often it is seen whether a summary is due, and what could not be written is tried again.
const TICK: Duration = Duration::from_secs(1);

/// Counts up.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What became of a receiver's notices, as it is counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    name: String,
    waiting: AtomicU64,
    pub(super) sent: Count,
    pub(super) failures: Count,
    /// By [`Cause`].
    held: [Count; Cause::ALL.len()],
    pub(super) lost_in_channel: Count,
    lost_in_queue: Count,
    lost_on_disk: Count,
    pub(super) refused: Count,
}

/// What became of the notices of one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifierCounts {
    /// The receiver.
    pub name: String,
    /// Those in its queue.
    pub waiting: u64,
    /// Those that it has said it has.
    pub sent: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Those held back, by `cooldown`, `quiet` and `rate`.
    pub held: [(&'static str, u64); 3],
    /// Those that it will never have: the `channel` to the queue was full, the `queue` was, the `disk` took nothing, or they
    /// were `refused`.
    pub lost: [(&'static str, u64); 4],
}

impl Counters {
    pub(super) fn read(&self) -> NotifierCounts {
        NotifierCounts {
            name: self.name.clone(),
            waiting: self.waiting.load(Ordering::Relaxed),
            sent: self.sent.get(),
            failures: self.failures.get(),
            held: Cause::ALL.map(|cause| (cause.as_str(), self.held[cause as usize].get())),
            lost: [
                ("channel", self.lost_in_channel.get()),
                ("queue", self.lost_in_queue.get()),
                ("disk", self.lost_on_disk.get()),
                ("refused", self.refused.get()),
            ],
        }
    }
}

/// The way to one receiver.
pub(super) struct Lane {
    pub(super) name: String,
    pub(super) queue: RefCell<Queue>,
    limiter: RefCell<Limiter>,
    /// Admitted, and not written yet.
    unwritten: RefCell<Vec<Notice>>,
    /// The queue could not be written.
    broken: Cell<bool>,
    /// Notices fell out of the queue, and it has not been empty since.
    overflows: Cell<bool>,
    /// No more notices come.
    pub(super) closed: Cell<bool>,
    /// Something waits, or no more comes.
    pub(super) news: Notify,
    pub(super) counters: Arc<Counters>,
}

impl Lane {
    pub(super) fn open(settings: &NotifySettings) -> Result<Self> {
        let queue = Queue::open(&settings.queue)?;
        if queue.len() > 0 {
            tracing::info!("notify {}: {} events wait from before", settings.name, queue.len());
        }
        let counters = Counters { name: settings.name.clone(), ..Counters::default() };
        let lane = Self {
            name: settings.name.clone(),
            queue: RefCell::new(queue),
            limiter: RefCell::new(Limiter::new(settings.limits.clone())),
            unwritten: RefCell::default(),
            broken: Cell::new(false),
            overflows: Cell::new(false),
            closed: Cell::new(false),
            news: Notify::new(),
            counters: Arc::new(counters),
        };
        lane.note_length();
        Ok(lane)
    }

    fn note_length(&self) {
        self.counters.waiting.store(self.queue.borrow().len(), Ordering::Relaxed);
    }

    /// Takes what is wanted of `notices`, and a summary where one is due.
    fn take(&self, notices: &[Notice], now: Now) {
        let mut limiter = self.limiter.borrow_mut();
        let mut unwritten = self.unwritten.borrow_mut();
        for notice in notices {
            // A start that an earlier run told is no news, and its end is owed.
            if notice.kind == super::START && self.queue.borrow().knows(&notice.id) {
                limiter.was_told(notice);
                continue;
            }
            match limiter.admit(notice, now) {
                Admission::Told => unwritten.push(notice.clone()),
                Admission::Held(cause) => self.counters.held[cause as usize].add(1),
                Admission::Unwanted => {}
            }
        }
        unwritten.extend(limiter.summary(&self.name, now));
        if unwritten.is_empty() {
            return;
        }
        let pushed = self.queue.borrow_mut().push(&unwritten);
        match pushed {
            Ok(fell) => {
                unwritten.clear();
                if self.broken.replace(false) {
                    tracing::info!("notify {}: its queue can be written again", self.name);
                }
                self.note_fallen(fell);
                self.note_length();
                self.news.notify_one();
            }
            Err(reason) => {
                if !self.broken.replace(true) {
                    tracing::error!("notify {}: its queue cannot be written: {reason}", self.name);
                }
                let most = unwritten.len().saturating_sub(UNWRITTEN);
                unwritten.drain(..most);
                self.counters.lost_on_disk.add(most as u64);
            }
        }
    }

    /// Says once that a queue overflows; how much it was is said when it is empty again.
    fn note_fallen(&self, fell: u64) {
        self.counters.lost_in_queue.add(fell);
        if fell > 0 && !self.overflows.replace(true) {
            tracing::warn!("notify {}: its queue is full; the oldest events fall out", self.name);
        }
    }

    /// A notice was told, or is given up.
    ///
    /// # Errors
    /// In words: the queue cannot be written.
    pub(super) fn done(&self, number: i64) -> std::result::Result<(), String> {
        self.queue.borrow_mut().remove(number)?;
        self.note_length();
        if self.queue.borrow().len() == 0 && self.overflows.replace(false) {
            let lost = self.counters.lost_in_queue.get();
            tracing::warn!("notify {}: its queue is empty again; {lost} events have fallen out so far", self.name);
        }
        Ok(())
    }
}

/// Takes notices as they come, for all receivers, until the end; what was published before the end is taken. `queued` hears how
/// many are in all queues.
pub(super) async fn take_all(
    lanes: Vec<Rc<Lane>>,
    mut inbox: mpsc::Receiver<Notice>,
    queued: Arc<Handover>,
    mut end: EndWatch,
) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut notices = Vec::new();
    let mut taken = 0;
    let mut ended = false;
    // Also where a panic ends it: nobody waits for what will not come.
    let _closing = Closing { lanes: &lanes, queued: &queued };
    while !ended {
        tokio::select! {
            count = inbox.recv_many(&mut notices, BATCH) => ended = count == 0,
            _ = ticks.tick() => {}
            () = told_to_end(&mut end) => {
                ended = true;
                while let Ok(notice) = inbox.try_recv() {
                    notices.push(notice);
                }
            }
        }
        let now = Now::read();
        for lane in &lanes {
            lane.take(&notices, now);
        }
        taken += notices.len() as u64;
        queued.taken();
        if lanes.iter().all(|lane| lane.unwritten.borrow().is_empty()) {
            queued.note(taken);
        }
        notices.clear();
    }
}

/// No more notices come, once it goes.
struct Closing<'a> {
    lanes: &'a [Rc<Lane>],
    queued: &'a Handover,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.queued.end();
        for lane in self.lanes {
            let unwritten = lane.unwritten.try_borrow().map_or(0, |unwritten| unwritten.len());
            if unwritten > 0 {
                tracing::error!("notify {}: {unwritten} events are lost, its queue cannot be written", lane.name);
                lane.counters.lost_on_disk.add(unwritten as u64);
            }
            lane.closed.set(true);
            lane.news.notify_one();
        }
    }
}
