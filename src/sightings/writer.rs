//! A video file while it is written: `appsrc ! parser ! muxer ! filesink`, and a second `appsrc` for the sound. Pictures are not
//! encoded.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError, bounded};
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::container::{Container, can_be_played, is_same_format, lacking, make, parser, sound_elements};
use super::decode_order::{DecodeOrder, Timed};
use crate::error::{Error, Result};
use crate::sink::PartialFile;
use crate::source::{Packet, Report, forward_bus};

/// Times in a file count from here while it is written: pictures may be decoded before the first one is shown.
const ORIGIN: i64 = 3600 * 1_000_000_000;
/// Bytes that may wait for the disk.
const WAITING: u64 = 4 << 20;
/// Sound that stays away for so long, ns, is left out of the rest of a file: the muxer would wait for it.
pub(super) const SILENCE: i64 = 2_000_000_000;
/// Sound that is late by so much, ns, may be what the muxer waits for.
const LATE: i64 = 300_000_000;
/// How often it is looked whether there is room.
const TICK: Duration = Duration::from_millis(10);

/// The sound of a file.
struct Sound {
    appsrc: gst_app::AppSrc,
    caps: gst::Caps,
    /// Running time of the newest packet, ns.
    newest: i64,
}

/// A file that is being written.
pub(super) struct Writer {
    pipeline: gst::Pipeline,
    video: gst_app::AppSrc,
    sound: Option<Sound>,
    order: DecodeOrder<gst::Buffer>,
    container: Container,
    file: PartialFile,
    path: PathBuf,
    /// Running time of the first picture, and of the newest, ns.
    running: (i64, i64),
    ended: Receiver<std::result::Result<(), String>>,
}

impl Writer {
    /// Begins the file `path` for what comes after the key frame `first`, itself included, with sound of these caps, of which a
    /// packet is there: muxers do not close what they know nothing of.
    ///
    /// # Errors
    /// An element is missing, or the file cannot be written.
    pub(super) fn start(path: &Path, container: Container, first: &Packet, sound: Option<&gst::Caps>) -> Result<Self> {
        let fail = |reason: String| Error::Output { name: path.display().to_string(), reason };
        let file = PartialFile::new(path);
        let pipeline = gst::Pipeline::new();
        let muxer = container.muxer()?;
        let sink = gst::ElementFactory::make("filesink").property("location", file.written.as_path()).build();
        let sink = sink.map_err(|_| lacking("filesink"))?;
        let linked = pipeline.add_many([&muxer, &sink]).and_then(|()| muxer.link(&sink));
        linked.map_err(|e| fail(e.to_string()))?;
        let video = branch(&pipeline, &muxer, "video_%u", &first.caps, vec![make(parser(&first.caps))?])?;
        let sound = match sound.map(|caps| sound_elements(container, caps).map(|elements| (caps, elements))) {
            Some(Ok((caps, elements))) => {
                let appsrc = branch(&pipeline, &muxer, "audio_%u", caps, elements)?;
                Some(Sound { appsrc, caps: caps.clone(), newest: first.running_ns })
            }
            Some(Err(error)) => {
                tracing::warn!("a clip has no sound: {error}");
                None
            }
            None => None,
        };
        let (end, ended) = bounded(1);
        forward_bus(&pipeline, move |report| {
            let outcome = match report {
                Report::End => Ok(()),
                Report::Failed(fault) => Err(fault.reason),
            };
            // The first one says why.
            let _ = end.try_send(outcome);
        });
        let writer = Self {
            pipeline,
            video,
            sound,
            order: DecodeOrder::default(),
            container,
            file,
            path: path.to_owned(),
            running: (first.running_ns, first.running_ns),
            ended,
        };
        if writer.pipeline.set_state(gst::State::Playing).is_err() {
            writer.check()?;
            return Err(writer.fail("the pipeline refuses to start".into()));
        }
        Ok(writer)
    }

