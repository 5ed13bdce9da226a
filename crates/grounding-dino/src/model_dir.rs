//! A model on disk, as Hugging Face's library writes it: `config.json`, `model.safetensors` or its parts with their index,
//! `tokenizer.json` or `vocab.txt`, `preprocessor_config.json`.

mod convert;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use blocks::error::{Error, Result};
use blocks::files;
use blocks::text::tokenizer::QueryTokenizer;
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::preprocess::Sizing;
use crate::text::{FRAMING, STOP};
use crate::weights;

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.txt";
const DIGEST_KEY: &str = "digest";

/// An existing model directory, its configuration read.
#[derive(Debug, Clone)]
pub struct ModelDir {
    path: PathBuf,
    config: Config,
    sizing: Sizing,
    /// `config.json` without its digest.
    written: String,
    digest: Option<String>,
}

impl ModelDir {
    /// Reads the configuration and sees that the other files are there.
    ///
    /// # Errors
    /// No such directory, a file is missing, or the configuration is unusable.
    pub fn open(path: &Path) -> Result<Self> {
        let file = path.join(CONFIG);
        if !file.is_file() {
            let reason = format!("is no model directory, expected a folder with {CONFIG}, weights and {TOKENIZER}");
            return Err(Error::file(path, reason));
        }
        let config = Config::from_json_file(&file)?;
        let bytes = std::fs::read(&file).map_err(Error::io("read", &file))?;
        let mut raw: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&bytes).map_err(|e| Error::file(&file, e))?;
        let digest = raw.remove(DIGEST_KEY).and_then(|digest| digest.as_str().map(String::from));
        let written = serde_json::to_string(&raw).map_err(|e| Error::file(&file, e))?;
        let dir = Self { path: path.to_path_buf(), config, sizing: Sizing::of(path)?, written, digest };
        weights::paths(path)?;
        std::fs::metadata(dir.tokenizer()).map_err(Error::io("read", &dir.tokenizer()))?;
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

    /// How large pictures go in.
    pub fn sizing(&self) -> Sizing {
        self.sizing
    }

    fn tokenizer(&self) -> PathBuf {
        let (json, text) = (self.path.join(TOKENIZER), self.path.join(VOCABULARY));
        if !json.exists() && text.exists() { text } else { json }
    }

    /// What compiled queries are bound to: of all that is in the files. A stored one is taken as it is, as hashing takes
    /// a second or more.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn digest(&self) -> Result<String> {
        self.digest.clone().map_or_else(|| self.computed_digest(), Ok)
    }

    /// The digest of what lies in the directory now.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn computed_digest(&self) -> Result<String> {
        let mut hasher = Sha256::new();
        hasher.update(&self.written);
        for path in weights::paths(&self.path)?.into_iter().chain([self.tokenizer()]) {
            files::digest_into(&mut hasher, &path).map_err(Error::io("read", &path))?;
        }
        Ok(files::hex(&hasher.finalize()[..16]))
    }

    /// Reads the tokenizer; a text keeps room for the full stop that ends it.
    ///
    /// # Errors
    /// The file cannot be read, or its vocabulary is not that of bert-base-uncased where the architecture relies on it.
    pub fn load_tokenizer(&self) -> Result<QueryTokenizer> {
        let (path, bert) = (self.tokenizer(), &self.config.bert);
        let longest = (self.config.max_text_len - 1).min(bert.max_position_embeddings + 1);
        let tokenizer = QueryTokenizer::from_file(&path, longest.max(3), bert.vocab_size)?;
        let stop = tokenizer.encode(".").map(|encoded| encoded.ids).unwrap_or_default();
        let expected = [FRAMING[0], STOP, FRAMING[1]];
        if stop != expected {
            let reason = format!(
                "reads a full stop as {stop:?}, expected {expected:?} as the vocabulary of bert-base-uncased has it"
            );
            return Err(Error::file(&path, reason));
        }
        Ok(tokenizer)
    }
}
