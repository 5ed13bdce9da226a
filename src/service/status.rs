//! What is known of one stream while it runs: counted once, and read by the terminal, metrics and the control socket.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use blocks::preprocess::Rect;
use records::track::FrameResult;
use records::{Change, Counts, FrameCounts, FrameStatus, PixelBox, Query};
use serde_json::{Value, json};

use super::metrics::{Metrics, StreamMetrics};
use super::rate::Rate;
use crate::sightings::Told;
use crate::source::Counters;
use crate::stage::{ActiveQueries, GroundedFrame, InputHandle, StreamEvent};

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
    input: InputHandle,
    counters: Arc<Counters>,
}

struct State {
    /// What is asked, and what was measured of it last.
    queries: Vec<(Query, Option<Found>)>,
    counts: Counts,
    /// Frames that were not measured, by cause.
    causes: BTreeMap<&'static str, u64>,
    /// Frames that came, and those of them that were measured.
    rates: [Rate; 2],
    /// Arrivals that wait for delivery.
    to_deliver: usize,
    delay: Duration,
    gap: Option<&'static str>,
    /// Connections that were lost.
    gaps: u64,
    newest: Option<Instant>,
    /// When something was delivered last.
    progress: Instant,
    ended: bool,
}

/// What was measured of a query last.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    /// Ids and boxes, best first.
    Boxes(Vec<(u64, Rect)>),
    Absent,
}

/// What a terminal shows.
pub(crate) struct StreamSummary {
    pub(crate) decoded: u64,
    pub(crate) measured: u64,
    pub(crate) dropped: u64,
    pub(crate) delay: Duration,
    /// By query: its name, and what was measured of it last.
    pub(crate) found: Vec<(String, Option<Found>)>,
    pub(crate) gap: Option<&'static str>,
    /// Which share of the source was decoded, where its length is known.
    pub(crate) share: Option<f64>,
}

