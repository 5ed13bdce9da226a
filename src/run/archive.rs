//! What is kept of the sightings of a stream beside their records: clips, snapshots, and the store that knows them.
//!
//! Nothing that fails here ends a run: it is said once in the log, and for each sighting in the records.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use records::track::{FrameResult, Object};
use records::{FileRef, FrameStatus, Sighting, SightingChange};

use crate::config::StreamSettings;
use crate::error::{Error, Result};
use crate::sightings::snapshot::{Seen, SnapshotSettings, Snapshots};
use crate::sightings::{
    ArchiveSettings, ClipSettings, Clips, Confirm, Finished, Ongoing, Removed, Sightings, Store, Told, What, day_folder,
};
use crate::source::{PacketLimits, PacketRing};
use crate::stage::{GroundedFrame, Mode};

/// How often is looked whether something is to be deleted.
const SWEEP: Duration = Duration::from_hours(1);
/// What may pass beside the confirmation until a sighting is known: queues, the model.
const MARGIN: Duration = Duration::from_secs(10);
/// How long a measured frame takes of a slow model.
const SLOW_FRAME: Duration = Duration::from_millis(200);

/// The store of a run.
pub(super) struct Keeper {
    store: Store,
    swept: Instant,
}

/// All streams share it.
pub(super) type SharedKeeper = Arc<Mutex<Keeper>>;

impl Keeper {
    /// Opens the store, and deletes what is too old or too much.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn open(settings: &ArchiveSettings) -> Result<SharedKeeper> {
        let store = Store::open(&settings.folder, settings.keep)?;
        let mut keeper = Self { store, swept: Instant::now() };
        keeper.sweep();
        Ok(Arc::new(Mutex::new(keeper)))
    }

    fn sweep(&mut self) {
        self.swept = Instant::now();
        match self.store.sweep() {
            Ok(removed) if removed.is_empty() => {}
            Ok(removed) => tracing::info!("{}", summary(&removed)),
            Err(error) => tracing::warn!("{error}; sightings that are too old or too many are still there"),
        }
    }
}

/// What was deleted, in words.
fn summary(removed: &[Removed]) -> String {
    let by = |limit: &str| removed.iter().filter(|one| one.limit == limit).count();
    let files: usize = removed.iter().map(|one| one.files.len()).sum();
    let bytes: u64 = removed.iter().map(|one| one.bytes).sum();
    let [first, .., last] = removed else {
        let ids: Vec<&str> = removed.iter().map(|one| one.sighting.as_str()).collect();
        let limit = removed.first().map_or("", |one| one.limit);
        return format!("deleted sighting {} with {files} files, {bytes} bytes (keep.{limit})", ids.concat());
    };
    format!(
        "deleted {} sightings ({} by keep.days, {} by keep.bytes) with {files} files, {bytes} bytes: {} to {}",
        removed.len(),
        by("days"),
        by("bytes"),
        first.sighting,
        last.sighting,
    )
}

/// The snapshot of a sighting, as it was written last.
struct Written {
    files: Vec<FileRef>,
    /// There is a better frame since.
    stale: bool,
}

/// What is kept of the sightings of one stream.
pub(super) struct Archive {
    /// Whole, so that paths in records are good for others.
    folder: PathBuf,
    keeper: SharedKeeper,
    ring: Option<Arc<PacketRing>>,
    clips: Option<Clips>,
    snapshots: Option<Snapshots>,
    /// Of those that are open, by id.
    written: HashMap<String, Written>,
    /// Those of which nobody is told, while files of theirs may come.
    silent: HashSet<String>,
    failed: bool,
    /// What is to be told.
    news: Vec<Told>,
}

