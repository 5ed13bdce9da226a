//! Settings of `spotter run` as a TOML file; names are those of the flags, with `_` for `-`.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use frames::overlay::Part;
use records::track::Smoothing;
use serde::{Deserialize, Serialize};

use super::{LineEntry, PageEntry, QueryEntries, QueryEntry, SightingsEntry, StreamEntry, ZoneEntry};
use crate::cli::{ComputeArg, Decoding, Measuring, ModeArg, OutArg, OverlaySync, PaceArg, RunArgs};
use crate::error::{Error, Result};
use crate::notify::NotifyEntry;
use crate::source::{Deinterlace, Transport};

/// The file as written. Paths are relative to the place where the program runs, as those of flags are.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the flags of the same names are documented")]
pub struct RunFile {
    /// One, or several.
    pub source: OneOrMore,
    /// Streams with names and queries of their own.
    pub stream: Vec<StreamEntry>,
    /// Whom to tell what was seen.
    pub notify: Vec<NotifyEntry>,
    /// A sentence, or `[[query]]` tables.
    pub query: Option<QueryEntries>,
    pub compiled_query: Option<PathBuf>,
    pub model: Option<PathBuf>,
    pub out: OneOrMore,
    pub device: Option<String>,
    pub precision: Option<ComputeArg>,
    pub threads: Option<usize>,
    pub mode: Option<ModeArg>,
    pub pace: Option<PaceArg>,
    pub stride: Option<u64>,
    pub max_fps: Option<f64>,
    pub static_gate: Option<u8>,
    pub static_recheck: Option<u64>,
    pub picture_rate: Option<f64>,
    /// `--deinterlace`
    pub deinterlace: Option<Deinterlace>,
    /// `--video-track`
    pub video_track: Option<NonZeroU32>,
    pub threshold: Option<f32>,
    pub hysteresis: Option<f32>,
    pub smooth: Option<Smoothing>,
    pub hold: Option<String>,
    pub lost: Option<String>,
    pub pipeline: Option<PathBuf>,
    pub reproducible: bool,
    pub credentials: Option<PathBuf>,
    pub rtsp_transport: Option<Transport>,
    pub tls_ca: Option<PathBuf>,
    pub latency: Option<String>,
    pub stall_timeout: Option<String>,
    pub reconnect_interval: Option<String>,
    pub reconnect_max_interval: Option<String>,
    pub reconnect_attempts: Option<u64>,
    pub refused_interval: Option<String>,
    pub max_batch: Option<usize>,
    pub batch_timeout_ms: Option<u64>,
    pub overlay_sync: Option<OverlaySync>,
    pub overlay: Option<Vec<Part>>,
    pub out_credentials: Option<PathBuf>,
    pub out_tls: Option<PathBuf>,
    pub allow_anonymous: bool,
    pub control: Option<String>,
    pub metrics: Option<String>,
    /// Where the page is, or all that is said of it.
    pub page: Option<PageEntry>,
    /// How sightings are made and told; that it is there asks for them.
    pub sightings: Option<SightingsEntry>,
    /// Areas of the picture, for all streams.
    pub zone: Vec<ZoneEntry>,
    /// Lines through the picture, for all streams.
    pub line: Vec<LineEntry>,
}

/// A text, or a list of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    /// `"a"`
    One(String),
    /// `["a", "b"]`
    More(Vec<String>),
}

impl Default for OneOrMore {
    fn default() -> Self {
        Self::More(Vec::new())
    }
}

impl From<OneOrMore> for Vec<String> {
    fn from(texts: OneOrMore) -> Self {
        match texts {
            OneOrMore::One(text) => vec![text],
            OneOrMore::More(texts) => texts,
        }
    }
}

impl blocks::strict::Strict for RunFile {
    fn example() -> Self {
        Self {
            source: OneOrMore::One(String::new()),
            stream: vec![StreamEntry::example()],
            notify: vec![NotifyEntry::example()],
            query: Some(QueryEntries::Tables(vec![QueryEntry::example()])),
            compiled_query: Some(PathBuf::new()),
            model: Some(PathBuf::new()),
            out: OneOrMore::One(String::new()),
            device: Some(String::new()),
            precision: Some(ComputeArg::F32),
            threads: Some(1),
            mode: Some(ModeArg::Auto),
            pace: Some(PaceArg::Auto),
            stride: Some(1),
            max_fps: Some(1.0),
            static_gate: Some(4),
            static_recheck: Some(25),
            picture_rate: Some(1.0),
            deinterlace: Some(Deinterlace::Auto),
            video_track: Some(NonZeroU32::MIN),
            threshold: Some(0.5),
            hysteresis: Some(0.1),
            smooth: Some(Smoothing::Off),
            hold: Some(String::new()),
            lost: Some(String::new()),
            pipeline: Some(PathBuf::new()),
            reproducible: false,
            credentials: Some(PathBuf::new()),
            rtsp_transport: Some(Transport::Auto),
            tls_ca: Some(PathBuf::new()),
            latency: Some(String::new()),
            stall_timeout: Some(String::new()),
            reconnect_interval: Some(String::new()),
            reconnect_max_interval: Some(String::new()),
            reconnect_attempts: Some(1),
            refused_interval: Some(String::new()),
            max_batch: Some(1),
            batch_timeout_ms: Some(0),
            overlay_sync: Some(OverlaySync::Exact),
            overlay: Some(vec![Part::Boxes]),
            out_credentials: Some(PathBuf::new()),
            out_tls: Some(PathBuf::new()),
            allow_anonymous: false,
            control: Some(String::new()),
            metrics: Some(String::new()),
            page: Some(PageEntry::example()),
            sightings: Some(SightingsEntry::example()),
            zone: vec![ZoneEntry::example()],
            line: vec![LineEntry::example()],
        }
    }
}

