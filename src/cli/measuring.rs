//! Which frames are measured, and what is claimed over time: the same wherever streams are grounded.

use std::num::NonZeroU32;

use clap::Args;
use records::track::Smoothing;

use crate::source::Deinterlace;

/// Flags that `run` and `batch` have in common: what becomes of a source's video before anything is measured.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct Decoding {
    /// Whether frames that are made of two fields (interlaced film and television) become whole ones. Auto: where the stream
    /// says that they are.
    #[arg(long, value_enum, help_heading = "Which frames")]
    pub deinterlace: Option<Deinterlace>,
    /// Which video track, where a source has several, in the order in which it lists them. 1 if not given.
    #[arg(long, value_name = "N", help_heading = "Which frames")]
    pub video_track: Option<NonZeroU32>,
}

/// Flags that `run`, `batch` and `eval --streaming` have in common.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct Measuring {
    /// Measure every Nth frame; those between carry its box.
    #[arg(long, alias = "vid-stride", value_name = "N", help_heading = "Which frames")]
    pub stride: Option<u64>,
    /// Measure at most so many frames a second of the video.
    #[arg(long, value_name = "FPS", help_heading = "Which frames")]
    pub max_fps: Option<f64>,
    /// Leave out frames of a still scene: those in which the brightness of no spot (a 64th of the width, a 36th of the
    /// height) differs from that in the last measured one by more than LEVEL of 255. 4 is above the noise of most cameras.
    #[arg(long, value_name = "LEVEL", help_heading = "Which frames")]
    pub static_gate: Option<u8>,
    /// With --static-gate: measure at least every Nth frame all the same; 25 if not given.
    #[arg(long, value_name = "N", help_heading = "Which frames")]
    pub static_recheck: Option<u64>,
    /// Presence below this (0..1) means "not here". Needs a model with a presence head. The model's own
    /// if not given, or 0.5.
    #[arg(long, value_name = "P", help_heading = "Over time")]
    pub threshold: Option<f32>,
    /// How far presence may fall below the threshold before an object that was there counts as gone. A fifth
    /// of the threshold if not given, 0 for pictures.
    #[arg(long, value_name = "P", help_heading = "Over time")]
    pub hysteresis: Option<f32>,
    /// Smooth the box over time; the measured one stays in the records as `box_raw`. Off if not given.
    #[arg(long, value_enum, help_heading = "Over time")]
    pub smooth: Option<Smoothing>,
    /// Carry the last box for so long where the object is not found, as in `500ms`.
    #[arg(long, value_name = "TIME", help_heading = "Over time")]
    pub hold: Option<String>,
    /// A thing that is not seen for longer comes back under another id, as in `5s`. 2s if not given.
    #[arg(long, value_name = "TIME", help_heading = "Over time")]
    pub lost: Option<String>,
}
