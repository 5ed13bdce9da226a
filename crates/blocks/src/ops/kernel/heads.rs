//! Multi-head attention over whole sequences with a key mask: no score tensor, no permuted copies.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::dispatch_rows;
use super::fused::{Fused, apply};
use super::lanes::Lanes;
use super::matmul::{Strides, pack, padded, product_in};
use super::norm::{softmax_gradient_row, softmax_row};

/// `parts` hold q, k and v side by side on their last axes, however many tensors that is; q may be of fewer tokens than k
/// and v if it has a tensor of its own.
///
/// # Shapes
/// `parts [B, S, ..]` of `3d` channels in all, `mask [B, 1, 1, S]` → `[B, T, d]`, `T` the tokens of q.
pub fn attention(parts: &[&Tensor], mask: Option<&Tensor>, heads: usize) -> Result<Tensor> {
    let mut columns = Vec::new();
    for (input, part) in parts.iter().enumerate() {
        let (_, _, width) = part.dims3()?;
        columns.extend((0..width).map(|offset| Column { input, offset, stride: width }));
    }
    let channels = columns.len() / 3;
    let [Some(&q), Some(&k), Some(&v)] = [0, 1, 2].map(|i| columns.get(i * channels)) else {
        candle_core::bail!("attention: no channels");
    };
    let (batch, queries, _) = parts[q.input].dims3()?;
    let (_, keys, _) = parts[k.input].dims3()?;
    let lengths = [(q, queries), (k, keys), (v, keys)];
    for (i, (column, length)) in lengths.into_iter().enumerate() {
        // All channels of q, of k, of v lie in one tensor each.
        let last = columns[(i + 1) * channels - 1];
        let part = parts[column.input];
        if last.input != column.input || part.dim(1)? != length || part.dim(0)? != batch {
            candle_core::bail!("attention: {:?} does not fit the other parts", part.shape());
        }
    }
    if columns.len() % 3 != 0 || channels % heads != 0 || mask.is_some_and(|m| m.elem_count() != batch * keys) {
        candle_core::bail!("attention: {} channels, {heads} heads, mask {mask:?}", columns.len());
    }
    let operation = Attention { batch, queries, keys, heads, depth: channels / heads, q, k, v };
    let mut inputs = parts.to_vec();
    inputs.extend(mask);
    apply(operation, &inputs, (batch, queries, channels))
}

/// Where q, k or v begins: which input, the first channel, and that input's channels.
#[derive(Clone, Copy)]
struct Column {
    input: usize,
    offset: usize,
    stride: usize,
}

#[derive(Clone, Copy)]
struct Attention {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    /// Channels per head.
    depth: usize,
    q: Column,
    k: Column,
    v: Column,
}

/// One head of one picture: where its rows begin, and how far apart they are.
#[derive(Clone, Copy)]
struct Head<'a> {
    q: (&'a [f32], usize),
    k: (&'a [f32], usize),
    v: (&'a [f32], usize),
    mask: &'a [f32],
    queries: usize,
    keys: usize,
    depth: usize,
}

impl Head<'_> {
    fn scale(&self) -> f32 {
        1.0 / (self.depth as f32).sqrt()
    }
}

fn by_row(stride: usize) -> Strides {
    Strides { row: stride, column: 1 }
}

fn by_column(stride: usize) -> Strides {
    Strides { row: 1, column: stride }
}

/// Packed operands and scores of one head.
struct Scratch {
    by_token: Vec<f32>,
    by_channel: Vec<f32>,
    scores: Vec<f32>,
    gradients: Vec<f32>,
}

impl Scratch {
    fn new(a: &Attention) -> Self {
        let longest = a.keys.max(a.queries);
        Self {
            by_token: vec![0.0; longest * padded(a.depth)],
            by_channel: vec![0.0; a.depth * padded(a.keys)],
            scores: vec![0.0; a.queries * padded(a.keys)],
            gradients: vec![0.0; a.queries * padded(a.keys)],
        }
    }
}

#[inline(always)]
fn weights<L: Lanes, const FUSED: bool, const ROWS: usize>(h: Head, scratch: &mut Scratch) {
    let wide = padded(h.keys);
    pack(h.k.0, by_column(h.k.1), (h.depth, h.keys), h.scale(), &mut scratch.by_channel);
    product_in::<L, ROWS>(h.q.0, by_row(h.q.1), (h.queries, h.depth), &scratch.by_channel, wide, &mut scratch.scores);
    for row in scratch.scores.chunks_exact_mut(wide) {
        let row = &mut row[..h.keys];
        row.iter_mut().zip(h.mask).for_each(|(score, mask)| *score += mask);
        softmax_row::<FUSED>(row);
    }
}

/// Into `out`, rows of `padded(depth)`.
#[inline(always)]
fn forward_body<L: Lanes, const FUSED: bool, const ROWS: usize>(h: Head, scratch: &mut Scratch, out: &mut [f32]) {
    weights::<L, FUSED, ROWS>(h, scratch);
    pack(h.v.0, by_row(h.v.1), (h.keys, h.depth), 1.0, &mut scratch.by_token);
    let scores = by_row(padded(h.keys));
    product_in::<L, ROWS>(&scratch.scores, scores, (h.queries, h.keys), &scratch.by_token, padded(h.depth), out);
}

/// Gradients of q, k and v in rows of `padded(depth)`.
#[inline(always)]
fn backward_body<L: Lanes, const FUSED: bool, const ROWS: usize>(
    h: Head,
    gradient: (&[f32], usize),
    scratch: &mut Scratch,
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
) {
    let (wide, wide_depth) = (padded(h.keys), padded(h.depth));
    let (scores, transposed) = (by_row(wide), by_column(wide));
    let (queries, keys) = ((h.queries, h.depth), (h.keys, h.depth));
    weights::<L, FUSED, ROWS>(h, scratch);
    // dV = P^T dO
    pack(gradient.0, by_row(gradient.1), queries, 1.0, &mut scratch.by_token);
    product_in::<L, ROWS>(&scratch.scores, transposed, (h.keys, h.queries), &scratch.by_token, wide_depth, dv);
    // dP = dO V^T, then through the softmax.
    pack(h.v.0, by_column(h.v.1), (h.depth, h.keys), 1.0, &mut scratch.by_channel);
    product_in::<L, ROWS>(gradient.0, by_row(gradient.1), queries, &scratch.by_channel, wide, &mut scratch.gradients);
    for (p, g) in scratch.scores.chunks_exact(wide).zip(scratch.gradients.chunks_exact_mut(wide)) {
        softmax_gradient_row::<FUSED>(&p[..h.keys], &mut g[..h.keys]);
    }
    // dQ = dS K, dK = dS^T Q, both scaled.
    pack(h.k.0, by_row(h.k.1), keys, h.scale(), &mut scratch.by_token);
    product_in::<L, ROWS>(&scratch.gradients, scores, (h.queries, h.keys), &scratch.by_token, wide_depth, dq);
    pack(h.q.0, by_row(h.q.1), queries, h.scale(), &mut scratch.by_token);
    product_in::<L, ROWS>(&scratch.gradients, transposed, (h.keys, h.queries), &scratch.by_token, wide_depth, dk);
}

dispatch_rows!(fn forward_head(h: Head<'_>, scratch: &mut Scratch, out: &mut [f32]) = forward_body);
dispatch_rows!(
    fn backward_head(
        h: Head<'_>, gradient: (&[f32], usize), scratch: &mut Scratch, dq: &mut [f32], dk: &mut [f32], dv: &mut [f32],
    ) = backward_body
);

impl Attention {
    fn head<'a>(&self, inputs: &[&'a [f32]], picture: usize, head: usize) -> Head<'a> {
        let part = |c: Column, length: usize| {
            (&inputs[c.input][picture * length * c.stride + c.offset + head * self.depth..], c.stride)
        };
        let parts = self.q.input.max(self.k.input).max(self.v.input) + 1;
        let mask = inputs.get(parts).map_or(&[][..], |mask| &mask[picture * self.keys..][..self.keys]);
        Head {
            q: part(self.q, self.queries),
            k: part(self.k, self.keys),
            v: part(self.v, self.keys),
            mask,
            queries: self.queries,
            keys: self.keys,
            depth: self.depth,
        }
    }
}

