//! What a stream knows over time: presence with hysteresis, smoothing, boxes carried over gaps, scene cuts.
//!
//! The stage measures frames one by one; a [`Track`] turns its measurements into what is claimed of each frame. With
//! [`Tracking::plain`] it is the threshold and nothing else, as for single pictures.

mod cut;
mod smooth;

use std::time::Duration;

use blocks::preprocess::Rect;

use crate::FrameStatus;

pub use cut::{CutDetector, THUMBNAIL};
use smooth::BoxFilter;

/// How boxes are smoothed over time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Smoothing {
    /// As measured.
    #[default]
    Off,
    /// One-euro filter on centre and size: still boxes stop trembling, moving ones hardly lag.
    OneEuro,
}

/// How measurements become claims.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tracking {
    /// Presence from which on the object counts as there, 0..1; `None` without a presence head.
    pub threshold: Option<f32>,
    /// How far presence may fall below the threshold before an object that was there counts as gone, 0..1.
    pub hysteresis: f32,
    /// Of the boxes.
    pub smoothing: Smoothing,
    /// How long the last box stands in for one that is missing.
    pub hold: Duration,
}

impl Tracking {
    /// A threshold, no memory.
    pub fn plain(threshold: Option<f32>) -> Self {
        Self { threshold, hysteresis: 0.0, smoothing: Smoothing::Off, hold: Duration::ZERO }
    }

    /// True where anything is kept from one frame to the next, so that a scene cut has something to forget.
    pub fn remembers(&self) -> bool {
        self.hysteresis > 0.0 || self.smoothing != Smoothing::Off || !self.hold.is_zero()
    }
}

/// What a model found on a frame. What is claimed of it in the end, [`Track`] decides.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The model looked at it.
    Measured {
        /// Where the object is if it is there, in pixels of the picture as grounded, clipped to it.
        rect: Rect,
        /// Probability that it is; only with a presence head.
        presence: Option<f32>,
    },
    /// The frame was not looked at, and is forwarded.
    Skipped {
        /// Why.
        cause: &'static str,
    },
    /// The frame was not looked at, and is not forwarded.
    Dropped {
        /// Why.
        cause: &'static str,
    },
    /// The frame could not be looked at.
    Error {
        /// Why.
        cause: &'static str,
        /// In words.
        message: String,
    },
}

/// What is claimed of one frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// What became of the frame.
    pub status: FrameStatus,
    /// True when the claim was measured on this very frame.
    pub measured: bool,
    /// The box to show, in pixels of the picture as grounded; a carried one where `measured` is false.
    pub rect: Option<Rect>,
    /// The box as measured on this frame.
    pub raw: Option<Rect>,
    /// Probability that the object is in the picture, as measured on this frame.
    pub presence: Option<f32>,
    /// Why there is no measurement, or none that is shown.
    pub cause: Option<&'static str>,
}

impl Seen {
    /// True where an earlier frame's box stands in.
    pub fn carried(&self) -> bool {
        self.rect.is_some() && !self.measured
    }

    fn unmeasured(status: FrameStatus, cause: &'static str) -> Self {
        Self { status, measured: false, rect: None, raw: None, presence: None, cause: Some(cause) }
    }
}

/// What was last seen.
#[derive(Debug, Clone, Copy)]
struct Last {
    rect: Rect,
    time: Duration,
}

/// The memory of one stream.
pub struct Track {
    settings: Tracking,
    there: bool,
    last: Option<Last>,
    filter: BoxFilter,
}

impl Track {
    /// An empty memory.
    pub fn new(settings: Tracking) -> Self {
        Self { settings, there: false, last: None, filter: BoxFilter::default() }
    }

    /// Forgets everything: another scene began.
    pub fn reset(&mut self) {
        self.there = false;
        self.last = None;
        self.filter = BoxFilter::default();
    }

