//! `spotter eval` as typed.

use std::path::PathBuf;

use clap::Args;

use super::{ComputeArg, Measuring};

/// Measure a model on the evaluation sets of a recipe.
///
/// Prints, for each set, a line `Acc@0.5 …` and tables by source and by kind of expression; of films that were streamed or
/// recorded also how well things keep their ids (HOTA, IDF1, MOTA, id switches):
///   spotter eval configs/train/sprites-tiny.toml --model models/spotter-tiny --split unseen
///   spotter eval configs/train/camera-finetune.toml --model runs/camera/model --streaming --stride 3
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct EvalArgs {
    /// The recipe (TOML) whose `eval` sets are measured on, or a file that holds such sets alone.
    #[arg(value_name = "RECIPE")]
    pub recipe: PathBuf,
    /// The model directory, or a public model by its name; `--streaming` can do without it, with that of
    /// `SPOTTER_MODEL` or the model that is built in.
    #[arg(long, value_name = "DIR|NAME")]
    pub model: Option<PathBuf>,
    /// The set; without it, all of them.
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
    /// Measure on the first N examples of each set.
    #[arg(long, value_name = "N")]
    pub count: Option<usize>,
    /// Run the compiled pass, as streaming does, instead of the plain one.
    #[arg(long)]
    pub compiled: bool,
    /// Measure what `run` says of the films of a set: each is streamed once for every phrase, with the flags of `run`
    /// that say which frames are measured and what is claimed over time.
    /// Where it claims nothing of a thing that is there, the box counts as not found.
    #[arg(long, conflicts_with_all = ["compiled", "draw", "count"])]
    pub streaming: bool,
    /// Measure records that `run` or `batch` wrote of a set's film; may be given several times. The sentences must be
    /// phrases of the set.
    #[arg(long, value_name = "FILE.jsonl", conflicts_with_all = ["model", "streaming", "compiled", "draw", "count"])]
    pub records: Vec<PathBuf>,
    /// For `--streaming`.
    #[command(flatten)]
    pub measuring: Measuring,
    /// Write contact sheets of hits and misses into this folder.
    #[arg(long, value_name = "DIR")]
    pub draw: Option<PathBuf>,
    /// Write the fixed questions of the sets (`ask = { questions = ... }`) into this folder, a file of JSON Lines for each
    /// list, and measure nothing. A recipe reads them back as `format = "jsonl"`.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["model", "streaming", "compiled", "draw", "count", "records", "json"])]
    pub write_questions: Option<PathBuf>,
    /// Write all numbers into this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Element type that pictures are computed in; another one than f32 means --compiled, where not --streaming. bf16 and
    /// f16 are faster on GPUs, int8 is on CPUs, and all move boxes a little.
    #[arg(long, value_enum, default_value = "f32")]
    pub precision: ComputeArg,
    /// Where to compute: cpu, cuda, cuda:N or auto.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,
    /// Threads that compute on the CPU; without it, all cores.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

impl EvalArgs {
    /// Whether the compiled pass is measured: the plain one computes in f32 alone.
    pub fn is_compiled(&self) -> bool {
        self.compiled || (self.precision != ComputeArg::F32 && !self.streaming)
    }
}
