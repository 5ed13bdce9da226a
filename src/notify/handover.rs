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

    /// Some were taken, queued or not.
    pub(super) fn taken(&self) {
        // Locked, so that nobody looks before and waits after it.
        drop(self.counts());
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

    /// Waits until so many are queued, but not for longer than this, and not where no more will be.
    pub(super) fn wait(&self, number: u64, limit: Duration) {
        let is_awaited = |counts: &mut Counts| counts.queued < number && !counts.over;
        drop(self.changed.wait_timeout_while(self.counts(), limit, is_awaited));
    }

    /// Waits until there is `room`, which is looked at whenever something was taken, but not for longer than this.
    pub(super) fn wait_for(&self, limit: Duration, room: impl Fn() -> bool) {
        let is_awaited = |counts: &mut Counts| !counts.over && !room();
        drop(self.changed.wait_timeout_while(self.counts(), limit, is_awaited));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// So long that a test which waits for it fails by its time.
    const LONG: Duration = Duration::from_hours(1);

    #[test]
    fn what_was_not_sent_is_not_counted() {
        let handover = Handover::default();
        assert!(handover.one(|| true) && !handover.one(|| false) && handover.one(|| true));
        assert_eq!((handover.handed_over(), handover.queued()), (2, 0));
        handover.note(1);
        assert_eq!(handover.queued(), 1);
    }

    #[test]
    fn who_waits_goes_on_when_so_many_are_queued_when_time_is_up_and_when_no_more_will_be() {
        let handover = Handover::default();
        handover.wait(0, LONG);
        handover.wait(1, Duration::ZERO);
        assert_eq!(handover.queued(), 0);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                handover.wait(2, LONG);
                handover.queued()
            });
            (1..=2).for_each(|queued| handover.note(queued));
            assert_eq!(waiter.join().expect("no panic"), 2);
            let waiter = scope.spawn(|| handover.wait(3, LONG));
            handover.end();
            waiter.join().expect("no panic");
        });
    }

    #[test]
    fn who_waits_for_room_sees_it_when_something_is_taken() {
        let (handover, full) = (Handover::default(), AtomicUsize::new(3));
        handover.wait_for(Duration::ZERO, || full.load(Ordering::Acquire) == 0);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| handover.wait_for(LONG, || full.load(Ordering::Acquire) == 0));
            for _ in 0..3 {
                full.fetch_sub(1, Ordering::AcqRel);
                handover.taken();
            }
            waiter.join().expect("no panic");
        });
        full.store(1, Ordering::Release);
        handover.end();
        handover.wait_for(LONG, || full.load(Ordering::Acquire) == 0);
    }
}
