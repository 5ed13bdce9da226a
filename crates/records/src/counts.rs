//! Frame accounting: every decoded frame is counted exactly once.

use serde::{Deserialize, Serialize};

use super::FrameStatus;
use crate::track::Seen;

/// Counts of one source, over all its connections or of one. Carried boxes are counted apart from the statuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameCounts {
    /// Frames that came out of the decoder.
    pub decoded: u64,
    /// With a measured box.
    #[serde(rename = "box")]
    pub boxed: u64,
    /// Measured, object not there.
    pub absent: u64,
    /// Forwarded unmeasured.
    pub skipped: u64,
    /// Not forwarded.
    pub dropped: u64,
    /// Failed.
    pub error: u64,
    /// Frames that carry an earlier frame's box.
    pub carried: u64,
}

impl FrameCounts {
    /// Counts one frame.
    pub fn add(&mut self, seen: &Seen) {
        self.carried += u64::from(seen.carried());
        match seen.status {
            FrameStatus::Box => self.boxed += 1,
            FrameStatus::Absent => self.absent += 1,
            FrameStatus::Skipped => self.skipped += 1,
            FrameStatus::Dropped => self.dropped += 1,
            FrameStatus::Error => self.error += 1,
        }
    }

    /// Frames that were counted, whatever became of them.
    pub fn accounted(&self) -> u64 {
        self.boxed + self.absent + self.skipped + self.dropped + self.error
    }

    /// What came in since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            decoded: self.decoded - before.decoded,
            boxed: self.boxed - before.boxed,
            absent: self.absent - before.absent,
            skipped: self.skipped - before.skipped,
            dropped: self.dropped - before.dropped,
            error: self.error - before.error,
            carried: self.carried - before.carried,
        }
    }

    /// True when every decoded frame is accounted for.
    pub fn closed(&self) -> bool {
        self.decoded == self.accounted()
    }
}

impl std::ops::AddAssign for FrameCounts {
    fn add_assign(&mut self, other: Self) {
        self.decoded += other.decoded;
        self.boxed += other.boxed;
        self.absent += other.absent;
        self.skipped += other.skipped;
        self.dropped += other.dropped;
        self.error += other.error;
        self.carried += other.carried;
    }
}

impl std::fmt::Display for FrameCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} frames: {} box, {} absent, {} skipped, {} dropped, {} error",
            self.decoded, self.boxed, self.absent, self.skipped, self.dropped, self.error
        )
    }
}
