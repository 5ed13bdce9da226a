//! The thread that owns the model's time. It serves all streams in turn: whoever has a frame waiting gets one measured
//! before anyone gets a second one, so none starves; frames that wait at the same moment go to the model together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, TrySendError};
use rayon::prelude::*;
use records::track::Outcome;

use super::input::Arrival;
use super::preprocess::{Preprocessed, Preprocessor, Ready};
use super::{Answer, Batching, Ground, GroundedFrame, Job, StreamEvent, StreamItem, StreamItems};

/// Where a stream's frames come from.
pub(super) enum SlotInput {
    /// Letterboxed ahead of the model, by a thread of the stream's own.
    Prefetched { preprocessed: Receiver<Vec<Ready>>, recycle: Sender<Vec<f32>> },
    /// Letterboxed when their turn comes: until then a newer one may take their place.
    OnDemand { arrivals: Receiver<Arrival>, preprocessor: Box<Preprocessor> },
}

/// One stream, as the worker sees it.
pub(super) struct Slot {
    input: SlotInput,
    output: Sender<StreamItems>,
    /// What could not be delivered yet. Until it is, the stream is not served: the others do not wait for it.
    outbox: StreamItems,
}

/// What was taken from a stream.
enum Taken {
    Ready(Vec<Ready>),
    Raw(Arrival),
}

impl Slot {
    pub(super) fn new(input: SlotInput, output: Sender<StreamItems>) -> Self {
        Self { input, output, outbox: Vec::new() }
    }

    fn take(&self) -> Result<Taken, TryRecvError> {
        match &self.input {
            SlotInput::Prefetched { preprocessed, .. } => preprocessed.try_recv().map(Taken::Ready),
            SlotInput::OnDemand { arrivals, .. } => arrivals.try_recv().map(Taken::Raw),
        }
    }

    fn preprocess(&mut self, taken: Taken) -> Vec<Ready> {
        match (taken, &mut self.input) {
            (Taken::Ready(ready), _) => ready,
            (Taken::Raw(arrival), SlotInput::OnDemand { preprocessor, .. }) => preprocessor.preprocess(arrival),
            (Taken::Raw(_), SlotInput::Prefetched { .. }) => Vec::new(),
        }
    }

    fn recycle(&mut self, pixels: Vec<f32>) {
        match &mut self.input {
            // Nobody waiting for the memory is no reason to wait.
            SlotInput::Prefetched { recycle, .. } => drop(recycle.try_send(pixels)),
            SlotInput::OnDemand { preprocessor, .. } => preprocessor.recycle(pixels),
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
            match &self.input {
                SlotInput::Prefetched { preprocessed, .. } => select.recv(preprocessed),
                SlotInput::OnDemand { arrivals, .. } => select.recv(arrivals),
            };
        } else {
            select.send(&self.output);
        }
    }
}

/// A frame that the model is to look at, and what follows it in its stream.
struct BatchEntry {
    stream: usize,
    frame: Box<Preprocessed>,
    rest: StreamItems,
}

/// Serves streams until all have ended.
pub(super) struct Worker<F> {
    model: Box<dyn Ground>,
    /// By stream; none where it has ended.
    slots: Vec<Option<Slot>>,
    batching: Batching,
    stop: Arc<AtomicBool>,
    failed: Option<F>,
    /// The stream that is next.
    turn: usize,
}

impl<F: FnOnce(String)> Worker<F> {
    pub(super) fn new(
        model: Box<dyn Ground>,
        slots: Vec<Slot>,
        batching: Batching,
        stop: Arc<AtomicBool>,
        failed: F,
    ) -> Self {
        let slots = slots.into_iter().map(Some).collect();
        Self { model, slots, batching, stop, failed: Some(failed), turn: 0 }
    }

    pub(super) fn run(mut self) {
        while self.slots.iter().any(Option::is_some) {
            let mut batch = Vec::new();
            let deadline = self.gather(&mut batch);
            if batch.is_empty() {
                self.wait(&batch, None);
                continue;
            }
            // Not where there is nobody else to wait for.
            while batch.len() < self.batching.max_size.min(self.running()) && Instant::now() < deadline {
                self.wait(&batch, Some(deadline));
                self.gather(&mut batch);
            }
            self.ground(batch);
        }
    }

