//! `spotter run`: wires sources, stage and outputs, and decides how the run ends.
//!
//! Every stream has two threads of its own: one keeps its source running, the other delivers what the stage found. The
//! thread that calls [`run`] supervises: streams, outputs, worker and signals report to it through one channel. However
//! the run ends, frames that were handed over are entered in the books, files are finished, and no thread outlives it.

mod deliver;
mod signals;
mod status;
mod supervisor;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, never};

use crate::config::{RunSettings, StreamSettings, load_model, threshold};
use crate::error::{Error, Result};
use crate::record::{Books, RecordFile, run_id};
use crate::source::{Ended, Keeper, Timing};
use crate::stage::{Ground, Model, Stage, StageSettings, Stream};
use crate::track::Tracking;
use deliver::{Delivery, Names};
use signals::Signals;
use status::{Board, Status};
use supervisor::{Running, Supervisor};

/// What happens to a run. Streams are counted from 0.
enum Message {
    /// A source came to its end.
    Ended(usize, Ended),
    /// An output pipeline failed.
    Output(usize, String),
    /// The model failed or panicked.
    Worker(String),
    /// Records or frames could not be written.
    Sink(Error),
    /// Every frame of a stream is delivered.
    Drained(usize),
    /// Ctrl-C or SIGTERM.
    Interrupt,
}

/// Messages that may wait; posting threads block beyond that.
const MESSAGES: usize = 64;
/// The run id of reproducible runs, which must not differ.
const REPRODUCIBLE: &str = "reproducible";
/// Stops the output pipeline of a stream at once, once there is one.
type OutputStopper = Arc<Mutex<Option<Box<dyn Fn() + Send>>>>;

/// Grounds videos with the model that the settings name, as a program's main work: Ctrl-C and SIGTERM end the run, and
/// stay taken from then on.
///
/// # Errors
/// The model, a source, an output or the worker failed, or the user interrupted. What was written until then is whole.
pub fn run(settings: &RunSettings) -> Result<()> {
    super::use_threads(settings.threads)?;
    let mut grounder = load_model(settings.model.as_deref(), &settings.device, false)?;
    let threshold = threshold(settings.threshold, &grounder)?;
    // Equal queries are compiled once, and their frames go through the model together.
    let mut compiled = HashMap::new();
    for StreamSettings { query, .. } in &settings.streams {
        if !compiled.contains_key(query) {
            compiled.insert(query, Arc::new(grounder.compile(query)?));
        }
    }
    let queries = settings.streams.iter().filter_map(|stream| compiled.get(&stream.query).cloned()).collect();
    grounder.drop_text();
    let trained = grounder.trained();
    let hearing = Hearing::default();
    let _signals = Signals::watch(hearing.messages.clone())?;
    supervise(settings, Box::new(Model { grounder, queries }), threshold, trained, hearing).map(drop)
}

/// Grounds videos with any model, `trained` or not; `threshold` is none for one that has no presence to compare with it.
/// Returns the books of all streams together. Signals are left to the caller's program.
///
/// # Errors
/// A source, an output or the model failed. What was written until then is whole.
pub fn stream(settings: &RunSettings, model: Box<dyn Ground>, threshold: Option<f32>, trained: bool) -> Result<Books> {
    supervise(settings, model, threshold, trained, Hearing::default())
}

/// The same until `stop` is disconnected or gives something: how a program ends a live source.
///
/// # Errors
/// As [`stream`]; being stopped is none.
pub fn stream_until(
    settings: &RunSettings,
    model: Box<dyn Ground>,
    threshold: Option<f32>,
    trained: bool,
    stop: Receiver<()>,
) -> Result<Books> {
    supervise(settings, model, threshold, trained, Hearing { stop, ..Hearing::default() })
}

/// What a supervisor hears.
struct Hearing {
    messages: Sender<Message>,
    inbox: Receiver<Message>,
    /// Ends the run.
    stop: Receiver<()>,
}

impl Default for Hearing {
    fn default() -> Self {
        let (messages, inbox) = bounded(MESSAGES);
        Self { messages, inbox, stop: never() }
    }
}

