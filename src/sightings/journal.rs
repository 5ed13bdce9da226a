//! Which sightings are open, on the disk: whatever ends the process, the next run can tell how each of them ended.
//!
//! A line of JSON for each step. That a sighting is open stands there before anybody is told of its start, and how it ends
//! before anybody is told of its end; once everybody was told, that is noted too. A last line that was cut is no line. A thread
//! of its own writes them, so that a slow disk holds up what is told and not the frames.

mod disk;

use std::collections::BTreeMap;
use std::fs::{OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use blocks::files::hex;
use records::Sighting;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use disk::{Disk, Step};

pub use disk::Noted;

/// Digits of a stream's digest in the name of its file: names of streams are alike once files can be called so.
const DIGITS: usize = 8;

/// A step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Note {
    /// It is there; `silent` where nobody is told.
    Open { sighting: Box<Sighting>, silent: bool },
    /// It ends, for this cause.
    Ending { sighting: Box<Sighting>, cause: String },
    /// Its end was told.
    Told { id: String },
}

/// A sighting of a run that ended without a word.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Left {
    pub(super) sighting: Sighting,
    pub(super) silent: bool,
    /// Why it ended, where that was known already.
    pub(super) cause: Option<String>,
}

/// The file of one stream, locked while this lives. A thread writes it.
#[derive(Debug)]
pub(super) struct Journal {
    disk: Disk,
    /// Ids of those that are open or ending.
    open: Vec<String>,
    /// The last step that somebody is to be told of.
    noted: Option<Noted>,
}

impl Journal {
    /// Opens the journal of `stream` in the folder `dir`, which is made where its parent is there, and gives what is open in
    /// it. A file can be called `file_name` for the stream.
    ///
    /// # Errors
    /// The folder cannot be written, or another run keeps the journal.
    pub(super) fn open(dir: &Path, stream: &str, file_name: &str) -> Result<(Self, Vec<Left>)> {
        if let Err(error) = std::fs::create_dir(dir)
            && !dir.is_dir()
        {
            return Err(Error::io("create", dir)(error));
        }
        let digest = hex(&Sha256::digest(stream.as_bytes()));
        let name = format!("open-{file_name}-{}.jsonl", &digest[..DIGITS]);
        let path = dir.join(name);
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path);
        let mut file = file.map_err(Error::io("create", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let reason = "another run keeps the sightings of this stream, expected a folder for each run";
                return Err(Error::Usage(format!("{}: {reason}", path.display())));
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(Error::io("read", &path))?;
        if !text.is_empty() && !text.ends_with(b"\n") {
            file.write_all(b"\n").map_err(Error::io("write", &path))?;
        }
        let left = read(&text);
        let open = left.iter().map(|left| left.sighting.id.clone()).collect();
        Ok((Self { disk: Disk::start(file, &path)?, open, noted: None }, left))
    }

    /// A sighting is about to be told of.
    ///
    /// # Errors
    /// An earlier step could not be written.
    pub(super) fn begin(&mut self, sighting: &Sighting, silent: bool) -> Result<()> {
        self.open.push(sighting.id.clone());
        self.note(Note::Open { sighting: Box::new(sighting.clone()), silent }, true)
    }

    /// More is known of one. What a power cut takes of it, nobody misses.
    ///
    /// # Errors
    /// An earlier step could not be written.
    pub(super) fn update(&mut self, sighting: &Sighting, silent: bool) -> Result<()> {
        self.note(Note::Open { sighting: Box::new(sighting.clone()), silent }, false)
    }

    /// The end of a sighting is about to be told.
    ///
    /// # Errors
    /// An earlier step could not be written.
    pub(super) fn end(&mut self, sighting: &Sighting, cause: &str) -> Result<()> {
        self.note(Note::Ending { sighting: Box::new(sighting.clone()), cause: cause.to_owned() }, true)
    }

    /// Everybody was told of the ends of these.
    ///
    /// # Errors
    /// An earlier step could not be written.
    pub(super) fn told(&mut self, ids: impl Iterator<Item = String>) -> Result<()> {
        for id in ids {
            self.open.retain(|open| *open != id);
            self.disk.write(Step::Note { note: Note::Told { id }, sync: false })?;
        }
        if self.open.is_empty() {
            self.disk.write(Step::Clear)?;
        }
        Ok(())
    }

    /// The last step that somebody is to be told of: nobody is before it is on the disk. None where there was none yet.
    pub(super) fn noted(&self) -> Option<&Noted> {
        self.noted.as_ref()
    }

    /// Whether all could be written so far.
    ///
    /// # Errors
    /// The disk is full.
    pub(super) fn check(&self) -> Result<()> {
        self.disk.check()
    }

    fn note(&mut self, note: Note, sync: bool) -> Result<()> {
        self.noted = Some(self.disk.write(Step::Note { note, sync })?);
        Ok(())
    }
}

/// What is open after all steps, in the order of the first of them.
fn read(text: &[u8]) -> Vec<Left> {
    let mut all: BTreeMap<String, (usize, Left)> = BTreeMap::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let Ok(note) = serde_json::from_slice::<Note>(line) else { continue };
        match note {
            Note::Open { sighting, silent } => {
                let first = all.get(&sighting.id).map_or(number, |(first, _)| *first);
                all.insert(sighting.id.clone(), (first, Left { sighting: *sighting, silent, cause: None }));
            }
            Note::Ending { sighting, cause } => {
                if let Some((_, left)) = all.get_mut(&sighting.id) {
                    (left.sighting, left.cause) = (*sighting, Some(cause));
                }
            }
            Note::Told { id } => drop(all.remove(&id)),
        }
    }
    let mut left: Vec<(usize, Left)> = all.into_values().collect();
    left.sort_by_key(|(first, _)| *first);
    left.into_iter().map(|(_, left)| left).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use records::{Best, PixelBox};

