//! Where a stream that never sends a key frame may be begun: its recovery points (ITU-T H.265, D.2.8; H.264, D.2.8). `h265parse` of
//! GStreamer 1.22 reads past them; `h264parse` calls them key frames.

use gstreamer as gst;

/// How pictures are cut up into NAL units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// Behind start codes.
    StartCodes,
    /// Each behind its length in so many bytes.
    Lengths(usize),
}

impl Framing {
    /// Of a stream of this kind with these caps; none where it is of another.
    fn of(caps: &gst::CapsRef, kind: &str) -> Option<Self> {
        let structure = caps.structure(0).filter(|structure| structure.name() == kind)?;
        if structure.get::<&str>("stream-format") == Ok("byte-stream") {
            return Some(Self::StartCodes);
        }
        let header = structure.get::<gst::Buffer>("codec_data").ok();
        let header = header.as_ref().and_then(|header| header.map_readable().ok());
        // lengthSizeMinusOne of ISO/IEC 14496-15, 5.3.3.1 and 8.3.3.1.
        let at = if kind == H264 { 4 } else { 21 };
        let length = header.as_ref().and_then(|header| header.get(at)).map_or(4, |byte| usize::from(byte & 3) + 1);
        Some(Self::Lengths(length))
    }
}

const H264: &str = "video/x-h264";
const H265: &str = "video/x-h265";

/// Whether a key frame of these caps is one by its recovery point alone, so that pictures from it on are not whole at first.
pub(super) fn is_recovery(caps: &gst::CapsRef, picture: &gst::BufferRef) -> bool {
    const IDR: u8 = 5;
    let bytes = Framing::of(caps, H264).and_then(|framing| Some((framing, picture.map_readable().ok()?)));
    bytes.is_some_and(|(framing, bytes)| {
        let nals = nals(&bytes, framing);
        !nals.iter().any(|nal| nal.first().is_some_and(|first| first & 31 == IDR))
    })
}

/// [`point`] of a picture of these caps, which is no key frame; none where it is no H.265.
pub(super) fn of(caps: &gst::CapsRef, picture: &gst::BufferRef) -> Option<Point> {
    let framing = Framing::of(caps, H265)?;
    point(&picture.map_readable().ok()?, framing)
}

/// A picture with which a decoder may begin, though it is no key frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    /// After so many further pictures all that is shown is right.
    WholeAfter(u64),
    /// It repeats the parameter sets, as encoders do where a round of refreshing begins, and says no more.
    Round,
}

/// A picture behind a key frame of H.265 that is shown before it (3.7 of the standard: leading picture).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leading {
    /// It needs nothing but the key frame (RADL).
    Whole,
    /// It needs pictures before the key frame as well (RASL).
    Broken,
}

/// Whether a picture of these caps is shown before the key frame that it stands behind; none where it is not, or is no H.265.
pub(super) fn leading(caps: &gst::CapsRef, picture: &gst::BufferRef) -> Option<Leading> {
    let framing = Framing::of(caps, H265)?;
    leads(&picture.map_readable().ok()?, framing)
}

fn leads(picture: &[u8], framing: Framing) -> Option<Leading> {
    let slice = nals(picture, framing).into_iter().map(kind).find(|kind| *kind < 32)?;
    match slice {
        6 | 7 => Some(Leading::Whole),
        8 | 9 => Some(Leading::Broken),
        _ => None,
    }
}

/// What an H.265 unit holds (table 7-1); pictures are below 32.
fn kind(nal: &[u8]) -> u8 {
    nal.first().map_or(u8::MAX, |first| first >> 1 & 63)
}

/// What a picture says of beginning with it.
fn point(picture: &[u8], framing: Framing) -> Option<Point> {
    const PREFIX_SEI: u8 = 39;
    const SEQUENCE: u8 = 33;
    let nals = nals(picture, framing);
    let of_kind = |wanted: u8| nals.iter().filter(move |nal| kind(nal) == wanted);
    let said = of_kind(PREFIX_SEI).find_map(|nal| message(&unescaped(nal.get(2..)?)));
    said.map(Point::WholeAfter).or_else(|| of_kind(SEQUENCE).next().map(|_| Point::Round))
}

fn nals(picture: &[u8], framing: Framing) -> Vec<&[u8]> {
    let mut found = Vec::new();
    match framing {
        Framing::StartCodes => {
            let starts = picture.windows(3).enumerate().filter(|(_, window)| *window == [0, 0, 1]).map(|(at, _)| at);
            let starts: Vec<usize> = starts.collect();
            let ends = starts.iter().skip(1).copied().chain([picture.len()]);
            found.extend(starts.iter().zip(ends).map(|(start, end)| &picture[start + 3..end]));
        }
        Framing::Lengths(size) => {
            let mut rest = picture;
            while let Some((length, behind)) = rest.split_at_checked(size) {
                let length = length.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte));
                let Some((nal, next)) = behind.split_at_checked(length) else { break };
                found.push(nal);
                rest = next;
            }
        }
    }
    found
}

