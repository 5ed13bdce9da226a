//! `spotter control` as typed.

use clap::{Args, Subcommand};

/// Tell a run something while it goes on, over the control socket that it was started with.
///
/// The answer, a JSON object, goes to standard output.
///
/// Examples:
///   spotter control unix:/tmp/spotter set-query "the man in the suit"
///   spotter control unix:/tmp/spotter set-query "a dog" --stream gate
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
        /// The sentence.
        query: String,
        /// Only in the stream of this name.
        #[arg(long, value_name = "NAME")]
        stream: Option<String>,
    },
    /// Say how things are.
    Status,
    /// End the run; files are finished.
    Stop,
}
