//! The picture behind one address.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use frames::{Rescaler, meta};
use gst::glib;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use records::track::FrameResult;
use records::{FrameStatus, Resolution};

use crate::error::{Error, Result};
use crate::pipeline;
use crate::sink::annotate;
use crate::sink::branches::{Drawing, draw_from_meta};
use crate::source::Timing;
use crate::stage::{ActiveQueries, Frame};

/// Frames that may wait for an encoder; older ones are left out.
const WAITING: u64 = 3;
/// The shortest time without a frame after which the last one is shown as old.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest, where frames come that seldom.
const LONGEST_PATIENCE: Duration = Duration::from_secs(10);
/// Intervals between frames that are remembered.
const INTERVALS: usize = 8;
/// How often an old frame is shown again: clients take silence for a failure.
const AGAIN: Duration = Duration::from_millis(200);
/// How long those who watch may take to see the last frame.
const FAREWELL: Duration = Duration::from_secs(1);
/// Two frames are never closer.
const LEAST: gst::ClockTime = gst::ClockTime::MSECOND;

/// What was claimed last, for frames that are shown before anything is known of them.
#[derive(Debug, Clone)]
pub struct LatestResult {
    /// The claim.
    pub result: FrameResult,
    /// What was asked.
    pub queries: ActiveQueries,
    /// Of the picture that it is about: on another one its box would lie elsewhere.
    pub resolution: Resolution,
}

/// The picture behind one address: frames are put up as they come, whoever watches.
#[derive(Clone)]
pub struct MountPoint(Arc<Inner>);

struct Inner {
    name: String,
    launch: String,
    trained: bool,
    drawing: Drawing,
    clock: gst::Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Of the first frame, for ever.
    info: Option<gst_video::VideoInfo>,
    rescaler: Option<Rescaler>,
    last: Option<Last>,
    /// What the clock shows when running time is 0.
    base: Option<gst::ClockTime>,
    intervals: VecDeque<Duration>,
    latest: Option<LatestResult>,
    /// Why no frames come, where that is known.
    gap: Option<&'static str>,
    /// When the last frame was shown again.
    again: Option<Instant>,
    open_media: Vec<Media>,
    closed: bool,
}

/// The frame that is shown.
struct Last {
    buffer: gst::Buffer,
    /// When it is to be shown, by the clock.
    time: gst::ClockTime,
    came: Instant,
}

/// A media pipeline.
struct Media {
    appsrc: glib::WeakRef<gst_app::AppSrc>,
    payloader: glib::WeakRef<gst::Element>,
    /// What the clock shows when its own time is 0.
    zero: Option<gst::ClockTime>,
    /// The time of the last frame that it got, by its own.
    last: Option<gst::ClockTime>,
    /// Its clients have everything.
    ended: Arc<AtomicBool>,
}

impl MountPoint {
    /// Pictures that it may keep at once: the last one, those that wait for the encoder, and one within.
    pub const KEEPS: usize = WAITING as usize + 2;

