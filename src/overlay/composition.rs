//! Tiles onto pictures: as a GStreamer overlay composition, which blends in the frame's own format, and onto RGB.

use gstreamer as gst;
use gstreamer_video as gst_video;

use super::Tile;

/// Wraps tiles for GStreamer's `overlaycomposition` element. `None` where there is nothing to draw.
pub fn attach_tiles(tiles: Vec<Tile>) -> Option<gst_video::VideoOverlayComposition> {
    let rectangles: Vec<_> = tiles.into_iter().filter_map(rectangle).collect();
    gst_video::VideoOverlayComposition::new(&rectangles).ok()
}

fn rectangle(tile: Tile) -> Option<gst_video::VideoOverlayRectangle> {
    let (width, height) = (tile.width as u32, tile.height as u32);
    let mut buffer = gst::Buffer::from_mut_slice(tile.bgra);
    let format = gst_video::VideoFormat::Bgra;
    gst_video::VideoMeta::add(buffer.get_mut()?, gst_video::VideoFrameFlags::empty(), format, width, height).ok()?;
    let flags = gst_video::VideoOverlayFormatFlags::PREMULTIPLIED_ALPHA;
    Some(gst_video::VideoOverlayRectangle::new_raw(&buffer, tile.x as i32, tile.y as i32, width, height, flags))
}

/// Blends tiles over packed RGB rows of `width` pixels.
pub fn blend_rgb(rgb: &mut [u8], width: usize, tiles: &[Tile]) {
    for tile in tiles {
        for (row, source) in tile.bgra.chunks_exact(4 * tile.width).enumerate() {
            let start = 3 * ((tile.y + row) * width + tile.x);
            for (pixel, &[b, g, r, a]) in
                rgb[start..][..3 * tile.width].chunks_exact_mut(3).zip(source.as_chunks::<4>().0)
            {
                for (value, over) in pixel.iter_mut().zip([r, g, b]) {
                    let under = u16::from(*value) * (255 - u16::from(a)) / 255;
                    *value = (under + u16::from(over)).min(255) as u8;
                }
            }
        }
    }
}
