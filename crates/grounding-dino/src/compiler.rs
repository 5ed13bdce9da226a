//! From a sentence to what frames need of it.

use std::path::Path;

use blocks::error::{Error, Result};
use blocks::text::tokenizer::QueryTokenizer;
use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;

use crate::model_dir::ModelDir;
use crate::query::CompiledQuery;
use crate::text::{FRAMING, STOP, TextModel, is_delimiter};
use crate::weights::{Part, Weights};

/// The half of a model that reads text: compiles sentences for frames that are grounded elsewhere or later.
pub struct QueryCompiler {
    digest: String,
    device: Device,
    model: TextModel,
    tokenizer: QueryTokenizer,
    /// Tokens of `[CLS]` and `[SEP]`, `[2, d]`.
    framing: Tensor,
}

impl QueryCompiler {
    /// Loads the text's half of a model directory.
    ///
    /// # Errors
    /// A file is missing, damaged, or contradicts the configuration.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        let dir = ModelDir::open(dir)?;
        let weights = Weights::open(dir.path())?;
        weights.check(dir.config(), Part::Text)?;
        Self::new(&dir, &weights.into_builder(device), dir.digest()?)
    }

    pub(crate) fn new(dir: &ModelDir, vb: &VarBuilder, digest: String) -> Result<Self> {
        let (model, device) = (TextModel::new(dir.config(), vb)?, vb.device().clone());
        let framing = model.project(&model.features(&FRAMING, &device)?)?;
        Ok(Self { digest, device, model, tokenizer: dir.load_tokenizer()?, framing })
    }

    /// Digest of the model, which compiled queries carry.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The tower.
    pub fn model(&self) -> &TextModel {
        &self.model
    }

    /// The pieces of a sentence, lower-cased and ended with a full stop, without framing. What does not fit the model's
    /// length, and words it does not know, are warned of.
    ///
    /// # Errors
    /// The sentence is empty, holds no word, or is unreadable for the tokenizer.
    pub fn pieces(&self, text: &str) -> Result<Vec<u32>> {
        let encoded = self.tokenizer.read(text)?;
        let mut pieces = encoded.ids[1..encoded.ids.len() - 1].to_vec();
        if pieces.last() != Some(&STOP) {
            pieces.push(STOP);
        }
        if pieces.iter().all(|piece| is_delimiter(*piece)) {
            let reason = "holds nothing but what ends a phrase, expected words that describe an object".into();
            return Err(Error::Query { query: text.to_owned(), reason });
        }
        Ok(pieces)
    }

    /// Compiles a sentence, as [`QueryCompiler::pieces`] reads it.
    ///
    /// # Errors
    /// As [`QueryCompiler::pieces`].
    pub fn compile(&self, text: &str) -> Result<CompiledQuery> {
        let pieces = self.pieces(text)?;
        let tokens = self.model.project(&self.model.features(&pieces, &self.device)?)?;
        Ok(CompiledQuery::new(text.to_owned(), pieces, self.digest.clone(), tokens, self.framing.clone()))
    }
}
