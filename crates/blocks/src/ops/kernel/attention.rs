//! Attention inside windows, with relative position bias and the mask of shifted windows, as one operation: no score
//! tensor, no permuted copies (Liu et al. 2021; SPEC 2.2).

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::matmul::{Strides, pack, padded, product};
use super::norm::{softmax_gradient_row, softmax_row};
use super::{dispatch, elements};
use crate::ops::ShiftMask;

/// Windows per task: fixed, so that sums over tasks do not depend on the number of threads.
const WINDOWS: usize = 4;

/// # Shapes
/// `qkv [W, area, 3C]` in the order q, k, v, then heads; `bias [heads, area, area]`; `mask [windows of one map, area,
/// area]` → `[W, area, C]`.
pub fn window_attention(qkv: &Tensor, bias: &Tensor, mask: Option<&ShiftMask>) -> Result<Tensor> {
    let op = WindowAttention { mask: mask.map(ShiftMask::values).transpose()?.unwrap_or_default() };
    qkv.contiguous()?.apply_op2(&bias.contiguous()?, op)
}

/// Sizes of one window's work.
#[derive(Clone, Copy)]
struct Sizes {
    area: usize,
    heads: usize,
    /// Channels per head.
    depth: usize,
}

impl Sizes {
    fn new(qkv: &Layout, bias: &Layout) -> Result<(usize, Self)> {
        let (count, area, triple) = qkv.shape().dims3()?;
        let (heads, rows, columns) = bias.shape().dims3()?;
        if rows != area || columns != area || triple % (3 * heads) != 0 {
            candle_core::bail!("window attention: qkv {:?} does not fit bias {:?}", qkv.shape(), bias.shape());
        }
        Ok((count, Self { area, heads, depth: triple / (3 * heads) }))
    }

    fn channels(self) -> usize {
        self.heads * self.depth
    }

    /// Elements of one window's q, k and v.
    fn window(self) -> usize {
        3 * self.area * self.channels()
    }

    fn scale(self) -> f32 {
        1.0 / (self.depth as f32).sqrt()
    }

    /// How a head's q, k or v lies in a window: one row a token.
    fn tokens(self) -> Strides {
        Strides { row: 3 * self.channels(), column: 1 }
    }

    fn tokens_transposed(self) -> Strides {
        Strides { row: 1, column: 3 * self.channels() }
    }
}

/// Packed operands and scores of one head.
struct Scratch {
    by_token: Vec<f32>,
    by_channel: Vec<f32>,
    scores: Vec<f32>,
    gradients: Vec<f32>,
    result: Vec<f32>,
}

impl Scratch {
    fn new(s: Sizes) -> Self {
        let (wide_area, wide_depth) = (padded(s.area), padded(s.depth));
        Self {
            by_token: vec![0.0; s.area * wide_depth],
            by_channel: vec![0.0; s.depth * wide_area],
            scores: vec![0.0; s.area * wide_area],
            gradients: vec![0.0; s.area * wide_area],
            result: vec![0.0; s.area * wide_depth],
        }
    }
}

/// Attention weights of one head into `scratch.scores`, rows of `padded(area)`.
#[inline(always)]
fn weights<const FUSED: bool>(qkv: &[f32], head: usize, bias: &[f32], mask: &[f32], s: Sizes, scratch: &mut Scratch) {
    let (area, wide) = (s.area, padded(s.area));
    let (q, k) = (head * s.depth, s.channels() + head * s.depth);
    pack(&qkv[k..], s.tokens_transposed(), (s.depth, area), s.scale(), &mut scratch.by_channel);
    product::<FUSED>(&qkv[q..], s.tokens(), (area, s.depth), &scratch.by_channel, wide, &mut scratch.scores);
    let bias = &bias[head * area * area..][..area * area];
    for (i, (row, bias)) in scratch.scores.chunks_exact_mut(wide).zip(bias.chunks_exact(area)).enumerate() {
        let row = &mut row[..area];
        row.iter_mut().zip(bias).for_each(|(score, bias)| *score += bias);
        if !mask.is_empty() {
            row.iter_mut().zip(&mask[i * area..][..area]).for_each(|(score, mask)| *score += mask);
        }
        softmax_row::<FUSED>(row);
    }
}

