//! What a sighting is, as records have it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A box in pixels of the picture as grounded, top left corner and size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RectJson {
    /// Left edge.
    pub x: f64,
    /// Top edge.
    pub y: f64,
    /// Width.
    pub w: f64,
    /// Height.
    pub h: f64,
}

/// One stay of one thing of one query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// Never used twice, in any run: run id, stream, number.
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
    /// All zones that it was in.
    pub zones: Vec<String>,
    /// Where it went, thinned.
    pub path: Vec<PathPoint>,
    /// What belongs to it.
    pub files: Vec<FileRef>,
}

/// The frame on which a thing is seen best so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// In pixels of the picture as grounded.
    #[serde(rename = "box")]
    pub boxed: RectJson,
    /// Probability that it is what the query describes, 0..1; none where the model gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
    /// Probability that what the query describes is in the picture, 0..1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    pub x: f64,
    /// Over its height, 0..1.
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
pub enum Change {
    /// It began.
    Start,
    /// More is known of it.
    Update,
    /// It is over.
    End {
        /// `gone`, `end`, `cut`, `restart` or `query`.
        cause: &'static str,
    },
}
