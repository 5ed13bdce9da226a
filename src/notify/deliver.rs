//! Telling one receiver what waits for it, in order, until it has it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::NotifySettings;
use super::end::{EndWatch, told_to_end, too_late};
use super::lane::Lane;
use super::queue::Waiting;
use crate::secrets::hidden;
use crate::source::Reconnect;

/// After so many refusals a notice is left out.
const REFUSALS: u32 = 3;
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long to wait where what was told cannot be taken out of the queue.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a receiver does not have a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may have it later.
    Away(String),
    /// It wants others, and not this one.
    Refused(String),
}

/// Somebody to tell. Whatever fails leaves it ready for the next attempt.
pub(super) trait Target {
    /// Tells a notice. Done once the receiver has said that it has it.
    async fn send(&mut self, waiting: &Waiting) -> Result<(), Failure>;

    /// Keeps in touch while nothing waits, until there are `news`. True where the receiver was heard of.
    async fn idle(&mut self, news: &Notify) -> Result<bool, Failure> {
        news.notified().await;
        Ok(false)
    }

    /// Says farewell.
    async fn close(&mut self) {}
}

/// What goes wrong, said once when it begins and once when it is over.
struct Trouble {
    since: Option<Instant>,
    failures: u64,
    /// Refusals of the notice that waits longest.
    refusals: u32,
}

/// Tells what waits until the end, and then what is left, until it is told, takes too long, or fails.
pub(super) async fn run(lane: Rc<Lane>, mut target: impl Target, settings: NotifySettings, mut end: EndWatch) {
    let waits = Reconnect {
        interval: settings.retry_interval,
        max_interval: settings.retry_max_interval,
        ..Reconnect::default()
    };
    let mut trouble = Trouble { since: None, failures: 0, refusals: 0 };
    loop {
        let first = lane.queue.borrow().first();
        let failure = match first {
            Err(reason) => Failure::Away(format!("its queue cannot be read: {reason}")),
            Ok(None) if lane.closed.get() => break,
            Ok(None) => {
                let heard = tokio::select! {
                    heard = target.idle(&lane.news) => heard,
                    () = too_late(&mut end) => break,
                };
                match heard {
                    Ok(heard) => {
                        if heard {
                            trouble.over(&lane);
                        }
                        continue;
                    }
                    Err(failure) => failure,
                }
            }
            Ok(Some(waiting)) => {
                let sent = tokio::select! {
                    sent = target.send(&waiting) => sent,
                    () = too_late(&mut end) => break,
                };
                match sent {
                    Ok(()) => {
                        lane.counters.sent.add(1);
                        trouble.over(&lane);
                        if !take_out(&lane, waiting.number, &mut end).await {
                            break;
                        }
                        continue;
                    }
                    Err(Failure::Refused(reason)) if trouble.refusals + 1 >= REFUSALS => {
                        lane.counters.failures.add(1);
                        lane.counters.refused.add(1);
                        let reason = hidden(&reason);
                        tracing::warn!("notify {}: event {} is left out: {reason}", lane.name, waiting.id);
                        trouble.refusals = 0;
                        if !take_out(&lane, waiting.number, &mut end).await {
                            break;
                        }
                        continue;
                    }
                    Err(failure) => failure,
                }
            }
        };
        trouble.note(&lane, failure);
        if lane.closed.get() {
            break;
        }
        tokio::select! {
            () = sleep(waits.jittered(trouble.failures)) => {}
            // Once more, and not again.
            () = told_to_end(&mut end) => lane.until_closed().await,
        }
    }
    // Whoever does not listen is not waited for.
    let _ = timeout(FAREWELL, target.close()).await;
    let left = lane.queue.borrow().len();
    if left > 0 {
        tracing::warn!("notify {}: {left} events wait for the next start", lane.name);
    }
}

impl Lane {
    /// Waits until no more notices come.
    async fn until_closed(&self) {
        while !self.closed.get() {
            self.news.notified().await;
        }
    }
}

impl Trouble {
    fn note(&mut self, lane: &Lane, failure: Failure) {
        lane.counters.failures.add(1);
        self.failures += 1;
        let (reason, is_refusal) = match failure {
            Failure::Away(reason) => (hidden(&reason), false),
            Failure::Refused(reason) => (hidden(&reason), true),
        };
        self.refusals = if is_refusal { self.refusals + 1 } else { 0 };
        if self.since.is_none() {
            self.since = Some(Instant::now());
            let waiting = lane.queue.borrow().len();
            tracing::warn!("notify {}: {reason}; {waiting} events wait, and it is tried again", lane.name);
        } else {
            tracing::debug!("notify {}: {reason}", lane.name);
        }
    }

    fn over(&mut self, lane: &Lane) {
        let failures = std::mem::take(&mut self.failures);
        self.refusals = 0;
        if let Some(since) = self.since.take() {
            let seconds = since.elapsed().as_secs_f64();
            tracing::info!("notify {}: is well again after {seconds:.1} s ({failures} attempts failed)", lane.name);
        }
    }
}

/// Takes a notice out of the queue, however long the disk is full; false where the end came before.
async fn take_out(lane: &Lane, number: i64, end: &mut EndWatch) -> bool {
    let mut said = false;
    while let Err(reason) = lane.done(number) {
        if !said {
            tracing::error!("notify {}: its queue cannot be written: {reason}", lane.name);
            said = true;
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = too_late(end) => return false,
        }
    }
    true
}

/// An error and what is behind it, in words.
pub(super) fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let further = error.to_string();
        if !text.contains(&further) {
            text = format!("{text}: {further}");
        }
        next = error.source();
    }
    text
}