impl Fused for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn forward(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let &Self { queries, heads, depth, .. } = self;
        let wide = padded(depth);
        let mut by_head = vec![0.0; self.batch * heads * queries * wide];
        by_head.par_chunks_mut(queries * wide).enumerate().for_each_init(
            || Scratch::new(self),
            |scratch, (task, out)| forward_head(self.head(inputs, task / heads, task % heads), scratch, out),
        );
        let channels = heads * depth;
        let mut y = vec![0.0; self.batch * queries * channels];
        y.par_chunks_mut(queries * channels).zip(by_head.par_chunks(heads * queries * wide)).for_each(
            |(y, by_head)| {
                for (head, rows) in by_head.chunks_exact(queries * wide).enumerate() {
                    for (row, y) in rows.chunks_exact(wide).zip(y.chunks_exact_mut(channels)) {
                        y[head * depth..][..depth].copy_from_slice(&row[..depth]);
                    }
                }
            },
        );
        y
    }

    fn backward(&self, inputs: &[&[f32]], gradient: &[f32], _: &[bool]) -> Vec<Vec<f32>> {
        let &Self { queries, keys, heads, depth, .. } = self;
        let (wide, channels) = (padded(depth), heads * depth);
        let size = (queries + 2 * keys) * wide;
        let mut by_head = vec![0.0; self.batch * heads * size];
        by_head.par_chunks_mut(size).enumerate().for_each_init(
            || Scratch::new(self),
            |scratch, (task, all)| {
                let (picture, head) = (task / heads, task % heads);
                let (dq, rest) = all.split_at_mut(queries * wide);
                let (dk, dv) = rest.split_at_mut(keys * wide);
                let gradient = &gradient[picture * queries * channels + head * depth..];
                backward_head(self.head(inputs, picture, head), (gradient, channels), scratch, dq, dk, dv);
            },
        );
        let mut gradients: Vec<Vec<f32>> = inputs.iter().map(|input| vec![0.0; input.len()]).collect();
        // Where the gradients of q, k and v lie among one head's.
        let places = [(self.q, queries, 0), (self.k, keys, queries * wide), (self.v, keys, (queries + keys) * wide)];
        for (input, gradient) in gradients.iter_mut().enumerate() {
            for (column, length, first) in places.into_iter().filter(|(column, ..)| column.input == input) {
                let pictures = gradient.par_chunks_mut(length * column.stride).zip(by_head.par_chunks(heads * size));
                pictures.for_each(|(gradient, all)| {
                    for (head, all) in all.chunks_exact(size).enumerate() {
                        let rows = all[first..][..length * wide].chunks_exact(wide);
                        for (row, target) in rows.zip(gradient.chunks_exact_mut(column.stride)) {
                            target[column.offset + head * depth..][..depth].copy_from_slice(&row[..depth]);
                        }
                    }
                });
            }
        }
        gradients
    }
}
