//! Pictures in a file without a container, one behind the other, which say nothing of time: motion JPEG. Parsers of other codecs
//! take 25 a second where nothing is said, and so does ffmpeg; so they are counted like that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

/// How long a picture lasts that does not say so.
const USUAL: gst::ClockTime = gst::ClockTime::from_mseconds(40);

/// Gives a time to frames that come out of `bin` without one, where nothing but the pictures themselves is read.
pub(super) fn give_times(bin: &gst::Bin) {
    let contained = Arc::new(AtomicBool::new(false));
    let look = {
        let contained = Arc::clone(&contained);
        move |element: &gst::Element| {
            if element.factory().is_some_and(|factory| factory.has_type(gst::ElementFactoryType::DEMUXER)) {
                contained.store(true, Ordering::Release);
            }
        }
    };
    bin.iterate_recurse().into_iter().flatten().for_each(|element| look(&element));
    bin.connect_deep_element_added(move |_, _, element| look(element));
    let Some(pad) = bin.src_pads().into_iter().next() else { return };
    let (last, said) = (Mutex::new(None::<gst::ClockTime>), AtomicBool::new(false));
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(gst::PadProbeData::Buffer(frame)) = &mut info.data else { return gst::PadProbeReturn::Ok };
        if contained.load(Ordering::Acquire) {
            return gst::PadProbeReturn::Ok;
        }
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if frame.pts().is_none() {
            if !said.swap(true, Ordering::AcqRel) {
                tracing::info!("says nothing of time: 25 pictures a second are taken");
            }
            let frame = frame.make_mut();
            frame.set_pts(last.map_or(gst::ClockTime::ZERO, |last| last + USUAL));
            frame.set_duration(USUAL);
        }
        *last = frame.pts();
        gst::PadProbeReturn::Ok
    });
}
