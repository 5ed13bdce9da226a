//! What is kept of the sightings of a stream beside their records: clips, snapshots, and the store that knows them.
//!
//! What is told of sightings stands in line until what belongs to it is written by another thread ([`super::keeper`]). Nothing that fails
//! here ends a run: it is said once in the log, and for each sighting in the records.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use records::track::{FrameResult, Object};
use records::{FileRef, FrameStatus, SightingChange};

use super::keeper::{Done, Job, Keeper, Snapshot, Work};
use super::news::{News, NewsLine};
use crate::config::StreamSettings;
use crate::error::{Error, Result};
use crate::sightings::snapshot::{Look, Seen, Snapshots};
use crate::sightings::{
    ArchiveSettings, ClipSettings, Clips, Confirm, Finished, Noted, Ongoing, Sightings, Told, What,
};
use crate::source::{PacketLimits, PacketRing};
use crate::stage::GroundedFrame;

/// What may pass beside the confirmation until a sighting is known: queues, the model.
const MARGIN: Duration = Duration::from_secs(10);
/// How long a measured frame takes of a slow model.
const SLOW_FRAME: Duration = Duration::from_millis(200);
/// So long a live stream's news wait for the disk; then they are told without what was not written.
const PATIENCE: Duration = Duration::from_secs(10);
/// Jobs that wait here, without their pictures, while the thread that writes has no room.
const BACKLOG: usize = 1024;
/// How often is looked whether that thread is still there.
const LOOK: Duration = Duration::from_secs(1);

/// What became of the jobs of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Accounts {
    asked: u64,
    done: u64,
    /// There was no room, or it came to nothing in time.
    left: u64,
}

/// What is kept of the sightings of one stream.
pub(super) struct Archive {
    keeper: Arc<Keeper>,
    ring: Option<Arc<PacketRing>>,
    clips: Option<Clips>,
    snapshots: Option<Snapshots>,
    /// What was written last of those that everybody was not yet told the end of, by id.
    pictures: HashMap<String, Option<Snapshot>>,
    /// Whether the stream can wait for the disk: then what is told stands behind its frame, every time.
    waits: bool,
    /// Those of which nobody is told, while files of theirs may come.
    silent: HashSet<String>,
    /// Finished files are told at the end, in the order of their names: then equal work gives equal records.
    finished: Option<Vec<Finished>>,
    failed: bool,
    line: NewsLine,
    backlog: VecDeque<Job>,
    done: (Sender<Done>, Receiver<Done>),
    accounts: Accounts,
}

