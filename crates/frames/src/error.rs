//! The crate's error type.

use gstreamer::glib;
use gstreamer_video as gst_video;

/// What can go wrong with one buffer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The memory does not hold such a frame, or cannot be reached.
    #[error("the frame's memory cannot be mapped: {0}")]
    Map(
        /// GStreamer's words.
        glib::BoolError,
    ),
    /// `GstVideoConverter` has no way between two formats.
    #[error("{from:?} cannot be converted to {to:?}: {reason}")]
    Convert {
        /// Of the frame.
        from: gst_video::VideoFormat,
        /// What was wanted.
        to: gst_video::VideoFormat,
        /// GStreamer's words.
        reason: glib::BoolError,
    },
    /// GStreamer refuses: it has no memory, or there is no such format.
    #[error(transparent)]
    GStreamer(#[from] glib::BoolError),
    /// The model takes no size of picture at all.
    #[error("the model has no canvas")]
    NoCanvas,
    /// A picture that cannot be grounded: too small, or its planes are shorter than it is.
    #[error(transparent)]
    Picture(Box<blocks::Error>),
    /// Cairo or Pango refuses.
    #[error("{0}")]
    Draw(
        /// The library's words.
        String,
    ),
}

impl From<blocks::Error> for Error {
    fn from(error: blocks::Error) -> Self {
        Self::Picture(Box::new(error))
    }
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
