//! Products of 8-bit integers: weights in signed bytes with a scale an output, rows in unsigned bytes with a scale and a
//! zero point of their own for every [`DEPTH`] inputs, found while they are packed (dynamic quantisation, as in Jacob et
//! al. 2018). Sums are exact, so that equal input gives equal bytes on every vector unit.

#![expect(clippy::needless_pass_by_value, reason = "results are lent for one product")]

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::bias::Bias;
use super::bytes::{ByteLine, Form, GROUP, Outputs, PanelRoom, Sums, dispatch_bytes};
use super::lanes::WIDTH;
use super::panel::{DEPTH, Line, Out, PANEL, Start};
use super::quantise::Left;
pub use super::quantise::Quantised;
use super::store::{Part, Store};
use super::tile::copy;

/// Steps of a weight on either side of 0.
const WEIGHT_STEPS: f32 = 127.0;

/// A Linear's weight in bytes: for every [`DEPTH`] inputs, all panels, and in each of these a line for every four inputs.
#[derive(Debug)]
pub struct Packed {
    lines: Store<ByteLine>,
    /// For every [`DEPTH`] inputs, of all panels.
    outputs: Store<Outputs>,
    bias: Bias,
    input: usize,
    output: usize,
}

/// Lines that `depth` inputs take.
fn groups(depth: usize) -> usize {
    depth.div_ceil(GROUP)
}

/// A weight in steps of 1/127 of the largest of its output: the steps, and what one of each output's is worth.
pub fn in_steps(weight: &[f32], input: usize) -> (Vec<i8>, Vec<f32>) {
    let scale = |row: &[f32]| row.iter().fold(0.0f32, |most, weight| most.max(weight.abs())) / WEIGHT_STEPS;
    let scales: Vec<f32> = weight.par_chunks_exact(input).map(scale).collect();
    let mut steps = vec![0; weight.len()];
    let rows = steps.par_chunks_exact_mut(input).zip(weight.par_chunks_exact(input)).zip(&scales);
    rows.for_each(|((steps, weight), &scale)| {
        if scale > 0.0 {
            for (step, weight) in steps.iter_mut().zip(weight) {
                *step = (weight / scale).round_ties_even() as i8;
            }
        }
    });
    (steps, scales)
}

impl Packed {
    /// From `weight [output, input]` and `bias [output]`, row-major.
    pub fn new(weight: &[f32], bias: Option<&[f32]>, input: usize) -> Self {
        let (steps, scales) = in_steps(weight, input);
        Self::of_steps(&steps, &scales, bias, input)
    }

    /// From a weight that is in steps already, see [`in_steps`].
    pub fn of_steps(steps: &[i8], scales: &[f32], bias: Option<&[f32]>, input: usize) -> Self {
        let (output, parts) = (scales.len(), input.div_ceil(DEPTH));
        let panels = output.div_ceil(PANEL);
        let mut lines = vec![ByteLine([0; GROUP * WIDTH]); panels * groups(input)];
        let mut outputs = vec![Outputs { scales: [0.0; WIDTH], sums: [0; WIDTH] }; parts * panels];
        for (first, outputs) in (0..input).step_by(DEPTH).zip(outputs.chunks_exact_mut(panels)) {
            let depth = DEPTH.min(input - first);
            let lines = &mut lines[first / GROUP * panels..][..groups(depth) * panels];
            let panels = lines.par_chunks_exact_mut(groups(depth)).zip(outputs).enumerate();
            panels.for_each(|(panel, (lines, outputs))| {
                for (lane, row) in (panel * PANEL..output.min((panel + 1) * PANEL)).enumerate() {
                    outputs.scales[lane] = scales[row];
                    for (k, &step) in steps[row * input + first..][..depth].iter().enumerate() {
                        lines[k / GROUP].0[lane * GROUP + k % GROUP] = step;
                        outputs.sums[lane] += i32::from(step);
                    }
                }
            });
        }
        Self { lines: lines.into(), outputs: outputs.into(), bias: Bias::new(bias), input, output }
    }

    /// What [`Packed::parts`] gave, in a mapped file; none where it cannot be that.
    pub(super) fn mapped(input: usize, output: usize, [lines, bias, outputs]: [Option<Part>; 3]) -> Option<Self> {
        let panels = output.div_ceil(PANEL);
        let bias = Bias::mapped(bias, panels)?;
        let outputs = Store::of(outputs?, panels * input.div_ceil(DEPTH))?;
        Some(Self { lines: Store::of(lines?, panels * groups(input))?, outputs, bias, input, output })
    }

