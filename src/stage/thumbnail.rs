//! Grey thumbnails of frames in any format.

use gst_video::prelude::*;
use gstreamer_video as gst_video;

use super::Frame;
use super::convert::{Conversion, readable};

/// Makes thumbnails of one size.
pub(super) struct Thumbnails {
    /// Columns and rows.
    size: (usize, usize),
    grey: Option<Conversion>,
    pixels: Vec<u8>,
}

impl Thumbnails {
    pub(super) fn new(size: (usize, usize)) -> Self {
        Self { size, grey: None, pixels: Vec::new() }
    }

    /// Grey, a byte a pixel, row by row. None of a frame that cannot be read: that is found out again where it matters.
    pub(super) fn of(&mut self, frame: &Frame) -> Option<&[u8]> {
        self.pixels.clear();
        let made = if starts_with_luma(frame.info.format()) { self.sample(frame) } else { self.convert(frame) };
        made.is_ok().then_some(&*self.pixels)
    }

    /// The mean of a few points in each cell: the whole picture need not be read to see that it is another one.
    fn sample(&mut self, frame: &Frame) -> Result<(), String> {
        const POINTS: usize = 4;
        let frame = readable(&frame.buffer, &frame.info)?;
        let (data, stride) = (frame.plane_data(0).map_err(|e| e.to_string())?, frame.plane_stride()[0]);
        let stride = usize::try_from(stride).map_err(|e| e.to_string())?;
        let size = (frame.width() as usize, frame.height() as usize);
        let point = |cell: usize, point: usize, cells: usize, length: usize| {
            ((2 * (cell * POINTS + point) + 1) * length / (2 * cells * POINTS)).min(length - 1)
        };
        let (columns, rows) = self.size;
        for row in 0..rows {
            for column in 0..columns {
                let points = (0..POINTS * POINTS).map(|i| {
                    let (x, y) = (point(column, i % POINTS, columns, size.0), point(row, i / POINTS, rows, size.1));
                    data.get(y * stride + x).map_or(0, |v| u32::from(*v))
                });
                self.pixels.push((points.sum::<u32>() / (POINTS * POINTS) as u32) as u8);
            }
        }
        Ok(())
    }

    fn convert(&mut self, frame: &Frame) -> Result<(), String> {
        let (w, h) = self.size;
        let grey = Conversion::of(&mut self.grey, frame, gst_video::VideoFormat::Gray8, (w as u32, h as u32))?;
        let (data, stride) = (grey.plane_data(0).map_err(|e| e.to_string())?, grey.plane_stride()[0]);
        let stride = usize::try_from(stride).map_err(|e| e.to_string())?;
        data.chunks(stride.max(w)).take(h).for_each(|row| self.pixels.extend_from_slice(&row[..w.min(row.len())]));
        Ok(())
    }
}

/// Formats whose first plane is brightness, a byte a pixel.
fn starts_with_luma(format: gst_video::VideoFormat) -> bool {
    use gst_video::VideoFormat as Format;
    let planar = [Format::I420, Format::Yv12, Format::Nv12, Format::Nv21, Format::Y42b, Format::Y444, Format::Gray8];
    planar.contains(&format)
}
