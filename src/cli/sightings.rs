//! Sightings as typed: flags that `run` and `batch` have in common, and `spotter sightings`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::config::FramesOrTime;

/// Flags that `run` and `batch` have in common.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct SightingArgs {
    /// Tell of sightings too: events when a thing comes, when more is known of it, and when it is gone, and what it does in
    /// zones.
    #[arg(long, help_heading = "Sightings")]
    pub sightings: bool,
    /// How long the mean presence of a thing must be above the threshold before it is told of: a time, or a number of
    /// measured frames. 1s if not given.
    #[arg(long, value_name = "TIME|FRAMES", help_heading = "Sightings")]
    pub confirm: Option<FramesOrTime>,
    /// The longest gap in one sighting; who comes back later is told of anew. 5s if not given.
    #[arg(long, value_name = "TIME", help_heading = "Sightings")]
    pub forget: Option<String>,
    /// A file with `[[zone]]` and `[[line]]` tables, and `[sightings]`, for all streams without their own; in place of those of a
    /// settings file.
    #[arg(long, value_name = "FILE.toml", help_heading = "Sightings")]
    pub zones: Option<PathBuf>,
}

/// Look at sightings that were kept: in the records of a run that told of them, or in the folder that keeps them.
///
/// Examples:
///   spotter run clip.mp4 --query "a person" --sightings --out jsonl:found.jsonl
///   spotter sightings list found.jsonl --query "a person"
///   spotter sightings export found.jsonl --format table
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct SightingsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: SightingsCommand,
}

/// What can be done with sightings.
#[derive(Debug, Clone, Subcommand)]
pub enum SightingsCommand {
    /// A line for each.
    List {
        /// Records as JSON Lines, or the folder that keeps sightings.
        #[arg(value_name = "FROM")]
        from: PathBuf,
        /// Which of them.
        #[command(flatten)]
        filter: FilterArgs,
    },
    /// All that is known of one, as JSON.
    Show {
        /// Records as JSON Lines, or the folder that keeps sightings.
        #[arg(value_name = "FROM")]
        from: PathBuf,
        /// Its id.
        #[arg(value_name = "ID")]
        id: String,
    },
    /// All that is known of them, for programs.
    Export {
        /// Records as JSON Lines, or the folder that keeps sightings.
        #[arg(value_name = "FROM")]
        from: PathBuf,
        /// Which of them.
        #[command(flatten)]
        filter: FilterArgs,
        /// How.
        #[arg(long, value_enum, default_value = "jsonl")]
        format: ExportFormat,
    },
}

/// Which sightings are meant.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct FilterArgs {
    /// Of this query, by its name.
    #[arg(long, value_name = "NAME")]
    pub query: Option<String>,
    /// Of this stream.
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
    /// That were in this zone.
    #[arg(long, value_name = "NAME")]
    pub zone: Option<String>,
    /// That were there at this time (UTC) or later, as in `2026-11-30T18:00:00Z`.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// That were there before this time (UTC).
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

/// `--format` of `spotter sightings export`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A JSON object a line.
    #[default]
    Jsonl,
    /// A table, as `--out sightings:FILE` of `run` writes it.
    Table,
}
