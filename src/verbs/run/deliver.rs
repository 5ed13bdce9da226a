//! The end of a frame's way: what is claimed of it, its record, and the frame itself to the output pipeline.

use std::path::PathBuf;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use serde::Serialize;

use super::{Message, OutputStopper, post};
use crate::config::RunSettings;
use crate::error::{Error, Result};
use crate::record::{
    Asked, Books, EVENT_SCHEMA, Event, EventKind, FrameRecord, JsonLines, Latency, Resolution, Status, run_id,
};
use crate::sink::{Output, OutputSettings, Query, Target, annotate};
use crate::source::{Address, Timing};
use crate::stage::{Grounded, Outcome};
use crate::track::{Seen, Track, Tracking};

/// What records of this run are called by.
struct Names {
    run_id: String,
    address: Address,
    query: String,
    trained: bool,
    reproducible: bool,
}

impl Names {
    fn record<'a>(&'a self, grounded: &Grounded, seen: &Seen) -> FrameRecord<'a> {
        let Grounded { frame, queued, grounding, .. } = grounded;
        let asked =
            Asked { run_id: &self.run_id, source: &self.address.name, query: &self.query, query_rev: QUERY_REV };
        let milliseconds = |duration: Duration| 1e3 * duration.as_secs_f64();
        let live = self.address.is_live();
        FrameRecord {
            frame_index: (!live).then_some(frame.seq),
            file: self.address.picture(frame.seq).map(|path| path.to_string_lossy()),
            pts_ns: frame.stream_time.map(gstreamer::ClockTime::nseconds),
            capture_unix_ns: frame.captured.filter(|_| live && !self.reproducible),
            clock: if live { "arrival" } else { "file" },
            latency_ms: (!self.reproducible).then(|| Latency {
                queue: milliseconds(*queued),
                ground: milliseconds(*grounding),
                total: milliseconds(frame.arrived.elapsed()),
            }),
            ..FrameRecord::new(asked, frame.seq, seen, Some(frame.resolution()))
        }
    }
}

/// The first query of a run.
const QUERY_REV: u32 = 1;
/// The run id of reproducible runs, which must not differ.
const REPRODUCIBLE: &str = "reproducible";
/// How long an output pipeline may take to finish its files.
const FINISH_TIMEOUT: Duration = Duration::from_mins(1);
/// How far apart frames are taken to be that have no time.
const FRAME_TIME: Duration = Duration::from_millis(40);

/// Writes records and feeds the output pipeline. Outputs are opened with the first frame, so that a run that fails
/// before it leaves nothing behind.
pub(super) struct Delivery {
    names: Names,
    track: Track,
    record_paths: Vec<PathBuf>,
    records: Vec<JsonLines>,
    settings: OutputSettings,
    output: Option<Output>,
    /// Output pipelines so far.
    parts: usize,
    resolution: Option<Resolution>,
    broken: bool,
    books: Books,
    damaged: u64,
    was_damaged: bool,
    timing: Timing,
    messages: Sender<Message>,
    stopper: OutputStopper,
}

impl Delivery {
    pub(super) fn new(
        settings: &RunSettings,
        tracking: Tracking,
        trained: bool,
        timing: Timing,
        messages: Sender<Message>,
        stopper: OutputStopper,
    ) -> Self {
        let reproducible = settings.reproducible;
        let names = Names {
            run_id: if reproducible { REPRODUCIBLE.into() } else { run_id() },
            address: settings.address.clone(),
            query: settings.query.clone(),
            trained,
            reproducible,
        };
        Self {
            names,
            track: Track::new(tracking),
            record_paths: settings.json_lines.clone(),
            records: Vec::new(),
            settings: settings.output.clone(),
            output: None,
            parts: 0,
            resolution: None,
            broken: false,
            books: Books::default(),
            damaged: 0,
            was_damaged: false,
            timing,
            messages,
            stopper,
        }
    }

    /// Delivers verdicts until there are none, and finishes the files. After a failure the rest is only counted.
    pub(super) fn run(mut self, verdicts: &Receiver<Grounded>) -> Self {
        for grounded in verdicts {
            if grounded.cut {
                self.track.reset();
            }
            let resolution = grounded.frame.resolution();
            let time = grounded
                .frame
                .stream_time
                .map_or_else(|| FRAME_TIME * u32::try_from(grounded.frame.seq).unwrap_or(u32::MAX), Duration::from);
            if self.resolution.is_some_and(|before| before != resolution) {
                self.track.reset();
            }
            let diagonal = (resolution.width as f64).hypot(resolution.height as f64);
            let seen = self.track.see(&grounded.outcome, time, diagonal);
            self.books.enter(&seen);
            if self.broken {
                continue;
            }
            if let Err(error) = self.deliver(&grounded, &seen, resolution) {
                self.broken = true;
                drop(self.messages.send(Message::Sink(error)));
            }
        }
        if let Err(error) = self.finish_output() {
            drop(self.messages.send(Message::Sink(error)));
        }
        self
    }

