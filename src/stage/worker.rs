//! The thread that owns the model's time. It serves all streams in turn: whoever has a frame waiting gets one measured
//! before anyone gets a second one, so none starves; frames that wait at the same moment go to the model together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, TrySendError};
use rayon::prelude::*;
use records::track::Outcome;

use super::intake::Arrival;
use super::prepare::{Prepared, Preparer, Ready};
use super::{Answer, Batching, Delivered, Ground, Grounded, Job, Note, Passing};

/// Where a stream's frames come from.
pub(super) enum Feed {
    /// Letterboxed ahead of the model, by a thread of the stream's own.
    Ahead { prepared: Receiver<Vec<Ready>>, recycle: Sender<Vec<f32>> },
    /// Letterboxed when their turn comes: until then a newer one may take their place.
    Late { arrivals: Receiver<Arrival>, preparer: Box<Preparer> },
}

/// One stream, as the worker sees it.
pub(super) struct Port {
    feed: Feed,
    output: Sender<Delivered>,
    /// What could not be delivered yet. Until it is, the stream is not served: the others do not wait for it.
    outbox: Delivered,
}

/// What was taken from a stream.
enum Taken {
    Ready(Vec<Ready>),
    Raw(Arrival),
}

impl Port {
    pub(super) fn new(feed: Feed, output: Sender<Delivered>) -> Self {
        Self { feed, output, outbox: Vec::new() }
    }

    fn take(&self) -> Result<Taken, TryRecvError> {
        match &self.feed {
            Feed::Ahead { prepared, .. } => prepared.try_recv().map(Taken::Ready),
            Feed::Late { arrivals, .. } => arrivals.try_recv().map(Taken::Raw),
        }
    }

    fn prepare(&mut self, taken: Taken) -> Vec<Ready> {
        match (taken, &mut self.feed) {
            (Taken::Ready(ready), _) => ready,
            (Taken::Raw(arrival), Feed::Late { preparer, .. }) => preparer.prepare(arrival),
            (Taken::Raw(_), Feed::Ahead { .. }) => Vec::new(),
        }
    }

    fn recycle(&mut self, pixels: Vec<f32>) {
        match &mut self.feed {
            // Nobody waiting for the memory is no reason to wait.
            Feed::Ahead { recycle, .. } => drop(recycle.try_send(pixels)),
            Feed::Late { preparer, .. } => preparer.recycle(pixels),
        }
    }

    /// Delivers what it can. False where nobody takes it any more.
    fn flush(&mut self) -> bool {
        if self.outbox.is_empty() {
            return true;
        }
        match self.output.try_send(std::mem::take(&mut self.outbox)) {
            Ok(()) => true,
            Err(TrySendError::Full(back)) => {
                self.outbox = back;
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }

    /// Waits for a frame, or for room.
    fn watch<'a>(&'a self, select: &mut Select<'a>) {
        if self.outbox.is_empty() {
            match &self.feed {
                Feed::Ahead { prepared, .. } => select.recv(prepared),
                Feed::Late { arrivals, .. } => select.recv(arrivals),
            };
        } else {
            select.send(&self.output);
        }
    }
}

/// A frame that the model is to look at, and what follows it in its stream.
struct Asked {
    stream: usize,
    frame: Box<Prepared>,
    rest: Delivered,
}

/// Serves streams until all have ended.
pub(super) struct Worker<F> {
    model: Box<dyn Ground>,
    /// By stream; none where it has ended.
    ports: Vec<Option<Port>>,
    batching: Batching,
    stop: Arc<AtomicBool>,
    failed: Option<F>,
    /// The stream that is next.
    turn: usize,
}

impl<F: FnOnce(String)> Worker<F> {
    pub(super) fn new(
        model: Box<dyn Ground>,
        ports: Vec<Port>,
        batching: Batching,
        stop: Arc<AtomicBool>,
        failed: F,
    ) -> Self {
        let ports = ports.into_iter().map(Some).collect();
        Self { model, ports, batching, stop, failed: Some(failed), turn: 0 }
    }

    pub(super) fn run(mut self) {
        while self.ports.iter().any(Option::is_some) {
            let mut asked = Vec::new();
            let deadline = self.gather(&mut asked);
            if asked.is_empty() {
                self.wait(&asked, None);
                continue;
            }
            // Not where there is nobody else to wait for.
            while asked.len() < self.batching.most.min(self.running()) && Instant::now() < deadline {
                self.wait(&asked, Some(deadline));
                self.gather(&mut asked);
            }
            self.ground(asked);
        }
    }

    fn running(&self) -> usize {
        self.ports.iter().flatten().count()
    }

