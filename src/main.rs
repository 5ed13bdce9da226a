//! The program: parse, set up logging, run, report one error chain, exit.

use std::process::ExitCode;

use clap::Parser;
use spotter::cli::Cli;
use tracing_subscriber::EnvFilter;

// glibc gives large blocks back to the system on every free, so that each large tensor is paged in anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    set_up_logging(&cli);
    match spotter::verbs::dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn set_up_logging(cli: &Cli) {
    let level = match (cli.quiet, cli.verbose) {
        (true, _) => "error",
        (_, 0) => "info",
        (_, 1) => "debug",
        _ => "trace",
    };
    let usual = EnvFilter::new(format!("warn,spotter={level},qrnet={level}"));
    let asked =
        std::env::var("SPOTTER_LOG").ok().map(|text| EnvFilter::try_new(&text).map_err(|e| (text, e.to_string())));
    let (filter, wrong) = match asked {
        None => (usual, None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(wrong)) => (usual, Some(wrong)),
    };
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .without_time()
        .init();
    if let Some((text, reason)) = wrong {
        tracing::warn!("SPOTTER_LOG={text}: {reason}");
    }
}
