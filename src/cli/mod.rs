//! Arguments as typed. No work happens here; verbs read these structures.

mod check;
mod convert;
mod ground;
mod run;

pub use check::CheckArgs;
pub use convert::{ConvertArgs, Precision};
pub use ground::GroundArgs;
pub use run::{OutArg, RunArgs};

use clap::{Parser, Subcommand};

/// Finds what a sentence describes in a moving picture.
///
/// Data goes to standard output, messages go to standard error. Exit codes: 0 done, 1 something failed, 2 wrong use,
/// 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "spotter", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// Say more: -v for details, -vv for everything. The environment variable SPOTTER_LOG takes finer filters.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say only what went wrong.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Ground every frame of a video: records, and the video with the box drawn in.
    Run(RunArgs),
    /// Ground pictures.
    Ground(GroundArgs),
    /// Turn a checkpoint into a model directory, a model directory back into a checkpoint, or make an untrained model.
    Convert(ConvertArgs),
    /// Check a model directory.
    Check(CheckArgs),
}
