//! QRNet (Query-modulated Refinement Network, CVPR 2022) on candle: a picture and a sentence in, a box out.
pub mod config;
pub mod error;
pub mod fusion;
pub mod init;
mod layers;
mod model;
mod neck;
mod ops;
pub mod params;
pub mod pass;
pub mod plan;
pub mod qdatt;
pub mod strict;
mod swin;
pub mod text;
pub mod weights;

pub use config::{Canvas, Config};
pub use error::{Error, Result};
pub use fusion::Output;
pub use model::{FrameModel, QrNet, QueryModel, QueryTensors};
