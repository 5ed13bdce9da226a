//! What a stream knows over time: presence with hysteresis, smoothing, boxes carried over gaps, which thing is which.
//!
//! The stage measures frames one by one; a [`StreamTracker`] turns its measurements into what is claimed of each frame, query
//! by query. With [`Tracking::plain`] it is the threshold and nothing else, as for single pictures.
//!
//! Things have ids. A query for one thing keeps its id while each box can be the next place of the one before
//! (a constant-velocity Kalman filter says where that may be), and gives it back to one that was seen a moment ago; one for all things
//! is followed by `ByteTrack`.
//! An id is never used for two things of a source, and a scene cut ends all of them.

mod cut;
mod lock;
mod many;
mod motion;
mod one;
mod smooth;

use std::time::Duration;

use blocks::findings::Findings;
use blocks::preprocess::Rect;

use crate::{FrameStatus, Query, QueryStatus};

pub use cut::{CutDetector, THUMBNAIL};
use many::Many;
use one::One;

/// How boxes are smoothed over time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Smoothing {
    /// As measured.
    #[default]
    Off,
    /// One-euro filter on centre and size: still boxes stop trembling, moving ones hardly lag.
    OneEuro,
}

/// How measurements of one query become claims.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tracking {
    /// Presence from which on the object counts as there, 0..1; `None` without a presence head.
    pub threshold: Option<f32>,
    /// How far presence may fall below the threshold before an object that was there counts as gone, 0..1.
    pub hysteresis: f32,
    /// Of the boxes.
    pub smoothing: Smoothing,
    /// How long the last box stands in for one that is missing.
    pub hold: Duration,
    /// How long a thing that is not seen keeps its id.
    pub lost: Duration,
    /// Whether all that match are wanted, and not the best alone.
    pub all: bool,
}

/// How long a thing that is not seen keeps its id, where nothing else is said.
pub const LOST: Duration = Duration::from_secs(2);

impl Tracking {
    /// A threshold, no memory.
    pub fn plain(threshold: Option<f32>) -> Self {
        Self {
            threshold,
            hysteresis: 0.0,
            smoothing: Smoothing::Off,
            hold: Duration::ZERO,
            lost: Duration::ZERO,
            all: false,
        }
    }
}

/// What a model found on a frame. What is claimed of it in the end, [`StreamTracker`] decides.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The model looked at it.
    Measured(
        /// By query, in the order in which the stream asks them.
        Vec<Findings>,
    ),
    /// The frame was not looked at, and is forwarded.
    Skipped {
        /// Why.
        cause: &'static str,
    },
    /// The frame was not looked at, and is not forwarded.
    Dropped {
        /// Why.
        cause: &'static str,
    },
    /// The frame could not be looked at.
    Error {
        /// Why.
        cause: &'static str,
        /// In words.
        message: String,
    },
}

/// The result of one frame: what is claimed of it.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameResult {
    /// What became of the frame.
    pub status: FrameStatus,
    /// Why it was not measured.
    pub cause: Option<&'static str>,
    /// By query, in the order in which the stream asks them.
    pub queries: Vec<QueryResult>,
}

impl FrameResult {
    /// The same, of a picture that came later: nothing of it was measured there.
    #[must_use]
    pub fn as_of_before(mut self) -> Self {
        for claim in &mut self.queries {
            claim.measured = false;
            for object in &mut claim.objects {
                (object.measured, object.raw) = (false, None);
            }
        }
        self
    }
}

/// The result of one query on a frame.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueryResult {
    /// The claim.
    pub status: QueryStatus,
    /// True when the claim was measured on this very frame.
    pub measured: bool,
    /// Probability that it is in the picture, 0..1, as measured on this frame.
    pub presence: Option<f32>,
    /// Why there is no measurement, or none that is shown.
    pub cause: Option<&'static str>,
    /// What is to be seen, best first.
    pub objects: Vec<Object>,
}

impl QueryResult {
    /// True where boxes of an earlier frame stand in.
    pub fn carried(&self) -> bool {
        !self.objects.is_empty() && self.objects.iter().all(|object| !object.measured)
    }
}

/// One thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// The same as long as it is the same thing.
    pub id: u64,
    /// The box to show, in pixels of the picture as grounded; a carried one where `measured` is false.
    pub rect: Rect,
    /// The box as measured on this frame.
    pub raw: Option<Rect>,
    /// Probability that it is what is looked for, 0..1, of the frame that it was measured on.
    pub score: Option<f32>,
    /// True when the box was measured on this very frame.
    pub measured: bool,
    /// Why it was not.
    pub cause: Option<&'static str>,
}

