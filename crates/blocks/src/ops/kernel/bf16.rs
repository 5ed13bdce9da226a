//! Products of numbers of two bytes (bf16: the upper half of an f32), with sums in f32: half of what weights take, and
//! f32's range.
//!
//! A product of two such numbers is an f32 exactly, and is added to the sum of its output in one rounding, of each pair of
//! inputs the second one first, as the processor's own instruction does it. So every unit gives equal bytes, as long as no
//! sum that is not 0 is below the smallest normal number, 2^-126, which the instruction takes for 0.

#![expect(clippy::needless_pass_by_value, reason = "results are lent for one product")]

use rayon::prelude::*;

use super::bias::Bias;
#[cfg(target_arch = "x86_64")]
use super::pairs::{Native, Wide512};
use super::pairs::{PAIR, PairLine, Pairs, Wide, halved, widened};
use super::panel::{DEPTH, Out, PANEL, Rows, Start};
use super::store::{Part, Store};
use super::tile::copy;
use super::vector::VectorUnit;

/// Rows, rounded to numbers of two bytes, the left sides of products, and room for the next ones.
#[derive(Debug, Default)]
pub struct Halves {
    /// Rows of whole pairs, for the processor's instruction.
    narrow: Vec<u16>,
    /// The same numbers as f32, for the other way: of every [`DEPTH`] inputs the first ones of pairs, then the second ones.
    wide: Vec<f32>,
    way: Way,
    input: usize,
    count: usize,
}

impl Halves {
    /// Rows of `input` numbers.
    pub fn read(&mut self, x: Rows, input: usize) {
        self.read_by(Way::current(), x, input);
    }

    /// The same for products of the caller's choice, where the processor has them: for comparing times.
    pub fn read_by(&mut self, way: Way, x: Rows, input: usize) {
        let way = if way.available(VectorUnit::current()) { way } else { Way::Wide };
        (self.input, self.count, self.way) = (input, x.count, way);
        let size = self.count * self.stride();
        match self.way {
            Way::Native => {
                self.narrow.resize(self.narrow.len().max(size), 0);
                halve_rows(x, input, &mut self.narrow[..size]);
            }
            Way::Wide => {
                self.wide.resize(self.wide.len().max(size), 0.0);
                round_rows(x, input, &mut self.wide[..size]);
            }
        }
    }

    fn stride(&self) -> usize {
        self.input.next_multiple_of(PAIR)
    }

    /// Adds the products of the inputs from `first` on.
    fn multiply(&self, first: usize, right: Right, start: Start, out: Out) {
        let (stride, count) = (self.stride(), self.count);
        match self.way {
            Way::Native => multiply_natively(Left { values: &self.narrow[first..], stride, count }, right, start, out),
            Way::Wide => multiply_widely(Left { values: &self.wide[first..], stride, count }, right, start, out),
        }
    }
}

