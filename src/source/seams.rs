//! Where one picture ends and the next begins, as parsers of GStreamer 1.22 take it.
//!
//! ffmpeg, which copies H.265 in MPEG-TS, leaves the first zero of each picture's start code at the end of the picture before.
//! `h265parse` takes a picture's time from where it begins, so all of them would be shown at the time of the one before, and one of
//! them be lost. Here the zeros go where they belong; no byte is changed.
//!
//! `mpegpsdemux` says that a stream has a gap where sound is ahead of it, also in the middle of a picture, which parsers
//! then take for whole: pictures of cameras that show little are small, and stand far behind their sound. It is not told.

use std::sync::{Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

/// Mends what goes into the parsers that `bin` will make.
pub(super) fn mend(bin: &gst::Bin) {
    bin.connect_deep_element_added(|_, _, element| match element.factory().map(|factory| factory.name()).as_deref() {
        Some("h265parse") => mend_start_codes(element),
        Some("mpegpsdemux") => _ = element.connect_pad_added(|_, pad| leave_out_gaps(pad)),
        _ => {}
    });
}

fn mend_start_codes(parser: &gst::Element) {
    let Some(pad) = parser.static_pad("sink") else { return };
    // Zeros of the one before.
    let held = Mutex::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::PUSH, move |pad, info| {
        let is_bytes = pad.current_caps().is_some_and(|caps| is_byte_stream(&caps));
        if let (true, Some(gst::PadProbeData::Buffer(part))) = (is_bytes, &mut info.data) {
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            if part.flags().contains(gst::BufferFlags::DISCONT) {
                *held = 0;
            }
            *held = shift(part, *held);
        }
        gst::PadProbeReturn::Ok
    });
}

fn leave_out_gaps(pad: &gst::Pad) {
    if !pad.name().starts_with("video") {
        return;
    }
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |_, info| {
        let is_gap = info.event().is_some_and(|event| event.type_() == gst::EventType::Gap);
        if is_gap { gst::PadProbeReturn::Drop } else { gst::PadProbeReturn::Ok }
    });
}

/// Whether units stand behind start codes.
fn is_byte_stream(caps: &gst::CapsRef) -> bool {
    caps.structure(0).is_some_and(|structure| structure.get::<&str>("stream-format") == Ok("byte-stream"))
}

/// Puts so many zeros before `part`, and takes those off its end; returns how many these are.
fn shift(part: &mut gst::Buffer, before: usize) -> usize {
    let size = part.size();
    let count = part.map_readable().map_or(0, |bytes| bytes.iter().rev().take_while(|byte| **byte == 0).count());
    if count == 0 && before == 0 {
        return 0;
    }
    let part = part.make_mut();
    part.set_size(size - count);
    if before > 0 {
        part.prepend_memory(gst::Memory::from_slice(vec![0u8; before]));
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_go_to_the_start_code_that_they_belong_to() {
        gst::init().expect("GStreamer starts");
        let parts: [&[u8]; 4] = [&[0, 0, 1, 9, 0], &[0, 0, 1, 8], &[0, 0], &[1, 7, 0]];
        let (mut held, mut all) = (0, Vec::new());
        for part in parts {
            let mut buffer = gst::Buffer::from_slice(part.to_vec());
            held = shift(&mut buffer, held);
            all.push(buffer.map_readable().expect("readable").to_vec());
        }
        assert_eq!(all, [&[0, 0, 1, 9][..], &[0, 0, 0, 1, 8], &[], &[0, 0, 1, 7]]);
        assert_eq!(held, 1);
    }
}
