//! The grounding stage: bounded queues between the decoders, the model and the outputs.
//!
//! ```text
//! appsink ─ input ──► letterbox ─┐                 ┌─► outcomes ─► records, appsrc
//! appsink ─ input ──► letterbox ─┼─► worker: model ┼─► outcomes ─► records, appsrc
//! appsink ─ input ──► letterbox ─┘                 └─► outcomes ─► records, appsrc
//! ```
//!
//! One model serves all streams in turn, each with its own queries. All channels are bounded. In `every-frame` mode a full
//! queue blocks its sender, back to the decoder, so nothing is lost, and the letterbox of the next frame overlaps with
//! the grounding of this one. In `freshest` mode the newest frame takes the place of the one that waits ([`StageInput`]), until
//! the moment when the model is free for it; only then it is letterboxed. Every frame that enters leaves as a [`GroundedFrame`],
//! in order, also when it was overtaken and when the run is stopped: then the rest leaves unmeasured, with the cause
//! `shutdown`, so that frame accounting closes. What a source says between its frames ([`StreamEvent`]) keeps its place among them. The
//! stage ends when its inputs do.

mod cuts;
mod frame;
mod input;
mod preprocess;
mod query;
mod sampling;
mod static_gate;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use blocks::preprocess::{Letterboxed, Rect};
use crossbeam_channel::{Receiver, bounded};
use grounding::{Canvas, CompiledQuery, Finding, Findings, Grounder};

pub(crate) use frame::frame_time;
pub use frame::{Frame, StreamEvent};
pub use input::{Closed, InputHandle, Mode, StageInput};
use preprocess::Preprocessor;
pub use query::{ActiveQueries, ActiveQuery, QuerySettings, QueryUpdate, tracked};
use records::track::Outcome;
pub use sampling::Sampling;
pub use static_gate::StaticGate;
use worker::{Slot, SlotInput, Worker};

/// Frames that may wait between two steps.
pub const QUEUE: usize = 4;

/// One picture that the model is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// Whose query it is, counted from 0.
    pub stream: usize,
    /// The picture.
    pub picture: &'a Letterboxed,
}

/// What was found on one picture, by query, in the order in which its stream asks them.
pub type Answer = Vec<Findings>;

/// The answer of a model that looks for one thing and always gives one box, in pixels of the picture that was letterboxed;
/// with the probability that the thing is there, from models that can tell.
pub fn one_box(rect: Rect, presence: Option<f32>) -> Answer {
    vec![Findings { presence, found: vec![Finding { rect, on_canvas: [0.0; 4], score: presence }] }]
}

/// A model and its queries, as the stage sees them.
pub trait Ground: Send {
    /// The size of picture that it wants.
    fn canvas(&self) -> Canvas;

    /// All sizes that it takes: a picture goes onto the one on which it is largest.
    fn canvases(&self) -> Vec<Canvas> {
        vec![self.canvas()]
    }

    /// An answer for each of the pictures, in their order.
    ///
    /// # Errors
    /// The device failed. The run ends.
    fn ground(&mut self, jobs: &[Job]) -> grounding::Result<Vec<Answer>>;

    /// Whether it can give all things that match a sentence, and not the best alone.
    fn gives_all(&self) -> bool {
        true
    }

    /// From the next picture of `stream` on, `queries` are what it is asked. Models that look for one thing need not listen.
    fn set_queries(&mut self, stream: usize, queries: &[Arc<ActiveQuery>]) {
        let _ = (stream, queries);
    }
}

/// A model with compiled queries.
pub struct Model {
    /// The model.
    pub grounder: Arc<Grounder>,
    /// What the streams are asked, by stream.
    pub queries: Vec<Vec<Arc<CompiledQuery>>>,
}

impl Ground for Model {
    fn canvas(&self) -> Canvas {
        self.grounder.canvas()
    }

    fn canvases(&self) -> Vec<Canvas> {
        self.grounder.canvases()
    }

    fn gives_all(&self) -> bool {
        self.grounder.gives_all()
    }

    /// Pictures of all streams go through the model together, with all queries of each.
    fn ground(&mut self, jobs: &[Job]) -> grounding::Result<Vec<Answer>> {
        let of = |job: &Job| self.queries.get(job.stream).map_or(&[][..], Vec::as_slice);
        let queries: Vec<Vec<&CompiledQuery>> = jobs.iter().map(|job| of(job).iter().map(|q| &**q).collect()).collect();
        let queries: Vec<&[&CompiledQuery]> = queries.iter().map(Vec::as_slice).collect();
        let pictures: Vec<&Letterboxed> = jobs.iter().map(|job| job.picture).collect();
        self.grounder.ground_each(&pictures, &queries)
    }

