//! Settings of `spotter run`.

use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use frames::overlay::Parts;
use grounding::Precision;
use gstreamer as gst;
use records::RecordPlace;
use records::track::{LOST, Smoothing};

use super::outputs::{self, Outputs};
use super::reload::Origin;
use super::sightings::Common as SightingsCommon;
use super::streams::{self, Resolved};
use super::time::{LONGEST, duration};
use super::{PlacesFile, RunFile, check_device, missing, page};
use crate::cli::{Measuring, ModeArg, OverlaySync, PaceArg, RunArgs};
use crate::error::{Error, Result};
use crate::notify::{NotifyEntry, NotifySettings};
use crate::pipeline::{PipelineFile, SinkPart};
use crate::secrets::Login;
use crate::service::ServiceSettings;
use crate::sightings::SightingSettings;
use crate::sink::{Access, Drawing, OutputSettings, RtspOut, Target};
use crate::source::{Address, Kind, Reconnect, RtspSettings, SourceSettings, trust};
use crate::stage::{Batching, Mode, QuerySettings, Sampling, StaticGate};

/// What `run` does, checked as far as possible before any work.
#[derive(Debug, Clone)]
pub struct RunSettings {
    /// At least one.
    pub streams: Vec<StreamSettings>,
    /// The model directory; none for the built-in model.
    pub model: Option<PathBuf>,
    /// A file with a compiled query, and the sentence in it.
    pub compiled_query: Option<(PathBuf, String)>,
    /// Which frames are measured.
    pub sampling: Sampling,
    /// Whether frames of still scenes are.
    pub gate: Option<StaticGate>,
    /// As typed; what it means depends on the model.
    pub threshold: Option<f32>,
    /// Of the boxes.
    pub smoothing: Smoothing,
    /// How long a box is carried.
    pub hold: Duration,
    /// How long a thing that is not seen keeps its id.
    pub lost: Duration,
    /// How frames of several streams come together.
    pub batching: Batching,
    /// As typed.
    pub device: String,
    /// Of what is computed there.
    pub precision: Precision,
    /// Threads that compute.
    pub threads: Option<usize>,
    /// Whether records are without times and run id.
    pub reproducible: bool,
    /// Who may watch what is served.
    pub access: Access,
    /// What who watches sees.
    pub overlay_sync: OverlaySync,
    /// Where an operator can look.
    pub service: ServiceSettings,
    /// Whom to tell what was seen.
    pub notify: Vec<NotifySettings>,
    /// Where queries are read anew while the run goes on; none where they were typed.
    pub origin: Option<Origin>,
}

/// One stream of a run.
#[derive(Debug, Clone)]
pub struct StreamSettings {
    /// The video.
    pub address: Address,
    /// How it is played.
    pub source: SourceSettings,
    /// What it is asked.
    pub queries: Vec<QuerySettings>,
    /// Record files. Streams may share them.
    pub records: Vec<RecordPlace>,
    /// Where annotated frames go.
    pub output: OutputSettings,
    /// Where they are served.
    pub rtsp: Vec<RtspOut>,
    /// What happens to frames that come too fast.
    pub mode: Mode,
    /// How far presence may fall below the threshold.
    pub hysteresis: Hysteresis,
    /// How its sightings are made and told; none where nobody wants them.
    pub sightings: Option<SightingSettings>,
    /// Where its zones and lines are written; none where no file of ours holds them.
    pub places_file: Option<PlacesFile>,
}

/// How far presence may fall below the threshold before what was there is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Hysteresis(
    /// As asked for; else a fifth of the threshold.
    pub Option<f32>,
);

impl Hysteresis {
    /// For this threshold.
    pub fn of(self, threshold: Option<f32>) -> f32 {
        self.0.unwrap_or_else(|| threshold.map_or(0.0, |threshold| HYSTERESIS * threshold))
    }
}