/// Without the bytes that keep start codes from appearing.
fn unescaped(nal: &[u8]) -> Vec<u8> {
    let (mut bytes, mut zeros) = (Vec::with_capacity(nal.len()), 0);
    for &byte in nal {
        if byte == 3 && zeros >= 2 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        bytes.push(byte);
    }
    bytes
}

/// The first message about a recovery point among those of a unit.
fn message(mut bytes: &[u8]) -> Option<u64> {
    const RECOVERY_POINT: usize = 6;
    // The last byte ends the unit.
    while bytes.len() > 2 {
        let kind = number(&mut bytes)?;
        let size = number(&mut bytes)?;
        let (payload, rest) = bytes.split_at_checked(size)?;
        if kind == RECOVERY_POINT {
            return exp_golomb(payload).map(|count| u64::try_from(count).unwrap_or(0));
        }
        bytes = rest;
    }
    None
}

/// 255 means that there is more.
fn number(bytes: &mut &[u8]) -> Option<usize> {
    let mut sum = 0;
    loop {
        let (&first, rest) = bytes.split_first()?;
        *bytes = rest;
        sum += usize::from(first);
        if first != 255 {
            return Some(sum);
        }
    }
}

/// A signed number at the beginning (9.2).
fn exp_golomb(bytes: &[u8]) -> Option<i64> {
    let bit = |at: usize| Some(u64::from(bytes.get(at / 8)? >> (7 - at % 8) & 1));
    let zeros = (0..32).find(|at| bit(*at) == Some(1))?;
    let code = (zeros..=2 * zeros).try_fold(0u64, |code, at| Some(code << 1 | bit(at)?))? - 1;
    let half = code.div_ceil(2) as i64;
    Some(if code % 2 == 1 { half } else { -half })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture whose recovery takes 49 further ones: se(v) 49 is 1100010 after six zeros; behind another message, in which
    /// a byte keeps a start code away.
    const SEI: [u8; 14] = [39 << 1, 1, 5, 4, 0, 0, 3, 1, 9, 6, 2, 0b0000_0011, 0b0001_0110, 0x80];

    #[test]
    fn pictures_before_a_key_frame_are_told_by_what_they_need() {
        let picture = |kind: u8| [&[0, 0, 1, 35 << 1, 1, 0x50, 0, 0, 0, 1][..], &[kind << 1, 1, 7]].concat();
        let said = [6, 7, 8, 9, 0, 1, 19, 21].map(|kind| leads(&picture(kind), Framing::StartCodes));
        let (whole, broken) = (Some(Leading::Whole), Some(Leading::Broken));
        assert_eq!(said, [whole, whole, broken, broken, None, None, None, None]);
        let lengths = [0, 0, 0, 3, 8 << 1, 1, 7];
        assert_eq!(leads(&lengths, Framing::Lengths(4)), broken);
    }

    #[test]
    fn a_recovery_point_is_found_in_either_framing() {
        let sei = &SEI[..];
        let slice = [1 << 1, 1, 7, 7, 7];
        let byte_stream = [&[0, 0, 0, 1][..], sei, &[0, 0, 1], &slice].concat();
        assert_eq!(point(&byte_stream, Framing::StartCodes), Some(Point::WholeAfter(49)));
        for size in [1, 2, 4] {
            let length = |nal: &[u8]| (nal.len() as u32).to_be_bytes()[4 - size..].to_vec();
            let picture = [&length(sei)[..], sei, &length(&slice), &slice].concat();
            assert_eq!(point(&picture, Framing::Lengths(size)), Some(Point::WholeAfter(49)));
        }
        assert_eq!(point(&[&[0, 0, 1][..], &slice].concat(), Framing::StartCodes), None);
        let repeated = [&[0, 0, 1, 33 << 1, 1, 9, 0, 0, 1][..], &slice].concat();
        assert_eq!(point(&repeated, Framing::StartCodes), Some(Point::Round));
    }

    #[test]
    fn no_bytes_are_too_wrong() {
        for bytes in
            [&[][..], &[0, 0, 1], &[0, 0, 1, 78], &[0, 0, 1, 78, 1, 6, 9, 1], &[0, 0, 1, 78, 1, 255, 255, 255, 255]]
        {
            assert_eq!(point(bytes, Framing::StartCodes), None, "{bytes:?}");
            assert_eq!(point(bytes, Framing::Lengths(2)), None, "{bytes:?}");
        }
        assert_eq!(exp_golomb(&[0x80]), Some(0));
        assert_eq!(exp_golomb(&[0b0100_0000]), Some(1));
        assert_eq!(exp_golomb(&[0b0110_0000]), Some(-1));
        assert_eq!(exp_golomb(&[0; 9]), None);
    }
}
