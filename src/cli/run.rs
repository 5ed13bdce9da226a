//! `spotter run` as typed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use frames::overlay::Part;
use records::{Format, RecordPlace, Rotation};
use serde::{Deserialize, Serialize};

use super::{Decoding, Measuring, SightingArgs};
use crate::config::{LineEntry, QueryEntry, SightingsEntry, StreamEntry, ZoneEntry};
use crate::notify::NotifyEntry;
use crate::secrets;
use crate::sink::RtspOut;
use crate::sink::holes::{self, StartTime};
use crate::source::Transport;

/// Ground every frame of a video, a camera, an RTSP stream or a row of pictures.
///
/// Every frame becomes one JSON line (schema spotter.frame/2), every event another (spotter.event/1).
///
/// Examples:
///   spotter run --source clip.mp4 --query "the red square" --out jsonl:boxes.jsonl --out mp4:boxes.mp4
///   spotter run --source /dev/video0 --query "the cup" --model models/mine --out jsonl:- --out display:
///   spotter run --source rtsp://camera/stream --query "the red car" --out jsonl:-
///   spotter run --source cameras.streams --query "a dog" --out 'mkv:{source}.mkv'
///   spotter run --source rtsp://camera/stream --query "the red car" --out rtsp://127.0.0.1:8554/found
///   spotter run --source 'frames/*.png' --query "the dog" --out frames:drawn
#[expect(clippy::doc_markdown, reason = "the help shows these lines as they are")]
#[derive(Debug, Clone, Default, Args)]
#[command(verbatim_doc_comment)]
pub struct RunArgs {
    /// A video file, - for standard input, a file://, http://, https:// (HLS where it ends in .m3u8), rtsp://, rtsps://,
    /// udp://, srt:// or rtmp:// address, a folder or pattern of pictures, a camera's number or /dev/videoN, or test: (as in
    /// `test:ball?frames=100&size=640x360&fps=25&live=true`). May be given several times: one model serves all. A file
    /// that ends in .streams names several, each with an id and a query of its own.
    #[arg(long, value_name = "SOURCE", value_parser = OsStringValueParser::new().map(written))]
    pub source: Vec<String>,
    /// The same, without the flag's name.
    #[arg(value_name = "SOURCE", value_parser = OsStringValueParser::new().map(written))]
    pub sources: Vec<String>,
    /// Streams of a settings file.
    #[arg(skip)]
    pub stream: Vec<StreamEntry>,
    /// Whom to tell, of a settings file.
    #[arg(skip)]
    pub notify: Vec<NotifyEntry>,
    /// What to look for, in words; may be given several times. Streams of a .streams file may have queries of their own;
    /// tables in such a file, or in a settings file, give a query its own name and threshold.
    #[arg(long, value_name = "TEXT")]
    pub query: Vec<QueryEntry>,
    /// A query that `spotter ground --save-query` compiled for this model: the text tower is then not loaded, and the run
    /// starts sooner. For all streams without a query of their own.
    #[arg(long, value_name = "FILE", conflicts_with = "query")]
    pub compiled_query: Option<PathBuf>,
    /// A TOML file with any of these settings, named as the flags are, with _ for -; flags win.
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// The model directory, or a public model by its name (`spotter models` lists some, as owner/repo any of a hub); without
    /// it, that of `SPOTTER_MODEL`, or else the model that is built in.
    #[arg(long, value_name = "DIR|NAME")]
    pub model: Option<PathBuf>,
    /// Where results go; may be given several times. `jsonl:FILE` writes records (`jsonl:-` to standard output),
    /// `mp4:FILE` and `mkv:FILE` the video with box and caption, `frames:DIR` the same as PNG files, `display:` shows
    /// it, `rtsp://HOST:PORT/NAME` serves it to any player (rtsps:// with TLS). `mot:FILE`, `coco:FILE`, `vtt:FILE`,
    /// `dls:FILE` and `csv:FILE` write records for other tools, `sightings:FILE` a table with a row for every sighting. Files
    /// that are there are replaced; `jsonl:FILE,rotate=1GiB` (also `,age=1day` and `,keep=7`) is put aside as FILE.00001 and begun anew;
    /// `{source}` in a path stands for the stream's name, `{time}` for the time when the run began, `{time:local}` for the
    /// same by this machine's clock; a time that comes twice gets a number.
    #[arg(long, value_name = "KIND:PATH")]
    pub out: Vec<OutArg>,
    /// Where to compute: cpu, cuda, cuda:N, or auto (CUDA where it is there). cpu if not given.
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Element type that pictures are computed in: bf16 and f16 are faster on GPUs, int8 is on CPUs, and all move boxes a
    /// little. f32 if not given.
    #[arg(long, value_enum)]
    pub precision: Option<ComputeArg>,
    /// Threads that compute on the CPU; without it, all cores.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// What happens to frames that come faster than they are grounded. Auto: every-frame for files, freshest for
    /// cameras and for a file that is only shown (`display:` and nothing else).
    #[arg(long, value_enum, help_heading = "Which frames")]
    pub mode: Option<ModeArg>,
    /// Whether a file is read as fast as it can be or at its own time. Auto: fast, unless `display:` shows it.
    #[arg(long, value_enum, help_heading = "Which frames")]
    pub pace: Option<PaceArg>,
    /// Pictures a second, where the source is pictures. 1 if not given.
    #[arg(long, value_name = "FPS", help_heading = "Which frames")]
    pub picture_rate: Option<f64>,
    /// What becomes of the video before anything is measured.
    #[command(flatten)]
    pub decoding: Decoding,
    /// Which frames are measured, and what is claimed over time.
    #[command(flatten)]
    pub measuring: Measuring,
    /// A file with `user:password` on its first line, for RTSP servers that ask. Without it, the environment's
    /// SPOTTER_RTSP_USER and SPOTTER_RTSP_PASSWORD; what stands in an address or a .streams file goes first.
    #[arg(long, value_name = "FILE", help_heading = "Cameras")]
    pub credentials: Option<PathBuf>,
    /// How frames travel from an RTSP server. Auto: TCP, or UDP where the server has no TCP.
    #[arg(long, value_enum, help_heading = "Cameras")]
    pub rtsp_transport: Option<Transport>,
    /// Certificates to trust for rtsps://, beside the system's: a PEM file with the camera's own or its authority's.
    #[arg(long, value_name = "FILE.pem", help_heading = "Cameras")]
    pub tls_ca: Option<PathBuf>,
    /// How long RTSP packets wait for those before them. 200ms if not given.
    #[arg(long, value_name = "TIME", help_heading = "Cameras")]
    pub latency: Option<String>,
    /// After how long without a frame a live source counts as lost. 10s if not given.
    #[arg(long, value_name = "TIME", help_heading = "Cameras")]
    pub stall_timeout: Option<String>,
    /// How long to wait before a lost camera is tried again, up to a quarter less by chance; doubles with every attempt
    /// that fails. 1s if not given.
    #[arg(long, value_name = "TIME", help_heading = "Cameras")]
    pub reconnect_interval: Option<String>,
    /// The longest such wait. 30s if not given.
    #[arg(long, value_name = "TIME", help_heading = "Cameras")]
    pub reconnect_max_interval: Option<String>,
    /// Give a camera up after so many failed attempts to reconnect in a row. Never if not given.
    #[arg(long, value_name = "N", help_heading = "Cameras")]
    pub reconnect_attempts: Option<u64>,
    /// How long to wait where time alone mends nothing: after a refused login, or where the camera has no such stream or none
    /// that can be decoded. Doubles up to thirty times as long; a login that changes in its file is tried at once. 30s if
    /// not given.
    #[arg(long, value_name = "TIME", help_heading = "Cameras")]
    pub refused_interval: Option<String>,
    /// Frames of several streams that go through the model at once, at most, where they wait at the same moment and look
    /// for the same. 4 if not given.
    #[arg(long, value_name = "N", help_heading = "Cameras")]
    pub max_batch: Option<usize>,
    /// How long a frame waits for those of other streams, to go through the model with them. 0 if not given.
    #[arg(long, value_name = "MS", help_heading = "Cameras")]
    pub batch_timeout_ms: Option<u64>,
    /// What RTSP clients see. Exact: frames with their own box, when it is known. Low-latency: every frame at once, with
    /// the newest box that is known, marked as carried. Exact if not given.
    #[arg(long, value_enum, help_heading = "RTSP out")]
    pub overlay_sync: Option<OverlaySync>,
    /// What is drawn on videos: any of boxes, labels, ids, scores, absent and zones, with commas between them. All but ids
    /// if not given.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PARTS", help_heading = "Results")]
    pub overlay: Option<Vec<Part>>,
    /// A file with `user:password` on every line: who may watch. Without it, the environment's SPOTTER_OUT_USER and
    /// SPOTTER_OUT_PASSWORD, or nobody is asked. Needed where other machines can connect.
    #[arg(long, value_name = "FILE", help_heading = "RTSP out")]
    pub out_credentials: Option<PathBuf>,
    /// Certificate and private key for rtsps://, in one PEM file.
    #[arg(long, value_name = "FILE.pem", help_heading = "RTSP out")]
    pub out_tls: Option<PathBuf>,
    /// Let other machines watch without a password.
    #[arg(long, help_heading = "RTSP out")]
    pub allow_anonymous: bool,
    /// Which sightings are told of.
    #[command(flatten)]
    pub sighting: SightingArgs,
    /// A folder that notes which sightings are open: whatever ends the run, the next one tells how they ended. It is made where
    /// its parent is there.
    #[arg(long, value_name = "DIR", help_heading = "Sightings")]
    pub sightings_dir: Option<PathBuf>,
    /// `[sightings]` of a settings file.
    #[arg(skip)]
    pub sightings_table: Option<SightingsEntry>,
    /// `[[zone]]` of a settings file.
    #[arg(skip)]
    pub zone: Vec<ZoneEntry>,
    /// `[[line]]` of a settings file.
    #[arg(skip)]
    pub line: Vec<LineEntry>,
    /// A socket that takes commands, one JSON object a line: `{"command": "set-query", "query": "a dog"}`,
    /// `add-query`, `remove-query`, `status`, `stop`. Only for this user and root.
    #[arg(long, value_name = "unix:PATH", help_heading = "Service")]
    pub control: Option<String>,
    /// Serve /metrics for Prometheus, and the probes /live, /ready and /startup, over HTTP at this address.
    #[arg(long, value_name = "HOST:PORT", help_heading = "Service")]
    pub metrics: Option<String>,
    /// Serve a page at this address that shows the streams with what is found, and takes questions: a browser opens
    /// it. With https:// in front it speaks TLS, with the certificate of --out-tls. Other addresses than this machine's own need
    /// --page-password.
    #[arg(long, value_name = "HOST:PORT", help_heading = "Service")]
    pub page: Option<String>,
    /// A file that `spotter password` wrote: whoever wants to see the page has to know the password.
    #[arg(long, value_name = "FILE", help_heading = "Service")]
    pub page_password: Option<PathBuf>,
    /// A file with a token on its first line, of 32 letters or more: programs that send it as a bearer token need no
    /// password.
    #[arg(long, value_name = "FILE", help_heading = "Service")]
    pub page_token: Option<PathBuf>,
    /// A name by which browsers may come to the page, beside localhost and addresses; may be given several times.
    #[arg(long, value_name = "NAME", help_heading = "Service")]
    pub page_host: Vec<String>,
    /// A pipeline description (see pipelines/): its source part replaces the built-in one, its sinks are added. It is
    /// code: it can run any GStreamer element.
    #[arg(long, value_name = "FILE.toml")]
    pub pipeline: Option<PathBuf>,
    /// Equal input gives equal records, byte for byte: one decoder thread, no times, no run id.
    #[arg(long)]
    pub reproducible: bool,
}

