//! What is written beside a fetched model: where it came from, and what its files were held to.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Its file.
pub(crate) const FILE: &str = "spotter-fetch.json";
/// Its schema.
const SCHEMA: &str = "spotter.fetch/1";

/// Where a model came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    schema: String,
    /// The hub's address.
    pub hub: String,
    /// `owner/name`.
    pub repository: String,
    /// What was asked for: branch, tag or commit.
    pub revision: String,
    /// What that was then, as the hub said.
    pub commit: Option<String>,
    /// All files.
    pub files: Vec<FileEntry>,
}

/// A file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of what was written.
    pub sha256: String,
    /// What that was compared with.
    pub checked: Checked,
    /// The hub's mark of this version.
    pub etag: Option<String>,
}

/// What a file was held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checked {
    /// The checksum in the table of known models.
    Table,
    /// The hub's checksum.
    Hub,
    /// The length that the hub names, and no checksum.
    Length,
}

impl Manifest {
    pub(crate) fn new(
        hub: String,
        repository: &crate::Repository,
        commit: Option<String>,
        files: Vec<FileEntry>,
    ) -> Self {
        let (repository, revision) = (repository.path(), repository.revision().to_owned());
        Self { schema: SCHEMA.into(), hub, repository, revision, commit, files }
    }

    /// That of a folder; none where there is none that is readable.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        let manifest: Self = serde_json::from_slice(&std::fs::read(folder.join(FILE)).ok()?).ok()?;
        (manifest.schema == SCHEMA).then_some(manifest)
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::io("write", &path)(e.into()))? + "\n";
        let write = || {
            std::fs::write(&path, text)?;
            std::fs::File::open(&path)?.sync_all()
        };
        write().map_err(Error::io("write", &path))
    }
}
