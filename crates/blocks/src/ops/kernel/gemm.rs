//! General matrix products over slices, and how rows are cut into tasks for them.

use gemm::Parallelism;

use super::matmul::Strides;

/// A matrix inside a slice.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    values: &'a [f32],
    strides: Strides,
    rows: usize,
    columns: usize,
}

impl<'a> Matrix<'a> {
    /// Row-major, as long as `values` reaches.
    pub(super) fn new(values: &'a [f32], columns: usize) -> Self {
        Self { values, strides: Strides { row: columns, column: 1 }, rows: values.len() / columns.max(1), columns }
    }

    pub(super) fn transposed(self) -> Self {
        let Strides { row, column } = self.strides;
        Self { strides: Strides { row: column, column: row }, rows: self.columns, columns: self.rows, ..self }
    }
}

/// What the product does with what is in its result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Onto {
    /// Overwrites it.
    Nothing,
    /// Adds to it.
    Result,
}

/// `c = a b`, or `c += a b`; `c` is row-major. On all threads if `alone`, which is for products outside of any task.
#[allow(unsafe_code)]
pub(super) fn gemm(c: &mut [f32], onto: Onto, a: Matrix, b: Matrix, alone: bool) {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    assert!(b.rows == k && c.len() == m * n, "{m}x{k} times {}x{n} into {}", b.rows, c.len());
    let threads = rayon::current_num_threads();
    let parallelism = if alone && threads > 1 { Parallelism::Rayon(threads) } else { Parallelism::None };
    // SAFETY: `Matrix` is built from slices of `rows * columns` elements, `c` has `m * n`, and all are initialised.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            n as isize,
            onto == Onto::Result,
            a.values.as_ptr(),
            a.strides.column as isize,
            a.strides.row as isize,
            b.values.as_ptr(),
            b.strides.column as isize,
            b.strides.row as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// How rows that meet `weights` weights each are cut into tasks. Depends on sizes alone, so that sums over tasks are the
/// same on any number of threads.
#[derive(Clone, Copy)]
pub(super) struct Tasks {
    /// Rows of one task.
    pub(super) rows: usize,
    /// Whether there is only one, whose products then run on all threads.
    pub(super) alone: bool,
}

impl Tasks {
    /// Every product packs its weights anew: fewer rows than this are not worth it.
    const FEWEST: usize = 128;
    const MOST: usize = 1024;
    /// Multiplications of one task.
    const WORK: usize = 1 << 21;

    pub(super) fn forward(rows: usize, weights: usize) -> Self {
        let own = (Self::WORK / weights.max(1)).clamp(Self::FEWEST, Self::MOST);
        Self::new(rows, if weights > 1 << 17 { own.max(2 * Self::FEWEST) } else { own })
    }

    /// Each task sums gradients of all weights, so there are fewer of them.
    pub(super) fn backward(rows: usize, weights: usize) -> Self {
        let most = ((1 << 22) / weights.max(1)).clamp(2, 32);
        let Self { rows: own, .. } = Self::forward(rows, weights);
        Self::new(rows, own.max(rows.div_ceil(most)))
    }

    fn new(rows: usize, own: usize) -> Self {
        Self { rows: own, alone: rows <= own }
    }
}

/// Adds the columns of `rows` to `sums`.
pub(super) fn add_columns(rows: &[f32], sums: &mut [f32]) {
    for row in rows.chunks_exact(sums.len()) {
        add(row, sums);
    }
}

/// `sum += part`.
pub(super) fn add(part: &[f32], sum: &mut [f32]) {
    sum.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
}

/// Writes `bias` into every row.
pub(super) fn fill_rows(bias: &[f32], rows: &mut [f32]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        row.copy_from_slice(bias);
    }
}
