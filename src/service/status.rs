//! What is known of one stream while it runs: counted once, and read by the terminal, metrics and the control socket.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use blocks::preprocess::Rect;
use records::track::Seen;
use records::{FrameCounts, FrameStatus, PixelBox};
use serde_json::{Value, json};

use super::metrics::{Metrics, StreamMetrics};
use crate::source::Counters;
use crate::stage::{Door, Grounded, Note, Question};

/// A stream with frames waiting from which nothing came for so long does not live.
const STUCK: Duration = Duration::from_mins(1);

/// What is known of one stream.
pub(crate) struct Status {
    pub(crate) name: String,
    metrics: StreamMetrics,
    links: OnceLock<Links>,
    state: Mutex<State>,
}

/// The parts of a running stream.
struct Links {
    door: Door,
    counters: Arc<Counters>,
}

struct State {
    query: String,
    rev: u32,
    books: FrameCounts,
    /// Arrivals that wait for delivery.
    to_deliver: usize,
    delay: Duration,
    found: Option<Found>,
    gap: Option<&'static str>,
    /// Connections that were lost.
    gaps: u64,
    newest: Option<Instant>,
    /// When something was delivered last.
    progress: Instant,
    ended: bool,
}

/// What was measured last.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Found {
    Box(Rect),
    Absent,
}

/// What a terminal shows.
pub(crate) struct Glance {
    pub(crate) decoded: u64,
    pub(crate) measured: u64,
    pub(crate) dropped: u64,
    pub(crate) delay: Duration,
    pub(crate) found: Option<Found>,
    pub(crate) gap: Option<&'static str>,
    /// Which share of the source was decoded, where its length is known.
    pub(crate) share: Option<f64>,
}

impl Status {
    pub(super) fn new(name: &str, query: &str, metrics: &Metrics) -> Self {
        let state = State {
            query: query.to_owned(),
            rev: 1,
            books: FrameCounts::default(),
            to_deliver: 0,
            delay: Duration::ZERO,
            found: None,
            gap: None,
            gaps: 0,
            newest: None,
            progress: Instant::now(),
            ended: false,
        };
        Self {
            name: name.to_owned(),
            metrics: metrics.of_stream(name),
            links: OnceLock::new(),
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream runs: where it goes in, and what counts it.
    pub(crate) fn link(&self, door: Door, counters: Arc<Counters>) {
        // A stream runs once.
        let _ = self.links.set(Links { door, counters });
        // What came before was loading.
        self.state().progress = Instant::now();
    }

    /// Takes note of a frame that is about to be delivered; so many arrivals wait behind it.
    pub(crate) fn frame(&self, grounded: &Grounded, seen: &Seen, waiting: usize) {
        self.metrics.frame(seen, grounded);
        let mut state = self.state();
        state.to_deliver = waiting;
        state.books.add(seen);
        state.gap = None;
        state.progress = Instant::now();
        state.newest = Some(grounded.frame.arrived);
        match (seen.status, seen.rect) {
            (FrameStatus::Box, Some(rect)) => state.found = Some(Found::Box(rect)),
            (FrameStatus::Absent, _) => state.found = Some(Found::Absent),
            _ => {}
        }
        if seen.status != FrameStatus::Dropped {
            state.delay = grounded.frame.arrived.elapsed();
        }
    }

    /// Takes note of what the source says.
    pub(crate) fn note(&self, note: &Note) {
        let mut state = self.state();
        state.progress = Instant::now();
        match note {
            Note::GapStart { fault, .. } => {
                state.gap = Some(fault.code);
                state.gaps += 1;
                self.metrics.gap(fault.code);
            }
            Note::GapRetry { fault, .. } => {
                state.gap = Some(fault.code);
                self.metrics.retry(fault.code);
            }
            Note::Query(question) => {
                let Question { text, rev, .. } = &**question;
                (state.query, state.rev, state.found) = (text.clone(), *rev, None);
            }
        }
    }

    /// The connection is there again.
    pub(crate) fn back(&self) {
        self.metrics.back();
    }

    /// No more frames come.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        (state.ended, state.to_deliver) = (true, 0);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state().ended
    }

    /// Frames come, as far as is known.
    pub(super) fn is_up(&self) -> bool {
        let state = self.state();
        !state.ended && state.gap.is_none() && state.newest.is_some()
    }

    /// Arrivals that wait for the model.
    fn waiting(&self) -> usize {
        self.links.get().and_then(|links| links.door.open()).map_or(0, |intake| intake.waiting())
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.waiting() > 0 && self.state().progress.elapsed() > STUCK
    }

    pub(crate) fn glance(&self) -> Glance {
        let share = self.links.get().and_then(|links| links.counters.share());
        let state = self.state();
        let FrameCounts { boxed, absent, dropped, .. } = state.books;
        let State { delay, found, gap, .. } = *state;
        Glance { decoded: state.books.accounted(), measured: boxed + absent, dropped, delay, found, gap, share }
    }

    fn decoded(&self) -> u64 {
        self.links.get().map_or(0, |links| links.counters.decoded())
    }

    /// Brings what is measured on the spot up to date.
    pub(super) fn refresh(&self) {
        let (age, rev, to_deliver) = {
            let state = self.state();
            (state.newest.map(|newest| newest.elapsed()), state.rev, state.to_deliver)
        };
        let waiting = [("stage", self.waiting()), ("delivery", to_deliver)];
        self.metrics.refresh(self.is_up(), age, rev, self.decoded(), &waiting);
    }

    pub(super) fn to_json(&self) -> Value {
        let (waiting, decoded, up) = (self.waiting(), self.decoded(), self.is_up());
        let state = self.state();
        let (found, rect) = match state.found {
            None => (None, None),
            Some(Found::Absent) => (Some("absent"), None),
            Some(Found::Box(rect)) => (Some("box"), Some(PixelBox::from(rect))),
        };
        let age = state.newest.map(|newest| newest.elapsed().as_secs_f64());
        json!({
            "name": self.name, "query": state.query, "query_rev": state.rev, "up": up, "ended": state.ended,
            "gap": state.gap, "gaps": state.gaps, "books": FrameCounts { decoded, ..state.books }, "waiting": waiting,
            "latency_ms": (state.delay.as_secs_f64() * 1e5).round() / 1e2, "newest_frame_age_s": age.map(|age| (age * 1e3).round() / 1e3), "found": found, "box": rect,
        })
    }
}
