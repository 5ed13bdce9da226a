//! Attention over whole sequences, with projections of its own (`nn.MultiheadAttention`, batch first).

use blocks::layers::Linear;
use blocks::ops;
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

/// Projections and heads.
pub(crate) struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: usize,
}

impl Attention {
    pub(crate) fn new(vb: &VarBuilder, width: usize, heads: usize) -> Result<Self> {
        let linear = |name: &str| Linear::new(&vb.pp(name), width, width);
        Ok(Self {
            query: linear("query")?,
            key: linear("key")?,
            value: linear("value")?,
            output: linear("out_proj")?,
            heads,
        })
    }

    /// `queries [1, T, d]` over `keys` and `values [1, S, d]` → `[1, T, d]`.
    pub(crate) fn forward(&self, queries: &Tensor, keys: &Tensor, values: &Tensor) -> Result<Tensor> {
        let parts = [&self.query.forward(queries)?, &self.key.forward(keys)?, &self.value.forward(values)?];
        self.output.forward(&ops::attention(&parts, None, self.heads)?)
    }

    /// As [`Attention::forward`], with a `mask [1, 1, T, S]` that is added to the scores.
    pub(crate) fn forward_masked(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        mask: &Tensor,
    ) -> Result<Tensor> {
        let parts = [&self.query.forward(queries)?, &self.key.forward(keys)?, &self.value.forward(values)?];
        let (attended, _) = ops::attention_with_weights(&parts, Some(mask), self.heads, |weights| Ok(weights.clone()))?;
        self.output.forward(&attended)
    }
}
