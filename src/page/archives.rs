//! Sightings that streams keep, looked up for whoever asks.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::Result;
use crate::sightings::{Filter, Keep, Kept, Store};

/// The folders of a run in which sightings are kept.
#[derive(Default)]
pub(crate) struct Archives(Vec<Archive>);

struct Archive {
    folder: PathBuf,
    /// Opened when somebody asks first.
    store: Mutex<Option<Store>>,
}

impl Archives {
    /// These folders; each counts once.
    pub(crate) fn of(folders: impl Iterator<Item = PathBuf>) -> Self {
        let mut all = Self::default();
        for folder in folders {
            if !all.0.iter().any(|archive| archive.folder == folder) {
                all.0.push(Archive { folder, store: Mutex::new(None) });
            }
        }
        all
    }

    /// Those that are meant, the newest first.
    ///
    /// # Blocking
    /// While the disk is busy.
    ///
    /// # Errors
    /// An index cannot be read.
    pub(super) fn list(&self, filter: &Filter) -> Result<Vec<Kept>> {
        let mut all = Vec::new();
        for archive in &self.0 {
            all.extend(archive.ask(|store| store.list(filter))?);
        }
        all.sort_by_key(|kept| Reverse(kept.sighting.start_unix_ns));
        all.truncate(filter.most.map_or(usize::MAX, |most| most as usize));
        Ok(all)
    }

    /// The one with this id, and the folder that keeps it.
    ///
    /// # Blocking
    /// As [`Archives::list`].
    ///
    /// # Errors
    /// An index cannot be read.
    pub(super) fn get(&self, id: &str) -> Result<Option<(Kept, &Path)>> {
        for archive in &self.0 {
            if let Some(kept) = archive.ask(|store| store.get(id))? {
                return Ok(Some((kept, &archive.folder)));
            }
        }
        Ok(None)
    }
}

impl Archive {
    fn ask<T>(&self, ask: impl FnOnce(&Store) -> Result<T>) -> Result<T> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = store.as_ref() {
            return ask(store);
        }
        // Looking deletes nothing.
        ask(store.insert(Store::open(&self.folder, Keep::default())?))
    }
}
