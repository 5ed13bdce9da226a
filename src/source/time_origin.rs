//! What the times of a source count from: one zero for its records and for the videos that are made of it.
//!
//! A file's times are those that its container gives, as ffprobe and players tell them. Where a container has no zero of its own
//! (MPEG-TS and MPEG program streams, which go on from what was broadcast), and for what is live, the first frame is at zero.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use gst::prelude::*;
use gstreamer as gst;

/// Which of a buffer's times is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Stream time.
    Container,
    /// The time on the buffer: what Matroska's demuxer makes of it begins with the first frame.
    Buffer,
    /// Whatever it is, the first one is zero, and none is before the last.
    First,
    /// Stream time, of frames that are all alike: AVI counts packets, which B-frames leave in another order than they are
    /// shown in, and decoders give two frames one time.
    Counted,
}

/// The zero of one source, over all its connections.
#[derive(Debug)]
pub(super) struct TimeOrigin {
    kind: AtomicU8,
    /// Time of the first frame, nanoseconds, and one more; 0 until there is one.
    first: AtomicU64,
    /// Time of the last frame, in the same way.
    last: AtomicU64,
}

impl Default for TimeOrigin {
    fn default() -> Self {
        Self { kind: AtomicU8::new(Kind::Container as u8), first: AtomicU64::new(0), last: AtomicU64::new(0) }
    }
}

impl TimeOrigin {
    /// Of a source that is live.
    pub(super) fn of_live(&self) {
        self.kind.store(Kind::First as u8, Ordering::Release);
    }

    /// Takes note of a demuxer of a source's.
    pub(super) fn observe(&self, element: &gst::Element) {
        let kind = match element.factory().map(|factory| factory.name()).as_deref() {
            Some("tsdemux" | "mpegpsdemux") => Kind::First,
            Some("matroskademux") => Kind::Buffer,
            Some("avidemux") => Kind::Counted,
            _ => return,
        };
        // What is live stays that.
        let container = Kind::Container as u8;
        let _ = self.kind.compare_exchange(container, kind as u8, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The time of a frame by its buffer's and its stream time, and how long it lasts.
    pub(super) fn time(
        &self,
        buffer: Option<gst::ClockTime>,
        stream: Option<gst::ClockTime>,
        lasts: Option<gst::ClockTime>,
    ) -> Option<gst::ClockTime> {
        let kind = self.kind.load(Ordering::Acquire);
        if kind == Kind::Container as u8 {
            return stream;
        }
        if kind == Kind::Buffer as u8 {
            return buffer;
        }
        let mut time = stream?;
        if kind == Kind::First as u8 {
            let fresh = time.nseconds().saturating_add(1);
            let first = self.first.compare_exchange(0, fresh, Ordering::AcqRel, Ordering::Acquire);
            time = gst::ClockTime::from_nseconds(fresh.saturating_sub(first.err().unwrap_or(fresh)));
        }
        // Also where one part of a broadcast or a playlist is longer than it claims, and the next begins before its end.
        let last = self.last.load(Ordering::Acquire).checked_sub(1).map(gst::ClockTime::from_nseconds);
        let next = last.filter(|last| time <= *last).zip(lasts).map(|(last, lasts)| last + lasts);
        let time = next.unwrap_or(time);
        self.last.store(time.nseconds().saturating_add(1), Ordering::Release);
        Some(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_container_has_its_own() {
        gst::init().expect("GStreamer starts");
        let ms = |ms: u64| Some(gst::ClockTime::from_mseconds(ms));
        let of = |demuxer: &str| {
            let zero = TimeOrigin::default();
            zero.observe(&gst::ElementFactory::make(demuxer).build().expect("is installed"));
            [zero.time(ms(1480), ms(780), None), zero.time(ms(1520), ms(820), None)]
        };
        assert_eq!(of("qtdemux"), [ms(780), ms(820)]);
        assert_eq!(of("matroskademux"), [ms(1480), ms(1520)]);
        assert_eq!(of("tsdemux"), [ms(0), ms(40)]);
        let parts = TimeOrigin::default();
        parts.observe(&gst::ElementFactory::make("tsdemux").build().expect("is installed"));
        let times = [1400, 1440, 1440, 1400, 1440, 1600].map(|time| parts.time(None, ms(time), ms(40)));
        assert_eq!(times, [0, 40, 80, 120, 160, 200].map(ms), "the second part begins before the end of the first");
        let live = TimeOrigin::default();
        live.of_live();
        live.observe(&gst::ElementFactory::make("matroskademux").build().expect("is installed"));
        let times = [(ms(0), ms(0)), (ms(9), ms(40)), (None, None)].map(|(buffer, time)| live.time(buffer, time, None));
        assert_eq!(times, [ms(0), ms(40), None]);
        let avi = TimeOrigin::default();
        avi.observe(&gst::ElementFactory::make("avidemux").build().expect("is installed"));
        let times = [0, 40, 80, 80, 120, 200].map(|time| avi.time(None, ms(time), ms(40)));
        assert_eq!(times, [0, 40, 80, 120, 160, 200].map(ms), "no two frames of a film have one time");
    }
}
