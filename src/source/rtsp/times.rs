//! When pictures of an RTSP stream are to be shown, by the RTP times of their packets.
//!
//! `rtpjitterbuffer` makes times that rise from packet to packet. Where pictures are sent in another order than they are
//! shown (B-frames), RTP times do not rise (RFC 6184, section 5.1), and what it makes of them is uneven. So every packet is marked here
//! with the time that its RTP time stands for, and the mark stays with its picture through depayloader and decoder.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

use crate::source::clock_skew::{ClockSkew, SECOND};

/// How marks are called.
const MARK: &str = "timestamp/x-spotter-shown";
/// The packets of one stream.
#[derive(Debug, Default)]
struct Packets {
    clock_rate: i64,
    /// What is missing of it costs no picture.
    is_sound: bool,
    /// RTP time of the last one, as it is and with its overflows.
    time: Option<(u32, i64)>,
    /// The time that was made of it.
    shown: i64,
    /// Its number.
    number: Option<u16>,
    skew: ClockSkew,
}

impl Packets {
    /// The time that a packet stands for, and how many are missing before it.
    fn next(&mut self, header: [u8; 8], arrival: i64) -> (i64, u64) {
        let [_, _, high, low, time @ ..] = header;
        let (number, time) = (u16::from_be_bytes([high, low]), u32::from_be_bytes(time));
        let step = self.number.map_or(1, |last| number.wrapping_sub(last));
        self.number = Some(number);
        // A number that went back began anew.
        let missing = if (2..u16::MAX / 2).contains(&step) { u64::from(step) - 1 } else { 0 };
        let whole = match self.time {
            Some((last, _)) if last == time => return (self.shown, missing),
            Some((last, whole)) => whole + i64::from(time.wrapping_sub(last).cast_signed()),
            None => i64::from(time),
        };
        self.time = Some((time, whole));
        let rtp = (i128::from(whole) * i128::from(SECOND) / i128::from(self.clock_rate)) as i64;
        self.shown = self.skew.shown(rtp, arrival).max(0);
        (self.shown, missing)
    }
}

/// Marks what leaves a jitter buffer, and counts into `lost` what did not come through it of the picture, whatever the
/// reason.
pub(super) fn mark(buffer: &gst::Element, lost: Arc<AtomicU64>) {
    let Some(pad) = buffer.static_pad("src") else { return };
    let (packets, mark) = (Mutex::new(Packets::default()), gst::Caps::new_empty_simple(MARK));
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let Some(gst::PadProbeData::Buffer(packet)) = &mut info.data else { return gst::PadProbeReturn::Ok };
        let mut packets = packets.lock().unwrap_or_else(PoisonError::into_inner);
        if packets.clock_rate == 0 {
            let caps = pad.current_caps();
            let structure = caps.as_ref().and_then(|caps| caps.structure(0));
            let rate = structure.and_then(|structure| structure.get::<i32>("clock-rate").ok());
            packets.clock_rate = i64::from(rate.unwrap_or_default().max(0));
            packets.is_sound = structure.is_some_and(|structure| structure.get::<&str>("media") == Ok("audio"));
        }
        let arrival = pad.parent_element().and_then(|element| element.current_running_time());
        let mut header = [0; 8];
        if packets.clock_rate > 0 && packet.copy_to_slice(0, &mut header).is_ok() {
            let arrival = arrival.map_or(0, |time| time.nseconds() as i64);
            let (shown, missing) = packets.next(header, arrival);
            if !packets.is_sound {
                lost.fetch_add(missing, Ordering::AcqRel);
            }
            let shown = gst::ClockTime::from_nseconds(shown as u64);
            gst::ReferenceTimestampMeta::add(packet.make_mut(), &mark, shown, gst::ClockTime::NONE);
        }
        gst::PadProbeReturn::Ok
    });
}

/// The running time at which a picture is to be shown, by the mark of its packets.
pub(in crate::source) fn shown(buffer: &gst::BufferRef) -> Option<gst::ClockTime> {
    let mut metas = buffer.iter_meta::<gst::ReferenceTimestampMeta>();
    let meta = metas.find(|meta| meta.reference().structure(0).is_some_and(|reference| reference.name() == MARK))?;
    Some(meta.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = SECOND / 1000;

    #[test]
    fn numbers_and_times_overflow_and_gaps_are_counted() {
        let mut packets = Packets { clock_rate: 90_000, ..Packets::default() };
        let header = |number: u16, time: u32| {
            let mut header = [0x80, 96, 0, 0, 0, 0, 0, 0];
            header[2..4].copy_from_slice(&number.to_be_bytes());
            header[4..].copy_from_slice(&time.to_be_bytes());
            header
        };
        assert_eq!(packets.next(header(65_534, u32::MAX - 3599), 100 * MS), (100 * MS, 0));
        assert_eq!(packets.next(header(65_535, u32::MAX - 3599), 101 * MS), (100 * MS, 0), "the same picture");
        let (shown, missing) = packets.next(header(2, 0), 140 * MS);
        assert_eq!(missing, 2);
        assert!((shown - 140 * MS).abs() < MS, "{shown}");
        let (shown, missing) = packets.next(header(1, u32::MAX - 1799), 150 * MS);
        assert_eq!(missing, 0);
        assert!((shown - 120 * MS).abs() < MS, "an earlier picture: {shown}");
        // The camera's clock was set.
        let (shown, _) = packets.next(header(2, 10_000_000), 180 * MS);
        assert_eq!(shown, 180 * MS);
    }
}