    /// `launch` encodes and payloads; frames of a live source keep its `timing`.
    pub fn new(name: &str, launch: &str, timing: &Timing, trained: bool, drawing: Drawing) -> Self {
        let (clock, base) = timing.base().map_or_else(|| (gst::SystemClock::obtain(), None), |(c, b)| (c, Some(b)));
        Self(Arc::new(Inner {
            name: name.to_owned(),
            launch: launch.to_owned(),
            trained,
            drawing,
            clock,
            state: Mutex::new(State { base, ..State::default() }),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a frame with what is claimed of it on its buffer. Nobody is waited for.
    ///
    /// # Errors
    /// The picture is too small to be encoded, or cannot be made to fit those before it.
    pub fn show(&self, frame: &Frame, annotated: gst::Buffer) -> Result<()> {
        let state = &mut *self.state();
        let buffer = self.fitted(state, frame, annotated)?;
        let now = self.0.clock.time();
        // Frames are from the past, and so leave at once: sinks wait for the time of those of a file that is read faster
        // than it plays, and would hold up the encoder.
        let shown_at = match frame.running_time {
            Some(time) => now.min(time + *state.base.get_or_insert_with(|| now.saturating_sub(time))),
            None => now,
        };
        let time = state.last.as_ref().map_or(shown_at, |last| shown_at.max(last.time + LEAST));
        let came = Instant::now();
        if let Some(last) = state.last.replace(Last { buffer: buffer.clone(), time, came }) {
            state.intervals.truncate(INTERVALS - 1);
            state.intervals.push_front(came - last.came);
        }
        state.gap = None;
        state.again = None;
        for media in &mut state.open_media {
            media.push(buffer.clone(), time);
        }
        Ok(())
    }

    /// Shows a frame of which nothing is known yet, with the latest result.
    ///
    /// # Errors
    /// As [`MountPoint::show`].
    pub fn show_at_once(&self, frame: &Frame) -> Result<()> {
        let latest = self.state().latest.clone().filter(|latest| latest.resolution == frame.resolution());
        let Some(LatestResult { result, queries, .. }) = latest else { return self.show(frame, frame.buffer.copy()) };
        let queries = queries.iter().map(|active| &active.tracked.query);
        self.show(frame, annotate(frame, &result.as_of_before(), queries, self.0.trained))
    }

    /// What frames that are shown at once are said to show; none where that is not known any more.
    pub fn set_latest(&self, latest: Option<LatestResult>) {
        let known = |latest: &LatestResult| latest.result.status == FrameStatus::Measured;
        if latest.as_ref().is_none_or(known) {
            self.state().latest = latest;
        }
    }

    /// Frames stay away, for a reason with a code.
    pub fn set_gap(&self, code: &'static str) {
        self.state().gap = Some(code);
    }

    /// Lets those who watch see the last frames, and says that there are no more.
    pub fn end_all(mounts: &[Self]) {
        const TICK: Duration = Duration::from_millis(10);
        let open_media = mounts.iter().flat_map(|mount| {
            let state = &mut *mount.state();
            state.closed = true;
            std::mem::take(&mut state.open_media)
        });
        let told = |media: &Media| {
            media.last.is_some() && media.appsrc.upgrade().is_some_and(|appsrc| appsrc.end_of_stream().is_ok())
        };
        let told: Vec<Media> = open_media.filter(told).collect();
        let began = Instant::now();
        while began.elapsed() < FAREWELL && told.iter().any(Media::goes_on) {
            std::thread::sleep(TICK);
        }
    }

    /// A new client wants to see something at once.
    pub(super) fn wants_key_frame(&self) {
        let payloaders: Vec<_> = self.state().open_media.iter().filter_map(|media| media.payloader.upgrade()).collect();
        for pad in payloaders.iter().filter_map(|payloader| payloader.static_pad("sink")) {
            pad.push_event(gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
        }
    }

    /// Feeds media that have nothing yet, and shows the last frame again where no new one comes.
    pub(super) fn tick(&self) {
        let state = &mut *self.state();
        state.open_media.retain(|media| media.appsrc.upgrade().is_some());
        let Some(last) = state.last.as_ref().filter(|_| !state.open_media.is_empty() && !state.closed) else { return };
        let silent = last.came.elapsed();
        let time = last.time + gst::ClockTime::try_from(silent).unwrap_or(gst::ClockTime::ZERO);
        let usual = state.intervals.iter().max().copied().unwrap_or_default();
        if state.gap.is_none() && silent < (3 * usual).clamp(PATIENCE, LONGEST_PATIENCE) {
            for media in state.open_media.iter_mut().filter(|media| media.last.is_none()) {
                media.push(last.buffer.clone(), time);
            }
            return;
        }
        if silent < AGAIN || state.again.is_some_and(|again| again.elapsed() < AGAIN) {
            return;
        }
        state.again = Some(Instant::now());
        let mut old = last.buffer.copy();
        meta::set_notice(old.make_mut(), &notice(state.gap, silent));
        for media in &mut state.open_media {
            media.push(old.clone(), time);
        }
    }

    /// A media pipeline for the first client; none where there is nothing to see.
    pub(super) fn media(&self) -> Option<gst::Element> {
        let info = {
            let state = self.state();
            state.info.clone().filter(|_| !state.closed)?
        };
        // Nobody who has a frame to show waits for that.
        match self.build(&info) {
            Ok((bin, media)) => {
                self.state().open_media.push(media);
                Some(bin.upcast())
            }
            Err(error) => {
                tracing::error!("{error}");
                None
            }
        }
    }

    fn build(&self, info: &gst_video::VideoInfo) -> Result<(gst::Bin, Media)> {
        let fail = |reason: String| Error::Output { name: self.0.name.clone(), reason };
        let appsrc = gst_app::AppSrc::builder()
            .name(FRAMES)
            .caps(&info.to_caps().map_err(|e| fail(e.to_string()))?)
            .format(gst::Format::Time)
            .is_live(true)
            .max_buffers(WAITING)
            .leaky_type(gst_app::AppLeakyType::Downstream)
            .build();
        let overlay = gst::ElementFactory::make("overlaycomposition").build();
        let overlay = overlay.map_err(|_| fail(pipeline::missing(&["overlaycomposition"])))?;
        draw_from_meta(&overlay, &self.0.drawing);
        let encoder = pipeline::build("rtsp", &self.0.launch, &pipeline::pads(info), gst::PadDirection::Sink)?;
        let payloader = payloader(&encoder, "rtsp")?;
        let bin = gst::Bin::new();
        let chain = [appsrc.upcast_ref(), &overlay, encoder.upcast_ref()];
        let linked = bin.add_many(chain).and_then(|()| gst::Element::link_many(chain));
        linked.map_err(|e| fail(e.to_string()))?;
        let ended = Arc::new(AtomicBool::new(false));
        if let Some(pad) = payloader.static_pad("src") {
            let ended = Arc::clone(&ended);
            pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
                if info.event().is_some_and(|event| event.type_() == gst::EventType::Eos) {
                    ended.store(true, Ordering::Release);
                }
                gst::PadProbeReturn::Ok
            });
        }
        let media =
            Media { appsrc: appsrc.downgrade(), payloader: payloader.downgrade(), zero: None, last: None, ended };
        Ok((bin, media))
    }

    /// The frame as those who watch have to get it.
    fn fitted(&self, state: &mut State, frame: &Frame, buffer: gst::Buffer) -> Result<gst::Buffer> {
        /// x264 takes no smaller pictures.
        const LEAST_SIDE: u32 = 16;
        let fail = |reason: String| Error::Output { name: self.0.name.clone(), reason };
        let (width, height) = (frame.info.width(), frame.info.height());
        if state.info.is_none() && (width < LEAST_SIDE || height < LEAST_SIDE) {
            let reason = format!("H.264 video needs at least {LEAST_SIDE}x{LEAST_SIDE}");
            return Err(fail(format!("the picture is {width}x{height}, {reason}")));
        }
        let first = state.info.get_or_insert_with(|| (*frame.info).clone());
        let like =
            |info: &gst_video::VideoInfo| (info.width(), info.height(), info.format(), info.par(), info.colorimetry());
        if like(&frame.info) == like(first) {
            return Ok(buffer);
        }
        let fail = |error: frames::Error| fail(error.to_string());
        let rescaler = match state.rescaler.take().filter(|rescaler| rescaler.is_for(&frame.info)) {
            Some(rescaler) => rescaler,
            None => Rescaler::new(&frame.info, first).map_err(fail)?,
        };
        state.rescaler.insert(rescaler).rescale(&buffer).map_err(fail)
    }
}

impl Media {
    /// Whether there are clients that have not got everything.
    fn goes_on(&self) -> bool {
        let plays = |appsrc: gst_app::AppSrc| appsrc.current_state() == gst::State::Playing;
        !self.ended.load(Ordering::Acquire) && self.appsrc.upgrade().is_some_and(plays)
    }

    fn push(&mut self, mut buffer: gst::Buffer, time: gst::ClockTime) {
        let Some(appsrc) = self.appsrc.upgrade() else { return };
        // A pipeline that does not play yet has no clock; and when it has got one, it has no base time for a moment.
        let base = appsrc.base_time().filter(|base| !base.is_zero());
        let Some((clock, base)) = appsrc.clock().zip(base) else { return };
        // Frames may be from before the first client came: times count from the first of them then.
        let zero = *self.zero.get_or_insert(base.min(time));
        // Never from the future, for which sinks would wait; and rising, also where a source comes back that is later than
        // it was.
        let pts = time.saturating_sub(zero).min(clock.time().saturating_sub(base));
        let pts = self.last.map_or(pts, |last| pts.max(last + LEAST));
        self.last = Some(pts);
        let writable = buffer.make_mut();
        writable.set_pts(pts);
        writable.set_dts(None);
        writable.set_duration(None);
        if let Err(error) = appsrc.push_buffer(buffer) {
            tracing::trace!("a client's pipeline takes no frame: {error}");
        }
    }
}

/// The element through which frames come.
pub(super) const FRAMES: &str = "frames";
/// How a server finds the element that makes packets.
pub(super) const PAYLOADER: &str = "pay0";

/// What stands at the foot of an old frame, in words for who watches.
fn notice(gap: Option<&str>, silent: Duration) -> String {
    let reason = match gap {
        Some("STREAM_CONNECTION_FAILED") => ": the camera cannot be reached",
        Some("STREAM_TIMEOUT") => ": the camera does not answer",
        Some("STREAM_AUTH_FAILED") => ": the camera refuses the login",
        Some("STREAM_NOT_FOUND") => ": the camera has no such stream",
        Some("STREAM_CODEC_UNSUPPORTED") => ": the camera's picture cannot be decoded",
        Some("STREAM_TLS_CERTIFICATE" | "STREAM_TLS_HANDSHAKE") => ": the camera is not trusted",
        _ => "",
    };
    format!("no picture for {} s{reason}", silent.as_secs().max(1))
}

/// The element that makes packets.
///
/// # Errors
/// There is none of that name in the pipeline that `name` names.
pub(crate) fn payloader(encoder: &gst::Bin, name: &str) -> Result<gst::Element> {
    encoder.by_name(PAYLOADER).ok_or_else(|| Error::Pipeline {
        name: name.into(),
        reason: format!("has no payloader named {PAYLOADER}, expected one as in rtph264pay name={PAYLOADER}"),
    })
}