    /// Adds a picture.
    ///
    /// # Blocking
    /// While the disk is behind.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn add_picture(&mut self, packet: &Packet) -> Result<()> {
        self.running.1 = self.running.1.max(packet.running_ns);
        if let Some(sound) = self.sound.take_if(|sound| self.running.1 - sound.newest > SILENCE) {
            tracing::debug!("no sound any more: the rest of {} has none", self.path.display());
            _ = sound.appsrc.end_of_stream();
        }
        match self.order.push(packet.running_ns, packet.buffer.clone()) {
            Some(timed) => self.write(timed),
            None => self.check(),
        }
    }

    /// Adds sound; what comes in another format than before is left out.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn add_sound(&mut self, packet: &Packet) -> Result<()> {
        let time = self.time(packet.running_ns);
        let Some(sound) = self.sound.as_mut().filter(|sound| is_same_format(&sound.caps, &packet.caps)) else {
            return Ok(());
        };
        sound.newest = sound.newest.max(packet.running_ns);
        let mut buffer = packet.buffer.clone();
        let writable = buffer.make_mut();
        writable.set_pts(time);
        writable.set_dts(time);
        let taken = sound.appsrc.push_buffer(buffer);
        if taken.is_err() { self.check() } else { Ok(()) }
    }

    fn write(&mut self, timed: Timed<gst::Buffer>) -> Result<()> {
        self.wait_for_room()?;
        let Timed { packet: mut buffer, shown, decoded } = timed;
        let (shown, decoded) = (self.time(shown), self.time(decoded));
        let writable = buffer.make_mut();
        writable.set_pts(shown);
        writable.set_dts(decoded);
        if self.video.push_buffer(buffer).is_err() {
            self.check()?;
            return Err(self.fail("takes no more packets".into()));
        }
        Ok(())
    }

    /// A running time as the muxer gets it.
    fn time(&self, running_ns: i64) -> gst::ClockTime {
        gst::ClockTime::from_nseconds(u64::try_from(ORIGIN + running_ns - self.running.0).unwrap_or(0))
    }

    fn fail(&self, reason: String) -> Error {
        Error::Output { name: self.path.display().to_string(), reason }
    }

    fn check(&self) -> Result<()> {
        match self.ended.try_recv() {
            Ok(Err(reason)) => Err(self.fail(reason)),
            Ok(Ok(())) | Err(TryRecvError::Disconnected) => Err(self.fail("ended by itself".into())),
            Err(TryRecvError::Empty) => Ok(()),
        }
    }

    /// Not by `appsrc` itself, which waits for ever behind a muxer that failed.
    fn wait_for_room(&self) -> Result<()> {
        loop {
            self.check()?;
            // It may be sound that the muxer waits for, which comes from the same thread as pictures do.
            let late = self.sound.as_ref().is_some_and(|sound| self.running.1 - sound.newest > LATE);
            if late || self.video.current_level_bytes() <= WAITING {
                return Ok(());
            }
            std::thread::sleep(TICK);
        }
    }

    /// Closes the file, waiting for the disk for so long at most, and puts it in its place.
    ///
    /// # Errors
    /// It cannot be written, or not in time.
    pub(super) fn close(&mut self, limit: Duration) -> Result<()> {
        while let Some(timed) = self.order.pop() {
            self.write(timed)?;
        }
        for appsrc in self.sound.iter().map(|sound| &sound.appsrc).chain([&self.video]) {
            if appsrc.end_of_stream().is_err() {
                self.check()?;
            }
        }
        match self.ended.recv_timeout(limit) {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => return Err(self.fail(reason)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                return Err(self.fail(format!("was not finished within {} s", limit.as_secs())));
            }
        }
        if self.pipeline.set_state(gst::State::Null).is_err() {
            return Err(self.fail("did not stop cleanly".into()));
        }
        let synced = File::open(&self.file.written).and_then(|file| file.sync_all());
        synced.map_err(Error::io("write", &self.path))?;
        self.file.publish()
    }

    /// Keeps what can be played of a file that failed; whether that is anything.
    pub(super) fn abandon(&mut self) -> bool {
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::debug!("the pipeline of a clip did not stop cleanly");
        }
        can_be_played(&self.file.written, self.container) && self.file.publish().is_ok()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::debug!("the pipeline of a clip did not stop cleanly");
        }
        self.file.discard();
    }
}

/// `appsrc` and `elements` in front of a pad of the muxer's.
fn branch(
    pipeline: &gst::Pipeline,
    muxer: &gst::Element,
    pad: &str,
    caps: &gst::Caps,
    elements: Vec<gst::Element>,
) -> Result<gst_app::AppSrc> {
    let fail = |reason: String| Error::Pipeline { name: "clip".into(), reason };
    let appsrc = gst_app::AppSrc::builder().caps(caps).format(gst::Format::Time).max_bytes(0).build();
    let chain: Vec<gst::Element> = std::iter::once(appsrc.clone().upcast()).chain(elements).collect();
    let linked = pipeline.add_many(&chain).and_then(|()| gst::Element::link_many(&chain));
    linked.map_err(|e| fail(e.to_string()))?;
    let end = chain.last().and_then(|element| element.static_pad("src"));
    let (end, entrance) = end.zip(muxer.request_pad_simple(pad)).ok_or_else(|| fail(format!("has no pad {pad}")))?;
    end.link(&entrance).map_err(|e| fail(e.to_string()))?;
    leave_out_what_is_over(&entrance);
    keep_format(&entrance);
    Ok(appsrc)
}

/// The frames of a packet of sound that are over when the first picture is shown.
fn leave_out_what_is_over(pad: &gst::Pad) {
    let origin = gst::ClockTime::from_nseconds(ORIGIN.unsigned_abs());
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let is_over = info.buffer().and_then(|buffer| buffer.pts()).is_some_and(|time| time < origin);
        if is_over { gst::PadProbeReturn::Drop } else { gst::PadProbeReturn::Ok }
    });
}

/// Muxers refuse another format, also where a camera repeats its parameter sets with a change that no player minds: they
/// stand among the pictures as well.
fn keep_format(pad: &gst::Pad) {
    let began = AtomicBool::new(false);
    pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        let is_format = info.event().is_some_and(|event| event.type_() == gst::EventType::Caps);
        if info.buffer().is_some() {
            began.store(true, Ordering::Release);
        }
        if is_format && began.load(Ordering::Acquire) { gst::PadProbeReturn::Drop } else { gst::PadProbeReturn::Ok }
    });
}
