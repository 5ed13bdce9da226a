//! Frames in any format through `GstVideoConverter`: colour follows the caps' matrix and range.

use std::sync::Arc;

use blocks::preprocess::RgbView;
use gst_video::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;

use super::Frame;

/// A conversion of format and size, kept while its frames stay alike.
pub(super) struct Conversion {
    from: Arc<gst_video::VideoInfo>,
    converter: gst_video::VideoConverter,
    target: gst_video::VideoInfo,
    buffer: gst::Buffer,
}

impl Conversion {
    /// Converts `frame`, making `slot` fit first where it does not.
    pub(super) fn of<'a>(
        slot: &'a mut Option<Self>,
        frame: &Frame,
        format: gst_video::VideoFormat,
        size: (u32, u32),
    ) -> Result<gst_video::VideoFrameRef<&'a gst::BufferRef>, String> {
        let source = readable(&frame.buffer, &frame.info)?;
        let conversion = match slot.take().filter(|known| known.from == frame.info) {
            Some(known) => slot.insert(known),
            None => slot.insert(Self::new(&frame.info, format, size)?),
        };
        let buffer = conversion.buffer.make_mut();
        let mut target = gst_video::VideoFrameRef::from_buffer_ref_writable(buffer, &conversion.target)
            .map_err(|e| e.to_string())?;
        conversion.converter.frame_ref(&source, &mut target);
        drop(target);
        readable(&conversion.buffer, &conversion.target)
    }

    fn new(from: &Arc<gst_video::VideoInfo>, format: gst_video::VideoFormat, size: (u32, u32)) -> Result<Self, String> {
        // The converter changes colour and size, never rate or interlacing.
        let target = gst_video::VideoInfo::builder(format, size.0, size.1)
            .fps(from.fps())
            .interlace_mode(from.interlace_mode())
            .build()
            .map_err(|e| e.to_string())?;
        let converter = gst_video::VideoConverter::new(from, &target, None)
            .map_err(|e| format!("{:?} cannot be converted to {format:?}: {e}", from.format()))?;
        let buffer = gst::Buffer::with_size(target.size()).map_err(|e| e.to_string())?;
        Ok(Self { from: Arc::clone(from), converter, target, buffer })
    }
}

pub(super) fn readable<'a>(
    buffer: &'a gst::Buffer,
    info: &'a gst_video::VideoInfo,
) -> Result<gst_video::VideoFrameRef<&'a gst::BufferRef>, String> {
    gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info)
        .map_err(|e| format!("the frame's memory cannot be mapped: {e}"))
}

/// A frame of packed RGB.
pub(crate) fn view<'a>(frame: &'a gst_video::VideoFrameRef<&gst::BufferRef>) -> grounding::Result<RgbView<'a>> {
    let data = frame.plane_data(0).unwrap_or_default();
    let stride = usize::try_from(frame.plane_stride()[0]).unwrap_or(0);
    RgbView::new(frame.width() as usize, frame.height() as usize, stride, data)
}
