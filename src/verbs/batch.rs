//! `spotter batch`: many files, on one model.

use std::io::Write;
use std::path::Path;

use crossbeam_channel::bounded;

use crate::batch::Plan;
use crate::cli::BatchArgs;
use crate::error::{Error, Result};
use crate::signals::{SignalRequest, Signals};
use crate::threads::use_threads;

/// # Errors
/// Nothing could be begun, some of the files failed, or the user interrupted. What is finished is whole.
pub(super) fn run(args: &BatchArgs) -> Result<()> {
    crate::pipeline::init()?;
    use_threads(args.threads)?;
    // Before signals are taken: whoever types a list can leave as usual.
    let plan = Plan::of(args)?;
    let (interrupt, stop) = bounded::<()>(0);
    let interrupt = std::sync::Mutex::new(Some(interrupt));
    let _signals = Signals::watch(false, false, move |request| {
        if request == SignalRequest::Interrupt {
            // Dropped: whoever listens hears it.
            *interrupt.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
        }
    })?;
    let mut told = Ok(());
    let done = crate::batch::run(args, plan, &stop, |summary| {
        told = std::io::stdout().lock().write_all(summary.as_bytes()).map_err(Error::io("write", Path::new("-")));
    });
    done.and(told)
}
