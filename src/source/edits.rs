//! Edit lists of MP4 and MOV files, in place of the demuxer's reading of them: `qtdemux` of GStreamer 1.22 loses frames where a
//! list hides a lead-in, as it does in every file that was trimmed without encoding it anew. So the demuxer does not get
//! to see such lists (on the way, their boxes are called `free`, and the film is as long as its media), gives every frame, and what
//! is to be shown, and when, is decided here.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

use super::container;
use super::mp4::{IndexScan, VideoTrack};

/// The elements that read files, which may be read anywhere at any time, so their index is read before.
const FILES: &str = "filesrc";
/// The elements that read what comes once, from its beginning on: the index is taken in passing.
const ON_THE_WAY: [&str; 2] = ["souphttpsrc", "fdsrc"];

/// So much of its beginning is kept.
const HEAD: u64 = 4096;

/// What the index of what is played says, as soon as it is known.
#[derive(Clone)]
pub(super) struct Edits {
    number: NonZeroU32,
    track: Arc<OnceLock<VideoTrack>>,
    /// Bytes of what comes on the way, up to the last one that came.
    came: Arc<AtomicU64>,
    /// The first of them.
    head: Arc<Mutex<Vec<u8>>>,
}

impl Edits {
    /// Of video track `number`, from 1, of what comes from a server or through a pipe.
    pub(super) fn on_the_way(number: NonZeroU32) -> Self {
        Self { number, track: Arc::default(), came: Arc::default(), head: Arc::default() }
    }

    /// Of a file's video track `number`, from 1.
    pub(super) fn of_file(path: &Path, number: NonZeroU32) -> Self {
        let edits = Self::on_the_way(number);
        match VideoTrack::read(path, number) {
            Ok(Some(track)) => _ = edits.track.set(track),
            Ok(None) => {}
            Err(error) => tracing::debug!("{}: {error}", path.display()),
        }
        edits
    }

    /// The track, where there is an index, and it was read.
    pub(super) fn track(&self) -> Option<&VideoTrack> {
        self.track.get()
    }

    /// Whether all of what a server holds came; none where that is not known.
    pub(super) fn came_whole(&self, pipeline: &gst::Pipeline) -> Option<bool> {
        let source = pipeline.iterate_all_by_element_factory_name(ON_THE_WAY[0]).into_iter().flatten().next()?;
        let whole = source.query_duration::<gst::format::Bytes>()?;
        Some(self.came.load(Ordering::Acquire) >= *whole)
    }

    /// What is missing from the end of what came on the way, in words, if its container tells.
    pub(super) fn truncation(&self) -> Option<String> {
        let head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        container::truncation_of(&head, self.came.load(Ordering::Acquire))
    }

    /// Whether what came on the way ended long before its track does, `last` being the time of its last frame.
    pub(super) fn ends_before(&self, last: gst::ClockTime) -> bool {
        const SLACK: u64 = 1_000_000_000;
        let on_the_way = self.came.load(Ordering::Acquire) > 0;
        on_the_way && self.track().is_some_and(|track| last.nseconds() + SLACK < track.length())
    }

    /// The track, where the demuxer must not see its edit list.
    pub(super) fn cut(&self) -> Option<&VideoTrack> {
        self.track().filter(|track| track.is_cut())
    }

