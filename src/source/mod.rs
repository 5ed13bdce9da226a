//! The source pipeline: an address in, decoded frames out.
//!
//! Formats: whatever GStreamer decodes and `GstVideoConverter` reads; a format that the overlay cannot draw on is
//! converted before the stage. Frames without a timestamp are forwarded without one.

mod container;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, select};
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use crate::error::{Error, Result};
use crate::pipeline::{Hole, PipelineFile};
use crate::stage::{Frame, QUEUE};

/// A source as the user named it, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// How it is called in records and messages.
    pub name: String,
    /// What the pipeline opens.
    pub uri: String,
    /// The file itself.
    pub path: PathBuf,
}

impl Address {
    /// Resolves a file path or `file://` address.
    ///
    /// # Errors
    /// Another scheme, no such file, an empty one, or one that may not be read.
    pub fn resolve(source: &str) -> Result<Self> {
        let scheme = source.split_once("://").map(|(scheme, _)| scheme);
        let path = match scheme {
            None => PathBuf::from(source),
            Some("file") => {
                let (path, _) = gst::glib::filename_from_uri(source)
                    .map_err(|e| Error::Usage(format!("--source {source}: is no valid file address: {e}")))?;
                path
            }
            Some(other) => {
                let message =
                    format!("--source {source}: the scheme {other}:// is not supported, expected a file or file://");
                return Err(Error::Usage(message));
            }
        };
        check_file(&path)?;
        let absolute = std::path::absolute(&path).map_err(Error::io("read", &path))?;
        let uri = gst::glib::filename_to_uri(&absolute, None)
            .map_err(|e| Error::Usage(format!("--source {source}: cannot be written as an address: {e}")))?;
        Ok(Self { name: source.to_owned(), uri: uri.to_string(), path: absolute })
    }
}

impl Address {
    /// What is missing from the end of the file, if its container tells: decoders read what is there and end cleanly.
    pub fn truncation(&self) -> Option<String> {
        container::truncation(&self.path).unwrap_or_else(|error| {
            tracing::debug!("{}: {error}", self.name);
            None
        })
    }
}

fn check_file(path: &Path) -> Result<()> {
    let metadata = std::fs::metadata(path).map_err(Error::io("read", path))?;
    if !metadata.is_file() {
        return Err(Error::Usage(format!("--source {}: is no file, expected a video file", path.display())));
    }
    std::fs::File::open(path).map_err(Error::io("read", path))?;
    if metadata.len() == 0 {
        return Err(Error::Source {
            code: "SOURCE_EMPTY",
            name: path.display().to_string(),
            reason: "is empty (0 bytes), expected a video file".into(),
        });
    }
    Ok(())
}

/// What a pipeline reports to whoever runs it.
#[derive(Debug)]
pub enum Report {
    /// The stream ended by itself.
    End,
    /// It failed. Arrives before any [`Report::End`] that follows from it.
    Failed(String),
}

/// A running source pipeline.
pub struct Source {
    pipeline: gst::Pipeline,
    decoded: Arc<AtomicU64>,
    handing_over: Arc<AtomicBool>,
    stop: Option<Sender<()>>,
}

/// Formats that the overlay draws on without leaving them. Everything that decoders usually produce is among them.
const FORMATS: [gst_video::VideoFormat; 22] = [
    gst_video::VideoFormat::I420,
    gst_video::VideoFormat::Nv12,
    gst_video::VideoFormat::Yv12,
    gst_video::VideoFormat::Nv21,
    gst_video::VideoFormat::Y42b,
    gst_video::VideoFormat::Y444,
    gst_video::VideoFormat::Yuy2,
    gst_video::VideoFormat::Uyvy,
    gst_video::VideoFormat::Ayuv,
    gst_video::VideoFormat::Rgb,
    gst_video::VideoFormat::Bgr,
    gst_video::VideoFormat::Rgbx,
    gst_video::VideoFormat::Bgrx,
    gst_video::VideoFormat::Rgba,
    gst_video::VideoFormat::Bgra,
    gst_video::VideoFormat::Argb,
    gst_video::VideoFormat::Abgr,
    gst_video::VideoFormat::Gray8,
    gst_video::VideoFormat::I42010le,
    gst_video::VideoFormat::P01010le,
    gst_video::VideoFormat::I42210le,
    gst_video::VideoFormat::Y44410le,
];

