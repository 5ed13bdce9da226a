//! A stay of one thing, from its first frame to its last, and what it did meanwhile.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::PixelBox;
use crate::number::{probability, shares};

/// One stay of one thing of one query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// Never used twice, in any run: run id, stream, number. The same in every reproducible run.
    pub id: String,
    /// The source's name.
    pub stream: String,
    /// Name of the query.
    pub query: String,
    /// The sentence.
    pub text: String,
    /// Ids of the things that it was, oldest first.
    pub objects: Vec<u64>,
    /// Stream time of its first frame, ns; null where the source does not say.
    pub start_pts_ns: Option<u64>,
    /// Wall clock of its first frame, ns since 1970.
    pub start_unix_ns: i64,
    /// Stream time of its last frame so far, ns.
    pub last_pts_ns: Option<u64>,
    /// Wall clock of its last frame so far, ns since 1970.
    pub last_unix_ns: i64,
    /// Where it is seen best.
    pub best: Best,
    /// All zones that it was in, in the order in which it entered them.
    pub zones: Vec<String>,
    /// Where it went, thinned.
    pub path: Vec<PathPoint>,
    /// What belongs to it.
    pub files: Vec<FileRef>,
}

impl Sighting {
    /// From its first frame to its last, ns of stream time; of the wall clock where the stream has none.
    pub fn length_ns(&self) -> u64 {
        match (self.start_pts_ns, self.last_pts_ns) {
            (Some(start), Some(last)) => last.saturating_sub(start),
            _ => u64::try_from(self.last_unix_ns.saturating_sub(self.start_unix_ns)).unwrap_or(0),
        }
    }
}

/// The frame on which a thing is seen best so far: its score times its size is the largest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// In pixels of the picture as grounded.
    #[serde(rename = "box")]
    pub boxed: PixelBox,
    /// Probability that it is what the query describes, 0..1; none where the model gives none.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "probability")]
    pub score: Option<f32>,
    /// Probability that what the query describes is in the picture, 0..1.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "probability")]
    pub presence: Option<f32>,
    /// Index in the file, from 0; null when live.
    pub frame_index: Option<u64>,
    /// Counter of the source.
    pub seq: u64,
    /// Wall clock, ns since 1970.
    pub unix_ns: i64,
}

/// Where the point of a thing that counts for zones was.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PathPoint {
    /// Stream time, ns.
    pub pts_ns: Option<u64>,
    /// Over the width of the picture, 0..1.
    #[serde(serialize_with = "shares")]
    pub x: f64,
    /// Over its height, 0..1.
    #[serde(serialize_with = "shares")]
    pub y: f64,
}

/// A file that belongs to a sighting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileRef {
    /// `clip`, `snapshot`, `crop` or `cues`.
    pub kind: String,
    /// Where it is.
    pub path: PathBuf,
    /// Stream time of its first frame, ns.
    pub start_pts_ns: Option<u64>,
    /// Stream time of its last frame, ns.
    pub end_pts_ns: Option<u64>,
}

/// What happens to a sighting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SightingChange {
    /// It began.
    Start,
    /// More is known of it.
    Update,
    /// It is over.
    End {
        /// `gone`: not seen for too long. `end`: the stream ended. `cut`: another scene began. `query`: it is asked for no
        /// more. `restart`: the run that told of its start ended without a word.
        cause: &'static str,
    },
}

/// A frame, as an event names it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FrameRef {
    /// Counter of the source.
    pub seq: u64,
    /// Stream time, ns; null where the source does not say.
    pub pts_ns: Option<u64>,
    /// Wall clock, ns since 1970.
    pub unix_ns: i64,
}

/// To which side of a line something crossed, as seen by who walks from its first point to its second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Above a line that is drawn from left to right.
    Left,
    /// Below it.
    Right,
}

impl Side {
    /// As it stands in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
        }
    }
}

/// Crossings of a line so far, by where they went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crossings {
    /// To the left.
    pub left: u64,
    /// To the right.
    pub right: u64,
}

impl Crossings {
    /// Counts one.
    pub fn add(&mut self, to: Side) {
        match to {
            Side::Left => self.left += 1,
            Side::Right => self.right += 1,
        }
    }
}

/// What was not told of a query, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldBack {
    /// Name of the query.
    pub query: String,
    /// `cooldown`, `quiet_hours` or `per_minute`.
    pub reason: &'static str,
    /// Sightings that were not told at all.
    pub sightings: u64,
    /// Events that were not told, of sightings that were.
    pub events: u64,
}