/// A source as text. The name of a file may be none: such a one is written as an address.
fn written(source: OsString) -> String {
    source.into_string().unwrap_or_else(|path| {
        let absolute = std::path::absolute(&path).unwrap_or_else(|_| PathBuf::from(&path));
        let address = gstreamer::glib::filename_to_uri(absolute, None);
        address.map_or_else(|_| path.to_string_lossy().into_owned(), |address| address.to_string())
    })
}

/// `--precision`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComputeArg {
    /// 4 bytes.
    #[default]
    F32,
    /// 2 bytes, with the range of f32.
    Bf16,
    /// 2 bytes, finer than bf16.
    F16,
    /// 1 byte in most of the backbone, f32 elsewhere; on CPUs.
    Int8,
}

impl From<ComputeArg> for grounding::Precision {
    fn from(arg: ComputeArg) -> Self {
        match arg {
            ComputeArg::F32 => Self::F32,
            ComputeArg::Bf16 => Self::Bf16,
            ComputeArg::F16 => Self::F16,
            ComputeArg::Int8 => Self::Int8,
        }
    }
}

/// `--mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModeArg {
    /// By the source.
    #[default]
    Auto,
    /// The source waits; no frame is lost.
    EveryFrame,
    /// The newest frame wins; delay never grows.
    Freshest,
}

