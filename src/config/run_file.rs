//! Settings of `spotter run` as a TOML file; names are those of the flags, with `_` for `-`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::{ModeArg, OutArg, PaceArg, RunArgs};
use crate::error::{Error, Result};
use crate::track::Smoothing;

/// The file as written. Paths are relative to the place where the program runs, as those of flags are.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the flags of the same names are documented")]
pub struct RunFile {
    pub source: Option<String>,
    pub query: Option<String>,
    pub model: Option<PathBuf>,
    pub out: Vec<String>,
    pub device: Option<String>,
    pub threads: Option<usize>,
    pub mode: Option<ModeArg>,
    pub pace: Option<PaceArg>,
    pub stride: Option<u64>,
    pub max_fps: Option<f64>,
    pub picture_rate: Option<f64>,
    pub threshold: Option<f32>,
    pub hysteresis: Option<f32>,
    pub smooth: Option<Smoothing>,
    pub hold: Option<String>,
    pub pipeline: Option<PathBuf>,
    pub reproducible: bool,
}

impl qrnet::strict::Strict for RunFile {
    fn example() -> Self {
        Self {
            source: Some(String::new()),
            query: Some(String::new()),
            model: Some(PathBuf::new()),
            out: vec![String::new()],
            device: Some(String::new()),
            threads: Some(1),
            mode: Some(ModeArg::Auto),
            pace: Some(PaceArg::Auto),
            stride: Some(1),
            max_fps: Some(1.0),
            picture_rate: Some(1.0),
            threshold: Some(0.5),
            hysteresis: Some(0.1),
            smooth: Some(Smoothing::Off),
            hold: Some(String::new()),
            pipeline: Some(PathBuf::new()),
            reproducible: false,
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
        Ok(qrnet::strict::toml(&text, &path.display().to_string())?)
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
            self.out.iter().map(parse).collect::<Result<_>>()?
        } else {
            typed.out
        };
        Ok(RunArgs {
            config: None,
            source: typed.source.or(self.source),
            query: typed.query.or(self.query),
            model: typed.model.or(self.model),
            out,
            device: typed.device.or(self.device),
            threads: typed.threads.or(self.threads),
            mode: typed.mode.or(self.mode),
            pace: typed.pace.or(self.pace),
            stride: typed.stride.or(self.stride),
            max_fps: typed.max_fps.or(self.max_fps),
            picture_rate: typed.picture_rate.or(self.picture_rate),
            threshold: typed.threshold.or(self.threshold),
            hysteresis: typed.hysteresis.or(self.hysteresis),
            smooth: typed.smooth.or(self.smooth),
            hold: typed.hold.or(self.hold),
            pipeline: typed.pipeline.or(self.pipeline),
            reproducible: typed.reproducible || self.reproducible,
        })
    }
}
