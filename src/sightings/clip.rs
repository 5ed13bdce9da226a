//! Clips of sightings, cut from the packets of their source.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::cues::Cue;
use super::recorder::{ClipSettings, Finished, Job, NOW, OPEN, Recorder};
use super::store::day_folder;
use super::types::{RectJson, Sighting};
use crate::error::{Error, Result};
use crate::sink::file_name;
use crate::source::PacketRing;

/// Clips that may be recorded at once: each has a thread and a file.
const MOST: usize = 64;
/// Files that may wait to be heard of.
const WAITING: usize = 1024;

/// A clip that is being recorded.
struct Recording {
    until: Arc<AtomicI64>,
    cues: Arc<Mutex<Vec<Cue>>>,
    thread: JoinHandle<()>,
}

/// The clips of one stream. They share its ring of packets; each is written by a thread of its own, so that no disk holds
/// up the stream.
pub struct Clips {
    ring: Arc<PacketRing>,
    settings: Arc<ClipSettings>,
    /// By the sighting's id.
    recordings: HashMap<String, Recording>,
    /// Stream time of the newest frame that was looked at, ns.
    progress: Arc<AtomicI64>,
    say: Sender<Finished>,
    finished: Receiver<Finished>,
}

impl Clips {
    /// Clips of the source that fills `ring`.
    pub fn new(ring: Arc<PacketRing>, settings: ClipSettings) -> Self {
        let (say, finished) = bounded(WAITING);
        let progress = Arc::new(AtomicI64::new(i64::MIN));
        Self { ring, settings: Arc::new(settings), recordings: HashMap::new(), progress, say, finished }
    }

    /// Begins the clip of a sighting that began. It is told by [`Clips::poll`] what becomes of it, also where it cannot be
    /// begun.
    pub fn begin(&mut self, sighting: &Sighting) {
        self.recordings.retain(|_, recording| !recording.thread.is_finished());
        if self.recordings.contains_key(&sighting.id) {
            return;
        }
        match self.record(sighting) {
            Ok(recording) => _ = self.recordings.insert(sighting.id.clone(), recording),
            // Where nobody listens there is no one to tell.
            Err(error) => _ = self.say.try_send(Finished { sighting: sighting.id.clone(), file: Err(error) }),
        }
    }

    fn record(&self, sighting: &Sighting) -> Result<Recording> {
        let path = self.path(sighting);
        let fail = |reason: String| Error::Output { name: path.display().to_string(), reason };
        let start = sighting.start_pts_ns.and_then(|start| i64::try_from(start).ok());
        let start = start.ok_or_else(|| fail("its source says nothing of time".into()))?;
        if self.recordings.len() >= MOST {
            return Err(fail(format!("{MOST} clips are being recorded already")));
        }
        self.progress.fetch_max(start, Ordering::AcqRel);
        let from = start.saturating_sub(self.settings.before.as_nanos() as i64);
        let (until, cues) = (Arc::new(AtomicI64::new(OPEN)), Arc::default());
        let job = Job {
            sighting: sighting.id.clone(),
            query: sighting.query.clone(),
            path: path.clone(),
            from,
            until: Arc::clone(&until),
            progress: Arc::clone(&self.progress),
            cues: Arc::clone(&cues),
            say: self.say.clone(),
        };
        // Now: what is old may be gone when the thread runs.
        let recorder = Recorder::new(self.ring.read_from(from), Arc::clone(&self.settings), job);
        let span = tracing::Span::current();
        let thread = std::thread::Builder::new().name("clip".into()).spawn(move || span.in_scope(|| recorder.run()));
        let thread = thread.map_err(|error| fail(error.to_string()))?;
        Ok(Recording { until, cues, thread })
    }

    /// Where a clip goes, without its ending.
    fn path(&self, sighting: &Sighting) -> PathBuf {
        let folder: &Path = &self.settings.folder;
        day_folder(folder, sighting.start_unix_ns).join(file_name(&sighting.id))
    }

    /// Notes where the thing was on a frame, for the boxes beside its clip.
    pub fn note(&self, id: &str, pts_ns: u64, rect: RectJson, score: Option<f32>) {
        let recording = self.recordings.get(id).filter(|_| self.settings.cues);
        if let (Some(recording), Ok(stream_ns)) = (recording, i64::try_from(pts_ns)) {
            let mut cues = recording.cues.lock().unwrap_or_else(PoisonError::into_inner);
            cues.push(Cue { stream_ns, rect, score });
        }
    }

    /// Says that a frame was looked at, and noted where it was to be: clips that have no end yet may go on to it.
    pub fn progress(&self, pts_ns: u64) {
        if let Ok(stream_ns) = i64::try_from(pts_ns) {
            self.progress.fetch_max(stream_ns, Ordering::AcqRel);
        }
    }

    /// Ends the clip of a sighting that ended, as long after its last frame as is wanted.
    pub fn end(&self, sighting: &Sighting) {
        let Some(recording) = self.recordings.get(&sighting.id) else { return };
        let last = sighting.last_pts_ns.and_then(|last| i64::try_from(last).ok());
        let until = last.map_or(NOW, |last| last.saturating_add(self.settings.after.as_nanos() as i64));
        recording.until.store(until, Ordering::Release);
    }

    /// What was finished since it was asked last.
    pub fn poll(&self) -> Vec<Finished> {
        self.finished.try_iter().collect()
    }

    /// Clips that are being recorded.
    pub fn open(&self) -> usize {
        self.recordings.values().filter(|recording| !recording.thread.is_finished()).count()
    }

    /// Waits for the clips of a source that has ended, and returns what was finished since it was asked last. What is not finished
    /// within `limit` ends as it is.
    pub fn finish(mut self, limit: Duration) -> Vec<Finished> {
        self.progress.store(i64::MAX, Ordering::Release);
        // Once the recorders are through, nobody can say anything any more.
        let (say, _) = bounded(1);
        drop(std::mem::replace(&mut self.say, say));
        let (began, mut all) = (Instant::now(), Vec::new());
        while let Ok(finished) = self.finished.recv_timeout(limit.saturating_sub(began.elapsed())) {
            all.push(finished);
        }
        all
    }
}

impl Drop for Clips {
    /// Ends what is not over.
    fn drop(&mut self) {
        for recording in self.recordings.values() {
            recording.until.store(NOW, Ordering::Release);
        }
        // Nobody hears what they say any more: none of them waits for that.
        let (_, nobody) = bounded(1);
        self.finished = nobody;
        for (_, recording) in self.recordings.drain() {
            drop(recording.thread.join());
        }
    }
}
