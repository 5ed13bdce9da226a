//! What is done to one GStreamer buffer in memory: the picture that a model takes of it ([`FrameLetterboxer`]), thumbnails,
//! another size ([`Rescaler`]), metadata on and off ([`meta`]), boxes and captions ([`overlay`]). No pipelines and no model here.
//!
//! A buffer comes with the `VideoInfo` of its caps. `gstreamer::init` has been called before.

mod composition;
mod convert;
mod error;
mod letterbox;
pub mod meta;
pub mod overlay;
mod planes;
mod portrait;
mod rescale;
mod thumbnail;

pub use composition::{overlay_composition, shape_rectangles};
pub use convert::rgb_view;
pub use error::{Error, Result};
pub use letterbox::FrameLetterboxer;
pub use portrait::Portraits;
pub use rescale::Rescaler;
pub use thumbnail::Thumbnails;
