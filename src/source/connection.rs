//! One source pipeline, from the address to the stage: for a file its whole life, for a camera one connection.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::address::{Address, Kind};
use super::appsink::{Counters, FrameOrigin, SampleHandler, TimestampMode, appsink};
use super::bus::{self, Report};
use super::edits::Edits;
use super::extent::Extent;
use super::key_frame::KeyFrameGate;
use super::packet_queue::PacketOrigin;
use super::packet_tap::{PacketTap, TapStop};
use super::packets::PacketRing;
use super::rtsp::{Proxy, ServerInfo};
use super::tracks::Tracks;
use super::{
    SourceLoop, SourceSettings, decoder_errors, deinterlace, mjpeg, pictures, pipe, program_stream, raw, seams, stop,
    tune,
};
use crate::error::{Error, Result};
use crate::pipeline::{self, Hole, PipelineFile};
use crate::stage::InputHandle;

/// A running source pipeline.
pub(super) struct Connection {
    pipeline: gst::Pipeline,
    counters: Arc<Counters>,
    stop: Option<Sender<()>>,
    input: InputHandle,
    feeder: Option<JoinHandle<()>>,
    /// Tells the feeder to end.
    let_go: Arc<AtomicBool>,
    on_a_server: bool,
    /// How far all of its streams came.
    extent: Extent,
    /// What is to be shown of an MP4.
    edits: Option<Edits>,
    key_frames: KeyFrameGate,
    tracks: Tracks,
    /// Goes after the pipeline.
    _handles: SourceHandles,
    pub(super) server_info: ServerInfo,
    /// How a drawing of it is called.
    drawing: String,
    /// Whether its elements are known to get in each other's way.
    may_hang: bool,
    /// Where its packets are kept.
    rings: Vec<Arc<PacketRing>>,
    /// Of what keeps them.
    taps: Vec<TapStop>,
    stopped: bool,
}

/// What was opened for a source before its pipeline is built.
#[derive(Default)]
pub(crate) struct SourceHandles {
    /// To an RTSP server.
    proxy: Option<Proxy>,
    /// The end of a pipe.
    pipe: Option<OwnedFd>,
}

impl SourceHandles {
    fn to(address: &Address, settings: &SourceSettings, server_info: &ServerInfo, stop: &Receiver<()>) -> Result<Self> {
        Ok(match &address.kind {
            Kind::Rtsp { uri, login } => {
                Self { proxy: Some(server_info.proxy(uri, &settings.rtsp, login.as_ref())?), pipe: None }
            }
            Kind::Pipe(path) => {
                Self { proxy: None, pipe: Some(pipe::open(path, stop).map_err(Error::io("read", path))?) }
            }
            _ => Self::default(),
        })
    }
}

/// Builds the source part of the pipeline, with the `handles` that were opened for it.
///
/// # Errors
/// The description is wrong or an element is missing.
pub(crate) fn build(address: &Address, settings: &SourceSettings, handles: &SourceHandles) -> Result<gst::Bin> {
    let (name, holes) = address.pipeline(settings, handles)?;
    match &settings.pipeline {
        Some(file) if settings.is_own() => file.build_source("--pipeline", &holes),
        _ => PipelineFile::built_in(name)?.build_source(name, &holes),
    }
}

/// Starts the thread that feeds a pipeline which the program reads for; none for the others. It ends when it is `let_go`.
///
/// # Errors
/// In words: the pipeline has no way in, or this machine has no thread left.
fn feeder(
    address: &Address,
    settings: &SourceSettings,
    bin: &gst::Bin,
    let_go: &Arc<AtomicBool>,
) -> std::result::Result<Option<JoinHandle<()>>, String> {
    let way_in = || {
        let appsrc = bin.by_name(pictures::APPSRC).ok_or("the pipeline has no appsrc named `pictures`")?;
        appsrc.downcast::<gst_app::AppSrc>().map_err(|_| "the element `pictures` is no appsrc")
    };
    let feed: Box<dyn FnOnce() + Send> = match &address.kind {
        Kind::Pictures(paths) => {
            let (appsrc, paths, rate) = (way_in()?, Arc::clone(paths), settings.picture_rate);
            Box::new(move || pictures::feed(&appsrc, &paths, rate))
        }
        Kind::Mjpeg { uri, opened } => {
            let (appsrc, uri, opened, let_go) = (way_in()?, uri.clone(), opened.clone(), Arc::clone(let_go));
            Box::new(move || mjpeg::feed(&appsrc, &uri, &opened, &let_go))
        }
        _ => return Ok(None),
    };
    let thread = std::thread::Builder::new().name("pictures".into()).spawn(feed);
    thread.map(Some).map_err(|error| error.to_string())
}

