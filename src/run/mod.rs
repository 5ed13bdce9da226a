//! `spotter run`: wires sources, stage and outputs, and decides how the run ends.
//!
//! Every stream has two threads of its own: one keeps its source running, the other delivers what the stage found. The
//! thread that calls [`run`] supervises: streams, outputs, worker and signals report to it through one channel. However
//! the run ends, frames that were handed over are accounted for, files are finished, and no thread outlives it.

mod archive;
mod commands;
mod deliver;
mod keeper;
mod lines;
mod names;
mod news;
mod outputs;
mod progress;
mod supervisor;
mod watched;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, never};
use records::track::TrackedQuery;
use records::{Counts, Query, RecordFile, RecordPlace};

use crate::cli::OverlaySync;
use crate::config::{RunSettings, StreamSettings, load_model, threshold};
use crate::error::{Error, Result};
use crate::page::LiveStream;
use crate::service::{Compile, Queries, Service, TrackingOf};
use crate::signals::{SignalRequest, Signals};
use crate::sink::{MountPoint, RtspOut, RtspServers};
use crate::source::{Counters, Ended, Kind, PacketRing, SourceLoop, Timing};
use crate::stage::{
    ActiveQueries, ActiveQuery, Frame, Ground, InputHandle, Model, QuerySettings, Stage, StageInput, StageSettings,
    Stream,
};
use crate::threads::use_threads;
use deliver::Delivery;
use names::Names;
use progress::ProgressDisplay;
use supervisor::{RunningStream, Supervisor};

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
    /// Ctrl-C, or another signal to go before the work is done.
    Interrupt,
    /// Somebody wants a run to end that does not end by itself.
    Stop,
    /// Settings are to be read anew.
    Reload,
}

/// Messages that may wait; posting threads block beyond that.
const MESSAGES: usize = 64;
/// How long what is still to be told may take at the end; the rest waits for the next run.
const FAREWELL: Duration = Duration::from_secs(5);
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
    use_threads(settings.threads)?;
    let run_control = RunControl::default();
    // Before anything that takes its time: a signal that nobody takes ends the process.
    let lasts = |stream: &StreamSettings| stream.address.is_live() || !stream.rtsp.is_empty();
    let is_service = settings.streams.iter().all(lasts);
    let messages = run_control.messages.clone();
    let _signals = Signals::watch(is_service, settings.origin.is_some(), move |request| {
        drop(messages.send(match request {
            SignalRequest::Interrupt => Message::Interrupt,
            SignalRequest::Stop => Message::Stop,
            SignalRequest::Reload => Message::Reload,
        }));
    })?;
    let service = service(settings)?;
    let ready = settings.compiled_query.as_ref().map(|(path, text)| (path, text.as_str()));
    let asks = settings.streams.iter().flat_map(|stream| &stream.queries);
    let frames_only = asks.clone().all(|query| ready.is_some_and(|(_, text)| query.text == text));
    let mut grounder = load_model(settings.model.as_deref(), &settings.device, settings.precision, frames_only)?;
    let threshold = threshold(settings.threshold, &grounder)?;
    // Equal sentences are compiled once.
    let mut compiled: HashMap<&str, Arc<grounding::CompiledQuery>> = HashMap::new();
    for QuerySettings { text, .. } in asks {
        if !compiled.contains_key(text.as_str()) {
            let query = match ready {
                Some((path, known)) if known == text => grounder.load_query(path)?,
                _ => grounder.compile(text)?,
            };
            compiled.insert(text, Arc::new(query));
        }
    }
    let of_stream = |stream: &StreamSettings| -> Vec<_> {
        stream.queries.iter().filter_map(|query| compiled.get(query.text.as_str()).cloned()).collect()
    };
    let queries: Vec<Vec<_>> = settings.streams.iter().map(of_stream).collect();
    grounder.drop_text();
    crate::heap::settle();
    let (trained, grounder) = (grounder.trained(), Arc::new(grounder));
    let first = queries.iter().map(|queries| queries.iter().cloned().map(Some).collect()).collect();
    let query_setup = QuerySetup { first, compile: commands::compiler(settings, &grounder) };
    supervise(settings, Box::new(Model { grounder, queries }), query_setup, threshold, trained, run_control, &service)?
        .report()
        .map(drop)
}

