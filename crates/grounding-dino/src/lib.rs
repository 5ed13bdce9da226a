//! The Grounding DINO family (Liu et al., ECCV 2024) on candle: a picture and sentences in, scored boxes for each sentence out.
//! Reads the directories of Hugging Face's `transformers` as they are: IDEA's models, MM-Grounding-DINO and `LLMDet`.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use blocks::preprocess::{Letterboxer, Picture};
//! use grounding_dino::{Device, Grounder};
//!
//! # fn main() -> grounding_dino::Result<()> {
//! let grounder = Grounder::load(Path::new("models/llmdet-tiny"), &Device::Cpu)?;
//! let (cats, car) = (grounder.compile("cats")?, grounder.compile("the red car")?);
//! let picture = Picture::open(Path::new("street.jpg"))?;
//! let brought_in = grounder.bring_in(&mut Letterboxer::default(), &picture.view()?)?;
//! for findings in &grounder.ground_each(&[&brought_in], &[&[&cats, &car]])?[0] {
//!     println!("{:?}", findings.found);
//! }
//! # Ok(())
//! # }
//! ```

mod attention;
mod compiler;
pub mod config;
mod cpu;
mod decoder;
mod deformable;
mod encoder;
mod frame_side;
mod fusion;
mod grounder;
mod heads;
mod model;
mod model_dir;
mod neck;
mod plan;
mod preprocess;
mod query;
mod swin;
mod text;
mod view;
mod weights;

pub use blocks::error::TensorSpec;
pub use blocks::{Canvas, Error, Result};
pub use candle_core::Device;
pub use compiler::QueryCompiler;
pub use config::Config;
pub use grounder::{CLAIMS_FROM, Grounder, LEAST};
pub use model::{Detected, FrameModel, Seen};
pub use model_dir::ModelDir;
pub use plan::{Level, Plan, Proposal};
pub use preprocess::Sizing;
pub use query::CompiledQuery;
pub use text::{FRAMING, STOP, Text, TextModel, is_delimiter, phrases};
pub use weights::{Comparison, Part, Weights, parameters};
