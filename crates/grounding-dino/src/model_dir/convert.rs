//! The same model in another element type: names, configuration and tokenizer stay as they are.

use std::path::Path;

use blocks::checkpoint;
use blocks::error::{Error, Result};
use blocks::files;
use candle_core::{DType, Tensor};

use super::{CONFIG, DIGEST_KEY, ModelDir, TOKENIZER, VOCABULARY};
use crate::weights::{Part, WHOLE, Weights};

/// What else lies in a directory of the library, beside configuration and weights.
const COMPANIONS: [&str; 8] = [
    TOKENIZER,
    VOCABULARY,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "preprocessor_config.json",
    "processor_config.json",
    "README.md",
    "LICENSE",
];
/// What may lie in a directory that was written here, beside those: `calibration.json` comes later.
const OWN: [&str; 3] = [CONFIG, WHOLE, "calibration.json"];
/// Keys under which versions of the library note the element type.
const DTYPE_KEYS: [&str; 2] = ["dtype", "torch_dtype"];
/// The largest number of two bytes.
const LARGEST_F16: f32 = 65504.0;

impl ModelDir {
    /// Whether [`ModelDir::write_as`] would write there.
    ///
    /// # Errors
    /// `path` exists and may not be replaced.
    pub fn check_free(path: &Path, replace: bool) -> Result<()> {
        files::check_free(path, replace, is_ours)
    }

    /// Writes the model into a new directory, its weights as one file of element type `dtype`, F32 or F16, under the names
    /// that they have here; in full or not at all. With `replace`, a directory that was written here gives way.
    ///
    /// # Errors
    /// `path` exists and may not be replaced, or cannot be written; the weights do not fit the configuration, or a number is
    /// too large for the type.
    pub fn write_as(&self, path: &Path, dtype: DType, replace: bool) -> Result<Self> {
        Self::check_free(path, replace)?;
        let weights = Weights::open(&self.path)?;
        for part in [Part::Frame, Part::Text] {
            weights.check(&self.config, part)?;
        }
        let tensors = weights.all(|name, tensor| in_type(name, tensor, dtype))?;
        files::write_folder(path, |staged| {
            for name in COMPANIONS {
                let (from, to) = (self.path.join(name), staged.join(name));
                if from.is_file() {
                    std::fs::copy(&from, &to).map_err(Error::io("copy", &from))?;
                }
            }
            checkpoint::save(&tensors, Some([("format".to_owned(), "pt".to_owned())].into()), &staged.join(WHOLE))?;
            let own = self.path.join(CONFIG);
            let bytes = std::fs::read(&own).map_err(Error::io("read", &own))?;
            let mut json: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| Error::file(&own, e))?;
            let known = DTYPE_KEYS.into_iter().filter(|key| json.get(*key).is_some()).collect::<Vec<_>>();
            for key in known {
                json[key] = if dtype == DType::F16 { "float16" } else { "float32" }.into();
            }
            let config = staged.join(CONFIG);
            let write = |json: &serde_json::Value| {
                std::fs::write(&config, format!("{json:#}\n")).map_err(Error::io("write", &config))
            };
            write(&json)?;
            json[DIGEST_KEY] = Self::open(staged)?.computed_digest()?.into();
            write(&json)
        })?;
        Self::open(path)
    }

    /// Compares a stored digest, which [`ModelDir::write_as`] leaves, with the files; a directory of the library stores none.
    ///
    /// # Errors
    /// They differ, or the files cannot be read.
    pub fn verify_digest(&self) -> Result<String> {
        let computed = self.computed_digest()?;
        match &self.digest {
            Some(stored) if *stored != computed => {
                let reason = format!(
                    "stores digest {stored}, but its sizes, weights and tokenizer give {computed}: a file was changed"
                );
                Err(Error::file(&self.path.join(CONFIG), reason))
            }
            _ => Ok(computed),
        }
    }

    /// Whether it stores one.
    pub fn has_digest(&self) -> bool {
        self.digest.is_some()
    }
}

/// Whole numbers stay as they are.
fn in_type(name: &str, tensor: &Tensor, dtype: DType) -> Result<Tensor> {
    if !tensor.dtype().is_float() {
        return Ok(tensor.clone());
    }
    if dtype == DType::F16 && tensor.elem_count() > 0 {
        let largest: f32 = tensor.to_dtype(DType::F32)?.abs()?.flatten_all()?.max(0)?.to_scalar()?;
        if largest.is_finite() && largest > LARGEST_F16 {
            let reason = format!("tensor `{name}` holds {largest}, expected at most {LARGEST_F16} for f16");
            return Err(Error::Unsupported(reason));
        }
    }
    Ok(tensor.to_dtype(dtype)?)
}

/// Whether a folder holds a model that [`ModelDir::write_as`] wrote, and nothing of anybody else's.
fn is_ours(path: &Path) -> bool {
    let config =
        std::fs::read(path.join(CONFIG)).ok().and_then(|b| serde_json::from_slice::<serde_json::Value>(&b).ok());
    let known = |name: &std::ffi::OsStr| COMPANIONS.iter().chain(&OWN).any(|known| name == *known);
    let only_ours = std::fs::read_dir(path)
        .is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|entry| known(&entry.file_name()))));
    config.is_some_and(|config| config.get(DIGEST_KEY).is_some()) && only_ours
}
