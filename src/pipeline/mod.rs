//! Pipeline descriptions: TOML files with launch lines, and holes that are filled after parsing.
//!
//! A hole such as `{uri}` stands only as a whole property value. It is taken out of the launch text before GStreamer
//! parses it and set on the parsed element, so that no value, however hostile, can become launch syntax.

mod debug_log;
mod dot;
mod launch;
mod packages;

use gstreamer as gst;
use gstreamer_video as gst_video;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
pub(crate) use dot::draw;
pub(crate) use launch::{HOLE_NAME, ends};
pub use launch::{Hole, build};
pub(crate) use packages::missing;
pub use packages::{NEEDS, Need};

/// Starts GStreamer, and keeps secrets out of its log; more than once does no harm.
///
/// # Errors
/// It does not start.
pub fn init() -> Result<()> {
    gst::init().map_err(|e| Error::Pipeline { name: "GStreamer".into(), reason: e.to_string() })?;
    debug_log::take_over();
    Ok(())
}

/// How raw video comes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SourcePart {
    /// gst-launch syntax with holes.
    pub launch: String,
    /// Whether frames come when they come and nobody waits for us; such a source is opened again when it is lost. For
    /// descriptions that name their source themselves, without a hole for the address.
    #[serde(default)]
    pub live: bool,
}

impl SourcePart {
    /// Whether it needs no `--source`: it has no holes.
    pub(crate) fn is_whole(&self) -> bool {
        launch::holes(&self.launch).next().is_none()
    }
}

/// One place where frames go.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SinkPart {
    /// gst-launch syntax with holes.
    pub launch: String,
    /// Whether box and caption are drawn in. The metadata is there either way.
    #[serde(default = "yes")]
    pub draw: bool,
    /// The kind of `--out` whose built-in description this one replaces: `mp4`, `mkv`, `frames`, `display` or
    /// `rtsp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

fn yes() -> bool {
    true
}

/// A file in `pipelines/`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PipelineFile {
    /// From the address to raw video.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourcePart>,
    /// From raw video to wherever it goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sink: Vec<SinkPart>,
}

impl blocks::strict::Strict for PipelineFile {
    fn example() -> Self {
        let launch = String::new();
        Self {
            source: Some(SourcePart { launch: launch.clone(), live: false }),
            sink: vec![SinkPart { launch, draw: true, target: Some(String::new()) }],
        }
    }
}

/// The pipelines that ship with the program, by name.
pub const BUILT_IN: [(&str, &str); 21] = [
    ("camera", include_str!("../../pipelines/camera.toml")),
    ("clip", include_str!("../../pipelines/clip.toml")),
    ("clip-openh264", include_str!("../../pipelines/clip-openh264.toml")),
    ("display", include_str!("../../pipelines/display.toml")),
    ("file", include_str!("../../pipelines/file.toml")),
    ("frames", include_str!("../../pipelines/frames.toml")),
    ("hls", include_str!("../../pipelines/hls.toml")),
    ("http", include_str!("../../pipelines/http.toml")),
    ("mjpeg", include_str!("../../pipelines/mjpeg.toml")),
    ("mkv", include_str!("../../pipelines/mkv.toml")),
    ("mp4", include_str!("../../pipelines/mp4.toml")),
    ("page", include_str!("../../pipelines/page.toml")),
    ("pictures", include_str!("../../pipelines/pictures.toml")),
    ("pipe", include_str!("../../pipelines/pipe.toml")),
    ("rtmp", include_str!("../../pipelines/rtmp.toml")),
    ("rtsp-in", include_str!("../../pipelines/rtsp-in.toml")),
    ("rtsp-out", include_str!("../../pipelines/rtsp-out.toml")),
    ("rtsp-out-openh264", include_str!("../../pipelines/rtsp-out-openh264.toml")),
    ("srt", include_str!("../../pipelines/srt.toml")),
    ("test", include_str!("../../pipelines/test.toml")),
    ("udp", include_str!("../../pipelines/udp.toml")),
];

/// Kinds of `--out` that have a description.
const TARGETS: [&str; 5] = ["display", "frames", "mkv", "mp4", "rtsp"];

/// The first of some encoders that is installed: each is an element and the built-in description that uses it.
///
/// # Errors
/// There is none.
pub(crate) fn encoder(encoders: &[(&'static str, &'static str)]) -> Result<&'static str> {
    let there = encoders.iter().find(|(element, _)| gst::ElementFactory::find(element).is_some());
    let first = encoders.first().copied().unwrap_or_default();
    let none = || Error::Pipeline { name: first.1.into(), reason: missing(&[first.0]) };
    there.map(|(_, name)| *name).ok_or_else(none)
}

