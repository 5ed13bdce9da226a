//! Rows of numbers as bytes, the left sides of [`super::int8`].

use super::bytes::{Form, GROUP, Pairs, ROUND, RowScale, Sums, dispatch_bytes};
use super::lanes::WIDTH;
use super::panel::{DEPTH, Rows};

/// Steps of a value.
pub(super) const STEPS: f32 = 255.0;

/// Rows in bytes, and room for the next ones.
#[derive(Debug, Default)]
pub struct Quantised {
    /// Rows of a whole number of groups.
    pub(super) values: Vec<u8>,
    /// The same as pairs, where products want these.
    pairs: Vec<Pairs>,
    stride: usize,
    /// For every row, those of its parts of [`DEPTH`] inputs.
    pub(super) scales: Vec<RowScale>,
    input: usize,
    count: usize,
}

impl Quantised {
    /// Rows of `input` numbers. A row that holds what is no number makes sums that are none.
    pub fn read(&mut self, x: Rows, input: usize) {
        (self.input, self.count, self.stride) = (input, x.count, input.next_multiple_of(GROUP));
        let parts = input.div_ceil(DEPTH);
        self.values.resize(self.values.len().max(self.count * self.stride), 0);
        self.scales.resize(self.scales.len().max(self.count * parts), RowScale::default());
        quantise_rows(x, input, &mut self.values, &mut self.pairs, &mut self.scales);
    }

    /// The inputs from `part` times [`DEPTH`] on.
    pub(super) fn part(&self, part: usize) -> Left<'_> {
        let (first, parts) = (part * DEPTH, self.input.div_ceil(DEPTH));
        let scales = &self.scales[part..];
        let pairs = self.pairs.get(first / GROUP..).unwrap_or_default();
        Left { values: &self.values[first..], pairs, stride: self.stride, count: self.count, scales, parts }
    }
}

dispatch_bytes!(
    fn quantise_rows(
        x: Rows<'_>, input: usize, values: &mut [u8], pairs: &mut Vec<Pairs>, scales: &mut [RowScale],
    ) = quantise_rows_body
);

#[inline(always)]
fn quantise_rows_body<S: Sums, const ROWS: usize, const PANELS: usize>(
    x: Rows,
    input: usize,
    values: &mut [u8],
    pairs: &mut Vec<Pairs>,
    scales: &mut [RowScale],
) {
    let (stride, parts) = (input.next_multiple_of(GROUP), input.div_ceil(DEPTH));
    for (part, first) in (0..input).step_by(DEPTH).enumerate() {
        let (depth, padded) = (DEPTH.min(input - first), DEPTH.min(stride - first));
        for row in (0..x.count).step_by(TOGETHER) {
            let mut steps = [Steps::default(); TOGETHER];
            let rows = TOGETHER.min(x.count - row);
            for (steps, row) in steps[..rows].iter_mut().zip(row..) {
                *steps = Steps::of::<S>(&x.values[row * x.stride + first..][..depth]);
                scales[row * parts + part] = steps.scale;
            }
            for (steps, row) in steps[..rows].iter().zip(row..) {
                let x = &x.values[row * x.stride + first..][..depth];
                steps.quantise::<S>(x, &mut values[row * stride + first..][..padded]);
            }
        }
    }
    if S::Form::PAIRS {
        let groups = values[..x.count * stride].as_chunks::<GROUP>().0;
        pairs.resize(pairs.len().max(groups.len()), Pairs::default());
        for (pairs, [a, b, c, d]) in pairs.iter_mut().zip(groups) {
            *pairs = [u32::from(*a) | u32::from(*c) << 16, u32::from(*b) | u32::from(*d) << 16];
        }
    }
}

/// Rows whose ranges are found before the bytes of any of them: what a row's steps are is known late, and others need not
/// wait for it.
const TOGETHER: usize = 8;

