//! The cache: a folder for every model, whole, and beside them in hidden folders what is still coming, and locks.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::error::{Error, Result};
use crate::layout::lacking;
use crate::manifest::Manifest;
use crate::part::ENDING;
use crate::wanted::Repository;

/// What is still coming, a folder for every model and in it one for the commit.
const PARTIAL: &str = ".partial";
/// A file for every model, locked by whoever fetches it.
const LOCKS: &str = ".locks";

/// What ends the names of weights.
const WEIGHTS: &str = ".safetensors";
/// What ends the name of the lock that is held while files of a model are read, and while they give way.
const IN_USE: &str = ".in-use";

/// Models on this machine.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// What the cache has of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// All of it.
    Complete {
        /// Its folder.
        path: PathBuf,
        /// Where it came from; none where somebody copied it there.
        manifest: Option<Manifest>,
        /// Its length.
        bytes: u64,
    },
    /// A folder to which somebody copied a part of it, or out of which something went.
    Broken {
        /// Its folder.
        path: PathBuf,
        /// Names of files.
        lacks: Vec<String>,
    },
    /// What came until something ended it; fetching goes on there.
    Partial {
        /// How much that is.
        bytes: u64,
    },
    /// Nothing.
    Absent,
}

/// A model of which the cache has something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which.
    pub repository: Repository,
    /// What it has.
    pub found: Found,
}

/// Held while a model is fetched or removed.
pub(crate) struct Lock {
    _file: File,
}

/// Held by who reads a model's files: as long as it is there, they are neither removed nor replaced.
#[derive(Debug)]
pub struct Held {
    _file: File,
}

impl Cache {
    /// The cache in a folder, which is made when something comes.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a model is, or would be.
    pub fn path(&self, repository: &Repository) -> PathBuf {
        self.root.join(repository.folder())
    }

    /// What is here of a model.
    pub fn find(&self, repository: &Repository) -> Found {
        let path = self.path(repository);
        if !path.is_dir() {
            return match length(&self.partial(repository)) {
                0 => Found::Absent,
                bytes => Found::Partial { bytes },
            };
        }
        let manifest = Manifest::read(&path);
        let lacks = manifest.as_ref().map_or_else(|| lacking(&path), |manifest| changed(&path, manifest));
        if lacks.is_empty() {
            let bytes = length(&path);
            return Found::Complete { path, manifest, bytes };
        }
        Found::Broken { path, lacks }
    }

