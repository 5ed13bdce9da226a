//! From the decoder into the stage: a sample becomes a [`Frame`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use crossbeam_channel::Receiver;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use records::Clock;

use super::clock_skew::{ClockSkew, SECOND};
use super::decoder_errors;
use super::key_frame::KeyFrameGate;
use super::packet_tap::PacketTap;
use super::rtsp::{self, ServerInfo};
use super::time_origin::TimeOrigin;
use crate::stage::{Closed, Frame, InputHandle, frame_time};

/// What is counted of a source over all its connections.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames that came out of the decoder.
    pub(super) decoded: AtomicU64,
    /// The same with pictures before the first whole one of a connection.
    pub(super) alive: AtomicU64,
    /// Whether the decoder has a frame that nobody takes yet.
    pub(super) handing_over: AtomicBool,
    /// Stream time of the newest frame, nanoseconds.
    pub(super) last_time: AtomicU64,
    /// The longest time from one frame to the next, nanoseconds.
    pub(super) longest: AtomicU64,
    /// How long the source is, nanoseconds; 0 until it is known.
    pub(super) duration: AtomicU64,
    /// Running time of the newest frame of a source that comes back, nanoseconds.
    running: AtomicU64,
    /// What its times count from.
    pub(super) time_origin: TimeOrigin,
}

impl Counters {
    /// Frames that came out of the decoder until now.
    pub fn decoded(&self) -> u64 {
        self.decoded.load(Ordering::Acquire)
    }

    /// Which share of the source was decoded, 0..1; none where its length is not known.
    pub fn share(&self) -> Option<f64> {
        let (last, whole) = (self.last_time.load(Ordering::Acquire), self.duration.load(Ordering::Acquire));
        (whole > 0).then(|| (last as f64 / whole as f64).min(1.0))
    }
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

/// What all frames of one connection have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameOrigin {
    /// Counts the connections, from 1.
    pub(super) connection: u64,
    /// Whether frames come when they come.
    pub(super) live: bool,
    /// Whether stream time begins anew with every connection, so that running time has to stand in.
    pub(super) reconnects: bool,
    /// What running time is made of.
    pub(super) timestamps: TimestampMode,
}

/// How times of a live source become running time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimestampMode {
    /// They are.
    Running,
    /// They are a sender's, whose frames come as they are made.
    Sender,
    /// They are a sender's, whose frames come in bursts, and have to wait for their time here.
    Bursts,
}

/// What the appsink's thread needs to hand a frame over.
pub(super) struct SampleHandler {
    frames: InputHandle,
    stopped: Receiver<()>,
    counters: Arc<Counters>,
    rotation: Arc<AtomicU32>,
    server_info: ServerInfo,
    origin: FrameOrigin,
    /// Of the decoder and of packets that were lost, until the frame before.
    errors: u64,
    info: Option<(gst::Caps, Arc<gst_video::VideoInfo>)>,
    /// How far the source's wall clock is ahead of running time, once it said so; nanoseconds.
    ahead: Option<u64>,
    /// Frames of this connection.
    count: u64,
    key_frames: KeyFrameGate,
    skew: ClockSkew,
    /// How far running time is ahead of frames that come in bursts.
    begun: Option<i64>,
    /// Keep packets for clips, and for who watches.
    packets: Vec<PacketTap>,
}

impl SampleHandler {
    pub(super) fn new(
        frames: InputHandle,
        stopped: Receiver<()>,
        counters: Arc<Counters>,
        rotation: Arc<AtomicU32>,
        server_info: ServerInfo,
        key_frames: KeyFrameGate,
        origin: FrameOrigin,
    ) -> Self {
        let errors = decoder_errors::count() + server_info.lost();
        Self {
            frames,
            stopped,
            counters,
            rotation,
            server_info,
            origin,
            errors,
            info: None,
            ahead: None,
            count: 0,
            key_frames,
            skew: ClockSkew::default(),
            begun: None,
            packets: Vec::new(),
        }
    }

    /// With what keeps packets.
    pub(super) fn with_packets(self, packets: Vec<PacketTap>) -> Self {
        Self { packets, ..self }
    }

