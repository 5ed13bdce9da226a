//! `spotter run`: wires source, stage and output, and decides how the run ends.
//!
//! The thread that calls [`run`] supervises: pipelines, worker and signals report to it through one channel. However
//! the run ends, frames that were handed over are entered in the books, files are finished, and no thread outlives it.

mod deliver;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::config::{RunSettings, load_model, threshold};
use crate::error::{Error, Result};
use crate::record::Books;
use crate::source::{Report, Source};
use crate::stage::{Ground, Model, Stage, StageSettings};
use crate::track::Tracking;
use deliver::Delivery;

/// What happens to a run.
enum Message {
    Source(Report),
    /// An output pipeline failed.
    Output(String),
    /// The model failed or panicked.
    Worker(String),
    /// Records or frames could not be written.
    Sink(Error),
    /// Every frame is delivered.
    Drained,
    /// Ctrl-C or SIGTERM.
    Interrupt,
}

/// Messages that may wait; posting threads block beyond that.
const MESSAGES: usize = 64;
/// How long a file may give no frame, the first or the next, while we wait for one.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for a file that is known to be cut short: its demuxer's complaint can get lost in a decoder bin.
const CUT_STALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for one that is played at its own pace, where a frame may be far from the next.
const REALTIME_STALL_TIMEOUT: Duration = Duration::from_mins(10);
/// How often that is looked at.
const TICK: Duration = Duration::from_millis(500);
/// Stops the output pipeline at once, once there is one.
type OutputStopper = Arc<Mutex<Option<Box<dyn Fn() + Send>>>>;

/// Grounds a video with the model that the settings name, as a program's main work: Ctrl-C and SIGTERM end the run, and
/// stay taken from then on.
///
/// # Errors
/// The model, the source, an output or the worker failed, or the user interrupted. What was written until then is whole.
pub fn run(settings: &RunSettings) -> Result<()> {
    super::use_threads(settings.threads)?;
    let mut grounder = load_model(settings.model.as_deref(), &settings.device, false)?;
    let threshold = threshold(settings.threshold, &grounder)?;
    let query = grounder.compile(&settings.query)?;
    grounder.drop_text();
    let trained = grounder.trained();
    let (messages, inbox) = bounded(MESSAGES);
    let _signals = Signals::watch(messages.clone())?;
    supervise(settings, Box::new(Model { grounder, query }), threshold, trained, (messages, inbox)).map(drop)
}

/// Grounds a video with any model, `trained` or not; `threshold` is none for one that has no presence to compare with it.
/// Returns the books. Signals are left to the caller's program.
///
/// # Errors
/// The source, an output or the model failed. What was written until then is whole.
pub fn stream(settings: &RunSettings, model: Box<dyn Ground>, threshold: Option<f32>, trained: bool) -> Result<Books> {
    supervise(settings, model, threshold, trained, bounded(MESSAGES))
}

fn supervise(
    settings: &RunSettings,
    model: Box<dyn Ground>,
    threshold: Option<f32>,
    trained: bool,
    (messages, inbox): (Sender<Message>, Receiver<Message>),
) -> Result<Books> {
    let RunSettings { hysteresis, smoothing, hold, .. } = *settings;
    let tracking = Tracking { threshold, hysteresis, smoothing, hold };
    let failed = post(&messages, Message::Worker);
    let stage_settings = StageSettings {
        mode: settings.mode,
        sampling: settings.sampling,
        watch_cuts: tracking.remembers() || settings.sampling.skips(),
    };
    let stage = Stage::start(model, stage_settings, failed).map_err(|e| Error::Worker(e.to_string()))?;
    let Stage { input, output: verdicts, .. } = &stage;
    let (input, verdicts) = (input.clone(), verdicts.clone());
    let source = Source::start(&settings.address, &settings.source, input, post(&messages, Message::Source))?;
    let stopper = OutputStopper::default();
    let delivery = Delivery::new(settings, tracking, trained, source.timing(), messages.clone(), Arc::clone(&stopper));
    let drained = post(&messages, |()| Message::Drained);
    let deliverer = std::thread::Builder::new()
        .name("deliver".into())
        .spawn(move || {
            // Said also where this thread panics: the supervisor waits for it.
            let _at_the_end = OnDrop(|| drained(()));
            delivery.run(&verdicts)
        })
        .map_err(|e| Error::Worker(e.to_string()))?;

    let started = Instant::now();
    let mut supervisor = Supervisor {
        inbox,
        stage_stop: Box::new(stage.stopper()),
        output_stop: stopper,
        verdict: Ok(()),
        output_name: settings.output.name(),
        drained: false,
    };
    let decoded = supervisor.until_source_ends(source, settings);
    let threads = stage.into_threads();
    // Messages are heard until the last frame is delivered and the files are whole, or nobody could free an output
    // that is stuck.
    supervisor.until_drained();
    for thread in threads {
        supervisor.joined(thread.join());
    }
    let Some(delivery) = supervisor.joined(deliverer.join()) else {
        return supervisor.verdict.map(|()| Books::default());
    };
    let verdict = supervisor.verdict;
    let books = delivery.close(decoded, verdict.as_ref().err())?;
    let seconds = started.elapsed().as_secs_f64();
    if decoded > 0 {
        tracing::info!("{books} in {seconds:.1} s ({:.1} frames/s)", decoded as f64 / seconds);
    }
    if !books.closed() {
        tracing::error!("the books do not close: {} decoded, {} accounted for", books.decoded, books.entered());
    }
    match books.error {
        0 => verdict.map(|()| books),
        failed => verdict.and(Err(Error::Partial { failed: failed as usize, total: decoded as usize, what: "frames" })),
    }
}

