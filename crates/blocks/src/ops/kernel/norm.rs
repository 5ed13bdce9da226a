//! Layer norm and softmax over the last axis.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::elementwise::exp;
use super::{dispatch, elements, madd, rows_per_task};

/// Lanes of partial sums: fixed, so that a row's sum does not depend on the vector unit's width.
const LANES: usize = 16;

/// Lanes into one, halving: one after the other, each would wait for the one before.
#[inline(always)]
pub(super) fn fold(mut lanes: [f32; LANES], both: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = both(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// The larger one; unlike `f32::max` a single instruction, which it is for not caring about numbers that are none.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn sum<const FUSED: bool>(values: &[f32], map: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += map(chunk[lane]);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane += map(value);
    }
    fold(lanes, |a, b| a + b)
}

#[inline(always)]
fn dot3<const FUSED: bool>(a: &[f32], b: &[f32], scale: &[f32]) -> (f32, f32) {
    let (mut first, mut second) = ([0.0f32; LANES], [0.0f32; LANES]);
    let whole = a.len() / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        let (a, b, s) = (&a[start..start + LANES], &b[start..start + LANES], &scale[start..start + LANES]);
        for lane in 0..LANES {
            let scaled = a[lane] * s[lane];
            first[lane] += scaled;
            second[lane] = madd::<FUSED>(scaled, b[lane], second[lane]);
        }
    }
    for i in whole..a.len() {
        let scaled = a[i] * scale[i];
        first[i - whole] += scaled;
        second[i - whole] = madd::<FUSED>(scaled, b[i], second[i - whole]);
    }
    (fold(first, |a, b| a + b), fold(second, |a, b| a + b))
}

/// Mean and reciprocal standard deviation of one row.
#[inline(always)]
fn moments<const FUSED: bool>(row: &[f32], eps: f32) -> (f32, f32) {
    let count = row.len() as f32;
    let mean = sum::<FUSED>(row, |v| v) / count;
    let variance = sum::<FUSED>(row, |v| (v - mean) * (v - mean)) / count;
    (mean, 1.0 / (variance + eps).sqrt())
}

#[inline(always)]
fn layer_norm_body<const FUSED: bool>(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
    let width = weight.len();
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        let (mean, scale) = moments::<FUSED>(x, eps);
        for (((y, &x), &w), &b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
            *y = madd::<FUSED>((x - mean) * scale, w, b);
        }
    }
}

/// Gradients of some rows: of the input into `dx`, summed over the rows of weight and bias into `dw` and `db`.
#[inline(always)]
fn layer_norm_gradient_body<const FUSED: bool>(
    x: &[f32],
    weight: &[f32],
    gradient: &[f32],
    eps: f32,
    normed: &mut [f32],
    dx: &mut [f32],
    dw: &mut [f32],
    db: &mut [f32],
) {
    let width = weight.len();
    let count = width as f32;
    for ((x, g), dx) in x.chunks_exact(width).zip(gradient.chunks_exact(width)).zip(dx.chunks_exact_mut(width)) {
        let (mean, scale) = moments::<FUSED>(x, eps);
        for ((n, &x), (&g, (dw, db))) in normed.iter_mut().zip(x).zip(g.iter().zip(dw.iter_mut().zip(db.iter_mut()))) {
            *n = (x - mean) * scale;
            *dw = madd::<FUSED>(g, *n, *dw);
            *db += g;
        }
        let (plain, along) = dot3::<FUSED>(g, normed, weight);
        let (plain, along) = (plain / count, along / count);
        for (((dx, &g), &w), &n) in dx.iter_mut().zip(g).zip(weight).zip(normed.iter()) {
            *dx = scale * (madd::<FUSED>(g, w, -plain) - n * along);
        }
    }
}

#[inline(always)]
fn softmax_body<const FUSED: bool>(x: &[f32], width: usize, y: &mut [f32]) {
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        y.copy_from_slice(x);
        softmax_row::<FUSED>(y);
    }
}

