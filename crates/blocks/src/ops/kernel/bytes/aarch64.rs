//! Sums in the registers of aarch64: of NEON alone, and with its products of bytes.

#![allow(unsafe_code)]

use std::arch::aarch64::{
    int8x16_t, int32x4_t, vdupq_n_s32, vget_low_s8, vld1q_s8, vmull_high_s8, vmull_s8, vpadalq_s16, vpaddq_s32,
    vreinterpretq_s8_s32, vst1q_s32,
};

use super::{AsBytes, ByteLine, GROUP, Outputs, Plain, Range, RowScale, Sums, WIDTH};

/// Weights of four outputs each.
type Line = [int8x16_t; 4];

/// Both sides of these instructions are signed: of every value this much is taken away.
const MIDDLE: i32 = 128;

#[inline(always)]
fn line(line: &ByteLine) -> Line {
    let at = line.0.as_ptr();
    // SAFETY: a line is 64 bytes.
    unsafe { [vld1q_s8(at), vld1q_s8(at.add(16)), vld1q_s8(at.add(32)), vld1q_s8(at.add(48))] }
}

/// The four values without [`MIDDLE`], four times.
#[inline(always)]
fn signed(values: [u8; GROUP]) -> int8x16_t {
    let flipped = u32::from_le_bytes(values) ^ 0x8080_8080;
    // SAFETY: every aarch64 has NEON.
    unsafe { vreinterpretq_s8_s32(vdupq_n_s32(flipped as i32)) }
}

/// As [`Sums::finish`], of sums of values without [`MIDDLE`].
#[inline(always)]
fn finish(parts: [int32x4_t; 4], row: RowScale, outputs: &Outputs, onto: &mut [f32; WIDTH]) {
    let mut sums = [0; WIDTH];
    for (part, sums) in parts.into_iter().zip(sums.as_chunks_mut::<4>().0) {
        // SAFETY: an array of four.
        unsafe { vst1q_s32(sums.as_mut_ptr(), part) };
    }
    Plain(sums).finish(RowScale { zero: row.zero - MIDDLE, ..row }, outputs, onto);
}

/// For every output its first two inputs of a group, then its last two: eight registers of four sums.
#[derive(Clone, Copy)]
pub(crate) struct Neon([int32x4_t; 8]);

impl Sums for Neon {
    type Form = AsBytes;
    type Weights = Line;

    #[inline(always)]
    fn range(x: &[[f32; WIDTH]]) -> Range {
        Plain::range(x)
    }

    #[inline(always)]
    fn bytes(x: &[f32; WIDTH], steps: f32, onto: f32, to: &mut [u8; WIDTH]) {
        Plain::bytes(x, steps, onto, to);
    }

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: every aarch64 has NEON.
        Self([unsafe { vdupq_n_s32(0) }; 8])
    }

    #[inline(always)]
    fn weights(weights: &ByteLine) -> Line {
        line(weights)
    }

    #[inline(always)]
    fn add_products(mut self, values: &[u8; GROUP], weights: Line) -> Self {
        let values = signed(*values);
        for (sums, weights) in self.0.as_chunks_mut::<2>().0.iter_mut().zip(weights) {
            // SAFETY: every aarch64 has NEON. A product takes fifteen bits.
            unsafe {
                let low = vmull_s8(vget_low_s8(values), vget_low_s8(weights));
                *sums = [vpadalq_s16(sums[0], low), vpadalq_s16(sums[1], vmull_high_s8(values, weights))];
            }
        }
        self
    }

    #[inline(always)]
    fn finish(self, row: RowScale, outputs: &Outputs, onto: &mut [f32; WIDTH]) {
        let both = |part: usize| {
            // SAFETY: every aarch64 has NEON.
            unsafe { vpaddq_s32(self.0[2 * part], self.0[2 * part + 1]) }
        };
        finish([both(0), both(1), both(2), both(3)], row, outputs, onto);
    }
}

/// Four registers of four sums. To be used only where the processor has products of bytes.
#[derive(Clone, Copy)]
pub(crate) struct DotProd([int32x4_t; 4]);

/// Four sums, and four products more in each. By name, for the intrinsic is not stable.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn dot(mut sums: int32x4_t, values: int8x16_t, weights: int8x16_t) -> int32x4_t {
    // SAFETY: reads and writes these registers alone.
    unsafe {
        std::arch::asm!(
            "sdot {sums:v}.4s, {values:v}.16b, {weights:v}.16b",
            sums = inout(vreg) sums,
            values = in(vreg) values,
            weights = in(vreg) weights,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

impl Sums for DotProd {
    type Form = AsBytes;
    type Weights = Line;

    #[inline(always)]
    fn range(x: &[[f32; WIDTH]]) -> Range {
        Plain::range(x)
    }

    #[inline(always)]
    fn bytes(x: &[f32; WIDTH], steps: f32, onto: f32, to: &mut [u8; WIDTH]) {
        Plain::bytes(x, steps, onto, to);
    }

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: every aarch64 has NEON.
        Self([unsafe { vdupq_n_s32(0) }; 4])
    }

    #[inline(always)]
    fn weights(weights: &ByteLine) -> Line {
        line(weights)
    }

    #[inline(always)]
    fn add_products(mut self, values: &[u8; GROUP], weights: Line) -> Self {
        let values = signed(*values);
        for (sums, weights) in self.0.iter_mut().zip(weights) {
            // SAFETY: used where the processor has products of bytes.
            *sums = unsafe { dot(*sums, values, weights) };
        }
        self
    }

    #[inline(always)]
    fn finish(self, row: RowScale, outputs: &Outputs, onto: &mut [f32; WIDTH]) {
        finish(self.0, row, outputs, onto);
    }
}
