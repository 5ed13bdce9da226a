//! QRNet (Query-modulated Refinement Network, CVPR 2022) on candle: a picture and a sentence in, a box out.
pub mod config;
pub mod error;
pub mod fusion;
mod grounder;
pub mod init;
mod layers;
mod model;
mod model_dir;
mod neck;
pub mod ops;
pub mod params;
pub mod pass;
pub mod plan;
pub mod preprocess;
pub mod qdatt;
mod query;
pub mod strict;
mod swin;
pub mod text;
pub mod weights;

pub use config::{Canvas, Config};
pub use error::{Error, Result};
pub use fusion::Output;
pub use grounder::{Grounder, Grounding};
pub use model::{FrameModel, QrNet, QueryModel, QueryTensors};
pub use model_dir::{ModelDir, NewModel};
pub use query::CompiledQuery;
