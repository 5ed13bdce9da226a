//! QRNet (Query-modulated Refinement Network, CVPR 2022) on candle: a picture and a sentence in, a box out.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use blocks::preprocess::{Letterboxer, Picture};
//! use qrnet::{Device, Grounder};
//!
//! # fn main() -> qrnet::Result<()> {
//! let grounder = Grounder::load(Path::new("models/mine"), &Device::Cpu)?;
//! let query = grounder.compile("the red car")?;
//! let picture = Picture::open(Path::new("street.jpg"))?;
//! let letterboxed = Letterboxer::default().letterbox(&picture.view()?, grounder.canvas())?;
//! let rect = grounder.ground(&[&letterboxed], &query)?[0].rect;
//! # Ok(())
//! # }
//! ```

mod compiler;
pub mod config;
mod cpu;
pub mod fusion;
mod grounder;
pub mod init;
mod memory;
mod mobilenet;
mod model;
mod model_dir;
mod neck;
pub mod packed;
pub mod params;
pub mod plan;
pub mod qdatt;
mod query;
mod swin;
pub mod weights;

pub use blocks::ops::kernel::dense::Arithmetic;
pub use blocks::{Canvas, Error, Result};
pub use candle_core::Device;
pub use compiler::QueryCompiler;
pub use config::Config;
pub use fusion::Output;
pub use grounder::{Grounder, Grounding, Placement, Precision};
pub use memory::MemoryModel;
pub use model::{FrameModel, QrNet, QueryModel, QueryTensors};
pub use model_dir::{ModelDir, NewModel};
pub use query::CompiledQuery;
