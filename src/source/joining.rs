//! Who joins a stream between two key frames gets pictures made of nothing until the next one: they are left out and told.
//!
//! Two rules together serve every codec. What stands before the first key frame, as parsers and demuxers mark it, never comes to
//! the decoder: many decoders make a grey picture of it and say nothing. Where a stream has no key frames but is refreshed
//! bit by bit (periodic intra refresh), parsers mark the recovery point, and the decoder's own mark of pictures that are not
//! whole decides from there on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gst::prelude::*;
use gstreamer as gst;

/// Streams that never send a key frame are taken as they are after so many pictures, two minutes of most cameras.
const MOST_BROKEN: u64 = 3000;
/// After so many it is said why nothing comes.
const SAID_AFTER: u64 = 25;

/// What was left out at the beginning of one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Joining(Arc<State>);

#[derive(Debug, Default)]
struct State {
    left_out: AtomicU64,
    joined: AtomicBool,
}

impl Joining {
    /// Watches what goes into the decoders of `bin`, also those that a decoder bin makes later. `alive` is told of pictures that
    /// are left out.
    pub(super) fn watch(&self, bin: &gst::Bin, alive: impl Fn() + Send + Sync + Clone + 'static) {
        let watch = {
            let joining = self.clone();
            move |element: &gst::Element| joining.watch_decoder(element, alive.clone())
        };
        for element in bin.iterate_recurse().into_iter().flatten() {
            watch(&element);
        }
        bin.connect_deep_element_added(move |_, _, element| watch(element));
    }

    fn watch_decoder(&self, element: &gst::Element, alive: impl Fn() + Send + Sync + 'static) {
        let is_decoder = element.factory().is_some_and(|factory| {
            factory.has_type(gst::ElementFactoryType::DECODER | gst::ElementFactoryType::MEDIA_VIDEO)
        });
        let Some(pad) = element.static_pad("sink").filter(|_| is_decoder) else { return };
        let joining = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let Some(flags) = info.buffer().map(|buffer| buffer.flags()) else { return gst::PadProbeReturn::Ok };
            if flags.contains(gst::BufferFlags::DELTA_UNIT) && joining.leaves_out() {
                alive();
                drop(info.data.take());
                return gst::PadProbeReturn::Handled;
            }
            joining.0.joined.store(true, Ordering::Release);
            gst::PadProbeReturn::Ok
        });
    }

    /// Takes note of a picture that is not whole; false once one was whole, or too many were not.
    fn leaves_out(&self) -> bool {
        !self.0.joined.load(Ordering::Acquire) && self.leave_out()
    }

    /// The same for a picture that the decoder says is not whole, before the first whole one.
    pub(super) fn leave_out(&self) -> bool {
        let before = self
            .0
            .left_out
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| (count < MOST_BROKEN).then_some(count + 1));
        if before == Ok(SAID_AFTER) {
            tracing::info!("no key frame yet: pictures are left out until one comes");
        }
        before.is_ok()
    }

    /// How many pictures were left out.
    pub(super) fn left_out(&self) -> u64 {
        self.0.left_out.load(Ordering::Acquire)
    }
}