/// Softmax of one row, in place.
#[inline(always)]
pub(super) fn softmax_row<const FUSED: bool>(row: &mut [f32]) {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], chunk[lane]);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane = larger(*lane, value);
    }
    let largest = fold(lanes, larger);
    for value in row.iter_mut() {
        // Far below the largest the weight is nothing at all, as with a mask.
        let below = *value - largest;
        *value = if below < -87.0 { 0.0 } else { exp::<FUSED>(below) };
    }
    let scale = 1.0 / sum::<FUSED>(row, |v| v);
    for value in row.iter_mut() {
        *value *= scale;
    }
}

#[inline(always)]
fn softmax_in_place_body<const FUSED: bool>(rows: &mut [f32], width: usize) {
    for row in rows.chunks_exact_mut(width) {
        softmax_row::<FUSED>(row);
    }
}

/// See [`column_weights`].
#[inline(always)]
fn column_weights_body<const FUSED: bool>(
    scores: &[f32],
    columns: usize,
    shown: &[bool],
    maxima: &mut [f32],
    sums: &mut [f32],
    weights: &mut [f32],
) {
    let count = scores.len() / columns;
    maxima.fill(f32::NEG_INFINITY);
    sums.fill(0.0);
    let is_shown = |row: usize| shown.get(row).copied().unwrap_or(true);
    for (_, scores) in scores.chunks_exact(columns).enumerate().filter(|(row, _)| is_shown(*row)) {
        maxima.iter_mut().zip(scores).for_each(|(maximum, score)| *maximum = larger(*score, *maximum));
    }
    weights.fill(0.0);
    for (row, scores) in scores.chunks_exact(columns).enumerate().filter(|(row, _)| is_shown(*row)) {
        for (column, (score, (maximum, sum))) in scores.iter().zip(maxima.iter().zip(sums.iter_mut())).enumerate() {
            let weight = exp::<FUSED>(score - maximum);
            *sum += weight;
            weights[column * count + row] = weight;
        }
    }
}

#[inline(always)]
fn softmax_gradient_body<const FUSED: bool>(y: &[f32], gradient: &[f32], width: usize, dx: &mut [f32]) {
    for ((y, g), dx) in y.chunks_exact(width).zip(gradient.chunks_exact(width)).zip(dx.chunks_exact_mut(width)) {
        dx.copy_from_slice(g);
        softmax_gradient_row::<FUSED>(y, dx);
    }
}

/// Turns the gradient of one softmax row into that of its input, in place.
#[inline(always)]
pub(super) fn softmax_gradient_row<const FUSED: bool>(y: &[f32], gradient: &mut [f32]) {
    let mut lanes = [0.0f32; LANES];
    let whole = y.len() / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        let (a, b) = (&y[start..start + LANES], &gradient[start..start + LANES]);
        for lane in 0..LANES {
            lanes[lane] = madd::<FUSED>(a[lane], b[lane], lanes[lane]);
        }
    }
    for i in whole..y.len() {
        lanes[i - whole] = madd::<FUSED>(y[i], gradient[i], lanes[i - whole]);
    }
    let total = fold(lanes, |a, b| a + b);
    for (g, &y) in gradient.iter_mut().zip(y) {
        *g = y * (*g - total);
    }
}

dispatch!(
    /// Layer norm of contiguous rows.
    pub fn layer_norm_rows(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) = layer_norm_body
);
dispatch!(
    pub(super) fn layer_norm_gradient_rows(
        x: &[f32], weight: &[f32], gradient: &[f32], eps: f32, normed: &mut [f32], dx: &mut [f32], dw: &mut [f32], db: &mut [f32],
    ) = layer_norm_gradient_body
);
dispatch!(
    /// Softmax of contiguous rows.
    pub fn softmax_in_place(rows: &mut [f32], width: usize) = softmax_in_place_body
);
dispatch!(
    /// What a softmax over all rows needs of some: every column's largest score, the sum of its `exp(score - largest)`, and
    /// these, a row for every column. Rows that are not `shown` weigh nothing; an empty `shown` shows all.
    pub fn column_weights(
        scores: &[f32], columns: usize, shown: &[bool], maxima: &mut [f32], sums: &mut [f32], weights: &mut [f32],
    ) = column_weights_body
);
dispatch!(fn softmax_rows(x: &[f32], width: usize, y: &mut [f32]) = softmax_body);
dispatch!(fn softmax_gradient_rows(y: &[f32], gradient: &[f32], width: usize, dx: &mut [f32]) = softmax_gradient_body);

