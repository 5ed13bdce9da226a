//! Messages on standard error: as text or JSON, above the status lines of a terminal, and with no secret in them.

use std::io::{IsTerminal, Write};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::MultiProgress;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::cli::{Cli, LogFormat};
use crate::error::Result;
use crate::profile::Profile;
use crate::recent::Recent;
use crate::secrets;

/// Lines that stay below all messages.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Whether nothing but failures is to be said.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Where status lines go; none where standard error is no terminal, or nobody wants them.
pub(crate) fn bars() -> Option<&'static MultiProgress> {
    (std::io::stderr().is_terminal() && !QUIET.load(Ordering::Relaxed)).then(|| &*BARS)
}

/// Writes what the command line's parser says: help and version as they are, complaints with no secret in them.
/// Returns the exit code.
pub fn complain(error: &clap::Error) -> u8 {
    if !error.use_stderr() {
        // A closed pipe is no reason to complain.
        let _ = error.print();
        return 0;
    }
    let text = error.render();
    let text = if std::io::stderr().is_terminal() { text.ansi().to_string() } else { text.to_string() };
    let _ = std::io::stderr().write_all(secrets::hidden(&text).as_bytes());
    u8::try_from(error.exit_code()).unwrap_or(2)
}

/// Begins to write messages, as the command line asks, and to record where time goes. That recording ends with what is
/// returned.
///
/// # Errors
/// It cannot be written. Messages are.
pub fn set_up(cli: &Cli) -> Result<Option<Profile>> {
    QUIET.store(cli.quiet, Ordering::Relaxed);
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    let level = match (cli.quiet, cli.verbose) {
        (true, _) => "error",
        (_, 0) => "info",
        (_, 1) => "debug",
        _ => "trace",
    };
    // What NATS's client says of a server that is away, it says with every attempt; we say it once.
    let usual = EnvFilter::new(format!("warn,async_nats=off,spotter={level},qrnet={level}"));
    let asked =
        std::env::var("SPOTTER_LOG").ok().map(|text| EnvFilter::try_new(&text).map_err(|e| (text, e.to_string())));
    let (filter, wrong) = match asked {
        None => (usual, None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(wrong)) => (usual, Some(wrong)),
    };
    let messages = tracing_subscriber::fmt::layer().with_writer(Messages);
    let messages = match cli.log_format {
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal();
            messages.with_ansi(colours).with_target(false).without_time().boxed()
        }
        LogFormat::Json => messages.json().flatten_event(true).with_thread_names(true).boxed(),
    };
    let (layer, profile) = match cli.profile.as_deref().map(Profile::start).transpose() {
        Ok(started) => {
            let (profile, layer) = started.unzip();
            (layer, Ok(profile))
        }
        Err(error) => (None, Err(error)),
    };
    // What is said is kept as well, for the page.
    let messages = messages.and_then(Recent).with_filter(filter);
    tracing_subscriber::registry().with(layer).with(messages).init();
    if let Some((text, reason)) = wrong {
        tracing::warn!("SPOTTER_LOG={text}: {reason}");
    }
    profile
}

/// Standard error, for whole messages.
struct Messages;

impl<'a> MakeWriter<'a> for Messages {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for Messages {
    fn write(&mut self, message: &[u8]) -> std::io::Result<usize> {
        let clean = secrets::hidden(&String::from_utf8_lossy(message));
        let write = || std::io::stderr().write_all(clean.as_bytes());
        match bars() {
            Some(bars) => bars.suspend(write),
            None => write(),
        }?;
        Ok(message.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// A file that grows beyond what `ulimit -f` allows ends the process without a word, unless its signal is taken: then
/// writing fails, which is told like a disk that is full.
pub fn survive_full_files() {
    let taken = std::sync::Arc::default();
    if let Err(error) = signal_hook::flag::register(libc::SIGXFSZ, taken) {
        tracing::debug!("SIGXFSZ is not taken: {error}");
    }
}