/// Frames a second that mean anything.
const RATES: std::ops::RangeInclusive<f64> = 0.001..=1000.0;
/// Hysteresis of streams, as a share of the threshold.
const HYSTERESIS: f32 = 0.2;
/// Of a still scene, every such frame is measured all the same.
const STATIC_RECHECK: u64 = 25;
/// Pictures that go through the model at once, where several streams have one waiting.
const MAX_BATCH: usize = 4;
/// More make no machine faster.
const BATCHES: std::ops::RangeInclusive<usize> = 1..=64;
/// A frame waits no longer for others.
const BATCH_TIMEOUT_MS: u64 = 10_000;

impl RunSettings {
    /// Reads the configuration file, checks the sources and that outputs can be written where they are wanted.
    ///
    /// # Errors
    /// A setting is missing or out of range, a source is unusable, an output's folder is missing, or two outputs are
    /// one file.
    pub fn resolve(mut args: RunArgs) -> Result<Self> {
        args.source.splice(0..0, std::mem::take(&mut args.sources));
        let origin = Origin::of(&args)?;
        let config = args.config.clone();
        if let Some(path) = config.clone() {
            args = RunFile::read(&path)?.under(args, &path.display().to_string())?;
        }
        let mut entries = std::mem::take(&mut args.stream);
        // Tables of the settings file; `--zones` holds what stands at its top.
        let (tables, top) = (entries.len(), args.sighting.zones.clone().or_else(|| config.clone()));
        entries.extend(streams::entries(std::mem::take(&mut args.source))?);
        let pipeline = args.pipeline.as_deref().map(read_pipeline).transpose()?;
        let login = streams::common_login(args.credentials.as_deref())?;
        let compiled_query = streams::compiled_query(&args)?;
        let queries = streams::common_queries(&args, compiled_query.as_ref());
        let sightings = SightingsCommon::of(&args)?;
        let whole = pipeline.as_ref().and_then(|file| file.source.as_ref()).filter(|part| part.is_whole());
        let resolved = match (whole, args.pipeline.as_deref()) {
            (Some(part), Some(path)) if entries.is_empty() => {
                let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
                vec![streams::of_pipeline(name, part.live, &queries, &sightings.places)?]
            }
            _ => streams::resolve(entries, &queries, login.as_ref(), &sightings.places)?,
        };
        let names: Vec<&str> = resolved.iter().map(|stream| stream.address.name.as_str()).collect();
        let notify = NotifyEntry::resolve(&args.notify, &names)?;
        let files: Vec<PathBuf> = resolved.iter().flat_map(|stream| stream.address.files()).cloned().collect();
        let access = access(&args)?;
        let outputs = outputs::resolve(&args.out, &names, &files, &access)?;
        let in_use: Vec<PathBuf> = files.into_iter().chain(outputs.iter().flat_map(Outputs::files)).collect();
        let page = page::resolve(&args)?;
        let page_tls = page.as_ref().is_some_and(|page| page.tls.is_some());
        if args.out_tls.is_some() && !page_tls && !outputs.iter().flat_map(|outputs| &outputs.rtsp).any(|out| out.tls) {
            let reason = "is for rtsps:// and for a page with https://, and neither is given";
            return Err(Error::Usage(format!("--out-tls: {reason}")));
        }
        let common = Common::of(&args, pipeline, sightings)?;
        let is_alone = resolved.len() == 1;
        let places_file = |number: usize| match &config {
            Some(path) if number < tables => Some(PlacesFile::new(path, Some(number))),
            _ => top.as_deref().filter(|_| is_alone).map(|path| PlacesFile::new(path, None)),
        };
        let streams = resolved.into_iter().zip(outputs).enumerate();
        let of_stream = |(number, (stream, outputs))| -> Result<StreamSettings> {
            let settings = common.stream(&args, stream, outputs, &in_use)?;
            Ok(StreamSettings { places_file: places_file(number), ..settings })
        };
        let streams = streams.map(of_stream).collect::<Result<_>>()?;
        let stride = args.measuring.stride.unwrap_or(1);
        if stride == 0 {
            return Err(Error::Usage("--stride 0: expected a number from 1 on".into()));
        }
        if let Some(rate) = args.measuring.max_fps.filter(|rate| !RATES.contains(rate)) {
            return Err(Error::Usage(format!("--max-fps {rate}: expected a number from 0.001 to 1000")));
        }
        if let Some(threshold) = args.measuring.threshold.filter(|threshold| !(0.0..=1.0).contains(threshold)) {
            return Err(Error::Usage(format!("--threshold {threshold}: expected a probability from 0 to 1")));
        }
        let device = args.device.unwrap_or_else(|| "cpu".into());
        check_device(&device)?;
        Ok(Self {
            streams,
            model: args.model,
            compiled_query,
            sampling: Sampling { stride, max_fps: args.measuring.max_fps },
            gate: gate(&args.measuring)?,
            threshold: args.measuring.threshold,
            smoothing: args.measuring.smooth.unwrap_or_default(),
            hold: duration("hold", args.measuring.hold.as_deref(), Duration::ZERO, Duration::ZERO..=LONGEST)?,
            lost: duration("lost", args.measuring.lost.as_deref(), LOST, Duration::ZERO..=LONGEST)?,
            batching: batching(args.max_batch, args.batch_timeout_ms)?,
            device,
            precision: args.precision.unwrap_or_default().into(),
            threads: args.threads,
            reproducible: args.reproducible,
            access,
            overlay_sync: args.overlay_sync.unwrap_or_default(),
            service: ServiceSettings {
                metrics: args.metrics.as_deref().map(place_of_metrics).transpose()?,
                control: args.control.as_deref().map(place_of_control).transpose()?,
                page,
            },
            notify,
            origin,
        })
    }

