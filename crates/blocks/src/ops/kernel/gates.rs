//! QD-ATT's gates: pooling, the channel gate's generated MLP, both gates, and the mean over 2x2 tokens that follows in
//! the neck, in two passes over the tokens.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::elementwise::exp;
use super::fused::{Fused, apply};
use super::linear::total;
use super::norm::fold;
use super::{dispatch, half_row, madd, rows_per_task};

const LANES: usize = 16;

/// # Shapes
/// `x [B, N, C]`, `fc1 [Q, C + 1, R]`, `fc2 [Q, R + 1, C]`, `spatial [Q, C + 1, 1]`, `Q` = `B` or 1 → `[B, N, C]`.
pub fn gates(x: &Tensor, [fc1, fc2, spatial]: [&Tensor; 3]) -> Result<Tensor> {
    let gates = Gates::new(x, fc1, fc2, spatial, None)?;
    apply(gates, &[x, fc1, fc2, spatial], x.shape())
}

/// `onto` plus the mean over 2x2 of the gated tokens, whose map is `columns` wide.
///
/// # Shapes
/// As [`gates`], `onto [B, N / 4, C]` → `[B, N / 4, C]`.
pub fn gates_halved(x: &Tensor, [fc1, fc2, spatial]: [&Tensor; 3], onto: &Tensor, columns: usize) -> Result<Tensor> {
    let gates = Gates::new(x, fc1, fc2, spatial, Some(columns))?;
    if 4 * onto.elem_count() != x.elem_count() || gates.tokens % (2 * columns) != 0 {
        candle_core::bail!("gates: {:?} is not half of {:?}", onto.shape(), x.shape());
    }
    apply(gates, &[x, fc1, fc2, spatial, onto], onto.shape())
}

struct Gates {
    tokens: usize,
    width: usize,
    hidden: usize,
    /// One query for all pictures, or one each.
    shared: bool,
    /// Columns of the map whose tokens are averaged, if they are.
    halved: Option<usize>,
}

/// What one picture's gates are made of: `[C + 1, R]`, `[R + 1, C]` and `[C + 1]`.
#[derive(Clone, Copy)]
pub struct Matrices<'a> {
    pub fc1: &'a [f32],
    pub fc2: &'a [f32],
    pub spatial: &'a [f32],
}

/// The channel gate of one picture and what it came from.
struct Channel {
    /// Mean, then maximum, `[2, C]`.
    pooled: Vec<f32>,
    /// The token that holds each channel's maximum; the first of equal ones.
    largest: Vec<u32>,
    /// The MLP's hidden values before the `ReLU`, `[2, R]`.
    hidden: Vec<f32>,
    gate: Vec<f32>,
}

/// How tokens are gated: `x * channel * sigmoid(x * scaled + bias)`.
pub struct Spatial {
    channel: Vec<f32>,
    weight: Vec<f32>,
    /// `channel * weight`.
    scaled: Vec<f32>,
    bias: f32,
}

/// The channel gate's MLP on mean and maximum, `[2, C]`: its hidden values before the `ReLU`, `[2, R]`, and the gate.
fn channel_gate(pooled: &[f32], m: Matrices) -> (Vec<f32>, Vec<f32>) {
    let width = pooled.len() / 2;
    let hidden_width = m.fc1.len() / (width + 1);
    let mut hidden = Vec::with_capacity(2 * hidden_width);
    // One MLP for both pools: its output bias counts twice in the sum.
    let (fc2, bias2) = m.fc2.split_at(hidden_width * width);
    let mut logits: Vec<f32> = bias2.iter().map(|b| 2.0 * b).collect();
    for pooled in pooled.chunks_exact(width) {
        let (fc1, bias1) = m.fc1.split_at(width * hidden_width);
        let mut here = bias1.to_vec();
        for (p, weights) in pooled.iter().zip(fc1.chunks_exact(hidden_width)) {
            here.iter_mut().zip(weights).for_each(|(sum, w)| *sum += p * w);
        }
        for (h, weights) in here.iter().zip(fc2.chunks_exact(width)) {
            let h = h.max(0.0);
            logits.iter_mut().zip(weights).for_each(|(sum, w)| *sum += h * w);
        }
        hidden.extend(here);
    }
    let gate = logits.iter().map(|l| 1.0 / (1.0 + (-l).exp())).collect();
    (hidden, gate)
}

