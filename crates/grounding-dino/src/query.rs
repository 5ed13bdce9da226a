//! A query compiled for one model: everything that depends on the text alone.

use std::collections::HashMap;
use std::path::Path;

use blocks::checkpoint::TensorFile;
use blocks::error::{Error, Result};
use candle_core::{DType, Device, Tensor};

use crate::config::Config;

/// What a sentence becomes for one model: its pieces and their tokens, which are the same whatever else is asked.
#[derive(Debug, Clone)]
pub struct CompiledQuery {
    text: String,
    ids: Vec<u32>,
    model: String,
    /// `[n, d]`.
    pub(crate) tokens: Tensor,
    /// Those of `[CLS]` and `[SEP]`, `[2, d]`.
    pub(crate) framing: Tensor,
}

const FORMAT: &str = "spotter.query/1";
const IDS: &str = "ids";
const TOKENS: &str = "tokens";
const FRAMING: &str = "framing";

impl CompiledQuery {
    pub(crate) fn new(text: String, ids: Vec<u32>, model: String, tokens: Tensor, framing: Tensor) -> Self {
        Self { text, ids, model, tokens, framing }
    }

    /// The sentence.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its piece ids with the full stop that ends it, without framing.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Digest of the model that it was compiled for.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Writes it to a file, in full or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let tensors = [
            (IDS.to_owned(), Tensor::new(self.ids.as_slice(), &Device::Cpu)?),
            (TOKENS.to_owned(), self.tokens.clone()),
            (FRAMING.to_owned(), self.framing.clone()),
        ];
        let metadata = HashMap::from([
            ("format".to_owned(), FORMAT.to_owned()),
            ("text".to_owned(), self.text.clone()),
            ("model".to_owned(), self.model.clone()),
        ]);
        blocks::checkpoint::save(&tensors, Some(metadata), path)
    }

    /// Reads a query that was compiled for the model with digest `model`.
    ///
    /// # Errors
    /// The file is no compiled query, belongs to another model, or holds tensors of other sizes.
    pub fn load(path: &Path, config: &Config, model: &str, device: &Device) -> Result<Self> {
        let file = TensorFile::open(path)?;
        let mut metadata = file.metadata()?;
        if metadata.get("format").map(String::as_str) != Some(FORMAT) {
            return Err(Error::file(path, format!("is no compiled query, expected format {FORMAT} in its header")));
        }
        let mut header =
            |key: &str| metadata.remove(key).ok_or_else(|| Error::file(path, format!("lacks `{key}` in its header")));
        let (found, text) = (header("model")?, header("text")?);
        if found != model {
            return Err(Error::ForeignQuery { path: path.to_path_buf(), found, expected: model.to_owned() });
        }
        let get = |name: &str, expected: [usize; 2]| -> Result<Tensor> {
            let tensor = file.load(name, device)?;
            if tensor.dims() != expected {
                let (path, name, found) = (path.to_path_buf(), name.to_owned(), tensor.dims().to_vec());
                return Err(Error::Shape { path, name, found, expected: expected.to_vec() });
            }
            Ok(tensor.to_dtype(DType::F32)?)
        };
        let ids: Vec<u32> = file.load(IDS, &Device::Cpu)?.to_dtype(DType::U32)?.flatten_all()?.to_vec1()?;
        let most = config.max_text_len - 2;
        if !(1..=most).contains(&ids.len()) {
            return Err(Error::file(path, format!("holds {} pieces, expected 1 to {most}", ids.len())));
        }
        let (tokens, framing) = (get(TOKENS, [ids.len(), config.width])?, get(FRAMING, [2, config.width])?);
        Ok(Self { text, ids, model: found, tokens, framing })
    }
}