impl Source {
    /// Builds and starts the pipeline. Frames go into `frames`, which blocks the decoder while it is full; how it ends
    /// goes into `reports`.
    ///
    /// # Errors
    /// The pipeline cannot be built or started.
    pub fn start(
        address: &Address,
        frames: Sender<Frame>,
        reports: impl Fn(Report) + Send + Sync + 'static,
    ) -> Result<Self> {
        let bin = PipelineFile::built_in("file")?.build_source("file", &[Hole::new("uri", &address.uri)])?;
        let fail = |reason: String| Error::Source { code: "SOURCE_FAILED", name: address.name.clone(), reason };
        let rotation = Arc::new(AtomicU32::new(0));
        watch_rotation(&bin, &rotation);
        let (stop, stopped) = crossbeam_channel::bounded(1);
        let decoded = Arc::new(AtomicU64::new(0));
        let handing_over = Arc::new(AtomicBool::new(false));
        let sink = appsink(Delivery {
            frames,
            stopped,
            decoded: Arc::clone(&decoded),
            handing_over: Arc::clone(&handing_over),
            rotation,
            info: None,
        });
        let pipeline = gst::Pipeline::new();
        pipeline.add(&bin).and_then(|()| pipeline.add(&sink)).map_err(|e| fail(e.to_string()))?;
        bin.link(&sink).map_err(|e| fail(e.to_string()))?;
        forward_bus(&pipeline, reports);
        if pipeline.set_state(gst::State::Playing).is_err() {
            // The reason stands on the bus and reaches `reports`.
            tracing::debug!("the source pipeline refused to start");
        }
        Ok(Self { pipeline, decoded, handing_over, stop: Some(stop) })
    }

    /// Frames that came out of the decoder so far.
    pub fn decoded(&self) -> u64 {
        self.decoded.load(Ordering::Acquire)
    }

    /// True while the decoder has a frame that nobody takes yet: it waits for us, not we for it.
    pub fn waits_for_us(&self) -> bool {
        self.handing_over.load(Ordering::Acquire)
    }

    /// Stops decoding. Frames already handed over stay in the stage.
    pub fn stop(&mut self) {
        // A decoder blocked on a full queue is let go first: it would block the state change.
        self.stop = None;
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::warn!("the source pipeline did not stop cleanly");
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the appsink's thread needs to hand a frame over.
struct Delivery {
    frames: Sender<Frame>,
    stopped: Receiver<()>,
    decoded: Arc<AtomicU64>,
    handing_over: Arc<AtomicBool>,
    rotation: Arc<AtomicU32>,
    info: Option<(gst::Caps, Arc<gst_video::VideoInfo>)>,
}

impl Delivery {
    fn deliver(&mut self, sample: &gst::Sample) -> Result<gst::FlowSuccess, gst::FlowError> {
        let (buffer, caps) = (
            sample.buffer_owned().ok_or(gst::FlowError::Error)?,
            sample.caps_owned().ok_or(gst::FlowError::NotNegotiated)?,
        );
        if self.info.as_ref().is_none_or(|(known, _)| *known != caps) {
            let info = gst_video::VideoInfo::from_caps(&caps).map_err(|_| gst::FlowError::NotNegotiated)?;
            self.info = Some((caps, Arc::new(info)));
        }
        let Some((_, info)) = &self.info else { return Err(gst::FlowError::NotNegotiated) };
        let segment = sample.segment().and_then(|s| s.downcast_ref::<gst::ClockTime>());
        let at = |convert: fn(&gst::FormattedSegment<gst::ClockTime>, gst::ClockTime) -> Option<gst::ClockTime>| {
            segment.zip(buffer.pts()).and_then(|(segment, pts)| convert(segment, pts))
        };
        let frame = Frame {
            seq: self.decoded.load(Ordering::Acquire),
            stream_time: at(gst::FormattedSegment::to_stream_time),
            running_time: at(gst::FormattedSegment::to_running_time),
            info: Arc::clone(info),
            rotation: self.rotation.load(Ordering::Acquire),
            buffer,
            arrived: Instant::now(),
        };
        self.handing_over.store(true, Ordering::Release);
        let handed = select! {
            send(self.frames, frame) -> sent => match sent {
                Ok(()) => {
                    self.decoded.fetch_add(1, Ordering::AcqRel);
                    Ok(gst::FlowSuccess::Ok)
                }
                Err(_) => Err(gst::FlowError::Flushing),
            },
            recv(self.stopped) -> _ => Err(gst::FlowError::Flushing),
        };
        self.handing_over.store(false, Ordering::Release);
        handed
    }
}

fn appsink(mut delivery: Delivery) -> gst_app::AppSink {
    let caps = gst_video::VideoCapsBuilder::new().format_list(FORMATS).build();
    let new_sample = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Flushing)?;
        delivery.deliver(&sample)
    };
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(new_sample).build();
    let sink = gst_app::AppSink::builder().caps(&caps).sync(false).enable_last_sample(false).max_buffers(1).build();
    sink.set_callbacks(callbacks);
    if let Some(pad) = sink.static_pad("sink") {
        pad.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, |_, info| {
            match info.query_mut().map(gst::QueryRef::view_mut) {
                Some(gst::QueryViewMut::Allocation(query)) => {
                    propose_allocation(query);
                    gst::PadProbeReturn::Handled
                }
                _ => gst::PadProbeReturn::Ok,
            }
        });
    }
    sink
}