    /// Lines, bias, and what makes numbers of sums, as bytes.
    pub(super) fn parts(&self) -> [&[u8]; 3] {
        [self.lines.bytes(), self.bias.bytes(), self.outputs.bytes()]
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

    /// The outputs `columns` of `x W^T`, begun with `start`, into the first numbers of each row of `out`; `columns` begin
    /// with a whole panel.
    pub fn apply_columns(
        &self,
        x: &Quantised,
        start: Start,
        columns: std::ops::Range<usize>,
        out: &mut [f32],
        stride: usize,
    ) {
        let panels = columns.start / PANEL..columns.end.div_ceil(PANEL);
        let mut start = start.of_panels(panels.start, panels.len());
        for part in 0..self.input.div_ceil(DEPTH) {
            let (left, right) = (x.part(part), self.part(part, panels.clone()));
            multiply(left, right, start, Out { values: &mut *out, stride, width: columns.len() });
            start = Start::Stored;
        }
    }

    /// Adds the part of the product that the inputs from `first` on have, [`DEPTH`] of them at most, which `x` holds.
    pub fn apply_inputs(&self, x: &Quantised, first: usize, start: Start, out: &mut [f32], stride: usize) {
        let right = self.part(first / DEPTH, 0..self.output.div_ceil(PANEL));
        multiply(x.part(0), right, start, Out { values: out, stride, width: self.output });
    }

    fn part(&self, part: usize, panels: std::ops::Range<usize>) -> Right<'_> {
        let (all, first) = (self.output.div_ceil(PANEL), part * DEPTH);
        let depth = groups(DEPTH.min(self.input - first));
        let lines = &self.lines[first / GROUP * all..][panels.start * depth..panels.end * depth];
        Right { lines, depth, outputs: &self.outputs[part * all..][panels] }
    }
}

/// Some panels of one part.
#[derive(Clone, Copy)]
struct Right<'a> {
    lines: &'a [ByteLine],
    /// Lines of a panel.
    depth: usize,
    outputs: &'a [Outputs],
}

dispatch_bytes!(fn multiply(left: Left<'_>, right: Right<'_>, start: Start<'_>, out: Out<'_>) = multiply_body);

/// Rows of the highest tile.
const MOST_ROWS: usize = 12;

#[inline(always)]
fn multiply_body<S: Sums, const ROWS: usize, const PANELS: usize>(left: Left, right: Right, start: Start, out: Out) {
    let panels = right.outputs.len();
    let whole = panels / PANELS * PANELS;
    for first in (0..whole).step_by(PANELS) {
        panels_at::<S, ROWS, PANELS>(left, right, first, start, Out { values: &mut *out.values, ..out });
    }
    for first in whole..panels {
        panels_at::<S, ROWS, 1>(left, right, first, start, Out { values: &mut *out.values, ..out });
    }
}

/// All rows against the `PANELS` panels from `first` on.
#[inline(always)]
fn panels_at<S: Sums, const ROWS: usize, const PANELS: usize>(
    left: Left,
    right: Right,
    first: usize,
    start: Start,
    out: Out,
) {
    let (column, start, depth) = (first * PANEL, start.of_panels(first, PANELS), right.depth);
    let width = (PANELS * PANEL).min(out.width - column);
    // The last panel's last outputs may not exist.
    let whole = width == PANELS * PANEL;
    let mut room = [0.0; MOST_ROWS * 2 * PANEL];
    let outputs = &right.outputs[first..][..PANELS];
    let mut rooms: [PanelRoom<<S::Form as Form>::Line>; PANELS] = [[MaybeUninit::uninit(); DEPTH / GROUP]; PANELS];
    let mut panels = [&[][..]; PANELS];
    for ((lines, room), place) in panels.iter_mut().zip(&mut rooms).zip(first..) {
        *lines = S::Form::lines(&right.lines[place * depth..][..depth], room);
    }
    let mut tiles = left.count.div_ceil(ROWS);
    let mut row = 0;
    while tiles > 0 {
        let rows = (left.count - row).div_ceil(tiles);
        tiles -= 1;
        let place = &mut out.values[row * out.stride + column..];
        begin(start, place, out.stride, width, rows);
        if !whole {
            copy(place, out.stride, &mut room, PANELS * PANEL, width, rows);
        }
        let (sums, across) = if whole { (&mut *place, out.stride) } else { (&mut room[..], PANELS * PANEL) };
        match rows {
            1 => tile::<S, 1, PANELS>(left, row, panels, outputs, sums, across),
            2 => tile::<S, 2, PANELS>(left, row, panels, outputs, sums, across),
            3 => tile::<S, 3, PANELS>(left, row, panels, outputs, sums, across),
            4 => tile::<S, 4, PANELS>(left, row, panels, outputs, sums, across),
            5 if ROWS >= 5 => tile::<S, 5, PANELS>(left, row, panels, outputs, sums, across),
            6 if ROWS >= 6 => tile::<S, 6, PANELS>(left, row, panels, outputs, sums, across),
            7 if ROWS >= 7 => tile::<S, 7, PANELS>(left, row, panels, outputs, sums, across),
            8 if ROWS >= 8 => tile::<S, 8, PANELS>(left, row, panels, outputs, sums, across),
            9 if ROWS >= 9 => tile::<S, 9, PANELS>(left, row, panels, outputs, sums, across),
            10 if ROWS >= 10 => tile::<S, 10, PANELS>(left, row, panels, outputs, sums, across),
            11 if ROWS >= 11 => tile::<S, 11, PANELS>(left, row, panels, outputs, sums, across),
            MOST_ROWS if ROWS >= MOST_ROWS => tile::<S, MOST_ROWS, PANELS>(left, row, panels, outputs, sums, across),
            rows => unreachable!("a tile of {rows} rows"),
        }
        if !whole {
            copy(&room, PANELS * PANEL, place, out.stride, width, rows);
        }
        row += rows;
    }
}