/// Ids of one source: each is given once.
#[derive(Debug, Default)]
struct Ids(u64);

impl Ids {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// One query, and how its measurements become claims.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackedQuery {
    /// The query.
    pub query: Query,
    /// Of its measurements.
    pub tracking: Tracking,
}

/// The memory of one query.
enum Memory {
    One(Box<One>),
    Many(Box<Many>),
}

impl Memory {
    fn new(tracking: Tracking) -> Self {
        if tracking.all { Self::Many(Box::new(Many::new(tracking))) } else { Self::One(Box::new(One::new(tracking))) }
    }
}

/// The tracker of one stream.
#[derive(Default)]
pub struct StreamTracker {
    queries: Vec<(TrackedQuery, Memory)>,
    ids: Ids,
}

impl StreamTracker {
    /// An empty memory of a stream that is asked `queries`.
    pub fn new(queries: Vec<TrackedQuery>) -> Self {
        let mut track = Self::default();
        track.set_queries(queries);
        track
    }

    /// From now on the stream is asked `queries`. What is known of those that stay as they are is kept.
    pub fn set_queries(&mut self, queries: Vec<TrackedQuery>) {
        let mut before = std::mem::take(&mut self.queries);
        let remembered = |tracked: TrackedQuery| {
            let place = before.iter().position(|(known, _)| *known == tracked);
            if let Some(place) = place {
                return before.swap_remove(place);
            }
            let memory = Memory::new(tracked.tracking);
            (tracked, memory)
        };
        self.queries = queries.into_iter().map(remembered).collect();
    }

    /// What the stream is asked.
    pub fn queries(&self) -> impl ExactSizeIterator<Item = &Query> + Clone {
        self.queries.iter().map(|(tracked, _)| &tracked.query)
    }

    /// Forgets everything: another scene began.
    pub fn reset(&mut self) {
        for (tracked, memory) in &mut self.queries {
            *memory = Memory::new(tracked.tracking);
        }
    }

    /// What is claimed of the next frame. `time` is its stream time, `diagonal` its picture's in pixels.
    pub fn update(&mut self, outcome: &Outcome, time: Duration, diagonal: f64) -> FrameResult {
        let (status, cause) = match outcome {
            Outcome::Measured(_) => (FrameStatus::Measured, None),
            Outcome::Skipped { cause } => (FrameStatus::Skipped, Some(*cause)),
            Outcome::Dropped { cause } => (FrameStatus::Dropped, Some(*cause)),
            Outcome::Error { cause, .. } => (FrameStatus::Error, Some(*cause)),
        };
        let nothing = Findings::default();
        let moment = Moment { time, diagonal };
        let ids = &mut self.ids;
        let claim = |(place, (_, memory)): (usize, &mut (TrackedQuery, Memory))| match outcome {
            Outcome::Measured(found) => {
                let findings = found.get(place).unwrap_or(&nothing);
                match memory {
                    Memory::One(one) => one.measured(findings, moment, ids),
                    Memory::Many(many) => many.measured(findings, moment, ids),
                }
            }
            Outcome::Skipped { cause } => match memory {
                Memory::One(one) => one.skipped(cause, time),
                Memory::Many(many) => many.skipped(cause, time),
            },
            Outcome::Dropped { cause } => QueryResult { cause: Some(cause), ..QueryResult::default() },
            Outcome::Error { cause, .. } => match memory {
                Memory::One(one) => one.failed(cause, time),
                Memory::Many(many) => many.failed(cause, time),
            },
        };
        let queries = self.queries.iter_mut().enumerate().map(claim).collect();
        FrameResult { status, cause, queries }
    }
}

/// Of a frame: its stream time, and the diagonal of its picture in pixels.
#[derive(Debug, Clone, Copy)]
struct Moment {
    time: Duration,
    diagonal: f64,
}

/// Boxes that stand in on a frame which was not measured.
fn carried(objects: Vec<Object>, cause: &'static str) -> QueryResult {
    let status = if objects.is_empty() { QueryStatus::None } else { QueryStatus::Carried };
    let objects = objects.into_iter().map(|object| Object { raw: None, measured: false, cause: Some(cause), ..object });
    QueryResult { status, measured: false, presence: None, cause: Some(cause), objects: objects.collect() }
}

/// The cause of a frame whose own measurement said "not here" while an earlier box is still carried.
const HOLD: &str = "hold";

#[cfg(test)]
mod tests;
