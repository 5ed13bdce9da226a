//! Pictures as decoders hand them out: a plane of luma, chroma at half the resolution.
//!
//! A picture that becomes smaller is cheaper to scale plane by plane, and to turn into RGB when it is small: both are linear. Rounding comes in another order then, which costs up to 2 of 255; so does clipping: where two strong
//! colours meet, RGB in full size is clipped before it is averaged, and differs by more.

use crate::error::{Error, Result};

/// Samples of one plane, 8 bits each, rows from the top.
#[derive(Debug, Clone, Copy)]
pub struct Plane<'a> {
    /// Bytes from row to row.
    pub stride: usize,
    /// The samples.
    pub data: &'a [u8],
}

/// Where chroma stands.
#[derive(Debug, Clone, Copy)]
pub enum Chroma<'a> {
    /// Cb and Cr each in its plane (I420).
    Planar(Plane<'a>, Plane<'a>),
    /// Cb and Cr in turns (NV12).
    Interleaved(Plane<'a>),
}

/// How luma and chroma make RGB (ITU-R BT.601, BT.709, BT.2020: the same formula with other weights).
#[derive(Debug, Clone, Copy)]
pub struct ColourMatrix {
    /// Weight of red in luma.
    pub kr: f32,
    /// Weight of blue.
    pub kb: f32,
    /// Luma 0..255 instead of 16..235.
    pub full_range: bool,
}

/// A 4:2:0 picture, progressive.
#[derive(Debug, Clone, Copy)]
pub struct YuvView<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    luma: Plane<'a>,
    chroma: Chroma<'a>,
    /// True where a chroma sample stands on the left one of its two luma samples (MPEG-2, H.264), not between them.
    cosited: bool,
    matrix: ColourMatrix,
}

/// One plane, or a pair in turns, as the resizer takes it.
pub(super) struct Samples<'a> {
    pub(super) data: &'a [u8],
    /// Samples in a row of `data`, and rows; a row may go on behind the picture.
    pub(super) size: (usize, usize),
    /// Samples in a row that belong to the picture or to its margin.
    pub(super) used: usize,
    pub(super) channels: usize,
    /// `left, top, width, height` of the part that shows the picture, in samples.
    pub(super) window: [f64; 4],
}

impl<'a> YuvView<'a> {
    /// # Errors
    /// No pixels, or a plane that is too small.
    pub fn new(
        (width, height): (usize, usize),
        luma: Plane<'a>,
        chroma: Chroma<'a>,
        cosited: bool,
        matrix: ColourMatrix,
    ) -> Result<Self> {
        let (half, rows) = (width.div_ceil(2), height.div_ceil(2));
        let holds = |plane: &Plane, row: usize, rows: usize| {
            plane.stride >= row && plane.data.len() >= rows.saturating_sub(1) * plane.stride + row
        };
        let whole = match &chroma {
            Chroma::Planar(cb, cr) => holds(cb, half, rows) && holds(cr, half, rows),
            Chroma::Interleaved(both) => holds(both, 2 * half, rows),
        };
        if width == 0 || height == 0 || !holds(&luma, width, height) || !whole {
            return Err(Error::Unsupported(format!("planes that hold no 4:2:0 picture of {width}x{height}")));
        }
        Ok(Self { width, height, luma, chroma, cosited, matrix })
    }

    /// Planes that hold chroma: two, or one of pairs.
    pub(super) fn chroma_planes(&self) -> usize {
        if matches!(self.chroma, Chroma::Planar(..)) { 2 } else { 1 }
    }

    /// Luma, where it stands, unless its rows cannot be addressed there.
    pub(super) fn luma<'m>(&'m self, memory: &'m mut Vec<u8>) -> Samples<'m> {
        let window = [0.0, 0.0, self.width as f64, self.height as f64];
        samples(&self.luma, (self.width, self.height), 1, window, 0, memory)
    }

    /// A plane of chroma; `memory` holds it where it needs a margin.
    pub(super) fn chroma<'m>(&'m self, plane: usize, memory: &'m mut Vec<u8>) -> Samples<'m> {
        let size = (self.width.div_ceil(2), self.height.div_ceil(2));
        // Cosited: half a luma sample further right; what is missing there is the last sample once more.
        let (left, margin) = if self.cosited { (0.25, 1) } else { (0.0, 0) };
        let window = [left, 0.0, self.width as f64 / 2.0, self.height as f64 / 2.0];
        match (&self.chroma, plane) {
            (Chroma::Planar(cb, _), 0) => samples(cb, size, 1, window, margin, memory),
            (Chroma::Planar(_, cr), _) => samples(cr, size, 1, window, margin, memory),
            (Chroma::Interleaved(both), _) => samples(both, size, 2, window, margin, memory),
        }
    }

