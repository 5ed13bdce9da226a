//! `spotter zones` as typed.

use std::path::PathBuf;

use clap::Args;

/// Draw the zones and lines of a settings file on a frame, to see whether they are where they should be.
///
/// The side of a line that counts as its right has a mark.
///
/// Examples:
///   spotter zones street.jpg --config configs/zones.toml --out zones.png
///   spotter zones clip.mp4 --config configs/zones.toml --out zones.png
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct ZonesArgs {
    /// A picture, or whatever `run` takes as a source: its first frame. A source of the settings file if not given.
    #[arg(value_name = "SOURCE")]
    pub source: Option<String>,
    /// A settings file of `run`, with `[[zone]]`, `[[line]]`, `[[stream.zone]]` or `[[stream.line]]` tables.
    #[arg(long, value_name = "FILE.toml")]
    pub config: PathBuf,
    /// Which stream of the settings file, by its name, where there are several.
    #[arg(long, value_name = "NAME", conflicts_with = "source")]
    pub stream: Option<String>,
    /// The drawing.
    #[arg(long, value_name = "FILE.png", default_value = "zones.png")]
    pub out: PathBuf,
}
