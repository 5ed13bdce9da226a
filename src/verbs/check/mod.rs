//! `spotter check`: is a model directory whole, and is a file one that a verb would take?

mod dino;
mod file;
mod model;

use std::io::Write;
use std::path::Path;

use crate::cli::CheckArgs;
use crate::config::is_streams_file;
use crate::error::{Error, Result};
use crate::models::find;

/// # Errors
/// Something is missing, damaged, unknown or contradicts something else.
pub(super) fn run(args: &CheckArgs) -> Result<()> {
    let lines = if args.path.is_file() || is_streams_file(&args.path) {
        if args.deep {
            return Err(Error::Usage("--deep: is for model directories".into()));
        }
        file::check(&args.path)?
    } else {
        model::check(&find(&args.path)?, args.deep)?
    };
    let text = lines.join("\n") + "\n";
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(Error::io("write", Path::new("-")))
}
