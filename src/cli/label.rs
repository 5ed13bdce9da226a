//! `spotter label` as typed.

use std::path::PathBuf;

use clap::Args;

use super::ComputeArg;

/// Let a large model label films or pictures for a small one to learn from.
///
/// A film leaves NAME.csv (a line a box, with its score), NAME.queries.toml (what was asked, and lines for a recipe) and two
/// sheets to look at: moments from all over it, and those that the model was least sure of. Pictures leave labels.jsonl and
/// such sheets. `spotter train` and `spotter eval` read all of it:
///   spotter label clip.mp4 --query "the red circle" --query "a dog" --stride 5 --out labels
///   spotter label frames/1.png frames/2.png --query "the red circle" --out labels
///
/// What is wrong goes into a second file beside the first, NAME.corrections.csv or labels.corrections.jsonl: its lines win when
/// the labels are read, and labelling anew leaves them alone. A line of a table with confidence 0 takes a box away.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct LabelArgs {
    /// Films, or pictures (PNG, JPEG, BMP, WebP, TIFF, GIF, HEIC or AVIF).
    #[arg(value_name = "INPUT", required = true)]
    pub inputs: Vec<PathBuf>,
    /// One thing to look for, in words; may be given several times.
    #[arg(long, value_name = "TEXT", required_unless_present = "all")]
    pub query: Vec<String>,
    /// All things that these words describe, each a track by itself, in films; may be given several times. Needs a model that
    /// gives all.
    #[arg(long, value_name = "TEXT")]
    pub all: Vec<String>,
    /// The folder of the labels; it is made where its parent is there.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The model directory; without it, that of `SPOTTER_MODEL`, or else the model that is built in.
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Presence below this (0..1) means "not here". Needs a model with a presence head. The model's own
    /// if not given, or 0.5.
    #[arg(long, value_name = "P")]
    pub threshold: Option<f32>,
    /// Label every Nth frame of a film, the first among them; a recipe reads them with `step = N`.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub stride: u32,
    /// Replace labels that were written before; corrections stay.
    #[arg(long)]
    pub force: bool,
    /// Element type that pictures are computed in: bf16 and f16 are faster on GPUs, int8 is on CPUs, and all move boxes a
    /// little.
    #[arg(long, value_enum, default_value = "f32")]
    pub precision: ComputeArg,
    /// Where to compute: cpu, cuda, cuda:N or auto.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,
    /// Threads that compute on the CPU; without it, all cores.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}
