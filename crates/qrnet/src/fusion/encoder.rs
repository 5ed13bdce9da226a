//! One post-norm encoder layer (DETR's; SPEC section 5): positions enter queries and keys, never values.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::config::Config;
use blocks::layers::{LayerNorm, Linear, Mlp};
use blocks::ops::{self, Activation, NormPlace};
use blocks::pass::Pass;

const EPS: f64 = 1e-5;

pub(super) struct EncoderLayer {
    /// What taps call it.
    name: String,
    /// q, k, v stacked: `[3d, d]`.
    pub(super) in_projection: Linear,
    out_projection: Linear,
    linear1: Linear,
    linear2: Linear,
    norm1: LayerNorm,
    norm2: LayerNorm,
    heads: usize,
    dropout: f64,
}

impl EncoderLayer {
    pub(super) fn new(config: &Config, vb: &VarBuilder, name: String) -> Result<Self> {
        let (d, hidden) = (config.vl.hidden_dim, config.vl.dim_feedforward);
        let attention = vb.pp("self_attn");
        let in_projection =
            Linear::from_tensors(attention.get((3 * d, d), "in_proj_weight")?, attention.get(3 * d, "in_proj_bias")?);
        Ok(Self {
            name,
            in_projection,
            out_projection: Linear::new(&attention.pp("out_proj"), d, d)?,
            linear1: Linear::new(&vb.pp("linear1"), d, hidden)?,
            linear2: Linear::new(&vb.pp("linear2"), hidden, d)?,
            norm1: LayerNorm::new(&vb.pp("norm1"), d, EPS)?,
            norm2: LayerNorm::new(&vb.pp("norm2"), d, EPS)?,
            heads: config.vl.nheads,
            dropout: config.vl.dropout,
        })
    }

    /// `x [B, S, d]`, `positions [1, S, d]`, `mask [B, 1, 1, S]` → `[B, S, d]`.
    pub(super) fn forward(&self, x: &Tensor, positions: &Tensor, mask: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let d = x.dim(2)?;
        let qk = self.in_projection.rows(0, 2 * d)?.forward(&x.broadcast_add(positions)?)?;
        let v = self.in_projection.rows(2 * d, d)?.forward(x)?;
        self.attend(x, &[&qk, &v], Some(mask), pass)
    }

    /// The layer from its projections on: attention, residual and feed-forward for the tokens `x` whose queries are
    /// the first of `parts`, over all keys and values.
    ///
    /// # Shapes
    /// `x [B, T, d]`, `parts` q, k and v as [`ops::attention`] takes them, `mask [B, 1, 1, S]` → `[B, T, d]`.
    pub(super) fn attend(
        &self,
        x: &Tensor,
        parts: &[&Tensor],
        mask: Option<&Tensor>,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        let weights_name = format!("{}.weights", self.name);
        let reg_name = format!("{}.reg_weights", self.name);
        if pass.listens(&reg_name) {
            // For a loss on where REG looks: its weights alone, beside the fused attention of all tokens.
            let [q, k, _] = ops::composed::attention_parts(parts, self.heads)?;
            let weights = ops::composed::attention_weights(&q.narrow(2, 0, 1)?.contiguous()?, &k, mask)?;
            pass.tap(|| reg_name, &weights);
        }
        let attended = if pass.drops(self.dropout) || pass.listens(&weights_name) {
            let drop = |weights: &Tensor| pass.dropout(weights, self.dropout);
            let (attended, weights) = ops::attention_with_weights(parts, mask, self.heads, drop)?;
            pass.tap(|| weights_name, &weights);
            attended
        } else {
            ops::attention(parts, mask, self.heads)?
        };
        let context = self.out_projection.forward(&attended)?;
        let x = self.norm1.forward(&(x + pass.dropout(&context, self.dropout)?)?)?;
        if !pass.drops(self.dropout) {
            let (norm, first, second) = (&self.norm2, &self.linear1, &self.linear2);
            return Mlp { norm, first, second, place: NormPlace::After, activation: Activation::Relu }.forward(&x);
        }
        let hidden = pass.dropout(&self.linear1.forward(&x)?.relu()?, self.dropout)?;
        let output = pass.dropout(&self.linear2.forward(&hidden)?, self.dropout)?;
        self.norm2.forward(&(x + output)?)
    }
}
