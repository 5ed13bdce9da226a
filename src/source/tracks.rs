//! Which of several video tracks is played.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use gst::prelude::*;
use gstreamer as gst;

/// The video tracks of one connection: one of them is decoded.
#[derive(Debug, Clone)]
pub(super) struct Tracks {
    /// Which, from 1, in the order of the container.
    wanted: NonZeroU32,
    /// How many there are, as far as it was seen.
    seen: Arc<AtomicU32>,
}

impl Tracks {
    pub(super) fn new(wanted: NonZeroU32) -> Self {
        Self { wanted, seen: Arc::default() }
    }

    /// Lets the decoder bins of `bin` decode the wanted track alone. Where it is the first one they do so by themselves.
    pub(super) fn choose(&self, bin: &gst::Bin) {
        for demuxer in bin.iterate_all_by_element_factory_name("flvdemux").into_iter().flatten() {
            Self::swallow_sound(bin, &demuxer);
        }
        if self.wanted == NonZeroU32::MIN {
            return;
        }
        for decoder in bin.iterate_recurse().into_iter().flatten() {
            let factory = decoder.factory().map(|factory| factory.name());
            if !matches!(factory.as_deref(), Some("decodebin" | "uridecodebin")) {
                continue;
            }
            let tracks = self.clone();
            decoder.connect("autoplug-continue", false, move |arguments| {
                let pad = arguments.get(1).and_then(|value| value.get::<gst::Pad>().ok());
                Some(pad.is_none_or(|pad| tracks.takes(&pad)).to_value())
            });
        }
    }

    /// `flvdemux` ends a live stream of which one kind has nowhere to go before the other has come.
    fn swallow_sound(bin: &gst::Bin, demuxer: &gst::Element) {
        let bin = bin.downgrade();
        demuxer.connect_pad_added(move |_, pad| {
            let Some(bin) = bin.upgrade().filter(|_| !is_video(pad)) else { return };
            let taken = gst::ElementFactory::make("tee").property("allow-not-linked", true).build().is_ok_and(|tee| {
                bin.add(&tee).is_ok()
                    && tee.sync_state_with_parent().is_ok()
                    && tee.static_pad("sink").is_some_and(|sink| pad.link(&sink).is_ok())
            });
            if !taken {
                tracing::debug!("{}: the sound has nowhere to go", pad.name());
            }
        });
    }

    /// Whether what comes out of a pad is to be decoded: all but the other tracks of a demuxer.
    fn takes(&self, pad: &gst::Pad) -> bool {
        // Decoder bins name the pad of theirs behind which it will stand.
        let target = pad.downcast_ref::<gst::GhostPad>().and_then(gst::GhostPad::target);
        let pad = target.as_ref().unwrap_or(pad);
        let demuxer = pad.parent_element().filter(|element| {
            element.factory().is_some_and(|factory| factory.has_type(gst::ElementFactoryType::DEMUXER))
        });
        let Some(demuxer) = demuxer else { return true };
        if !is_video(pad) {
            return true;
        }
        let before = demuxer.src_pads().into_iter().filter(is_video).take_while(|other| other != pad).count();
        self.takes_number(before as u32 + 1)
    }

    /// Whether video track `number`, from 1, is the one; takes note that it is there.
    pub(super) fn takes_number(&self, number: u32) -> bool {
        self.seen.fetch_max(number, Ordering::AcqRel);
        number == self.wanted.get()
    }

    /// In words, that there is no such track, where that is known.
    pub(super) fn lacks(&self) -> Option<String> {
        let (wanted, seen) = (self.wanted.get(), self.seen.load(Ordering::Acquire));
        let tracks = if seen == 1 { "track" } else { "tracks" };
        (wanted > seen && seen > 0)
            .then(|| format!("holds {seen} video {tracks}, and number {wanted} is wanted (--video-track)"))
    }
}

/// By its format, or by how demuxers call it where that is not known yet.
fn is_video(pad: &gst::Pad) -> bool {
    let caps = pad.current_caps().or_else(|| Some(pad.query_caps(None)).filter(|caps| !caps.is_any()));
    let kind = caps.as_ref().and_then(|caps| Some(caps.structure(0)?.name().as_str().to_owned()));
    kind.map_or_else(
        || pad.name().starts_with("video"),
        |kind| kind.starts_with("video/") || kind.starts_with("image/"),
    )
}
