//! The products' inner loops. For each panel the rows of the left side pass by, a few at a time, with their sums in
//! registers; the panel stays in the first cache meanwhile, the rows in the second (Goto and van de Geijn 2008).

#![expect(clippy::needless_pass_by_value, reason = "results are lent for one product")]

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::dispatch_rows;
use super::lanes::Lanes;
use super::panel::{DEPTH, Line, Out, PANEL, Rows, Start};
use super::vector::VectorUnit;

/// Inputs at a time where two panels pass at once: these then take 24 KiB.
const PAIR_DEPTH: usize = 192;

/// `x` times panels of `depth` lines each, begun with `start`.
pub fn multiply(x: Rows<'_>, lines: &[Line], depth: usize, start: Start<'_>, out: Out<'_>) {
    multiply_by(Tile::current(), x, lines, depth, start, out);
}

/// As [`multiply`], with a tile of the caller's choice.
pub fn multiply_by(tile: Tile, x: Rows<'_>, lines: &[Line], depth: usize, start: Start<'_>, out: Out<'_>) {
    match tile {
        Tile::One => multiply_by_one(x, lines, depth, start, out),
        Tile::Two => multiply_by_two(x, lines, depth, start, out),
    }
}

dispatch_rows!(
    fn multiply_by_one(x: Rows<'_>, lines: &[Line], depth: usize, start: Start<'_>, out: Out<'_>) = by_one_body
);
/// With AVX-512, which alone has the registers.
#[allow(unsafe_code)]
fn multiply_by_two(x: Rows<'_>, lines: &[Line], depth: usize, start: Start<'_>, out: Out<'_>) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq")]
        fn wide(x: Rows<'_>, lines: &[Line], depth: usize, start: Start<'_>, out: Out<'_>) {
            by_two_body::<super::lanes::Avx512>(x, lines, depth, start, out);
        }
        if VectorUnit::current() >= VectorUnit::Avx512 {
            // SAFETY: the processor has AVX-512 F, BW, VL and DQ, AVX2 and FMA.
            return unsafe { wide(x, lines, depth, start, out) };
        }
    }
    multiply_by_one(x, lines, depth, start, out);
}

/// Panels whose sums are in registers at a time, where AVX-512 has room for two. Two of them read less for every
/// multiplication, and have more sums that do not wait for each other: faster where the processor begins two 512-bit
/// multiplications in a cycle, and a little slower where it begins one. The bytes are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tile {
    /// Eight rows and a panel.
    One,
    /// Twelve rows and two panels.
    Two,
}

impl Tile {
    /// What products use: the one that was faster on this processor, measured once a process, when the first product is
    /// asked for (a millisecond or two).
    pub fn current() -> Self {
        static MEASURED: OnceLock<Tile> = OnceLock::new();
        #[cfg(test)]
        if let Some(forced) = FORCED.get() {
            return forced;
        }
        if !matches!(VectorUnit::current(), VectorUnit::Avx512 | VectorUnit::Vnni) {
            return Self::One;
        }
        *MEASURED.get_or_init(Self::measured)
    }

    /// From now on products use it on this thread.
    #[cfg(test)]
    pub(super) fn force(self) {
        FORCED.set(Some(self));
    }

    fn measured() -> Self {
        const ROWS: usize = 96;
        const PANELS: usize = 8;
        const ROUNDS: usize = 5;
        /// Share of the time of one that two must stay below: a measurement is never quite right.
        const ENOUGH: f64 = 0.98;
        let (x, lines) = (vec![0.5; ROWS * DEPTH], vec![Line::of(0.25); PANELS * DEPTH]);
        let mut y = vec![0.0; ROWS * PANELS * PANEL];
        let rows = Rows { values: &x, stride: DEPTH, count: ROWS };
        let (mut one, mut two) = (Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            for (time, multiply) in [(&mut one, multiply_by_one as Multiply), (&mut two, multiply_by_two)] {
                let start = Instant::now();
                let out = Out { values: &mut y, stride: PANELS * PANEL, width: PANELS * PANEL };
                multiply(rows, &lines, DEPTH, Start::Zero, out);
                *time = start.elapsed().min(*time);
            }
        }
        if two.as_secs_f64() < ENOUGH * one.as_secs_f64() { Self::Two } else { Self::One }
    }
}

#[cfg(test)]
thread_local! {
    static FORCED: std::cell::Cell<Option<Tile>> = const { std::cell::Cell::new(None) };
}

