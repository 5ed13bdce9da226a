//! The record of one frame.

use std::borrow::Cow;

use blocks::preprocess::Rect;
use serde::{Deserialize, Serialize};

use crate::number::{milliseconds, pixels, probability, shares};
use crate::track::{FrameResult, Object, QueryResult};
use crate::{FRAME_SCHEMA, Query};

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FrameStatus {
    /// The model looked at it.
    Measured,
    /// Forwarded without being looked at.
    Skipped,
    /// Not forwarded.
    Dropped,
    /// Could not be looked at.
    Error,
}

impl FrameStatus {
    /// As it stands in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Skipped => "skipped",
            Self::Dropped => "dropped",
            Self::Error => "error",
        }
    }
}

/// What is claimed of a query on one frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum QueryStatus {
    /// What it describes is in the picture.
    Box,
    /// It is not.
    Absent,
    /// The frame was not measured; boxes of an earlier one stand in.
    Carried,
    /// The frame was not measured, and nothing is claimed.
    #[default]
    None,
}

impl QueryStatus {
    /// As it stands in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Box => "box",
            Self::Absent => "absent",
            Self::Carried => "carried",
            Self::None => "none",
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
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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
    pub file: Option<Cow<'a, str>>,
    /// Stream time in nanoseconds; null where the source does not say.
    pub pts_ns: Option<u64>,
    /// Wall-clock capture time; null for files.
    pub capture_unix_ns: Option<u64>,
    /// Where the capture time comes from.
    pub clock: Clock,
    /// The picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<Resolution>,
    /// What became of the frame.
    pub status: FrameStatus,
    /// Why it was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    /// What is claimed, by query.
    pub queries: Vec<QueryRecord<'a>>,
    /// What is to be seen, query by query, best first.
    pub objects: Vec<ObjectRecord<'a>>,
    /// Time spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<Latency>,
}

/// What is claimed of one query on a frame.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueryRecord<'a> {
    /// Its name.
    pub name: &'a str,
    /// The sentence.
    pub text: &'a str,
    /// Counts up when the sentence changes while running, from 1.
    pub rev: u32,
    /// The claim.
    pub status: QueryStatus,
    /// Probability that it is in the picture, as measured on this frame; left out where nothing was measured, or the model
    /// cannot tell.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "probability")]
    pub presence: Option<f32>,
    /// True when the claim was measured on this very frame.
    pub measured: bool,
    /// Why it was not: as the frame's, or `hold` where this frame says "not here" and an earlier box still stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
}

/// One thing on a frame.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ObjectRecord<'a> {
    /// Name of the query that it answers.
    pub query: &'a str,
    /// The same as long as it is the same thing; never used for another one of its source.
    pub id: u64,
    /// After smoothing, or carried from an earlier frame.
    #[serde(rename = "box")]
    pub boxed: PixelBox,
    /// As measured on this frame; null where it was not.
    pub box_raw: Option<PixelBox>,
    /// `boxed` over the picture's size.
    pub box_norm: Option<NormBox>,
    /// Probability that it is what the query describes; of the frame that it was measured on. Left out where the model
    /// gives none.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "probability")]
    pub score: Option<f32>,
    /// True when the box was measured on this very frame.
    pub measured: bool,
    /// Why it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
}

impl<'a> FrameRecord<'a> {
    /// The record of frame `seq` of a file, by the `result` of `queries`; times and index are still open.
    pub fn new(
        (run_id, source): (&'a str, &'a str),
        seq: u64,
        queries: impl IntoIterator<Item = &'a Query>,
        result: &FrameResult,
        resolution: Option<Resolution>,
    ) -> Self {
        let (mut records, mut objects) = (Vec::with_capacity(result.queries.len()), Vec::new());
        for (query, claim) in queries.into_iter().zip(&result.queries) {
            let QueryResult { status, measured, presence, cause, objects: things } = claim;
            let Query { name, text, rev } = query;
            let (status, measured, presence, cause) = (*status, *measured, *presence, *cause);
            records.push(QueryRecord { name, text, rev: *rev, status, presence, measured, cause });
            objects.extend(things.iter().map(|thing| ObjectRecord::new(name, thing, resolution.as_ref())));
        }
        Self {
            schema: FRAME_SCHEMA,
            run_id,
            source,
            seq,
            frame_index: None,
            file: None,
            pts_ns: None,
            capture_unix_ns: None,
            clock: Clock::File,
            resolution,
            status: result.status,
            cause: result.cause,
            queries: records,
            objects,
            latency_ms: None,
        }
    }
}

impl<'a> ObjectRecord<'a> {
    fn new(query: &'a str, object: &Object, resolution: Option<&Resolution>) -> Self {
        let &Object { id, ref rect, raw, score, measured, cause } = object;
        Self {
            query,
            id,
            boxed: (*rect).into(),
            box_raw: raw.map(PixelBox::from),
            box_norm: resolution.map(|resolution| NormBox::new(rect, resolution)),
            score,
            measured,
            cause,
        }
    }
}