    /// The running time of a frame that comes now.
    fn paced(&mut self, time: gst::ClockTime, now: gst::ClockTime) -> gst::ClockTime {
        let (time, now) = (time.nseconds() as i64, now.nseconds() as i64);
        let shown = match self.origin.timestamps {
            TimestampMode::Running => time,
            TimestampMode::Sender => self.skew.shown(time, now),
            TimestampMode::Bursts => {
                let begun = self.begun.filter(|begun| now - time - begun < SECOND).unwrap_or(now - time);
                self.begun = Some(begun);
                if let Ok(early @ 1..) = u64::try_from(time + begun - now) {
                    // Ends with the wait where the stream does.
                    let _ = self.stopped.recv_timeout(std::time::Duration::from_nanos(early));
                }
                time + begun
            }
        };
        gst::ClockTime::from_nseconds(shown.max(0) as u64)
    }

    fn deliver(
        &mut self,
        sample: &gst::Sample,
        now: Option<gst::ClockTime>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let (buffer, caps) = (
            sample.buffer_owned().ok_or(gst::FlowError::Error)?,
            sample.caps_owned().ok_or(gst::FlowError::NotNegotiated)?,
        );
        if self.info.as_ref().is_none_or(|(known, _)| *known != caps) {
            let info = gst_video::VideoInfo::from_caps(&caps).map_err(|_| gst::FlowError::NotNegotiated)?;
            self.info = Some((caps, Arc::new(info)));
        }
        let Some((_, info)) = &self.info else { return Err(gst::FlowError::NotNegotiated) };
        let info = Arc::clone(info);
        self.counters.alive.fetch_add(1, Ordering::AcqRel);
        let corrupt = buffer.flags().contains(gst::BufferFlags::CORRUPTED);
        let joins = self.count == 0 && (self.origin.reconnects || self.key_frames.mends());
        if corrupt && joins && self.key_frames.leave_out() {
            return Ok(gst::FlowSuccess::Ok);
        }
        if self.count == 0 {
            self.server_info.joined();
            let left_out = self.key_frames.left_out();
            if left_out > 0 {
                // What was complained of is not shown.
                self.errors = decoder_errors::count() + self.server_info.lost();
                tracing::info!("begins between two key frames: {left_out} pictures were not whole and are left out");
            }
        }
        let segment = sample.segment().and_then(|s| s.downcast_ref::<gst::ClockTime>());
        let at = |convert: fn(&gst::FormattedSegment<gst::ClockTime>, gst::ClockTime) -> Option<gst::ClockTime>| {
            segment.zip(buffer.pts()).and_then(|(segment, pts)| convert(segment, pts))
        };
        let errors = decoder_errors::count() + self.server_info.lost();
        let complained = std::mem::replace(&mut self.errors, errors) < errors;
        // A demuxer that lost its way goes on where it finds it again.
        let skipped_data = buffer.flags().contains(gst::BufferFlags::DISCONT);
        let running_time = rtsp::shown(&buffer).or_else(|| at(gst::FormattedSegment::to_running_time));
        let running_time = running_time.map(|time| self.paced(time, now.unwrap_or(time)));
        let (captured, clock) = self.captured(&buffer, running_time);
        let running_time =
            if self.origin.reconnects { running_time.map(|time| self.rising(time)) } else { running_time };
        let played = if self.origin.reconnects { running_time } else { at(gst::FormattedSegment::to_stream_time) };
        let lasts = buffer.duration().or_else(|| frame_time(&info));
        let stream_time = self.counters.time_origin.time(buffer.pts(), played, lasts);
        let frame = Frame {
            seq: self.counters.decoded.load(Ordering::Acquire),
            stream_time,
            // Files have no clock: their outputs count as their records do.
            running_time: if self.origin.live { running_time } else { stream_time },
            info,
            rotation: self.rotation.load(Ordering::Acquire),
            captured,
            clock,
            connection: self.origin.connection,
            corrupt,
            damaged: complained || (skipped_data && self.count > 0),
            buffer,
            arrived: Instant::now(),
        };
        if let Some(time) = frame.stream_time {
            let last = self.counters.last_time.fetch_max(time.nseconds(), Ordering::AcqRel);
            self.counters.longest.fetch_max(time.nseconds().saturating_sub(last), Ordering::AcqRel);
        }
        self.counters.handing_over.store(true, Ordering::Release);
        self.packets.iter_mut().for_each(|packets| packets.frame(&frame));
        let handed = self.frames.get().ok_or(Closed).and_then(|input| input.push(frame, &self.stopped));
        self.counters.handing_over.store(false, Ordering::Release);
        handed.map_err(|_| gst::FlowError::Flushing)?;
        self.counters.decoded.fetch_add(1, Ordering::AcqRel);
        self.count += 1;
        Ok(gst::FlowSuccess::Ok)
    }
}

