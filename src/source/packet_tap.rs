//! Takes packets before the decoder into a ring ([`super::packets`]), and says which of them is which frame. What has no packets worth
//! keeping, raw pictures for one, is encoded: for clips always, for who watches while somebody does.
//!
//! Pad probes look at what passes: unlike a tee with its queue, they can hold nothing up but as long as the ring wants it, and need
//! no branch that a decoder bin would have to know of.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

use super::packet_encoder::PacketEncoder;
use super::packet_queue::{Arrived, Medium, PacketOrigin};
use super::packets::PacketRing;
use super::rtsp;
use crate::stage::Frame;

/// Pictures that go into a clip as they are.
const VIDEO: [&str; 3] = ["video/x-h264", "video/x-h265", "image/jpeg"];
/// Decoders of pictures; those that are bins hold the one that is meant.
const PICTURES: gst::ElementFactoryType = gst::ElementFactoryType::DECODER
    .union(gst::ElementFactoryType::MEDIA_VIDEO)
    .union(gst::ElementFactoryType::MEDIA_IMAGE);
/// [`Facts::shown`] where nothing is known.
const UNKNOWN: i64 = i64::MIN;

/// What is known of the packets of one connection.
#[derive(Debug)]
struct Facts {
    /// Pictures came.
    came: AtomicBool,
    /// What is there cannot go into a clip as it is.
    unfit: AtomicBool,
    /// It is decided whether it does.
    decided: AtomicBool,
    /// The one stream of sound was found.
    sound: AtomicBool,
    /// Running time of the frame that just came out of the decoders, before anybody changed it, ns.
    shown: AtomicI64,
    /// The pipeline is about to stop. Held while elements are added to it: what is added behind its back would go on.
    stops: Mutex<bool>,
}

/// Says that the pipeline of a tap stops.
#[derive(Debug, Clone)]
pub(super) struct TapStop(Arc<Facts>);

impl TapStop {
    /// From now on nothing is added to the pipeline; what is just being added is through.
    pub(super) fn stop(&self) {
        *self.0.stops.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

/// The probes' part.
#[derive(Debug, Clone)]
struct Probe {
    ring: Arc<PacketRing>,
    origin: PacketOrigin,
    facts: Arc<Facts>,
}

/// What keeps the packets of one connection.
pub(super) struct PacketTap {
    probe: Probe,
    /// Whether packets are kept as they came; decided with the first frame.
    copies: Option<bool>,
    encoder: Option<PacketEncoder>,
    /// By how much stream time is ahead of running time, ns, where frames are encoded: sound counts by the latter.
    shift: Option<i64>,
    /// Whether there is nothing that encodes.
    hopeless: bool,
}

impl PacketTap {
    /// Watches what `bin` decodes. To be called before anything else changes the times of its frames.
    pub(super) fn watch(ring: &Arc<PacketRing>, bin: &gst::Bin, origin: PacketOrigin) -> Self {
        ring.set_futile(false);
        let facts = Facts {
            came: AtomicBool::new(false),
            unfit: AtomicBool::new(false),
            decided: AtomicBool::new(false),
            sound: AtomicBool::new(false),
            shown: AtomicI64::new(UNKNOWN),
            stops: Mutex::new(false),
        };
        let probe = Probe { ring: Arc::clone(ring), origin, facts: Arc::new(facts) };
        let watch = {
            let probe = probe.clone();
            move |element: &gst::Element| probe.watch(element)
        };
        bin.iterate_recurse().into_iter().flatten().for_each(|element| watch(&element));
        bin.connect_deep_element_added(move |_, _, element| watch(element));
        if let Some(pad) = bin.src_pads().into_iter().next() {
            let facts = Arc::clone(&probe.facts);
            pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
                let shown = info.buffer().and_then(|frame| running_ns(pad, frame));
                facts.shown.store(shown.unwrap_or(UNKNOWN), Ordering::Release);
                gst::PadProbeReturn::Ok
            });
        }
        Self { probe, copies: None, encoder: None, shift: None, hopeless: false }
    }

    /// To be told before its pipeline stops.
    pub(super) fn stopper(&self) -> TapStop {
        TapStop(Arc::clone(&self.probe.facts))
    }

