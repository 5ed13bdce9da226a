//! MPEG program streams that do not say what they hold.
//!
//! What a stream's bytes are stands in a program stream map, which writers may leave out; ffmpeg's does. `mpegpsdemux` (1.22) takes
//! video for MPEG-1 or MPEG-2 then, and a parser looks in vain for pictures in H.264 or H.265 until the end of the file. It is
//! told by its first units, and said at once.

use std::sync::{Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

/// Bytes in which nothing was found that tells what they are.
const MOST: usize = 1 << 18;

/// Ends a source in words where the demuxers that `bin` will make take H.264 or H.265 for MPEG-2.
pub(super) fn refuse_unnamed(bin: &gst::Bin) {
    bin.connect_deep_element_added(|_, _, element| {
        if element.factory().is_some_and(|factory| factory.name() == "mpegpsdemux") {
            element.connect_pad_added(watch);
        }
    });
}

fn watch(demuxer: &gst::Element, pad: &gst::Pad) {
    if !pad.name().starts_with("video") {
        return;
    }
    let (demuxer, begun) = (demuxer.downgrade(), Mutex::new(Vec::new()));
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        // Where it is named, it is what it is called.
        let is_taken_for_mpeg = pad.current_caps().is_some_and(|caps| is_mpeg(&caps));
        let Some(bytes) = info.buffer().filter(|_| is_taken_for_mpeg).and_then(|part| part.map_readable().ok()) else {
            return gst::PadProbeReturn::Remove;
        };
        let mut begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.extend_from_slice(&bytes);
        let codec = match codec(&begun) {
            Codec::Unknown if begun.len() < MOST => return gst::PadProbeReturn::Ok,
            Codec::Unknown | Codec::Mpeg => return gst::PadProbeReturn::Remove,
            Codec::H264 => "H.264",
            Codec::H265 => "H.265",
        };
        if let Some(demuxer) = demuxer.upgrade() {
            gst::element_error!(
                demuxer,
                gst::StreamError::WrongType,
                ("is an MPEG program stream of {codec} without a map that says so, which GStreamer cannot read; \
                  `ffmpeg -i FILE -c copy FILE.ts` makes one that it can")
            );
        }
        gst::PadProbeReturn::Remove
    });
}

/// Whether this is what video is taken for that is not named.
fn is_mpeg(caps: &gst::CapsRef) -> bool {
    let is_early = |structure: &gst::StructureRef| structure.get::<i32>("mpegversion").is_ok_and(|version| version < 4);
    caps.structure(0).is_some_and(|structure| structure.name() == "video/mpeg" && is_early(structure))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    Mpeg,
    H264,
    H265,
    /// Nothing tells yet.
    Unknown,
}

/// What the bytes behind start codes are: MPEG-1 and MPEG-2 begin a sequence, a group or a picture with codes that are no unit of the
/// others; those describe all pictures first, in two parts that follow each other.
fn codec(bytes: &[u8]) -> Codec {
    /// `profile_idc` of H.264 (annex A, G and H).
    const PROFILES: [u8; 12] = [44, 66, 77, 83, 86, 88, 100, 110, 118, 122, 128, 244];
    let (mut sequence_264, mut parameters_265) = (false, false);
    for window in bytes.windows(5) {
        let &[0, 0, 1, kind, next] = window else { continue };
        match kind {
            0 | 0x80.. => return Codec::Mpeg,
            // Of video parameters, then of a sequence.
            0x40 if next == 1 => parameters_265 = true,
            0x42 if next == 1 && parameters_265 => return Codec::H265,
            0x27 | 0x47 | 0x67 => sequence_264 = PROFILES.contains(&next),
            0x28 | 0x48 | 0x68 if sequence_264 => return Codec::H264,
            _ => {}
        }
    }
    Codec::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_units_tell_what_they_are() {
        let units =
            |units: &[&[u8]]| units.iter().flat_map(|unit| [&[0, 0, 1][..], *unit].concat()).collect::<Vec<u8>>();
        let h264 = units(&[&[0x09, 0xf0], &[0x67, 100, 0, 11], &[0x68, 0xeb, 0xe3], &[0x65, 0x88]]);
        let h265 = units(&[&[0x46, 1], &[0x40, 1, 12], &[0x42, 1, 1], &[0x44, 1, 0xc1]]);
        let mpeg2 = units(&[&[0xb3, 0x0a, 0], &[0xb5, 0x14], &[0xb8, 0], &[0, 0, 0x0f], &[1, 0x22], &[0x67, 100]]);
        assert_eq!([&h264, &h265, &mpeg2].map(|bytes| codec(bytes)), [Codec::H264, Codec::H265, Codec::Mpeg]);
        // Joined in the middle of a tall picture: rows of it are called like units.
        let rows: Vec<[u8; 2]> = (0x40..=0x68).map(|row| [row, 0x2a]).collect();
        let mut rows: Vec<&[u8]> = rows.iter().map(<[u8; 2]>::as_slice).collect();
        assert_eq!(codec(&units(&rows)), Codec::Unknown);
        rows.push(&[0, 1]);
        assert_eq!(codec(&units(&rows)), Codec::Mpeg);
        assert_eq!([codec(&[]), codec(&[0, 0, 1]), codec(&h264[..9])], [Codec::Unknown; 3]);
    }
}
