//! Frames of another size or format, made to fit the first one: who watches gets one size for ever.

use blocks::preprocess::Rect;
use gstreamer as gst;
use gstreamer_video as gst_video;

use crate::error::Result;
use crate::meta;

/// Brings frames of one format and size to another, with bars where their shapes differ.
pub struct Rescaler {
    from: gst_video::VideoInfo,
    to: gst_video::VideoInfo,
    converter: gst_video::VideoConverter,
    /// The picture's place.
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

impl Rescaler {
    /// From the format and size of `from` to those of `to`.
    ///
    /// # Errors
    /// The formats cannot be converted.
    pub fn new(from: &gst_video::VideoInfo, to: &gst_video::VideoInfo) -> Result<Self> {
        let aspect = |info: &gst_video::VideoInfo| {
            let par = info.par();
            f64::from(info.width()) * f64::from(par.numer()) / f64::from(par.denom()) / f64::from(info.height())
        };
        let ratio = aspect(from) / aspect(to);
        // Even places: colour has half the resolution.
        let part = |length: u32, share: f64| ((f64::from(length) * share / 2.0).round() as u32 * 2).clamp(2, length);
        let (width, height) = (part(to.width(), ratio.min(1.0)), part(to.height(), (1.0 / ratio).min(1.0)));
        let middle = |whole: u32, part: u32| (whole - part) / 4 * 2;
        let (x, y) = (middle(to.width(), width), middle(to.height(), height));
        let mut config = gst_video::VideoConverterConfig::new();
        config.set_dest_x(x as i32);
        config.set_dest_y(y as i32);
        config.set_dest_width(Some(width as i32));
        config.set_dest_height(Some(height as i32));
        config.set_fill_border(true);
        // The rate may differ between connections; the converter insists that it does not.
        let source = gst_video::VideoInfo::builder(from.format(), from.width(), from.height())
            .colorimetry(&from.colorimetry())
            .fps(to.fps())
            .interlace_mode(to.interlace_mode())
            .par(from.par());
        let source = source.build()?;
        let converter = gst_video::VideoConverter::new(&source, to, Some(config))?;
        Ok(Self { from: from.clone(), to: to.clone(), converter, x, y, width, height })
    }

    /// Whether it was made for frames like these.
    pub fn is_for(&self, info: &gst_video::VideoInfo) -> bool {
        self.from == *info
    }

    /// The frame in the other format and size; the boxes of its metadata ([`meta`]) are moved along.
    ///
    /// # Errors
    /// Memory cannot be had or mapped.
    pub fn rescale(&self, buffer: &gst::BufferRef) -> Result<gst::Buffer> {
        let mut fitted = gst::Buffer::with_size(self.to.size())?;
        let writable = fitted.make_mut();
        {
            let source = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &self.from)?;
            let mut target = gst_video::VideoFrameRef::from_buffer_ref_writable(writable, &self.to)?;
            self.converter.frame_ref(&source, &mut target);
        }
        let (across, down) = (
            f64::from(self.width) / f64::from(self.from.width()),
            f64::from(self.height) / f64::from(self.from.height()),
        );
        let (x, y) = (f64::from(self.x), f64::from(self.y));
        meta::carry_over(buffer, writable, |rect| Rect {
            x0: x + across * rect.x0,
            y0: y + down * rect.y0,
            x1: x + across * rect.x1,
            y1: y + down * rect.y1,
        });
        Ok(fitted)
    }
}

#[cfg(test)]
mod tests {
    use gst_video::prelude::*;

    use super::*;

    fn info(format: gst_video::VideoFormat, width: u32, height: u32) -> gst_video::VideoInfo {
        gst::init().expect("GStreamer starts");
        gst_video::VideoInfo::builder(format, width, height).build().expect("valid")
    }

    #[test]
    fn a_picture_keeps_its_shape_and_its_box() {
        let (from, to) = (info(gst_video::VideoFormat::Rgb, 100, 100), info(gst_video::VideoFormat::I420, 320, 160));
        let rescaler = Rescaler::new(&from, &to).expect("convertible");
        assert_eq!((rescaler.x, rescaler.y, rescaler.width, rescaler.height), (80, 0, 160, 160));
        let mut buffer = gst::Buffer::from_mut_slice(vec![255u8; 100 * 100 * 3 + 3 * 4 * 25]);
        meta::tests::mark(buffer.make_mut(), (50, 25, 50, 25));
        let fitted = rescaler.rescale(&buffer).expect("converted");
        let drawn = meta::annotations(&fitted)[0].rect;
        assert_eq!(drawn, Some(Rect { x0: 160.0, y0: 40.0, x1: 240.0, y1: 80.0 }));
        let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(&fitted, &to).expect("mapped");
        let luma = |x: usize, y: usize| frame.plane_data(0).expect("a plane")[y * frame.plane_stride()[0] as usize + x];
        assert!(luma(40, 80) < 20 && luma(160, 80) > 230 && luma(280, 80) < 20, "bars, picture, bars");
    }
}