#[inline(always)]
fn forward_body<const FUSED: bool>(
    qkv: &[f32],
    bias: &[f32],
    mask: &[f32],
    s: Sizes,
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    let (area, wide, wide_depth) = (s.area, padded(s.area), padded(s.depth));
    for head in 0..s.heads {
        weights::<FUSED>(qkv, head, bias, mask, s, scratch);
        let v = 2 * s.channels() + head * s.depth;
        pack(&qkv[v..], s.tokens(), (area, s.depth), 1.0, &mut scratch.by_token);
        let scores = Strides { row: wide, column: 1 };
        product::<FUSED>(&scratch.scores, scores, (area, area), &scratch.by_token, wide_depth, &mut scratch.result);
        for (row, out) in scratch.result.chunks_exact(wide_depth).zip(out.chunks_exact_mut(s.channels())) {
            out[head * s.depth..][..s.depth].copy_from_slice(&row[..s.depth]);
        }
    }
}

/// Gradients of one window: of q, k, v into `dqkv`, of the bias added to `dbias`.
#[inline(always)]
fn backward_body<const FUSED: bool>(
    qkv: &[f32],
    bias: &[f32],
    mask: &[f32],
    gradient: &[f32],
    s: Sizes,
    scratch: &mut Scratch,
    dqkv: &mut [f32],
    dbias: &mut [f32],
) {
    let (area, wide, wide_depth, channels) = (s.area, padded(s.area), padded(s.depth), s.channels());
    let (scores, scores_transposed) = (Strides { row: wide, column: 1 }, Strides { row: 1, column: wide });
    let out = Strides { row: channels, column: 1 };
    let mut store = |result: &[f32], offset: usize| {
        for (row, target) in result.chunks_exact(wide_depth).zip(dqkv.chunks_exact_mut(3 * channels)) {
            target[offset..][..s.depth].copy_from_slice(&row[..s.depth]);
        }
    };
    for head in 0..s.heads {
        let (q, k, v) = (head * s.depth, channels + head * s.depth, 2 * channels + head * s.depth);
        weights::<FUSED>(qkv, head, bias, mask, s, scratch);
        let gradient = &gradient[head * s.depth..];
        // dV = P^T dO
        pack(gradient, out, (area, s.depth), 1.0, &mut scratch.by_token);
        product::<FUSED>(
            &scratch.scores,
            scores_transposed,
            (area, area),
            &scratch.by_token,
            wide_depth,
            &mut scratch.result,
        );
        store(&scratch.result, v);
        // dP = dO V^T, then through the softmax.
        pack(&qkv[v..], s.tokens_transposed(), (s.depth, area), 1.0, &mut scratch.by_channel);
        product::<FUSED>(gradient, out, (area, s.depth), &scratch.by_channel, wide, &mut scratch.gradients);
        let rows = scratch.scores.chunks_exact(wide).zip(scratch.gradients.chunks_exact_mut(wide));
        for ((p, g), dbias) in rows.zip(dbias[head * area * area..].chunks_exact_mut(area)) {
            softmax_gradient_row::<FUSED>(&p[..area], &mut g[..area]);
            dbias.iter_mut().zip(&g[..area]).for_each(|(sum, value)| *sum += value);
        }
        // dQ = dS K, dK = dS^T Q, both scaled.
        pack(&qkv[k..], s.tokens(), (area, s.depth), s.scale(), &mut scratch.by_token);
        product::<FUSED>(&scratch.gradients, scores, (area, area), &scratch.by_token, wide_depth, &mut scratch.result);
        store(&scratch.result, q);
        pack(&qkv[q..], s.tokens(), (area, s.depth), s.scale(), &mut scratch.by_token);
        product::<FUSED>(
            &scratch.gradients,
            scores_transposed,
            (area, area),
            &scratch.by_token,
            wide_depth,
            &mut scratch.result,
        );
        store(&scratch.result, k);
    }
}

