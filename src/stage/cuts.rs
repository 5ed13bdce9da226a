//! Grey thumbnails of frames, compared one by one.

use gst_video::prelude::*;
use gstreamer_video as gst_video;

use super::Frame;
use super::convert::{Conversion, readable};
use crate::track::{CutDetector, THUMBNAIL};

/// Looks for scene cuts in frames of any format.
#[derive(Default)]
pub(super) struct Cuts {
    detector: CutDetector,
    grey: Option<Conversion>,
    thumbnail: Vec<u8>,
}

impl Cuts {
    /// A frame that cannot be read is no cut; that it cannot be read is found out again where it matters.
    pub(super) fn is_cut(&mut self, frame: &Frame) -> bool {
        self.thumbnail.clear();
        let made = if starts_with_luma(frame.info.format()) { self.sample(frame) } else { self.convert(frame) };
        made.is_ok() && self.detector.is_cut(&self.thumbnail)
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
        let (columns, rows) = THUMBNAIL;
        for row in 0..rows {
            for column in 0..columns {
                let points = (0..POINTS * POINTS).map(|i| {
                    let (x, y) = (point(column, i % POINTS, columns, size.0), point(row, i / POINTS, rows, size.1));
                    data.get(y * stride + x).map_or(0, |v| u32::from(*v))
                });
                self.thumbnail.push((points.sum::<u32>() / (POINTS * POINTS) as u32) as u8);
            }
        }
        Ok(())
    }

    fn convert(&mut self, frame: &Frame) -> Result<(), String> {
        let (w, h) = THUMBNAIL;
        let grey = Conversion::of(&mut self.grey, frame, gst_video::VideoFormat::Gray8, (w as u32, h as u32))?;
        let (data, stride) = (grey.plane_data(0).map_err(|e| e.to_string())?, grey.plane_stride()[0]);
        let stride = usize::try_from(stride).map_err(|e| e.to_string())?;
        data.chunks(stride.max(w)).take(h).for_each(|row| self.thumbnail.extend_from_slice(&row[..w.min(row.len())]));
        Ok(())
    }
}

/// Formats whose first plane is brightness, a byte a pixel.
fn starts_with_luma(format: gst_video::VideoFormat) -> bool {
    use gst_video::VideoFormat as Format;
    let planar = [Format::I420, Format::Yv12, Format::Nv12, Format::Nv21, Format::Y42b, Format::Y444, Format::Gray8];
    planar.contains(&format)
}