impl SampleHandler {
    /// Cameras' times tremble, and a burst may be ahead of the next connection: every frame is later than the one before.
    fn rising(&self, time: gst::ClockTime) -> gst::ClockTime {
        const LEAST: u64 = gst::ClockTime::MSECOND.nseconds();
        let last = self.counters.running.load(Ordering::Acquire);
        let time = if last > 0 { time.nseconds().max(last + LEAST) } else { time.nseconds() };
        self.counters.running.store(time, Ordering::Release);
        gst::ClockTime::from_nseconds(time)
    }

    fn captured(&mut self, buffer: &gst::BufferRef, running_time: Option<gst::ClockTime>) -> (Option<u64>, Clock) {
        if !self.origin.live {
            return (None, Clock::File);
        }
        if let Some(captured) = rtcp_time(buffer) {
            self.ahead = running_time.and_then(|time| captured.checked_sub(time.nseconds()));
            return (Some(captured), Clock::Rtcp);
        }
        // Frames that a decoder put in another order may come without a time of their own.
        match running_time.zip(self.ahead) {
            Some((time, ahead)) => (Some(time.nseconds() + ahead), Clock::Rtcp),
            None => (Some(crate::clock::now_unix_ns().unsigned_abs()), Clock::Arrival),
        }
    }
}

/// Wall-clock time of capture in nanoseconds since 1970, by the sender reports of the source (RFC 3550, section 6.4.1:
/// NTP time, which counts from 1900).
fn rtcp_time(buffer: &gst::BufferRef) -> Option<u64> {
    const NTP: &str = "timestamp/x-ntp";
    const FROM_1900_TO_1970: u64 = 2_208_988_800 * 1_000_000_000;
    let mut metas = buffer.iter_meta::<gst::ReferenceTimestampMeta>();
    let meta = metas.find(|meta| meta.reference().structure(0).is_some_and(|reference| reference.name() == NTP))?;
    meta.timestamp().nseconds().checked_sub(FROM_1900_TO_1970)
}

/// The end of the source pipeline. It keeps time itself only where a file is played at its own pace.
pub(super) fn appsink(realtime: bool, mut handler: SampleHandler) -> gst_app::AppSink {
    let caps = gst_video::VideoCapsBuilder::new().format_list(FORMATS).build();
    let pictures = handler.frames.get().map_or(0, |input| input.max_buffers());
    let new_sample = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Flushing)?;
        handler.deliver(&sample, sink.current_running_time())
    };
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(new_sample).build();
    let sink = gst_app::AppSink::builder().caps(&caps).sync(realtime).enable_last_sample(false).max_buffers(1).build();
    sink.set_callbacks(callbacks);
    if let Some(pad) = sink.static_pad("sink") {
        pad.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, move |_, info| {
            match info.query_mut().map(gst::QueryRef::view_mut) {
                Some(gst::QueryViewMut::Allocation(query)) => {
                    propose_allocation(query, pictures);
                    gst::PadProbeReturn::Handled
                }
                _ => gst::PadProbeReturn::Ok,
            }
        });
    }
    sink
}

/// With `GstVideoMeta` decoders need not copy into packed rows; their pools must outlast our queues.
fn propose_allocation(query: &mut gst::query::Allocation, pictures: usize) {
    query.add_allocation_meta::<gst_video::VideoMeta>(None);
    if let (Some(caps), _) = query.get_owned()
        && let Ok(info) = gst_video::VideoInfo::from_caps(&caps)
    {
        query.add_allocation_pool(None::<&gst::BufferPool>, info.size() as u32, pictures as u32, 0);
    }
}