    /// Lets `bin`, which plays it, give the frames that are to be shown, at the times at which they are. `alive` is told of
    /// frames that are hidden.
    pub(super) fn apply(&self, bin: &gst::Bin, alive: impl Fn() + Send + Sync + 'static) {
        let edits = self.clone();
        let watch = move |element: &gst::Element| {
            let name = element.factory().map(|factory| factory.name()).unwrap_or_default();
            match element.static_pad("src") {
                Some(pad) if name == FILES => edits.free(&pad),
                Some(pad) if ON_THE_WAY.contains(&name.as_str()) => edits.read_in_passing(&pad),
                _ => {}
            }
        };
        bin.iterate_recurse().into_iter().flatten().for_each(|element| watch(&element));
        bin.connect_deep_element_added(move |_, _, element| watch(element));
        let Some(pad) = bin.src_pads().into_iter().next() else { return };
        let edits = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let (Some(track), Some(gst::PadProbeData::Buffer(frame))) = (edits.cut(), &mut info.data) else {
                return gst::PadProbeReturn::Ok;
            };
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

    /// Whatever is read of a file: where an edit list is named, another name stands.
    fn free(&self, pad: &gst::Pad) {
        if self.cut().is_none() {
            return;
        }
        let either = gst::PadProbeType::PUSH | gst::PadProbeType::PULL | gst::PadProbeType::BUFFER;
        let edits = self.clone();
        pad.add_probe(either, move |_, info| {
            if let (Some(track), Some(gst::PadProbeData::Buffer(read))) = (edits.cut(), &mut info.data) {
                let at = read.offset();
                change(track, read, at);
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// The same of what is not there yet: it is held back from the index's first byte to its last.
    fn read_in_passing(&self, pad: &gst::Pad) {
        let (edits, state) = (self.clone(), Mutex::new((IndexScan::default(), None::<gst::Buffer>)));
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let Some(gst::PadProbeData::Buffer(read)) = &mut info.data else { return gst::PadProbeReturn::Ok };
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let (scan, held) = &mut *state;
            let offset = Some(read.offset()).filter(|offset| *offset != u64::MAX);
            let at = offset.unwrap_or_else(|| scan.place());
            if at < HEAD {
                let mut head = edits.head.lock().unwrap_or_else(PoisonError::into_inner);
                if let (true, Ok(bytes)) = (at == head.len() as u64, read.map_readable()) {
                    head.extend_from_slice(&bytes[..bytes.len().min((HEAD - at) as usize)]);
                }
            }
            edits.came.fetch_max(at + read.size() as u64, Ordering::AcqRel);
            if edits.track().is_some() {
                // Again, by somebody who went back.
                if let Some(track) = edits.cut() {
                    change(track, read, at);
                }
                *scan = IndexScan::at(at + read.size() as u64);
                return gst::PadProbeReturn::Ok;
            }
            if at != scan.place() {
                *scan = IndexScan::at(at);
                *held = None;
            }
            let is_whole = read.map_readable().is_ok_and(|bytes| scan.pass(&bytes));
            if !is_whole && !scan.wants_more() {
                return gst::PadProbeReturn::Ok;
            }
            let Some(gst::PadProbeData::Buffer(read)) = info.data.take() else { return gst::PadProbeReturn::Ok };
            let mut all = match held.take() {
                Some(mut before) => {
                    before.append(read);
                    before
                }
                None => read,
            };
            if !is_whole {
                *held = Some(all);
                return gst::PadProbeReturn::Handled;
            }
            if let Some(track) = scan.take(edits.number) {
                let track = edits.track.get_or_init(|| track);
                if track.is_cut() {
                    let end = scan.place();
                    let start = end - all.size() as u64;
                    change(track, &mut all, start);
                }
            }
            info.data = Some(gst::PadProbeData::Buffer(all));
            gst::PadProbeReturn::Ok
        });
    }
}

/// Writes what is to stand in the file into what was read of it from byte `start` on.
fn change(track: &VideoTrack, read: &mut gst::Buffer, start: u64) {
    let end = start.saturating_add(read.size() as u64);
    let bytes = track.changes.iter().flat_map(|(at, bytes)| (*at..).zip(bytes));
    let mut bytes = bytes.filter(|(at, _)| (start..end).contains(at)).peekable();
    if bytes.peek().is_none() {
        return;
    }
    // What is read in one go is one memory, and this way its own.
    if let Ok(mut map) = read.make_mut().map_writable() {
        bytes.for_each(|(at, byte)| map[(at - start) as usize] = *byte);
    }
}
