//! Cameras that send JPEG pictures over HTTP without end. Their boundaries are as they like: some leave out lengths, the first
//! boundary or all of them. A JPEG says itself where it ends (ITU-T T.81, annex B), so that is what is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::decoder_errors;
use super::web::{OpenResponse, Response};

/// No picture of a camera is larger.
const LARGEST: usize = 64 << 20;

/// Reads a camera's pictures into `pictures` until it ends, fails, or `stopped` says so.
pub(super) fn feed(pictures: &gst_app::AppSrc, uri: &str, opened: &OpenResponse, stopped: &Arc<AtomicBool>) {
    let answer = match opened.take().map_or_else(|| Response::of(uri), Ok) {
        Ok(answer) => answer,
        Err(message) => return fail(pictures, message.as_ref()),
    };
    if !answer.is_multipart() {
        if answer.is_empty() {
            return fail(pictures, None);
        }
        let kind = if answer.kind.is_empty() { "something without a type" } else { &answer.kind };
        gst::element_error!(
            pictures,
            gst::StreamError::WrongType,
            ["the camera sends {}, expected multipart/x-mixed-replace", kind]
        );
        return;
    }
    let mut bytes = Vec::new();
    while !stopped.load(Ordering::Acquire) {
        match answer.read() {
            Ok(Some(buffer)) => bytes.extend(buffer.map_readable().map(|map| map.to_vec()).unwrap_or_default()),
            Ok(None) => continue,
            Err(Some(message)) => return fail(pictures, Some(&message)),
            Err(None) => break,
        }
        while let Some(picture) = take(&mut bytes) {
            if pictures.push_buffer(gst::Buffer::from_slice(picture)).is_err() {
                return;
            }
        }
    }
    if let Err(error) = pictures.end_of_stream() {
        tracing::debug!("the end of a camera's pictures was refused: {error}");
    }
}

/// Says in the pictures' pipeline what went wrong in the one that reads them.
fn fail(pictures: &gst_app::AppSrc, message: Option<&gst::Message>) {
    let Some(gst::MessageView::Error(error)) = message.map(|message| message.view()) else {
        gst::element_error!(pictures, gst::ResourceError::Read, ["Timeout while waiting for the camera's answer"]);
        return;
    };
    let said = gst::message::Error::builder_from_error(error.error())
        .debug_if_some(error.debug().as_deref())
        .src(pictures)
        .build();
    if pictures.post_message(said).is_err() {
        tracing::debug!("the pipeline of a camera's pictures is gone");
    }
}

/// Takes the first whole picture, and what stands before it.
fn take(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        let start = bytes.windows(3).position(|window| window == [0xff, 0xd8, 0xff]);
        let Some(start) = start else {
            // Its first two bytes may be there.
            bytes.drain(..bytes.len().saturating_sub(2));
            return None;
        };
        bytes.drain(..start);
        match end(bytes) {
            End::At(end) => return Some(bytes.drain(..end).collect()),
            End::NotYet if bytes.len() <= LARGEST => return None,
            End::NotYet => drop(bytes.drain(..2)),
            End::Never(before) => {
                // It began as a picture.
                decoder_errors::add();
                bytes.drain(..before);
            }
        }
    }
}

/// Where a picture ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    At(usize),
    NotYet,
    /// It is none, as what stands here says.
    Never(usize),
}

/// The end of the picture that begins with `bytes`. Thumbnails lie within segments, which are passed over.
fn end(bytes: &[u8]) -> End {
    let mut at = 2;
    loop {
        let Some(&[fill, marker]) = bytes.get(at..at + 2) else { return End::NotYet };
        match (fill, marker) {
            (0xff, 0xff) => at += 1,
            (0xff, 0xd9) => return End::At(at + 2),
            (0xff, 0x01 | 0xd0..=0xd7) => at += 2,
            (0xff, 0xc0..=0xfe) if marker != 0xd8 => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { return End::NotYet };
                let length = usize::from(u16::from_be_bytes([high, low]));
                if length < 2 {
                    return End::Never(at);
                }
                at += 2 + length;
                if marker == 0xda {
                    // Coded data: 0xff stands before 0 or a restart marker, else it ends.
                    let coded = bytes.get(at..).unwrap_or_default();
                    let ends = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7 | 0xff);
                    let Some(length) = coded.windows(2).position(ends) else { return End::NotYet };
                    at += length;
                }
            }
            _ => return End::Never(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture with a thumbnail in it, and data that look like an end.
    fn jpeg(tail: &[u8]) -> Vec<u8> {
        let thumbnail = [0xff, 0xd8, 0xff, 0xd9];
        let head = [&[0xff, 0xd8, 0xff, 0xe1, 0, 6][..], &thumbnail].concat();
        [&head, &[0xff, 0xda, 0, 4, 1, 2, 7, 0xff, 0, 0xd9, 0xff, 0xd3, 9][..], tail, &[0xff, 0xd9]].concat()
    }

    #[test]
    fn pictures_are_found_whatever_stands_between() {
        let (one, two) = (jpeg(&[1]), jpeg(&[2, 2]));
        for between in [&b"\r\n--x\r\nContent-Length: 9\r\n\r\n"[..], b"", b"\xff\xd8 no picture \xff\xd8\xff\xd8"] {
            let all = [between, &one, between, &two, b"\r\n--"].concat();
            for step in [1, 7, all.len()] {
                let (mut bytes, mut found) = (Vec::new(), Vec::new());
                for chunk in all.chunks(step) {
                    bytes.extend_from_slice(chunk);
                    found.extend(std::iter::from_fn(|| take(&mut bytes)));
                }
                assert_eq!(found, [one.clone(), two.clone()], "{between:?} in steps of {step}");
            }
        }
    }

    #[test]
    fn one_that_is_cut_does_not_hold_up_the_next() {
        let (one, two) = (jpeg(&[1]), jpeg(&[2]));
        let mut bytes = [&one[..one.len() - 2], b"\r\n--x\r\n", &two[..]].concat();
        let found: Vec<_> = std::iter::from_fn(|| take(&mut bytes)).collect();
        assert_eq!(found, [two]);
    }
}
