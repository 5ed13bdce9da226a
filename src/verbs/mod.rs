//! What the verbs do.

mod batch;
pub mod bench;
mod calibrate;
mod check;
mod control;
mod convert;
mod doctor;
mod eval;
mod film;
mod ground;
mod preview;
mod run;
mod signals;
mod train;

pub(crate) use run::ground_file;
pub use run::{run, stream, stream_until};

use crate::cli::{Cli, Verb};
use crate::config::RunSettings;
use crate::error::Result;

/// Does what the command line asks for.
///
/// # Errors
/// Whatever the verb reports.
pub fn dispatch(cli: Cli) -> Result<()> {
    match cli.verb {
        Verb::Run(args) => {
            crate::pipeline::init()?;
            let settings = RunSettings::resolve(*args)?;
            settings.check_outputs()?;
            run(&settings)
        }
        Verb::Batch(args) => batch::run(&args),
        Verb::Control(args) => control::run(args),
        Verb::Ground(args) => ground::run(&args),
        Verb::Convert(args) => convert::run(&args),
        Verb::Train(args) => train::run(&args),
        Verb::Eval(args) => eval::run(&args),
        Verb::Calibrate(args) => calibrate::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Doctor(_) => doctor::run(),
    }
}

/// Limits the threads that compute on the CPU.
///
/// # Errors
/// The pool is there already.
fn use_threads(threads: Option<usize>) -> Result<()> {
    let Some(threads) = threads else { return Ok(()) };
    // Threads beyond the cores wait for each other; hundreds of them do little else.
    let most = 4 * std::thread::available_parallelism().map_or(1, std::num::NonZero::get).max(16);
    if !(1..=most).contains(&threads) {
        return Err(crate::Error::Usage(format!("--threads {threads}: expected a number from 1 to {most}")));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    pool.map_err(|e| crate::Error::Usage(format!("--threads {threads}: {e}")))
}
