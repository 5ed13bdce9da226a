//! What leaves a stream for those who watch it. While nobody does, a frame costs two reads of a counter: nothing is written down,
//! nothing encoded, nothing kept. Nobody who watches is waited for: who is slow misses frames, alone.

use std::sync::{Arc, Mutex, OnceLock};

use frames::overlay::Shape;
use hyper::body::Bytes;
use records::{FrameRecord, FrameStatus};
use serde::Serialize;
use tokio::sync::{broadcast, watch};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::h264::is_h264;
use super::pictures::{Encoder, RawPicture};
use crate::config::{PlacesFile, StreamSettings};
use crate::source::{KEPT_FOR_VIEWERS, PacketRing};
use crate::stage::Frame;

/// Lines that may wait for one who reads them slowly: four seconds of a fast camera.
const WAITING: usize = 256;

/// What is said of a stream, as it stands in records.
#[derive(Debug, Clone)]
pub(crate) enum LiveLine {
    /// `spotter.frame/2`.
    Frame(Utf8Bytes),
    /// `spotter.event/1`.
    Event(Utf8Bytes),
    /// There is nothing more to say.
    End,
}

/// A frame as JPEG.
#[derive(Debug)]
pub(crate) struct Picture {
    /// Of its record.
    pub(crate) seq: u64,
    pub(crate) jpeg: Bytes,
}

/// The newest picture; none before the first one.
pub(crate) type NewestPicture = Option<Arc<Picture>>;

/// What is drawn on a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drawn {
    /// Nothing: the page draws.
    Plain,
    /// Boxes and captions.
    Boxes,
}

/// What leaves one stream.
pub(crate) struct LiveStream {
    pub(crate) name: String,
    /// Whether it is a camera.
    pub(crate) live: bool,
    /// Zones and lines of its picture.
    pub(crate) places: Arc<[Shape]>,
    /// Where they are written, in turns.
    pub(crate) places_file: Option<Mutex<PlacesFile>>,
    /// Whether sightings of it are kept.
    pub(crate) keeps: bool,
    /// Where its frames come at their own time.
    packets: OnceLock<FilmPackets>,
    lines: broadcast::Sender<LiveLine>,
    pictures: Arc<Encoder>,
    ended: watch::Sender<bool>,
}

/// Where the packets of a stream are that is watched as it comes.
#[derive(Clone)]
pub(super) struct FilmPackets {
    /// What goes into clips, where it is kept: it may be what browsers play.
    clips: Option<Arc<PacketRing>>,
    /// What browsers play, while somebody watches.
    watched: Arc<PacketRing>,
}

impl FilmPackets {
    /// The ring that holds what browsers play.
    pub(super) fn ring(&self) -> &Arc<PacketRing> {
        let plays = |ring: &&Arc<PacketRing>| ring.format().is_some_and(|caps| is_h264(&caps));
        self.clips.as_ref().filter(plays).unwrap_or(&self.watched)
    }
}

impl LiveStream {
    /// What leaves a stream of these settings.
    pub(crate) fn of(stream: &StreamSettings) -> Arc<Self> {
        let archive = stream.sightings.as_ref().and_then(|sightings| sightings.archive.as_ref());
        Arc::new(Self {
            places: Arc::clone(&stream.output.drawing.shapes),
            places_file: stream.places_file.clone().map(Mutex::new),
            keeps: archive.is_some(),
            ..Self::new(&stream.address.name, stream.address.is_live())
        })
    }

    fn new(name: &str, live: bool) -> Self {
        Self {
            name: name.to_owned(),
            live,
            places: Arc::default(),
            places_file: None,
            keeps: false,
            packets: OnceLock::new(),
            lines: broadcast::channel(WAITING).0,
            pictures: Arc::default(),
            ended: watch::Sender::new(false),
        }
    }

    /// Pictures that it may keep at once: one that waits for the encoder of JPEG, one within, and those of the other encoder.
    pub(crate) const KEEPS: usize = 2 + KEPT_FOR_VIEWERS;

    /// Where its packets are: those of clips, and those of who watches.
    pub(crate) fn set_packets(&self, clips: Option<&Arc<PacketRing>>, watched: &Arc<PacketRing>) {
        // A stream runs once.
        let _ = self.packets.set(FilmPackets { clips: clips.cloned(), watched: Arc::clone(watched) });
    }

    /// Its packets, where its frames come at their own time.
    pub(super) fn film(&self) -> Option<&FilmPackets> {
        self.packets.get()
    }

    /// What is said from now on; what is over says that it is.
    pub(super) fn lines(&self) -> broadcast::Receiver<LiveLine> {
        let lines = self.lines.subscribe();
        if *self.ended.borrow() {
            // To whoever else is there it says the same again.
            self.say(LiveLine::End);
        }
        lines
    }

