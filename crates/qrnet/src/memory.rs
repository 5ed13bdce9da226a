//! A model that lies in memory, as a program carries it within itself.

use std::path::Path;

use blocks::checkpoint::Tensors;
use blocks::error::{Error, Result};
use blocks::text::tokenizer::QueryTokenizer;
use candle_core::{DType, Device};

use crate::config::Config;

/// The files of a model directory, in memory.
#[derive(Debug, Clone, Copy)]
pub struct MemoryModel {
    /// What errors call it.
    pub name: &'static str,
    /// `config.json`.
    pub config: &'static str,
    /// `model.safetensors`.
    pub weights: &'static [u8],
    /// `tokenizer.json`.
    pub tokenizer: &'static str,
}

/// What a [`MemoryModel`] holds.
pub(crate) struct MemoryParts {
    pub(crate) config: Config,
    pub(crate) tensors: Tensors,
    pub(crate) tokenizer: QueryTokenizer,
    pub(crate) digest: String,
    pub(crate) trained: bool,
}

impl MemoryModel {
    pub(crate) fn open(&self, device: &Device) -> Result<MemoryParts> {
        let origin = Path::new(self.name);
        let config = Config::from_json(self.config, self.name)?;
        let header: serde_json::Value = serde_json::from_str(self.config).map_err(|e| Error::file(origin, e))?;
        let digest = header["digest"].as_str().ok_or_else(|| Error::file(origin, "holds no digest"))?.to_owned();
        let mut stored: Tensors = candle_core::safetensors::load_buffer(self.weights, device)?.into_iter().collect();
        blocks::checkpoint::rows::unpack_all(&mut stored)?;
        let wide = |(name, tensor): (String, candle_core::Tensor)| Ok((name, tensor.to_dtype(DType::F32)?));
        let tensors = stored.into_iter().map(wide).collect::<Result<Tensors>>()?;
        let tokenizer =
            QueryTokenizer::from_json(self.tokenizer, config.max_query_len, config.bert.vocab_size, origin)?;
        let trained = header["trained"].as_bool().unwrap_or(true);
        Ok(MemoryParts { config, tensors, tokenizer, digest, trained })
    }
}