super::dispatch!(
    fn halve_rows(x: Rows<'_>, input: usize, values: &mut [u16]) = halve_rows_body
);

#[inline(always)]
fn halve_rows_body<const FUSED: bool>(x: Rows, input: usize, values: &mut [u16]) {
    for (row, values) in values.chunks_exact_mut(input.next_multiple_of(PAIR)).enumerate() {
        let (whole, rest) = values.split_at_mut(input);
        for (half, value) in whole.iter_mut().zip(&x.values[row * x.stride..][..input]) {
            *half = halved(*value);
        }
        rest.fill(0);
    }
}

super::dispatch!(
    fn round_rows(x: Rows<'_>, input: usize, values: &mut [f32]) = round_rows_body
);

#[inline(always)]
fn round_rows_body<const FUSED: bool>(x: Rows, input: usize, values: &mut [f32]) {
    for (row, values) in values.chunks_exact_mut(input.next_multiple_of(PAIR)).enumerate() {
        let x = &x.values[row * x.stride..][..input];
        for (values, x) in values.chunks_mut(DEPTH).zip(x.chunks(DEPTH)) {
            let (firsts, seconds) = values.split_at_mut(values.len() / PAIR);
            let (pairs, last) = x.as_chunks::<PAIR>();
            for ((first, second), pair) in firsts.iter_mut().zip(seconds.iter_mut()).zip(pairs) {
                (*first, *second) = (widened(halved(pair[0])), widened(halved(pair[1])));
            }
            if let (Some(first), Some(second), [last]) = (firsts.last_mut(), seconds.last_mut(), last) {
                (*first, *second) = (widened(halved(*last)), 0.0);
            }
        }
    }
}

/// A Linear's weight in two bytes a number: for every [`DEPTH`] inputs, all panels, and in each of these a line for every two inputs.
#[derive(Debug)]
pub struct Packed {
    lines: Store<PairLine>,
    bias: Bias,
    input: usize,
    output: usize,
}

/// Lines that `depth` inputs take.
fn pairs(depth: usize) -> usize {
    depth.div_ceil(PAIR)
}

impl Packed {
    /// From `weight [output, input]` and `bias [output]`, row-major.
    pub fn new(weight: &[f32], bias: Option<&[f32]>, input: usize) -> Self {
        let output = weight.len() / input;
        let panels = output.div_ceil(PANEL);
        let mut lines = vec![PairLine([0; PANEL]); panels * pairs(input)];
        for first in (0..input).step_by(DEPTH) {
            let depth = DEPTH.min(input - first);
            let part = &mut lines[first / PAIR * panels..][..pairs(depth) * panels];
            part.par_chunks_mut(pairs(depth)).enumerate().for_each(|(panel, lines)| {
                for (lane, row) in (panel * PANEL..output.min((panel + 1) * PANEL)).enumerate() {
                    for (k, weight) in weight[row * input + first..][..depth].iter().enumerate() {
                        lines[k / PAIR].set(lane, k % PAIR, *weight);
                    }
                }
            });
        }
        Self { lines: lines.into(), bias: Bias::new(bias), input, output }
    }

    /// What [`Packed::parts`] gave, in a mapped file; none where it cannot be that.
    pub(super) fn mapped(input: usize, output: usize, [lines, bias]: [Option<Part>; 2]) -> Option<Self> {
        let panels = output.div_ceil(PANEL);
        let bias = Bias::mapped(bias, panels)?;
        Some(Self { lines: Store::of(lines?, panels * pairs(input))?, bias, input, output })
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

    /// The outputs `columns` of `x W^T`, begun with `start`, into the first numbers of each row of `out`; `columns` begin
    /// with a whole panel.
    pub fn apply_columns(
        &self,
        x: &Halves,
        start: Start,
        columns: std::ops::Range<usize>,
        out: &mut [f32],
        stride: usize,
    ) {
        let panels = columns.start / PANEL..columns.end.div_ceil(PANEL);
        let mut start = start.of_panels(panels.start, panels.len());
        for first in (0..self.input).step_by(DEPTH) {
            let right = self.part(first, panels.clone());
            x.multiply(first, right, start, Out { values: &mut *out, stride, width: columns.len() });
            start = Start::Stored;
        }
    }

    /// Adds the part of the product that the inputs from `first` on have, [`DEPTH`] of them at most, which `x` holds.
    pub fn apply_inputs(&self, x: &Halves, first: usize, start: Start, out: &mut [f32], stride: usize) {
        let right = self.part(first, 0..self.output.div_ceil(PANEL));
        x.multiply(0, right, start, Out { values: out, stride, width: self.output });
    }

    fn part(&self, first: usize, panels: std::ops::Range<usize>) -> Right<'_> {
        let depth = pairs(DEPTH.min(self.input - first));
        let lines = &self.lines[first / PAIR * self.output.div_ceil(PANEL)..];
        Right { lines: &lines[panels.start * depth..panels.end * depth], depth }
    }
}

/// Rows of one part.
#[derive(Clone, Copy)]
struct Left<'a, V> {
    values: &'a [V],
    stride: usize,
    count: usize,
}

/// Some panels of one part.
#[derive(Clone, Copy)]
struct Right<'a> {
    lines: &'a [PairLine],
    /// Lines of a panel.
    depth: usize,
}

