//! Products of matrices of a few dozen rows, inside one task, where a general matrix product costs more to start than
//! to run.

use super::lanes::{Lanes, WIDTH};
use super::madd;

/// Columns per step: two AVX registers.
pub(super) const STEP: usize = WIDTH;
/// Rows per step.
const ROWS: usize = 4;

/// `width` rounded up to whole steps.
pub(super) fn padded(width: usize) -> usize {
    width.next_multiple_of(STEP)
}

/// Element `(row, column)` of a matrix lies at `row * row_stride + column * column_stride`.
#[derive(Clone, Copy)]
pub(super) struct Strides {
    pub(super) row: usize,
    pub(super) column: usize,
}

/// Copies a matrix into rows of `padded(columns)` elements, scaled; the padding is zero.
#[inline(always)]
pub(super) fn pack(source: &[f32], strides: Strides, (rows, columns): (usize, usize), scale: f32, target: &mut [f32]) {
    let width = padded(columns);
    for (row, target) in target.chunks_exact_mut(width).take(rows).enumerate() {
        let start = row * strides.row;
        for (column, value) in target.iter_mut().enumerate() {
            *value = if column < columns { scale * source[start + column * strides.column] } else { 0.0 };
        }
    }
}

/// The same as [`product`], with the sums of `ROWS` rows in vector registers: for sequences of hundreds of tokens.
#[inline(always)]
pub(super) fn product_in<L: Lanes, const ROWS: usize>(
    a: &[f32],
    strides: Strides,
    (rows, depth): (usize, usize),
    b: &[f32],
    width: usize,
    c: &mut [f32],
) {
    let b = &b[..depth * width];
    for row in (0..rows).step_by(ROWS) {
        let count = ROWS.min(rows - row);
        // Rows past the end repeat the last one and are not stored.
        let starts: [usize; ROWS] = std::array::from_fn(|r| (row + r.min(count - 1)) * strides.row);
        for column in (0..width).step_by(STEP) {
            let mut sums = [L::load(&[0.0; STEP]); ROWS];
            for (k, b) in b.chunks_exact(width).enumerate() {
                let Some(b) = b[column..].first_chunk::<STEP>() else { continue };
                let b = L::load(b);
                for (sum, start) in sums.iter_mut().zip(starts) {
                    *sum = sum.add_product(a[start + k * strides.column], b);
                }
            }
            for (r, sum) in sums.into_iter().enumerate().take(count) {
                if let Some(c) = c[(row + r) * width + column..].first_chunk_mut() {
                    sum.store(c);
                }
            }
        }
    }
}

/// `c = a b`: `a` with any strides, `b` packed, `c` in rows of `b`'s padded width.
#[inline(always)]
pub(super) fn product<const FUSED: bool>(
    a: &[f32],
    strides: Strides,
    (rows, depth): (usize, usize),
    b: &[f32],
    width: usize,
    c: &mut [f32],
) {
    let b = &b[..depth * width];
    let mut row = 0;
    while row < rows {
        let count = ROWS.min(rows - row);
        for column in (0..width).step_by(STEP) {
            let mut sums = [[0.0f32; STEP]; ROWS];
            for (k, b) in b.chunks_exact(width).enumerate() {
                let Some(b) = b[column..].first_chunk::<STEP>() else { continue };
                for (r, sums) in sums.iter_mut().enumerate() {
                    // Rows past the end repeat the last one and are not stored.
                    let at = (row + r.min(count - 1)) * strides.row + k * strides.column;
                    let value = a[at];
                    for lane in 0..STEP {
                        sums[lane] = madd::<FUSED>(value, b[lane], sums[lane]);
                    }
                }
            }
            for (r, sums) in sums.iter().enumerate().take(count) {
                c[(row + r) * width + column..][..STEP].copy_from_slice(sums);
            }
        }
        row += count;
    }
}
