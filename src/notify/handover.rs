//! How many notices were handed over, and how many of them are in the queues of all who want them.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Counted by those who publish and by the thread that takes.
#[derive(Debug, Default)]
pub(super) struct Handover {
    counts: Mutex<Counts>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Counts {
    handed_over: u64,
    queued: u64,
    /// No more are queued.
    over: bool,
}

impl Handover {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over one by way of `send`, which says whether that went well.
    pub(super) fn one(&self, send: impl FnOnce() -> bool) -> bool {
        // Locked, so that they are counted in the order in which they are sent.
        let mut counts = self.counts();
        let sent = send();
        counts.handed_over += u64::from(sent);
        sent
    }

    pub(super) fn handed_over(&self) -> u64 {
        self.counts().handed_over
    }

    /// So many of those that were handed over are queued by now.
    pub(super) fn note(&self, queued: u64) {
        self.counts().queued = queued;
        self.changed.notify_all();
    }

    /// No more will be.
    pub(super) fn end(&self) {
        self.counts().over = true;
        self.changed.notify_all();
    }

    pub(super) fn queued(&self) -> u64 {
        self.counts().queued
    }

    /// Waits until so many are queued, but not for longer than this.
    pub(super) fn wait(&self, number: u64, limit: Duration) {
        let is_awaited = |counts: &mut Counts| counts.queued < number && !counts.over;
        drop(self.changed.wait_timeout_while(self.counts(), limit, is_awaited));
    }
}