/// With the processor's instruction.
///
/// # Panics
/// It has none.
#[allow(unsafe_code)]
fn multiply_natively(left: Left<u16>, right: Right, start: Start, out: Out) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
        fn native(left: Left<u16>, right: Right, start: Start, out: Out) {
            multiply_body::<Native, 12, 2>(left, right, start, out);
        }
        if Way::Native.available(VectorUnit::current()) {
            // SAFETY: the processor has AVX-512 F, BW, VL, DQ and BF16, AVX2 and FMA.
            return unsafe { native(left, right, start, out) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (right, start, out);
    unreachable!("{} rows are for an instruction that is not there", left.count);
}

/// By way of f32.
#[allow(unsafe_code)]
fn multiply_widely(left: Left<f32>, right: Right, start: Start, out: Out) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq")]
        fn wide(left: Left<f32>, right: Right, start: Start, out: Out) {
            multiply_body::<Wide512, 12, 2>(left, right, start, out);
        }
        #[target_feature(enable = "avx2,fma")]
        fn vectorised(left: Left<f32>, right: Right, start: Start, out: Out) {
            multiply_body::<Wide<super::lanes::Avx2>, 4, 1>(left, right, start, out);
        }
        if VectorUnit::current() >= VectorUnit::Avx512 {
            // SAFETY: the processor has AVX-512 F, BW, VL and DQ, AVX2 and FMA.
            return unsafe { wide(left, right, start, out) };
        }
        if VectorUnit::current() >= VectorUnit::Avx2 {
            // SAFETY: the processor has AVX2 and FMA.
            return unsafe { vectorised(left, right, start, out) };
        }
    }
    #[cfg(target_arch = "aarch64")]
    if VectorUnit::current() >= VectorUnit::Neon {
        return multiply_body::<Wide<super::lanes::Neon>, 4, 1>(left, right, start, out);
    }
    multiply_body::<Wide<super::lanes::Plain>, 4, 1>(left, right, start, out);
}

#[path = "bf16_way.rs"]
mod way;
pub use way::Way;

/// Rows of the highest tile.
const MOST_ROWS: usize = 12;

#[inline(always)]
fn multiply_body<P: Pairs, const ROWS: usize, const PANELS: usize>(
    left: Left<P::Value>,
    right: Right,
    start: Start,
    out: Out,
) {
    let panels = right.lines.len() / right.depth;
    let whole = panels / PANELS * PANELS;
    for first in (0..whole).step_by(PANELS) {
        panels_at::<P, ROWS, PANELS>(left, right, first, start, Out { values: &mut *out.values, ..out });
    }
    for first in whole..panels {
        panels_at::<P, ROWS, 1>(left, right, first, start, Out { values: &mut *out.values, ..out });
    }
}

