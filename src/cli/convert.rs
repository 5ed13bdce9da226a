//! `spotter convert` as typed.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use grounding::Canvas;

/// Turn a checkpoint into a model directory and back.
///
/// A checkpoint (the reference's .pth, or safetensors with its names) becomes a model directory:
///   spotter convert best.pth --config qrnet-swin-s-l20 --tokenizer vocab.txt --out models/qrnet
///
/// A model directory becomes one safetensors file with the reference's names:
///   spotter convert models/qrnet --out qrnet.safetensors
///
/// A model directory becomes one whose weights take less room, and gives what the old one gives with the same --precision:
///   spotter convert models/qrnet --precision int8 --out models/qrnet-int8
///
/// A model directory gets its weights in the order in which products read them, to start without packing, and to share
/// them between processes:
///   spotter convert models/qrnet-int8 --packed --precision int8
///
/// A model directory becomes one for pictures of another shape, with the same weights:
///   spotter convert models/qrnet --canvas 640x384 --out models/qrnet-wide
///
/// A model of the Grounding DINO family becomes one of half the size, under the same names:
///   spotter convert models/llmdet-tiny --dtype f16 --out models/llmdet-tiny-f16
///
/// Without a checkpoint, weights are drawn from a seed, over which a detector (mmdetection) and a BERT directory can
/// be laid:
///   spotter convert --random 7 --config small --out models/untrained
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct ConvertArgs {
    /// A checkpoint or a model directory.
    #[arg(value_name = "INPUT", required_unless_present = "random", conflicts_with = "random")]
    pub input: Option<PathBuf>,
    /// Draw all weights from this seed.
    #[arg(long, value_name = "SEED")]
    pub random: Option<u64>,
    /// With --random: take backbone and lateral convolutions from this detector checkpoint.
    #[arg(long, value_name = "FILE", requires = "random")]
    pub detector: Option<PathBuf>,
    /// With --random: take the text tower from this Hugging Face BERT directory.
    #[arg(long, value_name = "DIR", requires = "random")]
    pub bert: Option<PathBuf>,
    /// The sizes: a TOML file, or the name of a variant in configs/model (camera, photographs, qrnet-swin-s-l20,
    /// qrnet-swin-s-l40, small, sprites-tiny, tiny). Needed for all but a model directory.
    #[arg(long, value_name = "NAME|FILE")]
    pub config: Option<String>,
    /// tokenizer.json or vocab.txt. Without it, --random takes the BERT directory's, else one over single characters.
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// For a model directory: the canvas that pictures are fitted into, in pixels, multiples of 64. One that is smaller
    /// than the model's own by multiples of 128 (640x384 in 640x640) costs less and takes the middle of its positions;
    /// take one into which pictures fit as large as before. Of several canvases that the model is for it keeps this one
    /// alone. Another one stretches positions, for training to begin with.
    #[arg(long, value_name = "WxH", value_parser = canvas)]
    pub canvas: Option<Canvas>,
    /// The model directory or safetensors file to write; the model itself where --packed alone is wanted.
    #[arg(long, value_name = "PATH", required_unless_present = "packed")]
    pub out: Option<PathBuf>,
    /// Element type on disk.
    #[arg(long, visible_alias = "precision", value_enum, default_value = "f32")]
    pub dtype: Precision,
    /// Write packed weights into the model directory as well, for runs with the same --precision on CPUs: f32, bf16 or
    /// int8. They lie in model.f32.packed and its like, are found by themselves, and are mapped, not read.
    #[arg(long)]
    pub packed: bool,
    /// Replace what stands at --out.
    #[arg(long)]
    pub force: bool,
}

fn canvas(text: &str) -> Result<Canvas, String> {
    let sides = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    let (width, height) = sides.ok_or("expected width and height in pixels, as in 640x384")?;
    Ok(Canvas { width, height })
}

/// Element type of weights on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// 4 bytes, exact.
    F32,
    /// 2 bytes; boxes move by up to a thousandth of the canvas.
    F16,
    /// 2 bytes for most of the backbone, 4 for the rest: what --precision bf16 computes with.
    Bf16,
    /// 1 byte for most of the backbone, 4 for the rest: what --precision int8 computes with.
    Int8,
}
