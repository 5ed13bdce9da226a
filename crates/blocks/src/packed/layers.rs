//! Layers with packed weights, read by the reference's names.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::tasks::take;
use crate::ops::kernel::dense::{Arithmetic, Dense};
use crate::ops::kernel::int8::Quantised;
use crate::ops::kernel::product::{DEPTH, Packed, Rows, Start};
use crate::ops::kernel::{layer_norm_rows, with_elements};

/// A tensor's values, row-major.
pub fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

/// `x W^T + b`.
pub fn linear(vb: &VarBuilder, input: usize, output: usize) -> Result<Packed> {
    packed(&vb.get((output, input), "weight")?, Some(&vb.get(output, "bias")?))
}

/// `x W^T`.
pub fn linear_without_bias(vb: &VarBuilder, input: usize, output: usize) -> Result<Packed> {
    packed(&vb.get((output, input), "weight")?, None)
}

/// `weight [O, ..]`, all of whose other axes are inputs, and `bias [O]`.
pub fn packed(weight: &Tensor, bias: Option<&Tensor>) -> Result<Packed> {
    let bias = bias.map(values).transpose()?;
    let input = weight.elem_count() / weight.dim(0)?;
    with_elements(&[weight.contiguous()?], |slices| Packed::new(slices[0], bias.as_deref(), input))
}

/// `x W^T + b`, computed as `arithmetic` says.
pub fn dense(vb: &VarBuilder, input: usize, output: usize, arithmetic: Arithmetic) -> Result<Dense> {
    let (weight, bias) = (values(&vb.get((output, input), "weight")?)?, values(&vb.get(output, "bias")?)?);
    Ok(Dense::new(&weight, Some(&bias), input, arithmetic))
}

/// `x W^T`, computed as `arithmetic` says.
pub fn dense_without_bias(vb: &VarBuilder, input: usize, output: usize, arithmetic: Arithmetic) -> Result<Dense> {
    Ok(Dense::new(&values(&vb.get((output, input), "weight")?)?, None, input, arithmetic))
}

/// Layer norm over the last axis.
pub struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    eps: f32,
}

impl Norm {
    pub fn new(vb: &VarBuilder, width: usize, eps: f64) -> Result<Self> {
        let (weight, bias) = (values(&vb.get(width, "weight")?)?, values(&vb.get(width, "bias")?)?);
        Ok(Self { weight, bias, eps: eps as f32 })
    }

    /// Of every row of `x`, into the rows of `y`.
    pub fn rows(&self, x: &[f32], y: &mut [f32]) {
        layer_norm_rows(x, &self.weight, &self.bias, self.eps, y);
    }
}

/// Two Linears, whose values in between stay in the cache: some of them at a time.
pub struct FeedForward {
    pub first: Dense,
    pub second: Dense,
}

impl FeedForward {
    /// Adds `second(activation(first(x)))` to the rows of `y`.
    pub fn add(
        &self,
        x: &[f32],
        activation: impl Fn(&mut [f32]),
        y: &mut [f32],
        room: &mut Vec<f32>,
        bytes: &mut [Quantised; 2],
    ) {
        let (width, count) = (self.first.input(), x.len() / self.first.input());
        let outputs = self.second.output();
        let [bytes, hidden_bytes] = bytes;
        let x = self.first.left(Rows { values: x, stride: width, count }, width, bytes);
        let mut start = self.second.bias_onto();
        for first in (0..self.second.input()).step_by(DEPTH) {
            let columns = first..self.second.input().min(first + DEPTH);
            let depth = columns.len();
            let hidden = take(room, count * depth);
            self.first.apply_columns(x, self.first.bias(), columns, hidden, depth);
            activation(hidden);
            let hidden = self.second.left(Rows { values: hidden, stride: depth, count }, depth, hidden_bytes);
            self.second.apply_inputs(hidden, first, start, y, outputs);
            start = Start::Stored;
        }
    }
}
