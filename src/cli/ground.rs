//! `spotter ground` as typed.

use std::path::PathBuf;

use clap::Args;

use super::ComputeArg;

/// Ground pictures: one JSON line (schema spotter.frame/2) per picture on standard output.
///
/// Example:
///   spotter ground street.jpg --query "the bicycle on the left" --model models/mine --out found.png
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct GroundArgs {
    /// PNG, JPEG, BMP, WebP, TIFF, GIF, HEIC or AVIF files.
    #[arg(value_name = "PICTURE", required = true)]
    pub pictures: Vec<PathBuf>,
    /// What to look for, in words; may be given several times.
    #[arg(long, value_name = "TEXT", required_unless_present = "compiled_query", conflicts_with = "compiled_query")]
    pub query: Vec<String>,
    /// A query that was compiled before with --save-query: the text tower is then not loaded.
    #[arg(long, value_name = "FILE")]
    pub compiled_query: Option<PathBuf>,
    /// Write the compiled query here; for one query.
    #[arg(long, value_name = "FILE", conflicts_with = "compiled_query")]
    pub save_query: Option<PathBuf>,
    /// The model directory, or a public model by its name (`spotter models` lists some, as owner/repo any of a hub); without
    /// it, that of `SPOTTER_MODEL`, or else the model that is built in.
    #[arg(long, value_name = "DIR|NAME")]
    pub model: Option<PathBuf>,
    /// Draw the boxes: a PNG file for one picture, a folder for several; it is made where its parent exists.
    #[arg(long, value_name = "FILE.png")]
    pub out: Option<PathBuf>,
    /// Presence below this (0..1) means "not here". Needs a model with a presence head. The model's own
    /// if not given, or 0.5.
    #[arg(long, value_name = "P")]
    pub threshold: Option<f32>,
    /// Element type that pictures are computed in: bf16 and f16 are faster on GPUs, int8 is on CPUs, and all move boxes a
    /// little.
    #[arg(long, value_enum, default_value = "f32")]
    pub precision: ComputeArg,
    /// Where to compute: cpu, cuda, cuda:N, or auto (CUDA where it is there).
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: String,
}
