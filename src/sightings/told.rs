//! What is told of sightings: each becomes an event, a number among metrics, and whatever else hears of it.

use std::time::Duration;

use records::{Crossings, EventKind, FileRef, FrameRef, HeldBack, Side, Sighting, SightingChange, Visitor};

use super::limits::Summary;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// What.
    pub what: What,
    /// True where limits hold it back: it is counted and kept, and nobody is told.
    pub silent: bool,
}

/// The kinds of it.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A sighting began, changed or ended.
    Sighting {
        /// All that is known of it.
        sighting: Box<Sighting>,
        /// What is new.
        change: SightingChange,
    },
    /// A thing came into a zone.
    Enter {
        /// Which thing.
        who: Who,
        /// Name of the zone.
        zone: String,
        /// The first frame on which it was in it.
        at: FrameRef,
    },
    /// A thing left a zone.
    Leave {
        /// Which thing.
        who: Who,
        /// Name of the zone.
        zone: String,
        /// The first frame without it.
        at: FrameRef,
        /// How long it was in it.
        dwell: Duration,
    },
    /// A thing crossed a line.
    Cross {
        /// Which thing.
        who: Who,
        /// Name of the line.
        line: String,
        /// The first frame on the other side.
        at: FrameRef,
        /// Which side that is.
        to: Side,
        /// All crossings by things of this query, this one included.
        counts: Crossings,
    },
    /// A file of a sighting is whole, or why there is none.
    File {
        /// Id of the sighting.
        sighting_id: String,
        /// The file.
        file: Result<FileRef, String>,
    },
    /// So much was held back.
    Held {
        /// From when on, ns since 1970.
        from_unix_ns: i64,
        /// Until when.
        to_unix_ns: i64,
        /// By query and reason.
        held: Vec<HeldBack>,
    },
}

/// A thing that does something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// Id of its sighting.
    pub sighting_id: String,
    /// Name of the query.
    pub query: String,
    /// Its id as it stands in records of frames.
    pub object: u64,
}

impl Who {
    fn visitor(&self) -> Visitor<'_> {
        Visitor { sighting_id: &self.sighting_id, query: &self.query, object: self.object }
    }
}

impl Told {
    pub(super) fn sighting(sighting: &Sighting, change: SightingChange, silent: bool) -> Self {
        Self { what: What::Sighting { sighting: Box::new(sighting.clone()), change }, silent }
    }

    /// Id of the sighting that it is about; none where it is about none alone.
    pub fn sighting_id(&self) -> Option<&str> {
        match &self.what {
            What::Sighting { sighting, .. } => Some(&sighting.id),
            What::Enter { who, .. } | What::Leave { who, .. } | What::Cross { who, .. } => Some(&who.sighting_id),
            What::File { sighting_id, .. } => Some(sighting_id),
            What::Held { .. } => None,
        }
    }

    /// As it stands in records.
    pub fn kind(&self) -> EventKind<'_> {
        match &self.what {
            What::Sighting { sighting, change: SightingChange::Start } => EventKind::SightingStart { sighting },
            What::Sighting { sighting, change: SightingChange::Update } => EventKind::SightingUpdate { sighting },
            What::Sighting { sighting, change: SightingChange::End { cause } } => {
                EventKind::SightingEnd { sighting, cause }
            }
            What::Enter { who, zone, at } => EventKind::ZoneEnter { who: who.visitor(), zone, at: *at },
            What::Leave { who, zone, at, dwell } => {
                // Whole milliseconds, so that equal work gives equal text.
                let dwell_s = (1e3 * dwell.as_secs_f64()).round() / 1e3;
                EventKind::ZoneLeave { who: who.visitor(), zone, at: *at, dwell_s }
            }
            What::Cross { who, line, at, to, counts } => {
                EventKind::LineCross { who: who.visitor(), line, direction: *to, counts: *counts, at: *at }
            }
            What::File { sighting_id, file } => EventKind::SightingFile {
                sighting_id,
                file: file.as_ref().ok(),
                error: file.as_ref().err().map(String::as_str),
            },
            What::Held { from_unix_ns, to_unix_ns, held } => {
                EventKind::SightingsHeld { from_unix_ns: *from_unix_ns, to_unix_ns: *to_unix_ns, held }
            }
        }
    }
}

impl From<Summary> for Told {
    fn from(Summary { from_unix_ns, to_unix_ns, held }: Summary) -> Self {
        Self { what: What::Held { from_unix_ns, to_unix_ns, held }, silent: false }
    }
}
