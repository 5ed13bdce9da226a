//! Depthwise 3x3 convolutions on tokens: every channel by itself, sixteen channels at a time, their nine weights in
//! registers.
//!
//! Padding is TensorFlow's `SAME`: a stride of 2 on an even number of rows pads one row behind the last and none before
//! the first; a stride of 1 pads `dilation` rows on both sides.

use super::dispatch_rows;
use super::lanes::{Lanes, WIDTH};

/// Weights of a channel.
pub const TAPS: usize = 9;

/// How the window of a 3x3 convolution moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Tokens from one window to the next: 1 or 2.
    pub stride: usize,
    /// Tokens from one weight to the next; 1 where the stride is 2.
    pub dilation: usize,
}

impl Window {
    /// Rows of padding before the first one.
    pub fn before(self) -> usize {
        if self.stride == 2 { 0 } else { self.dilation }
    }

    /// The row that weight `tap` (0 to 2) of the window of row `output` reads, if it lies among `rows`.
    pub fn reads(self, output: usize, tap: usize, rows: usize) -> Option<usize> {
        (output * self.stride + tap * self.dilation).checked_sub(self.before()).filter(|row| *row < rows)
    }

    /// The windows of `0..count` that lie wholly within `width` columns.
    fn inner(self, count: usize, width: usize) -> std::ops::Range<usize> {
        let first = self.before().div_ceil(self.stride);
        let room = (width + self.before()).checked_sub(1 + 2 * self.dilation);
        let last = room.map_or(0, |room| room / self.stride + 1);
        first.min(count)..last.clamp(first.min(count), count)
    }
}

/// Weights `[C, 9]` as they are stored, by tap: `[9, C]`.
pub fn by_tap(weight: &[f32]) -> Vec<f32> {
    let channels = weight.len() / TAPS;
    (0..TAPS).flat_map(|tap| (0..channels).map(move |c| weight[c * TAPS + tap])).collect()
}

/// The three rows of a map that one row of windows reads; a row outside the map is `None`.
pub type Three<'a> = [Option<&'a [f32]>; 3];

dispatch_rows!(
    /// One row of windows: `rows` of `[width, C]` → `out [windows, C]`, with `weights [9, C]` and `bias [C]`; values are
    /// moved into 0..=6 where `clamped`.
    pub fn convolve(
        rows: &Three<'_>,
        window: Window,
        weights: &[f32],
        bias: &[f32],
        clamped: bool,
        out: &mut [f32],
    ) = convolve_body
);

