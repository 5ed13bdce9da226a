//! What Spotter says of frames and of a run: `spotter.frame/1` and `spotter.event/1`, one JSON object a line; their
//! encodings for other people's tools ([`Format`]); and what a stream knows over time ([`track`]). No pipelines here.

mod counts;
mod format;
pub mod track;
mod writer;

use serde::{Serialize, Serializer};

use blocks::preprocess::Rect;

use crate::track::Seen;

pub use counts::FrameCounts;
pub use format::{Format, Line};
pub use writer::{JsonLines, RecordFile, RecordPlace};

/// Schema name of frame records.
pub const FRAME_SCHEMA: &str = "spotter.frame/1";
/// Schema name of events.
pub const EVENT_SCHEMA: &str = "spotter.event/1";

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FrameStatus {
    /// The object was found.
    Box,
    /// The object is not in the picture.
    Absent,
    /// Forwarded without being measured.
    Skipped,
    /// Not forwarded.
    Dropped,
    /// Could not be measured.
    Error,
}

impl FrameStatus {
    /// As it stands in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Box => "box",
            Self::Absent => "absent",
            Self::Skipped => "skipped",
            Self::Dropped => "dropped",
            Self::Error => "error",
        }
    }
}

/// Where the capture time of a frame comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// The file's own time; there is no capture time.
    File,
    /// The source's clock, by its RTCP sender reports.
    Rtcp,
    /// This machine's, when the frame came out of the decoder.
    Arrival,
}

/// Size of the picture as grounded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Resolution {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Degrees clockwise that were applied after decoding.
    pub rotation: u32,
    /// Pixel aspect ratio, width over height; not applied to boxes.
    pub par: f64,
}

/// A box in pixels of the picture as grounded, top left corner and size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PixelBox {
    /// Left edge.
    #[serde(serialize_with = "pixels")]
    pub x: f64,
    /// Top edge.
    #[serde(serialize_with = "pixels")]
    pub y: f64,
    /// Width.
    #[serde(serialize_with = "pixels")]
    pub w: f64,
    /// Height.
    #[serde(serialize_with = "pixels")]
    pub h: f64,
}

impl From<Rect> for PixelBox {
    fn from(rect: Rect) -> Self {
        Self { x: rect.x0, y: rect.y0, w: rect.width(), h: rect.height() }
    }
}

/// A box over width and height of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NormBox {
    /// Left edge, 0..1.
    #[serde(serialize_with = "shares")]
    pub x: f64,
    /// Top edge, 0..1.
    #[serde(serialize_with = "shares")]
    pub y: f64,
    /// Width, 0..1.
    #[serde(serialize_with = "shares")]
    pub w: f64,
    /// Height, 0..1.
    #[serde(serialize_with = "shares")]
    pub h: f64,
}

impl NormBox {
    /// `rect` over the size of its picture.
    pub fn new(rect: &Rect, resolution: &Resolution) -> Self {
        let (w, h) = (resolution.width as f64, resolution.height as f64);
        Self { x: rect.x0 / w, y: rect.y0 / h, w: rect.width() / w, h: rect.height() / h }
    }
}

/// Milliseconds that a frame spent on its way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// Waiting in queues.
    #[serde(serialize_with = "milliseconds")]
    pub queue: f64,
    /// Letterbox and model.
    #[serde(serialize_with = "milliseconds")]
    pub ground: f64,
    /// From the decoder to the record.
    #[serde(serialize_with = "milliseconds")]
    pub total: f64,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FrameRecord<'a> {
    /// [`FRAME_SCHEMA`].
    pub schema: &'static str,
    /// One id per run.
    pub run_id: &'a str,
    /// The source's name.
    pub source: &'a str,
    /// Gap-free counter per source.
    pub seq: u64,
    /// Index in the file, from 0; null for pictures.
    pub frame_index: Option<u64>,
    /// The picture file; only where the source is pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<std::borrow::Cow<'a, str>>,
    /// Stream time in nanoseconds; null where the source does not say.
    pub pts_ns: Option<u64>,
    /// Wall-clock capture time; null for files.
    pub capture_unix_ns: Option<u64>,
    /// Where the capture time comes from.
    pub clock: Clock,
    /// The picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<Resolution>,
    /// The sentence.
    pub query: &'a str,
    /// Counts up when the query changes while running.
    pub query_rev: u32,
    /// What became of the frame.
    pub status: FrameStatus,
    /// True when the verdict was measured on this very frame.
    pub measured: bool,
    /// Why it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    /// After smoothing, or carried from an earlier frame; null without a box.
    #[serde(rename = "box")]
    pub boxed: Option<PixelBox>,
    /// As measured on this frame; null where it was not.
    pub box_raw: Option<PixelBox>,
    /// `boxed` over the picture's size; null without a box.
    pub box_norm: Option<NormBox>,
    /// Probability that the object is in the picture; left out where the model has no presence head.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "probability")]
    pub presence: Option<f32>,
    /// Time spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<Latency>,
}

/// What all records of a run have in common.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// One id per run.
    pub run_id: &'a str,
    /// The source's name.
    pub source: &'a str,
    /// The sentence.
    pub query: &'a str,
    /// Counts up when the query changes while running.
    pub query_rev: u32,
}

impl<'a> FrameRecord<'a> {
    /// The record of frame `seq` of a file; times and index are still open.
    pub fn new(asked: Asked<'a>, seq: u64, seen: &Seen, resolution: Option<Resolution>) -> Self {
        let rect = seen.rect.as_ref();
        Self {
            schema: FRAME_SCHEMA,
            run_id: asked.run_id,
            source: asked.source,
            seq,
            frame_index: None,
            file: None,
            pts_ns: None,
            capture_unix_ns: None,
            clock: Clock::File,
            resolution,
            query: asked.query,
            query_rev: asked.query_rev,
            status: seen.status,
            measured: seen.measured,
            cause: seen.cause,
            boxed: rect.map(|rect| (*rect).into()),
            box_raw: seen.raw.map(PixelBox::from),
            box_norm: rect.zip(resolution.as_ref()).map(|(rect, resolution)| NormBox::new(rect, resolution)),
            presence: seen.presence,
            latency_ms: None,
        }
    }
}

/// Something that happened to the source or the run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event<'a> {
    /// [`EVENT_SCHEMA`].
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
        books: FrameCounts,
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
    /// Something else is looked for from frame `seq` on.
    Query {
        /// The first such frame.
        seq: u64,
        /// The sentence.
        query: &'a str,
        /// Counts the sentences of a stream, from 1.
        query_rev: u32,
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
        books: FrameCounts,
        /// Code and message where it did not end by itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
    },
}

/// A new id, different for every run: start time and process.
pub fn run_id() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", since.as_micros(), std::process::id())
}

/// Pixels as they stand in records.
fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn rounded<S: Serializer>(value: f64, unit: f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((value * unit).round() / unit)
}

// `serialize_with` hands over references.
#[expect(clippy::trivially_copy_pass_by_ref)]
fn pixels<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    rounded(*value, 100.0, serializer)
}

#[expect(clippy::trivially_copy_pass_by_ref)]
fn shares<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    rounded(*value, 1e5, serializer)
}

#[expect(clippy::trivially_copy_pass_by_ref)]
fn milliseconds<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    rounded(*value, 100.0, serializer)
}

#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref)]
fn probability<S: Serializer>(value: &Option<f32>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => rounded(f64::from(*value), 1e4, serializer),
        None => serializer.serialize_none(),
    }
}
