//! Where annotated frames go: metadata on the frame's own buffer, and the output pipeline behind it.

mod branches;
mod frames;
pub(crate) mod holes;
mod meta;
mod numbered;
mod pipeline;
mod rtsp;
mod undated;

pub use branches::{Branch, Target};
pub(crate) use branches::{place, same_file};
pub use meta::{FRAME_META, ROI_TYPE, annotate, annotations};
pub(crate) use numbered::file_name;
pub use pipeline::{Output, OutputSettings};
pub(crate) use rtsp::payloader;
pub use rtsp::{Access, Mount, RtspOut, RtspServers, Verdict, launch};