/// Grounds videos with any model, `trained` or not; `threshold` is none for one that has no presence to compare with it.
/// Returns the frame accounting of all streams together. Signals are left to the caller's program.
///
/// # Errors
/// A source, an output or the model failed. What was written until then is whole.
pub fn stream(settings: &RunSettings, model: Box<dyn Ground>, threshold: Option<f32>, trained: bool) -> Result<Counts> {
    stream_until(settings, model, threshold, trained, never())
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
) -> Result<Counts> {
    let service = service(settings)?;
    let run_control = RunControl { stop, ..RunControl::default() };
    // The model reads its queries itself.
    let query_setup = QuerySetup::none(settings);
    supervise(settings, model, query_setup, threshold, trained, run_control, &service)?.report()
}

/// Grounds one file as a part of more work: nothing is said of it, and `service` sees its frames. Ends early where `stop` is
/// disconnected or gives something; that is no error.
///
/// # Errors
/// As [`stream`].
pub(crate) fn ground_file(
    settings: &RunSettings,
    model: Model,
    threshold: Option<f32>,
    run_id: &Arc<str>,
    stop: Receiver<()>,
    service: &Service,
) -> Result<Counts> {
    let run_control = RunControl { stop, run_id: Some(Arc::clone(run_id)), alone: false, ..RunControl::default() };
    let query_setup = QuerySetup::none(settings);
    let trained = model.grounder.trained();
    supervise(settings, Box::new(model), query_setup, threshold, trained, run_control, service)?.into_result()
}

/// Looks at the first frames of sources, through any model; nothing is said of it. Ends where `stop` is disconnected or gives
/// something.
///
/// # Errors
/// As [`stream`].
pub(crate) fn look(settings: &RunSettings, model: Box<dyn Ground>, stop: Receiver<()>) -> Result<Counts> {
    let service = service(settings)?;
    let run_control = RunControl { stop, alone: false, ..RunControl::default() };
    let query_setup = QuerySetup::none(settings);
    // What a query says of its threshold is nothing to a model that finds nothing.
    supervise(settings, model, query_setup, Some(0.5), true, run_control, &service)?.into_result()
}

fn service(settings: &RunSettings) -> Result<Service> {
    let streams = settings.streams.iter().map(|stream| stream.address.name.as_str());
    Service::start(&settings.service, streams)
}

/// What a supervisor hears.
struct RunControl {
    messages: Sender<Message>,
    inbox: Receiver<Message>,
    /// Ends the run.
    stop: Receiver<()>,
    /// Stands in records in place of a new one.
    run_id: Option<Arc<str>>,
    /// Whether the run is all that the program does, and shows its streams on a terminal.
    alone: bool,
}

impl Default for RunControl {
    fn default() -> Self {
        let (messages, inbox) = bounded(MESSAGES);
        Self { messages, inbox, stop: never(), run_id: None, alone: true }
    }
}

/// How sentences become what the model takes.
struct QuerySetup {
    /// Of the queries that streams begin with, by stream.
    first: Vec<Vec<Option<Arc<grounding::CompiledQuery>>>>,
    /// Of those that come later.
    compile: Compile,
}

impl QuerySetup {
    /// Of a model that reads sentences itself, or was given them.
    fn none(settings: &RunSettings) -> Self {
        let first = settings.streams.iter().map(|stream| vec![None; stream.queries.len()]).collect();
        Self { first, compile: Box::new(|_| Ok(None)) }
    }
}

/// How frames of each stream enter the stage.
fn stages(settings: &RunSettings) -> Vec<StageSettings> {
    let remembers = settings.sampling.skips() || settings.gate.is_some();
    let of_stream = |stream: &StreamSettings| StageSettings {
        mode: stream.mode,
        sampling: settings.sampling,
        gate: settings.gate,
        // A scene cut ends what is known of the scene before: ids at least. Pictures of a folder have nothing in common.
        watch_cuts: remembers || !matches!(stream.address.kind, Kind::Pictures(_)),
    };
    settings.streams.iter().map(of_stream).collect()
}

