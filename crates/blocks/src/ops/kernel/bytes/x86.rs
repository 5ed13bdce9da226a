//! Sums in the registers of AVX2, with and without products of bytes, and of AVX-512.

#![allow(unsafe_code)]

#[allow(clippy::wildcard_imports, reason = "dozens of instructions")]
use std::arch::x86_64::*;

use super::super::quantise::Left;
use super::{
    AsBytes, ByteLine, Form, GROUP, MAGNITUDE, Outputs, Pairs, PanelRoom, ROUND, Range, RowScale, Sums, WIDTH,
};

/// Values and weights in sixteen bits, the even ones and the odd ones of a group apart, widened once for all that they meet.
pub(crate) struct InPairs;

impl Form for InPairs {
    type Values = Pairs;
    /// Even and odd inputs of the first eight outputs, then of the others.
    type Line = [__m256i; 4];
    const PAIRS: bool = true;

    #[inline(always)]
    fn groups(left: Left<'_>, row: usize, count: usize) -> &[Pairs] {
        &left.pairs[row * (left.stride / GROUP)..][..count]
    }

    #[inline(always)]
    fn lines<'a>(lines: &'a [ByteLine], room: &'a mut PanelRoom<[__m256i; 4]>) -> &'a [[__m256i; 4]] {
        for (room, line) in room.iter_mut().zip(lines) {
            // SAFETY: used where AVX2 is there; a line is 64 bytes.
            let [first, second] = unsafe {
                let at = line.0.as_ptr();
                [widened(_mm256_loadu_si256(at.cast())), widened(_mm256_loadu_si256(at.add(32).cast()))]
            };
            room.write([first[0], first[1], second[0], second[1]]);
        }
        // SAFETY: so many have been written.
        unsafe { room[..lines.len()].assume_init_ref() }
    }
}

/// Two registers of AVX2. Bytes are widened to sixteen bits, the even ones and the odd ones of a group apart: products
/// of bytes as they are would be added in sixteen bits, which two of them exceed.
#[derive(Clone, Copy)]
pub(crate) struct Avx2([__m256i; 2]);

/// Signed bytes in sixteen bits each: the even ones, and the odd ones.
#[inline(always)]
fn widened(bytes: __m256i) -> [__m256i; 2] {
    // SAFETY: used where AVX2 is there.
    unsafe { [_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes)), _mm256_srai_epi16::<8>(bytes)] }
}

/// Eight numbers in steps, rounded, each in 32 bits.
///
/// # Safety
/// There are eight at `x`.
#[inline(always)]
unsafe fn steps_of(x: *const f32, steps: f32, onto: f32) -> __m256i {
    // SAFETY: used where AVX2 is there.
    unsafe {
        let scaled = _mm256_mul_ps(_mm256_loadu_ps(x), _mm256_set1_ps(steps));
        let rounded = _mm256_castps_si256(_mm256_add_ps(scaled, _mm256_set1_ps(onto)));
        _mm256_sub_epi32(rounded, _mm256_set1_epi32(ROUND.to_bits() as i32))
    }
}

#[inline(always)]
fn added(sum: __m256i, values: [__m256i; 2], weights: [__m256i; 2]) -> __m256i {
    // SAFETY: used where AVX2 is there.
    unsafe {
        let (even, odd) = (_mm256_madd_epi16(values[0], weights[0]), _mm256_madd_epi16(values[1], weights[1]));
        _mm256_add_epi32(sum, _mm256_add_epi32(even, odd))
    }
}

impl Sums for Avx2 {
    type Form = InPairs;
    type Weights = [__m256i; 4];

