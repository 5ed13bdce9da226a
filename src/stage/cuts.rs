//! Scene cuts in frames of any format.

use frames::Thumbnails;
use records::track::{CutDetector, THUMBNAIL};

use super::Frame;

/// Looks for scene cuts.
pub(super) struct Cuts {
    detector: CutDetector,
    thumbnails: Thumbnails,
}

impl Cuts {
    pub(super) fn new() -> Self {
        Self { detector: CutDetector::default(), thumbnails: Thumbnails::new(THUMBNAIL) }
    }

    /// A frame that cannot be read is no cut.
    pub(super) fn is_cut(&mut self, frame: &Frame) -> bool {
        self.thumbnails.of(&frame.buffer, &frame.info).is_some_and(|thumbnail| self.detector.is_cut(thumbnail))
    }
}