fn supervise(
    settings: &RunSettings,
    model: Box<dyn Ground>,
    threshold: Option<f32>,
    trained: bool,
    Hearing { messages, inbox, stop: asked_to_stop }: Hearing,
) -> Result<Books> {
    let started = Instant::now();
    let trackings: Vec<Tracking> =
        settings.streams.iter().map(|stream| tracking(settings, stream, threshold)).collect();
    let stages: Vec<StageSettings> = settings
        .streams
        .iter()
        .zip(&trackings)
        .map(|(stream, tracking)| StageSettings {
            mode: stream.mode,
            sampling: settings.sampling,
            watch_cuts: tracking.remembers() || settings.sampling.skips(),
        })
        .collect();
    let failed = post(&messages, Message::Worker);
    let (stage, streams) =
        Stage::start(model, &stages, settings.batching, failed).map_err(|e| Error::Worker(e.to_string()))?;
    let run_id: Arc<str> = if settings.reproducible { REPRODUCIBLE.into() } else { run_id().into() };
    let records = record_files(settings);
    let board = Board::new(settings);
    let (stop, stopped) = bounded(0);
    let mut supervisor = Supervisor::new(inbox, asked_to_stop, stop, Box::new(stage.stopper()));
    for (index, ((settings, tracking), Stream { input, output })) in
        settings.streams.iter().zip(trackings).zip(streams).enumerate()
    {
        let timing = Timing::new(settings.address.is_live());
        let stopper = OutputStopper::default();
        let (finish, finished) = bounded(1);
        let delivery = Delivery::new(
            settings,
            tracking,
            Names::new(settings, &run_id, trained),
            settings.json_lines.iter().filter_map(|path| records.get(path).cloned()).collect(),
            timing.clone(),
            deliver::Links {
                stream: index,
                messages: messages.clone(),
                stopper: Arc::clone(&stopper),
                status: board.status(index),
                finished,
            },
        );
        let deliverer = std::thread::Builder::new().name("deliver".into()).spawn(move || delivery.run(&output));
        let keeper = Keeper {
            address: settings.address.clone(),
            settings: settings.source.clone(),
            frames: input,
            timing,
            counters: Arc::default(),
        };
        let (ended, stopped) = (post(&messages, move |ended| Message::Ended(index, ended)), stopped.clone());
        let keeper = std::thread::Builder::new().name("source".into()).spawn(move || {
            ended(keeper.run(&stopped));
            // Not before: with its way into the stage the stream ends there, and that must not be heard first.
            drop(keeper);
        });
        supervisor.watch(Running {
            name: settings.address.name.clone(),
            outputs: settings.output.name(),
            output_stop: stopper,
            finish,
            deliverer: Some(deliverer.map_err(|e| Error::Worker(e.to_string()))?),
            keeper: Some(keeper.map_err(|e| Error::Worker(e.to_string()))?),
            ended: None,
            drained: false,
        });
    }
    drop((messages, stopped));
    let (books, verdict) = supervisor.run(stage.into_threads());
    drop(board);
    let mut total = Books::default();
    for (_, books) in &books {
        total += *books;
    }
    let seconds = started.elapsed().as_secs_f64();
    if books.len() > 1 {
        for (name, books) in &books {
            tracing::info!("{name}: {books}");
        }
    }
    if total.decoded > 0 {
        tracing::info!("{total} in {seconds:.1} s ({:.1} frames/s)", total.decoded as f64 / seconds);
    }
    for (name, books) in books.iter().filter(|(_, books)| !books.closed()) {
        let (decoded, entered) = (books.decoded, books.entered());
        tracing::error!("the books of {name} do not close: {decoded} decoded, {entered} accounted for");
    }
    match total.error {
        0 => verdict.map(|()| total),
        failed => {
            verdict.and(Err(Error::Partial { failed: failed as usize, total: total.decoded as usize, what: "frames" }))
        }
    }
}

fn tracking(settings: &RunSettings, stream: &StreamSettings, threshold: Option<f32>) -> Tracking {
    let RunSettings { smoothing, hold, .. } = *settings;
    Tracking { threshold, hysteresis: stream.hysteresis, smoothing, hold }
}

/// Every record file once, whichever streams write to it. Lines of live sources are wanted as they come.
fn record_files(settings: &RunSettings) -> HashMap<PathBuf, RecordFile> {
    let live = settings.streams.iter().any(|stream| stream.address.is_live());
    let paths = settings.streams.iter().flat_map(|stream| &stream.json_lines);
    paths.map(|path| (path.clone(), RecordFile::new(path, live))).collect()
}

/// A function that posts to the supervisor; a supervisor that is gone needs no more news.
fn post<T>(
    messages: &Sender<Message>,
    wrap: impl Fn(T) -> Message + Send + Sync + 'static,
) -> impl Fn(T) + Send + Sync + 'static {
    let messages = messages.clone();
    move |value| drop(messages.send(wrap(value)))
}
