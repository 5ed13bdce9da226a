//! The program: parse, set up logging, run, report one error chain, exit.

use std::process::ExitCode;

use clap::Parser;
use spotter::cli::Cli;

// glibc gives large blocks back to the system on every free, so that each large tensor is paged in anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    spotter::heap::share();
    spotter::heap::leave_candle_one_thread();
    spotter::logging::survive_full_files();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(spotter::logging::complain(&error)),
    };
    let done = match spotter::logging::set_up(&cli) {
        Ok(profile) => {
            let done = spotter::verbs::dispatch(cli);
            drop(profile);
            done
        }
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}
