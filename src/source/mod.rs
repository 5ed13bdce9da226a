//! The source pipeline: an address in, decoded frames out.
//!
//! Formats: whatever GStreamer decodes and `GstVideoConverter` reads; a format that the overlay cannot draw on is
//! converted before the stage. Frames without a timestamp are forwarded without one.

mod address;
mod complaints;
mod container;
mod pictures;
mod rgb_frames;
mod test_pattern;
mod tune;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use crate::error::{Error, Result};
use crate::pipeline::{self, Hole, PipelineFile};
use crate::stage::{Frame, Intake, QUEUE};

use address::redacted_within;
pub use address::{Address, Kind};
pub(crate) use pictures::rgb_frame;
pub(crate) use rgb_frames::RgbFrames;
pub use test_pattern::TestPattern;

/// What a pipeline reports to whoever runs it.
#[derive(Debug)]
pub enum Report {
    /// The stream ended by itself.
    End,
    /// It failed. Arrives before any [`Report::End`] that follows from it.
    Failed(String),
}

/// How a source is played.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    /// Whether frames of a file come at their time instead of as fast as they are taken.
    pub realtime: bool,
    /// Whether decoders use one thread, so that damaged input decodes the same way every time.
    pub reproducible: bool,
    /// Pictures a second, for pictures.
    pub picture_rate: gst::Fraction,
    /// Pipeline description in place of the built-in one.
    pub pipeline: Option<PipelineFile>,
}

impl Default for SourceSettings {
    fn default() -> Self {
        Self { realtime: false, reproducible: false, picture_rate: gst::Fraction::new(1, 1), pipeline: None }
    }
}

/// A running source pipeline.
pub struct Source {
    pipeline: gst::Pipeline,
    decoded: Arc<AtomicU64>,
    handing_over: Arc<AtomicBool>,
    stop: Option<Sender<()>>,
    feeder: Option<std::thread::JoinHandle<()>>,
    on_a_server: bool,
    /// Stream time of the newest frame, nanoseconds.
    last_time: Arc<AtomicU64>,
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

impl Address {
    /// The built-in description, and the values of its holes.
    fn pipeline(&self) -> Result<(&'static str, Vec<Hole>)> {
        Ok(match &self.kind {
            Kind::File(path) => {
                let uri = gst::glib::filename_to_uri(path, None);
                let uri = uri.map_err(|e| {
                    Error::Usage(format!("--source {}: cannot be written as an address: {e}", self.name))
                })?;
                ("file", vec![Hole::new("uri", uri)])
            }
            Kind::Http(uri) => ("http", vec![Hole::new("uri", uri)]),
            Kind::Pictures(_) => ("pictures", Vec::new()),
            Kind::Test(test) => {
                let frames = test.frames.map_or("-1".to_owned(), |frames| frames.to_string());
                let holes = vec![
                    Hole::new("pattern", &test.pattern),
                    Hole::new("frames", frames),
                    Hole::new("live", test.live.to_string()),
                    Hole::new("caps", test.caps()),
                ];
                ("test", holes)
            }
            Kind::Camera(device) => {
                let device = device.to_str().ok_or_else(|| Error::Usage(format!("{}: is no UTF-8 path", self.name)))?;
                ("camera", vec![Hole::new("device", device)])
            }
        })
    }
}

/// Builds the source part of the pipeline.
///
/// # Errors
/// The description is wrong or an element is missing.
pub(crate) fn build(address: &Address, settings: &SourceSettings) -> Result<gst::Bin> {
    let (name, holes) = address.pipeline()?;
    match &settings.pipeline {
        Some(file) if file.source.is_some() => file.build_source("--pipeline", &holes),
        _ => PipelineFile::built_in(name)?.build_source(name, &holes),
    }
}

impl Source {
    /// Builds and starts the pipeline. Frames go into `frames`, which may block the decoder; how it ends goes into
    /// `reports`.
    ///
    /// # Errors
    /// The pipeline cannot be built or started.
    pub fn start(
        address: &Address,
        settings: &SourceSettings,
        frames: Intake,
        reports: impl Fn(Report) + Send + Sync + 'static,
    ) -> Result<Self> {
        let bin = build(address, settings)?;
        complaints::listen();
        let fail = |reason: String| Error::Source { code: "SOURCE_FAILED", name: address.name.clone(), reason };
        let rotation = Arc::new(AtomicU32::new(0));
        watch_rotation(&bin, &rotation);
        tune::decoders(&bin, settings.reproducible);
        tune::refuse_playlists(&bin);
        let (stop, stopped) = crossbeam_channel::bounded(1);
        let decoded = Arc::new(AtomicU64::new(0));
        let handing_over = Arc::new(AtomicBool::new(false));
        let last_time = Arc::new(AtomicU64::new(0));
        let sink = appsink(
            settings.realtime,
            Delivery {
                frames,
                stopped,
                decoded: Arc::clone(&decoded),
                handing_over: Arc::clone(&handing_over),
                last_time: Arc::clone(&last_time),
                rotation,
                complaints: complaints::count(),
                info: None,
            },
        );
        let pipeline = gst::Pipeline::new();
        pipeline.add(&bin).and_then(|()| pipeline.add(&sink)).map_err(|e| fail(e.to_string()))?;
        bin.link(&sink).map_err(|e| fail(e.to_string()))?;
        forward_bus(&pipeline, reports);
        let feeder = match (&address.kind, bin.by_name(pictures::APPSRC)) {
            (Kind::Pictures(paths), Some(appsrc)) => {
                let appsrc = appsrc.downcast::<gst_app::AppSrc>();
                let appsrc = appsrc.map_err(|_| fail("the element `pictures` is no appsrc".into()))?;
                let (paths, rate) = (Arc::clone(paths), settings.picture_rate);
                let thread = std::thread::Builder::new().name("pictures".into());
                Some(thread.spawn(move || pictures::feed(&appsrc, &paths, rate)).map_err(|e| fail(e.to_string()))?)
            }
            (Kind::Pictures(_), None) => return Err(fail("the pipeline has no appsrc named `pictures`".into())),
            _ => None,
        };
        if pipeline.set_state(gst::State::Playing).is_err() {
            // The reason stands on the bus and reaches `reports`.
            tracing::debug!("the source pipeline refused to start");
        }
        let on_a_server = matches!(address.kind, Kind::Http(_));
        Ok(Self { pipeline, decoded, handing_over, stop: Some(stop), feeder, on_a_server, last_time })
    }

