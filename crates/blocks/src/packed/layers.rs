//! Layers with packed weights.

use candle_core::Result;

use super::tasks::take;
use super::weights::{Weights, values};
use crate::ops::kernel::dense::{Dense, Room};
use crate::ops::kernel::layer_norm_rows;
use crate::ops::kernel::product::{DEPTH, Rows, Start};

/// Layer norm over the last axis.
pub struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    eps: f32,
}

impl Norm {
    pub fn new(weights: &Weights, width: usize, eps: f64) -> Result<Self> {
        let (weight, bias) = (values(&weights.get(width, "weight")?)?, values(&weights.get(width, "bias")?)?);
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
        left: &mut [Room; 2],
    ) {
        let (width, count) = (self.first.input(), x.len() / self.first.input());
        let outputs = self.second.output();
        let [left, hidden_left] = left;
        let x = self.first.left(Rows { values: x, stride: width, count }, width, left);
        let mut start = self.second.bias_onto();
        for first in (0..self.second.input()).step_by(DEPTH) {
            let columns = first..self.second.input().min(first + DEPTH);
            let depth = columns.len();
            let hidden = take(room, count * depth);
            self.first.apply_columns(x, self.first.bias(), columns, hidden, depth);
            activation(hidden);
            let hidden = self.second.left(Rows { values: hidden, stride: depth, count }, depth, hidden_left);
            self.second.apply_inputs(hidden, first, start, y, outputs);
            start = Start::Stored;
        }
    }
}
