//! Why a live source failed, with a code for programs.

use gstreamer as gst;

use crate::secrets;

/// A failure of a source that may come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// One of this module's constants.
    pub code: &'static str,
    /// In words; holds no secret.
    pub reason: String,
}

/// The server cannot be reached, or the connection to it ended.
pub(super) const CONNECTION_FAILED: &str = "STREAM_CONNECTION_FAILED";
/// The server wants other credentials.
pub(super) const AUTH_FAILED: &str = "STREAM_AUTH_FAILED";
/// The server has no such stream.
pub(super) const NOT_FOUND: &str = "STREAM_NOT_FOUND";
/// Nothing came for too long.
pub(super) const TIMEOUT: &str = "STREAM_TIMEOUT";
/// There is no video, or none that an installed plugin decodes.
pub(super) const CODEC_UNSUPPORTED: &str = "STREAM_CODEC_UNSUPPORTED";
/// The server's certificate is not to be trusted.
pub(super) const TLS_CERTIFICATE: &str = "STREAM_TLS_CERTIFICATE";
/// The server does not speak TLS, or none that we speak.
pub(super) const TLS_HANDSHAKE: &str = "STREAM_TLS_HANDSHAKE";

impl Fault {
    /// A failure with what is known of it.
    pub fn new(code: &'static str, reason: &str) -> Self {
        Self { code, reason: secrets::hidden(reason) }
    }

    /// Whether it will most likely be the same in a second: somebody has to change something first.
    pub(super) fn lasts(&self) -> bool {
        [AUTH_FAILED, NOT_FOUND, CODEC_UNSUPPORTED, TLS_CERTIFICATE].contains(&self.code)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.reason)
    }
}

/// The code of what stands on a pipeline's bus. Elements say why in words, so some of it is read there.
pub(super) fn code(error: &gst::message::Error) -> &'static str {
    use gst::{CoreError, ResourceError, StreamError};
    let cause = error.error();
    let debug = error.debug().unwrap_or_default();
    let says = |text: &str| debug.contains(text);
    let is_codec = [StreamError::CodecNotFound, StreamError::TypeNotFound, StreamError::WrongType, StreamError::Format];
    // A status of the server's stands in brackets.
    if cause.matches(ResourceError::NotAuthorized) || says("(401)") || says("(403)") || says("(407)") {
        AUTH_FAILED
    } else if cause.matches(ResourceError::NotFound) || says("(404)") || says("(410)") {
        NOT_FOUND
    } else if cause.matches(CoreError::MissingPlugin)
        || is_codec.into_iter().any(|code| cause.matches(code))
        || says("SDP contains no streams")
    {
        CODEC_UNSUPPORTED
    } else if says("Timeout while waiting") || says("Could not receive any UDP packets") {
        TIMEOUT
    } else {
        CONNECTION_FAILED
    }
}

/// True where nothing of what the server offers can be had the way it was asked for: `rtspsrc` says the same where the
/// server refuses the transport (461) and where it has no stream that is wanted.
pub(super) fn is_no_stream(fault: &Fault) -> bool {
    fault.reason.contains("No supported stream was found")
}

#[cfg(test)]
impl Fault {
    pub(crate) fn of_test() -> Self {
        Self::new(CONNECTION_FAILED, "cut")
    }
}