    /// RGB in 0..255, of samples in 0..255.
    pub(super) fn rgb(&self) -> impl Fn(u8, u8, u8) -> [f32; 3] + use<> {
        let ColourMatrix { kr, kb, full_range } = self.matrix;
        let (black, luma, chroma) = if full_range { (0.0, 1.0, 1.0) } else { (16.0, 255.0 / 219.0, 255.0 / 224.0) };
        let kg = 1.0 - kr - kb;
        let (red, blue) = (2.0 * (1.0 - kr) * chroma, 2.0 * (1.0 - kb) * chroma);
        let (green_red, green_blue) = (red * kr / kg, blue * kb / kg);
        move |y, cb, cr| {
            let y = (f32::from(y) - black) * luma;
            let (cb, cr) = (f32::from(cb) - 128.0, f32::from(cr) - 128.0);
            [y + red * cr, y - green_red * cr - green_blue * cb, y + blue * cb].map(|v| v.clamp(0.0, 255.0))
        }
    }
}

/// A plane of `width` by `height` samples where it stands; in `memory`, which is used again for the next frame, where it
/// needs a `margin` on the right.
fn samples<'m>(
    plane: &'m Plane<'_>,
    (width, height): (usize, usize),
    channels: usize,
    window: [f64; 4],
    margin: usize,
    memory: &'m mut Vec<u8>,
) -> Samples<'m> {
    let whole = plane.data.len() >= plane.stride * height && plane.stride.is_multiple_of(channels);
    if margin == 0 && whole {
        let data = &plane.data[..plane.stride * height];
        return Samples { data, size: (plane.stride / channels, height), used: width, channels, window };
    }
    memory.clear();
    for row in plane.data.chunks(plane.stride).take(height) {
        memory.extend_from_slice(&row[..channels * width]);
        (0..margin).for_each(|_| memory.extend_from_slice(&row[channels * (width - 1)..channels * width]));
    }
    Samples { data: memory, size: (width + margin, height), used: width + margin, channels, window }
}

#[cfg(test)]
mod tests {
    use super::super::{Letterboxed, Letterboxer};
    use super::*;
    use crate::Canvas;

    const SIZE: (usize, usize) = (90, 50);
    const MATRIX: ColourMatrix = ColourMatrix { kr: 0.299, kb: 0.114, full_range: false };

    /// A plane of noise whose rows go on with `behind`.
    fn plane(row: usize, rows: usize, stride: usize, behind: u8) -> Vec<u8> {
        (0..stride * rows)
            .map(|at| {
                let (x, y) = (at % stride, at / stride);
                if x < row { ((x * 37 + y * 101) % 256) as u8 } else { behind }
            })
            .collect()
    }

    fn letterboxed(stride: (usize, usize), cosited: bool, pairs: bool) -> Letterboxed {
        let (half, rows) = (SIZE.0 / 2, SIZE.1 / 2);
        let luma = plane(SIZE.0, SIZE.1, stride.0, 255);
        let chroma = plane(if pairs { 2 * half } else { half }, rows, stride.1, 255);
        let plane = |stride, data| Plane { stride, data };
        let chroma = plane(stride.1, &chroma);
        let chroma = if pairs { Chroma::Interleaved(chroma) } else { Chroma::Planar(chroma, chroma) };
        let view = YuvView::new(SIZE, plane(stride.0, &luma), chroma, cosited, MATRIX).expect("a picture");
        Letterboxer::default().letterbox_yuv(&view, Canvas { width: 64, height: 64 }, Vec::new()).expect("fits")
    }

    #[test]
    fn what_stands_behind_a_row_changes_nothing() {
        for cosited in [false, true] {
            for (pairs, packed) in [(false, (90, 45)), (true, (90, 90))] {
                let wide = if pairs { (96, 96) } else { (96, 61) };
                let (a, b) = (letterboxed(packed, cosited, pairs), letterboxed(wide, cosited, pairs));
                assert_eq!(a.pixels, b.pixels, "cosited {cosited}, pairs {pairs}");
            }
        }
        assert_ne!(letterboxed((90, 45), true, false).pixels, letterboxed((90, 45), false, false).pixels);
    }

    #[test]
    fn planes_that_are_too_small_are_refused() {
        let data = [0; 100];
        let small = Plane { stride: 10, data: &data };
        assert!(YuvView::new((10, 10), small, Chroma::Planar(small, small), true, MATRIX).is_ok());
        assert!(YuvView::new((10, 11), small, Chroma::Planar(small, small), true, MATRIX).is_err());
        assert!(
            YuvView::new((10, 10), small, Chroma::Interleaved(Plane { stride: 8, data: &data }), true, MATRIX).is_err()
        );
    }
}
