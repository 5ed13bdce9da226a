//! Waits for all streams to end, and ends them where one part failed for all.

use std::sync::PoisonError;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, never, select};
use records::Counts;

use super::commands::Reload;
use super::{Message, OutputStopper};
use crate::error::{Error, Result};
use crate::source::Ended;

/// What a stream's delivery has to know when its last frame is delivered.
pub(super) struct StreamEnd {
    /// Frames that came out of the decoder.
    pub(super) decoded: u64,
    /// What went wrong, if anything did.
    pub(super) error: Option<String>,
}

/// A stream that runs.
pub(super) struct RunningStream {
    pub(super) name: String,
    /// All its outputs, for messages.
    pub(super) outputs: String,
    pub(super) output_stop: OutputStopper,
    /// Tells its delivery how it ended.
    pub(super) finish: Sender<StreamEnd>,
    pub(super) deliverer: Option<JoinHandle<Counts>>,
    pub(super) source: Option<JoinHandle<()>>,
    pub(super) ended: Option<StreamEnd>,
    pub(super) drained: bool,
}

pub(super) struct Supervisor {
    inbox: Receiver<Message>,
    /// Ends the run without a failure.
    asked_to_stop: Receiver<()>,
    /// While it is there, sources go on.
    stop: Option<Sender<()>>,
    stage_stop: Box<dyn Fn() + Send>,
    /// Reads the settings anew, beside the run; none where there is nothing to read.
    reload: Option<Reload>,
    streams: Vec<RunningStream>,
    /// The first failure is the run's.
    result: Result<()>,
    /// What ended all streams, where something did.
    fatal: Option<String>,
}

impl Supervisor {
    pub(super) fn new(
        inbox: Receiver<Message>,
        asked_to_stop: Receiver<()>,
        stop: Sender<()>,
        stage_stop: Box<dyn Fn() + Send>,
        reload: Option<Reload>,
    ) -> Self {
        let stop = Some(stop);
        Self { inbox, asked_to_stop, stop, stage_stop, reload, streams: Vec::new(), result: Ok(()), fatal: None }
    }

    pub(super) fn watch(&mut self, stream: RunningStream) {
        self.streams.push(stream);
    }

    /// Returns the counts of all streams once the last one has ended, and how the run went. Messages are heard until the
    /// last frame is delivered and the files are whole, or nobody could free an output that is stuck.
    pub(super) fn run(mut self, stage: Vec<JoinHandle<()>>) -> (Vec<(String, Counts)>, Result<()>) {
        while self.streams.iter().any(|stream| stream.ended.is_none() || !stream.drained) {
            select! {
                recv(self.inbox) -> message => match message {
                    Ok(message) => self.handle(message),
                    Err(_) => break,
                },
                recv(self.asked_to_stop) -> _ => {
                    self.asked_to_stop = never();
                    self.end_sources();
                }
            }
        }
        for thread in stage {
            self.joined(thread.join());
        }
        let mut counts = Vec::new();
        for stream in std::mem::take(&mut self.streams) {
            drop(stream.finish);
            if let Some(thread) = stream.source {
                self.joined(thread.join());
            }
            if let Some(of_stream) = stream.deliverer.and_then(|thread| self.joined(thread.join())) {
                counts.push((stream.name, of_stream));
            }
        }
        // A record that could not be written at the very end.
        while let Ok(message) = self.inbox.try_recv() {
            self.handle(message);
        }
        (counts, self.result)
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Ended(stream, Ended { decoded, outcome }) => {
                let error = outcome.as_ref().err().map(ToString::to_string);
                if let Some(stream) = self.streams.get_mut(stream) {
                    stream.ended = Some(StreamEnd { decoded, error });
                }
                if let Err(error) = outcome {
                    if self.streams.iter().any(|stream| stream.ended.is_none()) {
                        tracing::error!("{error}; the other streams go on");
                    }
                    self.fail(error);
                }
                self.finish(stream);
            }
            Message::Drained(index) => {
                if let Some(stream) = self.streams.get_mut(index) {
                    stream.drained = true;
                    if stream.ended.is_none() {
                        // The stage ended by itself, and joining its threads will tell why.
                        self.end_sources();
                    }
                }
                self.finish(index);
            }
            // The video cannot be written any more: the rest of the frames need not be looked at.
            Message::Output(index, reason) => {
                let Some(stream) = self.streams.get(index) else { return };
                self.fail_all(Error::Output { name: stream.outputs.clone(), reason });
                let stop = self.streams[index].output_stop.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(stop) = stop.as_ref() {
                    stop();
                }
            }
            Message::Sink(error) => self.fail_all(error),
            Message::Interrupt => self.fail_all(Error::Interrupted),
            Message::Stop => self.end_sources(),
            Message::Reload => {
                if let Some(reload) = &self.reload {
                    reload.again();
                }
            }
            Message::Worker(reason) => {
                let error = Error::Worker(reason);
                self.fatal.get_or_insert(error.to_string());
                self.fail(error);
                self.end_sources();
            }
        }
    }

    /// Tells the delivery of a stream that is over how it ended.
    fn finish(&mut self, index: usize) {
        let Some(stream) = self.streams.get(index) else { return };
        if let Some(StreamEnd { decoded, error }) = stream.ended.as_ref().filter(|_| stream.drained) {
            let error = error.clone().or_else(|| self.fatal.clone());
            drop(stream.finish.try_send(StreamEnd { decoded: *decoded, error }));
        }
    }

    /// Ends all streams; frames that are on their way leave unmeasured.
    fn fail_all(&mut self, error: Error) {
        (self.stage_stop)();
        self.fatal.get_or_insert(error.to_string());
        self.fail(error);
        self.end_sources();
    }

    fn end_sources(&mut self) {
        self.stop = None;
    }

    /// The first failure is the run's; what follows from it is logged.
    fn fail(&mut self, error: Error) {
        if self.result.is_ok() {
            self.result = Err(error);
        } else {
            tracing::debug!("after the first failure: {error}");
        }
    }

    /// Takes what a thread returned; a panic is a failure of the run.
    fn joined<T>(&mut self, result: std::thread::Result<T>) -> Option<T> {
        if result.is_err() {
            self.fail(Error::Worker("a thread panicked".into()));
        }
        result.ok()
    }
}