/// Settings of elements that there are, and of those that a decoder bin will make.
fn set_up_elements(bin: &gst::Bin, address: &Address, settings: &SourceSettings) {
    tune::decoders(bin, settings.reproducible);
    if !matches!(address.kind, Kind::Hls { .. }) {
        tune::refuse_playlists(bin);
    }
    tune::stay_on_the_web(bin, &address.kind);
    if matches!(address.kind, Kind::Http(_) | Kind::Pipe(_)) {
        tune::refuse_gifs(bin);
    }
    tune::end_with_the_file(bin);
    seams::mend(bin);
    program_stream::refuse_unnamed(bin);
    if matches!(address.kind, Kind::File(_) | Kind::Http(_) | Kind::Pipe(_)) {
        raw::give_times(bin);
    }
}

/// Keeps the packets of connection `number` wherever they are wanted.
fn keep_packets(bin: &gst::Bin, address: &Address, settings: &SourceSettings, number: u64) -> Vec<PacketTap> {
    let origin = PacketOrigin {
        connection: number,
        live: address.is_live(),
        lent: matches!(address.kind, Kind::Camera(_)),
        custom: settings.is_own(),
    };
    settings.rings().map(|ring| PacketTap::watch(ring, bin, origin)).collect()
}

impl Connection {
    /// Builds and starts the pipeline of connection `number` of a source, with these `settings` in place of its own. Frames
    /// go into the stage, which may block the decoder; how it ends goes into `reports`.
    ///
    /// # Errors
    /// The pipeline cannot be built or started.
    pub(super) fn open(
        source: &SourceLoop,
        settings: &SourceSettings,
        number: u64,
        stop: &Receiver<()>,
        reports: impl Fn(Report) + Send + Sync + 'static,
    ) -> Result<Self> {
        let SourceLoop { address, frames, timing, counters, .. } = source;
        pipeline::init()?;
        let server_info = ServerInfo::default();
        let handles = SourceHandles::to(address, settings, &server_info, stop)?;
        let bin = build(address, settings, &handles)?;
        let tracks = Tracks::new(settings.video_track);
        tracks.choose(&bin);
        let packets = keep_packets(&bin, address, settings, number);
        let taps = packets.iter().map(PacketTap::stopper).collect();
        let sound = settings.packets.as_ref().is_some_and(|ring| ring.is_for_clips());
        server_info.listen(&bin, &tracks, sound && !settings.is_own());
        deinterlace::one_for_one(&bin);
        decoder_errors::listen();
        let fail = |reason: String| Error::Source { code: "SOURCE_FAILED", name: address.name.clone(), reason };
        let rotation = Arc::new(AtomicU32::new(0));
        watch_rotation(&bin, &rotation);
        set_up_elements(&bin, address, settings);
        let (stop, stopped) = crossbeam_channel::bounded(1);
        let timestamps = match &address.kind {
            Kind::Hls { live: true, .. } => TimestampMode::Bursts,
            Kind::Stream { .. } => TimestampMode::Sender,
            _ => TimestampMode::Running,
        };
        let origin =
            FrameOrigin { connection: number, live: address.is_live(), reconnects: address.comes_back(), timestamps };
        let input = InputHandle::new(frames.clone());
        if address.is_live() {
            counters.time_origin.of_live();
        }
        let observer = Arc::clone(counters);
        bin.connect_deep_element_added(move |_, _, element| observer.time_origin.observe(element));
        let edits = match &address.kind {
            Kind::File(path) => Some(Edits::of_file(path, settings.video_track)),
            Kind::Http(_) | Kind::Pipe(_) => Some(Edits::on_the_way(settings.video_track)),
            _ => None,
        };
        if let Some(edits) = &edits {
            let counters = Arc::clone(counters);
            edits.apply(&bin, move || _ = counters.alive.fetch_add(1, Ordering::AcqRel));
        }
        let extent = Extent::default();
        extent.watch(&bin);
        let (key_frames, alive) = (KeyFrameGate::default(), Arc::clone(counters));
        key_frames.watch(&bin, move || _ = alive.alive.fetch_add(1, Ordering::AcqRel));
        let handler = SampleHandler::new(
            input.clone(),
            stopped,
            Arc::clone(counters),
            rotation,
            server_info.clone(),
            key_frames.clone(),
            origin,
        )
        .with_packets(packets);
        let sink = appsink(settings.realtime, handler);
        let pipeline = gst::Pipeline::new();
        pipeline.add(&bin).and_then(|()| pipeline.add(&sink)).map_err(|e| fail(e.to_string()))?;
        bin.link(&sink).map_err(|e| fail(e.to_string()))?;
        timing.keep(&pipeline);
        timing.watch(&pipeline);
        bus::forward(&pipeline, reports);
        let let_go = Arc::new(AtomicBool::new(false));
        let feeder = feeder(address, settings, &bin, &let_go).map_err(fail)?;
        if pipeline.set_state(gst::State::Playing).is_err() {
            // The reason stands on the bus and reaches `reports`.
            tracing::debug!("the source pipeline refused to start");
        }
        let on_a_server = matches!(address.kind, Kind::Http(_));
        let drawing = format!("source-{}-{number}", address.name);
        Ok(Self {
            pipeline,
            counters: Arc::clone(counters),
            stop: Some(stop),
            input,
            feeder,
            let_go,
            on_a_server,
            edits: edits.filter(|_| number == 1),
            extent,
            key_frames,
            tracks,
            _handles: handles,
            server_info,
            drawing,
            may_hang: matches!(address.kind, Kind::Rtsp { .. }),
            rings: settings.rings().cloned().collect(),
            taps,
            stopped: false,
        })
    }