/// `--pace`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PaceArg {
    /// By the outputs.
    #[default]
    Auto,
    /// As fast as frames are taken.
    Fast,
    /// At the frames' own times.
    Realtime,
}

/// `--overlay-sync`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverlaySync {
    /// Frames wait for their own box.
    #[default]
    Exact,
    /// Frames leave at once, with the newest box.
    LowLatency,
}

/// One `--out`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutArg {
    /// Records, to a file or to `-`.
    Records(RecordPlace),
    /// The annotated video.
    Mp4(PathBuf),
    /// The same, as Matroska.
    Mkv(PathBuf),
    /// Annotated frames as PNG files, into a folder.
    Frames(PathBuf),
    /// A window.
    Display,
    /// An RTSP stream, by its address as typed, which may hold credentials.
    Rtsp(String),
}

impl OutArg {
    /// Where it goes on this machine; none for a window and for RTSP.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Records(RecordPlace { path, .. }) | Self::Mp4(path) | Self::Mkv(path) | Self::Frames(path) => {
                Some(path)
            }
            Self::Display | Self::Rtsp(_) => None,
        }
    }

    /// What stands behind its kind; for RTSP the whole address.
    pub fn place(&self) -> &str {
        match self {
            Self::Rtsp(address) => address,
            other => other.path().and_then(Path::to_str).unwrap_or_default(),
        }
    }

    /// The same, at the place that `map` makes of its own. Paths that are no UTF-8 stay as they are.
    #[must_use]
    pub fn map_place(self, map: impl Fn(&str) -> String) -> Self {
        let of_path = |path: PathBuf| path.to_str().map(&map).map_or(path.clone(), PathBuf::from);
        match self {
            Self::Records(place) => Self::Records(RecordPlace { path: of_path(place.path), ..place }),
            Self::Mp4(path) => Self::Mp4(of_path(path)),
            Self::Mkv(path) => Self::Mkv(of_path(path)),
            Self::Frames(path) => Self::Frames(of_path(path)),
            Self::Display => Self::Display,
            Self::Rtsp(address) => Self::Rtsp(map(&address)),
        }
    }
}

