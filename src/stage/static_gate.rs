//! The gate for scenes in which nothing happens: what looks like the last measured frame need not be measured.

use frames::Thumbnails;
use records::Resolution;

use super::Frame;

/// When a scene counts as still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct StaticGate {
    /// By how much the brightness of a cell (a 64th of the width, a 36th of the height) may differ, of 255; from 1.
    pub level: u8,
    /// Of the frames that come, at least every such one is measured; from 1.
    pub recheck: u64,
}

/// Columns and rows that are compared.
const CELLS: (usize, usize) = (64, 36);

/// Compares frames with the last one that was let through.
pub(super) struct Gate {
    settings: StaticGate,
    thumbnails: Thumbnails,
    /// Of the last frame that was measured; empty where there is none.
    measured: Vec<u8>,
    /// Size and turn of that frame.
    resolution: Option<Resolution>,
    /// Frames since then.
    since: u64,
}

impl Gate {
    pub(super) fn new(settings: StaticGate) -> Self {
        Self { settings, thumbnails: Thumbnails::new(CELLS), measured: Vec::new(), resolution: None, since: 0 }
    }

    /// The next frame is measured, whatever it shows.
    pub(super) fn reset(&mut self) {
        self.measured.clear();
    }

    /// True where the frame need not be measured: it shows what the last measured one showed. One that is to be measured is
    /// what the next ones are compared with, so that what changes slowly is seen in the end.
    pub(super) fn is_still(&mut self, frame: &Frame) -> bool {
        let Some(now) = self.thumbnails.of(&frame.buffer, &frame.info) else {
            self.reset();
            return false;
        };
        self.since += 1;
        let alike = |(a, b): (&u8, &u8)| a.abs_diff(*b) <= self.settings.level;
        let still = self.since < self.settings.recheck
            && self.measured.len() == now.len()
            && self.resolution == Some(frame.resolution())
            && self.measured.iter().zip(now).all(alike);
        if !still {
            self.measured.clear();
            self.measured.extend_from_slice(now);
            self.resolution = Some(frame.resolution());
            self.since = 0;
        }
        still
    }
}

#[cfg(test)]
mod tests {
    use gstreamer as gst;
    use gstreamer_video as gst_video;

    use super::super::tests::frame;
    use super::*;

    /// A grey frame with a brighter square of `side` pixels at its top left.
    fn grey(level: u8, square: u8, side: usize) -> Frame {
        let mut frame = frame(0);
        let stride = frame.info.stride()[0] as usize;
        let mut pixels = vec![level; frame.info.size()];
        for row in pixels.chunks_mut(stride).take(side) {
            row[..side].fill(square);
        }
        frame.buffer = gst::Buffer::from_slice(pixels);
        frame
    }

    fn gate(recheck: u64) -> Gate {
        Gate::new(StaticGate { level: 4, recheck })
    }

    #[test]
    fn noise_is_still_and_a_small_thing_that_moves_is_not() {
        let mut gate = gate(100);
        assert!(!gate.is_still(&grey(100, 100, 0)), "the first is measured");
        assert!(gate.is_still(&grey(103, 103, 0)));
        assert!(!gate.is_still(&grey(100, 160, 2)), "two pixels of 64");
        assert!(gate.is_still(&grey(100, 160, 2)), "which stays");
        assert!(!gate.is_still(&grey(100, 100, 0)), "and goes");
    }

    #[test]
    fn the_same_picture_in_another_size_is_measured() {
        let mut gate = gate(100);
        assert!(!gate.is_still(&grey(100, 100, 0)));
        let mut other = grey(100, 100, 0);
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, 32, 32).build().expect("a format");
        other.buffer = gst::Buffer::from_slice(vec![100; info.size()]);
        other.info = info.into();
        assert!(!gate.is_still(&other), "boxes of the other size stand for nothing");
        assert!(gate.is_still(&other));
    }

    #[test]
    fn what_changes_slowly_is_seen_in_the_end() {
        let mut gate = gate(100);
        let measured: Vec<u8> = (100..120).filter(|level| !gate.is_still(&grey(*level, *level, 0))).collect();
        assert_eq!(measured, [100, 105, 110, 115]);
    }

    #[test]
    fn every_so_many_frames_are_measured_anyway() {
        let mut gate = gate(5);
        let measured: Vec<usize> = (0..12).filter(|_| !gate.is_still(&grey(100, 100, 0))).collect();
        assert_eq!(measured, [0, 5, 10]);
        gate.reset();
        assert!(!gate.is_still(&grey(100, 100, 0)));
    }
}