/// Layer norm over the last axis of f32 tensors on the CPU.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let op = LayerNorm { eps: eps as f32 };
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
}

struct LayerNorm {
    eps: f32,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight, bias) = (elements(s1, l1)?, elements(s2, l2)?, elements(s3, l3)?);
        let mut y = vec![0.0; x.len()];
        let chunk = rows_per_task(weight.len()) * weight.len();
        y.par_chunks_mut(chunk)
            .zip(x.par_chunks(chunk))
            .for_each(|(y, x)| layer_norm_rows(x, weight, bias, self.eps, y));
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let width = weight.elem_count();
        let all = x.apply_op3_no_bwd(weight, &gradient.contiguous()?, &LayerNormGradient { eps: self.eps })?;
        let count = x.elem_count();
        let part = |start, length| all.narrow(0, start, length);
        Ok((Some(part(0, count)?.reshape(x.shape())?), Some(part(count, width)?), Some(part(count + width, width)?)))
    }
}

/// `dx`, `dw` and `db`, one after the other in one tensor.
struct LayerNormGradient {
    eps: f32,
}

impl CustomOp3 for LayerNormGradient {
    fn name(&self) -> &'static str {
        "layer-norm-gradient"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight, gradient) = (elements(s1, l1)?, elements(s2, l2)?, elements(s3, l3)?);
        let (width, eps) = (weight.len(), self.eps);
        let chunk = rows_per_task(width) * width;
        let mut all = vec![0.0; x.len() + 2 * width];
        let (dx, sums) = all.split_at_mut(x.len());
        let partial: Vec<Vec<f32>> = dx
            .par_chunks_mut(chunk)
            .zip(x.par_chunks(chunk).zip(gradient.par_chunks(chunk)))
            .map(|(dx, (x, g))| {
                let mut memory = vec![0.0; 3 * width];
                let (sums, normed) = memory.split_at_mut(2 * width);
                let (dw, db) = sums.split_at_mut(width);
                layer_norm_gradient_rows(x, weight, g, eps, normed, dx, dw, db);
                memory.truncate(2 * width);
                memory
            })
            .collect();
        for part in partial {
            sums.iter_mut().zip(part).for_each(|(total, value)| *total += value);
        }
        let shape = Shape::from(all.len());
        Ok((CpuStorage::F32(all), shape))
    }
}

/// Softmax over the last axis of an f32 tensor on the CPU.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Softmax)
}

struct Softmax;

fn last_axis(layout: &Layout) -> usize {
    layout.dims().last().copied().unwrap_or(1).max(1)
}

impl CustomOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, width) = (elements(storage, layout)?, last_axis(layout));
        let mut y = vec![0.0; x.len()];
        let chunk = rows_per_task(width) * width;
        y.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(|(y, x)| softmax_rows(x, width, y));
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        y.apply_op2_no_bwd(&gradient.contiguous()?, &SoftmaxGradient).map(Some)
    }
}

struct SoftmaxGradient;

impl CustomOp2 for SoftmaxGradient {
    fn name(&self) -> &'static str {
        "softmax-gradient"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (y, gradient, width) = (elements(s1, l1)?, elements(s2, l2)?, last_axis(l1));
        let mut dx = vec![0.0; y.len()];
        let chunk = rows_per_task(width) * width;
        dx.par_chunks_mut(chunk)
            .zip(y.par_chunks(chunk).zip(gradient.par_chunks(chunk)))
            .for_each(|(dx, (y, g))| softmax_gradient_rows(y, g, width, dx));
        Ok((CpuStorage::F32(dx), l1.shape().clone()))
    }
}