/// How numbers become bytes.
#[derive(Clone, Copy, Default)]
struct Steps {
    scale: RowScale,
    /// Steps of 1; none where all bytes are 0.
    factor: f32,
    onto: f32,
}

impl Steps {
    /// Of the range of `x`, stretched to hold 0, which becomes a whole step.
    #[inline(always)]
    fn of<S: Sums>(x: &[f32]) -> Self {
        let (whole, rest) = x.as_chunks::<WIDTH>();
        let mut range = S::range(whole);
        if !rest.is_empty() {
            let behind = S::range(&[filled(rest)]);
            range.least = range.least.min(behind.least);
            range.most = range.most.max(behind.most);
            range.largest = range.largest.max(behind.largest);
        }
        let scale = (range.most - range.least) / STEPS;
        let factor = 1.0 / scale;
        let none = range.largest >= f32::INFINITY.to_bits() || scale.is_infinite();
        // Of numbers too small for a step no more is kept than that they are about 0.
        if none || factor.is_infinite() {
            let scale = RowScale { scale: if none { f32::NAN } else { 0.0 }, zero: 0 };
            return Self { scale, factor: 0.0, onto: ROUND };
        }
        let zero = (-range.least * factor) + ROUND - ROUND;
        Self { scale: RowScale { scale, zero: zero as i32 }, factor, onto: ROUND + zero }
    }

    /// Bytes of `x`, and of zeros behind it.
    #[inline(always)]
    fn quantise<S: Sums>(&self, x: &[f32], values: &mut [u8]) {
        if self.factor == 0.0 {
            values.fill(0);
            return;
        }
        let (whole, rest) = x.as_chunks::<WIDTH>();
        let (values, behind) = values.split_at_mut(whole.len() * WIDTH);
        for (values, x) in values.as_chunks_mut::<WIDTH>().0.iter_mut().zip(whole) {
            S::bytes(x, self.factor, self.onto, values);
        }
        if !behind.is_empty() {
            let mut bytes = [0; WIDTH];
            S::bytes(&filled(rest), self.factor, self.onto, &mut bytes);
            behind.copy_from_slice(&bytes[..behind.len()]);
        }
    }
}

/// Fewer than sixteen numbers, and zeros.
#[inline(always)]
fn filled(x: &[f32]) -> [f32; WIDTH] {
    let mut wide = [0.0; WIDTH];
    wide[..x.len()].copy_from_slice(x);
    wide
}

/// Rows of one part.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub(super) values: &'a [u8],
    /// Where products want these.
    #[cfg_attr(target_arch = "aarch64", expect(dead_code, reason = "its kernels take bytes"))]
    pub(super) pairs: &'a [Pairs],
    pub(super) stride: usize,
    pub(super) count: usize,
    /// That of the first row, and of the others `parts` further each.
    pub(super) scales: &'a [RowScale],
    pub(super) parts: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stand_for_the_numbers() {
        for (low, high) in [(0.0f32, 6.0), (-3.0, 1.0), (2.0, 2.5), (-7.0, -6.0), (-1e-30, 1e-30), (0.0, 0.0)] {
            let x: Vec<f32> = (0..101).map(|i| low + (high - low) * i as f32 / 100.0).chain([0.0]).collect();
            let mut quantised = Quantised::default();
            quantised.read(Rows { values: &x, stride: x.len(), count: 1 }, x.len());
            let RowScale { scale, zero } = quantised.scales[0];
            let step = (high.max(0.0) - low.min(0.0)) / STEPS;
            for (x, byte) in x.iter().zip(&quantised.values) {
                let found = (i32::from(*byte) - zero) as f32 * scale;
                assert!((found - x).abs() <= 0.51 * step, "{low} to {high}: {found} for {x}");
            }
            let found = (i32::from(quantised.values[101]) - zero) as f32 * scale;
            assert!(found == 0.0, "{low} to {high}: {found} for 0");
        }
    }
}
