//! What a training run leaves behind: a log in JSON Lines, the same scalars for `TensorBoard`, and a picture of the
//! curves.

mod curves;
mod jsonl;
mod tensorboard;

use std::path::Path;

pub use curves::curves;
pub use jsonl::{FILE, Kind, Line, read};

use crate::error::{Error, Result};

/// The log of one run, open for appending.
///
/// Every call is on disk (with the operating system) when it returns; a killed run loses at most the line it was
/// writing, and the next [`RunLog::open`] repairs that.
pub struct RunLog {
    lines: jsonl::Writer,
    events: tensorboard::Events,
}

impl RunLog {
    /// Opens the log in `folder`, which is created where it is missing.
    ///
    /// Lines of `log.jsonl` are kept as they are, without a torn last one. A run that goes on from a checkpoint passes
    /// the first step that it will do (again) as `resume_step`: lines from that step on are dropped, so that the log of
    /// a stopped and resumed run equals that of an undisturbed one, apart from times. `TensorBoard` gets a new event
    /// file every time; where a run resumes it starts with the mark by which `TensorBoard` drops those steps itself.
    ///
    /// # Errors
    /// The folder or a file cannot be written, or a line of the log is none of ours.
    pub fn open(folder: &Path, resume_step: Option<u64>) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        Ok(Self {
            lines: jsonl::Writer::open(&folder.join(FILE), resume_step)?,
            events: tensorboard::Events::create(folder, resume_step)?,
        })
    }

    /// Whether there is no line yet, and nothing to draw curves of.
    pub fn is_empty(&self) -> bool {
        self.lines.empty
    }

    /// Appends one line, and one event with the tags `KIND/NAME`.
    ///
    /// `step` counts optimiser steps, `samples` examples seen so far; values are in any unit and may be non-finite
    /// (`null` in JSON).
    ///
    /// # Errors
    /// A name is `step`, `samples` or `kind`, or a file cannot be written.
    pub fn scalars(&mut self, step: u64, samples: u64, kind: Kind, scalars: &[(&str, f64)]) -> Result<()> {
        if let Some((name, _)) = scalars.iter().find(|(name, _)| jsonl::RESERVED.contains(name)) {
            return Err(Error::Unsupported(format!("a scalar cannot be named `{name}`: every line has that key")));
        }
        self.lines.append(step, samples, kind, scalars)?;
        self.events.append(step, kind, scalars)
    }
}