    /// What is claimed of the next frame. `time` is its stream time, `diagonal` its picture's in pixels.
    pub fn see(&mut self, outcome: &Outcome, time: Duration, diagonal: f64) -> Seen {
        match outcome {
            Outcome::Measured { rect, presence } => self.measured(*rect, *presence, time, diagonal),
            Outcome::Skipped { cause } => {
                // Between two measurements the last one stands, whatever `hold` says: that is what a stride means. Where it
                // said "not here", an earlier box stands in no longer than it may.
                let rect = if self.there { self.last.map(|last| last.rect) } else { self.held(time) };
                Seen { rect, ..Seen::unmeasured(FrameStatus::Skipped, cause) }
            }
            Outcome::Dropped { cause } => Seen::unmeasured(FrameStatus::Dropped, cause),
            Outcome::Error { cause, .. } => {
                let rect = self.held(time);
                Seen { rect, ..Seen::unmeasured(FrameStatus::Error, cause) }
            }
        }
    }

    fn measured(&mut self, raw: Rect, presence: Option<f32>, time: Duration, diagonal: f64) -> Seen {
        self.there = self.settings.threshold.zip(presence).is_none_or(|(threshold, presence)| {
            presence >= if self.there { threshold - self.settings.hysteresis } else { threshold }
        });
        if self.there {
            let rect = match self.settings.smoothing {
                Smoothing::Off => raw,
                Smoothing::OneEuro => self.filter.next(raw, time, diagonal),
            };
            self.last = Some(Last { rect, time });
            return Seen {
                status: FrameStatus::Box,
                measured: true,
                rect: Some(rect),
                raw: Some(raw),
                presence,
                cause: None,
            };
        }
        let absent = Seen { status: FrameStatus::Absent, measured: true, rect: None, raw: None, presence, cause: None };
        if let Some(rect) = self.held(time) {
            return Seen { status: FrameStatus::Box, measured: false, rect: Some(rect), cause: Some(HOLD), ..absent };
        }
        self.last = None;
        self.filter = BoxFilter::default();
        absent
    }

    /// The last box, while it may stand in.
    fn held(&self, time: Duration) -> Option<Rect> {
        let last = self.last.filter(|_| !self.settings.hold.is_zero())?;
        (time.checked_sub(last.time)? <= self.settings.hold).then_some(last.rect)
    }
}

/// The cause of a frame whose own measurement said "not here" while an earlier box is still carried.
const HOLD: &str = "hold";

#[cfg(test)]
mod tests {
    use super::*;

    const DIAGONAL: f64 = 800.0;

    fn settings() -> Tracking {
        Tracking { hysteresis: 0.1, ..Tracking::plain(Some(0.5)) }
    }

    fn found(x: f64, presence: f32) -> Outcome {
        Outcome::Measured { rect: Rect { x0: x, y0: 10.0, x1: x + 50.0, y1: 60.0 }, presence: Some(presence) }
    }

    fn at(frame: u64) -> Duration {
        Duration::from_millis(40 * frame)
    }

    #[test]
    fn presence_has_to_fall_well_below_the_threshold_before_a_thing_is_gone() {
        let mut track = Track::new(settings());
        let statuses: Vec<FrameStatus> = [0.45, 0.5, 0.45, 0.41, 0.39, 0.45, 0.49, 0.51]
            .iter()
            .enumerate()
            .map(|(k, presence)| track.see(&found(0.0, *presence), at(k as u64), DIAGONAL).status)
            .collect();
        assert_eq!(
            statuses,
            [false, true, true, true, false, false, false, true].map(|here| if here {
                FrameStatus::Box
            } else {
                FrameStatus::Absent
            })
        );
    }

