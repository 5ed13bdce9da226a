//! Frames in any format through `GstVideoConverter`: colour follows the caps' matrix and range.

use blocks::preprocess::RgbView;
use gst_video::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;

use crate::error::{Error, Result};

/// A conversion of format and size, kept while its frames stay alike.
pub(crate) struct Conversion {
    from: gst_video::VideoInfo,
    converter: gst_video::VideoConverter,
    target: gst_video::VideoInfo,
    buffer: gst::Buffer,
}

impl Conversion {
    /// Converts a frame, making `slot` fit first where it does not.
    pub(crate) fn of<'a>(
        slot: &'a mut Option<Self>,
        buffer: &gst::BufferRef,
        info: &gst_video::VideoInfo,
        format: gst_video::VideoFormat,
        size: (u32, u32),
    ) -> Result<gst_video::VideoFrameRef<&'a gst::BufferRef>> {
        let source = readable(buffer, info)?;
        let conversion = match slot.take().filter(|known| known.from == *info) {
            Some(known) => slot.insert(known),
            None => slot.insert(Self::new(info, format, size)?),
        };
        let buffer = conversion.buffer.make_mut();
        let mut target = gst_video::VideoFrameRef::from_buffer_ref_writable(buffer, &conversion.target)?;
        conversion.converter.frame_ref(&source, &mut target);
        drop(target);
        readable(&conversion.buffer, &conversion.target)
    }

    fn new(from: &gst_video::VideoInfo, format: gst_video::VideoFormat, size: (u32, u32)) -> Result<Self> {
        // The converter changes colour and size, never rate or interlacing.
        let target = gst_video::VideoInfo::builder(format, size.0, size.1)
            .fps(from.fps())
            .interlace_mode(from.interlace_mode())
            .build()?;
        let converter = gst_video::VideoConverter::new(from, &target, None).map_err(|reason| Error::Convert {
            from: from.format(),
            to: format,
            reason,
        })?;
        let buffer = gst::Buffer::with_size(target.size())?;
        Ok(Self { from: from.clone(), converter, target, buffer })
    }
}

pub(crate) fn readable<'a>(
    buffer: &'a gst::BufferRef,
    info: &gst_video::VideoInfo,
) -> Result<gst_video::VideoFrameRef<&'a gst::BufferRef>> {
    gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info).map_err(Error::Map)
}

/// The pixels of a mapped frame of packed RGB, without a copy.
///
/// # Errors
/// Its rows are shorter than the frame is wide.
pub fn rgb_view<'a>(frame: &'a gst_video::VideoFrameRef<&gst::BufferRef>) -> Result<RgbView<'a>> {
    let data = frame.plane_data(0).unwrap_or_default();
    let stride = usize::try_from(frame.plane_stride()[0]).unwrap_or(0);
    Ok(RgbView::new(frame.width() as usize, frame.height() as usize, stride, data)?)
}