/// A function that posts to the supervisor; a supervisor that is gone needs no more news.
fn post<T>(
    messages: &Sender<Message>,
    wrap: impl Fn(T) -> Message + Send + Sync + 'static,
) -> impl Fn(T) + Send + Sync + 'static {
    let messages = messages.clone();
    move |value| drop(messages.send(wrap(value)))
}

/// Calls a function when it goes.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

struct Supervisor {
    inbox: Receiver<Message>,
    stage_stop: Box<dyn Fn() + Send>,
    output_stop: OutputStopper,
    verdict: Result<()>,
    output_name: String,
    /// Whether every frame that was handed over is delivered.
    drained: bool,
}

impl Supervisor {
    /// Returns the number of decoded frames once no more come; the source is gone then.
    fn until_source_ends(&mut self, mut source: Source, settings: &RunSettings) -> u64 {
        // A file that is cut short is that first of all, however its demuxer takes it.
        let missing = settings.address.truncation();
        let limit = match (missing.is_some(), settings.source.realtime) {
            (_, true) => REALTIME_STALL_TIMEOUT,
            (true, false) => CUT_STALL_TIMEOUT,
            (false, false) => STALL_TIMEOUT,
        };
        let failed = |code: &'static str, reason: String| {
            let (code, reason) = match &missing {
                Some(missing) => ("SOURCE_TRUNCATED", missing.clone()),
                None => (code, reason),
            };
            Error::Source { code, name: settings.address.name.clone(), reason }
        };
        let mut progress = (0, Instant::now());
        loop {
            match self.inbox.recv_timeout(TICK) {
                Ok(Message::Source(Report::End)) => {
                    if source.decoded() == 0 || missing.is_some() {
                        self.fail(failed("SOURCE_NO_VIDEO", "ended without a video frame".into()));
                    } else if let Some(reason) = source.ended_early() {
                        self.fail(failed("SOURCE_TRUNCATED", reason));
                    }
                    break;
                }
                Ok(Message::Source(Report::Failed(reason))) => {
                    tracing::debug!("source: {reason}");
                    self.fail(failed("SOURCE_FAILED", settings.address.explain(reason)));
                    break;
                }
                Ok(other) => {
                    if self.handle(other) {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    let decoded = source.decoded();
                    if decoded > progress.0 || source.waits_for_us() {
                        progress = (decoded, Instant::now());
                    } else if progress.1.elapsed() > limit {
                        let reason = format!("no frame for {} s after {decoded} frames", limit.as_secs());
                        self.fail(failed("SOURCE_TIMEOUT", reason));
                        break;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        source.stop();
        source.decoded()
    }

    fn until_drained(&mut self) {
        while !self.drained
            && let Ok(message) = self.inbox.recv()
        {
            self.handle(message);
        }
    }

    /// Takes note of a message; true where the run has to end.
    fn handle(&mut self, message: Message) -> bool {
        match message {
            Message::Source(_) => false,
            // While the source still runs: the stage ended by itself, and joining its threads will tell why.
            Message::Drained => {
                self.drained = true;
                true
            }
            Message::Output(reason) => {
                let name = self.output_name.clone();
                self.abandon_output(Error::Output { name, reason })
            }
            Message::Sink(error) => {
                (self.stage_stop)();
                self.fail(error);
                true
            }
            Message::Worker(reason) => {
                self.fail(Error::Worker(reason));
                true
            }
            Message::Interrupt => {
                (self.stage_stop)();
                self.fail(Error::Interrupted);
                true
            }
        }
    }

    /// The video cannot be written any more: the rest of the frames need not be looked at.
    fn abandon_output(&mut self, error: Error) -> bool {
        (self.stage_stop)();
        self.fail(error);
        let stop = self.output_stop.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(stop) = stop.as_ref() {
            stop();
        }
        true
    }

    /// The first failure is the run's; what follows from it is logged.
    fn fail(&mut self, error: Error) {
        if self.verdict.is_ok() {
            self.verdict = Err(error);
        } else {
            tracing::debug!("after the first failure: {error}");
        }
    }

    /// Takes what a thread returned; a panic is a failure of the run.
    fn joined<T>(&mut self, result: std::thread::Result<T>) -> Option<T> {
        if result.is_err() {
            self.fail(Error::Worker("a thread panicked".into()));
        }
        result.ok()
    }
}

/// Ctrl-C and SIGTERM: the first finishes cleanly, the second ends the process at once.
struct Signals {
    handle: signal_hook::iterator::Handle,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Signals {
    fn watch(messages: Sender<Message>) -> Result<Self> {
        let fail = |e: std::io::Error| Error::Worker(format!("signals cannot be watched: {e}"));
        let mut signals =
            signal_hook::iterator::Signals::new([signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM])
                .map_err(fail)?;
        let handle = signals.handle();
        let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
            for (count, _) in signals.forever().enumerate() {
                if count > 0 {
                    signal_hook::low_level::exit(i32::from(Error::Interrupted.exit_code()));
                }
                tracing::warn!("interrupted: finishing the files (once more ends at once)");
                drop(messages.send(Message::Interrupt));
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
