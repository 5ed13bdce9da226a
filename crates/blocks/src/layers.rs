//! Layers with weights: thin pairs of tensors over [`crate::ops`], read from a `VarBuilder` by the reference's names.
#![expect(clippy::missing_errors_doc, reason = "all fail alike: tensors that are missing or do not fit, or the device")]

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::ops::{self, Activation, NormPlace};

/// `x W^T + b`.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Reads `weight [O, I]` and `bias [O]`.
    pub fn new(vb: &VarBuilder, input: usize, output: usize) -> Result<Self> {
        Ok(Self { weight: vb.get((output, input), "weight")?, bias: Some(vb.get(output, "bias")?) })
    }

    /// Reads `weight [O, I]` alone.
    pub fn without_bias(vb: &VarBuilder, input: usize, output: usize) -> Result<Self> {
        Ok(Self { weight: vb.get((output, input), "weight")?, bias: None })
    }

    /// A 1x1 convolution, which is a Linear over the channels of every token.
    pub fn from_conv1x1(vb: &VarBuilder, input: usize, output: usize) -> Result<Self> {
        let weight = vb.get((output, input, 1, 1), "weight")?.reshape((output, input))?;
        Ok(Self { weight, bias: Some(vb.get(output, "bias")?) })
    }

    /// Of `weight [O, I]` and `bias [O]`.
    pub fn from_tensors(weight: Tensor, bias: Tensor) -> Self {
        Self { weight, bias: Some(bias) }
    }

    /// Rows `start..start + count` of the output: one of q, k, v of a joint projection.
    pub fn rows(&self, start: usize, count: usize) -> Result<Self> {
        let bias = self.bias.as_ref().map(|bias| bias.narrow(0, start, count)).transpose()?;
        Ok(Self { weight: self.weight.narrow(0, start, count)?, bias })
    }

    /// `x [.., I]` → `[.., O]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, &self.weight, self.bias.as_ref())
    }

    /// Adds a map of half the size, upsampled; the larger map is `columns` wide.
    pub fn forward_onto_upsampled(&self, x: &Tensor, coarse: &Tensor, columns: usize) -> Result<Tensor> {
        let (weight, bias) = self.with_bias()?;
        ops::linear_onto_upsampled(x, weight, bias, coarse, columns)
    }

    fn with_bias(&self) -> Result<(&Tensor, &Tensor)> {
        match &self.bias {
            Some(bias) => Ok((&self.weight, bias)),
            None => candle_core::bail!("a Linear without a bias"),
        }
    }

    /// `x W^T`, for a part of the input whose bias is counted elsewhere.
    pub fn forward_without_bias(&self, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, &self.weight, None)
    }
}

/// Layer norm over the last axis.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// Reads `weight [C]` and `bias [C]`.
    pub fn new(vb: &VarBuilder, width: usize, eps: f64) -> Result<Self> {
        Ok(Self { weight: vb.get(width, "weight")?, bias: vb.get(width, "bias")?, eps })
    }

    /// `x [.., C]` → `[.., C]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}

/// A block's second half: two Linears with an activation between, a residual around them, and a norm.
pub struct Mlp<'a> {
    /// The norm.
    pub norm: &'a LayerNorm,
    /// The Linear that widens.
    pub first: &'a Linear,
    /// The Linear that narrows.
    pub second: &'a Linear,
    /// Whether the norm stands before or behind both.
    pub place: NormPlace,
    /// What stands between them.
    pub activation: Activation,
}

impl Mlp<'_> {
    /// Without dropout, which callers compose themselves.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mlp = ops::Mlp {
            norm: (&self.norm.weight, &self.norm.bias),
            eps: self.norm.eps,
            first: self.first.with_bias()?,
            second: self.second.with_bias()?,
            place: self.place,
            activation: self.activation,
        };
        ops::mlp(x, &mlp)
    }
}