dispatch!(
    fn forward_window(qkv: &[f32], bias: &[f32], mask: &[f32], s: Sizes, scratch: &mut Scratch, out: &mut [f32]) = forward_body
);
dispatch!(
    fn backward_window(
        qkv: &[f32], bias: &[f32], mask: &[f32], gradient: &[f32], s: Sizes, scratch: &mut Scratch, dqkv: &mut [f32], dbias: &mut [f32],
    ) = backward_body
);

#[derive(Clone)]
struct WindowAttention {
    /// `[windows of one map, area, area]`, empty without a mask.
    mask: Arc<Vec<f32>>,
}

impl WindowAttention {
    /// The mask of window `index` of a batch.
    fn mask(&self, index: usize, area: usize) -> &[f32] {
        let pairs = area * area;
        let per_map = self.mask.len() / pairs;
        if per_map == 0 { &[] } else { &self.mask[index % per_map * pairs..][..pairs] }
    }
}

impl CustomOp2 for WindowAttention {
    fn name(&self) -> &'static str {
        "window-attention"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (qkv, bias) = (elements(s1, l1)?, elements(s2, l2)?);
        let (count, s) = Sizes::new(l1, l2)?;
        let size = s.area * s.channels();
        let mut out = vec![0.0; count * size];
        out.par_chunks_mut(WINDOWS * size).enumerate().for_each_init(
            || Scratch::new(s),
            |scratch, (task, out)| {
                for (i, out) in out.chunks_exact_mut(size).enumerate() {
                    let window = task * WINDOWS + i;
                    let qkv = &qkv[window * s.window()..][..s.window()];
                    forward_window(qkv, bias, self.mask(window, s.area), s, scratch, out);
                }
            },
        );
        Ok((CpuStorage::F32(out), Shape::from((count, s.area, s.channels()))))
    }

    fn bwd(
        &self,
        qkv: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let all = qkv.apply_op3_no_bwd(bias, &gradient.contiguous()?, &WindowAttentionGradient(self.clone()))?;
        let (count, biases) = (qkv.elem_count(), bias.elem_count());
        let dqkv = all.narrow(0, 0, count)?.reshape(qkv.shape())?;
        Ok((Some(dqkv), Some(all.narrow(0, count, biases)?.reshape(bias.shape())?)))
    }
}

/// The gradients of qkv and of the bias, one after the other in one tensor.
struct WindowAttentionGradient(WindowAttention);

impl CustomOp3 for WindowAttentionGradient {
    fn name(&self) -> &'static str {
        "window-attention-gradient"
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
        let (qkv, bias, gradient) = (elements(s1, l1)?, elements(s2, l2)?, elements(s3, l3)?);
        let (_, s) = Sizes::new(l1, l2)?;
        let size = s.area * s.channels();
        let mut all = vec![0.0; qkv.len() + bias.len()];
        let (dqkv, dbias) = all.split_at_mut(qkv.len());
        let partial: Vec<Vec<f32>> = dqkv
            .par_chunks_mut(WINDOWS * s.window())
            .enumerate()
            .map_init(
                || Scratch::new(s),
                |scratch, (task, dqkv)| {
                    let mut dbias = vec![0.0; bias.len()];
                    for (i, dqkv) in dqkv.chunks_exact_mut(s.window()).enumerate() {
                        let window = task * WINDOWS + i;
                        let (qkv, gradient) =
                            (&qkv[window * s.window()..][..s.window()], &gradient[window * size..][..size]);
                        backward_window(qkv, bias, self.0.mask(window, s.area), gradient, s, scratch, dqkv, &mut dbias);
                    }
                    dbias
                },
            )
            .collect();
        for part in partial {
            dbias.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        }
        let shape = Shape::from(all.len());
        Ok((CpuStorage::F32(all), shape))
    }
}
