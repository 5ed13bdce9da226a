//! A Linear's weight, packed as it is multiplied: in f32, in two bytes a number, or in one.

use std::ops::Range;

use super::bf16::{self, Halves};
use super::int8::{self, Quantised};
use super::product::{self, DEPTH, PANEL, Rows, Start};
use super::store::Part;

/// What a product computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Arithmetic {
    /// f32 throughout.
    #[default]
    F32,
    /// Two bytes on both sides, see [`bf16`]; sums are f32.
    Bf16,
    /// Bytes on both sides, see [`int8`]; sums become f32.
    Int8,
}

impl Arithmetic {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Int8];

    /// As files and flags call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }
}

/// How packed weights lie, in a word: in what is written for another layout nothing is where this build looks for it.
/// No processor wants another one.
pub fn layout() -> String {
    const VERSION: usize = 1;
    format!("panel{PANEL}-depth{DEPTH}-group{}-pair{}-v{VERSION}", super::bytes::GROUP, super::pairs::PAIR)
}

/// A packed weight.
#[derive(Debug)]
pub enum Dense {
    /// In f32.
    F32(product::Packed),
    /// In two bytes a number.
    Bf16(bf16::Packed),
    /// In bytes.
    Int8(int8::Packed),
}

/// A left side as its weight wants it.
#[derive(Clone, Copy)]
pub enum Left<'a> {
    /// As it is.
    F32(Rows<'a>),
    /// In two bytes a number.
    Bf16(&'a Halves),
    /// In bytes.
    Int8(&'a Quantised),
}

/// Room for a left side that is not multiplied as it is.
#[derive(Debug, Default)]
pub struct Room {
    halves: Halves,
    bytes: Quantised,
}

impl Dense {
    /// From `weight [output, input]` and `bias [output]`, row-major.
    pub fn new(weight: &[f32], bias: Option<&[f32]>, input: usize, arithmetic: Arithmetic) -> Self {
        match arithmetic {
            Arithmetic::F32 => Self::F32(product::Packed::new(weight, bias, input)),
            Arithmetic::Bf16 => Self::Bf16(bf16::Packed::new(weight, bias, input)),
            Arithmetic::Int8 => Self::Int8(int8::Packed::new(weight, bias, input)),
        }
    }

    /// What [`Dense::parts`] gave, in a mapped file; none where it cannot be that.
    pub fn mapped(arithmetic: Arithmetic, input: usize, output: usize, parts: [Option<Part>; 3]) -> Option<Self> {
        let [lines, bias, more] = parts;
        match arithmetic {
            Arithmetic::F32 => product::Packed::mapped(input, output, [lines, bias]).map(Self::F32),
            Arithmetic::Bf16 => bf16::Packed::mapped(input, output, [lines, bias]).map(Self::Bf16),
            Arithmetic::Int8 => int8::Packed::mapped(input, output, [lines, bias, more]).map(Self::Int8),
        }
    }

    /// All that it consists of, as bytes: weights, bias, and what makes numbers of sums, each of them whole cache lines, or
    /// nothing.
    pub fn parts(&self) -> [&[u8]; 3] {
        match self {
            Self::F32(packed) => with_none(packed.parts()),
            Self::Bf16(packed) => with_none(packed.parts()),
            Self::Int8(packed) => packed.parts(),
        }
    }

    /// What its products compute in.
    pub fn arithmetic(&self) -> Arithmetic {
        match self {
            Self::F32(_) => Arithmetic::F32,
            Self::Bf16(_) => Arithmetic::Bf16,
            Self::Int8(_) => Arithmetic::Int8,
        }
    }

    /// Outputs.
    pub fn output(&self) -> usize {
        match self {
            Self::F32(packed) => packed.output(),
            Self::Bf16(packed) => packed.output(),
            Self::Int8(packed) => packed.output(),
        }
    }

    /// Inputs.
    pub fn input(&self) -> usize {
        match self {
            Self::F32(packed) => packed.input(),
            Self::Bf16(packed) => packed.input(),
            Self::Int8(packed) => packed.input(),
        }
    }

    /// The bias, for [`Start`].
    pub fn bias(&self) -> Start<'_> {
        match self {
            Self::F32(packed) => packed.bias(),
            Self::Bf16(packed) => packed.bias(),
            Self::Int8(packed) => packed.bias(),
        }
    }

    /// The bias, onto what lies in the result.
    pub fn bias_onto(&self) -> Start<'_> {
        match self {
            Self::F32(packed) => packed.bias_onto(),
            Self::Bf16(packed) => packed.bias_onto(),
            Self::Int8(packed) => packed.bias_onto(),
        }
    }

    /// Rows of `input` numbers, made ready for [`Dense::apply_columns`] and [`Dense::apply_inputs`]; in `room` where they
    /// change.
    pub fn left<'a>(&self, x: Rows<'a>, input: usize, room: &'a mut Room) -> Left<'a> {
        match self {
            Self::F32(_) => Left::F32(x),
            Self::Bf16(_) => {
                room.halves.read(x, input);
                Left::Bf16(&room.halves)
            }
            Self::Int8(_) => {
                room.bytes.read(x, input);
                Left::Int8(&room.bytes)
            }
        }
    }

    /// `x W^T`, begun with `start`, into the first [`Dense::output`] of each row of `out`.
    pub fn apply(&self, x: Rows, start: Start, out: &mut [f32], stride: usize, room: &mut Room) {
        self.apply_columns(self.left(x, self.input(), room), start, 0..self.output(), out, stride);
    }

    /// As [`Dense::apply`], the outputs `columns` alone, which begin with a whole panel.
    ///
    /// # Panics
    /// `x` was made ready for a weight of another kind.
    pub fn apply_columns(&self, x: Left, start: Start, columns: Range<usize>, out: &mut [f32], stride: usize) {
        match (self, x) {
            (Self::F32(packed), Left::F32(x)) => packed.apply_columns(x, start, columns, out, stride),
            (Self::Bf16(packed), Left::Bf16(x)) => packed.apply_columns(x, start, columns, out, stride),
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
            (Self::Bf16(packed), Left::Bf16(x)) => packed.apply_inputs(x, first, start, out, stride),
            (Self::Int8(packed), Left::Int8(x)) => packed.apply_inputs(x, first, start, out, stride),
            _ => unreachable!("a left side is made for its weight"),
        }
    }
}

fn with_none([lines, bias]: [&[u8]; 2]) -> [&[u8]; 3] {
    [lines, bias, &[]]
}