/// What has to be added to a picture so that its sides are even: `videobox` adds pixels for negative numbers.
pub(crate) fn pads(info: &gst_video::VideoInfo) -> Vec<Hole> {
    let pad = |length: u32| if length % 2 == 1 { "-1" } else { "0" };
    vec![Hole::new("pad_right", pad(info.width())), Hole::new("pad_bottom", pad(info.height()))]
}

impl PipelineFile {
    /// Reads a description; `name` is named in errors.
    ///
    /// # Errors
    /// Not TOML, an unknown key, or neither source nor sink.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let file: Self = blocks::strict::toml(text, name)?;
        let targets = file.sink.iter().filter_map(|sink| sink.target.as_deref());
        if let Some(target) = targets.clone().find(|target| !TARGETS.contains(target)) {
            let reason = format!("sink.target is {target:?}, expected one of {}", TARGETS.join(", "));
            return Err(Error::Pipeline { name: name.into(), reason });
        }
        if file.source.is_none() && file.sink.is_empty() {
            return Err(Error::Pipeline { name: name.into(), reason: "has neither a [source] nor a [[sink]]".into() });
        }
        Ok(file)
    }

    /// A pipeline that ships with the program.
    ///
    /// # Errors
    /// No such name.
    pub fn built_in(name: &str) -> Result<Self> {
        let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        let found = BUILT_IN.iter().find(|(candidate, _)| *candidate == name);
        let (name, text) = found.ok_or_else(|| Error::Pipeline {
            name: name.into(),
            reason: format!("is not built in, expected one of {}", names.join(", ")),
        })?;
        Self::parse(text, name)
    }

    /// The launch text of the first sink part.
    ///
    /// # Errors
    /// There is none.
    pub fn only_sink(&self, name: &str) -> Result<String> {
        let part = self.sink.first().map(|part| part.launch.clone());
        part.ok_or_else(|| Error::Pipeline { name: name.into(), reason: "has no [[sink]]".into() })
    }

    /// Builds the source part.
    ///
    /// # Errors
    /// There is none, or GStreamer cannot build it.
    pub fn build_source(&self, name: &str, holes: &[Hole]) -> Result<gst::Bin> {
        let part = self.source.as_ref();
        let part = part.ok_or_else(|| Error::Pipeline { name: name.into(), reason: "has no [source]".into() })?;
        build(name, &part.launch, holes, gst::PadDirection::Src)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_built_in_and_builds_with_its_holes() {
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines")).expect("a folder");
        let mut files: Vec<String> = files
            .map(|f| f.expect("a file").path().file_stem().expect("a name").to_string_lossy().into_owned())
            .collect();
        files.sort();
        // Whole ways to begin from, and what only some machines can build, are for `--pipeline`.
        let whole = |name: &String| name.contains("-to-");
        let (whole, files): (Vec<_>, Vec<_>) = files.into_iter().partition(whole);
        let (special, files): (Vec<_>, Vec<_>) = files.into_iter().partition(|name| name == "rtsp-in-vaapi");
        assert_eq!((whole.len(), special.len()), (3, 1));
        assert_eq!(files, BUILT_IN.map(|(name, _)| name));
        gst::init().expect("GStreamer starts");
        let holes = [
            Hole::new("uri", "file:///nowhere.mp4"),
            Hole::new("location", "/nowhere/out.mp4"),
            Hole::new("pad_right", "0"),
            Hole::new("pad_bottom", "-1"),
            Hole::new("device", "/dev/video7"),
            Hole::new("pattern", "ball"),
            Hole::new("frames", "-1"),
            Hole::new("live", "true"),
            Hole::new("caps", "video/x-raw,width=64,height=48"),
            Hole::new("protocols", "tcp"),
            Hole::new("latency_ms", "200"),
            Hole::new("timeout_us", "10000000"),
            Hole::new("fd", "0"),
            Hole::new("deinterlace", "auto"),
        ];
        let built_in = BUILT_IN.map(|(name, _)| (name.to_owned(), PipelineFile::built_in(name).expect("parses")));
        let whole = whole.into_iter().map(|name| {
            let path = format!("{}/pipelines/{name}.toml", env!("CARGO_MANIFEST_DIR"));
            let file = PipelineFile::parse(&std::fs::read_to_string(path).expect("read"), &name).expect("parses");
            assert!(file.source.is_some() && file.sink.len() == 1, "{name} is a whole way");
            (name, file)
        });
        for (name, file) in built_in.into_iter().chain(whole) {
            let name = name.as_str();
            if file.source.is_some() {
                file.build_source(name, &holes).expect("builds");
            }
            for part in &file.sink {
                build(name, &part.launch, &holes, gst::PadDirection::Sink).expect("builds");
            }
        }
    }

    #[test]
    fn misspelt_keys_are_named() {
        let message = PipelineFile::parse("[source]\nlaunhc = \"x\"\n", "mine.toml").expect_err("misspelt").to_string();
        assert_eq!(message, "mine.toml: line 2: unknown key `source.launhc`; did you mean `source.launch`?");
    }
}