fn supervise(
    settings: &RunSettings,
    model: Box<dyn Ground>,
    query_setup: QuerySetup,
    threshold: Option<f32>,
    trained: bool,
    RunControl { messages, inbox, stop: asked_to_stop, run_id, alone }: RunControl,
    service: &Service,
) -> Result<RunOutcome> {
    let (started, overlay_sync) = (Instant::now(), settings.overlay_sync);
    let tracking_of = commands::tracking_of(settings, threshold, model.gives_all());
    let active = active_queries(settings, query_setup.first, &tracking_of)?;
    let stages = stages(settings);
    let run_id: Arc<str> = match run_id {
        Some(run_id) => run_id,
        None if settings.reproducible => REPRODUCIBLE.into(),
        None => records::run_id().into(),
    };
    let (stop, stopped) = bounded(0);
    let queries = Arc::new(Queries::new(query_setup.compile, tracking_of, stopped.clone()));
    let sightings = watched::sightings(settings, &active, &run_id)?;
    service.run_status.set_kept(watched::kept(&sightings));
    // What can be wrong with it is said before anything is served.
    let handle = commands::handler(service, &queries, &messages, &run_id);
    let control = commands::control(settings, &handle)?;
    let (page, live) = commands::page(settings, service, &queries, &handle, &run_id)?;
    let notifiers = commands::notifiers(settings, service, &queries)?;
    let reload = commands::Reload::start(settings, &queries)?;
    let timings: Vec<Timing> = settings.streams.iter().map(|stream| Timing::new(stream.address.is_live())).collect();
    let mounts = mounts(settings, &timings, trained)?;
    let servers = RtspServers::start(&mounts.iter().flatten().cloned().collect::<Vec<_>>(), &settings.access)?;
    service.run_status.set_clients(servers.clients());
    let failed = post(&messages, Message::Worker);
    let (stage, streams) =
        Stage::start(model, &stages, settings.batching, failed).map_err(|e| Error::Worker(e.to_string()))?;
    let records = record_files(settings);
    let progress = alone.then(|| ProgressDisplay::new(settings, service.run_status.streams()));
    let mut supervisor = Supervisor::new(inbox, asked_to_stop, stop, Box::new(stage.stopper()), reload);
    let ways = settings.streams.iter().zip(active).zip(timings).zip(mounts).zip(sightings).zip(live).zip(streams);
    for (index, ((((((settings, active), timing), mounts), sightings), live), Stream { input, output })) in
        ways.enumerate()
    {
        let mounts: Vec<MountPoint> = mounts.into_iter().map(|(_, mount)| mount).collect();
        let name = settings.address.name.clone();
        let (stopper, counters) = (OutputStopper::default(), Arc::<Counters>::default());
        let ((finish, finished), mut source) = (bounded(1), watched::source(settings, sightings.as_deref()));
        if let Some(live) = live.as_ref().filter(|_| settings.address.is_live() || source.realtime) {
            let ring = source.watched.insert(PacketRing::for_viewers());
            live.set_packets(source.packets.as_ref(), ring);
        }
        let watched = if live.is_some() { LiveStream::KEEPS } else { 0 };
        let input = input.keeping(mounts.len() * MountPoint::KEEPS + watched);
        let input = match overlay_sync {
            OverlaySync::LowLatency if !mounts.is_empty() => shown_at_once(input, &mounts, &messages),
            _ => input,
        };
        let handle = InputHandle::new(input.clone());
        queries.add(&name, Arc::clone(&active), settings.queries.clone(), handle.clone());
        let status = Arc::clone(service.run_status.stream(index));
        status.link(handle.clone(), Arc::clone(&counters), &active);
        let delivery = Delivery::new(
            settings,
            active,
            Names::new(settings, &run_id, trained),
            settings.records.iter().filter_map(|place| records.get(place).cloned()).collect(),
            timing.clone(),
            deliver::Links {
                stream: index,
                messages: messages.clone(),
                stopper: Arc::clone(&stopper),
                status,
                notifiers: notifiers.clone(),
                mounts,
                overlay_sync,
                finished,
                sightings,
                live,
            },
        );
        let deliverer = std::thread::Builder::new().name("deliver".into()).spawn(move || delivery.run(&output));
        let source =
            SourceLoop { address: settings.address.clone(), settings: source, frames: input, timing, counters };
        let (ended, stopped) = (post(&messages, move |ended| Message::Ended(index, ended)), stopped.clone());
        let source = std::thread::Builder::new().name("source".into()).spawn(move || {
            ended(source.run(&stopped));
            // Not before: with its ways into the stage the stream ends there, and that must not be heard first.
            handle.close();
            drop(source);
        });
        supervisor.watch(RunningStream {
            name,
            outputs: settings.output.name(),
            output_stop: stopper,
            finish,
            deliverer: Some(deliverer.map_err(|e| Error::Worker(e.to_string()))?),
            source: Some(source.map_err(|e| Error::Worker(e.to_string()))?),
            ended: None,
            drained: false,
        });
    }
    drop((messages, stopped, handle));
    service.run_status.set_started();
    let (counts, result) = supervisor.run(stage.into_threads());
    let finish = |file: &RecordFile| file.finish().map_err(Error::from);
    let finished = records.values().map(finish).fold(Ok(()), Result::and);
    notifiers.finish(FAREWELL);
    drop((control, page, servers, progress));
    Ok(RunOutcome { counts, result: result.and(finished), seconds: started.elapsed().as_secs_f64() })
}

