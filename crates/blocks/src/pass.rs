//! What accompanies one forward pass: randomness in training, and a tap on intermediate tensors.
#![expect(clippy::missing_errors_doc, reason = "all fail alike: tensors that are missing or do not fit, or the device")]

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Result, Tensor};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::canvas::Grid;

/// One forward pass. Evaluation is the default; training adds dropout and stochastic depth from a seeded generator;
/// a tap records intermediate tensors by the names of the golden fixtures.
#[derive(Default)]
pub struct Pass {
    rng: Option<ChaCha8Rng>,
    taps: Option<BTreeMap<String, Tensor>>,
    /// The only names recorded; none for all.
    wanted: Option<Arc<[String]>>,
}

impl Pass {
    /// Deterministic, nothing recorded.
    pub fn eval() -> Self {
        Self::default()
    }

    /// Dropout and stochastic depth active, drawn from `rng`.
    pub fn train(rng: ChaCha8Rng) -> Self {
        Self { rng: Some(rng), ..Self::default() }
    }

    /// Records intermediate tensors.
    #[must_use]
    pub fn with_taps(mut self) -> Self {
        self.taps = Some(BTreeMap::new());
        self
    }

    /// Records the named tensors alone, with their gradients: what training-only losses read.
    #[must_use]
    pub fn with_taps_of(mut self, names: Arc<[String]>) -> Self {
        self.taps = Some(BTreeMap::new());
        self.wanted = Some(names);
        self
    }

    /// The recorded tensors, by name.
    pub fn into_taps(self) -> BTreeMap<String, Tensor> {
        self.taps.unwrap_or_default()
    }

    /// Whether somebody listens for `name`.
    pub fn listens(&self, name: &str) -> bool {
        self.taps.is_some() && self.wanted.as_ref().is_none_or(|wanted| wanted.iter().any(|wanted| wanted == name))
    }

    fn record(&mut self, name: String, tensor: impl FnOnce() -> Result<Tensor>) -> Result<()> {
        if self.listens(&name) {
            let tensor = tensor()?;
            self.taps.get_or_insert_default().insert(name, tensor);
        }
        Ok(())
    }

    /// Whether somebody listens to everything: fused operations then compute what they would skip.
    pub fn is_tapped(&self) -> bool {
        self.taps.is_some() && self.wanted.is_none()
    }

    /// Whether [`Pass::dropout`] and [`Pass::drop_path`] change anything at this rate.
    pub fn drops(&self, rate: f64) -> bool {
        self.rng.is_some() && rate > 0.0
    }

    /// Records `tensor` under `name()` if somebody listens.
    pub fn tap(&mut self, name: impl FnOnce() -> String, tensor: &Tensor) {
        if self.taps.is_some() {
            let name = name();
            if self.listens(&name) {
                self.taps.get_or_insert_default().insert(name, tensor.clone());
            }
        }
    }

    /// Records a token map `[B, H*W, C]` as `[B, C, H, W]`.
    pub fn tap_map(&mut self, name: impl FnOnce() -> String, tokens: &Tensor, grid: Grid) -> Result<()> {
        if self.taps.is_none() {
            return Ok(());
        }
        self.record(name(), || {
            let (batch, _, channels) = tokens.dims3()?;
            tokens.reshape((batch, grid.h, grid.w, channels))?.permute((0, 3, 1, 2))
        })
    }

    /// Records a batch-first sequence `[B, S, C]` as `[S, B, C]`, the reference's order.
    pub fn tap_sequence(&mut self, name: impl FnOnce() -> String, tokens: &Tensor) -> Result<()> {
        if self.taps.is_none() {
            return Ok(());
        }
        self.record(name(), || tokens.transpose(0, 1))
    }

    /// Zeroes elements with probability `rate` and scales the others by `1 / (1 - rate)`; the identity in evaluation.
    pub fn dropout(&mut self, x: &Tensor, rate: f64) -> Result<Tensor> {
        self.mask(x, rate, x.dims().to_vec())
    }

    /// Stochastic depth: zeroes whole samples (first axis) of a residual branch.
    pub fn drop_path(&mut self, x: &Tensor, rate: f64) -> Result<Tensor> {
        let mut shape = vec![1; x.rank()];
        shape[0] = x.dim(0)?;
        self.mask(x, rate, shape)
    }

    fn mask(&mut self, x: &Tensor, rate: f64, shape: Vec<usize>) -> Result<Tensor> {
        let Some(rng) = self.rng.as_mut().filter(|_| rate > 0.0) else {
            return Ok(x.clone());
        };
        let kept = 1.0 / (1.0 - rate);
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| if rng.random::<f64>() < rate { 0.0 } else { kept as f32 }).collect();
        let mask = Tensor::from_vec(values, shape, x.device())?.to_dtype(x.dtype())?;
        x.broadcast_mul(&mask)
    }
}
