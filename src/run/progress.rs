//! What a terminal shows of the streams while they run: a line each.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use indicatif::{ProgressBar, ProgressStyle};
use records::RecordPlace;

use crate::config::{RunSettings, StreamSettings};
use crate::logging;
use crate::service::{Found, Status};

/// How often lines are drawn anew.
const TICK: Duration = Duration::from_millis(500);
/// Over how long rates are taken.
const WINDOW: Duration = Duration::from_secs(5);

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
struct StreamLine {
    name: String,
    status: Arc<Status>,
    bar: ProgressBar,
    samples: VecDeque<Sample>,
}

impl StreamLine {
    fn draw(&mut self) {
        let text = self.text(Instant::now());
        self.bar.set_message(text);
        self.bar.tick();
    }

    fn text(&mut self, now: Instant) -> String {
        let state = self.status.summary();
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
        let found = found(&state.found);
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

/// What was measured last; queries by their names where there are several.
fn found(queries: &[(String, Option<Found>)]) -> String {
    let of = |found: &Option<Found>| match found {
        None => "-".to_owned(),
        Some(Found::Absent) => "not here".into(),
        Some(Found::Boxes(boxes)) => match boxes.as_slice() {
            [(_, rect)] => format!("{:.0}x{:.0} at {:.0},{:.0}", rect.width(), rect.height(), rect.x0, rect.y0),
            boxes => format!("{} of them", boxes.len()),
        },
    };
    match queries {
        [(_, found)] => of(found),
        queries => queries
            .iter()
            .map(|(name, found)| format!("{}: {}", shortened(name), of(found)))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// All lines. They are drawn on a terminal alone.
pub(super) struct ProgressDisplay {
    stop: Option<Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl ProgressDisplay {
    pub(super) fn new(settings: &RunSettings, statuses: &[Arc<Status>]) -> Self {
        // Records on the same terminal say all that there is to say.
        let to_stdout = |stream: &StreamSettings| stream.records.iter().any(RecordPlace::is_stdout);
        let told = std::io::stdout().is_terminal() && settings.streams.iter().any(to_stdout);
        let Some(bars) = logging::bars().filter(|_| !told) else { return Self { stop: None, thread: None } };
        let style =
            ProgressStyle::with_template("{spinner} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let mut lines: Vec<StreamLine> = statuses
            .iter()
            .map(|status| StreamLine {
                name: shortened(&status.name),
                status: Arc::clone(status),
                bar: bars.add(ProgressBar::new_spinner().with_style(style.clone())),
                samples: VecDeque::new(),
            })
            .collect();
        let (stop, stopped) = bounded::<()>(0);
        let thread = std::thread::Builder::new().name("status".into()).spawn(move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                lines.iter_mut().for_each(StreamLine::draw);
            }
            for line in &lines {
                line.bar.finish_and_clear();
            }
        });
        Self { stop: Some(stop), thread: thread.ok() }
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