dispatch_rows!(
    /// What one row of windows adds to the gradients of its `weights`, `[9, C]`, and of its bias, `[C]`, which lie behind
    /// each other in `sums`; `gradient [windows, C]`.
    pub fn weight_gradient(rows: &Three<'_>, window: Window, gradient: &[f32], sums: &mut [f32]) =
        weight_gradient_body
);

dispatch_rows!(
    /// What one row of windows adds to the gradient of the row that its weights `[3, C]` of one row of taps read.
    pub fn input_gradient(
        gradient: &[f32],
        window: Window,
        weights: &[f32],
        channels: usize,
        row: &mut [f32],
    ) = input_gradient_body
);

/// Sixteen numbers at `at`.
#[inline(always)]
fn sixteen(values: &[f32], at: usize) -> &[f32; WIDTH] {
    values[at..].first_chunk().expect("sixteen channels")
}

#[inline(always)]
fn sixteen_mut(values: &mut [f32], at: usize) -> &mut [f32; WIDTH] {
    values[at..].first_chunk_mut().expect("sixteen channels")
}

#[inline(always)]
fn convolve_body<L: Lanes, const FUSED: bool, const ROWS: usize>(
    rows: &Three,
    window: Window,
    weights: &[f32],
    bias: &[f32],
    clamped: bool,
    out: &mut [f32],
) {
    let channels = bias.len();
    let whole = channels / WIDTH * WIDTH;
    for first in (0..whole).step_by(WIDTH) {
        convolve_lane::<L>(rows, window, weights, bias, clamped, (first, channels), out);
    }
    if whole < channels {
        // The last channels, filled up with zeros.
        let narrow = |values: &[f32]| -> Vec<f32> {
            let mut wide = vec![0.0; values.len() / channels * WIDTH];
            for (wide, values) in wide.chunks_exact_mut(WIDTH).zip(values.chunks_exact(channels)) {
                wide[..channels - whole].copy_from_slice(&values[whole..]);
            }
            wide
        };
        let own = rows.map(|row| row.map(narrow));
        let own: Three = std::array::from_fn(|i| own[i].as_deref());
        let mut wide = vec![0.0; out.len() / channels * WIDTH];
        convolve_lane::<L>(&own, window, &narrow(weights), &narrow(bias), clamped, (0, WIDTH), &mut wide);
        for (out, wide) in out.chunks_exact_mut(channels).zip(wide.chunks_exact(WIDTH)) {
            out[whole..].copy_from_slice(&wide[..channels - whole]);
        }
    }
}

/// Not a closure: that would not be compiled for the vector unit.
#[inline(always)]
fn finish<L: Lanes>(sum: L, clamped: bool, out: &mut [f32; WIDTH]) {
    let sum = if clamped { sum.clamp6() } else { sum };
    sum.store(out);
}

/// The channels from `first` on, sixteen of `channels`.
#[inline(always)]
fn convolve_lane<L: Lanes>(
    rows: &Three,
    window: Window,
    weights: &[f32],
    bias: &[f32],
    clamped: bool,
    (first, channels): (usize, usize),
    out: &mut [f32],
) {
    let count = out.len() / channels;
    let width = rows.iter().flatten().map(|row| row.len() / channels).next().unwrap_or(0);
    let weights: [L; TAPS] = std::array::from_fn(|tap| L::load(sixteen(weights, tap * channels + first)));
    let bias = L::load(sixteen(bias, first));
    let inner = window.inner(count, width);
    for x in (0..inner.start).chain(inner.end..count) {
        let mut sum = bias;
        for (row, weights) in rows.iter().zip(weights.chunks_exact(3)) {
            let Some(row) = row else { continue };
            for (tap, weight) in weights.iter().enumerate() {
                if let Some(column) = window.reads(x, tap, width) {
                    sum = sum.add_products(L::load(sixteen(row, column * channels + first)), *weight);
                }
            }
        }
        finish(sum, clamped, sixteen_mut(out, x * channels + first));
    }
    if inner.is_empty() {
        return;
    }
    let step = window.dilation * channels;
    if let [Some(above), Some(here), Some(below)] = *rows {
        for x in inner {
            let at = (x * window.stride - window.before()) * channels + first;
            let mut sum = bias;
            for tap in 0..3 {
                let at = at + tap * step;
                sum = sum.add_products(L::load(sixteen(above, at)), weights[tap]);
                sum = sum.add_products(L::load(sixteen(here, at)), weights[3 + tap]);
                sum = sum.add_products(L::load(sixteen(below, at)), weights[6 + tap]);
            }
            finish(sum, clamped, sixteen_mut(out, x * channels + first));
        }
        return;
    }
    for x in inner {
        let at = (x * window.stride - window.before()) * channels + first;
        let mut sum = bias;
        for tap in 0..3 {
            for (row, weights) in rows.iter().zip(weights.chunks_exact(3)) {
                if let Some(row) = row {
                    sum = sum.add_products(L::load(sixteen(row, at + tap * step)), weights[tap]);
                }
            }
        }
        finish(sum, clamped, sixteen_mut(out, x * channels + first));
    }
}

#[inline(always)]
fn weight_gradient_body<L: Lanes, const FUSED: bool, const ROWS: usize>(
    rows: &Three,
    window: Window,
    gradient: &[f32],
    sums: &mut [f32],
) {
    let channels = sums.len() / (TAPS + 1);
    let whole = channels / WIDTH * WIDTH;
    let width = rows.iter().flatten().map(|row| row.len() / channels).next().unwrap_or(0);
    let count = gradient.len() / channels;
    let inner = window.inner(count, width);
    for first in (0..whole).step_by(WIDTH) {
        let mut own: [L; TAPS] = std::array::from_fn(|tap| L::load(sixteen(sums, tap * channels + first)));
        let mut bias = L::load(sixteen(sums, TAPS * channels + first));
        for x in 0..count {
            let g = L::load(sixteen(gradient, x * channels + first));
            bias = bias.add(g);
            let whole_window = inner.contains(&x);
            for (row, own) in rows.iter().zip(own.chunks_exact_mut(3)) {
                let Some(row) = row else { continue };
                if whole_window {
                    let at = (x * window.stride - window.before()) * channels + first;
                    for (tap, own) in own.iter_mut().enumerate() {
                        *own = own.add_products(L::load(sixteen(row, at + tap * window.dilation * channels)), g);
                    }
                    continue;
                }
                for (tap, own) in own.iter_mut().enumerate() {
                    if let Some(column) = window.reads(x, tap, width) {
                        *own = own.add_products(L::load(sixteen(row, column * channels + first)), g);
                    }
                }
            }
        }
        for (tap, own) in own.into_iter().enumerate() {
            own.store(sixteen_mut(sums, tap * channels + first));
        }
        bias.store(sixteen_mut(sums, TAPS * channels + first));
    }
    for x in 0..if whole < channels { count } else { 0 } {
        for c in whole..channels {
            let g = gradient[x * channels + c];
            sums[TAPS * channels + c] += g;
            for (down, row) in rows.iter().enumerate() {
                let Some(row) = row else { continue };
                for tap in 0..3 {
                    if let Some(column) = window.reads(x, tap, width) {
                        sums[(3 * down + tap) * channels + c] += g * row[column * channels + c];
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn input_gradient_body<L: Lanes, const FUSED: bool, const ROWS: usize>(
    gradient: &[f32],
    window: Window,
    weights: &[f32],
    channels: usize,
    row: &mut [f32],
) {
    let whole = channels / WIDTH * WIDTH;
    let width = row.len() / channels;
    let count = gradient.len() / channels;
    for first in (0..whole).step_by(WIDTH) {
        input_gradient_lane::<L>(gradient, window, weights, (first, channels), row);
    }
    for x in 0..if whole < channels { count } else { 0 } {
        for tap in 0..3 {
            let Some(column) = window.reads(x, tap, width) else { continue };
            for c in whole..channels {
                row[column * channels + c] += gradient[x * channels + c] * weights[tap * channels + c];
            }
        }
    }
}

#[inline(always)]
fn input_gradient_lane<L: Lanes>(
    gradient: &[f32],
    window: Window,
    weights: &[f32],
    (first, channels): (usize, usize),
    row: &mut [f32],
) {
    let width = row.len() / channels;
    let weights: [L; 3] = std::array::from_fn(|tap| L::load(sixteen(weights, tap * channels + first)));
    for x in 0..gradient.len() / channels {
        let g = L::load(sixteen(gradient, x * channels + first));
        for (tap, weight) in weights.iter().enumerate() {
            let Some(column) = window.reads(x, tap, width) else { continue };
            let at = column * channels + first;
            L::load(sixteen(row, at)).add_products(g, *weight).store(sixteen_mut(row, at));
        }
    }
}
