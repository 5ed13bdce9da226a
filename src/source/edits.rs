//! Edit lists of MP4 and MOV files, in place of the demuxer's reading of them: `qtdemux` of GStreamer 1.22 loses frames where a
//! list hides a lead-in, as it does in every file that was trimmed without encoding it anew. So the demuxer does not get
//! to see such lists (on the way, their boxes are called `free`, and the film is as long as its media), gives every frame, and what
//! is to be shown, and when, is decided here.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use gst::prelude::*;
use gstreamer as gst;

use super::mp4::VideoTrack;

/// The index of a file's video track `number`, from 1, where it has one that can be read.
pub(super) fn index(path: &Path, number: NonZeroU32) -> Option<Arc<VideoTrack>> {
    let track = VideoTrack::read(path, number).inspect_err(|error| tracing::debug!("{}: {error}", path.display()));
    track.ok().flatten().map(Arc::new)
}

/// Lets `bin`, which plays the file of `track`, give the frames that are to be shown, at the times at which they are. `alive`
/// is told of frames that are hidden.
pub(super) fn apply(track: &Arc<VideoTrack>, bin: &gst::Bin, alive: impl Fn() + Send + Sync + 'static) {
    if !track.is_cut() {
        return;
    }
    let free = {
        let track = Arc::clone(track);
        move |element: &gst::Element| {
            if element.factory().is_some_and(|factory| factory.name() == "filesrc") {
                free_edit_lists(element, Arc::clone(&track));
            }
        }
    };
    bin.iterate_recurse().into_iter().flatten().for_each(|element| free(&element));
    bin.connect_deep_element_added(move |_, _, element| free(element));
    let Some(pad) = bin.src_pads().into_iter().next() else { return };
    let track = Arc::clone(track);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(gst::PadProbeData::Buffer(frame)) = &mut info.data else { return gst::PadProbeReturn::Ok };
        let Some(time) = frame.pts() else { return gst::PadProbeReturn::Ok };
        if let Some(shown) = track.shown_at(time.nseconds()) {
            frame.make_mut().set_pts(gst::ClockTime::from_nseconds(shown));
            return gst::PadProbeReturn::Ok;
        }
        alive();
        drop(info.data.take());
        gst::PadProbeReturn::Handled
    });
}

/// Whatever is read of the file: where an edit list is named, another name stands.
fn free_edit_lists(source: &gst::Element, track: Arc<VideoTrack>) {
    let Some(pad) = source.static_pad("src") else { return };
    let either = gst::PadProbeType::PUSH | gst::PadProbeType::PULL | gst::PadProbeType::BUFFER;
    pad.add_probe(either, move |_, info| {
        let Some(gst::PadProbeData::Buffer(read)) = &mut info.data else { return gst::PadProbeReturn::Ok };
        let (start, length) = (read.offset(), read.size() as u64);
        let bytes = track.changes.iter().flat_map(|(at, bytes)| (*at..).zip(bytes));
        for (at, byte) in bytes.filter(|(at, _)| (start..start.saturating_add(length)).contains(at)) {
            // What is read in one go is one memory, and this way its own.
            if let Ok(mut map) = read.make_mut().map_writable() {
                map[(at - start) as usize] = *byte;
            }
        }
        gst::PadProbeReturn::Ok
    });
}