    /// A frame came out of the decoder, on the thread on which its buffer left `bin`.
    pub(super) fn frame(&mut self, frame: &Frame) {
        let Probe { ring, origin, facts } = &self.probe;
        let found = facts.came.load(Ordering::Acquire) && !facts.unfit.load(Ordering::Acquire);
        let Some(stream) = frame.stream_time else { return };
        let stream_ns = stream.nseconds() as i64;
        let shown = Some(facts.shown.load(Ordering::Acquire)).filter(|shown| *shown != UNKNOWN);
        if self.copies.is_none() {
            facts.decided.store(true, Ordering::Release);
            if !found {
                ring.forget_unplaced();
            }
        }
        if *self.copies.get_or_insert(found) {
            if let Some(shown) = shown {
                ring.place(origin.connection, shown, stream_ns);
            }
            return;
        }
        if !ring.is_wanted() {
            self.encoder = None;
            return;
        }
        if self.encoder.as_ref().is_some_and(PacketEncoder::has_ended) {
            self.encoder = None;
            self.hopeless = true;
            ring.set_futile(true);
        }
        let shift = *self.shift.get_or_insert(shown.map_or(0, |shown| stream_ns - shown));
        if self.encoder.as_ref().is_none_or(|encoder| !encoder.fits(&frame.info)) && !self.hopeless {
            // The one before says all that it has first.
            self.encoder = None;
            match PacketEncoder::start(ring, &frame.info, *origin, shift) {
                Ok(encoder) => {
                    // It begins with one.
                    ring.wants_key();
                    self.encoder = Some(encoder);
                }
                Err(error) => {
                    self.hopeless = true;
                    ring.set_futile(true);
                    let lacking =
                        if ring.is_for_clips() { "no clips" } else { "page: pictures take the place of video" };
                    tracing::warn!("{lacking}: {error}");
                }
            }
        }
        if let Some(encoder) = &self.encoder {
            if ring.wants_key() {
                encoder.force_key();
            }
            encoder.push(&frame.buffer, stream);
        }
    }
}

