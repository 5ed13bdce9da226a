//! Frames that are made of two fields become whole ones, one for each, at its time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

/// `--deinterlace`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deinterlace {
    /// Where the stream says that frames are made of two fields.
    #[default]
    Auto,
    /// Every frame, whatever the stream says.
    On,
    /// None: fast things have combs.
    Off,
}

impl Deinterlace {
    /// The value of the hole `{deinterlace}`, the element's `mode`.
    pub(super) const fn mode(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::On => "interlaced",
            Self::Off => "disabled",
        }
    }
}

/// Frames within the element at once, at most.
const WITHIN: usize = 16;

/// The element makes a frame of each field, and which field comes first it does not say: the one at the time of the frame that came
/// is let through. It bears what was noted on that one, when it was captured and is to be shown, which the element drops.
pub(super) fn one_for_one(bin: &gst::Bin) {
    for element in bin.iterate_all_by_element_factory_name("deinterlace").into_iter().flatten() {
        let (Some(sink), Some(src)) = (element.static_pad("sink"), element.static_pad("src")) else { continue };
        let within = Arc::new(Mutex::new(VecDeque::<gst::Buffer>::new()));
        let came = Arc::clone(&within);
        sink.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            // Without the picture, which would not go back to its pool.
            let (mut note, kept) = (gst::Buffer::new(), gst::BufferCopyFlags::META | gst::BufferCopyFlags::TIMESTAMPS);
            if info.buffer().is_some_and(|frame| frame.copy_into(note.make_mut(), kept, ..).is_ok()) {
                let mut came = came.lock().unwrap_or_else(PoisonError::into_inner);
                came.push_back(note);
                if came.len() > WITHIN {
                    came.pop_front();
                }
            }
            gst::PadProbeReturn::Ok
        });
        src.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let Some(gst::PadProbeData::Buffer(frame)) = &mut info.data else { return gst::PadProbeReturn::Ok };
            let mut within = within.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(place) = within.iter().position(|note| note.pts() == frame.pts()) else {
                drop(info.data.take());
                return gst::PadProbeReturn::Handled;
            };
            let note = within.drain(..=place).next_back();
            let noted = frame.iter_meta::<gst::ReferenceTimestampMeta>().next().is_some();
            // What went through untouched has all that it had.
            let differs = |note: &gst::Buffer| {
                note.duration() != frame.duration() || note.iter_meta::<gst::ReferenceTimestampMeta>().next().is_some()
            };
            if let Some(note) = note.filter(|note| !noted && differs(note)) {
                let frame = frame.make_mut();
                frame.set_duration(note.duration());
                for meta in note.iter_meta::<gst::ReferenceTimestampMeta>() {
                    let reference = gst::CapsRef::to_owned(meta.reference());
                    gst::ReferenceTimestampMeta::add(frame, &reference, meta.timestamp(), meta.duration());
                }
            }
            gst::PadProbeReturn::Ok
        });
    }
}
