//! Products with packed right sides: weights that lie ready in the order in which they are read.
//!
//! A panel holds sixteen outputs, one cache line for every input. Sums begin with what they are to be added to, so that
//! biases and residuals cost no pass of their own.

use rayon::prelude::*;

use super::bias::Bias;
pub use super::panel::{DEPTH, Line, Out, PANEL, Rows, Start};
use super::store::{Part, Store};
pub use super::tile::{Tile, multiply, multiply_by};

/// A Linear's weight, packed: for every [`DEPTH`] inputs, all panels, and in each of these a line for every input.
#[derive(Debug, Default)]
pub struct Packed {
    lines: Store<Line>,
    bias: Bias,
    input: usize,
    output: usize,
}

impl Packed {
    /// From `weight [output, input]` and `bias [output]`, row-major.
    pub fn new(weight: &[f32], bias: Option<&[f32]>, input: usize) -> Self {
        let mut packed = Self::default();
        packed.fill(weight, bias, input, |part, depth, fill| {
            part.par_chunks_mut(depth).enumerate().for_each(|(panel, lines)| fill(panel, lines));
        });
        packed
    }

    /// The same in place of what it was and on this thread, for small right sides that change from frame to frame.
    pub fn pack(&mut self, weight: &[f32], bias: Option<&[f32]>, input: usize) {
        self.fill(weight, bias, input, |part, depth, fill| {
            part.chunks_mut(depth).enumerate().for_each(|(panel, lines)| fill(panel, lines));
        });
    }

    /// `each` calls what it is given for all parts of so many lines.
    fn fill(
        &mut self,
        weight: &[f32],
        bias: Option<&[f32]>,
        input: usize,
        each: impl Fn(&mut [Line], usize, &(dyn Fn(usize, &mut [Line]) + Sync)),
    ) {
        let output = weight.len() / input;
        let panels = output.div_ceil(PANEL);
        let mut lines = std::mem::take(&mut self.lines).into_room();
        lines.clear();
        lines.resize(panels * input, Line::of(0.0));
        for first in (0..input).step_by(DEPTH) {
            let depth = DEPTH.min(input - first);
            let part = &mut lines[first * panels..][..depth * panels];
            each(part, depth, &|panel, lines| {
                let outputs = panel * PANEL..output.min((panel + 1) * PANEL);
                for (lane, row) in outputs.enumerate() {
                    let row = &weight[row * input + first..][..depth];
                    lines.iter_mut().zip(row).for_each(|(line, &weight)| line.0[lane] = weight);
                }
            });
        }
        (self.lines, self.input, self.output) = (lines.into(), input, output);
        self.bias.refill(bias);
    }

    /// What [`Packed::parts`] gave, in a mapped file; none where it cannot be that.
    pub(super) fn mapped(input: usize, output: usize, [lines, bias]: [Option<Part>; 2]) -> Option<Self> {
        let panels = output.div_ceil(PANEL);
        let bias = Bias::mapped(bias, panels)?;
        Some(Self { lines: Store::of(lines?, panels * input)?, bias, input, output })
    }

    /// Lines and bias, as bytes.
    pub(super) fn parts(&self) -> [&[u8]; 2] {
        [self.lines.bytes(), self.bias.bytes()]
    }

    /// Outputs.
    pub fn output(&self) -> usize {
        self.output
    }

    /// Inputs.
    pub fn input(&self) -> usize {
        self.input
    }

