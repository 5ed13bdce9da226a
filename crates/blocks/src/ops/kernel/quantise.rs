//! Rows of numbers as bytes, the left sides of [`super::int8`].

use super::bytes::{GROUP, ROUND, RowScale, Sums, dispatch_bytes};
use super::lanes::WIDTH;
use super::panel::{DEPTH, Rows};

/// Steps of a value.
pub(super) const STEPS: f32 = 255.0;

/// Rows in bytes, and room for the next ones.
#[derive(Debug, Default)]
pub struct Quantised {
    /// Rows of a whole number of groups.
    pub(super) values: Vec<u8>,
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
        quantise_rows(x, input, &mut self.values, &mut self.scales);
    }

    /// The inputs from `part` times [`DEPTH`] on.
    pub(super) fn part(&self, part: usize) -> Left<'_> {
        let (first, parts) = (part * DEPTH, self.input.div_ceil(DEPTH));
        let scales = &self.scales[part..];
        Left { values: &self.values[first..], stride: self.stride, count: self.count, scales, parts }
    }
}

dispatch_bytes!(
    fn quantise_rows(x: Rows<'_>, input: usize, values: &mut [u8], scales: &mut [RowScale]) = quantise_rows_body
);

#[inline(always)]
fn quantise_rows_body<S: Sums, const ROWS: usize, const PANELS: usize>(
    x: Rows,
    input: usize,
    values: &mut [u8],
    scales: &mut [RowScale],
) {
    let (stride, parts) = (input.next_multiple_of(GROUP), input.div_ceil(DEPTH));
    let rows = values.chunks_exact_mut(stride).zip(scales.chunks_exact_mut(parts)).take(x.count);
    for (row, (values, scales)) in rows.enumerate() {
        let x = &x.values[row * x.stride..][..input];
        for ((x, values), scale) in x.chunks(DEPTH).zip(values.chunks_mut(DEPTH)).zip(scales) {
            *scale = quantise::<S>(x, values);
        }
    }
}

/// Bytes of `x`, whose range is stretched to hold 0, which becomes a whole step; and what they stand for.
#[inline(always)]
fn quantise<S: Sums>(x: &[f32], values: &mut [u8]) -> RowScale {
    let (whole, rest) = x.as_chunks::<WIDTH>();
    let mut last = [[0.0; WIDTH]];
    last[0][..rest.len()].copy_from_slice(rest);
    let (range, behind) = (S::range(whole), S::range(&last));
    let (least, most) = (range.least.min(behind.least), range.most.max(behind.most));
    let scale = (most - least) / STEPS;
    let steps = 1.0 / scale;
    let none = range.largest.max(behind.largest) >= f32::INFINITY.to_bits() || scale.is_infinite();
    // Of numbers too small for a step no more is kept than that they are about 0.
    if none || steps.is_infinite() {
        values.fill(0);
        return RowScale { scale: if none { f32::NAN } else { 0.0 }, zero: 0 };
    }
    let zero = (-least * steps) + ROUND - ROUND;
    let onto = ROUND + zero;
    let (whole_values, rest_values) = values.split_at_mut(whole.len() * WIDTH);
    for (values, x) in whole_values.as_chunks_mut::<WIDTH>().0.iter_mut().zip(whole) {
        S::bytes(x, steps, onto, values);
    }
    if !rest_values.is_empty() {
        let mut bytes = [0; WIDTH];
        S::bytes(&last[0], steps, onto, &mut bytes);
        rest_values.copy_from_slice(&bytes[..rest_values.len()]);
    }
    RowScale { scale, zero: zero as i32 }
}

/// Rows of one part.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub(super) values: &'a [u8],
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
