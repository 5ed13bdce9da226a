//! A frame in any format, as the letterboxed picture that a model takes. Frames of 4:2:0 in 8 bits are scaled plane by plane
//! and converted when they are small; others become RGB first.

use blocks::Canvas;
use blocks::preprocess::{Letterboxed, Letterboxer};
use gstreamer as gst;
use gstreamer_video as gst_video;

use crate::convert::{Conversion, readable, rgb_view};
use crate::error::{Error, Result};
use crate::planes::Planes;

/// Letterboxes frames, with memory that is used again while they stay alike.
#[derive(Default)]
pub struct FrameLetterboxer {
    rgb: Option<Conversion>,
    letterboxer: Letterboxer,
}

impl FrameLetterboxer {
    /// The frame on that one of `canvases` on which it is largest: normalised, `[3, height, width]`. Colour follows the matrix
    /// and range of `info`. The pixels go into `memory`, whatever it holds.
    ///
    /// # Errors
    /// The memory cannot be mapped, the format cannot be converted, the picture is too small, or there is no canvas.
    pub fn letterbox(
        &mut self,
        buffer: &gst::BufferRef,
        info: &gst_video::VideoInfo,
        canvases: &[Canvas],
        memory: Vec<f32>,
    ) -> Result<Letterboxed> {
        let (width, height) = (info.width() as usize, info.height() as usize);
        let canvas = Canvas::fitting(canvases, width, height).ok_or(Error::NoCanvas)?;
        let letterboxer = &mut self.letterboxer;
        if let Some(planes) = Planes::of(info) {
            let frame = readable(buffer, info)?;
            let view = planes.view(&frame)?;
            return Ok(letterboxer.letterbox_yuv(&view, canvas, memory)?);
        }
        let place = |rgb: &gst_video::VideoFrameRef<&gst::BufferRef>| -> Result<Letterboxed> {
            Ok(letterboxer.letterbox_into(&rgb_view(rgb)?, canvas, memory)?)
        };
        if info.format() == gst_video::VideoFormat::Rgb {
            return place(&readable(buffer, info)?);
        }
        let size = (info.width(), info.height());
        place(&Conversion::of(&mut self.rgb, buffer, info, gst_video::VideoFormat::Rgb, size)?)
    }
}
