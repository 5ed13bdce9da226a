//! Decoded frame → letterboxed picture.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use blocks::preprocess::Letterboxed;
use crossbeam_channel::{Receiver, Sender};
use frames::FrameLetterboxer;
use grounding::Canvas;
use records::track::Outcome;

use super::cuts::Cuts;
use super::input::{Arrival, Item, Treatment};
use super::static_gate::Gate;
use super::{Frame, StageSettings, StreamEvent};

/// One step of a source, ready for the model.
pub(super) enum Ready {
    Frame(Box<Preprocessed>),
    Event(StreamEvent),
}

/// A frame on its way to the worker.
pub(super) struct Preprocessed {
    pub(super) frame: Frame,
    /// The picture, or what became of the frame without one.
    pub(super) picture: Result<Letterboxed, Outcome>,
    /// True where the picture shows another scene than the one before.
    pub(super) cut: bool,
    pub(super) spent: Duration,
    pub(super) ready: Instant,
    pub(super) queued: Duration,
}

/// Prepares what one source hands over.
pub(super) struct Preprocessor {
    canvases: Vec<Canvas>,
    letterboxer: FrameLetterboxer,
    cuts: Option<Cuts>,
    gate: Option<Gate>,
    stop: Arc<AtomicBool>,
    /// Of pictures that were looked at, for the next ones.
    memory: Vec<Vec<f32>>,
}

impl Preprocessor {
    pub(super) fn new(canvases: Vec<Canvas>, settings: &StageSettings, stop: &Arc<AtomicBool>) -> Self {
        Self {
            canvases,
            letterboxer: FrameLetterboxer::default(),
            cuts: settings.watch_cuts.then(Cuts::new),
            gate: settings.gate.map(Gate::new),
            stop: Arc::clone(stop),
            memory: Vec::new(),
        }
    }

    pub(super) fn preprocess(&mut self, arrival: Arrival) -> Vec<Ready> {
        let preprocess = |item| match item {
            Item::Frame(frame, treatment) => Ready::Frame(Box::new(self.frame(frame, treatment))),
            Item::Event(event) => {
                // Another query, or another picture after a gap.
                self.gate.iter_mut().for_each(Gate::reset);
                Ready::Event(event)
            }
        };
        arrival.into_iter().map(preprocess).collect()
    }

    /// Takes the memory of a picture back.
    pub(super) fn recycle(&mut self, pixels: Vec<f32>) {
        self.memory.push(pixels);
    }

    fn frame(&mut self, frame: Frame, treatment: Treatment) -> Preprocessed {
        let _span = tracing::trace_span!("prepare").entered();
        let start = Instant::now();
        let queued = start.duration_since(frame.arrived);
        let dropped = matches!(treatment, Treatment::Pass(Outcome::Dropped { .. }));
        let (frame, treatment) = if !dropped && self.stop.load(Ordering::Acquire) {
            (frame.without_picture(), Treatment::Pass(Outcome::Dropped { cause: "shutdown" }))
        } else {
            (frame, treatment)
        };
        let has_picture = !matches!(treatment, Treatment::Pass(Outcome::Dropped { .. }));
        let cut = has_picture
            && tracing::trace_span!("cuts").in_scope(|| self.cuts.as_mut().is_some_and(|cuts| cuts.is_cut(&frame)));
        if cut {
            // What was known of the picture is forgotten: nothing stands in for a measurement.
            self.gate.iter_mut().for_each(Gate::reset);
        }
        let picture = match treatment {
            Treatment::Pass(outcome) => Err(outcome),
            Treatment::Measure if self.gate.as_mut().is_some_and(|gate| gate.is_still(&frame)) => {
                Err(Outcome::Skipped { cause: "static" })
            }
            Treatment::Measure => {
                let _span = tracing::trace_span!("letterbox").entered();
                let memory = self.memory.pop().unwrap_or_default();
                let letterboxed = self.letterboxer.letterbox(&frame.buffer, &frame.info, &self.canvases, memory);
                letterboxed.map_err(|error| Outcome::Error { cause: "picture", message: error.to_string() })
            }
        };
        let ready = Instant::now();
        let spent = if picture.is_ok() { ready - start } else { Duration::ZERO };
        Preprocessed { frame, picture, cut, spent, ready, queued }
    }
}

/// Prepares ahead of the model until there are no frames or nobody takes them.
pub(super) fn run(
    mut preprocessor: Preprocessor,
    arrivals: &Receiver<Arrival>,
    preprocessed: &Sender<Vec<Ready>>,
    recycled: &Receiver<Vec<f32>>,
) {
    for arrival in arrivals {
        recycled.try_iter().for_each(|pixels| preprocessor.recycle(pixels));
        if preprocessed.send(preprocessor.preprocess(arrival)).is_err() {
            return;
        }
    }
}