impl std::fmt::Display for OutArg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self {
            Self::Records(place) => place.format.kind(),
            Self::Mp4(_) => "mp4",
            Self::Mkv(_) => "mkv",
            Self::Frames(_) => "frames",
            Self::Display => "display",
            Self::Rtsp(address) => return f.write_str(&secrets::without_login(address)),
        };
        write!(f, "{kind}:{}", self.path().unwrap_or(Path::new("")).display())?;
        match self {
            Self::Records(RecordPlace { rotation: Some(rotation), .. }) => write!(f, "{rotation}"),
            _ => Ok(()),
        }
    }
}

impl FromStr for OutArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected jsonl:FILE, jsonl:-, mp4:FILE, mkv:FILE, frames:DIR, display:, rtsp://HOST:PORT/NAME, or records as mot:, coco:, vtt:, dls:, csv: or sightings:FILE";
        // What a file of this name is, nobody has to say.
        let name = Rotation::split(text).map_or(text, |(name, _)| name);
        let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
        let named = match ending {
            Some("mp4" | "mkv" | "jsonl" | "csv" | "vtt") => ending,
            _ if text == "-" => Some("jsonl"),
            _ => None,
        };
        let told = text.split_once(':').or_else(|| Some((named?, text)));
        let (kind, path) = told.ok_or_else(|| format!("has no kind, {expected}"))?;
        holes::check(path)?;
        match (kind, path) {
            ("display", "") => Ok(Self::Display),
            ("display", _) => Err(format!("display: takes no path, {expected}")),
            (scheme, _) if ["rtsp", "rtsps"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) => {
                holes::fill(text, "stream", &StartTime::now()).parse::<RtspOut>().map(|_| Self::Rtsp(text.to_owned()))
            }
            ("mp4" | "mkv" | "frames", "") => Err(format!("has no path, {expected}")),
            ("mp4" | "mkv", "-") => Err(format!("video needs a file, {expected}")),
            ("mp4", path) => Ok(Self::Mp4(path.into())),
            ("mkv", path) => Ok(Self::Mkv(path.into())),
            ("frames", path) => Ok(Self::Frames(path.into())),
            (other, path) => match Format::of_kind(other) {
                Some(_) if path.is_empty() => Err(format!("has no path, {expected}")),
                Some(format) => match Rotation::split(path)? {
                    (_, Some(_)) if format != Format::Native => {
                        Err(format!("rotate= and age= are for jsonl:FILE, not for {kind}:"))
                    }
                    ("" | "-", Some(_)) => Err("rotate= and age= need a file".into()),
                    (path, rotation) => Ok(Self::Records(RecordPlace { rotation, ..RecordPlace::new(format, path) })),
                },
                None => Err(format!("{other} is no kind of output, {expected}")),
            },
        }
    }
}