/// All rows against the `PANELS` panels from `first` on.
#[inline(always)]
fn panels_at<P: Pairs, const ROWS: usize, const PANELS: usize>(
    left: Left<P::Value>,
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
    let lines: [&[PairLine]; PANELS] = std::array::from_fn(|i| &right.lines[(first + i) * depth..][..depth]);
    // Tiles of about the same height: one of a row or two would take as long as one of four.
    let mut tiles = left.count.div_ceil(ROWS);
    let mut row = 0;
    while tiles > 0 {
        let rows = (left.count - row).div_ceil(tiles);
        tiles -= 1;
        let place = &mut out.values[row * out.stride + column..];
        if !whole {
            copy(place, out.stride, &mut room, PANELS * PANEL, width, rows);
        }
        let (sums, across) = if whole { (&mut *place, out.stride) } else { (&mut room[..], PANELS * PANEL) };
        let (x, stride) = (&left.values[row * left.stride..], left.stride);
        match rows {
            1 => tile::<P, 1, PANELS>(x, stride, lines, start, sums, across),
            2 => tile::<P, 2, PANELS>(x, stride, lines, start, sums, across),
            3 => tile::<P, 3, PANELS>(x, stride, lines, start, sums, across),
            4 => tile::<P, 4, PANELS>(x, stride, lines, start, sums, across),
            5 if ROWS >= 5 => tile::<P, 5, PANELS>(x, stride, lines, start, sums, across),
            6 if ROWS >= 6 => tile::<P, 6, PANELS>(x, stride, lines, start, sums, across),
            7 if ROWS >= 7 => tile::<P, 7, PANELS>(x, stride, lines, start, sums, across),
            8 if ROWS >= 8 => tile::<P, 8, PANELS>(x, stride, lines, start, sums, across),
            9 if ROWS >= 9 => tile::<P, 9, PANELS>(x, stride, lines, start, sums, across),
            10 if ROWS >= 10 => tile::<P, 10, PANELS>(x, stride, lines, start, sums, across),
            11 if ROWS >= 11 => tile::<P, 11, PANELS>(x, stride, lines, start, sums, across),
            MOST_ROWS if ROWS >= MOST_ROWS => tile::<P, MOST_ROWS, PANELS>(x, stride, lines, start, sums, across),
            rows => unreachable!("a tile of {rows} rows"),
        }
        if !whole {
            copy(&room, PANELS * PANEL, place, out.stride, width, rows);
        }
        row += rows;
    }
}

/// The products of `ROWS` rows and `PANELS` panels, begun with `start`, into rows `across` numbers apart.
#[inline(always)]
fn tile<P: Pairs, const ROWS: usize, const PANELS: usize>(
    x: &[P::Value],
    stride: usize,
    lines: [&[PairLine]; PANELS],
    start: Start,
    out: &mut [f32],
    across: usize,
) {
    let depth = lines[0].len();
    let mut rows = [&x[..0]; ROWS];
    for (row, values) in rows.iter_mut().enumerate() {
        *values = &x[row * stride..][..PAIR * depth];
    }
    let mut panels = lines;
    for lines in &mut panels {
        *lines = &lines[..depth];
    }
    let mut sums = [[P::load(&[0.0; PANEL]); PANELS]; ROWS];
    if matches!(start, Start::Stored | Start::StoredAndRow(_)) {
        for (row, sums) in sums.iter_mut().enumerate() {
            let stored = out[row * across..][..PANELS * PANEL].as_chunks::<PANEL>().0;
            for (sum, stored) in sums.iter_mut().zip(stored) {
                *sum = P::load(stored);
            }
        }
    }
    if let Start::Row(first) | Start::StoredAndRow(first) = start {
        let first = &first[..PANELS];
        for sums in &mut sums {
            for (sum, first) in sums.iter_mut().zip(first) {
                *sum = sum.add(P::load(&first.0));
            }
        }
    }
    for k in 0..depth {
        // No closure: that would not be compiled for the vector unit.
        // SAFETY: `k` lies below `depth`, which every row and every panel is as long as.
        #[expect(unsafe_code, reason = "a comparison for every row and input takes much of the speed")]
        unsafe {
            let mut weights = [P::weights(panels[0].get_unchecked(k)); PANELS];
            for (weights, lines) in weights.iter_mut().zip(&panels) {
                *weights = P::weights(lines.get_unchecked(k));
            }
            for step in 0..P::STEPS {
                for (sums, row) in sums.iter_mut().zip(&rows) {
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        *sum = sum.add_products(step, row, k, weights);
                    }
                }
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        let stored = out[row * across..][..PANELS * PANEL].as_chunks_mut::<PANEL>().0;
        for (sum, stored) in sums.iter().zip(stored) {
            sum.store(stored);
        }
    }
}

#[cfg(test)]
#[path = "bf16_tests.rs"]
mod tests;