/// With `GstVideoMeta` decoders need not copy into packed rows; their pools must outlast our queues.
fn propose_allocation(query: &mut gst::query::Allocation) {
    query.add_allocation_meta::<gst_video::VideoMeta>(None);
    if let (Some(caps), _) = query.get_owned()
        && let Ok(info) = gst_video::VideoInfo::from_caps(&caps)
    {
        query.add_allocation_pool(None::<&gst::BufferPool>, info.size() as u32, 2 * QUEUE as u32 + 3, 0);
    }
}

/// Notes what the file's orientation tag asks of `videoflip`.
fn watch_rotation(bin: &gst::Bin, rotation: &Arc<AtomicU32>) {
    let flips = bin.iterate_all_by_element_factory_name("videoflip").into_iter().flatten();
    for pad in flips.filter_map(|flip| flip.static_pad("sink")) {
        let rotation = Arc::clone(rotation);
        pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            if let Some(gst::EventView::Tag(tag)) = info.event().map(|event| event.view())
                && let Some(orientation) = tag.tag().get::<gst::tags::ImageOrientation>()
            {
                let degrees = orientation.get().rsplit('-').next().and_then(|d| d.parse().ok()).unwrap_or(0);
                rotation.store(degrees, Ordering::Release);
            }
            gst::PadProbeReturn::Ok
        });
    }
}

/// Forwards what matters from a pipeline's bus, in the order in which it was posted, and nothing else: an error that
/// was posted before an end of stream arrives before it.
pub(crate) fn forward_bus(pipeline: &gst::Pipeline, reports: impl Fn(Report) + Send + Sync + 'static) {
    let Some(bus) = pipeline.bus() else { return };
    bus.set_sync_handler(move |_, message| {
        match message.view() {
            gst::MessageView::Eos(_) => reports(Report::End),
            gst::MessageView::Error(error) => {
                let element = error.src().map(|s| s.name().to_string()).unwrap_or_default();
                let debug =
                    error.debug().map(|d| format!(" ({})", d.lines().last().unwrap_or_default())).unwrap_or_default();
                let reason = if error.error().matches(gst::CoreError::MissingPlugin) {
                    format!("has no video that an installed plugin decodes{debug}")
                } else {
                    format!("{element}: {}{debug}", error.error())
                };
                reports(Report::Failed(reason));
            }
            gst::MessageView::Warning(warning) => {
                tracing::warn!(
                    "{}: {}",
                    warning.src().map(|s| s.name().to_string()).unwrap_or_default(),
                    warning.error()
                );
            }
            _ => {}
        }
        gst::BusSyncReply::Drop
    });
}
