//! How far a container's streams came, whichever of them are played: one that states how long it is, and of which all end
//! before that, is cut short.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;
use gstreamer as gst;

/// Demuxers that hand out every stream, wanted or not, and whose containers state their length.
const DEMUXERS: [&str; 2] = ["flvdemux", "asfdemux"];

/// The latest moment that any stream of one connection reached.
#[derive(Clone, Default)]
pub(super) struct Extent(Arc<AtomicU64>);

impl Extent {
    /// Watches the demuxers that `bin` will make.
    pub(super) fn watch(&self, bin: &gst::Bin) {
        let extent = self.clone();
        bin.connect_deep_element_added(move |_, _, element| {
            if element.factory().is_some_and(|factory| DEMUXERS.contains(&factory.name().as_str())) {
                let extent = extent.clone();
                element.connect_pad_added(move |_, pad| extent.clone().watch_pad(pad));
            }
        });
    }

    fn watch_pad(self, pad: &gst::Pad) {
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let segment = pad.sticky_event::<gst::event::Segment>(0);
            let segment = segment.as_ref().and_then(|event| event.segment().downcast_ref::<gst::ClockTime>());
            let buffer = info.buffer();
            let end = buffer.and_then(|buffer| Some(buffer.pts()? + buffer.duration().unwrap_or_default()));
            let moment = segment.zip(end).and_then(|(segment, end)| segment.to_stream_time(end)).or(end);
            self.0.fetch_max(moment.map_or(0, gst::ClockTime::nseconds), Ordering::AcqRel);
            gst::PadProbeReturn::Ok
        });
    }

    /// It, where it is known.
    pub(super) fn known(&self) -> Option<gst::ClockTime> {
        Some(self.0.load(Ordering::Acquire)).filter(|time| *time > 0).map(gst::ClockTime::from_nseconds)
    }
}