    fn running(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// Takes at most one frame to measure from every stream that has one; what needs no model goes on at once.
    /// Returns until when others may join.
    fn gather(&mut self, batch: &mut Vec<BatchEntry>) -> Instant {
        let count = self.slots.len();
        let first = self.turn;
        let mut taken = Vec::new();
        for stream in (0..count).map(|offset| (first + offset) % count) {
            if batch.len() + taken.len() >= self.batching.max_size {
                break;
            }
            if batch.iter().any(|entry| entry.stream == stream) {
                continue;
            }
            let Some(slot) = &mut self.slots[stream] else { continue };
            if !slot.flush() {
                self.slots[stream] = None;
                continue;
            }
            if !slot.outbox.is_empty() {
                continue;
            }
            match slot.take() {
                Ok(items) => {
                    self.turn = (stream + 1) % count;
                    taken.push((stream, items));
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => self.slots[stream] = None,
            }
        }
        let deadline = Instant::now() + self.batching.timeout;
        for (stream, ready) in self.preprocess(taken) {
            if let Some(frame) = self.pass(stream, ready) {
                batch.push(frame);
            }
        }
        deadline
    }

    /// Letterboxes what is not yet, several streams at once.
    fn preprocess(&mut self, mut taken: Vec<(usize, Taken)>) -> Vec<(usize, Vec<Ready>)> {
        taken.sort_by_key(|(stream, _)| *stream);
        let mut rest = taken.into_iter().peekable();
        let mut pairs = Vec::new();
        for (stream, slot) in self.slots.iter_mut().enumerate() {
            if let (Some(slot), Some((_, items))) = (slot, rest.next_if(|(taken, _)| *taken == stream)) {
                pairs.push((stream, slot, items));
            }
        }
        let preprocess = |(stream, slot, items): (usize, &mut Slot, Taken)| (stream, slot.preprocess(items));
        if pairs.len() < 2 {
            pairs.into_iter().map(preprocess).collect()
        } else {
            pairs.into_par_iter().map(preprocess).collect()
        }
    }

    /// Sends on what comes before the frame to measure.
    fn pass(&mut self, stream: usize, ready: Vec<Ready>) -> Option<BatchEntry> {
        let mut items = ready.into_iter();
        let (mut before, mut frame) = (Vec::new(), None);
        for item in items.by_ref() {
            match item {
                Ready::Frame(preprocessed) if preprocessed.picture.is_ok() => {
                    frame = Some(preprocessed);
                    break;
                }
                other => before.extend(unmeasured(other)),
            }
        }
        self.deliver(stream, before);
        let rest = items.filter_map(unmeasured).collect();
        frame.map(|frame| BatchEntry { stream, frame, rest })
    }

    /// Sends items on. What comes after a change of the queries is asked the new ones: items before the frame to measure are
    /// delivered before it is grounded, those behind it after.
    fn deliver(&mut self, stream: usize, items: StreamItems) {
        for item in &items {
            if let StreamItem::Event(StreamEvent::Queries(update)) = item {
                self.model.set_queries(stream, &update.queries);
            }
        }
        if let Some(slot) = &mut self.slots[stream] {
            slot.outbox.extend(items);
            if !slot.flush() {
                self.slots[stream] = None;
            }
        }
    }

    /// Until a stream that is not in the batch yet has something, or room.
    fn wait(&self, batch: &[BatchEntry], deadline: Option<Instant>) {
        let mut select = Select::new();
        let others =
            self.slots.iter().enumerate().filter(|(stream, _)| batch.iter().all(|entry| entry.stream != *stream));
        let others: Vec<&Slot> = others.filter_map(|(_, slot)| slot.as_ref()).collect();
        for slot in &others {
            slot.watch(&mut select);
        }
        match deadline {
            Some(deadline) => drop(select.ready_deadline(deadline)),
            None if others.is_empty() => {}
            None => drop(select.ready()),
        }
    }

    fn ground(&mut self, batch: Vec<BatchEntry>) {
        let start = Instant::now();
        let _span = tracing::trace_span!("ground", frames = batch.len()).entered();
        let answers = if self.stop.load(Ordering::Acquire) { Err(None) } else { self.answers(&batch).map_err(Some) };
        let took = start.elapsed();
        let mut answers = answers.map(Vec::into_iter);
        for BatchEntry { stream, frame, rest } in batch {
            let Preprocessed { frame, picture, cut, spent, ready, queued } = *frame;
            if let (Ok(picture), Some(slot)) = (picture, &mut self.slots[stream]) {
                slot.recycle(picture.pixels);
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
            let mut items = vec![StreamItem::Frame(Box::new(GroundedFrame {
                frame,
                outcome,
                cut,
                queued,
                grounding: spent + took,
            }))];
            items.extend(rest);
            self.deliver(stream, items);
        }
    }

    /// The first failure ends the run; the frames behind it are not tried.
    fn answers(&mut self, batch: &[BatchEntry]) -> Result<Vec<Answer>, String> {
        let pictures = batch.iter().filter_map(|entry| Some((entry.stream, entry.frame.picture.as_ref().ok()?)));
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
fn unmeasured(item: Ready) -> Option<StreamItem> {
    Some(match item {
        Ready::Event(event) => StreamItem::Event(event),
        Ready::Frame(preprocessed) => {
            let Preprocessed { frame, picture, cut, spent, ready, queued } = *preprocessed;
            let queued = queued + ready.elapsed();
            StreamItem::Frame(Box::new(GroundedFrame { frame, outcome: picture.err()?, cut, queued, grounding: spent }))
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