    /// Frames that came out of the decoder so far.
    pub(super) fn decoded(&self) -> u64 {
        self.counters.decoded.load(Ordering::Acquire)
    }

    /// Pictures that came out of the decoder so far, those included that nobody is shown.
    pub(super) fn alive(&self) -> u64 {
        self.counters.alive.load(Ordering::Acquire)
    }

    /// In words, that the source has no such video track, where it gave nothing for that.
    pub(super) fn lacks_track(&self) -> Option<String> {
        self.tracks.lacks().filter(|_| self.decoded() == 0)
    }

    /// Takes note of how long the source is, once it can say.
    pub(super) fn note_duration(&self) {
        let known = &self.counters.duration;
        if known.load(Ordering::Acquire) == 0 && self.decoded() > 0 {
            let whole = match self.edits.as_ref().and_then(Edits::cut) {
                Some(track) => track.length(),
                None => self.pipeline.query_duration::<gst::ClockTime>().unwrap_or_default().nseconds(),
            };
            known.store(whole, Ordering::Release);
        }
    }

    /// What is missing of a file that ended, by what it says of itself: frames, by the index of an MP4; or time at its end, by
    /// the length that it claims to have, where that can be no other track's.
    pub(super) fn ended_early(&self) -> Option<(&'static str, String)> {
        // Decoders may leave out one that is damaged, and the last ones may want what does not come.
        const FEW: u64 = 2;
        const FEW_OF: u64 = 100;
        // Sound may go on a little longer than the picture.
        const SLACK: gst::ClockTime = gst::ClockTime::from_seconds(1);
        const SHARE: u64 = 10;
        let given = self.decoded() + self.key_frames.left_out();
        if let Some(indexed) = self.edits.as_ref().and_then(|edits| Some(edits.track()?.shown)) {
            let missing = indexed.saturating_sub(given);
            let reason = || format!("gave {given} frames, and its index holds {indexed}");
            // Of what comes once nobody knows how long it is before it ends.
            let ends = self.edits.as_ref().is_some_and(|edits| edits.ends_before(self.last_time()));
            let code = if ends { "SOURCE_TRUNCATED" } else { "SOURCE_INCOMPLETE" };
            return (missing > FEW && missing > indexed / FEW_OF).then(|| (code, reason()));
        }
        if let Some(missing) = self.edits.as_ref().and_then(Edits::truncation) {
            return Some(("SOURCE_TRUNCATED", missing));
        }
        let came_whole = || self.edits.as_ref().and_then(|edits| edits.came_whole(&self.pipeline)) == Some(true);
        let others = self.extent.known();
        if (!self.on_a_server || came_whole()) && !self.has_one_stream() && others.is_none() {
            return None;
        }
        let whole = self.pipeline.query_duration::<gst::ClockTime>()?;
        let last = self.last_time();
        // The last picture of a slide show lasts as long as others do; of a single one nobody knows.
        let longest = gst::ClockTime::from_nseconds(self.counters.longest.load(Ordering::Acquire));
        // What was left out at the beginning is no part of the time that was played, and was told.
        if given < 2 || self.key_frames.left_out() > 0 {
            return None;
        }
        let last = last.max(others.unwrap_or_default().saturating_sub(longest));
        let missing = whole.saturating_sub(last + longest);
        let reason = || format!("is cut short: it lasts {whole:.1}, it ends at {last:.1}");
        (missing > SLACK && missing > whole / SHARE).then(|| ("SOURCE_TRUNCATED", reason()))
    }

