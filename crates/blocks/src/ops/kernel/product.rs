//! Products with packed right sides: weights that lie ready in the order in which they are read.
//!
//! A panel holds sixteen outputs, one cache line for every input. Sums begin with what they are to be added to, so that
//! biases and residuals cost no pass of their own.

use std::ops::Range;

use rayon::prelude::*;

use super::bias::Bias;
use super::halves::Halves;
pub use super::panel::{DEPTH, Line, Out, PANEL, Rows, Start};
use super::store::{Part, Store};
pub use super::tile::{Tile, multiply, multiply_by};

/// A Linear's weight, packed: for every [`DEPTH`] inputs, all panels, and in each of these a line for every input.
#[derive(Debug, Default)]
pub struct Packed {
    lines: Lines,
    bias: Bias,
    input: usize,
    output: usize,
}

/// Panels, as long as their inputs are.
#[derive(Debug)]
enum Lines {
    Whole(Store<Line>),
    Halves(Halves),
}

impl Default for Lines {
    fn default() -> Self {
        Self::Whole(Store::default())
    }
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
        let mut lines = match std::mem::take(&mut self.lines) {
            Lines::Whole(lines) => lines.into_room(),
            Lines::Halves(_) => Vec::new(),
        };
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
        (self.lines, self.input, self.output) = (Lines::Whole(lines.into()), input, output);
        self.bias.refill(bias);
    }

    /// What [`Packed::parts`] gave, in a mapped file; none where it cannot be that.
    pub(super) fn mapped(input: usize, output: usize, [lines, bias]: [Option<Part>; 2]) -> Option<Self> {
        let panels = output.div_ceil(PANEL);
        let bias = Bias::mapped(bias, panels)?;
        Some(Self { lines: Lines::Whole(Store::of(lines?, panels * input)?), bias, input, output })
    }

    /// Lines and bias, as bytes.
    ///
    /// # Panics
    /// They are in half the memory, see [`Packed::halved`]: in files they lie as they are multiplied.
    pub(super) fn parts(&self) -> [&[u8]; 2] {
        match &self.lines {
            Lines::Whole(lines) => [lines.bytes(), self.bias.bytes()],
            Lines::Halves(_) => unreachable!("weights in half the memory are no part of a file"),
        }
    }

    /// The same in half the memory if numbers of two bytes (f16) hold all of its weights exactly; products stay the same.
    #[must_use]
    pub fn halved(mut self) -> Self {
        if let Lines::Whole(lines) = &self.lines
            && let Some(halves) = Halves::of(lines)
        {
            self.lines = Lines::Halves(halves);
        }
        self
    }

    /// Bytes that its weights take.
    pub fn bytes(&self) -> usize {
        match &self.lines {
            Lines::Whole(lines) => size_of_val::<[Line]>(lines),
            Lines::Halves(halves) => halves.bytes(),
        }
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

    /// `x` times `panels`, the inputs from `first` on, up to the next multiple of [`DEPTH`], with which `x` begins.
    fn multiply(&self, tile: Tile, x: Rows, first: usize, panels: Range<usize>, start: Start, out: Out) {
        let depth = DEPTH.min(self.input - first);
        let part = first * self.output.div_ceil(PANEL);
        let halves = match &self.lines {
            Lines::Whole(lines) => {
                let lines = &lines[part..][panels.start * depth..panels.end * depth];
                return multiply_by(tile, x, lines, depth, start, out);
            }
            Lines::Halves(halves) => halves,
        };
        #[expect(
            clippy::large_stack_arrays,
            reason = "a panel, in the nearest cache; on the heap each product would ask for one"
        )]
        let mut room = [Line::of(0.0); DEPTH];
        for (place, panel) in panels.enumerate() {
            let (column, lines) = (place * PANEL, halves.widen(part + panel * depth, depth, &mut room));
            let width = PANEL.min(out.width - column);
            let out = Out { values: &mut out.values[column..], stride: out.stride, width };
            multiply_by(tile, x, lines, depth, start.of_panels(place, 1), out);
        }
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
    pub fn apply_columns(&self, x: Rows, start: Start, columns: Range<usize>, out: &mut [f32], stride: usize) {
        self.apply_columns_by(Tile::current(), x, start, columns, out, stride);
    }

    fn apply_columns_by(
        &self,
        tile: Tile,
        x: Rows,
        start: Start,
        columns: Range<usize>,
        out: &mut [f32],
        stride: usize,
    ) {
        let panels = columns.start / PANEL..columns.end.div_ceil(PANEL);
        let mut start = start.of_panels(panels.start, panels.len());
        for first in (0..self.input).step_by(DEPTH) {
            let x = Rows { values: &x.values[first..], ..x };
            let out = Out { values: &mut *out, stride, width: columns.len() };
            self.multiply(tile, x, first, panels.clone(), start, out);
            start = Start::Stored;
        }
    }

    /// Adds the part of the product that the inputs from `first` on have, [`DEPTH`] of them at most; `x` begins there.
    pub fn apply_inputs(&self, x: Rows, first: usize, start: Start, out: &mut [f32], stride: usize) {
        let out = Out { values: out, stride, width: self.output };
        self.multiply(Tile::current(), x, first, 0..self.output.div_ceil(PANEL), start, out);
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

    /// Weights of two bytes give what the same weights give in four.
    #[test]
    fn halved_weights_give_equal_bytes() {
        for (count, input, output) in SIZES {
            let exact = |name: &str, count: usize| -> Vec<f32> {
                values(name, count).into_iter().map(|value| half::f16::from_f32(value).to_f32()).collect()
            };
            let (weight, bias, x) = (exact("w", input * output), values("b", output), values("x", count * input));
            let whole = Packed::new(&weight, Some(&bias), input);
            let halved = Packed::new(&weight, Some(&bias), input).halved();
            assert_eq!(2 * halved.bytes(), whole.bytes());
            let rows = Rows { values: &x, stride: input, count };
            on_each(|unit| {
                let of = |packed: &Packed| {
                    let mut y = values("y", count * output);
                    packed.apply(rows, packed.bias_onto(), &mut y, output);
                    if output > PANEL {
                        let out = &mut y[PANEL..];
                        packed.apply_columns(rows, packed.bias(), PANEL..output, out, output);
                    }
                    let inputs = Rows { count, ..rows };
                    packed.apply_inputs(inputs, 0, Start::Stored, &mut y, output);
                    y.iter().map(|value| value.to_bits()).collect::<Vec<u32>>()
                };
                assert!(of(&halved) == of(&whole), "{count}x{input} times {output}, {unit:?}: other bytes");
            });
            // A number of more digits stays as it is, with all others.
            let mut finer = weight.clone();
            finer[0] = 1.0 + f32::EPSILON;
            let packed = Packed::new(&finer, None, input);
            assert_eq!(packed.bytes(), Packed::new(&finer, None, input).halved().bytes());
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
