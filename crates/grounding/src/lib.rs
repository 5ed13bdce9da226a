//! Any model that Spotter runs, whatever its family: a model directory, sentences and pictures in, findings out.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use blocks::preprocess::{Letterboxer, Picture};
//! use grounding::{Device, Grounder};
//!
//! # fn main() -> grounding::Result<()> {
//! let grounder = Grounder::load(Path::new("models/mine"), &Device::Cpu)?;
//! let (car, dog) = (grounder.compile("the red car")?, grounder.compile("a dog")?);
//! let picture = Picture::open(Path::new("street.jpg"))?;
//! let canvas = grounder.canvas_for(picture.width, picture.height);
//! let letterboxed = Letterboxer::default().letterbox(&picture.view()?, canvas)?;
//! for findings in &grounder.ground(&[&letterboxed], &[&car, &dog])?[0] {
//!     println!("{:?} {:?}", findings.presence, findings.best().map(|finding| finding.rect));
//! }
//! # Ok(())
//! # }
//! ```

mod calibration;
mod carry;
mod check;
mod family;
mod grounder;
mod query;

pub use blocks::findings::{Finding, Findings};
pub use blocks::{Canvas, Error, Result};
pub use calibration::{CALIBRATION, Calibration, logit};
pub use candle_core::Device;
pub use carry::{Carried, carry_calibration};
pub use check::{check_config, check_directory};
pub use family::{Family, load_tokenizer};
pub use grounder::Grounder;
pub use qrnet::{MemoryModel, Placement, Precision};
pub use query::{CompiledQuery, QueryCompiler};
