//! The thread that owns the model's time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use super::{Ground, Grounded, Outcome, Prepared};

/// Grounds prepared frames, in order, until there are none or nobody takes them.
pub(super) fn run(
    mut model: Box<dyn Ground>,
    prepared: &Receiver<Prepared>,
    grounded: &Sender<Grounded>,
    recycle: &Sender<Vec<f32>>,
    stop: &AtomicBool,
    failed: impl FnOnce(String),
) {
    let mut failed = Some(failed);
    for Prepared { mut frame, picture, cut, spent, ready, queued } in prepared {
        let start = Instant::now();
        let queued = queued + (start - ready);
        let outcome = match picture {
            Ok(_) if stop.load(Ordering::Acquire) => {
                frame = frame.without_picture();
                Outcome::Dropped { cause: "shutdown" }
            }
            Err(outcome) => outcome,
            Ok(picture) => match catch_unwind(AssertUnwindSafe(|| model.ground(&picture))) {
                Ok(Ok((rect, presence))) => {
                    // Nobody waiting for the memory is no reason to wait.
                    drop(recycle.try_send(picture.pixels));
                    Outcome::Measured { rect, presence }
                }
                Ok(Err(error)) => fail(&mut failed, stop, error.to_string()),
                Err(panic) => fail(&mut failed, stop, format!("the worker panicked: {}", text(panic.as_ref()))),
            },
        };
        if grounded.send(Grounded { frame, outcome, cut, queued, grounding: spent + start.elapsed() }).is_err() {
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
