//! Picture files as a stream: pushed into the pipeline one after the other. A GIF that moves is a film when it comes alone, and its
//! first picture among others.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use blocks::preprocess::Picture;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use image::AnimationDecoder;
use image::codecs::gif::GifDecoder;

use super::heif::open_picture;

/// The name that the pipeline file gives to its appsrc.
pub(super) const APPSRC: &str = "pictures";

/// A picture that cannot be read still takes its place in the stream, as a frame that is marked as broken.
fn broken(info: Option<&gst_video::VideoInfo>) -> Option<(gst_video::VideoInfo, gst::Buffer)> {
    let info = match info {
        Some(info) => info.clone(),
        None => gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, 64, 64).build().ok()?,
    };
    let mut buffer = gst::Buffer::from_mut_slice(vec![0; info.size()]);
    buffer.get_mut()?.set_flags(gst::BufferFlags::CORRUPTED);
    Some((info, buffer))
}

/// A picture as an RGB frame of a stream with so many a second.
///
/// # Errors
/// In words: the picture is larger than any format allows.
pub(crate) fn rgb_frame(picture: Picture, rate: gst::Fraction) -> Result<(gst_video::VideoInfo, gst::Buffer), String> {
    let (w, h) = (picture.width, picture.height);
    let side = |side: usize| u32::try_from(side).map_err(|e| e.to_string());
    let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, side(w)?, side(h)?).fps(rate).build();
    let info = info.map_err(|e| e.to_string())?;
    let (packed, stride) = (3 * w, usize::try_from(info.stride()[0]).map_err(|e| e.to_string())?);
    let data = if packed == stride {
        picture.rgb
    } else {
        // GStreamer's rows begin at multiples of four bytes.
        let mut data = vec![0; info.size()];
        for (to, from) in data.chunks_mut(stride).zip(picture.rgb.chunks(packed)) {
            to[..packed].copy_from_slice(from);
        }
        data
    };
    Ok((info, gst::Buffer::from_mut_slice(data)))
}

/// A picture, and how long it is shown, if it says.
type Shown = (Result<Picture, String>, Option<gst::ClockTime>);

/// All pictures, read when they are asked for.
fn pictures(paths: &[PathBuf]) -> Box<dyn Iterator<Item = Shown> + '_> {
    if let [path] = paths
        && path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gif"))
    {
        return moving(path).unwrap_or_else(|error| Box::new(std::iter::once((Err(error), None))));
    }
    Box::new(paths.iter().map(|path| (open_picture(path).map_err(|e| e.to_string()), None)))
}

/// The pictures of a GIF.
///
/// # Errors
/// In words: it cannot be read.
fn moving(path: &Path) -> Result<Box<dyn Iterator<Item = Shown>>, String> {
    // As browsers show those that claim no time at all.
    const USUAL: Duration = Duration::from_millis(100);
    let name = path.display().to_string();
    let fail = move |reason: &dyn std::fmt::Display| format!("picture {name}: cannot be decoded: {reason}");
    let file = File::open(path).map_err(|e| fail(&e))?;
    let frames = GifDecoder::new(BufReader::new(file)).map_err(|e| fail(&e))?.into_frames();
    Ok(Box::new(frames.map(move |frame| {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return (Err(fail(&error)), None),
        };
        let delay = Some(Duration::from(frame.delay())).filter(|delay| !delay.is_zero()).unwrap_or(USUAL);
        let rgb = image::DynamicImage::from(frame.into_buffer()).into_rgb8();
        let (width, height) = (rgb.width() as usize, rgb.height() as usize);
        (Ok(Picture { width, height, rgb: rgb.into_raw() }), gst::ClockTime::try_from(delay).ok())
    })))
}

/// Pushes all pictures, `rate` a second where they say nothing of it, then the end. Ends early when the pipeline stops.
pub(super) fn feed(appsrc: &gst_app::AppSrc, paths: &Arc<[PathBuf]>, rate: gst::Fraction) {
    let at = |number: u64| gst::ClockTime::SECOND.mul_div_floor(number * rate.denom() as u64, rate.numer() as u64);
    let mut last: Option<gst_video::VideoInfo> = None;
    let mut told = gst::ClockTime::ZERO;
    for (number, (picture, delay)) in (0..).zip(pictures(paths)) {
        let made = picture.and_then(|picture| rgb_frame(picture, rate)).map_or_else(
            |error| {
                tracing::error!("{error}");
                broken(last.as_ref())
            },
            Some,
        );
        let Some((info, mut buffer)) = made else { continue };
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(if delay.is_some() { Some(told) } else { at(number) });
            buffer.set_duration(delay.or(at(1)));
        }
        told += delay.unwrap_or_default();
        if last.as_ref() != Some(&info) {
            appsrc.set_caps(info.to_caps().ok().as_ref());
            last = Some(info);
        }
        if appsrc.push_buffer(buffer).is_err() {
            return;
        }
    }
    if let Err(error) = appsrc.end_of_stream() {
        tracing::debug!("pictures: end of stream refused: {error}");
    }
}
