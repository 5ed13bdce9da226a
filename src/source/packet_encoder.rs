//! Packets of a source that has none worth keeping: its frames, encoded.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use super::bus::{self, Report};
use super::packet_queue::{Arrived, Medium, PacketOrigin};
use super::packets::PacketRing;
use crate::error::{Error, Result};
use crate::pipeline::{self, PipelineFile};

/// Frames that may wait for the encoder of clips, and for that of who watches: older ones are left out there.
const WAITING: [u64; 2] = [8, 2];
/// Pictures that an encoder for who watches may keep at once: those, and one within.
pub(crate) const KEPT_FOR_VIEWERS: usize = WAITING[1] as usize + 1;
/// How long the few frames that wait may take at the end, where an encoder is stuck.
const PATIENCE: Duration = Duration::from_secs(1);
/// x264 takes no smaller pictures.
const LEAST_SIDE: u32 = 16;

/// An encoder whose packets go into a ring.
pub(super) struct PacketEncoder {
    pipeline: gst::Pipeline,
    appsrc: gst_app::AppSrc,
    packets: gst_app::AppSink,
    info: gst_video::VideoInfo,
    ended: Receiver<()>,
    /// What it encodes for, in words.
    purpose: &'static str,
    /// Whether the last frames are waited for.
    drains: bool,
}

impl PacketEncoder {
    /// Encodes frames like `info` for `ring`. Their stream time is ahead of the running time of sound by `shift`, ns.
    ///
    /// # Errors
    /// The picture is too small, or an element is missing.
    pub(super) fn start(
        ring: &Arc<PacketRing>,
        info: &gst_video::VideoInfo,
        origin: PacketOrigin,
        shift: i64,
    ) -> Result<Self> {
        const ENCODERS: [[(&str, &str); 2]; 2] = [
            [("x264enc", "clip"), ("openh264enc", "clip-openh264")],
            [("x264enc", "page"), ("openh264enc", "clip-openh264")],
        ];
        let drains = ring.is_for_clips();
        let (encoders, waiting) = if drains { (ENCODERS[0], WAITING[0]) } else { (ENCODERS[1], WAITING[1]) };
        let fail = |reason: String| Error::Pipeline { name: encoders[0].1.into(), reason };
        let (width, height) = (info.width(), info.height());
        if width < LEAST_SIDE || height < LEAST_SIDE {
            let reason = format!("H.264 video needs at least {LEAST_SIDE}x{LEAST_SIDE}");
            return Err(fail(format!("the picture is {width}x{height}, {reason}")));
        }
        let name = pipeline::encoder(&encoders)?;
        let launch = PipelineFile::built_in(name)?.only_sink(name)?;
        let encoder = pipeline::build(name, &launch, &pipeline::pads(info), gst::PadDirection::Sink)?;
        let packets = encoder.by_name("packets").and_then(|sink| sink.downcast::<gst_app::AppSink>().ok());
        let packets = packets.ok_or_else(|| fail("has no appsink named `packets`".into()))?;
        let (end, ended) = bounded(1);
        packets.set_callbacks(callbacks(Arc::clone(ring), origin, shift, end.clone()));
        // Nobody waits for who watches.
        let leaks = origin.live || !drains;
        let leak = if leaks { gst_app::AppLeakyType::Downstream } else { gst_app::AppLeakyType::None };
        let appsrc = gst_app::AppSrc::builder()
            .caps(&info.to_caps().map_err(|e| fail(e.to_string()))?)
            .format(gst::Format::Time)
            .max_buffers(waiting)
            .max_bytes(0)
            .leaky_type(leak)
            .block(!leaks)
            .build();
        let pipeline = gst::Pipeline::new();
        let chain = [appsrc.upcast_ref::<gst::Element>(), encoder.upcast_ref()];
        let linked = pipeline.add_many(chain).and_then(|()| gst::Element::link_many(chain));
        linked.map_err(|e| fail(e.to_string()))?;
        let purpose = if drains { "clips" } else { "the page" };
        bus::forward(&pipeline, move |report| {
            if let Report::Failed(fault) = report {
                tracing::warn!("the encoder for {purpose} ended: {}", fault.reason);
            }
            // Once is enough.
            let _ = end.try_send(());
        });
        if pipeline.set_state(gst::State::Playing).is_err() {
            return Err(fail("the pipeline refuses to start".into()));
        }
        Ok(Self { pipeline, appsrc, packets, info: info.clone(), ended, purpose, drains })
    }

    /// Whether no more comes of it: it failed.
    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Whether frames like `info` can go on in it.
    pub(super) fn fits(&self, info: &gst_video::VideoInfo) -> bool {
        self.info == *info
    }

    /// Encodes a frame.
    ///
    /// # Blocking
    /// While enough frames wait, where their source is one that waits.
    pub(super) fn push(&self, frame: &gst::Buffer, stream_time: gst::ClockTime) {
        let mut frame = frame.copy();
        let writable = frame.make_mut();
        writable.set_pts(stream_time);
        writable.set_dts(None);
        if self.appsrc.push_buffer(frame).is_err() {
            tracing::debug!("the encoder for {} takes no more frames", self.purpose);
        }
    }

    /// The next frame is one with which decoding can begin.
    pub(super) fn force_key(&self) {
        let event = gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
        if !self.packets.send_event(event) {
            tracing::debug!("the encoder for {} makes key frames when it wants to", self.purpose);
        }
    }
}

/// Hands every packet to `ring`, and says when there are no more. Its times are the frames' own.
fn callbacks(ring: Arc<PacketRing>, origin: PacketOrigin, shift: i64, end: Sender<()>) -> gst_app::AppSinkCallbacks {
    let new_sample = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Flushing)?;
        let segment = sample.segment().and_then(|segment| segment.downcast_ref::<gst::ClockTime>());
        let packet = sample.buffer_owned().zip(sample.caps_owned());
        let Some((buffer, caps)) = packet else { return Err(gst::FlowError::Error) };
        // x264 counts from a thousand hours on.
        let time = segment.zip(buffer.pts()).and_then(|(segment, pts)| segment.to_running_time(pts));
        let Some(stream_ns) = time.map(|time| time.nseconds() as i64) else { return Ok(gst::FlowSuccess::Ok) };
        let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let PacketOrigin { connection, live, .. } = origin;
        let (running_ns, stream_ns) = (stream_ns - shift, Some(stream_ns));
        ring.push(Arrived { medium: Medium::Video, buffer, caps, connection, running_ns, stream_ns, key, live });
        Ok(gst::FlowSuccess::Ok)
    };
    // Once is enough. What the pipeline says of its end comes later, and not at all where it does not play yet.
    let eos = move |_: &gst_app::AppSink| _ = end.try_send(());
    gst_app::AppSinkCallbacks::builder().new_sample(new_sample).eos(eos).build()
}

impl Drop for PacketEncoder {
    /// What waits for clips comes into the ring before.
    fn drop(&mut self) {
        if self.drains && self.appsrc.end_of_stream().is_ok() && self.ended.recv_timeout(PATIENCE).is_err() {
            tracing::warn!("the encoder for clips is stuck: clips lack the last frames before here");
        }
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::debug!("the encoder for {} did not stop cleanly", self.purpose);
        }
    }
}
