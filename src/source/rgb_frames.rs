//! The pictures of a video file one by one, for work that is no stream.

use std::num::NonZeroU32;
use std::path::Path;

use blocks::preprocess::Picture;
use frames::rgb_view;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use qrnet_train::data::video::{FrameIterator, FrameSource};

use super::deinterlace;
use super::edits::Edits;
use crate::error::{Error, Result};
use crate::pipeline::{self, Hole};

/// Decodes a file, as it is or cut and scaled to one size. An iterator that ends with the file, or with the error that ended it.
pub(crate) struct RgbFrames {
    pipeline: gst::Pipeline,
    sink: gst_app::AppSink,
    name: String,
    over: bool,
}

/// How long a frame may take.
const LIMIT: gst::ClockTime = gst::ClockTime::from_seconds(30);

impl RgbFrames {
    /// # Errors
    /// An element is missing, or the file cannot be named as an address.
    pub(crate) fn open(path: &Path, size: Option<(usize, usize)>) -> Result<Self> {
        let name = path.display().to_string();
        let fail = |reason: String| Error::Source { code: "SOURCE_FAILED", name: name.clone(), reason };
        let path = std::fs::canonicalize(path).map_err(Error::io("read", path))?;
        let uri = gst::glib::filename_to_uri(&path, None).map_err(|e| fail(e.to_string()))?;
        let mut launch =
            "uridecodebin uri={uri} expose-all-streams=false caps=video/x-raw(ANY) ! deinterlace mode=auto method=greedyh ! videoconvert ! videoflip video-direction=auto".to_owned();
        let mut caps = gst_video::VideoCapsBuilder::new().format(gst_video::VideoFormat::Rgb);
        if let Some((width, height)) = size {
            let fit = format!(" ! aspectratiocrop aspect-ratio={width}/{height} ! videoscale add-borders=false");
            launch.push_str(&fit);
            caps = caps.width(width as i32).height(height as i32).pixel_aspect_ratio(gst::Fraction::new(1, 1));
        }
        let bin = pipeline::build("clip", &launch, &[Hole::new("uri", uri)], gst::PadDirection::Src)?;
        deinterlace::one_for_one(&bin);
        Edits::of_file(&path, NonZeroU32::MIN).apply(&bin, || {});
        let caps = caps.build();
        let sink = gst_app::AppSink::builder().caps(&caps).sync(false).max_buffers(2).build();
        let convert = gst::ElementFactory::make("videoconvert").build();
        let convert = convert.map_err(|_| fail(pipeline::missing(&["videoconvert"])))?;
        let pipeline = gst::Pipeline::new();
        let linked = pipeline
            .add_many([bin.upcast_ref(), &convert, sink.upcast_ref()])
            .and_then(|()| gst::Element::link_many([bin.upcast_ref(), &convert, sink.upcast_ref()]));
        linked.map_err(|e| fail(e.to_string()))?;
        if pipeline.set_state(gst::State::Playing).is_err() {
            tracing::debug!("{name}: the pipeline refused to start");
        }
        Ok(Self { pipeline, sink, name, over: false })
    }

    fn failure(&self) -> Option<Error> {
        let message = self.pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
        let gst::MessageView::Error(error) = message.view() else { return None };
        Some(self.error(error.error().to_string()))
    }

    fn error(&self, reason: String) -> Error {
        Error::Source { code: "SOURCE_FAILED", name: self.name.clone(), reason }
    }

    fn picture(&self, sample: &gst::Sample) -> Result<Picture> {
        let fail = |reason: &str| self.error(reason.into());
        let caps = sample.caps().ok_or_else(|| fail("a frame without a format"))?;
        let info = gst_video::VideoInfo::from_caps(caps).map_err(|e| fail(&e.to_string()))?;
        let buffer = sample.buffer().ok_or_else(|| fail("a frame without memory"))?;
        let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info);
        let frame = frame.map_err(|e| fail(&e.to_string()))?;
        let view = rgb_view(&frame)?;
        Ok(Picture { width: view.width(), height: view.height(), rgb: view.packed().into_owned() })
    }
}

impl Iterator for RgbFrames {
    type Item = Result<Picture>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        if let Some(sample) = self.sink.try_pull_sample(LIMIT) {
            return Some(self.picture(&sample));
        }
        self.over = true;
        match self.failure() {
            Some(error) => Some(Err(error)),
            None if self.sink.is_eos() => None,
            None => Some(Err(self.error(format!("no frame for {LIMIT}")))),
        }
    }
}

impl Drop for RgbFrames {
    fn drop(&mut self) {
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::debug!("{}: the pipeline did not stop cleanly", self.name);
        }
    }
}

/// Films for training and measuring: this program's decoders.
pub(crate) struct Films;

impl FrameSource for Films {
    fn open(&self, clip: &Path) -> qrnet_train::Result<FrameIterator> {
        let fail = |error: Error| grounding::Error::file(clip, error);
        pipeline::init().map_err(fail)?;
        let frames = RgbFrames::open(clip, None).map_err(fail)?;
        let clip = clip.to_path_buf();
        Ok(Box::new(frames.map(move |frame| frame.map_err(|error| grounding::Error::file(&clip, error).into()))))
    }
}
