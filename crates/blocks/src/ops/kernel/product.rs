//! Products with packed right sides: weights that lie ready in the order in which they are read.
//!
//! A panel holds sixteen outputs, one cache line for every input. For each panel the rows of the left side pass by, a few
//! at a time, with their sums in registers; the panel stays in the first cache meanwhile, the rows in the second (Goto
//! and van de Geijn 2008). Sums begin with what they are to be added to, so that biases and residuals cost no pass of
//! their own.

#![expect(clippy::needless_pass_by_value, reason = "results are lent for one product")]

use rayon::prelude::*;

use super::dispatch_rows;
use super::lanes::{Lanes, WIDTH};

/// Outputs of a panel: a cache line, one register of AVX-512, two of AVX2.
pub const PANEL: usize = WIDTH;
/// Inputs that are multiplied before the next panel's turn: a panel of that depth takes 24 of the first cache's 32 KiB.
pub const DEPTH: usize = 384;

/// Inputs at a time where two panels pass at once: these then take 24 KiB.
const PAIR_DEPTH: usize = 192;

/// One input's part in the outputs of a panel.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub struct Line(pub [f32; PANEL]);

impl Line {
    /// All the same.
    pub const fn of(value: f32) -> Self {
        Self([value; PANEL])
    }

    /// `values` in lines, the last one filled up with `rest`.
    pub fn all(values: &[f32], rest: f32) -> Vec<Self> {
        let line = |chunk: &[f32]| {
            let mut line = Self::of(rest);
            line.0[..chunk.len()].copy_from_slice(chunk);
            line
        };
        values.chunks(PANEL).map(line).collect()
    }
}

/// A matrix's rows in a slice, `stride` apart.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub values: &'a [f32],
    pub stride: usize,
    pub count: usize,
}

/// What sums begin with.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// Nothing.
    Zero,
    /// A row, the same for all, one line a panel.
    Row(&'a [Line]),
    /// What lies in the result.
    Stored,
    /// Both.
    StoredAndRow(&'a [Line]),
}

impl Start<'_> {
    /// Of the `count` panels from `first` on.
    pub(super) fn of_panels(self, first: usize, count: usize) -> Self {
        match self {
            Self::Row(row) => Self::Row(&row[first..][..count]),
            Self::StoredAndRow(row) => Self::StoredAndRow(&row[first..][..count]),
            other => other,
        }
    }
}

/// The rows of a result, `stride` apart, `width` of each of which are written.
pub struct Out<'a> {
    pub values: &'a mut [f32],
    pub stride: usize,
    pub width: usize,
}

/// A Linear's weight, packed: for every [`DEPTH`] inputs, all panels, and in each of these a line for every input.
#[derive(Debug)]
pub struct Packed {
    lines: Vec<Line>,
    bias: Vec<Line>,
    input: usize,
    output: usize,
}

impl Packed {
    /// From `weight [output, input]` and `bias [output]`, row-major.
    pub fn new(weight: &[f32], bias: Option<&[f32]>, input: usize) -> Self {
        let output = weight.len() / input;
        let panels = output.div_ceil(PANEL);
        let mut lines = vec![Line::of(0.0); panels * input];
        for first in (0..input).step_by(DEPTH) {
            let depth = DEPTH.min(input - first);
            let part = &mut lines[first * panels..][..depth * panels];
            part.par_chunks_mut(depth).enumerate().for_each(|(panel, lines)| {
                let outputs = panel * PANEL..output.min((panel + 1) * PANEL);
                for (lane, row) in outputs.enumerate() {
                    let row = &weight[row * input + first..][..depth];
                    lines.iter_mut().zip(row).for_each(|(line, &weight)| line.0[lane] = weight);
                }
            });
        }
        Self { lines, bias: Line::all(bias.unwrap_or_default(), 0.0), input, output }
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
        if self.bias.is_empty() { Start::Zero } else { Start::Row(&self.bias) }
    }

    /// The bias, onto what lies in the result.
    pub fn bias_onto(&self) -> Start<'_> {
        if self.bias.is_empty() { Start::Stored } else { Start::StoredAndRow(&self.bias) }
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