impl Spatial {
    fn new(channel: Vec<f32>, m: Matrices) -> Self {
        let width = channel.len();
        let weight = m.spatial[..width].to_vec();
        let scaled = channel.iter().zip(&weight).map(|(a, b)| a * b).collect();
        Self { channel, weight, scaled, bias: m.spatial[width] }
    }

    /// From mean and maximum over a picture's tokens, `[2, C]`.
    pub fn of_pools(pooled: &[f32], m: Matrices) -> Self {
        Self::new(channel_gate(pooled, m).1, m)
    }
}

impl Gates {
    fn new(x: &Tensor, fc1: &Tensor, fc2: &Tensor, spatial: &Tensor, halved: Option<usize>) -> Result<Self> {
        let (batch, tokens, width) = x.dims3()?;
        let (queries, _, hidden) = fc1.dims3()?;
        let fits = fc1.dims() == [queries, width + 1, hidden]
            && fc2.dims() == [queries, hidden + 1, width]
            && spatial.dims() == [queries, width + 1, 1];
        if !fits || (queries != 1 && queries != batch) {
            candle_core::bail!("gates: {:?}, {:?}, {:?} do not fit {:?}", fc1, fc2, spatial, x.shape());
        }
        Ok(Self { tokens, width, hidden, shared: queries == 1, halved })
    }

    fn matrices<'a>(&self, inputs: &[&'a [f32]], picture: usize) -> Matrices<'a> {
        let query = if self.shared { 0 } else { picture };
        let part = |all: &'a [f32], size: usize| &all[query * size..][..size];
        let (width, hidden) = (self.width, self.hidden);
        Matrices {
            fc1: part(inputs[1], (width + 1) * hidden),
            fc2: part(inputs[2], (hidden + 1) * width),
            spatial: part(inputs[3], width + 1),
        }
    }

    fn channel(&self, x: &[f32], m: Matrices) -> Channel {
        let mut pooled = vec![0.0; 2 * self.width];
        let mut largest = vec![0; self.width];
        pool(x, &mut pooled, &mut largest);
        let (hidden, gate) = channel_gate(&pooled, m);
        Channel { pooled, largest, hidden, gate }
    }

    /// The gradients of one picture, added to `sums` for the matrices.
    fn backward_picture(&self, x: &[f32], m: Matrices, gradient: &[f32], dx: &mut [f32], sums: &mut [f32]) {
        let (width, hidden_width) = (self.width, self.hidden);
        let channel = self.channel(x, m);
        let spatial = Spatial::new(channel.gate.clone(), m);
        // Sums over tokens: of the logit's gradient times x, of the outer gradient times x, of the logit's gradient.
        let mut along = vec![0.0; 2 * width + 1];
        gradient_rows(x, gradient, &spatial, self.halved.unwrap_or(0), dx, &mut along);
        let (by_logit, rest) = along.split_at(width);
        let (by_gate, bias) = rest.split_at(width);
        let (dfc1, rest) = sums.split_at_mut((width + 1) * hidden_width);
        let (dfc2, dspatial) = rest.split_at_mut((hidden_width + 1) * width);
        for c in 0..width {
            dspatial[c] += spatial.channel[c] * by_logit[c];
        }
        dspatial[width] += bias[0];
        let logits: Vec<f32> = (0..width)
            .map(|c| {
                let gate = channel.gate[c];
                (by_gate[c] + spatial.weight[c] * by_logit[c]) * gate * (1.0 - gate)
            })
            .collect();
        let (fc2, _) = m.fc2.split_at(hidden_width * width);
        let (fc1, _) = m.fc1.split_at(width * hidden_width);
        let (dfc2, dbias2) = dfc2.split_at_mut(hidden_width * width);
        let (dfc1, dbias1) = dfc1.split_at_mut(width * hidden_width);
        let mut dpooled = vec![0.0; 2 * width];
        let pools = channel.pooled.chunks_exact(width).zip(channel.hidden.chunks_exact(hidden_width));
        for ((pooled, hidden), dpooled) in pools.zip(dpooled.chunks_exact_mut(width)) {
            let mut dhidden = vec![0.0; hidden_width];
            for (r, (&h, dh)) in hidden.iter().zip(&mut dhidden).enumerate() {
                let row = r * width..(r + 1) * width;
                // As candle's ReLU: zero passes a gradient.
                if h >= 0.0 {
                    *dh = fc2[row.clone()].iter().zip(&logits).map(|(w, l)| w * l).sum();
                }
                dfc2[row].iter_mut().zip(&logits).for_each(|(sum, l)| *sum += h.max(0.0) * l);
            }
            dbias2.iter_mut().zip(&logits).for_each(|(sum, l)| *sum += l);
            dbias1.iter_mut().zip(&dhidden).for_each(|(sum, dh)| *sum += dh);
            for c in 0..width {
                let row = c * hidden_width..(c + 1) * hidden_width;
                dpooled[c] = fc1[row.clone()].iter().zip(&dhidden).map(|(w, dh)| w * dh).sum();
                dfc1[row].iter_mut().zip(&dhidden).for_each(|(sum, dh)| *sum += pooled[c] * dh);
            }
        }
        let (dmean, dlargest) = dpooled.split_at_mut(width);
        for d in dmean.iter_mut() {
            *d /= self.tokens as f32;
        }
        for row in dx.chunks_exact_mut(width) {
            row.iter_mut().zip(dmean.iter()).for_each(|(dx, d)| *dx += d);
        }
        for (c, (&token, d)) in channel.largest.iter().zip(dlargest).enumerate() {
            dx[token as usize * width + c] += *d;
        }
    }
}

