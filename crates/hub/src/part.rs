//! A file that is still coming: what is there of it, and its checksum so far.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use blocks::files::hex;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// What is behind the name of such a file.
pub(crate) const ENDING: &str = ".part";
/// Bytes read at once.
const CHUNK: usize = 1 << 20;

pub(crate) struct Part {
    path: PathBuf,
    file: File,
    hasher: Sha256,
    length: u64,
    /// Whether all of it came in one answer.
    in_one: bool,
}

impl Part {
    /// Of a file in a folder; what an earlier process left of it is kept where `keep`.
    pub(crate) fn open(folder: &Path, name: &str, keep: bool) -> Result<Self> {
        let path = folder.join(format!("{name}{ENDING}"));
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let file = file.map_err(Error::io("create", &path))?;
        let mut part = Self { path, file, hasher: Sha256::new(), length: 0, in_one: true };
        if keep {
            part.read_what_is_there()?;
        } else {
            part.restart()?;
        }
        Ok(part)
    }

    fn read_what_is_there(&mut self) -> Result<()> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = self.file.read(&mut chunk).map_err(Error::io("read", &self.path))?;
            if count == 0 {
                self.in_one = self.length == 0;
                return Ok(());
            }
            self.hasher.update(&chunk[..count]);
            self.length += count as u64;
        }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn is_in_one(&self) -> bool {
        self.in_one
    }

    /// What comes next is of another answer.
    pub(crate) fn resume(&mut self) {
        self.in_one = self.length == 0;
    }

    /// Drops what is there.
    pub(crate) fn restart(&mut self) -> Result<()> {
        let empty = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        empty.map_err(Error::io("write", &self.path))?;
        (self.hasher, self.length, self.in_one) = (Sha256::new(), 0, true);
        Ok(())
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.path))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// SHA-256 of what is there.
    pub(crate) fn sum(&self) -> String {
        hex(&self.hasher.clone().finalize())
    }

    /// Removes it.
    pub(crate) fn discard(self) -> Result<()> {
        std::fs::remove_file(&self.path).map_err(Error::io("remove", &self.path))
    }

    /// Brings it to the disk, and gives it its name.
    pub(crate) fn finish(self, path: &Path) -> Result<()> {
        self.file.sync_all().map_err(Error::io("write", &self.path))?;
        std::fs::rename(&self.path, path).map_err(Error::io("create", path))
    }
}
