//! A query compiled for one model: everything that depends on the text alone.

use std::path::Path;

use blocks::error::Result;
use blocks::text::query_file::{self, QueryFile};
use candle_core::{Device, Tensor};

use crate::config::Config;
use crate::text::FRAMING as PIECES;

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
        let own = vec![(TOKENS.to_owned(), self.tokens.clone()), (FRAMING.to_owned(), self.framing.clone())];
        query_file::save(path, (&self.text, &self.ids, &self.model), own)
    }

    /// Reads a query that was compiled for the model with digest `model`.
    ///
    /// # Errors
    /// The file is no compiled query, belongs to another model, or holds tensors of other sizes.
    pub fn load(path: &Path, config: &Config, model: &str, device: &Device) -> Result<Self> {
        let file = QueryFile::open_for(path, model)?;
        let (ids, width) = (file.ids(config.max_text_len - PIECES.len())?, config.width);
        let tokens = file.tensor(TOKENS, &[ids.len(), width], device)?;
        let framing = file.tensor(FRAMING, &[PIECES.len(), width], device)?;
        Ok(Self { text: file.text, ids, model: file.model, tokens, framing })
    }
}
