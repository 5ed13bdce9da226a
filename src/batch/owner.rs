//! Which processes are alive: each holds a lock on a file in a folder of its own, which goes with it, however it goes.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};

/// Where unfinished results lie, in the folder of the finished ones.
const FOLDER: &str = ".unfinished";
const LOCK: &str = "lock";
/// How the folder of a process is called until it is locked.
const BEGINNING: &str = "new-";
/// A process that begins takes no longer.
const BEGINS: Duration = Duration::from_mins(1);
/// How often another process may take the outer folder away when it has just been found.
const TRIES: usize = 10;

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
    /// The folder cannot be written, or is something else.
    pub(super) fn new(out: &Path) -> Result<Self> {
        let (id, all) = (records::run_id(), out.join(FOLDER));
        if std::fs::symlink_metadata(&all).is_ok_and(|metadata| !metadata.is_dir()) {
            let reason = "is no folder, expected one for unfinished results, or nothing";
            return Err(Error::Usage(format!("{}: {reason}", all.display())));
        }
        let folder = all.join(&id);
        // Under its own name a folder is locked from the first moment on.
        let staged = all.join(format!("{BEGINNING}{id}"));
        let made = (0..TRIES).map(|_| std::fs::create_dir_all(&staged)).find(std::io::Result::is_ok);
        made.unwrap_or_else(|| std::fs::create_dir_all(&staged)).map_err(Error::io("create", &staged))?;
        let path = staged.join(LOCK);
        let lock = File::create(&path).map_err(Error::io("create", &path))?;
        lock.lock().map_err(Error::io("lock", &path))?;
        std::fs::rename(&staged, &folder).map_err(Error::io("create", &folder))?;
        let owner = Self { id, folder, out: out.to_path_buf(), _lock: lock };
        for entry in std::fs::read_dir(&all).map_err(Error::io("read", &all))?.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            // What is not ours is nobody's to remove.
            let is_ours = is_id(&name.to_string_lossy()) && path.join(LOCK).is_file();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_ours && is_folder && is_left(&path, &name.to_string_lossy()) {
                tracing::debug!("{}: left behind, removed", path.display());
                drop(std::fs::remove_dir_all(path));
            }
        }
        Ok(owner)
    }

    /// Whether the process that the ledger calls `id` still works.
    pub(super) fn is_alive(&self, id: &str) -> bool {
        id == self.id || is_locked(&self.out.join(FOLDER).join(id))
    }
}

/// As [`records::run_id`] makes them, perhaps of a process that was beginning.
fn is_id(name: &str) -> bool {
    let id = name.strip_prefix(BEGINNING).unwrap_or(name);
    let is_hex = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    id.split_once('-').is_some_and(|(time, process)| is_hex(time) && is_hex(process))
}

/// Whether the process of a folder is gone.
fn is_left(folder: &Path, name: &str) -> bool {
    let age = || std::fs::metadata(folder).and_then(|metadata| metadata.modified()).ok()?.elapsed().ok();
    let begins = name.starts_with(BEGINNING) && age().is_none_or(|age| age < BEGINS);
    !begins && !is_locked(folder)
}

fn is_locked(folder: &Path) -> bool {
    // Shared: those who only look are not in each other's way.
    File::open(folder.join(LOCK)).is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

impl Drop for Owner {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
        // The last one takes the empty folder along.
        drop(std::fs::remove_dir(self.out.join(FOLDER)));
    }
}
