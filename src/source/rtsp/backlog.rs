//! When a jitter buffer may drop what is too late.
//!
//! `rtpjitterbuffer` (1.22) with `drop-on-latency` drops its oldest packets whenever it holds more than its latency: also what came
//! while the decoder was being built, and what a busy machine takes a little later than usual. So it may only while packets leave
//! it far too late, because whoever takes them is slower than the camera: then delay must not grow.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstreamer as gst;

/// Beyond the latency, packets may leave so late.
const LATE: Duration = Duration::from_secs(2);
/// Beyond it by less they are in time.
const IN_TIME: Duration = Duration::from_millis(200);
/// So long what came before the first frame may take to leave.
const DRAINING: Duration = Duration::from_secs(10);
/// Arrivals that are remembered.
const MOST: usize = 1 << 16;

/// Of one jitter buffer.
#[derive(Default)]
struct Backlog {
    /// Number and arrival of every packet within.
    within: VecDeque<(u16, Instant)>,
    /// Since when frames come.
    since: Option<Instant>,
    /// Whether what came before has left.
    is_drained: bool,
    drops: bool,
}

impl Backlog {
    fn arrives(&mut self, number: u16, now: Instant) {
        if self.within.len() == MOST {
            self.within.pop_front();
        }
        self.within.push_back((number, now));
    }

    /// Whether late packets are to be dropped from now on, where that changes.
    fn leaves(&mut self, number: u16, now: Instant, latency: Duration) -> Option<bool> {
        let place = self.within.iter().position(|(within, _)| *within == number)?;
        let (_, arrival) = self.within.drain(..=place).next_back()?;
        let since = *self.since.get_or_insert(now);
        let late = now.duration_since(arrival).saturating_sub(latency);
        self.is_drained |= late <= IN_TIME || now.duration_since(since) >= DRAINING;
        let drops = if self.drops { late > IN_TIME } else { self.is_drained && late > LATE };
        (std::mem::replace(&mut self.drops, drops) != drops).then_some(drops)
    }
}

/// Watches what goes through `buffer`; `shows` says whether frames come of it.
pub(super) fn watch(buffer: &gst::Element, shows: Arc<AtomicBool>) {
    buffer.set_property("drop-on-latency", false);
    let (Some(into), Some(out)) = (buffer.static_pad("sink"), buffer.static_pad("src")) else { return };
    let backlog = Arc::new(Mutex::new(Backlog::default()));
    let arriving = Arc::clone(&backlog);
    into.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(number) = info.buffer().and_then(|packet| number(packet)) {
            arriving.lock().unwrap_or_else(PoisonError::into_inner).arrives(number, Instant::now());
        }
        gst::PadProbeReturn::Ok
    });
    let latency = OnceLock::new();
    out.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let (true, Some(number)) = (shows.load(Ordering::Acquire), info.buffer().and_then(|packet| number(packet)))
        else {
            return gst::PadProbeReturn::Ok;
        };
        let latency = *latency.get_or_init(|| {
            let buffer = pad.parent_element();
            Duration::from_millis(buffer.map_or(0, |buffer| buffer.property::<u32>("latency")).into())
        });
        let change = backlog.lock().unwrap_or_else(PoisonError::into_inner).leaves(number, Instant::now(), latency);
        if let (Some(drops), Some(buffer)) = (change, pad.parent_element()) {
            tracing::debug!("late packets are {}", if drops { "dropped" } else { "kept" });
            buffer.set_property("drop-on-latency", drops);
        }
        gst::PadProbeReturn::Ok
    });
}

/// The number of an RTP packet (RFC 3550, section 5.1).
fn number(packet: &gst::BufferRef) -> Option<u16> {
    let mut header = [0; 4];
    packet.copy_to_slice(0, &mut header).ok()?;
    Some(u16::from_be_bytes([header[2], header[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_piled_up_at_the_start_is_kept_and_what_grows_later_is_not() {
        let (start, latency) = (Instant::now(), Duration::from_millis(200));
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut backlog = Backlog::default();
        // Five seconds pile up, then leave at once.
        (0..100u16).for_each(|number| backlog.arrives(number, at(u64::from(number) * 50)));
        assert!((0..99).all(|number| backlog.leaves(number, at(5000), latency).is_none()), "nothing changes");
        assert_eq!(backlog.leaves(99, at(5150), latency), None);
        assert!(backlog.is_drained);
        // A little late, a number that nobody knows, then far too late, then in time again.
        backlog.arrives(100, at(6000));
        assert_eq!(backlog.leaves(100, at(7000), latency), None);
        assert_eq!(backlog.leaves(7, at(7000), latency), None);
        (101..104).for_each(|number| backlog.arrives(number, at(8000)));
        assert_eq!(backlog.leaves(101, at(10_300), latency), Some(true));
        assert_eq!(backlog.leaves(102, at(10_300), latency), None);
        backlog.arrives(104, at(10_400));
        assert_eq!(backlog.leaves(104, at(10_600), latency), Some(false));
    }
}
