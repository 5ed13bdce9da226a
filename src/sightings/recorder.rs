//! Records one clip, on a thread of its own: reads packets from the ring, begins a file with a key frame, and begins another one where
//! it has to.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;

use super::container::Container;
use super::cues::{self, Cue};
use super::part::{Part, Written};
use super::types::FileRef;
use crate::error::{Error, Result};
use crate::sink::numbered;
use crate::source::{Medium, Next, Packet, PacketReader};

/// How clips are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClipSettings {
    /// Where they go, each into the folder of its day ([`super::day_folder`]).
    pub folder: PathBuf,
    /// How long before its sighting a clip begins at the latest.
    pub before: Duration,
    /// How long after its sighting a clip ends at the soonest.
    pub after: Duration,
    /// A longer one is cut into parts, each at the first key frame behind this length.
    pub max_length: Duration,
    /// What it is written as.
    pub container: Container,
    /// Whether sound is kept.
    pub sound: bool,
    /// Whether boxes are written beside it.
    pub cues: bool,
}

/// A file that was finished, or why there is none.
#[derive(Debug)]
pub struct Finished {
    /// Id of its sighting.
    pub sighting: String,
    /// The file. An error is told once a clip, and ends it; what could be saved of it was told before.
    pub file: Result<FileRef>,
}

/// [`Job::until`] while the sighting lasts.
pub(super) const OPEN: i64 = i64::MAX;
/// [`Job::until`] where the clip is not wanted any longer than it is.
pub(super) const NOW: i64 = i64::MIN;

/// What a recorder shares with whoever began the clip.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// Id of the sighting.
    pub(super) sighting: String,
    pub(super) query: String,
    /// The file without its ending.
    pub(super) path: PathBuf,
    /// Stream time with which it begins at the latest, ns.
    pub(super) from: i64,
    /// Stream time to which it lasts, ns.
    pub(super) until: Arc<AtomicI64>,
    /// Stream time up to which frames have been looked at, ns: what lies behind it may not be wanted.
    pub(super) progress: Arc<AtomicI64>,
    pub(super) cues: Arc<Mutex<Vec<Cue>>>,
    pub(super) say: Sender<Finished>,
}

/// How long is waited for a packet before it is looked whether the clip is still wanted.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often it is looked how far the stream is.
const TICK: Duration = Duration::from_millis(20);
/// How long a disk may take to close a file.
const CLOSE: Duration = Duration::from_mins(1);
/// Pictures are decoded in another order than they are shown in: so much after the end, ns, comes what is shown before it.
const REORDERING: i64 = 500_000_000;

/// A part that ends with a key frame that begins the next one.
struct Closing {
    part: Part,
    key: Packet,
    /// Whether the key frame is in it as well.
    has_key: bool,
}

/// Records one clip.
pub(super) struct Recorder {
    reader: PacketReader,
    settings: Arc<ClipSettings>,
    job: Job,
    part: Option<Part>,
    closing: Option<Closing>,
    /// The newest packet of sound: what it holds may belong to a part that begins behind it.
    sound: Option<Packet>,
    /// Parts so far.
    parts: usize,
    /// Whether the next key frame begins a part.
    split: bool,
}

impl Recorder {
    pub(super) fn new(reader: PacketReader, settings: Arc<ClipSettings>, job: Job) -> Self {
        Self { reader, settings, job, part: None, closing: None, sound: None, parts: 0, split: false }
    }

