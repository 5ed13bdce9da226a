//! Which processes are alive: each holds a lock on a file in a folder of its own, which goes with it, however it goes.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Where unfinished results lie, in the folder of the finished ones.
const FOLDER: &str = ".unfinished";
const LOCK: &str = "lock";

/// This process, as others see it.
pub(super) struct Owner {
    /// What the ledger calls it.
    pub(super) id: String,
    /// Its folder.
    pub(super) folder: PathBuf,
    out: PathBuf,
    /// Locked for as long as this lives.
    _lock: File,
}

impl Owner {
    /// Makes a folder in `out`, and clears away what processes left behind that are gone.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(super) fn new(out: &Path) -> Result<Self> {
        let id = crate::record::run_id();
        let all = out.join(FOLDER);
        let folder = all.join(&id);
        // Another process may take the outer folder away when it has just been found.
        let made = (0..TRIES).map(|_| std::fs::create_dir_all(&folder)).find(std::io::Result::is_ok);
        made.unwrap_or_else(|| std::fs::create_dir_all(&folder)).map_err(Error::io("create", &folder))?;
        let path = folder.join(LOCK);
        let lock = File::create(&path).map_err(Error::io("create", &path))?;
        lock.lock().map_err(Error::io("lock", &path))?;
        let owner = Self { id, folder, out: out.to_path_buf(), _lock: lock };
        for entry in std::fs::read_dir(&all).map_err(Error::io("read", &all))?.flatten() {
            let name = entry.file_name();
            if name != owner.id.as_str() && !is_alive(out, &name.to_string_lossy()) {
                tracing::debug!("{}: left behind, removed", entry.path().display());
                drop(std::fs::remove_dir_all(entry.path()));
            }
        }
        Ok(owner)
    }

    /// Whether the process that the ledger calls `id` still works.
    pub(super) fn is_alive(&self, id: &str) -> bool {
        id == self.id || is_alive(&self.out, id)
    }
}

fn is_alive(out: &Path, id: &str) -> bool {
    let folder = out.join(FOLDER).join(id);
    let Ok(lock) = File::open(folder.join(LOCK)) else {
        // One that begins makes the folder first, and the lock at once.
        let age =
            std::fs::metadata(&folder).and_then(|metadata| metadata.modified()).ok().and_then(|at| at.elapsed().ok());
        return age.is_some_and(|age| age < BEGINNING);
    };
    matches!(lock.try_lock(), Err(TryLockError::WouldBlock))
}

const TRIES: usize = 10;
/// How long a process may take to lock its file.
const BEGINNING: std::time::Duration = std::time::Duration::from_secs(10);

impl Drop for Owner {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
        // The last one takes the empty folder along.
        drop(std::fs::remove_dir(self.out.join(FOLDER)));
    }
}