    /// Refuses a run whose results nobody would see.
    ///
    /// # Errors
    /// There is no output.
    pub fn check_outputs(&self) -> Result<()> {
        let sees = |stream: &StreamSettings| {
            let keeps = stream.sightings.as_ref().is_some_and(|sightings| sightings.archive.is_some());
            keeps || !stream.records.is_empty() || !stream.output.is_empty() || !stream.rtsp.is_empty()
        };
        if !self.notify.is_empty() || self.service.page.is_some() || self.streams.iter().all(sees) {
            Ok(())
        } else {
            Err(missing("out", "jsonl:-"))
        }
    }
}

/// What all streams have in common.
struct Common {
    pipeline: Option<PipelineFile>,
    picture_rate: gst::Fraction,
    rtsp: RtspSettings,
    reconnect: Reconnect,
    sightings: SightingsCommon,
}

impl Common {
    fn of(args: &RunArgs, pipeline: Option<PipelineFile>, sightings: SightingsCommon) -> Result<Self> {
        let rate = args.picture_rate.unwrap_or(1.0);
        let picture_rate =
            gst::Fraction::approximate_f64(rate).filter(|fraction| RATES.contains(&rate) && fraction.numer() > 0);
        let picture_rate = picture_rate
            .ok_or_else(|| Error::Usage(format!("--picture-rate {rate}: expected a number from 0.001 to 1000")))?;
        let waits = || Duration::from_millis(10)..=LONGEST;
        let (usual, usual_rtsp) = (Reconnect::default(), RtspSettings::default());
        let reconnect = Reconnect {
            interval: duration("reconnect-interval", args.reconnect_interval.as_deref(), usual.interval, waits())?,
            max_interval: duration(
                "reconnect-max-interval",
                args.reconnect_max_interval.as_deref(),
                usual.max_interval,
                waits(),
            )?,
            attempts: args.reconnect_attempts,
            refused_interval: duration(
                "refused-interval",
                args.refused_interval.as_deref(),
                usual.refused_interval,
                waits(),
            )?,
            stall_timeout: duration(
                "stall-timeout",
                args.stall_timeout.as_deref(),
                usual.stall_timeout,
                SHORTEST_STALL..=LONGEST,
            )?,
        };
        let rtsp = RtspSettings {
            transport: args.rtsp_transport.unwrap_or_default(),
            latency: duration(
                "latency",
                args.latency.as_deref(),
                usual_rtsp.latency,
                Duration::ZERO..=LONGEST_LATENCY,
            )?,
            timeout: reconnect.stall_timeout,
            login: None,
            trusted: args.tls_ca.as_deref().map(trusted).transpose()?,
            ..RtspSettings::default()
        };
        Ok(Self { pipeline, picture_rate, rtsp, reconnect, sightings })
    }

