//! Ctrl-C and SIGTERM: the first finishes cleanly, the second ends the process at once.

use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::Message;
use crate::error::{Error, Result};

/// Signals so close to the first one say no more than that: `timeout` signals its child, and then its whole group.
const ONE_WISH: Duration = Duration::from_millis(300);

/// Watches signals for as long as it lives; they stay taken after that.
pub(super) struct Signals {
    handle: signal_hook::iterator::Handle,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Signals {
    pub(super) fn watch(messages: Sender<Message>) -> Result<Self> {
        let fail = |e: std::io::Error| Error::Worker(format!("signals cannot be watched: {e}"));
        let mut signals =
            signal_hook::iterator::Signals::new([signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM])
                .map_err(fail)?;
        let handle = signals.handle();
        let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
            let mut first: Option<Instant> = None;
            for _ in signals.forever() {
                match first {
                    None => {
                        tracing::warn!("interrupted: finishing the files (once more ends at once)");
                        drop(messages.send(Message::Interrupt));
                        first = Some(Instant::now());
                    }
                    Some(first) if first.elapsed() < ONE_WISH => {}
                    Some(_) => signal_hook::low_level::exit(i32::from(Error::Interrupted.exit_code())),
                }
            }
        });
        Ok(Self { handle, thread: Some(thread.map_err(fail)?) })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
