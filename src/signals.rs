//! Signals: Ctrl-C and SIGTERM finish cleanly, twice they end the process at once; SIGHUP reads the queries anew.

use std::fs::File;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::{Error, Result};

/// Signals so close to the first one say no more than that: `timeout` signals its child, and then its whole group.
const ONE_REQUEST: Duration = Duration::from_millis(300);

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignalRequest {
    /// To go before the work is done.
    Interrupt,
    /// To end what does not end by itself.
    Stop,
    /// To read settings anew.
    Reload,
}

/// Watches signals for as long as it lives; they stay taken after that.
pub(super) struct Signals {
    handle: signal_hook::iterator::Handle,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Signals {
    /// A `service` is live or watched: SIGTERM ends it as it is meant to. One that `reloads` its settings does so on
    /// SIGHUP.
    pub(super) fn watch(service: bool, reloads: bool, tell: impl Fn(SignalRequest) + Send + 'static) -> Result<Self> {
        let fail = |e: std::io::Error| Error::Worker(format!("signals cannot be watched: {e}"));
        let (had_terminal, detached) = (has_terminal(), ignores_hangups());
        let mut taken = vec![SIGINT, SIGTERM];
        if reloads || !detached {
            taken.push(SIGHUP);
        }
        let mut signals = signal_hook::iterator::Signals::new(taken).map_err(fail)?;
        let handle = signals.handle();
        let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
            let mut first: Option<Instant> = None;
            for signal in signals.forever() {
                // The same signal says that a terminal was closed.
                if signal == SIGHUP && reloads && (detached || !had_terminal || has_terminal()) {
                    tell(SignalRequest::Reload);
                    continue;
                }
                match first {
                    None => {
                        first = Some(Instant::now());
                        if signal == SIGTERM && service {
                            tracing::info!("asked to stop (once more ends at once)");
                            tell(SignalRequest::Stop);
                        } else {
                            tracing::warn!("interrupted: finishing the files (once more ends at once)");
                            tell(SignalRequest::Interrupt);
                        }
                    }
                    Some(first) if first.elapsed() < ONE_REQUEST => {}
                    Some(_) => signal_hook::low_level::exit(i32::from(Error::Interrupted.exit_code())),
                }
            }
        });
        Ok(Self { handle, thread: Some(thread.map_err(fail)?) })
    }
}

fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Whether whoever started us wants us to outlive the terminal, as `nohup` does.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (SIGHUP - 1) & 1 == 1)
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
