//! Records to a file or to stdout.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::format::{Encoding, Format, Line};
use super::rotate::{self, RotatingFile, Rotation};
use blocks::error::{Error, Result};

/// A file of text that grows. Flushed per write where a reader may wait (standard output, a pipe, a device, any file that
/// is written live), otherwise by buffer.
struct Growing {
    path: PathBuf,
    target: Target,
}

enum Target {
    File(BufWriter<File>),
    Pipe(File),
    Stdout(std::io::Stdout),
    /// Written out at once where lines are wanted as they come.
    Rotating(RotatingFile, bool),
}

impl Growing {
    /// Opens a file, or stdout where the path is `-`. An existing file is replaced. `live` where lines come as things
    /// happen, and are wanted at once.
    fn create(path: &Path, live: bool) -> Result<Self> {
        let target = if path.as_os_str() == "-" {
            Target::Stdout(std::io::stdout())
        } else {
            let file = File::create(path).map_err(Error::io("create", path))?;
            let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
            if regular && !live { Target::File(BufWriter::new(file)) } else { Target::Pipe(file) }
        };
        Ok(Self { path: path.to_path_buf(), target })
    }

    /// The same for a file that is put aside now and then, first of all what is there.
    fn create_rotating(path: &Path, rotation: Rotation, live: bool) -> Result<Self> {
        let opened = rotate::check(path).and_then(|()| RotatingFile::create(path, rotation));
        let file = opened.map_err(Error::io("create", path))?;
        Ok(Self { path: path.to_path_buf(), target: Target::Rotating(file, live) })
    }

    fn add(&mut self, text: &[u8]) -> Result<()> {
        self.write_all(text).map_err(Error::io("write", &self.path))
    }

    fn finish(&mut self) -> Result<()> {
        let finished = match &mut self.target {
            Target::Rotating(file, _) => file.finish(),
            _ => self.flush(),
        };
        finished.map_err(Error::io("write", &self.path))
    }
}

impl Write for Growing {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        match &mut self.target {
            Target::File(file) => file.write_all(text),
            Target::Pipe(file) => file.write_all(text),
            Target::Rotating(file, live) => file.add(text).and_then(|()| if *live { file.flush() } else { Ok(()) }),
            Target::Stdout(stdout) => {
                let mut stdout = stdout.lock();
                stdout.write_all(text).and_then(|()| stdout.flush())
            }
        }?;
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match &mut self.target {
            Target::File(file) => file.flush(),
            Target::Pipe(_) => Ok(()),
            Target::Rotating(file, _) => file.flush(),
            Target::Stdout(stdout) => stdout.flush(),
        }
    }
}

impl Growing {
    fn name(&self) -> String {
        match self.target {
            Target::Stdout(_) => "standard output".into(),
            _ => self.path.display().to_string(),
        }
    }
}

/// A JSON Lines output for anything that is JSON.
pub struct JsonLines(Growing);

impl JsonLines {
    /// Opens a file, or stdout where the path is `-`. An existing file is replaced. `live` where lines come as things
    /// happen, and are wanted at once.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path, live: bool) -> Result<Self> {
        Growing::create(path, live).map(Self)
    }

    /// Writes one line.
    ///
    /// # Errors
    /// The disk is full, or the reader of stdout is gone.
    pub fn write(&mut self, line: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec(line).map_err(|e| Error::io("encode", &self.0.path)(e.into()))?;
        text.push(b'\n');
        self.0.add(&text)
    }
}

/// Where records go, and in which format.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RecordPlace {
    /// How they are written.
    pub format: Format,
    /// The file; `-` is stdout.
    pub path: PathBuf,
    /// When the file is put aside and begun anew; never without it. For formats of lines alone.
    pub rotation: Option<Rotation>,
}

impl RecordPlace {
    /// Records of our own format.
    pub fn native(path: impl Into<PathBuf>) -> Self {
        Self::new(Format::Native, path)
    }

    /// Records of any format, in one file.
    pub fn new(format: Format, path: impl Into<PathBuf>) -> Self {
        Self { format, path: path.into(), rotation: None }
    }

    /// Whether they go to standard output.
    pub fn is_stdout(&self) -> bool {
        self.path.as_os_str() == "-"
    }
}

/// A record file that several streams may share. It is opened with its first record, so that a run that fails before
/// leaves nothing behind.
#[derive(Clone)]
pub struct RecordFile(Arc<Mutex<State>>);

enum State {
    Closed {
        place: RecordPlace,
        live: bool,
    },
    Open {
        file: Growing,
        encoding: Box<dyn Encoding>,
        /// Memory for the bytes of a record.
        text: Vec<u8>,
    },
    /// Its reader left, or its end is written.
    Gone(PathBuf),
}

impl RecordFile {
    /// A file that is created later. `live` where lines are wanted as they come.
    pub fn new(place: &RecordPlace, live: bool) -> Self {
        Self(Arc::new(Mutex::new(State::Closed { place: place.clone(), live })))
    }

    /// Writes what a record comes to.
    ///
    /// # Errors
    /// The file cannot be created, the disk is full, or its reader is gone, now or before.
    pub fn write(&self, line: Line) -> Result<()> {
        let mut state = self.state();
        if let State::Closed { place, live } = &*state {
            let mut file = match place.rotation {
                Some(rotation) => Growing::create_rotating(&place.path, rotation, *live)?,
                None => Growing::create(&place.path, *live)?,
            };
            let mut encoding = place.format.encoding();
            let mut text = Vec::new();
            encoding.begin(&mut text).map_err(Error::io("encode", &place.path))?;
            file.add(&text)?;
            *state = State::Open { file, encoding, text };
        }
        match &mut *state {
            State::Open { file, encoding, text } => {
                text.clear();
                encoding.add(line, text).map_err(Error::io("encode", &file.path))?;
                let written = file.add(text);
                if written.as_ref().is_err_and(Error::is_broken_pipe) {
                    *state = State::Gone(file.path.clone());
                }
                written
            }
            State::Gone(path) | State::Closed { place: RecordPlace { path, .. }, .. } => {
                Err(Error::io("write", path)(std::io::ErrorKind::BrokenPipe.into()))
            }
        }
    }

    /// True once there is a record.
    pub fn is_open(&self) -> bool {
        matches!(&*self.state(), State::Open { .. })
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// The disk is full.
    pub fn flush(&self) -> Result<()> {
        match &mut *self.state() {
            State::Open { file, .. } => file.finish(),
            _ => Ok(()),
        }
    }

    /// Writes what stands at the end; no more records come. Does nothing where there were none.
    ///
    /// # Errors
    /// The disk is full.
    pub fn finish(&self) -> Result<()> {
        let mut state = self.state();
        let State::Open { file, encoding, .. } = &mut *state else { return Ok(()) };
        let path = file.path.clone();
        let finished = encoding.finish(file).map_err(Error::io("write", &path)).and_then(|()| file.finish());
        *state = State::Gone(path);
        finished
    }

    /// Where it goes, for messages.
    pub fn name(&self) -> String {
        match &*self.state() {
            State::Open { file, .. } => file.name(),
            State::Gone(path) | State::Closed { place: RecordPlace { path, .. }, .. } => match path.as_os_str() {
                path if path == "-" => "standard output".into(),
                _ => path.display().to_string(),
            },
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
