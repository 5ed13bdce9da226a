//! One decoded frame.

use std::sync::Arc;
use std::time::Instant;

use gstreamer as gst;
use gstreamer_video as gst_video;

use crate::record::Resolution;

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
    /// `segment.to_stream_time(pts)`.
    pub stream_time: Option<gst::ClockTime>,
    /// `segment.to_running_time(pts)`: what the output pipeline's clock counts.
    pub running_time: Option<gst::ClockTime>,
    /// Wall-clock time of capture, nanoseconds since 1970; the source's where it says, else that of arrival.
    pub captured: Option<u64>,
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
