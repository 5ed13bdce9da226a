//! `spotter train` as typed.

use std::path::PathBuf;

use clap::Args;

/// Train a model by a recipe.
///
/// The run's folder holds checkpoints, best/ (the best model so far), log.jsonl, a TensorBoard event
/// file, curves.png, and at the end model/, which every other verb takes:
///   spotter train configs/train/sprites-tiny.toml --out runs/mine
///   spotter ground picture.png --query "the dog" --model runs/mine/model
///
/// Ctrl-C ends the run after a checkpoint; the same command with --resume goes on from the newest one,
/// bit for bit on the CPU.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct TrainArgs {
    /// The recipe (TOML).
    #[arg(value_name = "RECIPE")]
    pub recipe: PathBuf,
    /// Folder of the run. Without it, runs/ and the recipe's name.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on from the newest checkpoint in the run's folder.
    #[arg(long)]
    pub resume: bool,
    /// Stop after this many steps, with a checkpoint, as Ctrl-C would.
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    pub stop_after: Option<u64>,
    /// Train nothing: draw this many training examples as PNG files into the run's folder.
    #[arg(long, value_name = "N", conflicts_with_all = ["resume", "stop_after"])]
    pub preview: Option<usize>,
    /// Train nothing: write a film of this many seconds, drawn as the last phase draws scenes, with the truth of every
    /// frame: film.mp4 and film.jsonl in the run's folder.
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["resume", "stop_after", "preview"])]
    pub film: Option<f64>,
    /// Which film; every number is another one.
    #[arg(long, value_name = "N", requires = "film", default_value_t = 0)]
    pub film_number: usize,
    /// A video whose frames stand behind the film's objects.
    #[arg(long, value_name = "CLIP", requires = "film")]
    pub film_over: Option<PathBuf>,
    /// Where to compute: cpu, cuda, cuda:N or auto.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,
    /// Threads that compute on the CPU; without it, all cores.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Threads that prepare data.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub data_threads: usize,
    /// Element type of the finished model on disk.
    #[arg(long, value_enum, default_value = "f32")]
    pub dtype: super::Precision,
}
