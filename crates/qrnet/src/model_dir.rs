//! A model on disk: a directory with `config.json`, `model.safetensors`, `tokenizer.json` and a card, `README.md`.
//!
//! The digest binds compiled queries to the model. It covers the sizes, the weights and the tokenizer, is computed when
//! the directory is written, and stands in `config.json`, since hashing a gigabyte at every start would take seconds.

use std::path::{Path, PathBuf};

use candle_core::DType;
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::weights;
use blocks::checkpoint::Tensors;
use blocks::error::{Error, Result};
use blocks::files;
use blocks::ops::kernel::dense::Arithmetic;
use blocks::text::tokenizer::QueryTokenizer;

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const TOKENIZER: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.txt";
const CARD: &str = "README.md";
const DIGEST_KEY: &str = "digest";
const TRAINED_KEY: &str = "trained";

/// An existing model directory, its configuration read.
#[derive(Debug, Clone)]
pub struct ModelDir {
    path: PathBuf,
    config: Config,
    digest: Option<String>,
    trained: bool,
}

/// What [`ModelDir::write`] puts into a new directory.
pub struct NewModel<'a> {
    /// Sizes.
    pub config: &'a Config,
    /// Weights by the reference's names.
    pub tensors: &'a Tensors,
    /// Element type on disk: F32 or F16, of all tensors; or BF16 or U8 (one byte a value, with a scale a row), of those that
    /// products in these read, the others in F32.
    pub dtype: DType,
    /// The tokenizer.
    pub tokenizer: &'a QueryTokenizer,
    /// Text of the model card.
    pub card: &'a str,
    /// False for weights that are still as drawn: whoever uses the model is told so.
    pub trained: bool,
}

