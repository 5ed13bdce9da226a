//! Settings of `spotter run`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gstreamer as gst;

use super::{RunFile, check_device};
use crate::cli::{ModeArg, OutArg, PaceArg, RunArgs};
use crate::error::{Error, Result};
use crate::pipeline::PipelineFile;
use crate::sink::{OutputSettings, Target, place, same_file};
use crate::source::{Address, Kind, SourceSettings};
use crate::stage::{Mode, Sampling};
use crate::track::Smoothing;

/// What `run` does, checked as far as possible before any work.
#[derive(Debug, Clone)]
pub struct RunSettings {
    /// The video.
    pub address: Address,
    /// How it is played.
    pub source: SourceSettings,
    /// The sentence.
    pub query: String,
    /// The model directory; none for the built-in model.
    pub model: Option<PathBuf>,
    /// Record files; `-` is stdout.
    pub json_lines: Vec<PathBuf>,
    /// Where annotated frames go.
    pub output: OutputSettings,
    /// What happens to frames that come too fast.
    pub mode: Mode,
    /// Which frames are measured.
    pub sampling: Sampling,
    /// As typed; what it means depends on the model.
    pub threshold: Option<f32>,
    /// How far presence may fall below the threshold.
    pub hysteresis: f32,
    /// Of the boxes.
    pub smoothing: Smoothing,
    /// How long a box is carried.
    pub hold: Duration,
    /// As typed.
    pub device: String,
    /// Threads that compute.
    pub threads: Option<usize>,
    /// Whether records are without times and run id.
    pub reproducible: bool,
}

/// Frames a second that mean anything.
const RATES: std::ops::RangeInclusive<f64> = 0.001..=1000.0;
/// Hysteresis of streams.
const HYSTERESIS: f32 = 0.1;

impl RunSettings {
    /// Reads the configuration file, checks the source and that outputs can be written where they are wanted.
    ///
    /// # Errors
    /// A setting is missing or out of range, the source is unusable, an output's folder is missing, or two outputs are
    /// one file.
    pub fn resolve(args: RunArgs) -> Result<Self> {
        let args = match args.config.clone() {
            Some(path) => RunFile::read(&path)?.under(args, &path.display().to_string())?,
            None => args,
        };
        let address = Address::resolve(&args.source.ok_or_else(|| missing("source", "clip.mp4"))?)?;
        let query = args.query.ok_or_else(|| missing("query", "\"the red square\""))?;
        let pipeline = args.pipeline.as_deref().map(read_pipeline).transpose()?;
        let sinks = pipeline.as_ref().map(|file| file.sink.clone()).unwrap_or_default();
        let (json_lines, targets) = outputs(args.out, address.files())?;
        let replaced = sinks.iter().filter_map(|sink| sink.target.as_deref());
        if let Some(kind) = replaced.into_iter().find(|kind| !targets.iter().any(|target| target.kind() == *kind)) {
            return Err(Error::Usage(format!("--pipeline replaces {kind}:, but no --out {kind}: is given")));
        }
        let shows = targets.contains(&Target::Display);
        let only_shows = shows && targets.len() == 1 && json_lines.is_empty() && sinks.is_empty();
        if shows && ["DISPLAY", "WAYLAND_DISPLAY"].iter().all(|name| std::env::var_os(name).is_none()) {
            return Err(Error::Usage(
                "--out display: there is none here, neither DISPLAY nor WAYLAND_DISPLAY is set".into(),
            ));
        }
        let realtime = match args.pace.unwrap_or_default() {
            PaceArg::Auto => shows && !address.is_live(),
            PaceArg::Fast => false,
            PaceArg::Realtime => !address.is_live(),
        };
        let mode = match args.mode.unwrap_or_default() {
            ModeArg::Auto if address.is_live() || (realtime && only_shows) => Mode::Freshest,
            ModeArg::Auto | ModeArg::EveryFrame => Mode::EveryFrame,
            ModeArg::Freshest => Mode::Freshest,
        };
        if args.reproducible && (mode == Mode::Freshest || address.is_live()) {
            return Err(Error::Usage(
                "--reproducible: which frames a live source or --mode freshest leaves out is different every time"
                    .into(),
            ));
        }
        let stride = args.stride.unwrap_or(1);
        if stride == 0 {
            return Err(Error::Usage("--stride 0: expected a number from 1 on".into()));
        }
        let is_rate = |rate: &f64| RATES.contains(rate);
        if let Some(rate) = args.max_fps.filter(|rate| !is_rate(rate)) {
            return Err(Error::Usage(format!("--max-fps {rate}: expected a number from 0.001 to 1000")));
        }
        let rate = args.picture_rate.unwrap_or(1.0);
        let picture_rate =
            gst::Fraction::approximate_f64(rate).filter(|fraction| is_rate(&rate) && fraction.numer() > 0);
        let picture_rate = picture_rate
            .ok_or_else(|| Error::Usage(format!("--picture-rate {rate}: expected a number from 0.001 to 1000")))?;
        if let Some(threshold) = args.threshold.filter(|threshold| !(0.0..=1.0).contains(threshold)) {
            return Err(Error::Usage(format!("--threshold {threshold}: expected a probability from 0 to 1")));
        }
        if query.trim().is_empty() {
            return Err(Error::Usage(format!("--query {query:?}: says nothing, expected words")));
        }
        let device = args.device.unwrap_or_else(|| "cpu".into());
        check_device(&device)?;
        let pictures = matches!(address.kind, Kind::Pictures(_));
        let hysteresis = args.hysteresis.unwrap_or(if pictures { 0.0 } else { HYSTERESIS });
        if !(0.0..=1.0).contains(&hysteresis) {
            return Err(Error::Usage(format!("--hysteresis {hysteresis}: expected a probability from 0 to 1")));
        }
        let hold = args.hold.as_deref().map_or(Ok(Duration::ZERO), time)?;
        Ok(Self {
            source: SourceSettings { realtime, reproducible: args.reproducible, picture_rate, pipeline },
            output: OutputSettings {
                in_use: in_use(&address, &json_lines, &targets),
                targets,
                sinks,
                branches: Vec::new(),
                reproducible: args.reproducible,
            },
            address,
            query,
            model: args.model,
            json_lines,
            mode,
            sampling: Sampling { stride, max_fps: args.max_fps },
            threshold: args.threshold,
            hysteresis,
            smoothing: args.smooth.unwrap_or_default(),
            hold,
            device,
            threads: args.threads,
            reproducible: args.reproducible,
        })
    }

