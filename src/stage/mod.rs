//! The grounding stage: bounded queues between the decoder, the model and the output.
//!
//! ```text
//! appsink ─ frames ─► prepare ─ prepared ─► worker ─ grounded ─► output
//!           (blocks)   letterbox  (1)        model    (blocks)    records, appsrc
//! ```
//!
//! All channels are bounded. In `every-frame` mode a full queue blocks its sender, back to the decoder, so nothing is
//! lost. The letterbox of the next frame overlaps with the grounding of this one. Every frame that enters leaves as a
//! [`Grounded`], also when the run is stopped: then the rest leaves unmeasured, with the cause `shutdown`, so that the
//! books close. The stage ends when its input does.

mod frame;
mod prepare;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use qrnet::preprocess::Rect;
use qrnet::{CompiledQuery, Grounder};

use crate::record::Status;

pub use frame::Frame;
pub(crate) use worker::verdict;

/// Frames that may wait between two steps.
pub const QUEUE: usize = 4;

/// What the stage found on a frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The object, in pixels of the picture as grounded.
    Box {
        /// Clipped to the picture.
        rect: Rect,
        /// Only with a presence head.
        presence: Option<f32>,
    },
    /// The object is not in the picture.
    Absent {
        /// The probability that it is.
        presence: f32,
    },
    /// The frame was not looked at and is not forwarded.
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

impl Outcome {
    /// The box, where there is one.
    pub fn rect(&self) -> Option<&Rect> {
        match self {
            Self::Box { rect, .. } => Some(rect),
            _ => None,
        }
    }

    /// Probability that the object is in the picture, where it was measured.
    pub fn presence(&self) -> Option<f32> {
        match self {
            Self::Box { presence, .. } => *presence,
            Self::Absent { presence } => Some(*presence),
            _ => None,
        }
    }

    /// Why the frame was not measured.
    pub fn cause(&self) -> Option<&'static str> {
        match self {
            Self::Dropped { cause } | Self::Error { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

impl From<&Outcome> for Status {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Box { .. } => Self::Box,
            Outcome::Absent { .. } => Self::Absent,
            Outcome::Dropped { .. } => Self::Dropped,
            Outcome::Error { .. } => Self::Error,
        }
    }
}

/// A frame with its verdict.
pub struct Grounded {
    /// The frame, its buffer untouched.
    pub frame: Frame,
    /// The verdict.
    pub outcome: Outcome,
    /// Time spent waiting in queues.
    pub queued: Duration,
    /// Time spent on letterbox and model.
    pub grounding: Duration,
}

/// A frame on its way to the worker.
struct Prepared {
    frame: Frame,
    /// The picture, or why there is none.
    picture: Result<qrnet::preprocess::Letterboxed, String>,
    spent: Duration,
    ready: Instant,
    queued: Duration,
}

/// What the stage works with.
pub struct Grounding {
    /// The model.
    pub grounder: Arc<Grounder>,
    /// The query, compiled for it.
    pub query: CompiledQuery,
    /// Presence below this is "not here"; `None` without a presence head.
    pub threshold: Option<f32>,
}

/// A running stage.
pub struct Stage {
    /// Frames go in here.
    pub input: Sender<Frame>,
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
    pub fn start(grounding: Grounding, failed: impl FnOnce(String) + Send + 'static) -> std::io::Result<Self> {
        let (input, frames) = bounded(QUEUE);
        let (to_worker, prepared) = bounded(1);
        let (to_output, output) = bounded(QUEUE);
        let (to_recycle, recycled) = bounded(2);
        let stop = Arc::new(AtomicBool::new(false));
        let canvas = grounding.grounder.canvas();
        let stopping = Arc::clone(&stop);
        let prepare = std::thread::Builder::new()
            .name("prepare".into())
            .spawn(move || prepare::run(&frames, &to_worker, &recycled, canvas, &stopping))?;
        let stopping = Arc::clone(&stop);
        let worker = std::thread::Builder::new()
            .name("worker".into())
            .spawn(move || worker::run(&grounding, &prepared, &to_output, &to_recycle, &stopping, failed))?;
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