    /// The pipeline's clock, base time and latency, for an output that has to keep time with it.
    pub fn timing(&self) -> Timing {
        Timing { pipeline: self.pipeline.downgrade() }
    }

    /// Frames that came out of the decoder so far.
    pub fn decoded(&self) -> u64 {
        self.decoded.load(Ordering::Acquire)
    }

    /// Of a file on a server, whose container cannot be looked at before: what is missing at its end, by the length that
    /// it claims to have.
    pub fn ended_early(&self) -> Option<String> {
        // Sound may go on a little longer than the picture.
        const SLACK: gst::ClockTime = gst::ClockTime::from_seconds(1);
        const SHARE: u64 = 10;
        if !self.on_a_server {
            return None;
        }
        let whole = self.pipeline.query_duration::<gst::ClockTime>()?;
        let last = gst::ClockTime::from_nseconds(self.last_time.load(Ordering::Acquire));
        let missing = whole.saturating_sub(last);
        (missing > SLACK && missing > whole / SHARE)
            .then(|| format!("is cut short: it lasts {whole:.1}, its frames end at {last:.1}"))
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
        if let Some(feeder) = self.feeder.take() {
            drop(feeder.join());
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What an output needs to know of its source's time.
#[derive(Debug, Clone)]
pub struct Timing {
    /// Weak: the pipeline ends with its source.
    pipeline: gst::glib::WeakRef<gst::Pipeline>,
}

impl Timing {
    /// Clock and base time, once the pipeline plays.
    pub fn clock(&self) -> Option<(gst::Clock, gst::ClockTime)> {
        let pipeline = self.pipeline.upgrade()?;
        pipeline.clock().zip(pipeline.base_time())
    }

    /// How long a frame takes from the camera to the stage at least; none for sources that are not live.
    pub fn latency(&self) -> Option<gst::ClockTime> {
        let mut query = gst::query::Latency::new();
        // Of what stands before the appsink: it does not keep time itself, and so would say that nothing is live.
        let sinks =
            self.pipeline.upgrade()?.iterate_sinks().into_iter().flatten().filter_map(|sink| sink.static_pad("sink"));
        if !sinks.into_iter().any(|pad| pad.peer_query(&mut query)) {
            return None;
        }
        let (live, least, _) = query.result();
        live.then_some(least)
    }
}

/// What the appsink's thread needs to hand a frame over.
struct Delivery {
    frames: Intake,
    stopped: Receiver<()>,
    decoded: Arc<AtomicU64>,
    handing_over: Arc<AtomicBool>,
    last_time: Arc<AtomicU64>,
    rotation: Arc<AtomicU32>,
    /// Of the decoder, until the frame before.
    complaints: u64,
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
        let complaints = complaints::count();
        let complained = std::mem::replace(&mut self.complaints, complaints) < complaints;
        // A demuxer that lost its way goes on where it finds it again.
        let skipped_data = buffer.flags().contains(gst::BufferFlags::DISCONT);
        let seq = self.decoded.load(Ordering::Acquire);
        let frame = Frame {
            seq,
            stream_time: at(gst::FormattedSegment::to_stream_time),
            running_time: at(gst::FormattedSegment::to_running_time),
            info: Arc::clone(info),
            rotation: self.rotation.load(Ordering::Acquire),
            captured: since_1970(),
            corrupt: buffer.flags().contains(gst::BufferFlags::CORRUPTED),
            damaged: complained || (skipped_data && seq > 0),
            buffer,
            arrived: Instant::now(),
        };
        if let Some(time) = frame.stream_time {
            self.last_time.fetch_max(time.nseconds(), Ordering::AcqRel);
        }
        self.handing_over.store(true, Ordering::Release);
        let handed = self.frames.offer(frame, &self.stopped);
        self.handing_over.store(false, Ordering::Release);
        handed.map_err(|_| gst::FlowError::Flushing)?;
        self.decoded.fetch_add(1, Ordering::AcqRel);
        Ok(gst::FlowSuccess::Ok)
    }
}

fn since_1970() -> Option<u64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}

fn appsink(realtime: bool, mut delivery: Delivery) -> gst_app::AppSink {
    let caps = gst_video::VideoCapsBuilder::new().format_list(FORMATS).build();
    let new_sample = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Flushing)?;
        delivery.deliver(&sample)
    };
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(new_sample).build();
    let sink = gst_app::AppSink::builder().caps(&caps).sync(realtime).enable_last_sample(false).max_buffers(1).build();
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

/// An element's name, or its kind where the name is one that was only made to find it by.
fn called(source: &gst::Object) -> String {
    let factory = source.downcast_ref::<gst::Element>().and_then(ElementExt::factory);
    match factory.filter(|_| source.name().starts_with(pipeline::HOLE_NAME)) {
        Some(factory) => factory.name().to_string(),
        None => source.name().to_string(),
    }
}

/// Forwards what matters from a pipeline's bus, in the order in which it was posted, and nothing else: an error that
/// was posted before an end of stream arrives before it.
pub(crate) fn forward_bus(pipeline: &gst::Pipeline, reports: impl Fn(Report) + Send + Sync + 'static) {
    let Some(bus) = pipeline.bus() else { return };
    let weak = pipeline.downgrade();
    bus.set_sync_handler(move |_, message| {
        match message.view() {
            gst::MessageView::Eos(_) => reports(Report::End),
            gst::MessageView::Error(error) => {
                let element = error.src().map(called).unwrap_or_default();
                let debug =
                    error.debug().map(|d| format!(" ({})", d.lines().last().unwrap_or_default())).unwrap_or_default();
                let reason = if error.error().matches(gst::CoreError::MissingPlugin) {
                    format!("has no video that an installed plugin decodes{debug}")
                } else {
                    format!("{element}: {}{debug}", error.error())
                };
                reports(Report::Failed(redacted_within(&reason)));
            }
            gst::MessageView::Warning(warning) => {
                let element = warning.src().map(|s| s.name().to_string()).unwrap_or_default();
                tracing::warn!("{element}: {}", redacted_within(&warning.error().to_string()));
            }
            gst::MessageView::Latency(_) => {
                // Not on this thread: it may hold what the query needs.
                if let Some(pipeline) = weak.upgrade() {
                    pipeline.call_async(|pipeline| drop(pipeline.recalculate_latency()));
                }
            }
            _ => {}
        }
        gst::BusSyncReply::Drop
    });
}
