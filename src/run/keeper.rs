//! The thread that writes what is kept of sightings: the store, pictures, and what goes because it is too old or too much. A stream hands
//! over what is to be written and goes on; one that can wait for the disk, as a file can, does.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use records::{FileRef, Sighting, SightingChange};

use crate::error::{Error, Result};
use crate::sightings::snapshot::{Shot, SnapshotSettings};
use crate::sightings::{ArchiveSettings, Noted, Removed, Store};

/// How often is looked whether something is to be deleted.
const SWEEP: Duration = Duration::from_hours(1);
/// What may wait to be written. A picture among it takes a few megabytes.
const WAITING: usize = 16;

/// Something to be written.
pub(super) struct Job {
    /// What it is called by whoever wants it.
    pub(super) number: u64,
    pub(super) work: Work,
    /// What the journal has before it is done: the store knows of no sighting that the next run would not.
    pub(super) noted: Option<Noted>,
    /// Whom to tell when it is done. Has room for all that may be told.
    pub(super) say: Sender<Done>,
}

/// The kinds of it.
pub(super) enum Work {
    /// A sighting as it is known now, what is new of it, and its best frame where there is a better one.
    Sighting { sighting: Box<Sighting>, change: SightingChange, shot: Option<Box<Shot>> },
    /// A file of a sighting that is whole.
    File { id: String, file: FileRef },
    /// Whatever is too old or too much goes.
    Sweep,
}

/// What became of a job.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) number: u64,
    /// Id of the sighting that it is about, if it is about one.
    pub(super) of: Option<String>,
    /// Files that are known of it, where it ends.
    pub(super) files: Vec<FileRef>,
    /// Its best frame, where that was written.
    pub(super) snapshot: Option<Snapshot>,
    /// What could not be written, in words.
    pub(super) errors: Vec<String>,
}

/// The snapshot of a sighting, as it was written.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) files: Vec<FileRef>,
    /// The whole picture as JPEG, the box drawn in.
    pub(super) whole: Arc<[u8]>,
}

/// The way to the thread of one folder. All streams share it; what was handed over is written before it goes.
pub(super) struct Keeper {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    folder: PathBuf,
    bytes: Arc<AtomicU64>,
}

impl Keeper {
    /// Opens the store, and begins with deleting what is too old or too much.
    ///
    /// # Errors
    /// It cannot be opened, or the system has no thread to give.
    pub(super) fn open(settings: &ArchiveSettings) -> Result<Arc<Self>> {
        let store = Store::open(&settings.folder, settings.keep)?;
        let (jobs, inbox) = bounded(WAITING);
        let bytes = Arc::<AtomicU64>::default();
        let mut writer = Writer { store, swept: Instant::now(), bytes: Arc::clone(&bytes) };
        writer.sweep();
        let thread = std::thread::Builder::new().name("keeper".into()).spawn(move || writer.run(&inbox));
        let thread = thread.map_err(|e| Error::Worker(e.to_string()))?;
        Ok(Arc::new(Self { jobs: Some(jobs), thread: Some(thread), folder: settings.folder.clone(), bytes }))
    }

    /// The folder, and how many bytes its files take by now.
    pub(super) fn kept(&self) -> (PathBuf, Arc<AtomicU64>) {
        (self.folder.clone(), Arc::clone(&self.bytes))
    }

    /// Hands over a job; gives it back where there is no room for it, or nobody to write it.
    pub(super) fn hand_over(&self, job: Job) -> std::result::Result<(), Box<Job>> {
        let Some(jobs) = &self.jobs else { return Err(Box::new(job)) };
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => Box::new(job),
        })
    }

    /// The same, waiting for room.
    ///
    /// # Blocking
    /// While the disk is behind.
    pub(super) fn wait_and_hand_over(&self, job: Job) -> std::result::Result<(), Box<Job>> {
        let Some(jobs) = &self.jobs else { return Err(Box::new(job)) };
        jobs.send(job).map_err(|error| Box::new(error.0))
    }

    /// Whether somebody writes.
    pub(super) fn is_there(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.jobs = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that keeps files of sightings ended by an error of the program");
        }
    }
}

/// What the thread knows.
struct Writer {
    store: Store,
    swept: Instant,
    /// Bytes of all files.
    bytes: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            match jobs.recv_timeout(SWEEP.saturating_sub(self.swept.elapsed())) {
                Ok(Job { number, work, noted, say }) => {
                    let is_noted = noted.is_none_or(|noted| noted.wait(None));
                    let failed = || Done { errors: vec!["the journal has not noted it".into()], ..Done::default() };
                    let done = if is_noted { self.write(work) } else { failed() };
                    let done = Done { number, ..done };
                    // Whoever wanted it may not be there any more.
                    let _ = say.try_send(done);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.swept.elapsed() >= SWEEP {
                self.sweep();
            }
        }
    }

    fn write(&mut self, work: Work) -> Done {
        let mut done = Done::default();
        match work {
            Work::Sighting { sighting, change, shot } => {
                let kept = self.sighting(&sighting, change, shot.as_deref(), &mut done);
                done.errors.extend(kept.err().map(|error| error.to_string()));
                done.of = Some(sighting.id);
            }
            Work::File { id, file } => {
                done.errors.extend(self.store.add_file(&id, &file).err().map(|error| error.to_string()));
                done.of = Some(id);
            }
            Work::Sweep => self.sweep(),
        }
        self.count();
        done
    }

