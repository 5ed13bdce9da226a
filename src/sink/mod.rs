//! Where annotated frames go: metadata on the frame's own buffer, and the output pipeline behind it.

mod branches;
pub(crate) mod holes;
mod mp4_times;
mod output_file;
mod pipeline;
mod png;
mod rtsp;

use frames::meta;
use gstreamer as gst;
use records::Query;
use records::track::FrameResult;

use crate::stage::Frame;

pub use branches::{Branch, Drawing, Target};
pub(crate) use branches::{place, same_file};
pub(crate) use output_file::{PartialFile, file_name, numbered};
pub use pipeline::{Output, OutputSettings};
pub(crate) use rtsp::payloader;
pub use rtsp::{Access, LatestResult, MountPoint, RtspOut, RtspServers, launch};

/// A shallow copy of the frame's buffer with the `result` of `queries` as its metadata: the pixels stay where the decoder put
/// them. `trained` is false where the model's weights are as drawn.
pub fn annotate<'a>(
    frame: &Frame,
    result: &FrameResult,
    queries: impl IntoIterator<Item = &'a Query>,
    trained: bool,
) -> gst::Buffer {
    let mut buffer = frame.buffer.copy();
    meta::attach(buffer.make_mut(), frame.seq, &frame.resolution(), result, queries, trained);
    buffer
}
