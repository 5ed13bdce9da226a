//! What is kept of sightings beside their records, as it is written: clips, snapshots, and for how long.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sightings::SightingsEntry;
use super::time::{LONGEST, parse};
use crate::error::{Error, Result};
use crate::sightings::{ArchiveSettings, ClipSettings, Container, Keep};

/// `clips` of `[sightings]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipsEntry {
    /// How long before its sighting a clip begins; 5 s if not given.
    pub before: Option<String>,
    /// How long after its sighting a clip ends; 5 s if not given.
    pub after: Option<String>,
    /// A longer one goes on in another file; 5 min if not given.
    pub max_length: Option<String>,
    /// `mp4` or `mkv`; `mp4` if not given.
    pub container: Option<Container>,
    /// Whether sound is kept; true if not given.
    pub sound: Option<bool>,
    /// Whether boxes are written beside it; false if not given.
    pub cues: Option<bool>,
    /// What the packets of a stream may take, as in `64MiB`, which it is if not given.
    pub memory: Option<String>,
}

/// `keep` of `[sightings]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeepEntry {
    /// Days since a sighting began; without end if not given.
    pub days: Option<u32>,
    /// Bytes of all files, as in `10GiB`; without limit if not given.
    pub bytes: Option<String>,
}

/// Seconds before and after, where nothing is said.
const AROUND: Duration = Duration::from_secs(5);
/// The most of them.
const MOST_AROUND: Duration = Duration::from_mins(10);
const MAX_LENGTH: Duration = Duration::from_mins(5);
const MEMORY: u64 = 64 << 20;
/// The least that holds a few groups of pictures.
const LEAST_MEMORY: u64 = 1 << 20;

impl ClipsEntry {
    /// With every key set.
    pub(super) fn example() -> Self {
        let text = || Some(String::new());
        Self {
            before: text(),
            after: text(),
            max_length: text(),
            container: Some(Container::Mp4),
            sound: Some(true),
            cues: Some(true),
            memory: text(),
        }
    }

    fn settings(&self, folder: &Path) -> Result<ClipSettings> {
        let around = || Duration::ZERO..=MOST_AROUND;
        Ok(ClipSettings {
            folder: folder.to_owned(),
            before: time("before", self.before.as_deref(), AROUND, around())?,
            after: time("after", self.after.as_deref(), AROUND, around())?,
            max_length: time("max_length", self.max_length.as_deref(), MAX_LENGTH, Duration::from_secs(1)..=LONGEST)?,
            container: self.container.unwrap_or_default(),
            sound: self.sound.unwrap_or(true),
            cues: self.cues.unwrap_or(false),
        })
    }

    fn memory(&self) -> Result<usize> {
        let Some(text) = &self.memory else { return Ok(MEMORY as usize) };
        let bytes =
            records::bytes(text).map_err(|reason| Error::Usage(format!("[sightings] clips.memory: {reason}")))?;
        let fitting = usize::try_from(bytes).ok().filter(|_| bytes >= LEAST_MEMORY);
        fitting.ok_or_else(|| Error::Usage(format!("[sightings] clips.memory: {text}: expected at least 1MiB")))
    }
}

impl KeepEntry {
    /// With every key set.
    pub(super) fn example() -> Self {
        Self { days: Some(1), bytes: Some(String::new()) }
    }

    fn keep(&self) -> Result<Keep> {
        let fail = |reason: String| Error::Usage(format!("[sightings] keep: {reason}"));
        let bytes = self.bytes.as_deref().map(records::bytes).transpose().map_err(&fail)?;
        if (self.days, bytes) == (None, None) || self.days == Some(0) {
            return Err(fail("expected days from 1 on, or bytes, as in { days = 30, bytes = \"10GiB\" }".into()));
        }
        Ok(Keep { days: self.days, bytes })
    }
}

fn time(key: &str, text: Option<&str>, usual: Duration, range: RangeInclusive<Duration>) -> Result<Duration> {
    let Some(text) = text else { return Ok(usual) };
    parse(text, range).map_err(|reason| Error::Usage(format!("[sightings] clips.{key}: {text}: {reason}")))
}

/// What is kept in `dir` beside the journal; none where nobody wants anything.
///
/// # Errors
/// There is no folder for it, or a value is out of range.
pub(super) fn archive(entry: &SightingsEntry, dir: Option<&Path>) -> Result<Option<ArchiveSettings>> {
    let wanted = [
        ("clips", entry.clips.is_some()),
        ("snapshots", entry.snapshots == Some(true)),
        ("keep", entry.keep.is_some()),
    ];
    let Some((key, _)) = wanted.into_iter().find(|(_, wanted)| *wanted) else { return Ok(None) };
    let Some(dir) = dir else {
        let reason = "is for files in a folder, expected dir = \"FOLDER\" beside it, or --sightings-dir FOLDER";
        return Err(Error::Usage(format!("[sightings] {key}: {reason}")));
    };
    let clips = entry.clips.as_ref();
    Ok(Some(ArchiveSettings {
        folder: dir.to_owned(),
        clips: clips.map(|clips| clips.settings(dir)).transpose()?,
        memory: clips.map_or(Ok(MEMORY as usize), ClipsEntry::memory)?,
        snapshots: entry.snapshots.unwrap_or(false),
        keep: entry.keep.as_ref().map_or(Ok(Keep::default()), KeepEntry::keep)?,
    }))
}
