//! Blocks of a Swin Transformer, detection flavour (SPEC section 2; Liu et al. 2021). Maps are token sequences `[B, H*W, C]`,
//! row-major.
#![expect(clippy::missing_errors_doc, reason = "all fail alike: tensors that are missing or do not fit, or the device")]

mod block;
mod window;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use crate::canvas::Grid;
use crate::layers::{LayerNorm, Linear};
use crate::ops::kernel::{self, gather_rows};
pub use block::Block;
pub use window::{StageWindows, Windows, relative_position_index};

/// Epsilon of every layer norm in the backbone.
pub const EPS: f64 = 1e-5;

/// Sizes of a backbone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SwinConfig {
    /// Channels after the patch embedding; doubles at every stage.
    pub embed_dim: usize,
    /// Blocks per stage.
    pub depths: Vec<usize>,
    /// Attention heads per stage.
    pub num_heads: Vec<usize>,
    /// Side of an attention window, in tokens.
    pub window_size: usize,
    /// Hidden width of a block's MLP over its channels.
    #[serde(default = "four")]
    pub mlp_ratio: f64,
    /// Pixels per token side at stage 0.
    #[serde(default = "patch")]
    pub patch_size: usize,
    /// Stochastic depth of the last block; earlier blocks rise linearly to it. Training only.
    #[serde(default = "drop_path")]
    pub drop_path_rate: f64,
}

impl SwinConfig {
    /// Channels of the map of `stage`.
    pub fn channels(&self, stage: usize) -> usize {
        self.embed_dim << stage
    }

    /// Hidden width of the MLP in a block of `stage`.
    pub fn mlp_hidden(&self, stage: usize) -> usize {
        (self.channels(stage) as f64 * self.mlp_ratio) as usize
    }
}

fn four() -> f64 {
    4.0
}
fn patch() -> usize {
    4
}
fn drop_path() -> f64 {
    0.2
}

/// Pixels to normalised tokens: a convolution whose kernel and stride are equal, so a Linear over patches.
pub struct PatchEmbed {
    linear: Linear,
    norm: LayerNorm,
    side: usize,
}

impl PatchEmbed {
    /// Reads `weight [C, 3, side, side]` and `bias` of the convolution at `projection`, and the norm's at `norm`.
    pub fn new(projection: &VarBuilder, norm: &VarBuilder, channels: usize, side: usize) -> Result<Self> {
        let kernel = projection.get((channels, 3, side, side), "weight")?.reshape((channels, 3 * side * side))?;
        let linear = Linear::from_tensors(kernel, projection.get(channels, "bias")?);
        Ok(Self { linear, norm: LayerNorm::new(norm, channels, EPS)?, side })
    }

    /// `image [B, 3, H, W]` → `[B, N, C]`. Patches beyond the right and the bottom edge end in zeros.
    pub fn forward(&self, image: &Tensor) -> Result<Tensor> {
        let (batch, colours, height, width) = image.dims4()?;
        let side = self.side;
        let (h, w) = (height.div_ceil(side), width.div_ceil(side));
        let whole = image.pad_with_zeros(2, 0, h * side - height)?.pad_with_zeros(3, 0, w * side - width)?;
        let patches = whole
            .reshape(vec![batch, colours, h, side, w, side])?
            .permute(vec![0, 2, 4, 1, 3, 5])?
            .reshape((batch, h * w, colours * side * side))?;
        self.norm.forward(&self.linear.forward(&patches)?)
    }
}

/// Halves the map: 2x2 tokens become one of twice the channels.
pub struct PatchMerging {
    norm: LayerNorm,
    reduction: Linear,
}

impl PatchMerging {
    /// Reads the weights of a map of `channels`.
    pub fn new(vb: &VarBuilder, channels: usize) -> Result<Self> {
        Ok(Self {
            norm: LayerNorm::new(&vb.pp("norm"), 4 * channels, EPS)?,
            reduction: Linear::without_bias(&vb.pp("reduction"), 4 * channels, 2 * channels)?,
        })
    }

    /// `x [B, H*W, C]` on the map of `windows` → `[B, H/2*W/2, 2C]`, sides of the map rounded up: odd ones end in zeros.
    pub fn forward(&self, x: &Tensor, windows: &StageWindows) -> Result<Tensor> {
        let (batch, _, channels) = x.dims3()?;
        let (full, Grid { h, w }) = (windows.grid(), windows.grid().half_up());
        if kernel::fits(&[x]) {
            let rows = gather_rows(x, windows.merging())?;
            return self.reduction.forward(&self.norm.forward(&rows.reshape((batch, h * w, 4 * channels))?)?);
        }
        // Order on channels: column parity slow, row parity fast (SPEC 2.3).
        let map = x.reshape((batch, full.h, full.w, channels))?;
        let map = map.pad_with_zeros(1, 0, 2 * h - full.h)?.pad_with_zeros(2, 0, 2 * w - full.w)?;
        let merged = map.reshape(vec![batch, h, 2, w, 2, channels])?.permute(vec![0, 1, 3, 4, 2, 5])?.reshape((
            batch,
            h * w,
            4 * channels,
        ))?;
        self.reduction.forward(&self.norm.forward(&merged)?)
    }
}

#[cfg(test)]
mod tests;
