//! Lines of a stream: records and events, into every file that wants them and onto the page.

use std::sync::Arc;

use records::{EVENT_SCHEMA, Event, EventKind, FrameRecord, Line, RecordFile};

use super::names::Names;
use crate::error::{Error, Result};
use crate::page::LiveStream;

/// Where they go. Files are opened with the first line, so that a run that fails before it leaves nothing behind.
pub(super) struct Lines {
    files: Vec<RecordFile>,
    /// What the page shows of the stream, where there is one.
    live: Option<Arc<LiveStream>>,
    /// Whether somebody sees the stream, whatever becomes of the files.
    elsewhere: bool,
}

impl Lines {
    /// Into `files`; `shown` where the stream itself goes somewhere.
    pub(super) fn new(files: Vec<RecordFile>, live: Option<Arc<LiveStream>>, shown: bool) -> Self {
        Self { files, elsewhere: shown || live.is_some(), live }
    }

    /// # Errors
    /// A file cannot be written.
    pub(super) fn event(&mut self, names: &Names, kind: &EventKind) -> Result<()> {
        let (run_id, source) = (&*names.run_id, names.address.name.as_str());
        let event = Event { schema: EVENT_SCHEMA, run_id, source, kind };
        if let Some(live) = &self.live {
            live.event(&event);
        }
        self.write(Line::Event(&event))
    }

    /// Shows a frame to the page by way of `show`, and writes its record.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn frame(&mut self, record: &FrameRecord, show: impl FnOnce(&LiveStream)) -> Result<()> {
        if let Some(live) = &self.live {
            show(live);
        }
        self.write(Line::Frame(record))
    }

    /// Writes the last event and what is buffered. Records that were never begun are not begun with it.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn close(&mut self, names: &Names, last: &EventKind) -> Result<()> {
        self.files.retain(RecordFile::is_open);
        let written = if self.files.is_empty() { Ok(()) } else { self.event(names, last) };
        let flush = |file: &RecordFile| file.flush().map_err(Error::from);
        written.and(self.files.iter().map(flush).fold(Ok(()), Result::and))
    }

    /// Writes a line everywhere; what fails at one place is no reason to leave it out at another. A reader that left takes no
    /// more records; that is a failure only where nobody else wants anything.
    fn write(&mut self, line: Line) -> Result<()> {
        let mut outcome = Ok(());
        let mut gone = Vec::new();
        self.files.retain(|file| {
            let written = file.write(line).map_err(Error::from);
            let left = written.as_ref().is_err_and(Error::is_broken_pipe);
            if left {
                gone.push((file.name(), written));
            } else if outcome.is_ok() {
                outcome = written;
            }
            !left
        });
        for (name, written) in gone {
            if self.files.is_empty() && !self.elsewhere {
                return written;
            }
            tracing::warn!("the reader of {name} is gone; the other outputs go on");
        }
        outcome
    }
}