    /// Takes at most one frame to measure from every stream that has one; what needs no model goes on at once.
    /// Returns until when others may join.
    fn gather(&mut self, asked: &mut Vec<Asked>) -> Instant {
        let count = self.ports.len();
        let first = self.turn;
        let mut taken = Vec::new();
        for stream in (0..count).map(|offset| (first + offset) % count) {
            if asked.len() + taken.len() >= self.batching.most {
                break;
            }
            if asked.iter().any(|asked| asked.stream == stream) {
                continue;
            }
            let Some(port) = &mut self.ports[stream] else { continue };
            if !port.flush() {
                self.ports[stream] = None;
                continue;
            }
            if !port.outbox.is_empty() {
                continue;
            }
            match port.take() {
                Ok(items) => {
                    self.turn = (stream + 1) % count;
                    taken.push((stream, items));
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => self.ports[stream] = None,
            }
        }
        let deadline = Instant::now() + self.batching.patience;
        for (stream, ready) in self.prepare(taken) {
            if let Some(frame) = self.pass(stream, ready) {
                asked.push(frame);
            }
        }
        deadline
    }

    /// Letterboxes what is not yet, several streams at once.
    fn prepare(&mut self, mut taken: Vec<(usize, Taken)>) -> Vec<(usize, Vec<Ready>)> {
        taken.sort_by_key(|(stream, _)| *stream);
        let mut rest = taken.into_iter().peekable();
        let mut pairs = Vec::new();
        for (stream, port) in self.ports.iter_mut().enumerate() {
            if let (Some(port), Some((_, items))) = (port, rest.next_if(|(taken, _)| *taken == stream)) {
                pairs.push((stream, port, items));
            }
        }
        let prepare = |(stream, port, items): (usize, &mut Port, Taken)| (stream, port.prepare(items));
        if pairs.len() < 2 {
            pairs.into_iter().map(prepare).collect()
        } else {
            pairs.into_par_iter().map(prepare).collect()
        }
    }

    /// Sends on what comes before the frame to measure.
    fn pass(&mut self, stream: usize, ready: Vec<Ready>) -> Option<Asked> {
        let mut items = ready.into_iter();
        let (mut before, mut frame) = (Vec::new(), None);
        for item in items.by_ref() {
            match item {
                Ready::Frame(prepared) if prepared.picture.is_ok() => {
                    frame = Some(prepared);
                    break;
                }
                other => before.extend(passing(other)),
            }
        }
        self.deliver(stream, before);
        let rest = items.filter_map(passing).collect();
        frame.map(|frame| Asked { stream, frame, rest })
    }

    /// Sends items on. What comes after a change of the queries is asked the new ones: items before the frame to measure are
    /// delivered before it is grounded, those behind it after.
    fn deliver(&mut self, stream: usize, items: Delivered) {
        for item in &items {
            if let Passing::Note(Note::Queries(asking)) = item {
                self.model.ask(stream, &asking.questions);
            }
        }
        if let Some(port) = &mut self.ports[stream] {
            port.outbox.extend(items);
            if !port.flush() {
                self.ports[stream] = None;
            }
        }
    }

    /// Until a stream that has not asked yet has something, or room.
    fn wait(&self, asked: &[Asked], deadline: Option<Instant>) {
        let mut select = Select::new();
        let others = self.ports.iter().enumerate().filter(|(stream, _)| asked.iter().all(|a| a.stream != *stream));
        let others: Vec<&Port> = others.filter_map(|(_, port)| port.as_ref()).collect();
        for port in &others {
            port.watch(&mut select);
        }
        match deadline {
            Some(deadline) => drop(select.ready_deadline(deadline)),
            None if others.is_empty() => {}
            None => drop(select.ready()),
        }
    }

    fn ground(&mut self, asked: Vec<Asked>) {
        let start = Instant::now();
        let _span = tracing::trace_span!("ground", frames = asked.len()).entered();
        let answers = if self.stop.load(Ordering::Acquire) { Err(None) } else { self.answers(&asked).map_err(Some) };
        let took = start.elapsed();
        let mut answers = answers.map(Vec::into_iter);
        for Asked { stream, frame, rest } in asked {
            let Prepared { frame, picture, cut, spent, ready, queued } = *frame;
            if let (Ok(picture), Some(port)) = (picture, &mut self.ports[stream]) {
                port.recycle(picture.pixels);
            }
            let (frame, outcome) = match &mut answers {
                Ok(answers) => match answers.next() {
                    Some(findings) => (frame, Outcome::Measured(findings)),
                    None => (frame, Outcome::Error { cause: "model", message: "the model gave no answer".into() }),
                },
                Err(None) => (frame.without_picture(), Outcome::Dropped { cause: "shutdown" }),
                Err(Some(message)) => (frame, Outcome::Error { cause: "model", message: message.clone() }),
            };
            let queued = queued + (start - ready);
            let mut items =
                vec![Passing::Frame(Box::new(Grounded { frame, outcome, cut, queued, grounding: spent + took }))];
            items.extend(rest);
            self.deliver(stream, items);
        }
    }

    /// The first failure ends the run; the frames behind it are not tried.
    fn answers(&mut self, asked: &[Asked]) -> Result<Vec<Answer>, String> {
        let pictures = asked.iter().filter_map(|asked| Some((asked.stream, asked.frame.picture.as_ref().ok()?)));
        let jobs: Vec<Job> = pictures.map(|(stream, picture)| Job { stream, picture }).collect();
        let model = &mut self.model;
        let message = match catch_unwind(AssertUnwindSafe(|| model.ground(&jobs))) {
            Ok(Ok(answers)) => return Ok(answers),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => format!("the worker panicked: {}", text(panic.as_ref())),
        };
        self.stop.store(true, Ordering::Release);
        if let Some(failed) = self.failed.take() {
            failed(message.clone());
        }
        Err(message)
    }
}

/// What goes by the model, on its way out.
fn passing(item: Ready) -> Option<Passing> {
    Some(match item {
        Ready::Note(note) => Passing::Note(note),
        Ready::Frame(prepared) => {
            let Prepared { frame, picture, cut, spent, ready, queued } = *prepared;
            let queued = queued + ready.elapsed();
            Passing::Frame(Box::new(Grounded { frame, outcome: picture.err()?, cut, queued, grounding: spent }))
        }
    })
}

fn text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
