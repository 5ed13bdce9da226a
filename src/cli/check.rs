//! `spotter check` as typed.

use std::path::PathBuf;

use clap::Args;

/// Check a model directory: sizes, names and shapes of all tensors, tokenizer. Prints a summary.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The model directory.
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// Also read every byte, verify the digest, and ground a plain picture.
    #[arg(long)]
    pub deep: bool,
}
