//! What the metadata of a buffer says, drawn, as a GStreamer overlay composition, which blends in the frame's own format.

use gstreamer as gst;
use gstreamer_video as gst_video;

use crate::error::Result;
use crate::meta;
use crate::overlay::{Parts, Shape, Tile, notice_tiles, shape_tiles, tiles};

/// What an `overlaycomposition` element blends over a buffer of `width` x `height` pixels, by its metadata, above
/// `shapes`. None where there is nothing to draw.
///
/// # Errors
/// The drawing library fails.
pub fn overlay_composition(
    buffer: &gst::BufferRef,
    parts: Parts,
    (width, height): (usize, usize),
    shapes: &[gst_video::VideoOverlayRectangle],
) -> Result<Option<gst_video::VideoOverlayComposition>> {
    let mut drawn = match meta::notice(buffer) {
        Some(notice) => notice_tiles(&notice, width, height)?,
        None => Vec::new(),
    };
    drawn.extend(tiles(&meta::annotations(buffer), parts, width, height)?);
    if drawn.is_empty() && shapes.is_empty() {
        return Ok(None);
    }
    let rectangles: Vec<_> = drawn.into_iter().filter_map(rectangle).collect();
    Ok(gst_video::VideoOverlayComposition::new(shapes.iter().chain(&rectangles)).ok())
}

/// Zones and lines as they are blended over frames of `width` x `height` pixels: they are drawn once.
///
/// # Errors
/// The drawing library fails.
pub fn shape_rectangles(
    shapes: &[Shape],
    (width, height): (usize, usize),
) -> Result<Vec<gst_video::VideoOverlayRectangle>> {
    Ok(shape_tiles(shapes, width, height)?.into_iter().filter_map(rectangle).collect())
}

fn rectangle(tile: Tile) -> Option<gst_video::VideoOverlayRectangle> {
    let (width, height) = (tile.width as u32, tile.height as u32);
    let mut buffer = gst::Buffer::from_mut_slice(tile.bgra);
    let format = gst_video::VideoFormat::Bgra;
    gst_video::VideoMeta::add(buffer.get_mut()?, gst_video::VideoFrameFlags::empty(), format, width, height).ok()?;
    let flags = gst_video::VideoOverlayFormatFlags::PREMULTIPLIED_ALPHA;
    Some(gst_video::VideoOverlayRectangle::new_raw(&buffer, tile.x as i32, tile.y as i32, width, height, flags))
}
