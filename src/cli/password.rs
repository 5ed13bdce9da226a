//! `spotter password` as typed.

use std::path::PathBuf;

use clap::Args;

/// Hash a password, for --page-password.
///
/// Reads it from standard input, one line, and writes a line that does not tell it: Argon2id, as a PHC string.
///
/// Example:
///   echo "eight letters or more" | spotter password page.password
#[derive(Debug, Clone, Args)]
#[command(verbatim_doc_comment)]
pub struct PasswordArgs {
    /// Where the line goes, for this user alone to read; to standard output without it.
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}