    fn set_queries(&mut self, stream: usize, queries: &[Arc<ActiveQuery>]) {
        if let Some(compiled) = self.queries.get_mut(stream) {
            *compiled = queries.iter().filter_map(|active| active.compiled.clone()).collect();
        }
    }
}

/// A frame with what was found.
pub struct GroundedFrame {
    /// The frame, its buffer untouched; without one where it was dropped.
    pub frame: Frame,
    /// What was found.
    pub outcome: Outcome,
    /// True where the picture shows another scene than the one before.
    pub cut: bool,
    /// Time spent waiting in queues.
    pub queued: Duration,
    /// Time spent on letterbox and model.
    pub grounding: Duration,
}

/// One step of a stream on its way out.
pub enum StreamItem {
    /// A frame.
    Frame(Box<GroundedFrame>),
    /// What its source says at this place.
    Event(StreamEvent),
}

/// Steps of a stream, in order.
pub type StreamItems = Vec<StreamItem>;

/// How frames of several streams come together.
#[derive(Debug, Clone, Copy)]
pub struct Batching {
    /// Pictures that go through the model at once, at most; from 1.
    pub max_size: usize,
    /// How long the first of them waits for the others.
    pub timeout: Duration,
}

impl Default for Batching {
    /// One by one.
    fn default() -> Self {
        Self { max_size: 1, timeout: Duration::ZERO }
    }
}

/// How the stage treats the frames of one stream.
#[derive(Debug, Clone, Copy)]
pub struct StageSettings {
    /// What happens to frames that come faster than they are grounded.
    pub mode: Mode,
    /// Which frames are measured.
    pub sampling: Sampling,
    /// Whether frames of a still scene are measured; without it, all are.
    pub gate: Option<StaticGate>,
    /// Whether to look for scene cuts.
    pub watch_cuts: bool,
}

/// The ends of one stream.
pub struct Stream {
    /// Frames go in here.
    pub input: StageInput,
    /// Grounded frames and events come out here, in order; the channel ends with the stream.
    pub output: Receiver<StreamItems>,
}

/// A running stage.
pub struct Stage {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Stage {
    /// Starts the threads, with a stream for each of `settings`. `failed` is called once, from the worker, if the model
    /// fails or panics; the stage then lets every frame through unmeasured until its inputs end.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(
        model: Box<dyn Ground>,
        settings: &[StageSettings],
        batching: Batching,
        failed: impl FnOnce(String) + Send + 'static,
    ) -> std::io::Result<(Self, Vec<Stream>)> {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut streams, mut slots, mut threads) = (Vec::new(), Vec::new(), Vec::new());
        for settings in settings {
            let (input, arrivals) = StageInput::new(settings.mode, settings.sampling);
            let (to_output, output) = bounded(if settings.mode == Mode::Freshest { input::OUTPUT } else { QUEUE });
            let preprocessor = Preprocessor::new(model.canvases(), settings, &stop);
            let slot_input = if settings.mode == Mode::Freshest {
                SlotInput::OnDemand { arrivals, preprocessor: Box::new(preprocessor) }
            } else {
                let (to_worker, preprocessed) = bounded(1);
                let (recycle, recycled) = bounded(2);
                let thread = std::thread::Builder::new().name("prepare".into());
                threads.push(thread.spawn(move || preprocess::run(preprocessor, &arrivals, &to_worker, &recycled))?);
                SlotInput::Prefetched { preprocessed, recycle }
            };
            slots.push(Slot::new(slot_input, to_output));
            streams.push(Stream { input, output });
        }
        let worker = Worker::new(model, slots, batching, Arc::clone(&stop), failed);
        threads.push(std::thread::Builder::new().name("worker".into()).spawn(move || worker.run())?);
        Ok((Self { stop, threads }, streams))
    }

    /// A handle that makes the rest of the frames leave unmeasured.
    pub fn stopper(&self) -> impl Fn() + Send + Sync + use<> {
        let stop = Arc::clone(&self.stop);
        move || stop.store(true, Ordering::Release)
    }

    /// Takes the threads, to join once inputs and outputs are gone.
    pub fn into_threads(self) -> Vec<std::thread::JoinHandle<()>> {
        self.threads
    }
}

#[cfg(test)]
mod tests;
