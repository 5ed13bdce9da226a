//! Picture files as a stream: read by the model crate's own reader, pushed into the pipeline one after the other.

use std::path::PathBuf;
use std::sync::Arc;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use qrnet::preprocess::Picture;

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

/// Pushes all pictures, `rate` a second, then the end. Ends early when the pipeline stops.
pub(super) fn feed(appsrc: &gst_app::AppSrc, paths: &Arc<[PathBuf]>, rate: gst::Fraction) {
    let frame_time = gst::ClockTime::SECOND.mul_div_floor(rate.denom() as u64, rate.numer() as u64);
    let mut last: Option<gst_video::VideoInfo> = None;
    for (number, path) in (0..).zip(paths.iter()) {
        let read = Picture::open(path).map_err(|e| e.to_string()).and_then(|picture| rgb_frame(picture, rate));
        let made = read.map_or_else(
            |error| {
                tracing::error!("{error}");
                broken(last.as_ref())
            },
            Some,
        );
        let Some((info, mut buffer)) = made else { continue };
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(frame_time.map(|time| time * number));
            buffer.set_duration(frame_time);
        }
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
