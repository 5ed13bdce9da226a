//! Checkpoints: everything that a run needs to go on as if it had never stopped, in one safetensors file.
//!
//! Weights (`model.`), averaged weights (`ema.`), the optimiser's moments (`mean.`, `square.`), and in the header the
//! step, the best value so far and the sums of the log's next line. Random numbers and the order of data follow from
//! seed and step, so they need no state of their own. The same state gives the same bytes.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use blocks::checkpoint::TensorFile;
use candle_core::{Device, Tensor};

use crate::error::{Error, Result};
use crate::meter::Sums;

/// A run's state between two steps.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    /// Steps made.
    pub step: u64,
    /// Tensors by prefixed name.
    pub tensors: BTreeMap<String, Tensor>,
    /// The best value of the watched set, and its step.
    pub best: Option<(f64, u64)>,
    /// What the next line of the log has so far.
    pub sums: Sums,
}

/// The header's one key. Its value is JSON of its own: safetensors writes several keys in an order that differs from
/// run to run.
const RUN: &str = "run";
const STEP: &str = "step";
const BEST: &str = "best";
const BEST_STEP: &str = "best_step";
const SUMS: &str = "sums";
const PREFIX: &str = "checkpoint-";
const SUFFIX: &str = ".safetensors";

fn name(step: u64) -> String {
    format!("{PREFIX}{step:08}{SUFFIX}")
}

/// Steps of the checkpoints in `folder`, in rising order.
///
/// # Errors
/// The folder cannot be read.
pub fn list(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        let step = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok());
        if let Some(step) = step {
            found.push((step, path));
        }
    }
    found.sort();
    Ok(found)
}

impl Checkpoint {
    /// Writes the checkpoint into `folder` under a temporary name, then renames it; removes all but the newest `keep`.
    ///
    /// # Errors
    /// The file cannot be written, on a full disk for one; older checkpoints are untouched then.
    pub fn save(&self, folder: &Path, keep: usize) -> Result<PathBuf> {
        let path = folder.join(name(self.step));
        // Numbers as text: Rust's own is read back to the bit, and takes what is not finite.
        let mut state = BTreeMap::from([(STEP, self.step.to_string()), (SUMS, self.sums.to_string())]);
        if let Some((best, step)) = self.best {
            state.insert(BEST, best.to_string());
            state.insert(BEST_STEP, step.to_string());
        }
        let state = serde_json::to_string(&state).map_err(|e| Error::file(&path, e))?;
        let header = HashMap::from([(RUN.to_owned(), state)]);
        let tensors: Vec<(String, Tensor)> = self.tensors.iter().map(|(n, t)| (n.clone(), t.clone())).collect();
        blocks::checkpoint::save(&tensors, Some(header), &path)?;
        let all = list(folder)?;
        for (_, old) in all.iter().take(all.len().saturating_sub(keep.max(1))) {
            std::fs::remove_file(old).map_err(Error::io("remove", old))?;
        }
        Ok(path)
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// The file is no checkpoint, is cut off or damaged.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let file = TensorFile::open(path)?;
        let mut header = file.metadata()?;
        if let Some(state) = header.remove(RUN) {
            header = serde_json::from_str(&state).map_err(|e| Error::file(path, format_args!("header: {e}")))?;
        }
        let number = |key: &str| header.get(key).and_then(|text| text.parse::<f64>().ok());
        let count = |key: &str| header.get(key).and_then(|text| text.parse::<u64>().ok());
        let step = count(STEP)
            .ok_or_else(|| Error::file(path, "is no checkpoint of a training run: its header holds no `step`"))?;
        // Older checkpoints have their keys in the header itself, and lack the next one.
        let sums = header.get(SUMS).and_then(|text| Sums::parse(text)).unwrap_or_default();
        let best = number(BEST).zip(number(BEST_STEP)).map(|(best, step)| (best, step as u64));
        let tensors =
            file.names().into_iter().map(|n| Ok((n.clone(), file.load(&n, device)?))).collect::<Result<_>>()?;
        Ok(Self { step, tensors, best, sums })
    }

    /// The newest checkpoint in `folder` that is whole.
    ///
    /// # Errors
    /// As [`Checkpoint::load`].
    pub fn newest(folder: &Path, device: &Device) -> Result<Option<Self>> {
        let all = list(folder)?;
        for (_, path) in all.iter().rev().take(all.len().saturating_sub(1)) {
            match Self::load(path, device) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(error) => tracing::warn!("{error}; going back to the checkpoint before it"),
            }
        }
        all.first().map(|(_, path)| Self::load(path, device)).transpose()
    }
}