    #[inline(always)]
    fn range(x: &[[f32; WIDTH]]) -> Range {
        // SAFETY: used where AVX2 is there; all within arrays of sixteen.
        unsafe {
            let sign = _mm256_set1_epi32(MAGNITUDE as i32);
            let (mut least, mut most) = ([_mm256_setzero_ps(); 2], [_mm256_setzero_ps(); 2]);
            let mut largest = [_mm256_setzero_si256(); 2];
            for x in x {
                for half in 0..2 {
                    let x = _mm256_loadu_ps(x.as_ptr().add(8 * half));
                    // The second one where the first is no number.
                    (least[half], most[half]) = (_mm256_min_ps(x, least[half]), _mm256_max_ps(x, most[half]));
                    let magnitude = _mm256_and_si256(_mm256_castps_si256(x), sign);
                    largest[half] = _mm256_max_epu32(largest[half], magnitude);
                }
            }
            let (mut low, mut high, mut bits) = ([0.0; WIDTH], [0.0; WIDTH], [0; WIDTH]);
            for half in 0..2 {
                _mm256_storeu_ps(low.as_mut_ptr().add(8 * half), least[half]);
                _mm256_storeu_ps(high.as_mut_ptr().add(8 * half), most[half]);
                _mm256_storeu_si256(bits.as_mut_ptr().add(8 * half).cast(), largest[half]);
            }
            Range::of(low, high, bits)
        }
    }

    #[inline(always)]
    fn bytes(x: &[f32; WIDTH], steps: f32, onto: f32, to: &mut [u8; WIDTH]) {
        // SAFETY: used where AVX2 is there; all within arrays of sixteen.
        unsafe {
            let (first, second) = (steps_of(x.as_ptr(), steps, onto), steps_of(x.as_ptr().add(8), steps, onto));
            // Packing works within halves of a register, so that quarters come out crossed.
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(first, second));
            let bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(to.as_mut_ptr().cast(), bytes);
        }
    }

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: used where AVX2 is there.
        Self([unsafe { _mm256_setzero_si256() }; 2])
    }

    #[inline(always)]
    fn weights(line: &[__m256i; 4]) -> [__m256i; 4] {
        *line
    }

    #[inline(always)]
    fn add_products(self, values: &Pairs, weights: [__m256i; 4]) -> Self {
        // SAFETY: used where AVX2 is there.
        unsafe {
            let values = [_mm256_set1_epi32(values[0] as i32), _mm256_set1_epi32(values[1] as i32)];
            let [first, second] = self.0;
            Self([added(first, values, [weights[0], weights[1]]), added(second, values, [weights[2], weights[3]])])
        }
    }

    #[inline(always)]
    fn finish(self, row: RowScale, outputs: &Outputs, onto: &mut [f32; WIDTH]) {
        for (half, sum) in self.0.into_iter().enumerate() {
            // SAFETY: used where AVX2 is there; all within arrays of sixteen.
            unsafe {
                let (zero, scale) = (_mm256_set1_epi32(row.zero), _mm256_set1_ps(row.scale));
                let sums = _mm256_loadu_si256(outputs.sums.as_ptr().add(8 * half).cast());
                let sum = _mm256_cvtepi32_ps(_mm256_sub_epi32(sum, _mm256_mullo_epi32(zero, sums)));
                let scales = _mm256_mul_ps(scale, _mm256_loadu_ps(outputs.scales.as_ptr().add(8 * half)));
                let onto = onto.as_mut_ptr().add(8 * half);
                _mm256_storeu_ps(onto, _mm256_add_ps(_mm256_loadu_ps(onto), _mm256_mul_ps(sum, scales)));
            }
        }
    }
}

/// The same registers, with products of bytes.
#[derive(Clone, Copy)]
pub(crate) struct AvxVnni(Avx2);

/// Eight sums, and four products more in each.
#[target_feature(enable = "avx2,avxvnni")]
#[inline]
fn dot(sum: __m256i, values: __m256i, weights: __m256i) -> __m256i {
    _mm256_dpbusd_avx_epi32(sum, values, weights)
}

impl Sums for AvxVnni {
    type Form = AsBytes;
    type Weights = [__m256i; 2];

    #[inline(always)]
    fn range(x: &[[f32; WIDTH]]) -> Range {
        Avx2::range(x)
    }

    #[inline(always)]
    fn bytes(x: &[f32; WIDTH], steps: f32, onto: f32, to: &mut [u8; WIDTH]) {
        Avx2::bytes(x, steps, onto, to);
    }

    #[inline(always)]
    fn zero() -> Self {
        Self(Avx2::zero())
    }