impl Fused for Gates {
    fn name(&self) -> &'static str {
        "gates"
    }

    fn forward(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let (x, width) = (inputs[0], self.width);
        let size = self.tokens * width;
        let mut y = self.halved.map_or_else(|| vec![0.0; x.len()], |_| inputs[4].to_vec());
        let (rows, rows_out) = self.halved.map_or_else(
            || {
                let rows = rows_per_task(width);
                (rows, rows)
            },
            |columns| (2 * columns, columns / 2),
        );
        let out = y.len() / (x.len() / size).max(1);
        y.par_chunks_mut(out).zip(x.par_chunks(size)).enumerate().for_each(|(picture, (y, x))| {
            let m = self.matrices(inputs, picture);
            let spatial = Spatial::new(self.channel(x, m).gate, m);
            y.par_chunks_mut(rows_out * width)
                .zip(x.par_chunks(rows * width))
                .for_each(|(y, x)| gate_rows(x, &spatial, self.halved.unwrap_or(0), y));
        });
        y
    }

    fn backward(&self, inputs: &[&[f32]], gradient: &[f32], wanted: &[bool]) -> Vec<Vec<f32>> {
        let (x, width, hidden) = (inputs[0], self.width, self.hidden);
        let size = self.tokens * width;
        let out = if self.halved.is_some() { size / 4 } else { size };
        let sizes = [(width + 1) * hidden, (hidden + 1) * width, width + 1];
        let mut dx = vec![0.0; x.len()];
        let pictures: Vec<Vec<f32>> = dx
            .par_chunks_mut(size)
            .zip(x.par_chunks(size).zip(gradient.par_chunks(out)))
            .enumerate()
            .map(|(picture, (dx, (x, g)))| {
                let mut sums = vec![0.0; sizes.iter().sum()];
                self.backward_picture(x, self.matrices(inputs, picture), g, dx, &mut sums);
                sums
            })
            .collect();
        let queries = if self.shared { vec![total(pictures)] } else { pictures };
        let mut first = 0;
        let mut gradients = vec![dx];
        for size in sizes {
            gradients.push(queries.iter().flat_map(|sums| &sums[first..first + size]).copied().collect());
            first += size;
        }
        if self.halved.is_some() {
            gradients.push(if wanted[4] { gradient.to_vec() } else { Vec::new() });
        }
        gradients
    }
}

#[inline(always)]
fn pool_body<const FUSED: bool>(x: &[f32], pooled: &mut [f32], largest: &mut [u32]) {
    let width = largest.len();
    let (mean, maximum) = pooled.split_at_mut(width);
    maximum.fill(f32::NEG_INFINITY);
    for (token, row) in x.chunks_exact(width).enumerate() {
        for ((&value, mean), (maximum, largest)) in
            row.iter().zip(mean.iter_mut()).zip(maximum.iter_mut().zip(largest.iter_mut()))
        {
            *mean += value;
            let larger = value > *maximum;
            *maximum = if larger { value } else { *maximum };
            *largest = if larger { token as u32 } else { *largest };
        }
    }
    let count = (x.len() / width) as f32;
    for sum in mean {
        *sum /= count;
    }
}

/// Adds some tokens to their channels' sums, and raises the channels' maxima to theirs.
#[inline(always)]
fn pool_part_body<const FUSED: bool>(x: &[f32], sums: &mut [f32], maxima: &mut [f32]) {
    for row in x.chunks_exact(sums.len()) {
        for ((&value, sum), maximum) in row.iter().zip(sums.iter_mut()).zip(maxima.iter_mut()) {
            *sum += value;
            *maximum = if value > *maximum { value } else { *maximum };
        }
    }
}

