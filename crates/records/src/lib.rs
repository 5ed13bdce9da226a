//! What Spotter says of frames and of a run: `spotter.frame/2` and `spotter.event/1`, one JSON object a line; their
//! encodings for other people's tools ([`Format`]); and what a stream knows over time ([`track`]). No pipelines here.
//!
//! `docs/schema` holds both as JSON Schema.

mod counts;
mod event;
mod format;
mod frame;
mod number;
mod query;
mod rotate;
mod sighting;
pub mod track;
mod writer;

pub use counts::{Counts, FrameCounts, QueryCounts};
pub use event::{Change, Event, EventKind, Visitor};
pub use format::{Format, Line};
pub use frame::{
    Clock, FrameRecord, FrameStatus, Latency, NormBox, ObjectRecord, PixelBox, QueryRecord, QueryStatus, Resolution,
};
pub use number::ten_thousandths;
pub use query::{LONGEST_NAME, MOST_QUERIES, Query};
pub use rotate::{RotatingFile, Rotation, bytes};
pub use sighting::{Best, Crossings, FileRef, FrameRef, HeldBack, PathPoint, Side, Sighting, SightingChange};
pub use writer::{JsonLines, RecordFile, RecordPlace};

/// Schema name of frame records.
pub const FRAME_SCHEMA: &str = "spotter.frame/2";
/// Schema name of events.
pub const EVENT_SCHEMA: &str = "spotter.event/1";

/// A new id, different for every run: start time and process.
pub fn run_id() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", since.as_micros(), std::process::id())
}