/// Writes what sums begin with into `width` numbers of `rows` rows.
#[inline(always)]
fn begin(start: Start, out: &mut [f32], stride: usize, width: usize, rows: usize) {
    match start {
        Start::Stored => {}
        Start::Zero => begin_rows::<false>(&[Line::of(0.0); 2], out, stride, width, rows),
        Start::Row(first) => begin_rows::<false>(first, out, stride, width, rows),
        Start::StoredAndRow(first) => begin_rows::<true>(first, out, stride, width, rows),
    }
}

/// With one line a panel, of two panels at most.
#[inline(always)]
fn begin_rows<const ONTO: bool>(first: &[Line], out: &mut [f32], stride: usize, width: usize, rows: usize) {
    for row in 0..rows {
        // Whole lines apart: filling or copying a length that is not known costs a call.
        let (lines, rest) = out[row * stride..][..width].as_chunks_mut::<PANEL>();
        let (whole, last) = first.split_at(lines.len());
        for (out, first) in lines.iter_mut().zip(whole) {
            for (out, first) in out.iter_mut().zip(first.0) {
                *out = if ONTO { *out + first } else { first };
            }
        }
        for (out, first) in rest.iter_mut().zip(last.iter().flat_map(|line| line.0)) {
            *out = if ONTO { *out + first } else { first };
        }
    }
}

/// Adds the products of `ROWS` rows, from `row` on, and `PANELS` panels to what lies in rows `across` numbers apart.
#[inline(always)]
fn tile<S: Sums, const ROWS: usize, const PANELS: usize>(
    left: Left,
    row: usize,
    panels: [&[<S::Form as Form>::Line]; PANELS],
    outputs: &[Outputs],
    out: &mut [f32],
    across: usize,
) {
    let depth = panels[0].len();
    let mut rows = [&[][..]; ROWS];
    for (values, row) in rows.iter_mut().zip(row..) {
        *values = S::Form::groups(left, row, depth);
    }
    let mut lines = panels;
    for lines in &mut lines {
        *lines = &lines[..depth];
    }
    let mut sums = [[S::zero(); PANELS]; ROWS];
    for k in 0..depth {
        // No closure: that would not be compiled for the vector unit.
        // SAFETY: `k` lies below `depth`, which every row and every panel is as long as.
        #[expect(unsafe_code, reason = "a comparison for every row and input takes much of the speed")]
        unsafe {
            let mut weights = [S::weights(lines[0].get_unchecked(k)); PANELS];
            for (weights, lines) in weights.iter_mut().zip(&lines) {
                *weights = S::weights(lines.get_unchecked(k));
            }
            for (sums, row) in sums.iter_mut().zip(&rows) {
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    *sum = sum.add_products(row.get_unchecked(k), weights);
                }
            }
        }
    }
    // Lent, never moved: sums that are moved out of their arrays pass through memory.
    for (place, sums) in sums.iter().enumerate() {
        let scale = left.scales[(row + place) * left.parts];
        let onto = out[place * across..][..PANELS * PANEL].as_chunks_mut::<PANEL>().0;
        for ((sum, outputs), onto) in sums.iter().zip(outputs).zip(onto) {
            sum.finish(scale, outputs, onto);
        }
    }
}

#[cfg(test)]
#[path = "int8_tests.rs"]
mod tests;
