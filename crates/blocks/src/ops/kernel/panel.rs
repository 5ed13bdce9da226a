//! What products are given: panels of packed weights, rows, what sums begin with, and where they go.

use super::lanes::WIDTH;

/// Outputs of a panel: a cache line, one register of AVX-512, two of AVX2.
pub const PANEL: usize = WIDTH;
/// Inputs that are multiplied before the next panel's turn: a panel of that depth takes 24 of the first cache's 32 KiB.
pub const DEPTH: usize = 384;

/// One input's part in the outputs of a panel.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Line(pub [f32; PANEL]);

impl Line {
    /// All the same.
    pub const fn of(value: f32) -> Self {
        Self([value; PANEL])
    }

    /// `values` in lines, the last one filled up with `rest`.
    pub fn all(values: &[f32], rest: f32) -> Vec<Self> {
        Self::each(values, rest).collect()
    }

    /// The same, one after the other.
    pub(super) fn each(values: &[f32], rest: f32) -> impl Iterator<Item = Self> {
        values.chunks(PANEL).map(move |chunk| {
            let mut line = Self::of(rest);
            line.0[..chunk.len()].copy_from_slice(chunk);
            line
        })
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
