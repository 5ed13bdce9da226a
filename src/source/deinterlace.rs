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

/// Frames within the element at once.
const WITHIN: usize = 16;

/// The element makes new frames, without what was noted on the old ones (when they were captured and are to be shown): it is
/// noted on the new ones of the same time.
pub(super) fn keep_notes(bin: &gst::Bin) {
    for element in bin.iterate_all_by_element_factory_name("deinterlace").into_iter().flatten() {
        let (Some(sink), Some(src)) = (element.static_pad("sink"), element.static_pad("src")) else { continue };
        let kept = Arc::new(Mutex::new(VecDeque::<gst::Buffer>::new()));
        let keep = Arc::clone(&kept);
        sink.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let Some(frame) = info.buffer() else { return gst::PadProbeReturn::Ok };
            if frame.iter_meta::<gst::ReferenceTimestampMeta>().next().is_some() {
                // Without the picture, which would not go back to its pool.
                let mut note = gst::Buffer::new();
                let flags = gst::BufferCopyFlags::META | gst::BufferCopyFlags::TIMESTAMPS;
                if frame.copy_into(note.make_mut(), flags, ..).is_ok() {
                    let mut kept = keep.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.push_back(note);
                    if kept.len() > WITHIN {
                        kept.pop_front();
                    }
                }
            }
            gst::PadProbeReturn::Ok
        });
        src.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let Some(gst::PadProbeData::Buffer(frame)) = &mut info.data else { return gst::PadProbeReturn::Ok };
            let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            let noted = frame.iter_meta::<gst::ReferenceTimestampMeta>().next().is_some();
            let note = kept.iter().find(|note| note.pts() == frame.pts()).filter(|_| !noted);
            for meta in note.into_iter().flat_map(|note| note.iter_meta::<gst::ReferenceTimestampMeta>()) {
                let reference = gst::CapsRef::to_owned(meta.reference());
                gst::ReferenceTimestampMeta::add(frame.make_mut(), &reference, meta.timestamp(), meta.duration());
            }
            gst::PadProbeReturn::Ok
        });
    }
}
