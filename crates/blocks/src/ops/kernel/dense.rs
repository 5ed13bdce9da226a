//! A Linear's weight, packed as it is multiplied: in f32 or in bytes.

use super::int8::{self, Quantised};
use super::product::{self, Rows, Start};

/// What a product computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Arithmetic {
    /// f32 throughout.
    #[default]
    F32,
    /// Bytes on both sides, see [`int8`]; sums become f32.
    Int8,
}

/// A packed weight.
#[derive(Debug)]
pub enum Dense {
    /// In f32.
    F32(product::Packed),
    /// In bytes.
    Int8(int8::Packed),
}

/// A left side as its weight wants it.
#[derive(Clone, Copy)]
pub enum Left<'a> {
    /// As it is.
    F32(Rows<'a>),
    /// In bytes.
    Int8(&'a Quantised),
}

impl Dense {
    /// From `weight [output, input]` and `bias [output]`, row-major.
    pub fn new(weight: &[f32], bias: Option<&[f32]>, input: usize, arithmetic: Arithmetic) -> Self {
        match arithmetic {
            Arithmetic::F32 => Self::F32(product::Packed::new(weight, bias, input)),
            Arithmetic::Int8 => Self::Int8(int8::Packed::new(weight, bias, input)),
        }
    }

    /// Outputs.
    pub fn output(&self) -> usize {
        match self {
            Self::F32(packed) => packed.output(),
            Self::Int8(packed) => packed.output(),
        }
    }

    /// Inputs.
    pub fn input(&self) -> usize {
        match self {
            Self::F32(packed) => packed.input(),
            Self::Int8(packed) => packed.input(),
        }
    }

    /// The bias, for [`Start`].
    pub fn bias(&self) -> Start<'_> {
        match self {
            Self::F32(packed) => packed.bias(),
            Self::Int8(packed) => packed.bias(),
        }
    }

    /// The bias, onto what lies in the result.
    pub fn bias_onto(&self) -> Start<'_> {
        match self {
            Self::F32(packed) => packed.bias_onto(),
            Self::Int8(packed) => packed.bias_onto(),
        }
    }

    /// Rows of `input` numbers, made ready for [`Dense::apply_columns`] and [`Dense::apply_inputs`]; in `room` where they
    /// change.
    pub fn left<'a>(&self, x: Rows<'a>, input: usize, room: &'a mut Quantised) -> Left<'a> {
        match self {
            Self::F32(_) => Left::F32(x),
            Self::Int8(_) => {
                room.read(x, input);
                Left::Int8(room)
            }
        }
    }

    /// `x W^T`, begun with `start`, into the first [`Dense::output`] of each row of `out`.
    pub fn apply(&self, x: Rows, start: Start, out: &mut [f32], stride: usize, room: &mut Quantised) {
        self.apply_columns(self.left(x, self.input(), room), start, 0..self.output(), out, stride);
    }

    /// As [`Dense::apply`], the outputs `columns` alone, which begin with a whole panel.
    ///
    /// # Panics
    /// `x` was made ready for a weight of another kind.
    pub fn apply_columns(
        &self,
        x: Left,
        start: Start,
        columns: std::ops::Range<usize>,
        out: &mut [f32],
        stride: usize,
    ) {
        match (self, x) {
            (Self::F32(packed), Left::F32(x)) => packed.apply_columns(x, start, columns, out, stride),
            (Self::Int8(packed), Left::Int8(x)) => packed.apply_columns(x, start, columns, out, stride),
            _ => unreachable!("a left side is made for its weight"),
        }
    }

    /// Adds the part of the product that the inputs from `first` on have, [`product::DEPTH`] of them at most; `x` holds
    /// these alone.
    ///
    /// # Panics
    /// As [`Dense::apply_columns`].
    pub fn apply_inputs(&self, x: Left, first: usize, start: Start, out: &mut [f32], stride: usize) {
        match (self, x) {
            (Self::F32(packed), Left::F32(x)) => packed.apply_inputs(x, first, start, out, stride),
            (Self::Int8(packed), Left::Int8(x)) => packed.apply_inputs(x, first, start, out, stride),
            _ => unreachable!("a left side is made for its weight"),
        }
    }
}
