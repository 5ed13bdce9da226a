//! `spotter check` as typed.

use std::path::PathBuf;

use clap::Args;

/// Check a model directory (sizes, names and shapes of all tensors, tokenizer) or a file: a run's settings, a .streams
/// file, a pipeline description, a training recipe, or a model's sizes. Prints a summary.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The model directory or the file, or a public model that is in the cache.
    #[arg(value_name = "PATH|NAME")]
    pub path: PathBuf,
    /// Of a model, also read every byte, verify the digest, and ground a plain picture.
    #[arg(long)]
    pub deep: bool,
}