#[inline(always)]
fn sigmoid<const FUSED: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FUSED>(-x))
}

/// The sum of `a * b`, and that of `a * c * d`.
#[inline(always)]
fn dots<const FUSED: bool>(a: &[f32], b: &[f32], c: &[f32], d: &[f32]) -> (f32, f32) {
    let (mut first, mut second) = ([0.0f32; LANES], [0.0f32; LANES]);
    let whole = a.len() / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        let part = start..start + LANES;
        let (a, b, c, d) = (&a[part.clone()], &b[part.clone()], &c[part.clone()], &d[part]);
        for lane in 0..LANES {
            first[lane] = madd::<FUSED>(a[lane], b[lane], first[lane]);
            second[lane] = madd::<FUSED>(a[lane] * c[lane], d[lane], second[lane]);
        }
    }
    for i in whole..a.len() {
        first[i - whole] = madd::<FUSED>(a[i], b[i], first[i - whole]);
        second[i - whole] = madd::<FUSED>(a[i] * c[i], d[i], second[i - whole]);
    }
    (fold(first, |a, b| a + b), fold(second, |a, b| a + b))
}

/// Gates some tokens of one picture. With `columns` they are whole pairs of the map's rows, and a quarter of each gated
/// token is added to its place in the map of half the size.
#[inline(always)]
fn gate_body<const FUSED: bool>(x: &[f32], gate: &Spatial, columns: usize, y: &mut [f32]) {
    let width = gate.channel.len();
    let (channel, scaled) = (&gate.channel[..width], &gate.scaled[..width]);
    for (token, x) in x.chunks_exact(width).enumerate() {
        let (logit, _) = dots::<FUSED>(x, scaled, x, scaled);
        let open = sigmoid::<FUSED>(logit + gate.bias);
        if columns == 0 {
            let y = &mut y[token * width..][..width];
            for ((y, &x), &c) in y.iter_mut().zip(x).zip(channel) {
                *y = x * c * open;
            }
        } else {
            let place = half_row(token, columns);
            let y = &mut y[place * width..][..width];
            for ((y, &x), &c) in y.iter_mut().zip(x).zip(channel) {
                *y = madd::<FUSED>(x * c, 0.25 * open, *y);
            }
        }
    }
}

#[inline(always)]
fn gradient_body<const FUSED: bool>(
    x: &[f32],
    gradient: &[f32],
    gate: &Spatial,
    columns: usize,
    dx: &mut [f32],
    along: &mut [f32],
) {
    let width = gate.channel.len();
    let (channel, scaled) = (&gate.channel[..width], &gate.scaled[..width]);
    let (by_logit, rest) = along.split_at_mut(width);
    let (by_gate, bias) = rest.split_at_mut(width);
    let share = if columns == 0 { 1.0 } else { 0.25 };
    for (token, (x, dx)) in x.chunks_exact(width).zip(dx.chunks_exact_mut(width)).enumerate() {
        let place = if columns == 0 { token } else { half_row(token, columns) };
        let g = &gradient[place * width..][..width];
        let (logit, opened) = dots::<FUSED>(x, scaled, channel, g);
        let open = sigmoid::<FUSED>(logit + gate.bias);
        let dlogit = share * opened * open * (1.0 - open);
        let open = share * open;
        bias[0] += dlogit;
        for ((((dx, &x), &g), (&c, &s)), (by_logit, by_gate)) in
            dx.iter_mut().zip(x).zip(g).zip(channel.iter().zip(scaled)).zip(by_logit.iter_mut().zip(by_gate.iter_mut()))
        {
            let through = open * g;
            *by_logit = madd::<FUSED>(dlogit, x, *by_logit);
            *by_gate = madd::<FUSED>(through, x, *by_gate);
            *dx = madd::<FUSED>(through, c, dlogit * s);
        }
    }
}

dispatch!(fn pool(x: &[f32], pooled: &mut [f32], largest: &mut [u32]) = pool_body);
dispatch!(pub fn pool_part(x: &[f32], sums: &mut [f32], maxima: &mut [f32]) = pool_part_body);
dispatch!(pub fn gate_rows(x: &[f32], gate: &Spatial, columns: usize, y: &mut [f32]) = gate_body);
dispatch!(
    fn gradient_rows(x: &[f32], gradient: &[f32], gate: &Spatial, columns: usize, dx: &mut [f32], along: &mut [f32]) = gradient_body
);