    #[inline(always)]
    fn weights(line: &ByteLine) -> [__m256i; 2] {
        let at = line.0.as_ptr();
        // SAFETY: used where AVX2 is there; a line is 64 bytes.
        unsafe { [_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(32).cast())] }
    }

    #[inline(always)]
    fn add_products(self, values: &[u8; GROUP], weights: [__m256i; 2]) -> Self {
        // SAFETY: used where AVX2 and AVX-VNNI are there.
        unsafe {
            let values = _mm256_set1_epi32(i32::from_le_bytes(*values));
            Self(Avx2([dot(self.0.0[0], values, weights[0]), dot(self.0.0[1], values, weights[1])]))
        }
    }

    #[inline(always)]
    fn finish(self, row: RowScale, outputs: &Outputs, onto: &mut [f32; WIDTH]) {
        self.0.finish(row, outputs, onto);
    }
}

/// One register of AVX-512 with VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Vnni(__m512i);

impl Sums for Vnni {
    type Form = AsBytes;
    type Weights = __m512i;

    #[inline(always)]
    fn range(x: &[[f32; WIDTH]]) -> Range {
        // SAFETY: used where AVX-512 is there; all within arrays of sixteen.
        unsafe {
            let sign = _mm512_set1_epi32(MAGNITUDE as i32);
            let (mut least, mut most) = (_mm512_setzero_ps(), _mm512_setzero_ps());
            let mut largest = _mm512_setzero_si512();
            for x in x {
                let x = _mm512_loadu_ps(x.as_ptr());
                // The second one where the first is no number.
                (least, most) = (_mm512_min_ps(x, least), _mm512_max_ps(x, most));
                largest = _mm512_max_epu32(largest, _mm512_and_si512(_mm512_castps_si512(x), sign));
            }
            Range {
                least: _mm512_reduce_min_ps(least),
                most: _mm512_reduce_max_ps(most),
                largest: _mm512_reduce_max_epu32(largest),
            }
        }
    }

    #[inline(always)]
    fn bytes(x: &[f32; WIDTH], steps: f32, onto: f32, to: &mut [u8; WIDTH]) {
        // SAFETY: used where AVX-512 is there; all within arrays of sixteen.
        unsafe {
            let scaled = _mm512_mul_ps(_mm512_loadu_ps(x.as_ptr()), _mm512_set1_ps(steps));
            let rounded = _mm512_castps_si512(_mm512_add_ps(scaled, _mm512_set1_ps(onto)));
            let steps = _mm512_sub_epi32(rounded, _mm512_set1_epi32(ROUND.to_bits() as i32));
            let bytes = _mm512_cvtusepi32_epi8(_mm512_max_epi32(steps, _mm512_setzero_si512()));
            _mm_storeu_si128(to.as_mut_ptr().cast(), bytes);
        }
    }

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: used where AVX-512 is there.
        Self(unsafe { _mm512_setzero_si512() })
    }

    #[inline(always)]
    fn weights(line: &ByteLine) -> __m512i {
        // SAFETY: used where AVX-512 is there; a line is 64 bytes.
        unsafe { _mm512_loadu_si512(line.0.as_ptr().cast()) }
    }

    #[inline(always)]
    fn add_products(self, values: &[u8; GROUP], weights: __m512i) -> Self {
        // SAFETY: used where AVX-512 and VNNI are there.
        Self(unsafe { _mm512_dpbusd_epi32(self.0, _mm512_set1_epi32(i32::from_le_bytes(*values)), weights) })
    }

    #[inline(always)]
    fn finish(self, row: RowScale, outputs: &Outputs, onto: &mut [f32; WIDTH]) {
        // SAFETY: used where AVX-512 is there; all within arrays of sixteen.
        unsafe {
            let sums = _mm512_loadu_si512(outputs.sums.as_ptr().cast());
            let sum = _mm512_sub_epi32(self.0, _mm512_mullo_epi32(_mm512_set1_epi32(row.zero), sums));
            let scales = _mm512_mul_ps(_mm512_set1_ps(row.scale), _mm512_loadu_ps(outputs.scales.as_ptr()));
            let product = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scales);
            _mm512_storeu_ps(onto.as_mut_ptr(), _mm512_add_ps(_mm512_loadu_ps(onto.as_ptr()), product));
        }
    }
}
