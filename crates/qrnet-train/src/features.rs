//! What a frozen text tower makes of phrases, computed once and kept.

use std::collections::HashMap;

use blocks::pass::Pass;
use candle_core::{Device, Tensor};
use qrnet::QueryModel;

use crate::batch::Prepared;
use crate::error::Result;

/// Bytes of features that are kept; phrases beyond are computed anew each time. RefCOCO's phrases at BERT-base's width
/// would fill 7 GB, those of drawn scenes a few megabytes.
const MOST_BYTES: usize = 2 << 30;

/// Features by pieces. Every phrase goes through the tower alone: its features then do not depend on what it shared a
/// batch with, so that a run with a stop in it equals one without.
pub struct Features {
    kept: HashMap<Vec<u32>, Tensor>,
    bytes: usize,
    most: usize,
    encoded: u64,
}

impl Default for Features {
    fn default() -> Self {
        Self::with_limit(MOST_BYTES)
    }
}

impl Features {
    /// Keeps features up to `most` bytes.
    pub fn with_limit(most: usize) -> Self {
        Self { kept: HashMap::new(), bytes: 0, most, encoded: 0 }
    }

    /// Phrases that went through the tower so far.
    pub fn encoded(&self) -> u64 {
        self.encoded
    }

    /// Features of the batch's phrases, `[B, L, D]`, as [`QueryModel::features`] gives them.
    ///
    /// # Errors
    /// An id outside the vocabulary, or a device error.
    pub fn of(&mut self, model: &QueryModel, batch: &Prepared, device: &Device) -> Result<Tensor> {
        let length = (batch.ids.len() / batch.len().max(1)).max(1);
        let rows = batch.ids.chunks(length).zip(batch.text_ignore.chunks(length));
        let features = rows.map(|(ids, ignore)| self.row(model, ids, ignore, device)).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&features, 0)?)
    }

    /// Padding follows from the pieces: the tokenizer fills up with one id that no text gives.
    fn row(&mut self, model: &QueryModel, ids: &[u32], ignore: &[u8], device: &Device) -> Result<Tensor> {
        if let Some(kept) = self.kept.get(ids) {
            return Ok(kept.clone());
        }
        let shape = (1, ids.len());
        let (pieces, padding) = (Tensor::from_slice(ids, shape, device)?, Tensor::from_slice(ignore, shape, device)?);
        let features = model.features(&pieces, &padding, &mut Pass::eval())?;
        self.encoded += 1;
        let bytes = features.elem_count() * features.dtype().size_in_bytes();
        if self.bytes + bytes <= self.most {
            self.bytes += bytes;
            self.kept.insert(ids.to_vec(), features.clone());
        }
        Ok(features)
    }
}
