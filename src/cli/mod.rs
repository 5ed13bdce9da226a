//! Arguments as typed. No work happens here; verbs read these structures.

mod batch;
mod bench;
mod calibrate;
mod check;
mod control;
mod convert;
mod doctor;
mod eval;
mod fetch;
mod ground;
mod label;
mod measuring;
mod models;
mod password;
mod run;
mod sightings;
mod train;
mod zones;

pub use batch::{BatchArgs, Shard};
pub use bench::BenchArgs;
pub use calibrate::CalibrateArgs;
pub use check::CheckArgs;
pub use control::{ControlArgs, ControlCommand};
pub use convert::{ConvertArgs, Precision};
pub use doctor::DoctorArgs;
pub use eval::EvalArgs;
pub use fetch::FetchArgs;
pub use ground::GroundArgs;
pub use label::LabelArgs;
pub use measuring::{Decoding, Measuring};
pub use models::ModelsArgs;
pub use password::PasswordArgs;
pub use run::{ComputeArg, ModeArg, OutArg, OverlaySync, PaceArg, RunArgs};
pub use sightings::{ExportFormat, FilterArgs, SightingArgs, SightingsArgs, SightingsCommand};
pub use train::TrainArgs;
pub use zones::ZonesArgs;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

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
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Messages")]
    pub verbose: u8,
    /// Say only what went wrong.
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Messages")]
    pub quiet: bool,
    /// How messages are written.
    #[arg(long, value_enum, default_value_t, global = true, help_heading = "Messages")]
    pub log_format: LogFormat,
    /// Record where the time of every frame goes, in the stage and in the model: a Chrome trace (Perfetto and
    /// Chromium's tracing page open it), and a table among the messages at the end.
    #[arg(long, value_name = "FILE.json", global = true, help_heading = "Messages")]
    pub profile: Option<PathBuf>,
    /// Fetch a public model that --model names and that is not in the cache, without asking.
    #[arg(long, global = true, help_heading = "Models")]
    pub yes: bool,
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object a line, with times and spans.
    Json,
}

/// The verbs; each is documented at its arguments.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "a comment here would hide the longer help of the arguments")]
pub enum Verb {
    Run(Box<RunArgs>),
    Batch(Box<BatchArgs>),
    Control(ControlArgs),
    Sightings(SightingsArgs),
    Zones(ZonesArgs),
    Ground(GroundArgs),
    Label(LabelArgs),
    Convert(ConvertArgs),
    Fetch(FetchArgs),
    Models(ModelsArgs),
    Train(TrainArgs),
    Eval(EvalArgs),
    Calibrate(CalibrateArgs),
    Bench(BenchArgs),
    Check(CheckArgs),
    Doctor(DoctorArgs),
    Password(PasswordArgs),
}
