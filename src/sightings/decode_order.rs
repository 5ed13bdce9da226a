//! When packets are decoded, by when their pictures are shown. Cameras say only the latter, and MP4 wants both, in clips as on the page.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Pictures that H.264 and H.265 may hold back to put them in order are 16 at most; what stands before one that is shown late
/// is in this many.
const LOOKAHEAD: usize = 32;

/// A packet with both its times, ns.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Timed<T> {
    pub(crate) packet: T,
    pub(crate) shown: i64,
    /// Rises from packet to packet, and is never after `shown`; before the first time shown where pictures are reordered.
    pub(crate) decoded: i64,
}

/// Packets in the order in which they are decoded. The nth of them is decoded when the nth picture is shown, less what makes
/// that soon enough for all of them.
#[derive(Debug)]
pub(crate) struct DecodeOrder<T> {
    /// Packets that wait at most.
    lookahead: usize,
    waiting: VecDeque<(i64, T)>,
    times: BinaryHeap<Reverse<i64>>,
    /// How long before that they are decoded.
    lead: Option<i64>,
    last: Option<i64>,
}

impl<T> Default for DecodeOrder<T> {
    fn default() -> Self {
        Self::within(LOOKAHEAD)
    }
}

impl<T> DecodeOrder<T> {
    /// Where what is shown late stands among this many packets; of more reordering times are a little wrong, and rise all the same.
    pub(crate) fn within(lookahead: usize) -> Self {
        Self { lookahead, waiting: VecDeque::new(), times: BinaryHeap::new(), lead: None, last: None }
    }

    /// Takes a packet; returns an earlier one where enough is known of it.
    pub(crate) fn push(&mut self, shown: i64, packet: T) -> Option<Timed<T>> {
        self.waiting.push_back((shown, packet));
        self.times.push(Reverse(shown));
        if self.waiting.len() > self.lookahead { self.pop() } else { None }
    }

    /// The next one that waits, at the end.
    pub(crate) fn pop(&mut self) -> Option<Timed<T>> {
        let lead = *self.lead.get_or_insert_with(|| lead(&self.waiting));
        let (shown, packet) = self.waiting.pop_front()?;
        let Reverse(nth) = self.times.pop()?;
        // A stream that reorders more later than it did at first still rises.
        let decoded = (nth - lead).min(shown).max(self.last.map_or(i64::MIN, |last| last + 1));
        self.last = Some(decoded);
        Some(Timed { packet, shown, decoded })
    }
}

/// By how much the latest packet would come too late.
fn lead<T>(packets: &VecDeque<(i64, T)>) -> i64 {
    let mut times: Vec<i64> = packets.iter().map(|(shown, _)| *shown).collect();
    times.sort_unstable();
    let late = packets.iter().zip(&times).map(|((shown, _), nth)| nth - shown);
    late.max().unwrap_or(0).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(shown: &[i64]) -> Vec<(i64, i64)> {
        let mut order = DecodeOrder::default();
        let mut all: Vec<Timed<()>> = shown.iter().filter_map(|shown| order.push(*shown, ())).collect();
        all.extend(std::iter::from_fn(|| order.pop()));
        all.iter().map(|timed| (timed.shown, timed.decoded)).collect()
    }

    #[test]
    fn pictures_in_order_are_decoded_when_they_are_shown() {
        let shown: Vec<i64> = (0..100).map(|n| 40 * n).collect();
        assert_eq!(timed(&shown), shown.iter().map(|time| (*time, *time)).collect::<Vec<_>>());
    }

    /// I P B b b: two pictures ahead, over and over; then a pyramid with an open group.
    #[test]
    fn times_of_decoding_rise_and_are_soon_enough() {
        let group = [0, 4, 2, 1, 3];
        let shown: Vec<i64> = (0..40).flat_map(|n| group.map(|place| 40 * (5 * n + place))).collect();
        let timed = timed(&shown);
        assert_eq!(timed.len(), shown.len(), "none is lost");
        assert_eq!(timed.iter().map(|(shown, _)| *shown).collect::<Vec<_>>(), shown, "nor moved");
        assert!(timed.is_sorted_by(|a, b| a.1 < b.1), "{timed:?}");
        assert!(timed.iter().all(|(shown, decoded)| decoded <= shown), "{timed:?}");
        assert_eq!(timed[0], (0, -80), "not sooner than needed");
    }

    #[test]
    fn one_that_reorders_later_still_rises() {
        let plain = (0..60).map(|n| 40 * n);
        let reordered = (12..30).flat_map(|n| [0, 4, 2, 1, 3].map(|place| 40 * (5 * n + place)));
        let timed = timed(&plain.chain(reordered).collect::<Vec<_>>());
        assert!(timed.is_sorted_by(|a, b| a.1 < b.1), "{timed:?}");
    }
}
