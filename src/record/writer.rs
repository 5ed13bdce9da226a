//! JSON Lines to a file or to stdout.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::error::{Error, Result};

/// A JSON Lines output. Flushed per line where a reader may wait (standard output, a pipe, a device, any file that is
/// written live), otherwise by buffer.
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
    /// Opens a file, or stdout where the path is `-`. An existing file is replaced. `live` where lines come as things
    /// happen, and are wanted at once.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path, live: bool) -> Result<Self> {
        let target = if path.as_os_str() == "-" {
            Target::Stdout(std::io::stdout())
        } else {
            let file = File::create(path).map_err(Error::io("create", path))?;
            let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
            if regular && !live { Target::File(BufWriter::new(file)) } else { Target::Pipe(file) }
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

/// A JSON Lines output that several streams may share. It is opened with its first line, so that a run that fails before
/// leaves nothing behind.
#[derive(Clone)]
pub struct RecordFile(Arc<Mutex<State>>);

enum State {
    Closed {
        path: PathBuf,
        live: bool,
    },
    Open(JsonLines),
    /// Its reader left.
    Gone(PathBuf),
}

impl RecordFile {
    /// As [`JsonLines::create`], later.
    pub fn new(path: &Path, live: bool) -> Self {
        Self(Arc::new(Mutex::new(State::Closed { path: path.to_path_buf(), live })))
    }

    /// Writes one line.
    ///
    /// # Errors
    /// The file cannot be created, the disk is full, or its reader is gone, now or before.
    pub fn write(&self, line: &impl Serialize) -> Result<()> {
        let mut state = self.state();
        if let State::Closed { path, live } = &*state {
            *state = State::Open(JsonLines::create(path, *live)?);
        }
        match &mut *state {
            State::Open(lines) => {
                let written = lines.write(line);
                if written.as_ref().is_err_and(Error::is_broken_pipe) {
                    *state = State::Gone(lines.path.clone());
                }
                written
            }
            State::Gone(path) | State::Closed { path, .. } => {
                Err(Error::io("write", path)(std::io::ErrorKind::BrokenPipe.into()))
            }
        }
    }

    /// True once there is a line.
    pub fn is_open(&self) -> bool {
        matches!(&*self.state(), State::Open(_))
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// The disk is full.
    pub fn flush(&self) -> Result<()> {
        match &mut *self.state() {
            State::Open(lines) => lines.flush(),
            _ => Ok(()),
        }
    }

    /// Where it goes, for messages.
    pub fn name(&self) -> String {
        match &*self.state() {
            State::Open(lines) => lines.name(),
            State::Gone(path) | State::Closed { path, .. } if path.as_os_str() == "-" => "standard output".into(),
            State::Gone(path) | State::Closed { path, .. } => path.display().to_string(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