impl RunFile {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, is no TOML, or has an unknown key.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        Ok(blocks::strict::toml(&text, &path.display().to_string())?)
    }

    /// These settings where `typed` has none; outputs are not mixed.
    ///
    /// # Errors
    /// An output of the file is none.
    pub fn under(self, typed: RunArgs, name: &str) -> Result<RunArgs> {
        let out = if typed.out.is_empty() {
            let parse = |out: &String| {
                out.parse::<OutArg>().map_err(|reason| Error::Usage(format!("{name}: out {out:?}: {reason}")))
            };
            Vec::from(self.out).iter().map(parse).collect::<Result<_>>()?
        } else {
            typed.out
        };
        let page = self.page.map(PageEntry::table).unwrap_or_default();
        Ok(RunArgs {
            config: None,
            stream: if typed.source.is_empty() { self.stream } else { Vec::new() },
            notify: self.notify,
            sources: Vec::new(),
            source: if typed.source.is_empty() { self.source.into() } else { typed.source },
            // Whichever form is typed takes the place of both forms in the file.
            query: match self.query {
                Some(queries) if typed.query.is_empty() && typed.compiled_query.is_none() => queries.list(),
                _ => typed.query.clone(),
            },
            compiled_query: if typed.query.is_empty() { typed.compiled_query.or(self.compiled_query) } else { None },
            model: typed.model.or(self.model),
            out,
            device: typed.device.or(self.device),
            precision: typed.precision.or(self.precision),
            threads: typed.threads.or(self.threads),
            mode: typed.mode.or(self.mode),
            pace: typed.pace.or(self.pace),
            measuring: Measuring {
                stride: typed.measuring.stride.or(self.stride),
                max_fps: typed.measuring.max_fps.or(self.max_fps),
                static_gate: typed.measuring.static_gate.or(self.static_gate),
                static_recheck: typed.measuring.static_recheck.or(self.static_recheck),
                threshold: typed.measuring.threshold.or(self.threshold),
                hysteresis: typed.measuring.hysteresis.or(self.hysteresis),
                smooth: typed.measuring.smooth.or(self.smooth),
                hold: typed.measuring.hold.or(self.hold),
                lost: typed.measuring.lost.or(self.lost),
            },
            picture_rate: typed.picture_rate.or(self.picture_rate),
            decoding: Decoding {
                deinterlace: typed.decoding.deinterlace.or(self.deinterlace),
                video_track: typed.decoding.video_track.or(self.video_track),
            },
            pipeline: typed.pipeline.or(self.pipeline),
            reproducible: typed.reproducible || self.reproducible,
            credentials: typed.credentials.or(self.credentials),
            rtsp_transport: typed.rtsp_transport.or(self.rtsp_transport),
            tls_ca: typed.tls_ca.or(self.tls_ca),
            latency: typed.latency.or(self.latency),
            stall_timeout: typed.stall_timeout.or(self.stall_timeout),
            reconnect_interval: typed.reconnect_interval.or(self.reconnect_interval),
            reconnect_max_interval: typed.reconnect_max_interval.or(self.reconnect_max_interval),
            reconnect_attempts: typed.reconnect_attempts.or(self.reconnect_attempts),
            refused_interval: typed.refused_interval.or(self.refused_interval),
            max_batch: typed.max_batch.or(self.max_batch),
            batch_timeout_ms: typed.batch_timeout_ms.or(self.batch_timeout_ms),
            overlay_sync: typed.overlay_sync.or(self.overlay_sync),
            overlay: typed.overlay.or(self.overlay),
            out_credentials: typed.out_credentials.or(self.out_credentials),
            out_tls: typed.out_tls.or(self.out_tls),
            allow_anonymous: typed.allow_anonymous || self.allow_anonymous,
            control: typed.control.or(self.control),
            metrics: typed.metrics.or(self.metrics),
            page: typed.page.or(page.address),
            page_password: typed.page_password.or(page.password),
            page_token: typed.page_token.or(page.token),
            page_host: if typed.page_host.is_empty() { page.hosts } else { typed.page_host },
            sighting: typed.sighting,
            sightings_dir: typed.sightings_dir,
            sightings_table: self.sightings,
            zone: self.zone,
            line: self.line,
        })
    }
}