impl Status {
    pub(super) fn new(name: &str, metrics: &Metrics) -> Self {
        let state = State {
            queries: Vec::new(),
            counts: Counts::default(),
            causes: BTreeMap::new(),
            rates: [Rate::default(), Rate::default()],
            to_deliver: 0,
            delay: Duration::ZERO,
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

    /// The stream runs: where it goes in, what counts it, and what it is asked.
    pub(crate) fn link(&self, input: InputHandle, counters: Arc<Counters>, queries: &ActiveQueries) {
        // A stream runs once.
        let _ = self.links.set(Links { input, counters });
        let mut state = self.state();
        // What came before was loading.
        state.progress = Instant::now();
        state.queries = queries.iter().map(|active| (active.tracked.query.clone(), None)).collect();
        for (query, _) in &state.queries {
            self.metrics.query_changed(Change::Added, query);
        }
    }

    /// Takes note of a frame that is about to be delivered; so many arrivals wait behind it.
    pub(crate) fn frame<'a>(
        &self,
        grounded: &GroundedFrame,
        queries: &(impl Iterator<Item = &'a Query> + Clone),
        result: &FrameResult,
        waiting: usize,
    ) {
        self.metrics.frame(queries.clone(), result, grounded);
        let mut state = self.state();
        state.to_deliver = waiting;
        state.counts.add(result, queries.clone());
        if let Some(cause) = result.cause {
            *state.causes.entry(cause).or_default() += 1;
        }
        let [came, measured] = &mut state.rates;
        came.add();
        if result.status == FrameStatus::Measured {
            measured.add();
        }
        state.gap = None;
        state.progress = Instant::now();
        state.newest = Some(grounded.frame.arrived);
        if result.status == FrameStatus::Measured {
            for ((_, found), claim) in state.queries.iter_mut().zip(&result.queries) {
                let boxes = || claim.objects.iter().map(|object| (object.id, object.rect)).collect();
                *found = Some(if claim.objects.is_empty() { Found::Absent } else { Found::Boxes(boxes()) });
            }
        }
        if result.status != FrameStatus::Dropped {
            state.delay = grounded.frame.arrived.elapsed();
        }
    }

    /// Takes note of an event of the stream.
    pub(crate) fn stream_event(&self, event: &StreamEvent) {
        let mut state = self.state();
        state.progress = Instant::now();
        match event {
            StreamEvent::GapStart { fault, .. } => {
                state.gap = Some(fault.code);
                state.gaps += 1;
                self.metrics.gap(fault.code);
            }
            StreamEvent::GapRetry { fault, .. } => {
                state.gap = Some(fault.code);
                self.metrics.retry(fault.code);
            }
            StreamEvent::Queries(update) => {
                let known = std::mem::take(&mut state.queries);
                let found = |query: &Query| known.iter().find(|(known, _)| known == query).and_then(|(_, f)| f.clone());
                let queries = update.queries.iter().map(|active| &active.tracked.query);
                state.queries = queries.map(|query| (query.clone(), found(query))).collect();
                for (change, active) in &update.changes {
                    self.metrics.query_changed(*change, &active.tracked.query);
                }
            }
        }
    }

    /// Takes note of what is told of a sighting, or would be.
    pub(crate) fn told(&self, told: &Told) {
        self.metrics.told(told);
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
        self.links.get().and_then(|links| links.input.get()).map_or(0, |input| input.waiting())
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.waiting() > 0 && self.state().progress.elapsed() > STUCK
    }

    pub(crate) fn summary(&self) -> StreamSummary {
        let share = self.links.get().and_then(|links| links.counters.share());
        let state = self.state();
        let FrameCounts { measured, dropped, .. } = state.counts.frames;
        let State { delay, gap, .. } = *state;
        let found = state.queries.iter().map(|(query, found)| (query.name.clone(), found.clone())).collect();
        StreamSummary { decoded: state.counts.frames.accounted(), measured, dropped, delay, found, gap, share }
    }

    fn decoded(&self) -> u64 {
        self.links.get().map_or(0, |links| links.counters.decoded())
    }

    /// Brings what is measured on the spot up to date.
    pub(super) fn refresh(&self) {
        let (age, to_deliver) = {
            let state = self.state();
            (state.newest.map(|newest| newest.elapsed()), state.to_deliver)
        };
        let waiting = [("stage", self.waiting()), ("delivery", to_deliver)];
        self.metrics.refresh(self.is_up(), age, self.decoded(), &waiting);
    }

    /// Whether frames come, whether none will any more, and why none come, where that is known.
    pub(crate) fn comes(&self) -> (bool, bool, Option<&'static str>) {
        let up = self.is_up();
        let state = self.state();
        (up, state.ended, state.gap)
    }

    pub(crate) fn to_json(&self) -> Value {
        let (waiting, decoded, up) = (self.waiting(), self.decoded(), self.is_up());
        let state = self.state();
        let query = |(Query { name, text, rev }, found): &(Query, Option<Found>)| {
            let boxes = match found {
                Some(Found::Boxes(boxes)) => boxes.as_slice(),
                _ => &[],
            };
            let objects = boxes.iter().map(|(id, rect)| json!({ "id": id, "box": PixelBox::from(*rect) }));
            let status = found.as_ref().map(|found| match found {
                Found::Absent => "absent",
                Found::Boxes(_) => "box",
            });
            json!({
                "name": name, "text": text, "rev": rev, "status": status, "objects": objects.collect::<Vec<_>>(),
            })
        };
        let queries: Vec<Value> = state.queries.iter().map(query).collect();
        let age = state.newest.map(|newest| newest.elapsed().as_secs_f64());
        let Counts { frames, queries: counts } = &state.counts;
        let [came, grounded] = state.rates.each_ref().map(Rate::per_second);
        json!({
            "name": self.name, "queries": queries, "up": up, "ended": state.ended, "gap": state.gap, "gaps": state.gaps,
            "frames": FrameCounts { decoded, ..*frames }, "causes": state.causes, "counts": counts, "waiting": waiting,
            "fps": { "in": came, "measured": grounded },
            "latency_ms": (state.delay.as_secs_f64() * 1e5).round() / 1e2,
            "newest_frame_age_s": age.map(|age| (age * 1e3).round() / 1e3),
        })
    }
}