    /// Writes a sighting with its picture. The first thing that fails is told; a picture is written all the same where the index
    /// cannot be.
    fn sighting(
        &mut self,
        sighting: &Sighting,
        change: SightingChange,
        shot: Option<&Shot>,
        done: &mut Done,
    ) -> Result<()> {
        let id = &sighting.id;
        let mut outcome = match change {
            SightingChange::Start => self.store.begin(sighting),
            SightingChange::Update => self.store.put(sighting),
            SightingChange::End { cause } => self.store.end(sighting, cause),
        };
        if let Some(shot) = shot {
            let folder = self.store.day(sighting.start_unix_ns);
            let written = shot.write(id, &folder, SnapshotSettings::default()).map(|(files, whole)| {
                let noted = files.iter().try_for_each(|file| self.store.add_file(id, file));
                done.snapshot = Some(Snapshot { files, whole: whole.into() });
                noted
            });
            outcome = outcome.and(written.and_then(|noted| noted));
        }
        if matches!(change, SightingChange::End { .. }) {
            // Those of an earlier run too.
            match self.store.get(id) {
                Ok(known) => done.files = known.map_or_else(Vec::new, |known| known.sighting.files),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    fn sweep(&mut self) {
        self.swept = Instant::now();
        match self.store.sweep() {
            Ok(removed) if removed.is_empty() => {}
            Ok(removed) => tracing::info!("{}", summary(&removed)),
            Err(error) => tracing::warn!("{error}; sightings that are too old or too many are still there"),
        }
        self.count();
    }

    /// Counts what is kept.
    fn count(&self) {
        match self.store.bytes() {
            Ok(bytes) => self.bytes.store(bytes, Ordering::Relaxed),
            Err(error) => tracing::debug!("{error}"),
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::sightings::{Filter, Keep};

    pub(in crate::run) fn sighting(id: &str) -> Box<Sighting> {
        Box::new(crate::sightings::sample(id))
    }

    impl Keeper {
        /// One that only says that jobs are done, each once `gate` gives something or is gone.
        pub(in crate::run) fn behind(gate: Receiver<()>) -> Arc<Self> {
            let (jobs, inbox) = bounded::<Job>(WAITING);
            let thread = std::thread::spawn(move || {
                for Job { number, say, .. } in inbox {
                    let _ = gate.recv();
                    let _ = say.try_send(Done { number, ..Done::default() });
                }
            });
            Arc::new(Self { jobs: Some(jobs), thread: Some(thread), folder: PathBuf::new(), bytes: Arc::default() })
        }
    }

    fn settings(folder: &std::path::Path) -> ArchiveSettings {
        ArchiveSettings { folder: folder.into(), clips: None, memory: 0, snapshots: true, keep: Keep::default() }
    }

    #[test]
    fn jobs_are_done_in_order_and_an_end_has_all_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let clip = folder.path().join("a.mp4");
        std::fs::write(&clip, "a clip").expect("written");
        let other = folder.path().join("b.mp4");
        std::fs::write(&other, "film").expect("written");
        let keeper = Keeper::open(&settings(folder.path())).expect("opened");
        let (say, told) = bounded(10);
        let file = FileRef { kind: "clip".into(), path: clip, start_pts_ns: None, end_pts_ns: None };
        let works = [
            Work::Sighting { sighting: sighting("a"), change: SightingChange::Start, shot: None },
            Work::File { id: "a".into(), file: file.clone() },
            Work::File { id: "nobody".into(), file: file.clone() },
            Work::Sighting { sighting: sighting("a"), change: SightingChange::End { cause: "gone" }, shot: None },
            Work::Sweep,
            // The same once more.
            Work::Sighting { sighting: sighting("a"), change: SightingChange::Start, shot: None },
            Work::Sighting { sighting: sighting("a"), change: SightingChange::End { cause: "end" }, shot: None },
            Work::File { id: "a".into(), file: FileRef { path: other, ..file.clone() } },
        ];
        for (number, work) in (1..).zip(works) {
            assert!(keeper.wait_and_hand_over(Job { number, work, noted: None, say: say.clone() }).is_ok());
        }
        let (_, bytes) = keeper.kept();
        // What was handed over is done before it goes.
        drop((keeper, say));
        assert_eq!(bytes.load(Ordering::Relaxed), 4, "of the second time alone");
        let done: Vec<Done> = told.iter().collect();
        assert_eq!(done.iter().map(|done| done.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(done.iter().map(|done| done.errors.len()).collect::<Vec<_>>(), [0, 0, 1, 0, 0, 0, 0, 0], "{done:?}");
        assert_eq!(done[3].files.iter().map(|file| file.kind.as_str()).collect::<Vec<_>>(), ["clip"]);
        let store = Store::open(folder.path(), Keep::default()).expect("opened");
        let kept = store.list(&Filter::default()).expect("listed");
        assert_eq!((kept.len(), kept[0].cause.as_deref()), (1, Some("end")));
        assert!(done[6].files.is_empty() && !file.path.exists(), "what was kept of the first time is gone");
    }

    #[test]
    fn a_job_waits_until_the_journal_has_noted_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let keeper = Keeper::open(&settings(folder.path())).expect("opened");
        let (say, told) = bounded(10);
        let (noted, write) = Noted::pending();
        let start = Work::Sighting { sighting: sighting("a"), change: SightingChange::Start, shot: None };
        assert!(keeper.wait_and_hand_over(Job { number: 1, work: start, noted: Some(noted.clone()), say }).is_ok());
        let store = Store::open(folder.path(), Keep::default()).expect("opened");
        let known = || store.list(&Filter::default()).expect("listed").len();
        // Not a proof that it waits, but it fails now and then where it does not.
        assert!(told.try_recv().is_err() && known() == 0 && !noted.is_there());
        write();
        let done = told.recv().expect("done");
        assert_eq!((done.number, done.errors.len(), known()), (1, 0, 1));
    }
}