    /// As [`Packed::apply`], the outputs `columns` alone, which begin with a whole panel.
    pub fn apply_columns(
        &self,
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
            multiply(x, lines, depth, start, Out { values: &mut *out, stride, width: columns.len() });
            start = Start::Stored;
        }
    }

    /// Adds the part of the product that the inputs from `first` on have, [`DEPTH`] of them at most; `x` begins there.
    pub fn apply_inputs(&self, x: Rows, first: usize, start: Start, out: &mut [f32], stride: usize) {
        let (lines, depth) = self.part(first, 0..self.output.div_ceil(PANEL));
        multiply(x, lines, depth, start, Out { values: out, stride, width: self.output });
    }
}

dispatch_rows!(
    /// `x` times panels of `depth` lines each, begun with `start`.
    pub fn multiply(x: Rows<'_>, lines: &[Line], depth: usize, start: Start<'_>, out: Out<'_>) = multiply_body
);

/// Rows of the highest tile.
const MOST_ROWS: usize = 12;

#[inline(always)]
fn multiply_body<L: Lanes, const FUSED: bool, const ROWS: usize>(
    x: Rows,
    lines: &[Line],
    depth: usize,
    start: Start,
    out: Out,
) {
    let panels = lines.len() / depth;
    let pairs = if L::PAIR_ROWS > 0 { panels / 2 } else { 0 };
    for first in (0..2 * pairs).step_by(2) {
        panels_at::<L, 2, ROWS>(x, lines, depth, first, start, Out { values: &mut *out.values, ..out });
    }
    for first in 2 * pairs..panels {
        panels_at::<L, 1, ROWS>(x, lines, depth, first, start, Out { values: &mut *out.values, ..out });
    }
}

/// All rows against the `PANELS` panels from `first` on, some inputs at a time: those of the panels stay in the first
/// cache while the rows pass by.
#[inline(always)]
fn panels_at<L: Lanes, const PANELS: usize, const ROWS: usize>(
    x: Rows,
    lines: &[Line],
    depth: usize,
    first: usize,
    start: Start,
    out: Out,
) {
    let (column, highest) = (first * PANEL, if L::PAIR_ROWS > ROWS { L::PAIR_ROWS } else { ROWS });
    let width = (PANELS * PANEL).min(out.width - column);
    // The last panel's last outputs may not exist.
    let whole = width == PANELS * PANEL;
    let mut room = [0.0; MOST_ROWS * 2 * PANEL];
    let mut start = start.of_panels(first, PANELS);
    let step = if PANELS == 2 { PAIR_DEPTH } else { depth };
    for input in (0..depth).step_by(step) {
        let deep = step.min(depth - input);
        let lines: [&[Line]; PANELS] = std::array::from_fn(|i| &lines[(first + i) * depth + input..][..deep]);
        // Tiles of about the same height: one of a row or two would take as long as one of four.
        let mut tiles = x.count.div_ceil(highest);
        let mut row = 0;
        while tiles > 0 {
            let rows = (x.count - row).div_ceil(tiles);
            tiles -= 1;
            let place = &mut out.values[row * out.stride + column..];
            begin(start, place, out.stride, width, rows);
            if !whole {
                copy(place, out.stride, &mut room, PANELS * PANEL, width, rows);
            }
            let (left, stride) = (&x.values[row * x.stride + input..], x.stride);
            let (sums, across) = if whole { (&mut *place, out.stride) } else { (&mut room[..], PANELS * PANEL) };
            match rows {
                1 => tile::<L, PANELS, 1>(left, stride, lines, sums, across),
                2 => tile::<L, PANELS, 2>(left, stride, lines, sums, across),
                3 => tile::<L, PANELS, 3>(left, stride, lines, sums, across),
                4 => tile::<L, PANELS, 4>(left, stride, lines, sums, across),
                5 if highest >= 5 => tile::<L, PANELS, 5>(left, stride, lines, sums, across),
                6 if highest >= 6 => tile::<L, PANELS, 6>(left, stride, lines, sums, across),
                7 if highest >= 7 => tile::<L, PANELS, 7>(left, stride, lines, sums, across),
                8 if highest >= 8 => tile::<L, PANELS, 8>(left, stride, lines, sums, across),
                9 if highest >= 9 => tile::<L, PANELS, 9>(left, stride, lines, sums, across),
                10 if highest >= 10 => tile::<L, PANELS, 10>(left, stride, lines, sums, across),
                11 if highest >= 11 => tile::<L, PANELS, 11>(left, stride, lines, sums, across),
                MOST_ROWS if highest >= 12 => tile::<L, PANELS, MOST_ROWS>(left, stride, lines, sums, across),
                rows => unreachable!("a tile of {rows} rows"),
            }
            if !whole {
                copy(&room, PANELS * PANEL, place, out.stride, width, rows);
            }
            row += rows;
        }
        start = Start::Stored;
    }
}

/// Writes what sums begin with into `width` numbers of `rows` rows.
#[inline(always)]
pub(super) fn begin(start: Start, out: &mut [f32], stride: usize, width: usize, rows: usize) {
    match start {
        Start::Stored => {}
        Start::Zero => (0..rows).for_each(|row| out[row * stride..][..width].fill(0.0)),
        Start::Row(first) => begin_rows::<false>(first, out, stride, width, rows),
        Start::StoredAndRow(first) => begin_rows::<true>(first, out, stride, width, rows),
    }
}

#[inline(always)]
fn begin_rows<const ONTO: bool>(first: &[Line], out: &mut [f32], stride: usize, width: usize, rows: usize) {
    for row in 0..rows {
        // Whole lines apart: copies of a length that is not known cost a call each.
        let (lines, rest) = out[row * stride..][..width].as_chunks_mut::<PANEL>();
        for (out, first) in lines.iter_mut().zip(first) {
            for (out, first) in out.iter_mut().zip(first.0) {
                *out = if ONTO { *out + first } else { first };
            }
        }
        if let (false, Some(first)) = (rest.is_empty(), first.last()) {
            for (out, first) in rest.iter_mut().zip(first.0) {
                *out = if ONTO { *out + first } else { first };
            }
        }
    }
}

/// `width` numbers of `rows` rows.
#[inline(always)]
pub(super) fn copy(from: &[f32], stride: usize, to: &mut [f32], to_stride: usize, width: usize, rows: usize) {
    for row in 0..rows {
        to[row * to_stride..][..width].copy_from_slice(&from[row * stride..][..width]);
    }
}

/// Adds the products of `ROWS` rows and `PANELS` panels to the sums that lie `across` numbers apart, all of them in
/// registers meanwhile.
#[inline(always)]
fn tile<L: Lanes, const PANELS: usize, const ROWS: usize>(
    x: &[f32],
    stride: usize,
    lines: [&[Line]; PANELS],
    out: &mut [f32],
    across: usize,
) {
    let depth = lines[0].len();
    let rows: [&[f32]; ROWS] = std::array::from_fn(|row| &x[row * stride..][..depth]);
    let lines: [&[Line]; PANELS] = std::array::from_fn(|panel| &lines[panel][..depth]);
    let mut sums = [[L::load(&[0.0; PANEL]); PANELS]; ROWS];
    for (row, sums) in sums.iter_mut().enumerate() {
        let stored = out[row * across..][..PANELS * PANEL].as_chunks::<PANEL>().0;
        for (sum, stored) in sums.iter_mut().zip(stored) {
            *sum = L::load(stored);
        }
    }
    for k in 0..depth {
        let mut right = [L::load(&lines[0][k].0); PANELS];
        for panel in 1..PANELS {
            right[panel] = L::load(&lines[panel][k].0);
        }
        for (sums, row) in sums.iter_mut().zip(&rows) {
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = sum.add_product(row[k], right);
            }
        }
    }
    for (row, sums) in sums.into_iter().enumerate() {
        let stored = out[row * across..][..PANELS * PANEL].as_chunks_mut::<PANEL>().0;
        for (sum, stored) in sums.into_iter().zip(stored) {
            sum.store(stored);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::super::vector::VectorUnit;
    use super::super::vector::forced::on_each;
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