    fn stream(&self, args: &RunArgs, stream: Resolved, outputs: Outputs, in_use: &[PathBuf]) -> Result<StreamSettings> {
        let Resolved { address, queries, login, places } = stream;
        let Outputs { records, targets, rtsp } = outputs;
        let sinks = self.pipeline.as_ref().map(|file| file.sink.clone()).unwrap_or_default();
        let replaced = sinks.iter().filter_map(|sink| sink.target.as_deref());
        let is_wanted = |kind: &str| match kind {
            "rtsp" => !rtsp.is_empty(),
            kind => targets.iter().any(|target| target.kind() == kind),
        };
        if let Some(kind) = replaced.into_iter().find(|kind| !is_wanted(kind)) {
            return Err(Error::Usage(format!("--pipeline replaces {kind}:, but no --out {kind}: is given")));
        }
        let shows = targets.contains(&Target::Display);
        let is_own = |sink: &SinkPart| sink.target.is_none();
        // A page that nothing else goes to is all that a run is for.
        let paged = args.page.is_some() && records.is_empty() && targets.is_empty() && sinks.is_empty();
        let watched = shows || !rtsp.is_empty() || paged;
        let only_watched = watched
            && targets.iter().all(|target| *target == Target::Display)
            && records.is_empty()
            && !sinks.iter().any(is_own);
        if shows && ["DISPLAY", "WAYLAND_DISPLAY"].iter().all(|name| std::env::var_os(name).is_none()) {
            return Err(Error::Usage(
                "--out display: there is none here, neither DISPLAY nor WAYLAND_DISPLAY is set".into(),
            ));
        }
        let realtime = match args.pace.unwrap_or_default() {
            PaceArg::Auto => watched && !address.is_live(),
            PaceArg::Fast => false,
            PaceArg::Realtime => !address.is_live(),
        };
        let mode = match args.mode.unwrap_or_default() {
            ModeArg::Auto if address.is_live() || (realtime && only_watched) => Mode::Freshest,
            ModeArg::Auto | ModeArg::EveryFrame => Mode::EveryFrame,
            ModeArg::Freshest => Mode::Freshest,
        };
        if address.is_live() && mode == Mode::EveryFrame {
            tracing::warn!(
                "--mode every-frame: {} does not wait; what comes too fast is lost before it is counted",
                address.name
            );
        }
        if args.reproducible && (mode == Mode::Freshest || address.is_live()) {
            return Err(Error::Usage(
                "--reproducible: which frames a live source or --mode freshest leaves out is different every time"
                    .into(),
            ));
        }
        let pictures = matches!(address.kind, Kind::Pictures(_));
        let hysteresis = args.measuring.hysteresis.or(pictures.then_some(0.0));
        if let Some(hysteresis) = hysteresis.filter(|hysteresis| !(0.0..=1.0).contains(hysteresis)) {
            return Err(Error::Usage(format!("--hysteresis {hysteresis}: expected a probability from 0 to 1")));
        }
        Ok(StreamSettings {
            source: SourceSettings {
                realtime,
                reproducible: args.reproducible,
                picture_rate: self.picture_rate,
                deinterlace: args.decoding.deinterlace.unwrap_or_default(),
                video_track: args.decoding.video_track.unwrap_or(NonZeroU32::MIN),
                pipeline: self.pipeline.clone(),
                rtsp: RtspSettings { login, ..self.rtsp.clone() },
                reconnect: self.reconnect,
                packets: None,
                watched: None,
            },
            output: OutputSettings {
                in_use: in_use.to_vec(),
                targets,
                sinks,
                branches: Vec::new(),
                reproducible: args.reproducible,
                drawing: Drawing {
                    parts: args.overlay.clone().map_or_else(Parts::default, Parts::from_iter),
                    shapes: places.shapes().into(),
                },
            },
            sightings: self.sightings.stream(&places, &queries),
            places_file: None,
            address,
            queries,
            records,
            rtsp,
            mode,
            hysteresis: Hysteresis(hysteresis),
        })
    }
}