    use super::*;

    /// One of a camera at a gate.
    pub(crate) fn sighting(id: &str) -> Sighting {
        let boxed = PixelBox { x: 1.0, y: 2.0, w: 3.0, h: 4.0 };
        let best = Best { boxed, score: None, presence: Some(0.5), frame_index: None, seq: 1, unix_ns: 7 };
        Sighting {
            id: id.into(),
            stream: "gate".into(),
            query: "a car".into(),
            text: "a car".into(),
            objects: vec![1],
            start_pts_ns: Some(5),
            start_unix_ns: 7,
            last_pts_ns: Some(5),
            last_unix_ns: 7,
            best,
            zones: Vec::new(),
            path: Vec::new(),
            files: Vec::new(),
        }
    }

    impl Journal {
        /// One on a disk that writes when `gate` gives something or is gone.
        pub(in crate::sightings) fn slow(gate: crossbeam_channel::Receiver<()>) -> Self {
            let slow =
                super::disk::tests::Slow { gate, text: std::sync::Arc::default(), synced: std::sync::Arc::default() };
            Self { disk: Disk::start(slow, Path::new("slow")).expect("started"), open: Vec::new(), noted: None }
        }
    }

    fn open(dir: &Path) -> (Journal, Vec<Left>) {
        Journal::open(dir, "rtsp://gate/1", "gate").expect("opened")
    }

    #[test]
    fn what_was_open_is_known_after_whatever_end() {
        let scratch = tempfile::tempdir().expect("a folder");
        let dir = scratch.path().join("sightings");
        let (mut journal, left) = open(&dir);
        assert_eq!(left, []);
        for id in ["a", "b", "c"] {
            journal.begin(&sighting(id), id == "c").expect("written");
        }
        let moved = Sighting { last_unix_ns: 99, ..sighting("b") };
        journal.update(&moved, false).expect("written");
        journal.end(&sighting("a"), "gone").expect("written");
        drop(journal);
        // As SIGKILL leaves it, in the middle of a line.
        let path = std::fs::read_dir(&dir).expect("listed").next().expect("a file").expect("an entry").path();
        let mut text = std::fs::read(&path).expect("read");
        text.extend_from_slice(b"{\"told\":{\"id\":\"b");
        std::fs::write(&path, &text).expect("written");

        let (mut journal, left) = open(&dir);
        let told: Vec<_> = left.iter().map(|left| (&*left.sighting.id, left.silent, left.cause.as_deref())).collect();
        assert_eq!(told, [("a", false, Some("gone")), ("b", false, None), ("c", true, None)]);
        assert_eq!(left[1].sighting, moved, "as it was known last");
        journal.told(["a", "c"].map(String::from).into_iter()).expect("written");
        drop(journal);

        let (mut journal, left) = open(&dir);
        assert_eq!(left.len(), 1, "the others are told once: {left:?}");
        journal.told(["b"].map(String::from).into_iter()).expect("written");
        drop(journal);
        assert_eq!(std::fs::metadata(&path).expect("there").len(), 0, "what is told is not kept");
        let (mut journal, left) = open(&dir);
        assert_eq!(left, []);
        journal.begin(&sighting("d"), false).expect("written");
        drop(journal);
        assert_eq!(open(&dir).1.len(), 1);
    }

    #[test]
    fn a_journal_belongs_to_one_run_and_to_one_stream() {
        let scratch = tempfile::tempdir().expect("a folder");
        let _first = open(scratch.path());
        let refused = Journal::open(scratch.path(), "rtsp://gate/1", "gate").expect_err("it is kept").to_string();
        assert!(refused.contains("another run keeps"), "{refused}");
        Journal::open(scratch.path(), "rtsp://gate_1", "gate").expect("another stream whose file is called alike");
    }
}