    /// Refuses a run whose results nobody would see.
    ///
    /// # Errors
    /// There is no output.
    pub fn check_outputs(&self) -> Result<()> {
        if self.json_lines.is_empty() && self.output.is_empty() { Err(missing("out", "jsonl:-")) } else { Ok(()) }
    }
}

fn missing(flag: &str, example: &str) -> Error {
    Error::Usage(format!("--{flag} is missing, as in --{flag} {example}"))
}

/// Files that later parts of a video must not replace.
fn in_use(address: &Address, json_lines: &[PathBuf], targets: &[Target]) -> Vec<PathBuf> {
    let videos = targets.iter().filter_map(|target| match target {
        Target::Mp4(path) | Target::Mkv(path) => Some(path),
        Target::Frames(_) | Target::Display => None,
    });
    address.files().iter().chain(json_lines).chain(videos).cloned().collect()
}

fn read_pipeline(path: &Path) -> Result<PipelineFile> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    PipelineFile::parse(&text, &path.display().to_string())
}

fn time(text: &str) -> Result<Duration> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text)
        .map_err(|e| Error::Usage(format!("--hold {text}: {e}; expected a time such as 500ms or 2s")))
}

/// Record files and frame targets, each checked, none twice and none over a file of the source.
fn outputs(outs: Vec<OutArg>, sources: &[PathBuf]) -> Result<(Vec<PathBuf>, Vec<Target>)> {
    let (mut json_lines, mut targets, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for out in outs {
        let target = match &out {
            OutArg::JsonLines(path) if path.as_os_str() == "-" => {
                places.push((path.clone(), path.clone()));
                json_lines.push(path.clone());
                continue;
            }
            OutArg::JsonLines(path) => {
                check_file("jsonl", path, sources)?;
                places.push((path.clone(), place(path)));
                json_lines.push(path.clone());
                continue;
            }
            OutArg::Mp4(path) => {
                check_file("mp4", path, sources)?;
                Target::Mp4(path.clone())
            }
            OutArg::Mkv(path) => {
                check_file("mkv", path, sources)?;
                Target::Mkv(path.clone())
            }
            OutArg::Frames(folder) => {
                check_folder(folder)?;
                Target::Frames(folder.clone())
            }
            OutArg::Display => Target::Display,
        };
        if let OutArg::Mp4(path) | OutArg::Mkv(path) | OutArg::Frames(path) = &out {
            places.push((path.clone(), place(path)));
        }
        targets.push(target);
    }
    let twice = (0..places.len()).find(|&i| places[..i].iter().any(|(_, place)| *place == places[i].1));
    if let Some(twice) = twice {
        return Err(Error::Usage(format!("--out {}: is named twice", places[twice].0.display())));
    }
    Ok((json_lines, targets))
}

fn check_file(kind: &str, path: &Path, sources: &[PathBuf]) -> Result<()> {
    let fail = |reason: &str| Err(Error::Usage(format!("--out {kind}:{}: {reason}", path.display())));
    let parent = qrnet::files::parent(path);
    if !parent.is_dir() {
        return fail("its folder does not exist");
    }
    if path.is_dir() {
        return fail("is a folder, expected a file");
    }
    if sources.iter().any(|source| same_file(source, path)) {
        return fail("is the source itself");
    }
    Ok(())
}

/// The folder is made where its parent is there; frames of an earlier run are not mixed with those of this one.
fn check_folder(folder: &Path) -> Result<()> {
    let fail = |reason: &str| Err(Error::Usage(format!("--out frames:{}: {reason}", folder.display())));
    match std::fs::read_dir(folder).map(Iterator::count) {
        Ok(0) => Ok(()),
        Ok(_) => fail("is not empty"),
        Err(_) if folder.exists() => fail("is no folder"),
        Err(_) if !qrnet::files::parent(folder).is_dir() => fail("its folder does not exist"),
        Err(_) => Ok(()),
    }
}
