//! Grey thumbnails of frames in any format.

use gst_video::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;

use crate::convert::{Conversion, readable};

/// Makes thumbnails of one size.
pub struct Thumbnails {
    /// Columns and rows.
    size: (usize, usize),
    grey: Option<Conversion>,
    pixels: Vec<u8>,
}

impl Thumbnails {
    /// `size` is columns and rows, each from 1.
    pub fn new(size: (usize, usize)) -> Self {
        Self { size, grey: None, pixels: Vec::new() }
    }

    /// Grey, a byte a pixel, row by row. None of a frame that cannot be read: that is found out again where it matters.
    pub fn of(&mut self, buffer: &gst::BufferRef, info: &gst_video::VideoInfo) -> Option<&[u8]> {
        self.pixels.clear();
        if starts_with_luma(info.format()) {
            self.sample(buffer, info)?;
        } else {
            self.convert(buffer, info)?;
        }
        Some(&self.pixels)
    }

    /// The mean of a few points in each cell: the whole picture need not be read to see that it is another one.
    fn sample(&mut self, buffer: &gst::BufferRef, info: &gst_video::VideoInfo) -> Option<()> {
        const POINTS: usize = 4;
        let frame = readable(buffer, info).ok()?;
        let (data, stride) = (frame.plane_data(0).ok()?, usize::try_from(frame.plane_stride()[0]).ok()?);
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
        Some(())
    }

    fn convert(&mut self, buffer: &gst::BufferRef, info: &gst_video::VideoInfo) -> Option<()> {
        let (w, h) = self.size;
        let format = gst_video::VideoFormat::Gray8;
        let grey = Conversion::of(&mut self.grey, buffer, info, format, (w as u32, h as u32)).ok()?;
        let (data, stride) = (grey.plane_data(0).ok()?, usize::try_from(grey.plane_stride()[0]).ok()?);
        data.chunks(stride.max(w)).take(h).for_each(|row| self.pixels.extend_from_slice(&row[..w.min(row.len())]));
        Some(())
    }
}

/// Formats whose first plane is brightness, a byte a pixel.
pub(crate) fn starts_with_luma(format: gst_video::VideoFormat) -> bool {
    use gst_video::VideoFormat as Format;
    let planar = [Format::I420, Format::Yv12, Format::Nv12, Format::Nv21, Format::Y42b, Format::Y444, Format::Gray8];
    planar.contains(&format)
}
