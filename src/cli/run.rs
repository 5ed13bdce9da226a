//! `spotter run` as typed.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::track::Smoothing;

/// Ground every frame of a video, a camera or a row of pictures.
///
/// Every frame becomes one JSON line (schema spotter.frame/1), every event another (spotter.event/1).
///
/// Examples:
///   spotter run --source clip.mp4 --query "the red square" --out jsonl:boxes.jsonl --out mp4:boxes.mp4
///   spotter run --source /dev/video0 --query "the cup" --model models/mine --out jsonl:- --out display:
///   spotter run --source 'frames/*.png' --query "the dog" --out frames:drawn
#[derive(Debug, Default, Args)]
#[command(verbatim_doc_comment)]
pub struct RunArgs {
    /// A video file, a file://, http:// or https:// address, a folder or pattern of pictures, /dev/videoN, or test:
    /// (as in `test:ball?frames=100&size=640x360&fps=25&live=true`).
    #[arg(long, value_name = "SOURCE")]
    pub source: Option<String>,
    /// What to look for, in words.
    #[arg(long, value_name = "TEXT")]
    pub query: Option<String>,
    /// A TOML file with any of these settings, named as the flags are; flags win.
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// The model directory; without it, the small model that is built in.
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Where results go; may be given several times. `jsonl:FILE` writes records (`jsonl:-` to standard output),
    /// `mp4:FILE` and `mkv:FILE` the video with box and caption, `frames:DIR` the same as PNG files, `display:` shows
    /// it.
    #[arg(long, value_name = "KIND:PATH")]
    pub out: Vec<OutArg>,
    /// Where to compute: cpu, cuda, cuda:N, or auto (CUDA where it is there). cpu if not given.
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Threads that compute on the CPU; without it, all cores.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// What happens to frames that come faster than they are grounded. Auto: every-frame for files, freshest for
    /// cameras and for a file that is only shown (`display:` and nothing else).
    #[arg(long, value_enum, help_heading = "Which frames")]
    pub mode: Option<ModeArg>,
    /// Whether a file is read as fast as it can be or at its own time. Auto: fast, unless `display:` shows it.
    #[arg(long, value_enum, help_heading = "Which frames")]
    pub pace: Option<PaceArg>,
    /// Measure every Nth frame; those between carry its box.
    #[arg(long, alias = "vid-stride", value_name = "N", help_heading = "Which frames")]
    pub stride: Option<u64>,
    /// Measure at most so many frames a second of the video.
    #[arg(long, value_name = "FPS", help_heading = "Which frames")]
    pub max_fps: Option<f64>,
    /// Pictures a second, where the source is pictures. 1 if not given.
    #[arg(long, value_name = "FPS", help_heading = "Which frames")]
    pub picture_rate: Option<f64>,
    /// Presence below this (0..1) means "not here". Needs a model with a presence head; 0.5 if not given.
    #[arg(long, value_name = "P", help_heading = "Over time")]
    pub threshold: Option<f32>,
    /// How far presence may fall below the threshold before an object that was there counts as gone. 0.1 if not
    /// given, 0 for pictures.
    #[arg(long, value_name = "P", help_heading = "Over time")]
    pub hysteresis: Option<f32>,
    /// Smooth the box over time; the measured one stays in the records as `box_raw`. Off if not given.
    #[arg(long, value_enum, help_heading = "Over time")]
    pub smooth: Option<Smoothing>,
    /// Carry the last box for so long where the object is not found, as in `500ms`.
    #[arg(long, value_name = "TIME", help_heading = "Over time")]
    pub hold: Option<String>,
    /// A pipeline description (see pipelines/): its source part replaces the built-in one, its sinks are added. It is
    /// code: it can run any GStreamer element.
    #[arg(long, value_name = "FILE.toml")]
    pub pipeline: Option<PathBuf>,
    /// Equal input gives equal records, byte for byte: one decoder thread, no times, no run id.
    #[arg(long)]
    pub reproducible: bool,
}

/// `--mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModeArg {
    /// By the source.
    #[default]
    Auto,
    /// The source waits; no frame is lost.
    EveryFrame,
    /// The newest frame wins; delay never grows.
    Freshest,
}

/// `--pace`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PaceArg {
    /// By the outputs.
    #[default]
    Auto,
    /// As fast as frames are taken.
    Fast,
    /// At the frames' own times.
    Realtime,
}

/// One `--out`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutArg {
    /// Records, to a file or to `-`.
    JsonLines(PathBuf),
    /// The annotated video.
    Mp4(PathBuf),
    /// The same, as Matroska.
    Mkv(PathBuf),
    /// Annotated frames as PNG files, into a folder.
    Frames(PathBuf),
    /// A window.
    Display,
}

impl FromStr for OutArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected jsonl:FILE, jsonl:-, mp4:FILE, mkv:FILE, frames:DIR or display:";
        let (kind, path) = text.split_once(':').ok_or_else(|| format!("has no kind, {expected}"))?;
        match (kind, path) {
            ("display", "") => Ok(Self::Display),
            ("display", _) => Err(format!("display: takes no path, {expected}")),
            ("jsonl" | "mp4" | "mkv" | "frames", "") => Err(format!("has no path, {expected}")),
            ("mp4" | "mkv", "-") => Err(format!("video needs a file, {expected}")),
            ("jsonl", path) => Ok(Self::JsonLines(path.into())),
            ("mp4", path) => Ok(Self::Mp4(path.into())),
            ("mkv", path) => Ok(Self::Mkv(path.into())),
            ("frames", path) => Ok(Self::Frames(path.into())),
            (other, _) => Err(format!("{other} is no kind of output, {expected}")),
        }
    }
}