fn batching(most: Option<usize>, timeout_ms: Option<u64>) -> Result<Batching> {
    let most = most.unwrap_or(MAX_BATCH);
    if !BATCHES.contains(&most) {
        return Err(Error::Usage(format!("--max-batch {most}: expected a number from 1 to {}", BATCHES.end())));
    }
    let timeout = timeout_ms.unwrap_or(0);
    if timeout > BATCH_TIMEOUT_MS {
        let reason = format!("expected milliseconds up to {BATCH_TIMEOUT_MS}");
        return Err(Error::Usage(format!("--batch-timeout-ms {timeout}: {reason}")));
    }
    Ok(Batching { max_size: most, timeout: Duration::from_millis(timeout) })
}

/// When a scene counts as still.
fn gate(measuring: &Measuring) -> Result<Option<StaticGate>> {
    let recheck = measuring.static_recheck.unwrap_or(STATIC_RECHECK);
    match measuring.static_gate {
        None if measuring.static_recheck.is_some() => {
            Err(Error::Usage("--static-recheck: is for --static-gate".into()))
        }
        None => Ok(None),
        Some(0) => Err(Error::Usage("--static-gate 0: expected a number from 1 to 255".into())),
        Some(_) if recheck == 0 => Err(Error::Usage("--static-recheck 0: expected a number from 1 on".into())),
        Some(level) => Ok(Some(StaticGate { level, recheck })),
    }
}

/// Who may watch.
fn access(args: &RunArgs) -> Result<Access> {
    let viewers = match &args.out_credentials {
        Some(file) => Login::read_all(file)?,
        None => streams::environment_login("SPOTTER_OUT")?.into_iter().collect(),
    };
    Ok(Access { viewers, certificate: args.out_tls.clone(), anonymous: args.allow_anonymous })
}

fn place_of_metrics(text: &str) -> Result<SocketAddr> {
    let fail = |reason: String| Error::Usage(format!("--metrics {text}: {reason}, expected HOST:PORT"));
    let local = format!("127.0.0.1{text}");
    let place = if text.starts_with(':') { &local } else { text };
    let mut places = place.to_socket_addrs().map_err(|e| fail(e.to_string()))?;
    places.next().ok_or_else(|| fail("has no address".into()))
}

/// The path of a control socket.
///
/// # Errors
/// It is none, or its folder does not exist.
pub(crate) fn place_of_control(text: &str) -> Result<PathBuf> {
    let path = text.strip_prefix("unix:").filter(|path| !path.is_empty());
    let path = path.ok_or_else(|| Error::Usage(format!("control socket {text}: expected unix:PATH")))?;
    if !blocks::files::parent(Path::new(path)).is_dir() {
        return Err(Error::Usage(format!("control socket {text}: its folder does not exist")));
    }
    Ok(path.into())
}

fn read_pipeline(path: &Path) -> Result<PipelineFile> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    PipelineFile::parse(&text, &path.display().to_string())
}

fn trusted(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).map_err(Error::io("read", path))?;
    std::fs::File::open(&absolute).map_err(Error::io("read", path))?;
    trust(&absolute)?;
    Ok(absolute)
}

/// The longest that packets may be held back.
const LONGEST_LATENCY: Duration = Duration::from_mins(1);
/// The shortest time after which a camera counts as lost.
const SHORTEST_STALL: Duration = Duration::from_millis(100);
