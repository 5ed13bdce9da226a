//! What a terminal shows of the streams while they run: a line each.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use indicatif::{ProgressBar, ProgressStyle};
use qrnet::preprocess::Rect;

use crate::config::{RunSettings, StreamSettings};
use crate::logging;
use crate::record::Status as Fate;
use crate::stage::Note;
use crate::track::Seen;

/// How often lines are drawn anew.
const TICK: Duration = Duration::from_millis(500);
/// Over how long rates are taken.
const WINDOW: Duration = Duration::from_secs(5);

/// What is known of one stream.
#[derive(Default)]
pub(super) struct Status(Mutex<State>);

#[derive(Default)]
struct State {
    decoded: u64,
    measured: u64,
    dropped: u64,
    delay: Duration,
    found: Option<Found>,
    gap: Option<&'static str>,
}

enum Found {
    Box(Rect),
    Absent,
}

impl Status {
    /// Takes note of a frame that is about to be delivered, `delay` after it left the decoder.
    pub(super) fn frame(&self, seen: &Seen, delay: Duration) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.decoded += 1;
        state.measured += u64::from(matches!(seen.status, Fate::Box | Fate::Absent));
        state.dropped += u64::from(seen.status == Fate::Dropped);
        state.gap = None;
        match (seen.status, seen.rect) {
            (Fate::Box, Some(rect)) => state.found = Some(Found::Box(rect)),
            (Fate::Absent, _) => state.found = Some(Found::Absent),
            _ => {}
        }
        if seen.status != Fate::Dropped {
            state.delay = delay;
        }
    }

    /// Takes note of a gap.
    pub(super) fn note(&self, note: &Note) {
        let (Note::GapStart { fault, .. } | Note::GapRetry { fault, .. }) = note;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).gap = Some(fault.code);
    }
}

/// Frames so far, at a moment.
struct Sample {
    at: Instant,
    decoded: u64,
    measured: u64,
}

/// The end of a long name: what is before it is the same for many cameras.
fn shortened(name: &str) -> String {
    const MOST: usize = 32;
    let count = name.chars().count();
    if count <= MOST {
        name.to_owned()
    } else {
        format!("…{}", name.chars().skip(count - MOST + 1).collect::<String>())
    }
}

/// One stream's line.
struct Line {
    name: String,
    status: Arc<Status>,
    bar: ProgressBar,
    samples: VecDeque<Sample>,
}

impl Line {
    fn draw(&mut self) {
        let text = self.text(Instant::now());
        self.bar.set_message(text);
        self.bar.tick();
    }

    fn text(&mut self, now: Instant) -> String {
        let state = self.status.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.samples.push_back(Sample { at: now, decoded: state.decoded, measured: state.measured });
        while self.samples.len() > 2 && now.duration_since(self.samples[1].at) >= WINDOW {
            self.samples.pop_front();
        }
        let (in_rate, out_rate) = match self.samples.front() {
            Some(first) if now > first.at => {
                let seconds = now.duration_since(first.at).as_secs_f64();
                let rate = |now: u64, then: u64| (now - then) as f64 / seconds;
                (rate(state.decoded, first.decoded), rate(state.measured, first.measured))
            }
            _ => (0.0, 0.0),
        };
        let found = match &state.found {
            None => "-".into(),
            Some(Found::Absent) => "not here".into(),
            Some(Found::Box(rect)) => {
                format!("{:.0}x{:.0} at {:.0},{:.0}", rect.width(), rect.height(), rect.x0, rect.y0)
            }
        };
        match state.gap {
            Some(code) => format!("{}  {code}, connecting again", self.name),
            None => format!(
                "{}  {in_rate:.1} fps in, {out_rate:.1} grounded, {} ms, {} dropped, {found}",
                self.name,
                state.delay.as_millis(),
                state.dropped
            ),
        }
    }
}

/// All lines. They are drawn on a terminal alone.
pub(super) struct Board {
    statuses: Vec<Arc<Status>>,
    stop: Option<Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Board {
    pub(super) fn new(settings: &RunSettings) -> Self {
        let names: Vec<&str> = settings.streams.iter().map(|stream| stream.address.name.as_str()).collect();
        let statuses: Vec<Arc<Status>> = names.iter().map(|_| Arc::default()).collect();
        // Records on the same terminal say all that there is to say.
        let to_stdout = |stream: &StreamSettings| stream.json_lines.iter().any(|path| path.as_os_str() == "-");
        let told = std::io::stdout().is_terminal() && settings.streams.iter().any(to_stdout);
        let Some(bars) = logging::bars().filter(|_| !told) else { return Self { statuses, stop: None, thread: None } };
        let style =
            ProgressStyle::with_template("{spinner} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let mut lines: Vec<Line> = names
            .iter()
            .zip(&statuses)
            .map(|(name, status)| Line {
                name: shortened(name),
                status: Arc::clone(status),
                bar: bars.add(ProgressBar::new_spinner().with_style(style.clone())),
                samples: VecDeque::new(),
            })
            .collect();
        let (stop, stopped) = bounded::<()>(0);
        let thread = std::thread::Builder::new().name("status".into()).spawn(move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                lines.iter_mut().for_each(Line::draw);
            }
            for line in &lines {
                line.bar.finish_and_clear();
            }
        });
        Self { statuses, stop: Some(stop), thread: thread.ok() }
    }

    /// Where a stream's frames are noted.
    pub(super) fn status(&self, stream: usize) -> Arc<Status> {
        self.statuses.get(stream).cloned().unwrap_or_default()
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
