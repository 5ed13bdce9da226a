//! The grounding stage: bounded queues between the decoder, the model and the output.
//!
//! ```text
//! appsink ─ intake ─► prepare ─ prepared ─► worker ─ grounded ─► output
//!           (mode)     letterbox  (1)        model    (blocks)    records, appsrc
//! ```
//!
//! All channels are bounded. In `every-frame` mode a full queue blocks its sender, back to the decoder, so nothing is
//! lost; in `freshest` mode the newest frame takes the place of the one that waits ([`Intake`]). The letterbox of the next
//! frame overlaps with the grounding of this one. Every frame that enters leaves as a [`Grounded`], in order, also when
//! it was overtaken and when the run is stopped: then the rest leaves unmeasured, with the cause `shutdown`, so that the
//! books close. The stage ends when its input does.

mod convert;
mod cuts;
mod frame;
mod intake;
mod planes;
mod prepare;
mod sampling;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use qrnet::preprocess::{Letterboxed, Rect};
use qrnet::{Canvas, CompiledQuery, Grounder};

pub(crate) use convert::view;
pub use frame::Frame;
pub use intake::{Closed, Intake, Mode};
pub use sampling::Sampling;

/// Frames that may wait between two steps.
pub const QUEUE: usize = 4;

/// What the stage found on a frame. What is claimed of it in the end, [`crate::track::Track`] decides.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The model looked at it.
    Measured {
        /// Where the object is if it is there, in pixels of the picture as grounded, clipped to it.
        rect: Rect,
        /// Probability that it is; only with a presence head.
        presence: Option<f32>,
    },
    /// The frame was not looked at, and is forwarded.
    Skipped {
        /// Why.
        cause: &'static str,
    },
    /// The frame was not looked at, and is not forwarded.
    Dropped {
        /// Why.
        cause: &'static str,
    },
    /// The frame could not be looked at.
    Error {
        /// Why.
        cause: &'static str,
        /// In words.
        message: String,
    },
}

/// A model and its query, as the stage sees them.
pub trait Ground: Send {
    /// The size of picture that it wants.
    fn canvas(&self) -> Canvas;

    /// The box on one letterboxed picture, in pixels of the picture that was letterboxed, and the probability that the
    /// object is there, from models that can tell.
    ///
    /// # Errors
    /// The device failed. The run ends.
    fn ground(&mut self, picture: &Letterboxed) -> qrnet::Result<(Rect, Option<f32>)>;
}

/// QRNet with a compiled query.
pub struct Model {
    /// The model.
    pub grounder: Grounder,
    /// The query, compiled for it.
    pub query: CompiledQuery,
}

impl Ground for Model {
    fn canvas(&self) -> Canvas {
        self.grounder.canvas()
    }

    fn ground(&mut self, picture: &Letterboxed) -> qrnet::Result<(Rect, Option<f32>)> {
        let answers = self.grounder.ground(&[picture], &self.query)?;
        let answer = answers.first().ok_or_else(|| qrnet::Error::Unsupported("the model gave no answer".into()))?;
        Ok((answer.rect, answer.presence))
    }
}

/// A frame with what was found.
pub struct Grounded {
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

/// A frame on its way to the worker.
struct Prepared {
    frame: Frame,
    /// The picture, or what became of the frame without one.
    picture: Result<Letterboxed, Outcome>,
    cut: bool,
    spent: Duration,
    ready: Instant,
    queued: Duration,
}

/// How the stage treats its frames.
#[derive(Debug, Clone, Copy)]
pub struct StageSettings {
    /// What happens to frames that come faster than they are grounded.
    pub mode: Mode,
    /// Which frames are measured.
    pub sampling: Sampling,
    /// Whether to look for scene cuts.
    pub watch_cuts: bool,
}

/// A running stage.
pub struct Stage {
    /// Frames go in here.
    pub input: Intake,
    /// Verdicts come out here, in order; the channel ends with the stage.
    pub output: Receiver<Grounded>,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Stage {
    /// Starts the threads. `failed` is called once, from the worker, if the model fails or panics; the stage then
    /// lets every frame through as an error until its input ends.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(
        model: Box<dyn Ground>,
        settings: StageSettings,
        failed: impl FnOnce(String) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (input, arrivals) = Intake::new(settings.mode);
        let (to_worker, prepared) = bounded(1);
        let (to_output, output) = bounded(QUEUE);
        let (to_recycle, recycled) = bounded(2);
        let stop = Arc::new(AtomicBool::new(false));
        let canvas = model.canvas();
        let stopping = Arc::clone(&stop);
        let prepare = std::thread::Builder::new()
            .name("prepare".into())
            .spawn(move || prepare::run(&arrivals, &to_worker, &recycled, canvas, settings, &stopping))?;
        let stopping = Arc::clone(&stop);
        let worker = std::thread::Builder::new()
            .name("worker".into())
            .spawn(move || worker::run(model, &prepared, &to_output, &to_recycle, &stopping, failed))?;
        Ok(Self { input, output, stop, threads: vec![prepare, worker] })
    }

    /// A handle that makes the rest of the frames leave unmeasured.
    pub fn stopper(&self) -> impl Fn() + Send + use<> {
        let stop = Arc::clone(&self.stop);
        move || stop.store(true, Ordering::Release)
    }

    /// Takes the threads, to join once input and output are gone.
    pub fn into_threads(self) -> Vec<std::thread::JoinHandle<()>> {
        self.threads
    }
}

#[cfg(test)]
mod tests;
