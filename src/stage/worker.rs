//! The thread that owns the model's time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use qrnet::preprocess::Letterboxed;

use super::{Grounded, Grounding, Outcome, Prepared};

/// Grounds prepared frames, in order, until there are none or nobody takes them.
pub(super) fn run(
    grounding: &Grounding,
    prepared: &Receiver<Prepared>,
    grounded: &Sender<Grounded>,
    recycle: &Sender<Vec<f32>>,
    stop: &AtomicBool,
    failed: impl FnOnce(String),
) {
    let mut failed = Some(failed);
    for Prepared { frame, picture, spent, ready, queued } in prepared {
        let start = Instant::now();
        let queued = queued + (start - ready);
        let outcome = match picture {
            _ if stop.load(Ordering::Acquire) => Outcome::Dropped { cause: "shutdown" },
            Err(message) => Outcome::Error { cause: "picture", message },
            Ok(picture) => match catch_unwind(AssertUnwindSafe(|| ground(grounding, &picture))) {
                Ok(Ok(outcome)) => {
                    // Nobody waiting for the memory is no reason to wait.
                    drop(recycle.try_send(picture.pixels));
                    outcome
                }
                Ok(Err(error)) => fail(&mut failed, stop, error.to_string()),
                Err(panic) => fail(&mut failed, stop, format!("the worker panicked: {}", text(panic.as_ref()))),
            },
        };
        if grounded.send(Grounded { frame, outcome, queued, grounding: spent + start.elapsed() }).is_err() {
            return;
        }
    }
}

/// The first failure ends the run; the frames behind it are not tried.
fn fail(failed: &mut Option<impl FnOnce(String)>, stop: &AtomicBool, message: String) -> Outcome {
    stop.store(true, Ordering::Release);
    if let Some(failed) = failed.take() {
        failed(message.clone());
    }
    Outcome::Error { cause: "model", message }
}

fn text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

fn ground(grounding: &Grounding, picture: &Letterboxed) -> qrnet::Result<Outcome> {
    let answers = grounding.grounder.ground(&[picture], &grounding.query)?;
    let answer = answers.first().ok_or_else(|| qrnet::Error::Unsupported("the model gave no answer".into()))?;
    Ok(verdict(answer, grounding.threshold))
}

/// The answer under a threshold: absent only where the model can say so.
pub(crate) fn verdict(answer: &qrnet::Grounding, threshold: Option<f32>) -> Outcome {
    match (answer.presence, threshold) {
        (Some(presence), Some(threshold)) if presence < threshold => Outcome::Absent { presence },
        _ => Outcome::Box { rect: answer.rect, presence: answer.presence },
    }
}
