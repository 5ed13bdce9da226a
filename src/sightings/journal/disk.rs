//! The thread that puts the steps of a journal on the disk: whoever has a frame in hand does not wait for it.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::Note;
use crate::error::{Error, Result};

/// Steps that may wait for the disk; whoever has one more waits with it.
const WAITING: usize = 1024;
/// Steps that are written at once, at most.
const AT_ONCE: usize = 64;

/// What is done to the file.
#[derive(Debug)]
pub(super) enum Step {
    /// A line more; `sync` where it is to outlast a power cut.
    Note { note: Note, sync: bool },
    /// Nothing of it is needed any more.
    Clear,
}

/// Where lines go.
pub(super) trait Lines: Send + 'static {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    fn clear(&mut self) -> io::Result<()>;
}

impl Lines for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn clear(&mut self) -> io::Result<()> {
        self.set_len(0)
    }
}

/// How far the thread is.
#[derive(Debug, Default)]
struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Steps that are on the disk.
    written: u64,
    /// No more of them will be.
    over: bool,
    /// Why, where that is not what was wanted; until somebody is told.
    error: Option<Error>,
}

impl Progress {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }
}

/// A step of a journal, of which nobody is told before it is on the disk.
#[derive(Debug, Clone)]
pub struct Noted {
    progress: Arc<Progress>,
    /// Of the step, from 1.
    number: u64,
}

impl Noted {
    /// Whether it is on the disk.
    pub fn is_there(&self) -> bool {
        self.progress.state().written >= self.number
    }

    /// Waits until it is, for so long at most where there is a limit. False where it is not there by then, or never will be.
    ///
    /// # Blocking
    /// While the disk is behind.
    pub fn wait(&self, limit: Option<Duration>) -> bool {
        let (state, changed) = (self.progress.state(), &self.progress.changed);
        let is_awaited = |state: &mut State| state.written < self.number && !state.over;
        let state = match limit {
            Some(limit) => changed.wait_timeout_while(state, limit, is_awaited).map(|(state, _)| state).ok(),
            None => changed.wait_while(state, is_awaited).ok(),
        };
        state.is_some_and(|state| state.written >= self.number)
    }
}

/// The way to the thread. What was handed over is written before it goes.
#[derive(Debug)]
pub(super) struct Disk {
    steps: Option<Sender<Step>>,
    thread: Option<JoinHandle<()>>,
    progress: Arc<Progress>,
    path: PathBuf,
    /// Steps so far.
    count: u64,
}

impl Disk {
    /// # Errors
    /// The system has no thread to give.
    pub(super) fn start(mut lines: impl Lines, path: &Path) -> Result<Self> {
        let (steps, inbox) = bounded(WAITING);
        let progress = Arc::<Progress>::default();
        let (said, place) = (Arc::clone(&progress), path.to_path_buf());
        let thread = std::thread::Builder::new().name("journal".into()).spawn(move || {
            // Said also where this thread panics: others wait for it.
            let _over = Over(&said);
            if let Err(error) = write_all(&mut lines, &inbox, &said) {
                said.change(|state| state.error = Some(Error::io("write", &place)(error)));
            }
        });
        let thread = thread.map_err(|error| Error::Worker(error.to_string()))?;
        Ok(Self { steps: Some(steps), thread: Some(thread), progress, path: path.to_path_buf(), count: 0 })
    }

    /// Has a step written.
    ///
    /// # Errors
    /// An earlier one could not be.
    ///
    /// # Blocking
    /// Where 1024 steps wait already.
    pub(super) fn write(&mut self, step: Step) -> Result<Noted> {
        if self.steps.as_ref().is_none_or(|steps| steps.send(step).is_err()) {
            self.check()?;
            return Err(Error::io("write", &self.path)(io::Error::other("it failed before")));
        }
        self.count += 1;
        Ok(Noted { progress: Arc::clone(&self.progress), number: self.count })
    }

    /// Whether all could be written so far.
    ///
    /// # Errors
    /// It could not, which is said once.
    pub(super) fn check(&self) -> Result<()> {
        self.progress.state().error.take().map_or(Ok(()), Err)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.steps = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that notes open sightings ended by an error of the program");
        }
    }
}

/// Says that no more comes when it goes.
struct Over<'a>(&'a Progress);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.over = true);
    }
}