    fn deliver(&mut self, grounded: &Grounded, seen: &Seen, resolution: Resolution) -> Result<()> {
        let frame = &grounded.frame;
        match self.resolution.replace(resolution) {
            None => self.open(resolution)?,
            Some(before) if before != resolution => {
                self.event(EventKind::Resolution { seq: frame.seq, resolution })?;
            }
            Some(_) => {}
        }
        self.note_error(grounded)?;
        let record = self.names.record(grounded, seen);
        write_all(&mut self.records, &record, !self.settings.is_empty())?;
        if self.settings.is_empty() || seen.status == Status::Dropped {
            return Ok(());
        }
        if self.output.as_ref().is_some_and(|output| !output.fits(&frame.info)) {
            self.finish_output()?;
        }
        if self.output.is_none() {
            self.start_output(&frame.info)?;
        }
        let Some(output) = &mut self.output else { return Ok(()) };
        let query = Query { text: &self.names.query, rev: QUERY_REV, trained: self.names.trained };
        output.push(annotate(frame, seen, &query), frame.running_time, frame.arrived.elapsed())
    }

    /// Says the first failure of a frame aloud, and every stretch of damaged ones in the records.
    fn note_error(&mut self, grounded: &Grounded) -> Result<()> {
        let seq = grounded.frame.seq;
        if let Outcome::Error { message, .. } = &grounded.outcome {
            // One is said, all are in the records: a format that cannot be read fails on every frame.
            if self.books.error == 1 {
                tracing::warn!("frame {seq}: {message}");
            } else {
                tracing::debug!("frame {seq}: {message}");
            }
        }
        let damaged = grounded.frame.corrupt || grounded.frame.damaged;
        let began = damaged && !self.was_damaged;
        self.was_damaged = damaged;
        if began {
            self.damaged += 1;
            if self.damaged == 1 {
                tracing::warn!(
                    "frame {seq}: the decoder could not restore the whole picture; events tell of the next ones"
                );
            }
            self.event(EventKind::DecodeError { seq, count: self.damaged })?;
        }
        Ok(())
    }

    fn open(&mut self, resolution: Resolution) -> Result<()> {
        self.records = self.record_paths.iter().map(|path| JsonLines::create(path)).collect::<Result<_>>()?;
        for target in &self.settings.targets {
            if let Target::Frames(folder) = target
                && !folder.is_dir()
            {
                std::fs::create_dir(folder).map_err(Error::io("create", folder))?;
            }
        }
        self.event(EventKind::SourceUp { resolution })
    }

    fn start_output(&mut self, info: &gstreamer_video::VideoInfo) -> Result<()> {
        self.parts += 1;
        let failed = post(&self.messages, Message::Output);
        let output = Output::start(&self.settings, info, self.parts, Some(&self.timing), failed)?;
        *self.stopper.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Box::new(output.stopper()));
        self.output = Some(output);
        Ok(())
    }

    fn finish_output(&mut self) -> Result<()> {
        self.output.take().map_or(Ok(()), |output| output.finish(FINISH_TIMEOUT))
    }

    fn event(&mut self, kind: EventKind) -> Result<()> {
        let (run_id, source) = (self.names.run_id.as_str(), self.names.address.name.as_str());
        let event = Event { schema: EVENT_SCHEMA, run_id, source, kind };
        write_all(&mut self.records, &event, !self.settings.is_empty())
    }

    /// Writes the last event and what is buffered. `error` is how the run ended, if not by itself.
    ///
    /// # Errors
    /// The records cannot be written; not reported again where that is how the run ended.
    pub(super) fn close(mut self, decoded: u64, error: Option<&Error>) -> Result<Books> {
        self.books.decoded = decoded;
        let books = self.books;
        let text = error.map(ToString::to_string);
        let written = self.event(EventKind::End { books, error: text.as_deref() });
        let flushed = self.records.iter_mut().map(JsonLines::flush).fold(Ok(()), Result::and);
        match written.and(flushed) {
            Err(failure) if !self.broken => Err(failure),
            _ => Ok(books),
        }
    }
}

/// Writes a line everywhere; what fails at one place is no reason to leave it out at another. A reader that left takes no
/// more records; that is a failure only where nobody else wants anything (`elsewhere`).
fn write_all(files: &mut Vec<JsonLines>, line: &impl Serialize, elsewhere: bool) -> Result<()> {
    let mut outcome = Ok(());
    let mut gone = Vec::new();
    files.retain_mut(|file| {
        let written = file.write(line);
        let left = written.as_ref().is_err_and(Error::is_broken_pipe);
        if left {
            gone.push((file.name(), written));
        } else if outcome.is_ok() {
            outcome = written;
        }
        !left
    });
    for (name, written) in gone {
        if files.is_empty() && !elsewhere {
            return written;
        }
        tracing::warn!("the reader of {name} is gone; the other outputs go on");
    }
    outcome
}
