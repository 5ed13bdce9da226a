//! What is seen of a batch while it runs: bars on a terminal, a line for every finished file elsewhere.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use indicatif::{ProgressBar, ProgressStyle};
use records::Counts;

use crate::logging;
use crate::service::Status;

/// How often bars are drawn anew.
const TICK: Duration = Duration::from_millis(500);

/// A file's name on one line.
pub(super) fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Bytes are what is known of all inputs beforehand: time left is told by them.
pub(super) struct ProgressDisplay {
    shared: Arc<Shared>,
    stop: Option<Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    start: Instant,
    files: usize,
    bytes: u64,
    state: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    files: usize,
    failed: usize,
    bytes: u64,
    /// Bytes of files that were grounded here, and their frames.
    worked: u64,
    frames: u64,
    active: Vec<Active>,
}

struct Active {
    number: i64,
    name: String,
    bytes: u64,
    status: Arc<Status>,
    since: Instant,
    bar: Option<ProgressBar>,
}

impl ProgressDisplay {
    /// For so many files with so many bytes in all.
    pub(super) fn new(files: usize, bytes: u64) -> Self {
        let shared = Arc::new(Shared { start: Instant::now(), files, bytes, state: Mutex::default() });
        let Some(bars) = logging::bars() else { return Self { shared, stop: None, thread: None } };
        let style = ProgressStyle::with_template("{bar:30} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let all = bars.add(ProgressBar::new(bytes.max(1)).with_style(style));
        let (stop, stopped) = bounded::<()>(0);
        let seen = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("status".into()).spawn(move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                seen.draw(&all);
            }
            all.finish_and_clear();
        });
        Self { shared, stop: Some(stop), thread: thread.ok() }
    }

    /// Work on a file begins.
    pub(super) fn begin(&self, number: i64, (name, bytes): (&str, u64), status: &Arc<Status>) {
        let bar = logging::bars().map(|bars| {
            let style = ProgressStyle::with_template("{spinner} {wide_msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
            bars.add(ProgressBar::new_spinner().with_style(style))
        });
        let active =
            Active { number, name: printable(name), bytes, status: Arc::clone(status), since: Instant::now(), bar };
        self.shared.state().active.push(active);
    }

    /// A file of so many bytes needs no more work; `counts` where it was grounded just now, or the reason why it was not.
    pub(super) fn end(&self, number: i64, name: &str, bytes: u64, ended: Result<Option<&Counts>, &str>) {
        let name = printable(name);
        let mut state = self.shared.state();
        let place = state.active.iter().position(|active| active.number == number);
        let seconds = place.map(|place| state.active.remove(place)).map(|active| {
            if let Some(bar) = active.bar {
                bar.finish_and_clear();
            }
            active.since.elapsed().as_secs_f64()
        });
        state.files += 1;
        state.bytes += bytes;
        let so_far = format!("{} of {}", state.files, self.shared.files);
        match ended {
            Ok(Some(counts)) => {
                state.worked += bytes;
                state.frames += counts.frames.decoded;
                drop(state);
                let rate = counts.frames.decoded as f64 / seconds.unwrap_or(f64::INFINITY).max(1e-3);
                tracing::info!("{so_far}: {name}: {counts} ({rate:.1} frames/s)");
            }
            Ok(None) => {
                drop(state);
                tracing::debug!("{so_far}: {name}: done before, kept as it is");
            }
            Err(reason) => {
                state.failed += 1;
                drop(state);
                tracing::error!("{so_far}: {name}: {reason}");
            }
        }
    }
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self, all: &ProgressBar) {
        let state = self.state();
        let seconds = self.start.elapsed().as_secs_f64().max(1e-3);
        let (mut frames, mut worked) = (state.frames, state.worked as f64);
        for active in &state.active {
            let summary = active.status.summary();
            let measured = summary.decoded;
            frames += measured;
            worked += active.bytes as f64 * summary.share.unwrap_or(0.0);
            if let Some(bar) = &active.bar {
                let rate = measured as f64 / active.since.elapsed().as_secs_f64().max(1e-3);
                bar.set_message(format!("{}  {measured} frames, {rate:.1} frames/s", active.name));
                bar.tick();
            }
        }
        // What was done before cost no time.
        let done = state.bytes as f64 + (worked - state.worked as f64);
        let left = if worked > 0.0 {
            let left = (self.bytes as f64 - done).max(0.0) * seconds / worked;
            format!("{} left", humantime::format_duration(Duration::from_secs(left as u64)))
        } else {
            "time left not known yet".to_owned()
        };
        let failed = if state.failed > 0 { format!(", {} failed", state.failed) } else { String::new() };
        let rate = frames as f64 / seconds;
        all.set_position(done as u64);
        all.set_message(format!("{}/{} files{failed}, {rate:.1} frames/s, {left}", state.files, self.files));
        all.tick();
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