/// Writes steps until no more come. Those that wait together are written together, and synced once.
fn write_all(lines: &mut impl Lines, steps: &Receiver<Step>, progress: &Progress) -> io::Result<()> {
    let mut bytes = Vec::new();
    while let Ok(first) = steps.recv() {
        let (mut count, mut is_synced) = (0, true);
        bytes.clear();
        for step in std::iter::once(first).chain(steps.try_iter().take(AT_ONCE - 1)) {
            count += 1;
            match step {
                Step::Note { note, sync } => {
                    serde_json::to_writer(&mut bytes, &note)?;
                    bytes.push(b'\n');
                    is_synced &= !sync;
                }
                Step::Clear => {
                    bytes.clear();
                    lines.clear()?;
                    is_synced = true;
                }
            }
        }
        if !bytes.is_empty() {
            lines.append(&bytes)?;
        }
        if !is_synced {
            lines.sync()?;
        }
        progress.change(|state| state.written += count);
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::sightings) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    impl Noted {
        /// One that is not on the disk before the function is called.
        pub(crate) fn pending() -> (Self, impl FnOnce()) {
            let progress = Arc::<Progress>::default();
            let noted = Self { progress: Arc::clone(&progress), number: 1 };
            (noted, move || progress.change(|state| state.written = 1))
        }
    }

    /// A disk that writes when `gate` gives something or is gone, and what is on it.
    pub(in crate::sightings) struct Slow {
        pub(in crate::sightings) gate: Receiver<()>,
        pub(in crate::sightings) text: Arc<Mutex<Vec<u8>>>,
        /// How often it was told to keep what it has through a power cut.
        pub(in crate::sightings) synced: Arc<AtomicUsize>,
    }

    impl Lines for Slow {
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            let _ = self.gate.recv();
            self.text.lock().expect("whole").extend_from_slice(bytes);
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            self.synced.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        fn clear(&mut self) -> io::Result<()> {
            self.text.lock().expect("whole").clear();
            Ok(())
        }
    }

    /// That nothing fits on.
    struct Full;

    impl Lines for Full {
        fn append(&mut self, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn clear(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn told(number: usize) -> Step {
        Step::Note { note: Note::Told { id: number.to_string() }, sync: true }
    }

    #[test]
    fn steps_are_written_in_order_by_somebody_else() {
        let (open, gate) = bounded(0);
        let (text, synced) = (Arc::default(), Arc::<AtomicUsize>::default());
        let slow = Slow { gate, text: Arc::clone(&text), synced: Arc::clone(&synced) };
        let mut disk = Disk::start(slow, Path::new("there")).expect("started");
        let noted: Vec<Noted> = (0..100).map(|number| disk.write(told(number)).expect("taken")).collect();
        assert!(!noted[0].is_there() && !noted[0].wait(Some(Duration::ZERO)), "the disk has not begun");
        open.send(()).expect("writes");
        assert!(noted[0].wait(None));
        assert!(synced.load(Ordering::Relaxed) > 0, "a power cut takes nothing that is noted");
        assert!(!noted[99].is_there(), "so many are not written at once");
        drop(open);
        assert!(noted[99].wait(None) && noted.iter().all(Noted::is_there));
        let ids = || {
            let text = String::from_utf8(text.lock().expect("whole").clone()).expect("text");
            let ids = text.lines().map(|line| serde_json::from_str::<Note>(line).expect("whole"));
            ids.map(|note| if let Note::Told { id } = note { id } else { panic!("{note:?}") }).collect::<Vec<_>>()
        };
        assert_eq!(ids(), (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
        disk.write(Step::Clear).expect("taken");
        disk.write(told(7)).expect("taken");
        drop(disk);
        assert_eq!(ids(), ["7"], "what was handed over is written before it goes");
    }

    #[test]
    fn what_need_not_outlast_a_power_cut_waits_for_no_disk() {
        let (_, gate) = bounded(0);
        let (text, synced) = (Arc::default(), Arc::<AtomicUsize>::default());
        let slow = Slow { gate, text, synced: Arc::clone(&synced) };
        let mut disk = Disk::start(slow, Path::new("there")).expect("started");
        let note = Note::Told { id: "1".into() };
        assert!(disk.write(Step::Note { note, sync: false }).expect("taken").wait(None));
        assert_eq!(synced.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_full_disk_is_said_once_and_nobody_waits_for_it() {
        let mut disk = Disk::start(Full, Path::new("there")).expect("started");
        disk.check().expect("nothing was tried");
        let noted = disk.write(told(0)).expect("taken");
        assert!(!noted.wait(None) && !noted.is_there());
        drop(disk.thread.take().expect("runs").join());
        let said = disk.check().expect_err("it is full").to_string();
        assert!(said.starts_with("cannot write there: "), "{said}");
        disk.check().expect("it was said");
        assert!(disk.write(told(1)).is_err(), "nobody takes any more");
    }
}
