//! Pictures as decoders hand them out: a plane of luma, chroma at half the resolution.
//!
//! A picture that becomes smaller is cheaper to scale plane by plane, and to turn into RGB when it is small: both are linear. Rounding comes in another order then, which costs up to 2 of 255; so does clipping: where two strong
//! colours meet, RGB in full size is clipped before it is averaged, and differs by more.

use std::borrow::Cow;

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

/// One plane or pair of planes without gaps, and where in it the picture begins.
pub(super) struct Packed<'a> {
    pub(super) data: Cow<'a, [u8]>,
    pub(super) size: (usize, usize),
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

    /// Luma, then chroma: two planes or one of pairs.
    pub(super) fn planes(&self) -> Vec<Packed<'a>> {
        let window = [0.0, 0.0, self.width as f64, self.height as f64];
        let data = packed(&self.luma, self.width, self.height);
        let luma = Packed { data, size: (self.width, self.height), channels: 1, window };
        let chroma = |plane: &Plane<'a>, channels: usize| {
            let (half, rows) = (self.width.div_ceil(2), self.height.div_ceil(2));
            let mut window = window.map(|v| v / 2.0);
            if !self.cosited {
                let data = packed(plane, channels * half, rows);
                return Packed { data, size: (half, rows), channels, window };
            }
            // Half a luma sample further right; what is missing there is the last sample once more.
            window[0] = 0.25;
            let mut data = Vec::with_capacity(channels * (half + 1) * rows);
            for row in plane.data.chunks(plane.stride).take(rows) {
                data.extend_from_slice(&row[..channels * half]);
                data.extend_from_slice(&row[channels * (half - 1)..channels * half]);
            }
            Packed { data: Cow::Owned(data), size: (half + 1, rows), channels, window }
        };
        match &self.chroma {
            Chroma::Planar(cb, cr) => vec![luma, chroma(cb, 1), chroma(cr, 1)],
            Chroma::Interleaved(both) => vec![luma, chroma(both, 2)],
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

fn packed<'a>(plane: &Plane<'a>, row: usize, rows: usize) -> Cow<'a, [u8]> {
    if plane.stride == row {
        return Cow::Borrowed(&plane.data[..row * rows]);
    }
    Cow::Owned(plane.data.chunks(plane.stride).take(rows).flat_map(|r| &r[..row]).copied().collect())
}
