//! `spotter control` as typed.

use clap::{Args, Subcommand};

/// Tell a run something while it goes on, over the control socket that it was started with.
///
/// The answer, a JSON object, goes to standard output.
///
/// Examples:
///   spotter control unix:/tmp/spotter set-query "the man in the suit"
///   spotter control unix:/tmp/spotter set-query "a dog" --stream gate
///   spotter control unix:/tmp/spotter add-query "a bicycle" --name bike
///   spotter control unix:/tmp/spotter remove-query bike
///   spotter control unix:/tmp/spotter status
///   spotter control unix:/tmp/spotter stop
#[expect(clippy::doc_markdown, reason = "the help shows these lines as they are")]
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct ControlArgs {
    /// What `spotter run --control` was given.
    #[arg(value_name = "unix:PATH")]
    pub socket: String,
    /// What to tell it.
    #[command(subcommand)]
    pub command: ControlCommand,
}

/// What a run can be told.
#[derive(Debug, Clone, Subcommand)]
pub enum ControlCommand {
    /// Look for something else.
    SetQuery {
        /// The sentence; as it is without it.
        #[arg(required_unless_present = "threshold")]
        query: Option<String>,
        /// Which query, where a stream is asked several.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Presence from which on it counts as there, 0 to 1.
        #[arg(long, value_name = "PROBABILITY")]
        threshold: Option<f32>,
        /// Only in the stream of this name.
        #[arg(long, value_name = "NAME")]
        stream: Option<String>,
    },
    /// Look for something else too.
    AddQuery {
        /// The sentence.
        query: String,
        /// How it is called; by its sentence without it.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Presence from which on it counts as there, 0 to 1.
        #[arg(long, value_name = "PROBABILITY")]
        threshold: Option<f32>,
        /// All that match, and not the best alone.
        #[arg(long)]
        all: bool,
        /// Only in the stream of this name.
        #[arg(long, value_name = "NAME")]
        stream: Option<String>,
    },
    /// Look for something no more.
    RemoveQuery {
        /// How it is called.
        name: String,
        /// Only in the stream of this name.
        #[arg(long, value_name = "NAME")]
        stream: Option<String>,
    },
    /// Say how things are.
    Status,
    /// End the run; files are finished.
    Stop,
}
