//! Heads: what becomes of tokens and queries in the end.

use blocks::layers::Linear;
use candle_core::{Device, Result, Tensor};
use candle_nn::VarBuilder;

use crate::config::{Class, Config};

/// `(cx, cy, w, h)` in 0..1 of the picture, one for every query.
pub(crate) type Boxes = Vec<[f32; 4]>;

/// Linears with nothing below zero between them.
pub(crate) struct MlpHead(Vec<Linear>);

impl MlpHead {
    /// `widths` from the input's to the output's.
    pub(crate) fn new(vb: &VarBuilder, widths: &[usize]) -> Result<Self> {
        let linear =
            |(number, pair): (usize, &[usize])| Linear::new(&vb.pp(format!("layers.{number}")), pair[0], pair[1]);
        Ok(Self(widths.windows(2).enumerate().map(linear).collect::<Result<_>>()?))
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for (number, linear) in self.0.iter().enumerate() {
            x = linear.forward(&x)?;
            if number + 1 < self.0.len() {
                x = x.relu()?;
            }
        }
        Ok(x)
    }
}

/// Says of every query how its box is to move.
pub(crate) struct BoxHead(MlpHead);

impl BoxHead {
    pub(crate) fn new(vb: &VarBuilder, width: usize) -> Result<Self> {
        MlpHead::new(vb, &[width, width, width, 4]).map(Self)
    }

    /// `[1, Q, d]` → one row for every query.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Boxes> {
        let values: Vec<f32> = self.0.forward(x)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?;
        Ok(values.as_chunks::<4>().0.to_vec())
    }
}

/// Scores tokens or queries by every token of the text.
pub(crate) struct ScoreHead {
    /// The class that has one divides scores by the root of the width, too.
    bias: Option<Tensor>,
}

impl ScoreHead {
    pub(crate) fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        let bias = match config.class {
            Class::Idea => None,
            Class::Mm => Some(vb.get((), "bias")?),
        };
        Ok(Self { bias })
    }

    /// `x [1, N, d]`, `text [1, L, d]` → `[1, N, L]`.
    pub(crate) fn forward(&self, x: &Tensor, text: &Tensor) -> Result<Tensor> {
        let scores = x.matmul(&text.transpose(1, 2)?.contiguous()?)?;
        match &self.bias {
            None => Ok(scores),
            Some(bias) => (scores / (x.dim(2)? as f64).sqrt())?.broadcast_add(bias),
        }
    }
}
