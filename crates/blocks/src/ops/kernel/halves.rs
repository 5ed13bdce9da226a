//! Weights that numbers of two bytes (f16) hold exactly, kept in half the memory. They become f32 panel by panel where they are
//! multiplied, so that products are the same, bit by bit.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::panel::{DEPTH, Line, PANEL};

/// Lines of packed weights in two bytes a number.
#[derive(Debug)]
pub(super) struct Halves(Vec<f16>);

impl Halves {
    /// None where a number would become another one.
    pub(super) fn of(lines: &[Line]) -> Option<Self> {
        let mut halves = Vec::with_capacity(lines.len() * PANEL);
        for line in lines {
            let (mut own, mut back) = ([f16::ZERO; PANEL], [0.0; PANEL]);
            own.convert_from_f32_slice(&line.0);
            own.convert_to_f32_slice(&mut back);
            if back.iter().zip(&line.0).any(|(back, own)| back.to_bits() != own.to_bits()) {
                return None;
            }
            halves.extend_from_slice(&own);
        }
        Some(Self(halves))
    }

    /// The `count` lines from `first` on, at most [`DEPTH`], in `room`.
    pub(super) fn widen<'a>(&self, first: usize, count: usize, room: &'a mut [Line; DEPTH]) -> &'a [Line] {
        let halves = &self.0[first * PANEL..][..count * PANEL];
        for (line, halves) in room.iter_mut().zip(halves.chunks_exact(PANEL)) {
            halves.convert_to_f32_slice(&mut line.0);
        }
        &room[..count]
    }

    /// What it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.0.as_slice())
    }
}