    /// When the last frame so far is shown.
    fn last_time(&self) -> gst::ClockTime {
        gst::ClockTime::from_nseconds(self.counters.last_time.load(Ordering::Acquire))
    }

    /// Whether its container holds nothing beside the video.
    fn has_one_stream(&self) -> bool {
        let elements = self.pipeline.iterate_recurse().into_iter().flatten();
        let mut demuxers = elements.filter(|element| {
            element.factory().is_some_and(|factory| factory.has_type(gst::ElementFactoryType::DEMUXER))
        });
        demuxers.next().is_some_and(|demuxer| demuxer.num_src_pads() == 1) && demuxers.next().is_none()
    }

    /// True while the decoder has a frame that nobody takes yet: it waits for us, not we for it.
    pub(super) fn waits_for_us(&self) -> bool {
        self.counters.handing_over.load(Ordering::Acquire)
    }

    /// Stops decoding. Frames already handed over stay in the stage.
    pub(super) fn stop(&mut self) {
        if std::mem::replace(&mut self.stopped, true) {
            return;
        }
        // A decoder blocked on a full queue is let go first: it would block the state change.
        self.stop = None;
        self.rings.iter().for_each(|ring| ring.leave());
        self.taps.iter().for_each(TapStop::stop);
        self.let_go.store(true, Ordering::Release);
        let (pipeline, drawing) = (self.pipeline.clone(), std::mem::take(&mut self.drawing));
        let to_null = move || {
            pipeline::draw(&pipeline, &drawing);
            stop::starve_decoders(&pipeline);
            pipeline.set_state(gst::State::Null).is_ok()
        };
        let stopped = if self.may_hang { stop::patiently(&self.pipeline, to_null) } else { to_null() };
        self.input.close();
        if !stopped {
            tracing::warn!("the source pipeline did not stop cleanly");
        }
        if let Some(feeder) = self.feeder.take() {
            drop(feeder.join());
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Address {
    /// The built-in description, and the values of its holes.
    fn pipeline(&self, settings: &SourceSettings, handles: &SourceHandles) -> Result<(&'static str, Vec<Hole>)> {
        let proxy = handles.proxy.as_ref().map(Proxy::address);
        let fd = handles.pipe.as_ref().map_or(0, AsRawFd::as_raw_fd);
        let deinterlace = Hole::new("deinterlace", settings.deinterlace.mode());
        Ok(match &self.kind {
            Kind::File(path) => {
                let uri = gst::glib::filename_to_uri(path, None);
                let uri = uri.map_err(|e| {
                    Error::Usage(format!("--source {}: cannot be written as an address: {e}", self.name))
                })?;
                ("file", vec![Hole::new("uri", uri), deinterlace])
            }
            Kind::Http(uri) => ("http", vec![Hole::new("uri", uri), deinterlace]),
            Kind::Rtsp { uri, .. } => {
                ("rtsp-in", [settings.rtsp.holes(proxy.unwrap_or(uri)), vec![deinterlace]].concat())
            }
            Kind::Pictures(_) => ("pictures", Vec::new()),
            Kind::Stream { uri, protocol } => (protocol, vec![Hole::new("uri", uri), deinterlace]),
            Kind::Hls { uri, .. } => ("hls", vec![Hole::new("uri", uri), deinterlace]),
            Kind::Mjpeg { .. } => ("mjpeg", Vec::new()),
            Kind::Pipe(_) => ("pipe", vec![Hole::new("fd", fd.to_string()), deinterlace]),
            // Its own description takes the place of this one.
            Kind::Pipeline { .. } => ("test", Vec::new()),
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
                ("camera", vec![Hole::new("device", device), deinterlace])
            }
        })
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
