//! Who joins a stream between two key frames gets pictures made of nothing until the next one: they are left out and told.
//!
//! Two rules together serve every codec. What stands before the first key frame, as parsers and demuxers mark it, never comes to
//! the decoder: many decoders make a grey picture of it and say nothing. Where a stream has no key frames but is refreshed
//! bit by bit (periodic intra refresh), parsers mark the recovery point, and the decoder's own mark of pictures that are not
//! whole decides from there on; for H.265, whose decoder has no such mark, what the recovery point says (`recovery.rs`).
//!
//! H.265 may begin with a key frame behind which pictures stand that are shown before it and need what came earlier. Its
//! decoders leave them out without a word; behind any later key frame they are whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gst::prelude::*;
use gstreamer as gst;

use super::recovery::{self, Leading, Point};

/// Streams that never send a key frame are taken as they are after so many pictures, two minutes of most cameras.
const MOST_BROKEN: u64 = 3000;
/// After so many it is said why nothing comes.
const SAID_AFTER: u64 = 25;

/// What was left out at the beginning of one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyFrameGate(Arc<State>);

#[derive(Debug, Default)]
struct State {
    left_out: AtomicU64,
    joined: AtomicBool,
    mends: AtomicBool,
    /// Whether all that came since the first key frame is shown before it.
    leads: AtomicBool,
    /// Decoded pictures that are not whole yet.
    recovering: AtomicU64,
    /// Rounds of refreshing that went by since.
    rounds: AtomicU64,
    /// Those of earlier times are not whole either, nanoseconds.
    whole_from: AtomicU64,
}

/// Rounds of refreshing after which pictures are whole: what the first ones of a round refresh, a decoder that begins with them
/// may lose.
const ROUNDS: u64 = 2;
/// Of [`State::whole_from`], as long as it is not known.
const LATER: u64 = u64::MAX;

impl KeyFrameGate {
    /// Watches what goes into the decoders of `bin`, also those that a decoder bin makes later. `alive` is told of pictures that
    /// are left out.
    pub(super) fn watch(&self, bin: &gst::Bin, alive: impl Fn() + Send + Sync + Clone + 'static) {
        let watch = {
            let key_frames = self.clone();
            move |element: &gst::Element| key_frames.watch_decoder(element, alive.clone())
        };
        for element in bin.iterate_recurse().into_iter().flatten() {
            watch(&element);
        }
        bin.connect_deep_element_added(move |_, _, element| watch(element));
    }

    fn watch_decoder(&self, element: &gst::Element, alive: impl Fn() + Send + Sync + Clone + 'static) {
        let is_decoder = element.factory().is_some_and(|factory| {
            factory.has_type(gst::ElementFactoryType::DECODER | gst::ElementFactoryType::MEDIA_VIDEO)
        });
        let Some(pad) = element.static_pad("sink").filter(|_| is_decoder) else { return };
        let (key_frames, told) = (self.clone(), alive.clone());
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if info.buffer().is_none_or(|picture| key_frames.takes(pad, picture)) {
                return gst::PadProbeReturn::Ok;
            }
            told();
            drop(info.data.take());
            gst::PadProbeReturn::Handled
        });
        let Some(pad) = element.static_pad("src") else { return };
        let key_frames = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let State { recovering, whole_from, .. } = &*key_frames.0;
            let time = info.buffer().and_then(|picture| picture.pts()).map_or(LATER, gst::ClockTime::nseconds);
            let counted = recovering.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1));
            let is_whole = counted.is_err() && time >= whole_from.load(Ordering::Acquire);
            if is_whole || !key_frames.leave_out() {
                return gst::PadProbeReturn::Ok;
            }
            alive();
            drop(info.data.take());
            gst::PadProbeReturn::Handled
        });
    }

    /// Whether a picture goes into the decoder; takes note of what follows from it.
    fn takes(&self, pad: &gst::Pad, picture: &gst::BufferRef) -> bool {
        let State { joined, mends, leads, recovering, rounds, whole_from, .. } = &*self.0;
        let (has_joined, waits) = (joined.load(Ordering::Acquire), whole_from.load(Ordering::Acquire) == LATER);
        let caps = pad.current_caps();
        if has_joined && leads.load(Ordering::Acquire) {
            match caps.as_ref().and_then(|caps| recovery::leading(caps, picture)) {
                Some(Leading::Broken) if self.leave_out() => return false,
                Some(_) => {}
                None => leads.store(false, Ordering::Release),
            }
        }
        if has_joined && !waits {
            return true;
        }
        let is_key = !picture.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let point = || recovery::of(caps.as_ref()?, picture);
        if has_joined {
            if is_key || (point().is_some() && rounds.fetch_add(1, Ordering::AcqRel) + 1 >= ROUNDS) {
                whole_from.store(picture.pts().map_or(0, gst::ClockTime::nseconds), Ordering::Release);
            }
            return true;
        }
        match point().filter(|_| !is_key) {
            None if !is_key && self.leave_out() => return false,
            None => {}
            Some(Point::WholeAfter(count)) => recovering.store(count, Ordering::Release),
            Some(Point::Round) => whole_from.store(LATER, Ordering::Release),
        }
        let is_recovery = is_key && caps.as_ref().is_some_and(|caps| recovery::is_recovery(caps, picture));
        mends.store(is_recovery, Ordering::Release);
        leads.store(is_key, Ordering::Release);
        joined.store(true, Ordering::Release);
        true
    }

    /// Whether it begins with pictures that the decoder may know not to be whole.
    pub(super) fn mends(&self) -> bool {
        self.0.mends.load(Ordering::Acquire)
    }

    /// Takes note of a picture that is not whole, before the first whole one; false where there were too many.
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