impl Archive {
    /// Of a stream that wants this of its sightings.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(super) fn new(stream: &StreamSettings, settings: &ArchiveSettings, keeper: SharedKeeper) -> Result<Self> {
        let folder = std::fs::canonicalize(&settings.folder).map_err(Error::io("read", &settings.folder))?;
        let ring = settings.clips.as_ref().map(|clips| {
            let time = clips.before + longest_confirmation(stream) + MARGIN;
            let waits = !stream.address.is_live() && stream.mode == Mode::EveryFrame;
            PacketRing::new(PacketLimits { bytes: settings.memory, time, waits })
        });
        let clips = settings.clips.clone().zip(ring.clone());
        let clips = clips.map(|(clips, ring)| Clips::new(ring, ClipSettings { folder: folder.clone(), ..clips }));
        Ok(Self {
            folder,
            keeper,
            ring,
            clips,
            snapshots: settings.snapshots.then(|| Snapshots::new(SnapshotSettings::default())),
            written: HashMap::new(),
            silent: HashSet::new(),
            failed: false,
            news: Vec::new(),
        })
    }

    /// Where its source is to keep packets.
    pub(super) fn ring(&self) -> Option<Arc<PacketRing>> {
        self.ring.clone()
    }

    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
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
        for ongoing in open {
            let Some((object, score)) = seen(result, &ongoing) else { continue };
            let seen = Seen { rect: object.rect, score, query: ongoing.query, place: ongoing.place };
            if snapshots.consider(ongoing.id, &grounded.frame, &seen)
                && let Some(written) = self.written.get_mut(ongoing.id)
            {
                written.stale = true;
            }
        }
    }

    /// Keeps what is told of a sighting, and adds its files to what is told.
    pub(super) fn told(&mut self, told: &mut Told) {
        let What::Sighting { sighting, change } = &mut told.what else { return };
        match change {
            SightingChange::Start => {
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
        let cause = match change {
            SightingChange::End { cause } => Some(*cause),
            _ => None,
        };
        let stored = match cause {
            Some(cause) => self.keeper().store.end(sighting, cause),
            None => self.keeper().store.put(sighting),
        };
        if let Err(error) = stored {
            self.fail(&sighting.id, &error);
        }
        match self.snapshot(sighting) {
            Ok(files) => sighting.files.extend(files),
            Err(error) => self.fail(&sighting.id, &error),
        }
        if cause.is_some() {
            self.complete(sighting);
        }
    }

    /// Writes the best frame so far, where that was not done yet; returns its files.
    fn snapshot(&mut self, sighting: &Sighting) -> Result<Vec<FileRef>> {
        let Some(snapshots) = &self.snapshots else { return Ok(Vec::new()) };
        if let Some(written) = self.written.get(&sighting.id).filter(|written| !written.stale) {
            return Ok(written.files.clone());
        }
        let files = snapshots.write(sighting, &day_folder(&self.folder, sighting.start_unix_ns))?;
        if !files.is_empty() {
            self.written.insert(sighting.id.clone(), Written { files: files.clone(), stale: false });
        }
        files.iter().try_for_each(|file| self.keeper().store.add_file(&sighting.id, file))?;
        Ok(files)
    }

    /// Adds the files that the store knows of a sighting that is over, those of an earlier run too.
    fn complete(&mut self, sighting: &mut Sighting) {
        let stored = self.keeper().store.get(&sighting.id);
        match stored {
            Ok(kept) => {
                let files = kept.into_iter().flat_map(|kept| kept.sighting.files);
                let new: Vec<FileRef> =
                    files.filter(|file| sighting.files.iter().all(|known| known.path != file.path)).collect();
                sighting.files.extend(new);
            }
            Err(error) => self.fail(&sighting.id, &error),
        }
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

    /// Takes what was finished since it was asked last; returns what is to be told of it.
    pub(super) fn poll(&mut self, sightings: &mut Sightings) -> Vec<Told> {
        if let Some(clips) = &self.clips {
            // Asked first: who is idle has said everything.
            let is_idle = clips.open() == 0;
            for finished in clips.poll() {
                if let Some((id, file)) = self.keep(finished) {
                    sightings.add_file(&id, file);
                }
            }
            if is_idle && !self.silent.is_empty() {
                let open: HashSet<&str> = sightings.ongoing().map(|ongoing| ongoing.id).collect();
                self.silent.retain(|id| open.contains(id.as_str()));
            }
        }
        if let Ok(mut keeper) = self.keeper.try_lock()
            && keeper.swept.elapsed() > SWEEP
        {
            keeper.sweep();
        }
        std::mem::take(&mut self.news)
    }

    /// Waits for the clips of a stream that is over, for so long at most; returns what is to be told of them.
    pub(super) fn finish(&mut self, limit: Duration) -> Vec<Told> {
        if let Some(clips) = self.clips.take() {
            for finished in clips.finish(limit) {
                self.keep(finished);
            }
        }
        self.keeper().sweep();
        std::mem::take(&mut self.news)
    }

    /// The best frame of a sighting that is not forgotten, as JPEG.
    pub(super) fn picture(&self, id: &str) -> Option<Arc<[u8]>> {
        let pictures = self.snapshots.as_ref()?.pictures(id).ok().flatten()?;
        Some(pictures.whole.into())
    }

    /// Everybody was told that it is over.
    pub(super) fn forget(&mut self, id: &str) {
        self.written.remove(id);
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.forget(id);
        }
    }

    /// Keeps a finished file; gives it with its sighting's id.
    fn keep(&mut self, Finished { sighting: id, file }: Finished) -> Option<(String, FileRef)> {
        match file {
            Ok(file) => {
                let stored = self.keeper().store.add_file(&id, &file);
                if let Err(error) = stored {
                    self.fail(&id, &error);
                }
                self.tell(&id, Ok(file.clone()));
                Some((id, file))
            }
            Err(error) => {
                self.fail(&id, &error);
                None
            }
        }
    }

    fn fail(&mut self, id: &str, error: &Error) {
        if std::mem::replace(&mut self.failed, true) {
            tracing::debug!("sighting {id}: {error}");
        } else {
            tracing::warn!("sighting {id}: {error}; events tell of the next ones");
        }
        self.tell(id, Err(error.to_string()));
    }

    fn tell(&mut self, id: &str, file: std::result::Result<FileRef, String>) {
        let silent = self.silent.contains(id);
        self.news.push(Told { what: What::File { sighting_id: id.to_owned(), file }, silent });
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
