//! What any model of Spotter needs: kernels for the CPU and CUDA, Swin and BERT blocks, tokenizer, preprocessing, checkpoints and
//! strict TOML. No model.

pub mod canvas;
pub mod checkpoint;
pub mod error;
pub mod files;
pub mod findings;
pub mod layers;
pub mod ops;
// For the model crates beside this one, as kernels are.
#[doc(hidden)]
pub mod packed;
pub mod pass;
pub mod preprocess;
pub mod recent;
pub mod seeded;
pub mod strict;
pub mod swin;
pub mod text;

pub use canvas::{Canvas, Grid};
pub use error::{Error, Result};
