//! `spotter doctor`: what this machine has, and what brings the rest.

use std::io::Write;
use std::path::Path;

use gstreamer as gst;

use crate::config::device;
use crate::error::{Error, Result};

/// An element, what it is for, and the Debian package that brings it.
struct Need {
    element: &'static str,
    purpose: &'static str,
    package: &'static str,
    /// Whether every run needs it.
    always: bool,
}

const fn need(element: &'static str, purpose: &'static str, package: &'static str) -> Need {
    Need { element, purpose, package, always: true }
}

const fn may(element: &'static str, purpose: &'static str, package: &'static str) -> Need {
    Need { element, purpose, package, always: false }
}

const BASE: &str = "gstreamer1.0-plugins-base";
const GOOD: &str = "gstreamer1.0-plugins-good";
const BAD: &str = "gstreamer1.0-plugins-bad";
const UGLY: &str = "gstreamer1.0-plugins-ugly";
const LIBAV: &str = "gstreamer1.0-libav";

const NEEDS: [Need; 19] = [
    need("appsrc", "frames into a pipeline", BASE),
    need("appsink", "frames out of a pipeline", BASE),
    need("uridecodebin", "any source by its address", BASE),
    need("videoconvert", "colour formats", BASE),
    need("videoflip", "rotation that a camera noted", GOOD),
    need("overlaycomposition", "box and caption", BASE),
    may("qtdemux", "MP4 and MOV in", GOOD),
    may("matroskademux", "MKV and WebM in", GOOD),
    may("tsdemux", "MPEG-TS in", BAD),
    may("avdec_h264", "H.264 in", LIBAV),
    may("avdec_h265", "H.265 in", LIBAV),
    may("vp9dec", "VP9 in", GOOD),
    may("jpegdec", "motion JPEG and pictures in", GOOD),
    may("v4l2src", "cameras on this machine", GOOD),
    may("rtspsrc", "RTSP cameras", GOOD),
    may("x264enc", "H.264 out", UGLY),
    may("openh264enc", "H.264 out, instead of x264enc", BAD),
    may("mp4mux", "MP4 out", GOOD),
    may("videobox", "odd sizes out", GOOD),
];

/// # Errors
/// GStreamer does not start, or an element that every run needs is missing.
pub(super) fn run() -> Result<()> {
    gst::init().map_err(|e| Error::Pipeline { name: "GStreamer".into(), reason: e.to_string() })?;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cuda = device("cuda").map_or_else(|error| error.to_string(), |_| "there".to_owned());
    let mut lines = vec![
        format!("spotter    {}", env!("CARGO_PKG_VERSION")),
        format!("GStreamer  {}", gst::version_string()),
        format!("cores      {threads}"),
        format!("CUDA       {cuda}"),
        String::new(),
    ];
    let mut missing = Vec::new();
    for need in &NEEDS {
        let there = gst::ElementFactory::find(need.element).is_some();
        let state = match (there, need.always) {
            (true, _) => "there".to_owned(),
            (false, true) => format!("MISSING: apt install {}", need.package),
            (false, false) => format!("missing: apt install {}", need.package),
        };
        if !there && need.always {
            missing.push(need.element);
        }
        lines.push(format!("{:<20} {:<32} {state}", need.element, need.purpose));
    }
    let text = lines.join("\n") + "\n";
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(Error::io("write", Path::new("-")))?;
    if missing.is_empty() {
        return Ok(());
    }
    let reason = format!("GStreamer lacks elements that every run needs: {}", missing.join(", "));
    Err(Error::Pipeline { name: "doctor".into(), reason })
}