    /// Records until the clip is long enough, or its source has ended.
    pub(super) fn run(mut self) {
        loop {
            let until = self.job.until.load(Ordering::Acquire);
            match self.reader.take(PATIENCE) {
                _ if until == NOW => break,
                Next::Packet(packet) => match self.record(&packet) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => return self.fail(error),
                },
                Next::Lost => {
                    tracing::warn!("the disk is too slow for a clip of {}: it has a hole", self.job.query);
                    self.end_part();
                }
                // What there is can be seen while the source is away.
                Next::Away => {
                    self.end_part();
                    if until != OPEN {
                        break;
                    }
                }
                Next::Waiting => {}
                Next::End => break,
            }
        }
        self.end_part();
        if self.parts == 0 {
            self.say(Err(Error::Output {
                name: self.job.path.display().to_string(),
                reason: "no key frame came".into(),
            }));
        }
    }

    /// Adds a packet; false where the clip is long enough without it.
    fn record(&mut self, packet: &Packet) -> Result<bool> {
        if packet.medium == Medium::Sound {
            self.sound = Some(packet.clone());
            let sound = (packet.stretch, packet.running_ns);
            let before = |closing: &&mut Closing| sound < (closing.key.stretch, closing.key.running_ns);
            let part = match self.closing.as_mut().filter(before) {
                Some(closing) => Some(&mut closing.part),
                None => self.part.as_mut(),
            };
            return part.map_or(Ok(()), |part| part.push(packet)).map(|()| true);
        }
        let time = packet.stream_ns.unwrap_or(NOW);
        let until = self.hold(time);
        if time > until.saturating_add(REORDERING) {
            return Ok(false);
        }
        if self.leads(packet)? {
            return Ok(true);
        }
        let Some(part) = self.part.as_mut().filter(|part| part.fits(packet)) else {
            self.end_part();
            if packet.key && time <= until {
                self.begin(packet)?;
            }
            return Ok(true);
        };
        self.split |= packet.gap || part.length() >= self.settings.max_length.as_nanos() as i64;
        if !packet.key || !self.split {
            return part.push(packet).map(|()| true);
        }
        let ended = self.part.take();
        self.closing = ended.map(|part| Closing { part, key: packet.clone(), has_key: false });
        if time > until {
            return Ok(true);
        }
        self.begin(packet).map(|()| true)
    }

    /// Waits until the frames up to a moment have been looked at, or it is known how long the clip lasts: packets are ahead of frames,
    /// those of files by far. Returns how long it lasts.
    fn hold(&self, time: i64) -> i64 {
        loop {
            let until = self.job.until.load(Ordering::Acquire);
            // What came last before the source went never became a frame.
            if until != OPEN || self.job.progress.load(Ordering::Acquire) >= time || self.reader.is_away() {
                return until;
            }
            std::thread::sleep(TICK);
        }
    }

    /// Whether a picture is shown before the key frame that it comes behind, and with which a part begins: it needs what came before
    /// it, so it goes into the part that ends there, and the key frame with it.
    fn leads(&mut self, packet: &Packet) -> Result<bool> {
        let Some(mut closing) = self.closing.take() else { return Ok(false) };
        if packet.stretch != closing.key.stretch || packet.running_ns >= closing.key.running_ns {
            self.finish(closing.part);
            return Ok(false);
        }
        let key = (!closing.has_key).then(|| closing.key.clone());
        closing.has_key = true;
        let closing = self.closing.insert(closing);
        key.map_or(Ok(()), |key| closing.part.push(&key))?;
        closing.part.push(packet)?;
        Ok(true)
    }

    /// Begins a part with a key frame.
    fn begin(&mut self, first: &Packet) -> Result<()> {
        self.parts += 1;
        self.split = false;
        if self.parts == 1
            && let Some(late @ 1..) = first.stream_ns.map(|time| time - self.job.from.max(0))
        {
            tracing::info!("a clip begins {} ms late: its source has no older key frame", late / 1_000_000);
        }
        let container = self.settings.container.of(&first.caps);
        let folder = blocks::files::parent(&self.job.path);
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let mut name = self.job.path.clone().into_os_string();
        name.push(".");
        name.push(container.ending());
        let path = numbered(&PathBuf::from(name), self.parts);
        let has_sound = self.settings.sound && self.reader.has_sound(first.stretch);
        self.part.insert(Part::new(&path, container, first, has_sound, self.sound.as_ref())).push(first)
    }

    /// Closes what is open.
    fn end_part(&mut self) {
        if let Some(closing) = self.closing.take() {
            self.finish(closing.part);
        }
        if let Some(part) = self.part.take() {
            self.finish(part);
        }
    }

    fn finish(&self, part: Part) {
        let (clip, span) = (part.path().to_owned(), part.span());
        let Written { file, error } = part.finish(CLOSE);
        let is_there = file.is_some();
        if let Some(file) = file {
            self.say(Ok(file));
        }
        if is_there && self.settings.cues {
            let cues = self.cues_until(span.1);
            match cues::write(&clip, &self.job.query, &cues, span) {
                Ok(Some(file)) => self.say(Ok(file)),
                Ok(None) => {}
                Err(error) => self.say(Err(error)),
            }
        }
        if let Some(error) = error {
            self.say(Err(error));
        }
    }

    /// Takes the boxes up to a moment of stream time, ns.
    fn cues_until(&self, last: i64) -> Vec<Cue> {
        let mut cues = self.job.cues.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, left) = cues.drain(..).partition(|cue| cue.stream_ns <= last);
        *cues = left;
        taken
    }

    /// Saves what there is, and says once why there is no more.
    fn fail(mut self, error: Error) {
        let open = self.closing.take().map(|closing| closing.part).into_iter().chain(self.part.take());
        for part in open {
            let reason = Error::Output { name: part.path().display().to_string(), reason: "its clip failed".into() };
            let Written { file, .. } = part.abandon(reason);
            if let Some(file) = file {
                self.say(Ok(file));
            }
        }
        self.say(Err(error));
    }

    fn say(&self, file: Result<FileRef>) {
        // Whoever began the clip may not be there any more.
        let _ = self.job.say.send(Finished { sighting: self.job.sighting.clone(), file });
    }
}