type Multiply = fn(Rows<'_>, &[Line], usize, Start<'_>, Out<'_>);

/// Rows of the highest tile.
const MOST_ROWS: usize = 12;

#[inline(always)]
fn by_one_body<L: Lanes, const FUSED: bool, const ROWS: usize>(
    x: Rows,
    lines: &[Line],
    depth: usize,
    start: Start,
    out: Out,
) {
    for first in 0..lines.len() / depth {
        panels_at::<L, 1, ROWS>(x, lines, depth, first, start, Out { values: &mut *out.values, ..out });
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn by_two_body<L: Lanes>(x: Rows, lines: &[Line], depth: usize, start: Start, out: Out) {
    let panels = lines.len() / depth;
    let paired = panels / 2 * 2;
    for first in (0..paired).step_by(2) {
        panels_at::<L, 2, MOST_ROWS>(x, lines, depth, first, start, Out { values: &mut *out.values, ..out });
    }
    if paired < panels {
        panels_at::<L, 1, MOST_ROWS>(x, lines, depth, paired, start, out);
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
    let column = first * PANEL;
    let width = (PANELS * PANEL).min(out.width - column);
    // The last panel's last outputs may not exist.
    let mut room = (width < PANELS * PANEL).then_some([0.0; MOST_ROWS * 2 * PANEL]);
    let mut start = start.of_panels(first, PANELS);
    let step = if PANELS == 2 { PAIR_DEPTH } else { depth };
    for input in (0..depth).step_by(step) {
        let deep = step.min(depth - input);
        let lines: [&[Line]; PANELS] = std::array::from_fn(|i| &lines[(first + i) * depth + input..][..deep]);
        // Tiles of about the same height: one of a row or two would take as long as one of four.
        let mut tiles = x.count.div_ceil(ROWS);
        let mut row = 0;
        while tiles > 0 {
            let rows = (x.count - row).div_ceil(tiles);
            tiles -= 1;
            let place = &mut out.values[row * out.stride + column..];
            let (left, stride) = (&x.values[row * x.stride + input..], x.stride);
            let (sums, across) = match &mut room {
                None => (&mut *place, out.stride),
                Some(room) => {
                    copy(place, out.stride, room, PANELS * PANEL, width, rows);
                    (&mut room[..], PANELS * PANEL)
                }
            };
            match rows {
                1 => tile::<L, PANELS, 1>(left, stride, lines, start, sums, across),
                2 => tile::<L, PANELS, 2>(left, stride, lines, start, sums, across),
                3 => tile::<L, PANELS, 3>(left, stride, lines, start, sums, across),
                4 => tile::<L, PANELS, 4>(left, stride, lines, start, sums, across),
                5 if ROWS >= 5 => tile::<L, PANELS, 5>(left, stride, lines, start, sums, across),
                6 if ROWS >= 6 => tile::<L, PANELS, 6>(left, stride, lines, start, sums, across),
                7 if ROWS >= 7 => tile::<L, PANELS, 7>(left, stride, lines, start, sums, across),
                8 if ROWS >= 8 => tile::<L, PANELS, 8>(left, stride, lines, start, sums, across),
                9 if ROWS >= 9 => tile::<L, PANELS, 9>(left, stride, lines, start, sums, across),
                10 if ROWS >= 10 => tile::<L, PANELS, 10>(left, stride, lines, start, sums, across),
                11 if ROWS >= 11 => tile::<L, PANELS, 11>(left, stride, lines, start, sums, across),
                MOST_ROWS if ROWS >= 12 => tile::<L, PANELS, MOST_ROWS>(left, stride, lines, start, sums, across),
                rows => unreachable!("a tile of {rows} rows"),
            }
            if let Some(room) = &room {
                copy(room, PANELS * PANEL, place, out.stride, width, rows);
            }
            row += rows;
        }
        start = Start::Stored;
    }
}

/// `width` numbers of `rows` rows.
#[inline(always)]
pub(super) fn copy(from: &[f32], stride: usize, to: &mut [f32], to_stride: usize, width: usize, rows: usize) {
    for row in 0..rows {
        to[row * to_stride..][..width].copy_from_slice(&from[row * stride..][..width]);
    }
}

/// The products of `ROWS` rows and `PANELS` panels, begun with `start`, into rows `across` numbers apart. All sums are in
/// registers, from the first on: to read what has just been written in narrower pieces would make it wait.
#[inline(always)]
fn tile<L: Lanes, const PANELS: usize, const ROWS: usize>(
    x: &[f32],
    stride: usize,
    lines: [&[Line]; PANELS],
    start: Start,
    out: &mut [f32],
    across: usize,
) {
    let depth = lines[0].len();
    let (mut rows, mut panels) = ([&x[..0]; ROWS], lines);
    for (row, values) in rows.iter_mut().enumerate() {
        *values = &x[row * stride..][..depth];
    }
    for lines in &mut panels {
        *lines = &lines[..depth];
    }
    let mut sums = [[L::load(&[0.0; PANEL]); PANELS]; ROWS];
    if matches!(start, Start::Stored | Start::StoredAndRow(_)) {
        for (row, sums) in sums.iter_mut().enumerate() {
            let stored = out[row * across..][..PANELS * PANEL].as_chunks::<PANEL>().0;
            for (sum, stored) in sums.iter_mut().zip(stored) {
                *sum = L::load(stored);
            }
        }
    }
    if let Start::Row(first) | Start::StoredAndRow(first) = start {
        let first = &first[..PANELS];
        for sums in &mut sums {
            for (sum, first) in sums.iter_mut().zip(first) {
                *sum = sum.add(L::load(&first.0));
            }
        }
    }
    for k in 0..depth {
        // SAFETY: `k` lies below `depth`, which every row and every panel is as long as.
        #[expect(unsafe_code, reason = "a comparison for every row and input takes half the speed")]
        unsafe {
            let mut right = [L::load(&panels[0].get_unchecked(k).0); PANELS];
            for (right, lines) in right.iter_mut().zip(&panels) {
                *right = L::load(&lines.get_unchecked(k).0);
            }
            for (sums, row) in sums.iter_mut().zip(&rows) {
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = sum.add_product(*row.get_unchecked(k), right);
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
