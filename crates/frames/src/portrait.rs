//! Frames of any format as pictures to be kept, and how sharp they are.

use blocks::preprocess::Rect;
use gst_video::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;

use crate::convert::{Conversion, readable};
use crate::error::Result;
use crate::thumbnail::starts_with_luma;

/// Sharpness is that of so many pixels a side at most, in the middle of what is asked for.
const SIDE: usize = 256;

/// Takes pictures of frames; frames that are alike are converted alike.
#[derive(Default)]
pub struct Portraits {
    rgb: Option<Conversion>,
    grey: Option<Conversion>,
}

impl Portraits {
    /// The whole frame as packed RGB, row by row.
    ///
    /// # Errors
    /// The format cannot be read.
    pub fn rgb(&mut self, buffer: &gst::BufferRef, info: &gst_video::VideoInfo) -> Result<Vec<u8>> {
        let (size, format) = ((info.width(), info.height()), gst_video::VideoFormat::Rgb);
        let frame = Conversion::of(&mut self.rgb, buffer, info, format, size)?;
        let stride = usize::try_from(frame.plane_stride()[0]).unwrap_or(0);
        let (row, rows) = (3 * size.0 as usize, size.1 as usize);
        let data = frame.plane_data(0).unwrap_or_default();
        let mut packed = Vec::with_capacity(row * rows);
        data.chunks(stride.max(row)).take(rows).for_each(|line| packed.extend_from_slice(&line[..row.min(line.len())]));
        packed.resize(row * rows, 0);
        Ok(packed)
    }

    /// How sharp the frame is within `rect`, in its pixels: the variance of the Laplacian of its brightness. 0 where there is
    /// nothing to measure.
    ///
    /// # Errors
    /// The format cannot be read.
    pub fn sharpness(&mut self, buffer: &gst::BufferRef, info: &gst_video::VideoInfo, rect: &Rect) -> Result<f64> {
        let size = (info.width(), info.height());
        let frame = if starts_with_luma(info.format()) {
            readable(buffer, info)?
        } else {
            Conversion::of(&mut self.grey, buffer, info, gst_video::VideoFormat::Gray8, size)?
        };
        let stride = usize::try_from(frame.plane_stride()[0]).unwrap_or(0);
        let across = middle(rect.x0, rect.x1, size.0 as usize);
        let down = middle(rect.y0, rect.y1, size.1 as usize);
        Ok(laplacian_variance(frame.plane_data(0).unwrap_or_default(), stride, across, down))
    }
}

/// The pixels between two edges that lie in the picture, the middle ones where there are many.
fn middle(from: f64, to: f64, length: usize) -> (usize, usize) {
    let edge = |value: f64| (value.max(0.0).round() as usize).min(length);
    let (from, to) = (edge(from), edge(to));
    let surplus = to.saturating_sub(from).saturating_sub(SIDE);
    (from + surplus / 2, to.saturating_sub(surplus - surplus / 2))
}

fn laplacian_variance(data: &[u8], stride: usize, (left, right): (usize, usize), (top, bottom): (usize, usize)) -> f64 {
    let row = |y: usize| data.get(y * stride + left..y * stride + right).filter(|row| row.len() > 2);
    let (mut count, mut sum, mut squares) = (0, 0i64, 0i64);
    for y in top + 1..bottom.saturating_sub(1) {
        let (Some(above), Some(here), Some(below)) = (row(y - 1), row(y), row(y + 1)) else { break };
        // A row's sums fit: a value is 1020 at most, and a row no longer than a side.
        let (mut of_row, mut squares_of_row) = (0i32, 0i32);
        let beside = here.iter().zip(&here[2..]);
        for (((above, below), (before, behind)), here) in above[1..].iter().zip(&below[1..]).zip(beside).zip(&here[1..])
        {
            let [above, below, before, behind, here] = [above, below, before, behind, here].map(|v| i32::from(*v));
            let value = 4 * here - before - behind - above - below;
            of_row += value;
            squares_of_row += value * value;
        }
        count += here.len() - 2;
        sum += i64::from(of_row);
        squares += i64::from(squares_of_row);
    }
    if count == 0 {
        return 0.0;
    }
    let mean = sum as f64 / count as f64;
    squares as f64 / count as f64 - mean * mean
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of one brightness, or with stripes as wide as they say.
    fn frame(format: gst_video::VideoFormat, stripe: Option<usize>) -> (gst_video::VideoInfo, gst::Buffer) {
        gst::init().expect("GStreamer starts");
        let info = gst_video::VideoInfo::builder(format, 66, 40).build().expect("a format");
        let mut buffer = gst::Buffer::with_size(info.size()).expect("memory");
        let bytes = if format == gst_video::VideoFormat::Rgb { 3 } else { 1 };
        let stride = usize::try_from(info.stride()[0]).expect("positive");
        {
            let mut map = buffer.make_mut().map_writable().expect("ours");
            for (at, value) in map.iter_mut().enumerate().take(stride * 40) {
                let bright = stripe.is_some_and(|wide| at % stride / bytes / wide % 2 == 1);
                *value = if bright { 200 } else { 100 };
            }
        }
        (info, buffer)
    }

    #[test]
    fn what_has_more_edges_is_sharper_in_any_format() {
        for format in [gst_video::VideoFormat::I420, gst_video::VideoFormat::Rgb] {
            let sharpness = |stripe: Option<usize>, rect: &Rect| {
                let (info, buffer) = frame(format, stripe);
                Portraits::default().sharpness(&buffer, &info, rect).expect("read")
            };
            let whole = Rect { x0: -9.0, y0: -9.0, x1: 99.0, y1: 99.0 };
            let [flat, wide, narrow] = [None, Some(16), Some(4)].map(|stripe| sharpness(stripe, &whole));
            assert!(flat.abs() < 1e-9 && flat < wide && wide < narrow, "{format:?}: {flat}, {wide}, {narrow}");
            let nothing = Rect { x0: 5.0, y0: 5.0, x1: 6.0, y1: 90.0 };
            assert!(sharpness(Some(4), &nothing).abs() < 1e-9);
        }
    }

    #[test]
    fn rows_are_packed() {
        let (info, buffer) = frame(gst_video::VideoFormat::Rgb, Some(1));
        let packed = Portraits::default().rgb(&buffer, &info).expect("read");
        assert_eq!(packed.len(), 3 * 66 * 40);
        assert!(packed.chunks(3 * 66).all(|row| row[..6] == [100, 100, 100, 200, 200, 200]));
    }
}
