//! What happens between frames.

use serde::Serialize;

use crate::number::milliseconds;
use crate::{Clock, Counts, Crossings, FileRef, FrameRef, HeldBack, Resolution, Side, Sighting};

/// Something that happened to the source or the run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event<'a> {
    /// [`EVENT_SCHEMA`](crate::EVENT_SCHEMA).
    pub schema: &'static str,
    /// One id per run.
    pub run_id: &'a str,
    /// The source's name.
    pub source: &'a str,
    /// What happened.
    #[serde(flatten)]
    pub kind: &'a EventKind<'a>,
}

/// The kinds of events.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind<'a> {
    /// The first frame arrived.
    SourceUp {
        /// Its picture.
        resolution: Resolution,
    },
    /// The picture has another size, rotation or pixel shape from frame `seq` on.
    Resolution {
        /// The first such frame.
        seq: u64,
        /// Its picture.
        resolution: Resolution,
    },
    /// The connection to the source is lost, or the first one was not made; it is tried again.
    GapStart {
        /// `STREAM_…`.
        code: &'a str,
        /// In words.
        reason: &'a str,
        /// What became of the frames of the connection that is lost.
        #[serde(flatten)]
        counts: Counts,
    },
    /// Another attempt to connect failed.
    GapRetry {
        /// Counts the attempts of this gap, from 1.
        attempt: u64,
        /// `STREAM_…`.
        code: &'a str,
        /// In words.
        reason: &'a str,
    },
    /// Frames come again.
    GapEnd {
        /// The first of them.
        seq: u64,
        /// How long the gap was.
        #[serde(serialize_with = "milliseconds")]
        seconds: f64,
    },
    /// The capture times come from another clock from frame `seq` on.
    Clock {
        /// The first such frame.
        seq: u64,
        /// The clock until then.
        from: Clock,
        /// The clock from then on.
        to: Clock,
    },
    /// The stream is asked something else from frame `seq` on.
    Query {
        /// The first such frame.
        seq: u64,
        /// What happened to the query.
        change: Change,
        /// Its name.
        name: &'a str,
        /// Its sentence.
        text: &'a str,
        /// Counts the sentences of a query, from 1.
        rev: u32,
    },
    /// A thing came, and stayed long enough to be sure of it.
    SightingStart {
        /// What is known of it.
        sighting: &'a Sighting,
    },
    /// More is known of a thing that is there.
    SightingUpdate {
        /// All that is known of it.
        sighting: &'a Sighting,
    },
    /// A thing is there no more.
    SightingEnd {
        /// All that is known of it.
        sighting: &'a Sighting,
        /// As in [`SightingChange::End`](crate::SightingChange::End).
        cause: &'a str,
    },
    /// A file that belongs to a sighting is whole, or will not be there.
    SightingFile {
        /// Id of the sighting.
        sighting_id: &'a str,
        /// The file; none where it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        file: Option<&'a FileRef>,
        /// Why it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
    },
    /// A thing came into a zone.
    ZoneEnter {
        /// Which thing.
        #[serde(flatten)]
        who: Visitor<'a>,
        /// Name of the zone.
        zone: &'a str,
        /// The first frame on which it was in it.
        #[serde(flatten)]
        at: FrameRef,
    },
    /// A thing left a zone.
    ZoneLeave {
        /// Which thing.
        #[serde(flatten)]
        who: Visitor<'a>,
        /// Name of the zone.
        zone: &'a str,
        /// The first frame on which it was outside; the last on which it was seen, where it was seen inside last.
        #[serde(flatten)]
        at: FrameRef,
        /// How long it was in it, in seconds.
        dwell_s: f64,
    },
    /// A thing crossed a line.
    LineCross {
        /// Which thing.
        #[serde(flatten)]
        who: Visitor<'a>,
        /// Name of the line.
        line: &'a str,
        /// Where to.
        direction: Side,
        /// All crossings by things of this query in this run, this one included.
        counts: Crossings,
        /// The first frame on which it was on the other side.
        #[serde(flatten)]
        at: FrameRef,
    },
    /// What was not told, so that there are not too many events.
    SightingsHeld {
        /// From when on, ns since 1970.
        from_unix_ns: i64,
        /// Until when.
        to_unix_ns: i64,
        /// By query and reason.
        held: &'a [HeldBack],
    },
    /// The decoder could not restore whole pictures.
    DecodeError {
        /// The first such frame, or one that follows it closely: decoders work ahead.
        seq: u64,
        /// How many such stretches there were so far, this one included.
        count: u64,
    },
    /// The run is over.
    End {
        /// What became of the frames.
        #[serde(flatten)]
        counts: Counts,
        /// Code and message where it did not end by itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
    },
}

/// A thing that does something.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Visitor<'a> {
    /// Id of its sighting.
    pub sighting_id: &'a str,
    /// Name of the query.
    pub query: &'a str,
    /// Its id as it stands in records of frames.
    pub object: u64,
}

/// What happens to a query while its stream runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is asked from now on.
    Added,
    /// It asks something else, or claims otherwise.
    Changed,
    /// It is asked no more.
    Removed,
}
