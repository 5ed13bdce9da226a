//! Tiles onto RGB.

use super::Tile;

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