    #[test]
    fn a_held_box_says_that_it_is_held_and_ends_in_time() {
        let mut track = Track::new(Tracking { hold: at(2), ..settings() });
        track.see(&found(7.0, 0.9), at(0), DIAGONAL);
        for frame in [1, 2] {
            let seen = track.see(&found(300.0, 0.1), at(frame), DIAGONAL);
            assert_eq!((seen.status, seen.measured, seen.cause), (FrameStatus::Box, false, Some("hold")));
            assert_eq!(seen.rect.map(|r| r.x0), Some(7.0));
            assert_eq!((seen.raw, seen.presence), (None, Some(0.1)));
            assert!(seen.carried());
        }
        let seen = track.see(&found(300.0, 0.1), at(3), DIAGONAL);
        assert_eq!((seen.status, seen.measured, seen.rect, seen.cause), (FrameStatus::Absent, true, None, None));
    }

    #[test]
    fn skipped_frames_carry_the_last_box_until_it_is_gone_or_the_scene_cut() {
        let mut track = Track::new(settings());
        let skipped = Outcome::Skipped { cause: "stride" };
        assert_eq!(track.see(&skipped, at(0), DIAGONAL).rect, None);
        track.see(&found(7.0, 0.9), at(1), DIAGONAL);
        let seen = track.see(&skipped, at(2), DIAGONAL);
        assert_eq!((seen.status, seen.cause, seen.carried()), (FrameStatus::Skipped, Some("stride"), true));
        track.reset();
        assert_eq!(track.see(&skipped, at(3), DIAGONAL).rect, None, "nothing crosses a cut");
        track.see(&found(7.0, 0.9), at(4), DIAGONAL);
        track.see(&found(7.0, 0.1), at(5), DIAGONAL);
        assert_eq!(track.see(&skipped, at(6), DIAGONAL).rect, None, "an absent thing is not carried");
    }

    #[test]
    fn failed_frames_claim_nothing_unless_a_box_is_held() {
        let failed = Outcome::Error { cause: "decode", message: String::new() };
        let mut track = Track::new(settings());
        track.see(&found(7.0, 0.9), at(0), DIAGONAL);
        let seen = track.see(&failed, at(1), DIAGONAL);
        assert_eq!((seen.status, seen.rect, seen.presence), (FrameStatus::Error, None, None));
        let mut track = Track::new(Tracking { hold: at(1), ..settings() });
        track.see(&found(7.0, 0.9), at(0), DIAGONAL);
        assert!(track.see(&failed, at(1), DIAGONAL).carried());
    }

    #[test]
    fn a_stride_does_not_stretch_what_is_held() {
        let mut track = Track::new(Tracking { hold: at(2), ..settings() });
        let skipped = Outcome::Skipped { cause: "stride" };
        track.see(&found(7.0, 0.9), at(0), DIAGONAL);
        assert!(track.see(&skipped, at(5), DIAGONAL).carried(), "nothing has said otherwise yet");
        let mut track = Track::new(Tracking { hold: at(2), ..settings() });
        track.see(&found(7.0, 0.9), at(0), DIAGONAL);
        assert!(track.see(&found(7.0, 0.1), at(1), DIAGONAL).carried());
        assert!(track.see(&skipped, at(2), DIAGONAL).carried());
        assert!(!track.see(&skipped, at(3), DIAGONAL).carried());
    }

    #[test]
    fn smoothing_keeps_the_measured_box_beside_its_own() {
        let mut track = Track::new(Tracking { smoothing: Smoothing::OneEuro, ..settings() });
        track.see(&found(100.0, 0.9), at(0), DIAGONAL);
        let seen = track.see(&found(110.0, 0.9), at(1), DIAGONAL);
        assert_eq!(seen.raw.map(|r| r.x0), Some(110.0));
        let x = seen.rect.expect("a box").x0;
        assert!(x > 100.0 && x < 110.0, "{x}");
    }

    #[test]
    fn without_a_presence_head_every_frame_has_its_box() {
        let mut track = Track::new(Tracking::plain(None));
        let outcome = Outcome::Measured { rect: Rect { x0: 1.0, y0: 2.0, x1: 3.0, y1: 4.0 }, presence: None };
        assert_eq!(track.see(&outcome, at(0), DIAGONAL).status, FrameStatus::Box);
    }
}