impl ModelDir {
    /// Reads `config.json` and sees that the other files are there.
    ///
    /// # Errors
    /// No such directory, a file is missing, or the configuration is unusable.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.join(CONFIG).is_file() {
            return Err(Error::file(
                path,
                format!("is no model directory, expected a folder with {CONFIG}, {WEIGHTS} and {TOKENIZER}"),
            ));
        }
        let config_path = path.join(CONFIG);
        let config = Config::from_json_file(&config_path)?;
        let raw: serde_json::Value = std::fs::read(&config_path)
            .map_err(Error::io("read", &config_path))
            .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|e| Error::file(&config_path, e)))?;
        let digest = raw.get(DIGEST_KEY).and_then(|d| d.as_str()).map(String::from);
        let trained = raw.get(TRAINED_KEY).and_then(serde_json::Value::as_bool).unwrap_or(true);
        let dir = Self { path: path.to_path_buf(), config, digest, trained };
        for file in [dir.weights(), dir.tokenizer()] {
            std::fs::metadata(&file).map_err(Error::io("read", &file))?;
        }
        Ok(dir)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// False where the weights are still as drawn from a seed.
    pub fn trained(&self) -> bool {
        self.trained
    }

    /// The weights file.
    pub fn weights(&self) -> PathBuf {
        self.path.join(WEIGHTS)
    }

    /// Where packed weights for products in `precision` lie, if they do.
    pub fn packed(&self, precision: Arithmetic) -> PathBuf {
        self.path.join(packed_name(precision))
    }

    /// `tokenizer.json`, or `vocab.txt` where a directory made by hand has only that.
    pub fn tokenizer(&self) -> PathBuf {
        let (json, text) = (self.path.join(TOKENIZER), self.path.join(VOCABULARY));
        if !json.exists() && text.exists() { text } else { json }
    }

    /// The stored digest; computed, with a warning, where a directory made by hand has none.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn digest(&self) -> Result<String> {
        if let Some(digest) = &self.digest {
            return Ok(digest.clone());
        }
        tracing::warn!(
            "{} holds no digest; computing it (`spotter convert` writes one)",
            self.path.join(CONFIG).display()
        );
        self.computed_digest()
    }

    /// The digest of what lies in the directory now.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn computed_digest(&self) -> Result<String> {
        digest(&self.config, &self.weights(), &self.tokenizer())
    }

    /// Compares the stored digest with the files.
    ///
    /// # Errors
    /// They differ, there is none, or the files cannot be read.
    pub fn verify_digest(&self) -> Result<String> {
        let computed = self.computed_digest()?;
        match &self.digest {
            Some(stored) if *stored == computed => Ok(computed),
            Some(stored) => {
                let reason = format!(
                    "stores digest {stored}, but its sizes, weights and tokenizer give {computed}: a file was changed"
                );
                Err(Error::file(&self.path.join(CONFIG), reason))
            }
            None => Err(Error::file(&self.path.join(CONFIG), format!("stores no digest, computed {computed}"))),
        }
    }

    /// Reads the tokenizer.
    ///
    /// # Errors
    /// As [`QueryTokenizer::from_file`].
    pub fn load_tokenizer(&self) -> Result<QueryTokenizer> {
        QueryTokenizer::from_file(&self.tokenizer(), self.config.max_query_len, self.config.bert.vocab_size)
    }

    /// Whether [`ModelDir::write`] would write there.
    ///
    /// # Errors
    /// `path` exists and may not be replaced.
    pub fn check_free(path: &Path, replace: bool) -> Result<()> {
        files::check_free(path, replace, is_ours)
    }

    /// Writes a new model directory, in full or not at all. With `replace`, an existing model gives way once the new
    /// one is whole.
    ///
    /// # Errors
    /// `path` exists and may not be replaced, or cannot be written.
    pub fn write(path: &Path, model: &NewModel, replace: bool) -> Result<Self> {
        Self::check_free(path, replace)?;
        files::write_folder(path, |staged| {
            let write = |name: &str, text: &str| {
                let file = staged.join(name);
                std::fs::write(&file, text).map_err(Error::io("write", &file))
            };
            write(TOKENIZER, &model.tokenizer.to_json()?)?;
            write(CARD, model.card)?;
            let stored = weights::stored(model.config, model.tensors, model.dtype)?;
            blocks::checkpoint::save(&stored, None, &staged.join(WEIGHTS))?;
            let digest = digest(model.config, &staged.join(WEIGHTS), &staged.join(TOKENIZER))?;
            let mut json = serde_json::to_value(model.config).map_err(|e| Error::file(path, e))?;
            json[DIGEST_KEY] = digest.into();
            json[TRAINED_KEY] = model.trained.into();
            write(CONFIG, &format!("{json:#}\n"))
        })?;
        Self::open(path)
    }
}

fn packed_name(precision: Arithmetic) -> String {
    format!("model.{}.packed", precision.name())
}

/// Whether a folder holds a model that [`ModelDir::write`] wrote, and nothing of anybody else's.
fn is_ours(path: &Path) -> bool {
    let config =
        std::fs::read(path.join(CONFIG)).ok().and_then(|b| serde_json::from_slice::<serde_json::Value>(&b).ok());
    let packed = Arithmetic::ALL.map(packed_name);
    let files = [CONFIG, WEIGHTS, TOKENIZER, CARD].into_iter().chain(packed.iter().map(String::as_str));
    let known = |name: &std::ffi::OsStr| files.clone().any(|ours| name == ours);
    let only_ours = std::fs::read_dir(path)
        .is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|entry| known(&entry.file_name()))));
    config.is_some_and(|config| config.get(DIGEST_KEY).is_some()) && only_ours
}

fn digest(config: &Config, weights: &Path, tokenizer: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    hasher.update(serde_json::to_vec(config).map_err(|e| Error::file(weights, e))?);
    for path in [weights, tokenizer] {
        files::digest_into(&mut hasher, path).map_err(Error::io("read", path))?;
    }
    Ok(files::hex(&hasher.finalize()[..16]))
}