    /// Pictures from now on.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(super) fn pictures(&self, drawn: Drawn) -> std::io::Result<watch::Receiver<NewestPicture>> {
        self.pictures.watch(drawn)
    }

    /// Waits until no more frames come.
    pub(super) async fn over(&self) {
        // Its sender is here.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    fn say(&self, line: LiveLine) {
        // Nobody has to listen.
        let _ = self.lines.send(line);
    }

    fn is_heard(&self) -> bool {
        self.lines.receiver_count() > 0
    }

    /// A frame leaves, with its record; `annotated` is its buffer with what is claimed of it.
    pub(crate) fn frame(
        &self,
        frame: &Frame,
        record: &FrameRecord,
        status: FrameStatus,
        annotated: impl FnOnce() -> gstreamer::Buffer,
    ) {
        if self.is_heard()
            && let Some(text) = text(record)
        {
            self.say(LiveLine::Frame(text));
        }
        if status != FrameStatus::Dropped && self.pictures.is_wanted() {
            self.pictures.put(RawPicture { seq: frame.seq, buffer: annotated(), info: Arc::clone(&frame.info) });
        }
    }

    /// Something else stands in the records.
    pub(crate) fn event(&self, event: &impl Serialize) {
        if self.is_heard()
            && let Some(text) = text(event)
        {
            self.say(LiveLine::Event(text));
        }
    }

    /// No more frames come.
    pub(crate) fn end(&self) {
        self.ended.send_replace(true);
        self.say(LiveLine::End);
        self.pictures.end();
    }
}

/// As records write it, without the end of the line.
fn text(line: &impl Serialize) -> Option<Utf8Bytes> {
    serde_json::to_string(line).ok().map(Utf8Bytes::from)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use gstreamer as gst;
    use gstreamer_video as gst_video;
    use records::Clock;
    use records::track::FrameResult;

    use super::*;

    fn frame() -> Frame {
        gst::init().expect("GStreamer starts");
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::Gray8, 64, 48).build().expect("a format");
        Frame {
            seq: 7,
            buffer: gst::Buffer::from_mut_slice(vec![100u8; info.size()]),
            info: Arc::new(info),
            rotation: 0,
            stream_time: Some(gst::ClockTime::from_mseconds(40)),
            running_time: None,
            captured: None,
            clock: Clock::File,
            connection: 1,
            corrupt: false,
            damaged: false,
            arrived: Instant::now(),
        }
    }

    #[test]
    fn what_nobody_wants_is_not_made() {
        let stream = LiveStream::new("gate", true);
        let (frame, result) = (frame(), FrameResult { status: FrameStatus::Skipped, cause: None, queries: Vec::new() });
        let record = FrameRecord::new(("run", "gate"), frame.seq, [], &result, Some(frame.resolution()));
        let pass = || stream.frame(&frame, &record, FrameStatus::Skipped, || unreachable!("nobody wants a picture"));
        assert!(!stream.is_heard());
        pass();
        let mut lines = stream.lines();
        pass();
        let written = serde_json::to_string(&record).expect("JSON");
        assert!(matches!(lines.try_recv(), Ok(LiveLine::Frame(text)) if text.as_str() == written));
        assert!(lines.try_recv().is_err(), "what passed before is not told");
        drop(lines);
        assert!(!stream.is_heard());
        pass();
    }

    #[test]
    fn who_comes_late_is_told_that_it_is_over() {
        let stream = LiveStream::new("gate", true);
        stream.end();
        assert!(matches!(stream.lines().try_recv(), Ok(LiveLine::End)));
        let pictures = stream.pictures(Drawn::Plain).expect("a place");
        assert!(pictures.borrow().is_none());
    }

    #[test]
    fn who_is_slow_loses_lines_and_the_others_none() {
        let stream = LiveStream::new("gate", true);
        let (mut slow, mut quick) = (stream.lines(), stream.lines());
        for number in 0..2 * WAITING {
            stream.event(&number);
            let text = number.to_string();
            assert!(matches!(quick.try_recv(), Ok(LiveLine::Event(line)) if line.as_str() == text));
        }
        let lost = slow.try_recv().expect_err("it lost something");
        assert_eq!(lost, broadcast::error::TryRecvError::Lagged(WAITING as u64));
        let text = WAITING.to_string();
        assert!(
            matches!(slow.try_recv(), Ok(LiveLine::Event(line)) if line.as_str() == text),
            "it goes on behind that"
        );
    }

    #[test]
    fn pictures_are_made_while_somebody_watches() {
        let stream = LiveStream::new("gate", true);
        let (frame, result) = (frame(), FrameResult { status: FrameStatus::Skipped, cause: None, queries: Vec::new() });
        let record = FrameRecord::new(("run", "gate"), frame.seq, [], &result, Some(frame.resolution()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        for _ in 0..2 {
            let mut pictures = stream.pictures(Drawn::Plain).expect("a thread");
            stream.frame(&frame, &record, FrameStatus::Skipped, || frame.buffer.clone());
            runtime.block_on(pictures.changed()).expect("a picture");
            let picture = pictures.borrow_and_update().clone().expect("a picture");
            let read = image::load_from_memory(&picture.jpeg).expect("a JPEG").into_luma8();
            assert_eq!((picture.seq, read.dimensions()), (7, (64, 48)));
            assert!(read.pixels().all(|pixel| pixel.0[0].abs_diff(100) < 8));
        }
        stream.end();
    }
}
