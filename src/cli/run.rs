//! `spotter run` as typed.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

/// Ground every frame of a video.
///
/// Every frame becomes one JSON line (schema spotter.frame/1), every event another (spotter.event/1).
///
/// Example:
///   spotter run --source clip.mp4 --query "the man in the red shirt" --model models/mine \
///     --out jsonl:boxes.jsonl --out mp4:boxes.mp4
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct RunArgs {
    /// A video file or a file:// address.
    #[arg(long, value_name = "FILE")]
    pub source: String,
    /// What to look for, in words.
    #[arg(long, value_name = "TEXT")]
    pub query: String,
    /// The model directory; without it, the small model that is built in.
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Where results go; may be given several times. `jsonl:FILE` writes records (`jsonl:-` to standard output),
    /// `mp4:FILE` the video with box and caption.
    #[arg(long, value_name = "KIND:PATH", required = true)]
    pub out: Vec<OutArg>,
    /// Presence below this (0..1) means "not here". Needs a model with a presence head; 0.5 if not given.
    #[arg(long, value_name = "P")]
    pub threshold: Option<f32>,
    /// Where to compute: cpu, cuda, cuda:N, or auto (CUDA where it is there).
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: String,
}

/// One `--out`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutArg {
    /// Records, to a file or to `-`.
    JsonLines(PathBuf),
    /// The annotated video.
    Mp4(PathBuf),
}

impl FromStr for OutArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected jsonl:FILE, jsonl:- or mp4:FILE";
        let (kind, path) = text.split_once(':').ok_or_else(|| format!("has no kind, {expected}"))?;
        if path.is_empty() {
            return Err(format!("has no path, {expected}"));
        }
        match kind {
            "jsonl" => Ok(Self::JsonLines(path.into())),
            "mp4" if path == "-" => Err("video needs a file, expected mp4:FILE".into()),
            "mp4" => Ok(Self::Mp4(path.into())),
            other => Err(format!("{other} is no kind of output, {expected}")),
        }
    }
}
