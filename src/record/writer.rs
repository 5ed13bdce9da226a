//! JSON Lines to a file or to stdout.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};

/// A JSON Lines output. Flushed per line where a reader may wait (standard output, a pipe, a device), by buffer to a file.
pub struct JsonLines {
    path: PathBuf,
    target: Target,
}

enum Target {
    File(BufWriter<File>),
    Pipe(File),
    Stdout(std::io::Stdout),
}

impl JsonLines {
    /// Opens a file, or stdout where the path is `-`. An existing file is replaced.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        let target = if path.as_os_str() == "-" {
            Target::Stdout(std::io::stdout())
        } else {
            let file = File::create(path).map_err(Error::io("create", path))?;
            let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
            if regular { Target::File(BufWriter::new(file)) } else { Target::Pipe(file) }
        };
        Ok(Self { path: path.to_path_buf(), target })
    }

    /// Writes one line.
    ///
    /// # Errors
    /// The disk is full, or the reader of stdout is gone.
    pub fn write(&mut self, line: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec(line).map_err(|e| Error::io("encode", &self.path)(e.into()))?;
        text.push(b'\n');
        let written = match &mut self.target {
            Target::File(file) => file.write_all(&text),
            Target::Pipe(file) => file.write_all(&text),
            Target::Stdout(stdout) => {
                let mut stdout = stdout.lock();
                stdout.write_all(&text).and_then(|()| stdout.flush())
            }
        };
        written.map_err(Error::io("write", &self.path))
    }

    /// Where it goes, for messages.
    pub fn name(&self) -> String {
        match self.target {
            Target::Stdout(_) => "standard output".into(),
            _ => self.path.display().to_string(),
        }
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// The disk is full.
    pub fn flush(&mut self) -> Result<()> {
        match &mut self.target {
            Target::File(file) => file.flush().map_err(Error::io("write", &self.path)),
            Target::Pipe(_) => Ok(()),
            Target::Stdout(stdout) => stdout.flush().map_err(Error::io("write", &self.path)),
        }
    }
}