impl Archive {
    /// Of a stream that wants this of its sightings, and can wait for the disk or not.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(super) fn new(
        stream: &StreamSettings,
        settings: &ArchiveSettings,
        keeper: Arc<Keeper>,
        waits: bool,
    ) -> Result<Self> {
        // Whole, so that paths in records are good for others.
        let folder: PathBuf = std::fs::canonicalize(&settings.folder).map_err(Error::io("read", &settings.folder))?;
        let ring = settings.clips.as_ref().map(|clips| {
            let time = clips.before + longest_confirmation(stream) + MARGIN;
            PacketRing::new(PacketLimits { bytes: settings.memory, time, waits })
        });
        let clips = settings.clips.clone().zip(ring.clone());
        let clips = clips.map(|(clips, ring)| Clips::new(ring, ClipSettings { folder, ..clips }));
        Ok(Self {
            keeper,
            ring,
            clips,
            snapshots: settings.snapshots.then(Snapshots::default),
            pictures: HashMap::new(),
            waits,
            silent: HashSet::new(),
            finished: stream.source.reproducible.then(Vec::new),
            failed: false,
            line: NewsLine::default(),
            backlog: VecDeque::new(),
            // All that may be on its way at once.
            done: bounded(2 * BACKLOG),
            accounts: Accounts::default(),
        })
    }

    /// Where its source is to keep packets.
    pub(super) fn ring(&self) -> Option<Arc<PacketRing>> {
        self.ring.clone()
    }

    /// The folder, and how many bytes its files take by now.
    pub(super) fn kept(&self) -> (PathBuf, Arc<AtomicU64>) {
        self.keeper.kept()
    }

    /// Looks at a frame for better pictures of those that are `open`. To be called before anybody is told of what it shows.
    pub(super) fn frame<'a>(
        &mut self,
        grounded: &GroundedFrame,
        result: &FrameResult,
        open: impl Iterator<Item = Ongoing<'a>>,
    ) {
        let Some(snapshots) = self.snapshots.as_mut().filter(|_| result.status == FrameStatus::Measured) else {
            return;
        };
        let mut look = Look::new(&grounded.frame);
        for ongoing in open {
            let Some((object, score)) = seen(result, &ongoing) else { continue };
            let seen = Seen { rect: object.rect, score, query: ongoing.query, place: ongoing.place };
            snapshots.consider(ongoing.id, &mut look, &seen);
        }
    }

    /// Takes what is to be told once the journal has it, and has kept what belongs to it.
    pub(super) fn take(&mut self, told: Told, noted: Option<Noted>) {
        let What::Sighting { sighting, change } = &told.what else {
            return self.line.stand(None, noted, Some(told.into()));
        };
        match change {
            SightingChange::Start => {
                self.pictures.insert(sighting.id.clone(), None);
                if told.silent {
                    self.silent.insert(sighting.id.clone());
                }
                if let Some(clips) = &mut self.clips {
                    clips.begin(sighting);
                }
            }
            SightingChange::Update => {}
            SightingChange::End { .. } => {
                if let Some(clips) = &self.clips {
                    clips.end(sighting);
                }
            }
        }
        let shot = self.snapshots.as_mut().and_then(|snapshots| snapshots.take(&sighting.id)).map(Box::new);
        let work = Work::Sighting { sighting: sighting.clone(), change: *change, shot };
        self.ask(work, noted, Some(told.into()));
    }

    /// Notes where things are on a frame, for the boxes beside clips, and that it was looked at. To be called after those
    /// that begin with it were told.
    pub(super) fn looked_at<'a>(
        &self,
        grounded: &GroundedFrame,
        result: &FrameResult,
        open: impl Iterator<Item = Ongoing<'a>>,
    ) {
        let (Some(clips), Some(time)) = (&self.clips, grounded.frame.stream_time) else { return };
        let pts_ns = time.nseconds();
        for ongoing in open {
            if let Some((object, score)) = seen(result, &ongoing) {
                clips.note(ongoing.id, pts_ns, object.rect.into(), score);
            }
        }
        clips.progress(pts_ns);
    }

    /// Takes the files that were finished since it was asked last; returns what can be told by now.
    pub(super) fn poll(&mut self, sightings: &mut Sightings) -> Vec<News> {
        if let Some(clips) = &self.clips {
            // Asked first: who is idle has said everything.
            let is_idle = clips.open() == 0;
            let mut all = clips.poll();
            if let Some(waiting) = &mut self.finished {
                waiting.append(&mut all);
            }
            for finished in all {
                if let Ok(file) = &finished.file {
                    sightings.add_file(&finished.sighting, file.clone());
                }
                self.keep(finished);
            }
            if is_idle && self.finished.is_none() && !self.silent.is_empty() {
                let open: HashSet<&str> = sightings.ongoing().map(|ongoing| ongoing.id).collect();
                self.silent.retain(|id| open.contains(id.as_str()));
            }
        }
        self.hear(if self.waits { None } else { Some(Duration::ZERO) });
        self.line.ready()
    }

    /// Waits until all that was taken is written, but not for too long; returns what can be told by now.
    pub(super) fn settle(&mut self) -> Vec<News> {
        self.hear(Some(PATIENCE));
        self.line.ready()
    }

    /// Waits for the clips of a stream that is over, and for all that is to be written, for so long at most; returns what is to
    /// be told of it, as far as the journal has it.
    pub(super) fn finish(&mut self, limit: Duration) -> Vec<News> {
        let began = Instant::now();
        if let Some(clips) = self.clips.take() {
            let mut all = self.finished.take().unwrap_or_default();
            all.extend(clips.finish(limit));
            let path = |one: &Finished| one.file.as_ref().ok().map(|file| file.path.clone());
            all.sort_by_key(|one| (one.sighting.clone(), path(one)));
            for finished in all {
                self.keep(finished);
            }
        }
        self.ask(Work::Sweep, None, None);
        self.hear(Some(limit.saturating_sub(began.elapsed()).max(PATIENCE)));
        self.give_up(Duration::ZERO);
        let Accounts { asked, done, left } = self.accounts;
        if asked == done + left {
            tracing::debug!("{asked} jobs for the store: {done} done, {left} left");
        } else {
            tracing::error!("the jobs for the store do not add up: {asked} asked for, {done} done, {left} left");
        }
        self.line.settle(Some(limit.saturating_sub(began.elapsed()).max(PATIENCE)));
        self.line.ready()
    }

    /// Everybody was told that it is over.
    pub(super) fn forget(&mut self, id: &str) {
        self.pictures.remove(id);
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.forget(id);
        }
    }

    /// Keeps a finished file.
    fn keep(&mut self, Finished { sighting: id, file }: Finished) {
        match file {
            Ok(file) => {
                let news = self.file_news(&id, Ok(file.clone()));
                self.ask(Work::File { id, file }, None, Some(news));
            }
            Err(error) => self.fail(&id, &error.to_string()),
        }
    }

    /// Has something written once the journal has it, and tells the news once it is.
    fn ask(&mut self, work: Work, noted: Option<Noted>, news: Option<News>) {
        self.accounts.asked += 1;
        let number = self.accounts.asked;
        self.line.stand(Some(number), noted.clone(), news);
        let job = Job { number, work, noted, say: self.done.0.clone() };
        if self.waits {
            if let Err(job) = self.keeper.wait_and_hand_over(job) {
                self.leave(*job);
            }
            return;
        }
        let refused =
            if self.backlog.is_empty() { self.keeper.hand_over(job).err().map(|job| *job) } else { Some(job) };
        let Some(mut job) = refused else { return };
        if let Work::Sighting { sighting, shot, .. } = &mut job.work
            && shot.take().is_some()
        {
            let id = sighting.id.clone();
            self.fail(&id, "its picture is left out: the disk is behind");
        }
        if self.backlog.len() < BACKLOG && self.keeper.is_there() {
            self.backlog.push_back(job);
        } else {
            self.leave(job);
        }
    }

    /// A job that nobody does: its news are told all the same.
    fn leave(&mut self, Job { number, work, .. }: Job) {
        self.accounts.left += 1;
        self.line.done(number);
        let reason = "the disk is behind, and the store does not know of it";
        match work {
            Work::Sighting { sighting, .. } => self.fail(&sighting.id, reason),
            Work::File { id, .. } => self.fail(&id, reason),
            Work::Sweep => {}
        }
    }

    /// Hears what was written; waits until all of it is where no limit is given, or for so long.
    fn hear(&mut self, limit: Option<Duration>) {
        let began = Instant::now();
        loop {
            while let Some(job) = self.backlog.pop_front() {
                if let Err(job) = self.keeper.hand_over(job) {
                    self.backlog.push_front(*job);
                    break;
                }
            }
            if self.accounts.asked == self.accounts.done + self.accounts.left {
                return;
            }
            let left = limit.map_or(LOOK, |limit| limit.saturating_sub(began.elapsed()).min(LOOK));
            match self.done.1.recv_timeout(left) {
                Ok(done) => self.note(done),
                Err(_) if !self.keeper.is_there() => {
                    // What it said last.
                    while let Ok(done) = self.done.1.try_recv() {
                        self.note(done);
                    }
                    return self.give_up(Duration::ZERO);
                }
                Err(_) if limit.is_some_and(|limit| began.elapsed() >= limit) => break,
                Err(_) => {}
            }
        }
        self.give_up(PATIENCE);
    }

    fn note(&mut self, Done { number, of, files, snapshot, errors }: Done) {
        // Also where it came too late for its own news.
        if let (Some(id), Some(snapshot)) = (&of, snapshot)
            && let Some(kept) = self.pictures.get_mut(id)
        {
            *kept = Some(snapshot);
        }
        let Some(waited) = self.line.done(number) else { return };
        self.accounts.done += 1;
        if let Some(news) = waited
            && let What::Sighting { sighting, .. } = &mut news.told.what
        {
            let snapshot = self.pictures.get(&sighting.id).and_then(Option::as_ref);
            news.picture = snapshot.map(|snapshot| Arc::clone(&snapshot.whole));
            for file in snapshot.into_iter().flat_map(|snapshot| snapshot.files.clone()).chain(files) {
                if sighting.files.iter().all(|known| known.path != file.path) {
                    sighting.files.push(file);
                }
            }
        }
        for error in errors {
            self.fail(of.as_deref().unwrap_or_default(), &error);
        }
    }

    /// Tells news that have waited for so long as they are.
    fn give_up(&mut self, after: Duration) {
        for id in self.line.give_up(after) {
            self.accounts.left += 1;
            self.fail(id.as_deref().unwrap_or_default(), "the disk has not written it in time");
        }
    }

    fn fail(&mut self, id: &str, reason: &str) {
        if std::mem::replace(&mut self.failed, true) {
            tracing::debug!("sighting {id}: {reason}");
        } else {
            tracing::warn!("sighting {id}: {reason}; events tell of the next ones");
        }
        let news = self.file_news(id, Err(reason.to_owned()));
        self.line.stand(None, None, Some(news));
    }

    fn file_news(&self, id: &str, file: std::result::Result<FileRef, String>) -> News {
        let silent = self.silent.contains(id);
        Told { what: What::File { sighting_id: id.to_owned(), file }, silent }.into()
    }
}

/// How long it may take to be sure of a thing.
fn longest_confirmation(stream: &StreamSettings) -> Duration {
    let own = stream.queries.iter().filter_map(|query| query.sighting.confirm);
    let common = stream.sightings.iter().map(|sightings| sightings.confirm);
    let time = |confirm: Confirm| match confirm {
        Confirm::Frames(frames) => SLOW_FRAME * frames,
        Confirm::Time(time) => time,
    };
    own.chain(common).map(time).max().unwrap_or_default()
}

/// The thing of an open sighting where it was measured on a frame, and how sure that is.
fn seen<'a>(result: &'a FrameResult, ongoing: &Ongoing) -> Option<(&'a Object, Option<f32>)> {
    let claim = result.queries.get(ongoing.place)?;
    let object = claim.objects.iter().find(|object| object.id == ongoing.object && object.measured)?;
    Some((object, object.score.or(claim.presence)))
}

#[cfg(test)]
mod tests;
