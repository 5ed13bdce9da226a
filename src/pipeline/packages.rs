//! Which Debian package brings an element.

/// An element, what it is for, and the Debian package that brings it.
pub struct Need {
    /// Its name.
    pub element: &'static str,
    /// What it does for us.
    pub purpose: &'static str,
    /// What to install.
    pub package: &'static str,
    /// Whether every run needs it.
    pub always: bool,
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

/// Elements that built-in pipelines use, and decoders that files usually need.
pub const NEEDS: [Need; 50] = [
    need("appsrc", "frames into a pipeline", BASE),
    need("appsink", "frames out of a pipeline", BASE),
    need("uridecodebin", "any source by its address", BASE),
    need("videoconvert", "colour formats", BASE),
    need("deinterlace", "frames made of two fields", GOOD),
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
    may("rtpjitterbuffer", "RTSP cameras", GOOD),
    may("rtph264depay", "H.264 from RTSP cameras", GOOD),
    may("rtph265depay", "H.265 from RTSP cameras", GOOD),
    may("hlsdemux", "HLS playlists", BAD),
    may("udpsrc", "MPEG-TS over UDP", GOOD),
    may("srtsrc", "SRT streams", BAD),
    may("rtmp2src", "RTMP streams", BAD),
    may("flvdemux", "RTMP streams and FLV in", GOOD),
    may("fdsrc", "standard input", "libgstreamer1.0-0"),
    may("x264enc", "H.264 out, clips of raw cameras, the page's video of them", UGLY),
    may("openh264enc", "H.264 out over RTSP, without x264enc", BAD),
    may("rtph264pay", "H.264 out over RTSP", GOOD),
    may("rtpbin", "RTSP in and out", GOOD),
    may("multiudpsink", "RTSP out over UDP", GOOD),
    may("mp4mux", "MP4 out", GOOD),
    may("videobox", "odd sizes out", GOOD),
    may("souphttpsrc", "files on a web server", GOOD),
    may("h264parse", "H.264 in and out", BAD),
    may("matroskamux", "MKV out", GOOD),
    may("pngenc", "pictures out", GOOD),
    may("autovideosink", "a window", GOOD),
    may("ximagesink", "a window on X11", "gstreamer1.0-x"),
    may("videotestsrc", "test pictures", BASE),
    may("decodebin", "any container and codec", BASE),
    may("h265parse", "H.265 in, and in clips", BAD),
    may("jpegparse", "motion JPEG in clips", BAD),
    may("aacparse", "sound of clips", GOOD),
    may("rtpmp4gdepay", "AAC of RTSP cameras, for clips", GOOD),
    may("rtpmp4adepay", "AAC of RTSP cameras, for clips", GOOD),
    may("rtppcmudepay", "G.711 of RTSP cameras, for clips", GOOD),
    may("rtppcmadepay", "G.711 of RTSP cameras, for clips", GOOD),
    may("mulawdec", "G.711 in MP4 clips", GOOD),
    may("alawdec", "G.711 in MP4 clips", GOOD),
    may("avenc_aac", "G.711 in MP4 clips", LIBAV),
];

/// What is missing, and what brings it.
pub(crate) fn missing(elements: &[&str]) -> String {
    let packages: Vec<&str> = elements.iter().filter_map(|element| package_of(element)).collect();
    let hint = match packages.as_slice() {
        [] => "`gst-inspect-1.0` lists what is".to_owned(),
        packages => format!("on Debian: apt install {}", packages.join(" ")),
    };
    format!("needs the GStreamer element {}, which is not installed ({hint})", elements.join(", "))
}

fn package_of(element: &str) -> Option<&'static str> {
    NEEDS.iter().find(|need| need.element == element).map(|need| need.package)
}
