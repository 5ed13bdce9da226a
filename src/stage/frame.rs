//! One decoded frame, and what a source says between two of them.

use std::sync::Arc;
use std::time::Instant;

use gstreamer as gst;
use gstreamer_video as gst_video;
use records::{Clock, Resolution};

use super::query::QueryUpdate;
use crate::source::Fault;

/// A decoded frame as the source handed it over. The buffer is shared, never written.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Gap-free counter of the source.
    pub seq: u64,
    /// The decoder's buffer.
    pub buffer: gst::Buffer,
    /// Format, size, colour.
    pub info: Arc<gst_video::VideoInfo>,
    /// Degrees clockwise that were applied after decoding.
    pub rotation: u32,
    /// Time since the zero that its records and videos have in common.
    pub stream_time: Option<gst::ClockTime>,
    /// What the output pipeline counts: of live sources running time, of others `stream_time`.
    pub running_time: Option<gst::ClockTime>,
    /// Wall-clock time of capture, nanoseconds since 1970; the source's where it says, else that of arrival.
    pub captured: Option<u64>,
    /// Where that time comes from.
    pub clock: Clock,
    /// Counts the connections of its source, from 1.
    pub connection: u64,
    /// True where the decoder marked the picture as not to be used.
    pub corrupt: bool,
    /// True where the decoder complained of its data since the frame before: this picture, or one close to it, is guessed
    /// in part.
    pub damaged: bool,
    /// When it left the decoder.
    pub arrived: Instant,
}

impl Frame {
    /// The same without its pixels: what is left of a dropped frame, so that its memory returns to the decoder.
    #[must_use]
    pub fn without_picture(self) -> Self {
        Self { buffer: gst::Buffer::new(), ..self }
    }

    /// Size of the picture as grounded.
    pub fn resolution(&self) -> Resolution {
        let par = self.info.par();
        Resolution {
            width: self.info.width() as usize,
            height: self.info.height() as usize,
            rotation: self.rotation,
            par: f64::from(par.numer()) / f64::from(par.denom()),
        }
    }
}

/// How long a frame lasts where all last as long.
pub(crate) fn frame_time(info: &gst_video::VideoInfo) -> Option<gst::ClockTime> {
    let (rate, second) = (info.fps(), gst::ClockTime::SECOND.nseconds());
    let nanoseconds = second.checked_mul(u64::try_from(rate.denom()).ok()?)?.checked_div(rate.numer().try_into().ok()?);
    nanoseconds.map(gst::ClockTime::from_nseconds)
}

/// What a source says between its frames.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamEvent {
    /// The connection is lost, or the first one was not made. It is tried again.
    GapStart {
        /// Why.
        fault: Fault,
        /// Frames that came out of the decoder until then.
        decoded: u64,
        /// When the last frame came.
        since: Instant,
    },
    /// Another attempt failed.
    GapRetry {
        /// Counts the attempts of this gap, from 1.
        attempt: u64,
        /// Why.
        fault: Fault,
    },
    /// From here on the stream is asked something else.
    Queries(Arc<QueryUpdate>),
}
