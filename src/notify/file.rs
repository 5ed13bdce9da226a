//! Events into a file of JSON Lines.

use std::path::{Path, PathBuf};

use records::{RotatingFile, Rotation};

use super::deliver::{Failure, Target};
use super::queue::Waiting;

/// A file that is told.
pub(super) struct LinesFile {
    path: PathBuf,
    rotation: Rotation,
    /// None after a failure: what was written in part is taken away when it is opened again.
    file: Option<RotatingFile>,
}

impl LinesFile {
    pub(super) fn new(path: &Path, rotation: Rotation) -> Self {
        Self { path: path.to_path_buf(), rotation, file: None }
    }

    fn write(&mut self, line: &str) -> std::io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => RotatingFile::append(&self.path, self.rotation)?,
        };
        let file = self.file.insert(file);
        file.add(line.as_bytes())?;
        file.sync()
    }
}

impl Target for LinesFile {
    async fn send(&mut self, waiting: &Waiting) -> Result<(), Failure> {
        self.write(&format!("{}\n", waiting.event)).map_err(|error| {
            self.file = None;
            Failure::Away(format!("cannot write {}: {error}", self.path.display()))
        })
    }
}
