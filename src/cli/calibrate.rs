//! `spotter calibrate` as typed.

use std::path::PathBuf;

use clap::Args;

use super::Precision;

/// Make a model's presence mean what it says.
///
/// Measures presence on an evaluation set with things that are there and things that are not, fits a factor and a shift
/// of its logit, and writes the model with both built in, and with the threshold whose claims have the best F1: few of them
/// wrong, little missed.
///   spotter calibrate configs/train/photographs.toml --split absence --model runs/mine/model --out models/mine
///
/// Scores of the Grounding DINO family are no probabilities at all. Of such a model the same becomes a small file in its own
/// folder, calibration.json, which every verb reads with it:
///   spotter calibrate configs/train/photographs.toml --split absence --model models/llmdet-tiny
///
/// The error that is told was measured on one half of the set with what was fitted on the other.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct CalibrateArgs {
    /// The recipe (TOML), or a file of evaluation sets alone.
    #[arg(value_name = "RECIPE")]
    pub recipe: PathBuf,
    /// The evaluation set.
    #[arg(long, value_name = "NAME")]
    pub split: String,
    /// The model directory.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// The model directory to write; of the Grounding DINO family there is none.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// How often a thing is there that is asked for, 0..1: where it is seldom, claims that are right must be the surer.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub prevalence: f64,
    /// Element type on disk; the model's own if not given.
    #[arg(long, value_enum)]
    pub dtype: Option<Precision>,
    /// Replace what stands at --out, or an earlier calibration.json.
    #[arg(long)]
    pub force: bool,
    /// Where to compute: cpu, cuda, cuda:N or auto.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,
    /// Threads that compute on the CPU; without it, all cores.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}
