//! The output pipeline: `appsrc ! overlaycomposition ! sinks`. Built once the first frame is there, since encoders want
//! to know its size; never rebuilt.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use crate::error::{Error, Result};
use crate::overlay;
use crate::pipeline::{self, Hole, PipelineFile};
use crate::sink::meta;
use crate::source::{Report, forward_bus};
use crate::stage::QUEUE;

/// A running output pipeline.
pub struct Output {
    pipeline: gst::Pipeline,
    appsrc: gst_app::AppSrc,
    info: gst_video::VideoInfo,
    name: String,
    files: Vec<Unfinished>,
    taken: AtomicU64,
    /// When the last frame starts, and when it ends.
    times: Mutex<(Option<gst::ClockTime>, gst::ClockTime)>,
}

/// A file that is being written beside the place where it will appear.
struct Unfinished {
    written: PathBuf,
    wanted: PathBuf,
}

/// x264 takes no smaller pictures.
const LEAST_SIDE: u32 = 16;
/// How long a frame lasts whose source does not say.
const FRAME_TIME: gst::ClockTime = gst::ClockTime::from_mseconds(40);

impl Output {
    /// Builds and starts the pipeline for frames like `info`, one branch for every MP4 file.
    ///
    /// # Errors
    /// An element is missing or refuses to start.
    pub fn start(
        files: &[PathBuf],
        info: &gst_video::VideoInfo,
        reports: impl Fn(Report) + Send + Sync + 'static,
    ) -> Result<Self> {
        let name = files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", ");
        let fail = |reason: String| Error::Output { name: name.clone(), reason };
        if info.width() < LEAST_SIDE || info.height() < LEAST_SIDE {
            let size = format!("{}x{}", info.width(), info.height());
            return Err(fail(format!("the picture is {size}, H.264 video needs at least {LEAST_SIDE}x{LEAST_SIDE}")));
        }
        let files: Vec<Unfinished> = files.iter().map(|file| Unfinished::new(file)).collect();
        let mut caps = info.to_caps().map_err(|e| fail(e.to_string()))?;
        if info.fps().numer() == 0 {
            // Times stay as they are; but without any rate the last frame would last no time, and players would not
            // show it.
            let rate = gst::Fraction::new((gst::ClockTime::SECOND.nseconds() / FRAME_TIME.nseconds()) as i32, 1);
            caps.make_mut().set("framerate", rate);
        }
        let appsrc = gst_app::AppSrc::builder()
            .name("frames")
            .caps(&caps)
            .format(gst::Format::Time)
            .max_buffers(QUEUE as u64)
            .block(true)
            .build();
        let make = |factory: &str| {
            gst::ElementFactory::make(factory)
                .build()
                .map_err(|_| fail(format!("needs the GStreamer element {factory}, which is not installed")))
        };
        let (overlay, tee) = (make("overlaycomposition")?, make("tee")?);
        draw_from_meta(&overlay);
        let pipeline = gst::Pipeline::new();
        let built = |result: std::result::Result<(), gst::glib::BoolError>| result.map_err(|e| fail(e.to_string()));
        built(pipeline.add_many([appsrc.upcast_ref(), &overlay, &tee]))?;
        built(gst::Element::link_many([appsrc.upcast_ref(), &overlay, &tee]))?;
        for file in &files {
            let queue = make("queue")?;
            let sink = mp4_sink(&file.written, info)?;
            built(pipeline.add_many([&queue, sink.upcast_ref()]))?;
            built(gst::Element::link_many([&tee, &queue, sink.upcast_ref()]))?;
        }
        forward_bus(&pipeline, reports);
        if pipeline.set_state(gst::State::Playing).is_err() {
            // The reason stands on the bus and reaches `reports`.
            tracing::debug!("the output pipeline refused to start");
        }
        let times = Mutex::new((None, gst::ClockTime::ZERO));
        Ok(Self { pipeline, appsrc, info: info.clone(), name, files, taken: AtomicU64::new(0), times })
    }

    /// Hands a frame to the pipeline.
    ///
    /// # Blocking
    /// While the pipeline has enough frames waiting.
    ///
    /// # Errors
    /// The size changed, or the pipeline was stopped.
    pub fn push(
        &self,
        mut buffer: gst::Buffer,
        info: &gst_video::VideoInfo,
        running_time: Option<gst::ClockTime>,
    ) -> Result<()> {
        let fail = |reason: String| Error::Output { name: self.name.clone(), reason };
        if (info.width(), info.height(), info.format()) != (self.info.width(), self.info.height(), self.info.format()) {
            return Err(fail(format!(
                "the picture changed from {}x{} {:?} to {}x{} {:?} in mid-stream, which one MP4 file cannot hold",
                self.info.width(),
                self.info.height(),
                self.info.format(),
                info.width(),
                info.height(),
                info.format()
            )));
        }
        let writable = buffer.make_mut();
        let mut times = self.times.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // A muxer wants rising times on all frames; one that has none, or one in the past, follows the frame before it.
        let (last, next) = *times;
        let time = running_time.filter(|time| last.is_none_or(|last| *time > last)).unwrap_or(next);
        let duration = writable.duration().or_else(|| self.frame_time()).unwrap_or(FRAME_TIME);
        *times = (Some(time), time + duration);
        drop(times);
        writable.set_pts(time);
        writable.set_duration(duration);
        writable.set_dts(None);
        self.appsrc.push_buffer(buffer).map_err(|e| fail(format!("takes no more frames: {e}")))?;
        self.taken.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    fn frame_time(&self) -> Option<gst::ClockTime> {
        let fps = self.info.fps();
        let second = gst::ClockTime::SECOND.nseconds();
        (fps.numer() > 0).then(|| gst::ClockTime::from_nseconds(second * fps.denom() as u64 / fps.numer() as u64))
    }

    /// Whether there is anything to finish: an encoder that saw no frame has no file to give.
    pub fn has_frames(&self) -> bool {
        self.taken.load(Ordering::Acquire) > 0
    }

    /// Puts the finished files where they were wanted.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn publish(self) -> Result<()> {
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::warn!("the output pipeline did not stop cleanly");
        }
        for file in self.files.iter().filter(|file| file.written != file.wanted) {
            std::fs::rename(&file.written, &file.wanted).map_err(Error::io("write", &file.wanted))?;
        }
        Ok(())
    }

    /// Says that no more frames come; the pipeline reports [`Report::End`] when its files are whole.
    pub fn finish(&self) {
        if let Err(error) = self.appsrc.end_of_stream() {
            tracing::debug!("output {}: end of stream refused: {error}", self.name);
        }
    }

    /// A handle that stops the pipeline at once and lets go whoever is blocked in [`Output::push`].
    pub fn stopper(&self) -> impl Fn() + Send + use<> {
        let pipeline = self.pipeline.clone();
        move || {
            if pipeline.set_state(gst::State::Null).is_err() {
                tracing::debug!("the output pipeline did not stop cleanly");
            }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::warn!("the output pipeline did not stop cleanly");
        }
        // What was not published is no video.
        for file in self.files.iter().filter(|file| file.written != file.wanted) {
            drop(std::fs::remove_file(&file.written));
        }
    }
}