/// A run that is over.
struct RunOutcome {
    /// By stream.
    counts: Vec<(String, Counts)>,
    result: Result<()>,
    seconds: f64,
}

impl RunOutcome {
    /// Says what became of all frames, and how the run went.
    fn report(self) -> Result<Counts> {
        if self.counts.len() > 1 {
            for (name, counts) in &self.counts {
                tracing::info!("{name}: {counts}");
            }
        }
        let (total, seconds) = (self.total(), self.seconds);
        if total.frames.decoded > 0 {
            tracing::info!("{total} in {seconds:.1} s ({:.1} frames/s)", total.frames.decoded as f64 / seconds);
        }
        self.into_result()
    }

    fn total(&self) -> Counts {
        let mut total = Counts::default();
        for (_, counts) in &self.counts {
            total += counts;
        }
        total
    }

    /// How it went; frames that failed make it a failure.
    fn into_result(self) -> Result<Counts> {
        let total = self.total();
        for (name, counts) in self.counts.iter().filter(|(_, counts)| !counts.frames.closed()) {
            let (decoded, entered) = (counts.frames.decoded, counts.frames.accounted());
            tracing::error!("the frames of {name} do not add up: {decoded} decoded, {entered} accounted for");
        }
        match total.frames.error {
            0 => self.result.map(|()| total),
            failed => {
                let (failed, total) = (failed as usize, total.frames.decoded as usize);
                self.result.and(Err(Error::Partial { failed, total, what: "frames" }))
            }
        }
    }
}

/// By stream, what is served of it and where.
fn mounts(settings: &RunSettings, timings: &[Timing], trained: bool) -> Result<Vec<Vec<(RtspOut, MountPoint)>>> {
    let of_stream = |(stream, timing): (&StreamSettings, &Timing)| {
        if stream.rtsp.is_empty() {
            return Ok(Vec::new());
        }
        let launch = crate::sink::launch(&stream.output.sinks)?;
        let mount = |out: &RtspOut| {
            (out.clone(), MountPoint::new(&out.to_string(), &launch, timing, trained, stream.output.drawing.clone()))
        };
        Ok(stream.rtsp.iter().map(mount).collect())
    };
    settings.streams.iter().zip(timings).map(of_stream).collect()
}

/// Every frame is shown when it comes, before the stage sees it.
fn shown_at_once(input: StageInput, mounts: &[MountPoint], messages: &Sender<Message>) -> StageInput {
    let (mounts, failed) = (mounts.to_vec(), post(messages, Message::Sink));
    input.tapped(move |frame: &Frame| {
        for mount in &mounts {
            if let Err(error) = mount.show_at_once(frame) {
                failed(error);
            }
        }
    })
}

/// What streams are asked at first, by stream.
///
/// # Errors
/// The model cannot do what a query wants.
fn active_queries(
    settings: &RunSettings,
    compiled: Vec<Vec<Option<Arc<grounding::CompiledQuery>>>>,
    tracking_of: &TrackingOf,
) -> Result<Vec<ActiveQueries>> {
    let streams = settings.streams.iter().zip(compiled).enumerate();
    let of_stream = |(number, (stream, compiled)): (usize, (&StreamSettings, Vec<_>))| {
        let pairs = stream.queries.iter().zip(compiled);
        let active = |(wanted, compiled): (&QuerySettings, _)| {
            let query = Query { name: wanted.name.clone(), text: wanted.text.clone(), rev: 1 };
            let tracked = TrackedQuery { query, tracking: tracking_of(number, wanted)? };
            Ok(Arc::new(ActiveQuery { tracked, compiled, sighting: wanted.sighting.clone() }))
        };
        pairs.map(active).collect::<Result<Vec<_>>>().map(ActiveQueries::from)
    };
    streams.map(of_stream).collect()
}

/// Every record file once, whichever streams write to it. Lines of live sources are wanted as they come.
fn record_files(settings: &RunSettings) -> HashMap<RecordPlace, RecordFile> {
    let live = settings.streams.iter().any(|stream| stream.address.is_live());
    let places = settings.streams.iter().flat_map(|stream| &stream.records);
    places.map(|place| (place.clone(), RecordFile::new(place, live))).collect()
}

/// A function that posts to the supervisor; a supervisor that is gone needs no more news.
fn post<T>(
    messages: &Sender<Message>,
    wrap: impl Fn(T) -> Message + Send + Sync + 'static,
) -> impl Fn(T) + Send + Sync + 'static {
    let messages = messages.clone();
    move |value| drop(messages.send(wrap(value)))
}
