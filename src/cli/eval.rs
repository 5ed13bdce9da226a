//! `spotter eval` as typed.

use std::path::PathBuf;

use clap::Args;

/// Measure a model on the evaluation sets of a recipe.
///
/// Prints, for each set, a line `Acc@0.5 …` and tables by source and by kind of expression:
///   spotter eval configs/train/sprites-tiny.toml --model models/spotter-tiny --split unseen
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct EvalArgs {
    /// The recipe (TOML) whose `eval` sets are measured on.
    #[arg(value_name = "RECIPE")]
    pub recipe: PathBuf,
    /// The model directory.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// The set; without it, all of them.
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
    /// Measure on the first N examples of each set.
    #[arg(long, value_name = "N")]
    pub count: Option<usize>,
    /// Run the compiled pass, as streaming does, instead of the plain one.
    #[arg(long)]
    pub compiled: bool,
    /// Write contact sheets of hits and misses into this folder.
    #[arg(long, value_name = "DIR")]
    pub draw: Option<PathBuf>,
    /// Write all numbers into this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Where to compute: cpu, cuda, cuda:N or auto.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,
    /// Threads that compute on the CPU; without it, all cores.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}
