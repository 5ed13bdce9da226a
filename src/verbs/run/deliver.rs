//! The end of a frame's way: a record for every frame, and the frame itself with its verdict to the output pipeline.

use std::path::PathBuf;

use crossbeam_channel::{Receiver, Sender};

use super::{Message, OutputStopper, post};
use crate::config::RunSettings;
use crate::error::{Error, Result};
use crate::record::{Asked, Books, EVENT_SCHEMA, Event, EventKind, FrameRecord, JsonLines, Latency, Status};
use crate::sink::{Output, Query, annotate};
use crate::stage::{Grounded, Outcome};

/// What records of this run are called by.
pub(super) struct Names {
    pub(super) run_id: String,
    pub(super) source: String,
    pub(super) query: String,
    pub(super) trained: bool,
}

impl Names {
    fn record<'a>(&'a self, verdict: &'a Grounded) -> FrameRecord<'a> {
        let Grounded { frame, outcome, queued, grounding } = verdict;
        let asked = Asked { run_id: &self.run_id, source: &self.source, query: &self.query, query_rev: QUERY_REV };
        let milliseconds = |duration: std::time::Duration| 1e3 * duration.as_secs_f64();
        FrameRecord {
            frame_index: Some(frame.seq),
            pts_ns: frame.stream_time.map(gstreamer::ClockTime::nseconds),
            latency_ms: Some(Latency {
                queue: milliseconds(*queued),
                ground: milliseconds(*grounding),
                total: milliseconds(frame.arrived.elapsed()),
            }),
            ..FrameRecord::new(asked, frame.seq, outcome, Some(frame.resolution()))
        }
    }
}

/// The first query of a run.
const QUERY_REV: u32 = 1;

/// Writes records and feeds the output pipeline. Outputs are opened with the first frame, so that a run that fails
/// before it leaves nothing behind.
pub(super) struct Delivery {
    names: Names,
    record_paths: Vec<PathBuf>,
    video_paths: Vec<PathBuf>,
    records: Vec<JsonLines>,
    output: Option<Output>,
    opened: bool,
    broken: bool,
    books: Books,
    messages: Sender<Message>,
    stopper: OutputStopper,
}

impl Delivery {
    pub(super) fn new(names: Names, settings: &RunSettings, messages: Sender<Message>, stopper: OutputStopper) -> Self {
        Self {
            names,
            record_paths: settings.json_lines.clone(),
            video_paths: settings.mp4.clone(),
            records: Vec::new(),
            output: None,
            opened: false,
            broken: false,
            books: Books::default(),
            messages,
            stopper,
        }
    }

    /// Delivers verdicts until there are none. After a failure the rest is only counted.
    pub(super) fn run(mut self, verdicts: &Receiver<Grounded>) -> Self {
        for verdict in verdicts {
            let status = Status::from(&verdict.outcome);
            self.books.enter(status);
            if self.broken {
                continue;
            }
            if let Err(error) = self.deliver(&verdict, status) {
                self.broken = true;
                drop(self.messages.send(Message::Sink(error)));
            }
        }
        if let Some(output) = &self.output {
            output.finish();
        }
        self
    }

    fn deliver(&mut self, verdict: &Grounded, status: Status) -> Result<()> {
        if !self.opened {
            self.open(verdict)?;
        }
        let record = self.names.record(verdict);
        let written = self.records.iter_mut().try_for_each(|file| file.write(&record));
        self.forgive_reader(written)?;
        if let Outcome::Error { message, .. } = &verdict.outcome {
            // One is said, all are in the records: a format that cannot be read fails on every frame.
            if self.books.error == 1 {
                tracing::warn!("frame {}: {message}", verdict.frame.seq);
            } else {
                tracing::debug!("frame {}: {message}", verdict.frame.seq);
            }
        }
        let Some(output) = &self.output else { return Ok(()) };
        if status == Status::Dropped {
            return Ok(());
        }
        let frame = &verdict.frame;
        let query = Query { text: &self.names.query, rev: QUERY_REV, trained: self.names.trained };
        let buffer = annotate(frame, &verdict.outcome, &query);
        output.push(buffer, &frame.info, frame.running_time)
    }

    /// A reader of stdout that left takes no more records; that is a failure only where nobody else wants any.
    fn forgive_reader(&mut self, written: Result<()>) -> Result<()> {
        match written {
            Err(error) if error.is_broken_pipe() && (self.records.len() > 1 || !self.video_paths.is_empty()) => {
                tracing::warn!("the reader of standard output is gone; the other outputs go on");
                self.records.retain(|file| !file.is_stdout());
                Ok(())
            }
            other => other,
        }
    }

    fn open(&mut self, first: &Grounded) -> Result<()> {
        self.opened = true;
        self.records = self.record_paths.iter().map(|path| JsonLines::create(path)).collect::<Result<_>>()?;
        self.event(EventKind::SourceUp { resolution: first.frame.resolution() })?;
        if !self.video_paths.is_empty() {
            let output = Output::start(&self.video_paths, &first.frame.info, post(&self.messages, Message::Output))?;
            *self.stopper.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Box::new(output.stopper()));
            self.output = Some(output);
        }
        Ok(())
    }

    fn event(&mut self, kind: EventKind) -> Result<()> {
        let event = Event { schema: EVENT_SCHEMA, run_id: &self.names.run_id, source: &self.names.source, kind };
        let written = self.records.iter_mut().try_for_each(|file| file.write(&event));
        self.forgive_reader(written)
    }

    /// The output pipeline, to wait for, where there is one.
    pub(super) fn take_output(&mut self) -> Option<Output> {
        self.output.take()
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
        let flushed = self.records.iter_mut().try_for_each(JsonLines::flush);
        match written.and(flushed) {
            Err(failure) if !self.broken => Err(failure),
            _ => Ok(books),
        }
    }
}