    /// The bias, for [`Start`].
    pub fn bias(&self) -> Start<'_> {
        self.bias.start()
    }

    /// The bias, onto what lies in the result.
    pub fn bias_onto(&self) -> Start<'_> {
        self.bias.onto()
    }

    /// The lines of `panels` for the inputs from `first` on, up to the next multiple of [`DEPTH`], and how many inputs
    /// these are.
    fn part(&self, first: usize, panels: std::ops::Range<usize>) -> (&[Line], usize) {
        let depth = DEPTH.min(self.input - first);
        let part = &self.lines[first * self.output.div_ceil(PANEL)..];
        (&part[panels.start * depth..panels.end * depth], depth)
    }

    /// `x W^T`, begun with `start`, into the first [`Packed::output`] of each row of `out`.
    pub fn apply(&self, x: Rows, start: Start, out: &mut [f32], stride: usize) {
        self.apply_columns(x, start, 0..self.output, out, stride);
    }

    /// As [`Packed::apply`], with a tile of the caller's choice: for comparing times.
    pub fn apply_by(&self, tile: Tile, x: Rows, start: Start, out: &mut [f32], stride: usize) {
        self.apply_columns_by(tile, x, start, 0..self.output, out, stride);
    }

    /// As [`Packed::apply`], the outputs `columns` alone, which begin with a whole panel.
    pub fn apply_columns(
        &self,
        x: Rows,
        start: Start,
        columns: std::ops::Range<usize>,
        out: &mut [f32],
        stride: usize,
    ) {
        self.apply_columns_by(Tile::current(), x, start, columns, out, stride);
    }

    fn apply_columns_by(
        &self,
        tile: Tile,
        x: Rows,
        start: Start,
        columns: std::ops::Range<usize>,
        out: &mut [f32],
        stride: usize,
    ) {
        let panels = columns.start / PANEL..columns.end.div_ceil(PANEL);
        let mut start = start.of_panels(panels.start, panels.len());
        for first in (0..self.input).step_by(DEPTH) {
            let (lines, depth) = self.part(first, panels.clone());
            let x = Rows { values: &x.values[first..], ..x };
            multiply_by(tile, x, lines, depth, start, Out { values: &mut *out, stride, width: columns.len() });
            start = Start::Stored;
        }
    }

    /// Adds the part of the product that the inputs from `first` on have, [`DEPTH`] of them at most; `x` begins there.
    pub fn apply_inputs(&self, x: Rows, first: usize, start: Start, out: &mut [f32], stride: usize) {
        let (lines, depth) = self.part(first, 0..self.output.div_ceil(PANEL));
        multiply(x, lines, depth, start, Out { values: out, stride, width: self.output });
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::super::forced::on_each;
    use super::super::vector::VectorUnit;
    use super::*;
    use crate::seeded::stream;

    fn values(name: &str, count: usize) -> Vec<f32> {
        let mut rng = stream(2, name);
        (0..count).map(|_| rng.random::<f32>() * 2.0 - 1.0).collect()
    }

    /// `x W^T + start` in f64.
    fn plainly(x: &[f32], weight: &[f32], input: usize, output: usize, start: &[f32]) -> Vec<f64> {
        let rows = x.len() / input;
        (0..rows * output)
            .map(|i| {
                let (row, column) = (i / output, i % output);
                let products =
                    (0..input).map(|k| f64::from(x[row * input + k]) * f64::from(weight[column * input + k]));
                f64::from(start[i]) + products.sum::<f64>()
            })
            .collect()
    }

    fn close(found: &[f32], expected: &[f64], what: &str) {
        for (a, b) in found.iter().zip(expected) {
            assert!((f64::from(*a) - b).abs() < 1e-4, "{what}: {a}, expected {b}");
        }
    }

    #[test]
    fn packed_products_are_products() {
        for input in [1, 7, 384, 385, 800] {
            for output in [1, 15, 16, 17, 50] {
                let (weight, bias) = (values("w", input * output), values("b", output));
                let packed = Packed::new(&weight, Some(&bias), input);
                for count in [1, 2, 3, 5, 6, 7, 8, 9, 13, 49] {
                    let what = format!("{count}x{input} times {output}");
                    let (x, stored) = (values("x", count * input), values("y", count * output));
                    let rows = Rows { values: &x, stride: input, count };
                    let biases: Vec<f32> = bias.iter().copied().cycle().take(count * output).collect();
                    let mut y = stored.clone();
                    packed.apply(rows, packed.bias(), &mut y, output);
                    close(&y, &plainly(&x, &weight, input, output, &biases), &what);
                    let both: Vec<f32> = biases.iter().zip(&stored).map(|(a, b)| a + b).collect();
                    let mut y = stored.clone();
                    packed.apply(rows, packed.bias_onto(), &mut y, output);
                    close(&y, &plainly(&x, &weight, input, output, &both), &format!("{what}, onto"));
                }
            }
        }
    }

    #[test]
    fn outputs_and_inputs_in_parts_are_the_whole() {
        let (input, output, count) = (900, 70, 11);
        let (weight, x) = (values("w", input * output), values("x", count * input));
        let packed = Packed::new(&weight, None, input);
        let expected = plainly(&x, &weight, input, output, &vec![0.0; count * output]);
        let rows = Rows { values: &x, stride: input, count };
        let mut y = vec![0.0; count * output];
        for columns in [0..32, 32..70] {
            let first = columns.start;
            packed.apply_columns(rows, Start::Zero, columns, &mut y[first..], output);
        }
        close(&y, &expected, "by outputs");
        let mut y = vec![0.0; count * output];
        for first in (0..input).step_by(DEPTH) {
            let rows = Rows { values: &x[first..], ..rows };
            packed.apply_inputs(rows, first, Start::Stored, &mut y, output);
        }
        close(&y, &expected, "by inputs");
    }

    /// Sizes that fill panels, pairs of them and steps of inputs, and that do not.
    const SIZES: [(usize, usize, usize); 8] = [
        (1, 384, 48),
        (13, 100, 40),
        (49, 32, 64),
        (96, 192, 96),
        (97, 193, 31),
        (25, 700, 33),
        (7, 385, 16),
        (12, 1, 17),
    ];

    /// Whatever the processor has, the others' code paths give the same: equal bytes wherever multiplication and addition
    /// are one step.
    #[test]
    fn every_vector_unit_gives_the_same_product() {
        for (count, input, output) in SIZES {
            let (weight, bias) = (values("w", input * output), values("b", output));
            let (x, stored) = (values("x", count * input), values("y", count * output));
            let packed = Packed::new(&weight, Some(&bias), input);
            let rows = Rows { values: &x, stride: input, count };
            let start: Vec<f32> = stored.iter().zip(bias.iter().cycle()).map(|(a, b)| a + b).collect();
            // As the sums are meant: a row's inputs one after the other.
            let in_order = |i: usize| {
                let (row, column) = (i / output, i % output);
                (0..input).fold(start[i], |sum, k| x[row * input + k].mul_add(weight[column * input + k], sum))
            };
            let exactly: Vec<u32> = (0..count * output).map(|i| in_order(i).to_bits()).collect();
            let expected = plainly(&x, &weight, input, output, &start);
            on_each(|unit| {
                let mut y = stored.clone();
                packed.apply(rows, packed.bias_onto(), &mut y, output);
                let what = format!("{count}x{input} times {output}, {unit:?}");
                close(&y, &expected, &what);
                let bits: Vec<u32> = y.iter().map(|value| value.to_bits()).collect();
                assert!(unit == VectorUnit::None || bits == exactly, "{what}: other bytes");
            });
        }
    }
}
