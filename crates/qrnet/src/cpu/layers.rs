//! Layers with packed weights, read by the reference's names, and what tasks share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::ops::kernel::attend::HeadRoom;
use crate::ops::kernel::layer_norm_rows;
use crate::ops::kernel::product::{DEPTH, Packed};

/// A tensor's values, row-major.
pub(super) fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

/// `x W^T + b`.
pub(super) fn linear(vb: &VarBuilder, input: usize, output: usize) -> Result<Packed> {
    packed(&vb.get((output, input), "weight")?, Some(&vb.get(output, "bias")?))
}

/// `x W^T`.
pub(super) fn linear_without_bias(vb: &VarBuilder, input: usize, output: usize) -> Result<Packed> {
    packed(&vb.get((output, input), "weight")?, None)
}

/// `weight [O, ..]`, all of whose other axes are inputs, and `bias [O]`.
pub(super) fn packed(weight: &Tensor, bias: Option<&Tensor>) -> Result<Packed> {
    let bias = bias.map(values).transpose()?;
    Ok(Packed::new(&values(weight)?, bias.as_deref(), weight.elem_count() / weight.dim(0)?))
}

/// Layer norm over the last axis.
pub(super) struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    eps: f32,
}

impl Norm {
    pub(super) fn new(vb: &VarBuilder, width: usize, eps: f64) -> Result<Self> {
        let (weight, bias) = (values(&vb.get(width, "weight")?)?, values(&vb.get(width, "bias")?)?);
        Ok(Self { weight, bias, eps: eps as f32 })
    }

    /// Of every row of `x`, into the rows of `y`.
    pub(super) fn rows(&self, x: &[f32], y: &mut [f32]) {
        layer_norm_rows(x, &self.weight, &self.bias, self.eps, y);
    }
}

/// Two Linears, whose values in between stay in the cache: some of them at a time.
pub(super) struct FeedForward {
    pub(super) first: Packed,
    pub(super) second: Packed,
}

impl FeedForward {
    /// Adds `second(activation(first(x)))` to the rows of `y`.
    pub(super) fn add(&self, x: &[f32], activation: impl Fn(&mut [f32]), y: &mut [f32], room: &mut Vec<f32>) {
        use crate::ops::kernel::product::Rows;
        let (width, count) = (self.first.input(), x.len() / self.first.input());
        let outputs = self.second.output();
        let mut start = self.second.bias_onto();
        for first in (0..self.second.input()).step_by(DEPTH) {
            let columns = first..self.second.input().min(first + DEPTH);
            let depth = columns.len();
            let hidden = take(room, count * depth);
            let rows = Rows { values: x, stride: width, count };
            self.first.apply_columns(rows, self.first.bias(), columns, hidden, depth);
            activation(hidden);
            let rows = Rows { values: hidden, stride: depth, count };
            self.second.apply_inputs(rows, first, start, y, outputs);
            start = crate::ops::kernel::product::Start::Stored;
        }
    }
}

/// The first `length` values of a buffer that grows when it must.
pub(super) fn take(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}

/// What one thread works with.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) rows: [Vec<f32>; 4],
    pub(super) head: HeadRoom,
}

/// One [`Scratch`] a thread.
#[derive(Default)]
pub(super) struct Workers(Vec<Mutex<Scratch>>);

impl Workers {
    /// Makes sure that every thread of the pool has one.
    pub(super) fn prepare(&mut self) {
        self.0.resize_with(self.0.len().max(rayon::current_num_threads()), Mutex::default);
    }

    /// This thread's. A task holds it while it works and starts no other task meanwhile, so nobody waits.
    pub(super) fn mine(&self) -> MutexGuard<'_, Scratch> {
        let index = rayon::current_thread_index().unwrap_or(0);
        self.0[index % self.0.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rows of one task, for `count` rows: so many that weights are not read too often, so few that a task's data stay in
/// the second cache. Depends on sizes alone, so that sums over tasks are the same on any number of threads.
pub(super) fn rows_per_task(count: usize) -> usize {
    const MOST: usize = 96;
    /// Where there are few rows, they are still shared out.
    const LEAST: usize = 16;
    let tasks = count.div_ceil(MOST).max((count / LEAST).min(4)).max(1);
    count.div_ceil(tasks).next_multiple_of(4)
}