impl Unfinished {
    fn new(wanted: &Path) -> Self {
        // A device or pipe cannot be replaced by renaming.
        let special = std::fs::metadata(wanted).is_ok_and(|metadata| !metadata.is_file());
        let name = wanted.file_name().unwrap_or_default().to_string_lossy();
        let written = if special { wanted.to_path_buf() } else { wanted.with_file_name(format!(".{name}.part")) };
        Self { written, wanted: wanted.to_path_buf() }
    }
}

fn mp4_sink(file: &Path, info: &gst_video::VideoInfo) -> Result<gst::Bin> {
    let location =
        file.to_str().ok_or_else(|| Error::Usage(format!("--out mp4:{}: is no UTF-8 path", file.display())))?;
    // `videobox` adds pixels for negative numbers.
    let pad = |length: u32| if length % 2 == 1 { "-1" } else { "0" };
    let holes = [
        Hole::new("location", location),
        Hole::new("pad_right", pad(info.width())),
        Hole::new("pad_bottom", pad(info.height())),
    ];
    let description = PipelineFile::built_in("mp4")?;
    let part = description
        .sink
        .first()
        .ok_or_else(|| Error::Pipeline { name: "mp4".into(), reason: "has no [[sink]]".into() })?;
    pipeline::build("mp4", &part.launch, &holes, gst::PadDirection::Sink)
}

/// Lets the overlay draw what stands in the metadata of the buffer at hand.
fn draw_from_meta(overlay: &gst::Element) {
    let size = Mutex::new((0, 0));
    overlay.connect("draw", false, move |arguments| {
        let none = || Some(None::<gst_video::VideoOverlayComposition>.to_value());
        let Some(sample) = arguments.get(1).and_then(|value| value.get::<gst::Sample>().ok()) else { return none() };
        let mut size = size.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *size == (0, 0)
            && let Some(info) = sample.caps().and_then(|caps| gst_video::VideoInfo::from_caps(caps).ok())
        {
            *size = (info.width() as usize, info.height() as usize);
        }
        let Some(annotation) = sample.buffer().and_then(meta::annotation) else { return none() };
        match annotation.tiles(size.0, size.1) {
            Ok(tiles) => Some(overlay::attach_tiles(tiles).to_value()),
            Err(error) => {
                tracing::warn!("{error}");
                none()
            }
        }
    });
}
