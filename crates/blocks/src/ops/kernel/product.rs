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
        let mut start = match start {
            Start::Row(row) => Start::Row(&row[panels.clone()]),
            Start::StoredAndRow(row) => Start::StoredAndRow(&row[panels.clone()]),
            other => other,
        };
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

#[inline(always)]
pub(super) fn multiply_body<L: Lanes, const FUSED: bool, const ROWS: usize>(
    x: Rows,
    lines: &[Line],
    depth: usize,
    start: Start,
    out: Out,
) {
    for (panel, lines) in lines.chunks_exact(depth).enumerate() {
        let column = panel * PANEL;
        let width = PANEL.min(out.width - column);
        // Tiles of about the same height: one of a row or two would take as long as one of four.
        let mut tiles = x.count.div_ceil(ROWS);
        let mut row = 0;
        while tiles > 0 {
            let left = &x.values[row * x.stride..];
            let place = Place { values: &mut out.values[row * out.stride + column..], stride: out.stride, width };
            let start = match start {
                Start::Row(row) => Start::Row(&row[panel..=panel]),
                Start::StoredAndRow(row) => Start::StoredAndRow(&row[panel..=panel]),
                other => other,
            };
            let rows = (x.count - row).div_ceil(tiles);
            tiles -= 1;
            match rows {
                1 => tile::<L, 1>(left, x.stride, lines, start, place),
                2 => tile::<L, 2>(left, x.stride, lines, start, place),
                3 => tile::<L, 3>(left, x.stride, lines, start, place),
                4 => tile::<L, 4>(left, x.stride, lines, start, place),
                5 if ROWS > 5 => tile::<L, 5>(left, x.stride, lines, start, place),
                6 if ROWS > 6 => tile::<L, 6>(left, x.stride, lines, start, place),
                7 if ROWS > 7 => tile::<L, 7>(left, x.stride, lines, start, place),
                _ => tile::<L, ROWS>(left, x.stride, lines, start, place),
            }
            row += rows;
        }
    }
}

/// Where a tile's sums go.
struct Place<'a> {
    values: &'a mut [f32],
    stride: usize,
    /// The panel's last outputs may not exist.
    width: usize,
}

/// `ROWS` rows against one panel, with all sums in registers.
#[inline(always)]
fn tile<L: Lanes, const ROWS: usize>(x: &[f32], stride: usize, lines: &[Line], start: Start, out: Place) {
    let depth = lines.len();
    let rows: [&[f32]; ROWS] = std::array::from_fn(|row| &x[row * stride..][..depth]);
    let mut sums = [L::load(&[0.0; PANEL]); ROWS];
    if matches!(start, Start::Stored | Start::StoredAndRow(_)) {
        for (row, sum) in sums.iter_mut().enumerate() {
            *sum = load(&out.values[row * out.stride..], out.width);
        }
    }
    if let Start::Row(first) | Start::StoredAndRow(first) = start {
        let first = L::load(&first[0].0);
        for sum in &mut sums {
            *sum = sum.add(first);
        }
    }
    for (k, line) in lines.iter().enumerate() {
        let right = L::load(&line.0);
        for (sum, row) in sums.iter_mut().zip(&rows) {
            *sum = sum.add_product(row[k], right);
        }
    }
    for (row, sum) in sums.into_iter().enumerate() {
        store(sum, &mut out.values[row * out.stride..], out.width);
    }
}

/// `width` numbers of one row; the others are zero.
#[inline(always)]
fn load<L: Lanes>(from: &[f32], width: usize) -> L {
    if let (PANEL, Some(whole)) = (width, from.first_chunk()) {
        return L::load(whole);
    }
    let mut line = [0.0; PANEL];
    line[..width].copy_from_slice(&from[..width]);
    L::load(&line)
}

#[inline(always)]
fn store<L: Lanes>(sums: L, to: &mut [f32], width: usize) {
    if width == PANEL
        && let Some(whole) = to.first_chunk_mut()
    {
        sums.store(whole);
        return;
    }
    let mut line = [0.0; PANEL];
    sums.store(&mut line);
    to[..width].copy_from_slice(&line[..width]);
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::super::lanes::Plain;
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

    /// Whatever the processor has, the others' code paths give the same.
    #[test]
    fn every_vector_unit_gives_the_same_product() {
        let (input, output, count) = (100, 40, 13);
        let (weight, x) = (values("w", input * output), values("x", count * input));
        let packed = Packed::new(&weight, None, input);
        let expected = plainly(&x, &weight, input, output, &vec![0.0; count * output]);
        let rows = Rows { values: &x, stride: input, count };
        let mut y = vec![0.0; count * output];
        let out = Out { values: &mut y, stride: output, width: output };
        multiply_body::<Plain, false, 4>(rows, &packed.lines, input, Start::Zero, out);
        close(&y, &expected, "plain");
        #[cfg(target_arch = "x86_64")]
        if super::super::vector_unit() {
            #[target_feature(enable = "avx2,fma")]
            fn run(rows: Rows, lines: &[Line], depth: usize, out: Out) {
                multiply_body::<super::super::lanes::Avx2, true, 6>(rows, lines, depth, Start::Zero, out);
            }
            let mut y = vec![0.0; count * output];
            let out = Out { values: &mut y, stride: output, width: output };
            // SAFETY: the processor has AVX2 and FMA.
            #[expect(unsafe_code, reason = "the processor has what the function is compiled for")]
            unsafe {
                run(rows, &packed.lines, input, out);
            }
            close(&y, &expected, "AVX2");
        }
    }
}
