//! One Swin block: windowed attention and an MLP, each behind a norm and a residual (SPEC 2.2).

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use tracing::trace_span;

use super::window::{StageWindows, relative_position_index};
use super::{EPS, SwinConfig};
use crate::layers::{LayerNorm, Linear, Mlp};
use crate::ops::{self, Activation, NormPlace, ShiftMask};
use crate::pass::Pass;

/// Windowed attention and an MLP.
pub struct Block {
    norm1: LayerNorm,
    attention: WindowAttention,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    shifted: bool,
    drop_path: f64,
}

impl Block {
    /// Reads the weights of a block of `stage`; `drop_path` is its rate of stochastic depth.
    pub fn new(config: &SwinConfig, vb: &VarBuilder, stage: usize, shifted: bool, drop_path: f64) -> Result<Self> {
        let channels = config.channels(stage);
        let hidden = config.mlp_hidden(stage);
        Ok(Self {
            norm1: LayerNorm::new(&vb.pp("norm1"), channels, EPS)?,
            attention: WindowAttention::new(config, &vb.pp("attn"), stage)?,
            norm2: LayerNorm::new(&vb.pp("norm2"), channels, EPS)?,
            fc1: Linear::new(&vb.pp("mlp.fc1"), channels, hidden)?,
            fc2: Linear::new(&vb.pp("mlp.fc2"), hidden, channels)?,
            shifted,
            drop_path,
        })
    }

    /// Expands the relative positions once, for weights that no longer change.
    pub fn freeze(&mut self) -> Result<()> {
        self.attention.bias = RelativeBias::Expanded(self.attention.expanded_bias()?);
        Ok(())
    }

    /// `x [B, H*W, C]` on the map of `windows` → the same.
    pub fn forward(&self, x: &Tensor, windows: &StageWindows, pass: &mut Pass) -> Result<Tensor> {
        // The padding comes after the norm: padded tokens are exact zeros and take part as the qkv bias (quirk Q1).
        let normed = trace_span!("norm").in_scope(|| self.norm1.forward(x))?;
        let cut = trace_span!("partition").in_scope(|| windows.partition(&normed, self.shifted))?;
        let mask = if self.shifted { Some(windows.shift_mask()?) } else { None };
        let attended = self.attention.forward(&cut, mask)?;
        let x = trace_span!("merge").in_scope(|| {
            let attended = windows.merge(&attended, self.shifted)?;
            x + pass.drop_path(&attended, self.drop_path)?
        })?;
        let _span = trace_span!("mlp").entered();
        if !pass.drops(self.drop_path) {
            let (norm, first, second) = (&self.norm2, &self.fc1, &self.fc2);
            return Mlp { norm, first, second, place: NormPlace::Before, activation: Activation::Gelu }.forward(&x);
        }
        let hidden = ops::gelu(&self.fc1.forward(&self.norm2.forward(&x)?)?)?;
        let output = self.fc2.forward(&hidden)?;
        &x + pass.drop_path(&output, self.drop_path)?
    }
}

/// The bias that relative positions add to attention scores.
enum RelativeBias {
    /// `[(2w-1)^2, heads]` and the row for every pair of tokens: training.
    Table { table: Tensor, index: Tensor },
    /// `[heads, area, area]`: fixed weights.
    Expanded(Tensor),
}

struct WindowAttention {
    qkv: Linear,
    proj: Linear,
    bias: RelativeBias,
    heads: usize,
}

impl WindowAttention {
    fn new(config: &SwinConfig, vb: &VarBuilder, stage: usize) -> Result<Self> {
        let (channels, heads, side) = (config.channels(stage), config.num_heads[stage], config.window_size);
        let table = vb.get(((2 * side - 1).pow(2), heads), "relative_position_bias_table")?;
        let index = Tensor::new(relative_position_index(side), vb.device())?;
        Ok(Self {
            qkv: Linear::new(&vb.pp("qkv"), channels, 3 * channels)?,
            proj: Linear::new(&vb.pp("proj"), channels, channels)?,
            bias: RelativeBias::Table { table, index },
            heads,
        })
    }

    fn expanded_bias(&self) -> Result<Tensor> {
        match &self.bias {
            RelativeBias::Expanded(bias) => Ok(bias.clone()),
            RelativeBias::Table { table, index } => {
                let pairs = index.elem_count();
                let area = pairs.isqrt();
                table.index_select(index, 0)?.t()?.contiguous()?.reshape((self.heads, area, area))
            }
        }
    }

    /// `x [W, area, C]`, `mask [windows of one map, area, area]` → `[W, area, C]`.
    fn forward(&self, x: &Tensor, mask: Option<&ShiftMask>) -> Result<Tensor> {
        let qkv = trace_span!("qkv").in_scope(|| self.qkv.forward(x))?;
        let attended =
            trace_span!("attention").in_scope(|| ops::window_attention(&qkv, &self.expanded_bias()?, mask))?;
        trace_span!("projection").in_scope(|| self.proj.forward(&attended))
    }
}