    /// All models of which something is here, by their names.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let mut all = Vec::new();
        for folder in [self.root.clone(), self.root.join(PARTIAL)] {
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io("read", &folder)(error)),
            };
            for entry in entries {
                let entry = entry.map_err(Error::io("read", &folder))?;
                all.extend(entry.file_name().to_str().and_then(Repository::of_folder));
            }
        }
        all.sort();
        all.dedup();
        let listed = all.into_iter().map(|repository| Listed { found: self.find(&repository), repository });
        Ok(listed.filter(|listed| listed.found != Found::Absent).collect())
    }

    /// Removes a model, and what came of it; says whether there was anything. Waits for whoever is fetching it.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn remove(&self, repository: &Repository) -> Result<bool> {
        if self.find(repository) == Found::Absent {
            return Ok(false);
        }
        let _lock = self.lock(repository, &mut || {})?;
        let _alone = self.alone(repository, &mut || {})?;
        let (path, partial) = (self.path(repository), self.partial(repository));
        let there = path.is_dir() || partial.is_dir();
        if path.is_dir() {
            // Half of it must not be seen while the other half goes.
            let aside = partial.join(".removed");
            make(&partial)?;
            clear(&aside)?;
            std::fs::rename(&path, &aside).map_err(Error::io("remove", &path))?;
        }
        clear(&partial)?;
        Ok(there)
    }

    /// Takes a model for this process alone; `others` is called where another one has it, which is then waited for.
    pub(crate) fn lock(&self, repository: &Repository, others: &mut dyn FnMut()) -> Result<Lock> {
        self.lock_file(&repository.folder(), others)
    }

    /// Waits until nobody reads a model's files; `others` is called where somebody does.
    pub(crate) fn alone(&self, repository: &Repository, others: &mut dyn FnMut()) -> Result<Lock> {
        self.lock_file(&(repository.folder() + IN_USE), others)
    }

    /// Keeps the files of a model's folder as they are while they are read. None where it is no folder of the cache, and where
    /// there can be no lock: a cache that cannot be written is not changed either.
    pub fn hold(&self, folder: &Path) -> Option<Held> {
        let repository = folder.file_name()?.to_str().and_then(Repository::of_folder)?;
        if self.path(&repository) != folder {
            return None;
        }
        let (file, _) = self.open_lock(&(repository.folder() + IN_USE)).ok()?;
        file.lock_shared().is_ok().then_some(Held { _file: file })
    }

    fn open_lock(&self, name: &str) -> Result<(File, PathBuf)> {
        let folder = self.root.join(LOCKS);
        make(&folder)?;
        let path = folder.join(name);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        Ok((file.map_err(Error::io("create", &path))?, path))
    }

    fn lock_file(&self, name: &str, others: &mut dyn FnMut()) -> Result<Lock> {
        let (file, path) = self.open_lock(name)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                others();
                file.lock().map_err(Error::io("lock", &path))?;
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
        }
        Ok(Lock { _file: file })
    }

    fn partial(&self, repository: &Repository) -> PathBuf {
        self.root.join(PARTIAL).join(repository.folder())
    }

    /// The folder in which a commit of a model comes together. What came of other commits goes.
    pub(crate) fn staging(&self, repository: &Repository, commit: &str) -> Result<PathBuf> {
        let partial = self.partial(repository);
        make(&partial)?;
        let entries = std::fs::read_dir(&partial).map_err(Error::io("read", &partial))?;
        for entry in entries {
            let entry = entry.map_err(Error::io("read", &partial))?;
            if entry.file_name() != commit {
                clear(&entry.path())?;
            }
        }
        let staging = partial.join(commit);
        make(&staging)?;
        Ok(staging)
    }

    /// Drops what came of a model so far.
    pub(crate) fn drop_partial(&self, repository: &Repository) -> Result<()> {
        clear(&self.partial(repository))
    }

    /// Drops what came of a model where that is none of its weights.
    pub(crate) fn tidy(&self, repository: &Repository) -> Result<()> {
        let partial = self.partial(repository);
        let below = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().collect::<Vec<_>>();
        let files = below(&partial).into_iter().flat_map(|staging| below(&staging.path()));
        let is_weights = |name: std::ffi::OsString| {
            let name = name.to_string_lossy();
            name.strip_suffix(ENDING).unwrap_or(&name).ends_with(WEIGHTS)
        };
        if files.map(|file| file.file_name()).any(is_weights) { Ok(()) } else { clear(&partial) }
    }

    /// Puts a finished folder into its place, in one step, and drops what stood there, which nobody reads: see [`Cache::alone`].
    pub(crate) fn place(&self, staging: &Path, repository: &Repository, _alone: &Lock) -> Result<PathBuf> {
        let path = self.path(repository);
        sync(staging)?;
        if path.exists() {
            let exchanged = renameat_with(CWD, staging, CWD, &path, RenameFlags::EXCHANGE);
            if exchanged.is_err() {
                // Not every file system can: for a moment there is no such model.
                let aside = self.partial(repository).join(".replaced");
                clear(&aside)?;
                std::fs::rename(&path, &aside).map_err(Error::io("replace", &path))?;
                std::fs::rename(staging, &path).map_err(Error::io("create", &path))?;
            }
        } else {
            std::fs::rename(staging, &path).map_err(Error::io("create", &path))?;
        }
        sync(&self.root)?;
        self.drop_partial(repository)?;
        Ok(path)
    }

    /// Bytes that this process can still write there.
    pub(crate) fn free(&self) -> Result<u64> {
        make(&self.root)?;
        let stat = rustix::fs::statvfs(&self.root).map_err(|e| Error::io("read", &self.root)(e.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// A name stays after a power cut.
fn sync(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("write", folder))
}

fn make(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))
}

/// Removes a file or a folder with all that is in it, where it is there.
fn clear(path: &Path) -> Result<()> {
    let gone =
        if path.is_dir() && !path.is_symlink() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match gone {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Files of a manifest that are not as they were.
fn changed(folder: &Path, manifest: &Manifest) -> Vec<String> {
    let whole = |name: &str, bytes| std::fs::metadata(folder.join(name)).is_ok_and(|there| there.len() == bytes);
    manifest.files.iter().filter(|file| !whole(&file.name, file.bytes)).map(|file| file.name.clone()).collect()
}

/// Bytes of all files below a folder.
fn length(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let of = |entry: std::fs::DirEntry| match std::fs::metadata(entry.path()) {
        Ok(found) if found.is_dir() => length(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}
