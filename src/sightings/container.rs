//! The containers of clips: what goes into them, and how.

use std::fs::File;
use std::path::Path;

use gstreamer as gst;

use crate::error::{Error, Result};
use crate::mp4_boxes::{TopBox, top_boxes};
use crate::pipeline;

/// What a clip is written as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Container {
    /// MP4. Motion JPEG, for which it has no place, becomes Matroska all the same.
    #[default]
    Mp4,
    /// Matroska.
    Mkv,
}

impl Container {
    /// The one that pictures of these caps go into.
    pub(super) fn of(self, caps: &gst::CapsRef) -> Self {
        if codec(caps) == "image/jpeg" { Self::Mkv } else { self }
    }

    /// How names of its files end.
    pub(super) fn ending(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Mkv => "mkv",
        }
    }

    /// The muxer. What it wrote can be played wherever it breaks off: MP4 goes in fragments of a second, which become a plain file
    /// when it is closed.
    pub(super) fn muxer(self) -> Result<gst::Element> {
        let built = match self {
            Self::Mp4 => gst::ElementFactory::make("mp4mux")
                .property("fragment-duration", 1000u32)
                .property_from_str("fragment-mode", "first-moov-then-finalise")
                .build(),
            Self::Mkv => gst::ElementFactory::make("matroskamux").property("offset-to-zero", true).build(),
        };
        let name = if self == Self::Mp4 { "mp4mux" } else { "matroskamux" };
        built.map_err(|_| lacking(name))
    }
}

/// Says that an element is missing.
pub(super) fn lacking(element: &str) -> Error {
    Error::Pipeline { name: "clip".into(), reason: pipeline::missing(&[element]) }
}

/// A new element.
pub(super) fn make(element: &str) -> Result<gst::Element> {
    gst::ElementFactory::make(element).build().map_err(|_| lacking(element))
}

/// The name of the first format.
pub(super) fn codec(caps: &gst::CapsRef) -> &str {
    caps.structure(0).map_or("", |structure| structure.name().as_str())
}

/// Whether packets of both caps can stand in one file: codec, framing, header, size, channels and rate are the same. What else
/// caps say may change at any time: depayloaders call sound `framed` from its second packet on.
pub(super) fn is_same_format(one: &gst::CapsRef, other: &gst::CapsRef) -> bool {
    one == other || format(one) == format(other)
}

/// Codec, framing, header, and width, height, channels and rate.
type Format = (String, Option<String>, Option<gst::Buffer>, [Option<i32>; 4]);

fn format(caps: &gst::CapsRef) -> Format {
    let structure = caps.structure(0);
    let number = |key: &str| structure.and_then(|structure| structure.get::<i32>(key).ok());
    let framing = structure.and_then(|structure| structure.get::<String>("stream-format").ok());
    let header = structure.and_then(|structure| structure.get::<gst::Buffer>("codec_data").ok());
    (codec(caps).to_owned(), framing, header, ["width", "height", "channels", "rate"].map(number))
}

/// The element that cuts and describes pictures of these caps.
pub(super) fn parser(caps: &gst::CapsRef) -> &'static str {
    match codec(caps) {
        "video/x-h264" => "h264parse",
        "video/x-h265" => "h265parse",
        _ => "jpegparse",
    }
}

/// What stands between the sound as it came and the muxer.
pub(super) fn sound_elements(container: Container, caps: &gst::CapsRef) -> Result<Vec<gst::Element>> {
    let decoder = match (codec(caps), container) {
        ("audio/mpeg", _) => return Ok(vec![make("aacparse")?]),
        (_, Container::Mkv) => return Ok(Vec::new()),
        ("audio/x-alaw", Container::Mp4) => "alawdec",
        (_, Container::Mp4) => "mulawdec",
    };
    [decoder, "audioconvert", "audioresample", aac_encoder(), "aacparse"].into_iter().map(make).collect()
}

/// What makes AAC here.
pub(super) fn aac_encoder() -> &'static str {
    const ENCODERS: [&str; 2] = ["avenc_aac", "voaacenc"];
    ENCODERS.into_iter().find(|name| gst::ElementFactory::find(name).is_some()).unwrap_or(ENCODERS[0])
}

/// Whether a file that breaks off can be played so far: it has an index, or more than its head.
pub(super) fn can_be_played(path: &Path, container: Container) -> bool {
    const HEAD: u64 = 4096;
    let Ok(mut file) = File::open(path) else { return false };
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    if container == Container::Mkv {
        return length > HEAD;
    }
    let is_whole = |found: &TopBox| found.at.checked_add(found.size).is_some_and(|end| end <= length);
    let mut whole = top_boxes(&mut file).map_while(std::result::Result::ok).take_while(is_whole);
    whole.any(|found| &found.kind == b"moov")
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    #[test]
    fn what_a_depayloader_changes_is_no_other_format() {
        gst::init().expect("GStreamer starts");
        let caps = |text: &str| gst::Caps::from_str(text).expect("caps");
        let sound = "audio/mpeg,mpegversion=4,stream-format=raw,channels=1,rate=44100,codec_data=(buffer)1208";
        let first = caps(&format!("{sound},framed=false"));
        assert!(is_same_format(&first, &caps(&format!("{sound},framed=true"))));
        for (from, to) in [("rate=44100", "rate=8000"), ("channels=1", "channels=2"), ("1208", "1210"), ("raw", "adts")]
        {
            assert!(!is_same_format(&first, &caps(&sound.replace(from, to))), "{to}");
        }
        let picture = "video/x-h264,stream-format=avc,width=320,height=192";
        assert!(is_same_format(&caps(picture), &caps(&format!("{picture},framerate=25/1"))));
        assert!(!is_same_format(&caps(picture), &caps(&picture.replace("320", "640"))));
    }
}