impl Probe {
    fn watch(&self, element: &gst::Element) {
        let Some(factory) = element.factory() else { return };
        let name = factory.name();
        if name == "avidemux" {
            // It counts packets, which B-frames leave in another order than they are shown in: no clip could say when.
            self.facts.unfit.store(true, Ordering::Release);
        }
        if name == "rtspsrc" && !self.origin.custom && self.ring.is_for_clips() {
            let probe = self.clone();
            element.connect_pad_added(move |source, pad| probe.take_rtp_sound(source, pad));
        } else if factory.has_type(gst::ElementFactoryType::DEMUXER) {
            if !self.ring.is_for_clips() {
                return;
            }
            let probe = self.clone();
            element.connect_pad_added(move |_, pad| probe.take_sound(pad));
        } else if factory.has_type(PICTURES)
            && !element.is::<gst::Bin>()
            && let Some(pad) = element.static_pad("sink")
        {
            let probe = self.clone();
            pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
                if let Some(picture) = info.buffer() {
                    probe.take_picture(pad, picture);
                }
                gst::PadProbeReturn::Ok
            });
        }
    }

    fn take_picture(&self, pad: &gst::Pad, picture: &gst::Buffer) {
        let Facts { came, unfit, decided, .. } = &*self.facts;
        if unfit.load(Ordering::Acquire) {
            return;
        }
        let is_fit = |caps: &gst::Caps| is_fit(caps) && (self.ring.is_for_clips() || is_h264(caps));
        let caps = pad.current_caps().filter(is_fit);
        match caps.zip(running_ns(pad, picture)) {
            Some((caps, running_ns)) => {
                if self.ring.is_wanted() {
                    self.keep(Medium::Video, picture, caps, running_ns);
                }
                came.store(true, Ordering::Release);
            }
            None if decided.load(Ordering::Acquire) => tracing::debug!("a packet without a time is not kept"),
            None => unfit.store(true, Ordering::Release),
        }
    }

    /// The first stream of sound that comes out of a demuxer.
    fn take_sound(&self, pad: &gst::Pad) {
        let caps = pad.current_caps().or_else(|| Some(pad.query_caps(None)).filter(|caps| caps.is_fixed()));
        if caps.is_none_or(|caps| !is_sound(&caps)) || self.facts.sound.swap(true, Ordering::AcqRel) {
            return;
        }
        self.keep_sound(pad);
    }

    fn keep_sound(&self, pad: &gst::Pad) {
        let probe = self.clone();
        // Also where nothing is linked: probes are asked first.
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let came = info.buffer().and_then(|sound| Some((sound, pad.current_caps()?, running_ns(pad, sound)?)));
            if let Some((sound, caps, running_ns)) = came.filter(|(_, caps, _)| is_sound(caps)) {
                probe.keep(Medium::Sound, sound, caps, running_ns);
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// The sound of an RTSP camera, taken out of its packets.
    fn take_rtp_sound(&self, source: &gst::Element, pad: &gst::Pad) {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let factory = caps.structure(0).and_then(rtsp::sound_depayloader);
        let bin = source.parent().and_then(|parent| parent.downcast::<gst::Bin>().ok());
        let (Some(factory), Some(bin)) = (factory, bin) else { return };
        let stops = self.facts.stops.lock().unwrap_or_else(PoisonError::into_inner);
        if *stops || self.facts.sound.swap(true, Ordering::AcqRel) {
            return;
        }
        let linked = (|| {
            let depayloader = gst::ElementFactory::make(factory).build().ok()?;
            // No sink: the pipeline's end is the picture's.
            let end = gst::ElementFactory::make("tee").property("allow-not-linked", true).build().ok()?;
            bin.add_many([&depayloader, &end]).ok()?;
            depayloader.link(&end).ok()?;
            self.keep_sound(&depayloader.static_pad("src")?);
            end.sync_state_with_parent().ok()?;
            depayloader.sync_state_with_parent().ok()?;
            pad.link(&depayloader.static_pad("sink")?).ok()
        })();
        if linked.is_none() {
            tracing::warn!("{factory} is not installed or refuses: clips have no sound");
        }
    }

    fn keep(&self, medium: Medium, packet: &gst::Buffer, caps: gst::Caps, running_ns: i64) {
        let PacketOrigin { connection, live, lent, .. } = self.origin;
        let buffer = if lent { packet.copy_deep().unwrap_or_else(|_| packet.clone()) } else { packet.clone() };
        let key = !packet.flags().contains(gst::BufferFlags::DELTA_UNIT);
        self.ring.push(Arrived { medium, buffer, caps, connection, running_ns, stream_ns: None, key, live });
    }
}

/// Whether pictures of these caps go into a clip as they are: whole ones, of a codec that containers take.
fn is_fit(caps: &gst::CapsRef) -> bool {
    let Some(structure) = caps.structure(0) else { return false };
    let whole = structure.get::<&str>("alignment").is_ok_and(|alignment| alignment == "au");
    VIDEO.contains(&structure.name().as_str()) && (whole || structure.name() == VIDEO[2])
}

fn is_h264(caps: &gst::CapsRef) -> bool {
    caps.structure(0).is_some_and(|structure| structure.name() == VIDEO[0])
}

/// Whether it is AAC or G.711.
fn is_sound(caps: &gst::CapsRef) -> bool {
    let Some(structure) = caps.structure(0) else { return false };
    match structure.name().as_str() {
        "audio/x-mulaw" | "audio/x-alaw" => true,
        "audio/mpeg" => {
            let is_aac = structure.get::<i32>("mpegversion").is_ok_and(|version| matches!(version, 2 | 4));
            is_aac && structure.get::<&str>("stream-format").is_ok_and(|format| matches!(format, "raw" | "adts"))
        }
        _ => false,
    }
}

/// When what passes a pad is presented.
fn running_ns(pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<i64> {
    if let Some(shown) = rtsp::shown(buffer) {
        return Some(shown.nseconds() as i64);
    }
    let event = pad.sticky_event::<gst::event::Segment>(0)?;
    let segment = event.segment().downcast_ref::<gst::ClockTime>()?;
    match segment.to_running_time_full(buffer.pts()?)? {
        gst::Signed::Positive(time) => Some(time.nseconds() as i64),
        gst::Signed::Negative(time) => Some(-(time.nseconds() as i64)),
    }
}
