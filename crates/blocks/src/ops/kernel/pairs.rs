//! Numbers of two bytes (bf16), and sums of products of pairs of them, sixteen at a time: the inner loops of [`super::bf16`].

use super::lanes::Lanes;
use super::panel::PANEL;

/// Inputs whose products are added at once.
pub(super) const PAIR: usize = 2;

/// Two inputs' part in the outputs of a panel: the two weights of an output beside each other, the first one in the lower half.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct PairLine(pub(super) [u32; PANEL]);

impl PairLine {
    /// Puts the weight of one output and the pair's input `place` in.
    pub(super) fn set(&mut self, output: usize, place: usize, weight: f32) {
        self.0[output] |= u32::from(halved(weight)) << (16 * place);
    }
}

/// The nearest number of two bytes, of two that are as near the even one. What is smaller than any normal one becomes 0.
#[inline(always)]
pub(super) fn halved(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    // Not a number stays none: rounding could make it infinite.
    let half = if value.is_nan() { (bits >> 16) | 0x40 } else { rounded };
    (if half & 0x7f80 == 0 { half & 0x8000 } else { half }) as u16
}

/// As f32, exactly.
#[inline(always)]
pub(super) fn widened(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

/// Sixteen sums of products of pairs.
#[expect(unsafe_code, reason = "a comparison for every row and input takes much of the speed")]
pub(super) trait Pairs: Copy {
    /// How a value lies in rows.
    type Value: Copy;
    /// A line of weights, made ready.
    type Weights: Copy;

    fn load(from: &[f32; PANEL]) -> Self;
    fn store(self, to: &mut [f32; PANEL]);
    /// `self + other`.
    fn add(self, other: Self) -> Self;
    fn weights(line: &PairLine) -> Self::Weights;
    /// In how many steps the products of two values are added. A step of all rows is a loop short enough for the compiler to
    /// take apart, and only then sums are in registers.
    const STEPS: usize;
    /// Adds the products of a row's pair `pair` with the weights of every output, the part of them that is `step`.
    ///
    /// # Safety
    /// The row has more pairs than `pair`.
    unsafe fn add_products(self, step: usize, row: &[Self::Value], pair: usize, weights: Self::Weights) -> Self;
}

/// The value of a pair whose turn is in `step`, and whether it is the first or the second one. The second one comes first.
/// Rows in f32 hold the first ones of all pairs, then the second ones: of two that lie beside each other the compiler makes one
/// load, and then needs more instructions to spread each of them than it saved.
///
/// # Safety
/// The row has more pairs than `pair`.
#[expect(unsafe_code, reason = "a comparison for every row and input takes much of the speed")]
#[inline(always)]
unsafe fn value_of(step: usize, row: &[f32], pair: usize) -> (f32, usize) {
    let place = PAIR - 1 - step;
    // SAFETY: the caller's.
    (unsafe { *row.get_unchecked(place * (row.len() / PAIR) + pair) }, place)
}

/// By way of f32, in which rows lie already: for processors without the instruction, and those on which it takes longer than
/// two multiplications.
#[derive(Clone, Copy)]
pub(super) struct Wide<L>(L);

#[expect(unsafe_code, reason = "as the trait has it")]
impl<L: Lanes> Pairs for Wide<L> {
    type Value = f32;
    /// The first and the second one of every output.
    type Weights = [L; PAIR];

    #[inline(always)]
    fn load(from: &[f32; PANEL]) -> Self {
        Self(L::load(from))
    }

    #[inline(always)]
    fn store(self, to: &mut [f32; PANEL]) {
        self.0.store(to);
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0.add(other.0))
    }

    #[inline(always)]
    fn weights(line: &PairLine) -> [L; PAIR] {
        let (mut first, mut second) = ([0.0; PANEL], [0.0; PANEL]);
        for ((first, second), pair) in first.iter_mut().zip(&mut second).zip(line.0) {
            (*first, *second) = (f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000));
        }
        [L::load(&first), L::load(&second)]
    }

    const STEPS: usize = PAIR;

    #[inline(always)]
    unsafe fn add_products(self, step: usize, row: &[f32], pair: usize, weights: [L; PAIR]) -> Self {
        // SAFETY: the caller's.
        let (value, place) = unsafe { value_of(step, row, pair) };
        Self(self.0.add_product(value, weights[place]))
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Native, Wide512};

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use std::arch::x86_64::{
        __m512, __m512bh, __m512i, _mm512_add_ps, _mm512_and_si512, _mm512_castsi512_ps, _mm512_dpbf16_ps,
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_set1_ps, _mm512_slli_epi32,
        _mm512_storeu_ps,
    };

    use super::{PAIR, PANEL, PairLine, Pairs, value_of};

    /// One register of AVX-512 with BF16. To be used only where these are there.
    #[derive(Clone, Copy)]
    pub(crate) struct Native(__m512);

    #[inline(always)]
    fn halves(bits: __m512i) -> __m512bh {
        // SAFETY: both are 64 bytes, of which any pattern is one.
        unsafe { std::mem::transmute(bits) }
    }

    /// One register of AVX-512, as [`super::Wide`]. To be used only where it is there.
    #[derive(Clone, Copy)]
    pub(crate) struct Wide512(__m512);

    impl Pairs for Wide512 {
        type Value = f32;
        type Weights = [__m512; PAIR];

        #[inline(always)]
        fn load(from: &[f32; PANEL]) -> Self {
            // SAFETY: used where AVX-512 is there; all within an array of sixteen.
            unsafe { Self(_mm512_loadu_ps(from.as_ptr())) }
        }

        #[inline(always)]
        fn store(self, to: &mut [f32; PANEL]) {
            // SAFETY: used where AVX-512 is there; all within an array of sixteen.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self.0) }
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: used where AVX-512 is there.
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn weights(line: &PairLine) -> [__m512; PAIR] {
            // SAFETY: used where AVX-512 is there; a line is 64 bytes.
            unsafe {
                let pairs = _mm512_loadu_si512(line.0.as_ptr().cast());
                let second = _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32));
                [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)), _mm512_castsi512_ps(second)]
            }
        }

        const STEPS: usize = PAIR;

        #[inline(always)]
        unsafe fn add_products(self, step: usize, row: &[f32], pair: usize, weights: [__m512; PAIR]) -> Self {
            // SAFETY: the caller's, and used where AVX-512 is there.
            unsafe {
                let (value, place) = value_of(step, row, pair);
                Self(_mm512_fmadd_ps(_mm512_set1_ps(value), weights[place], self.0))
            }
        }
    }

    impl Pairs for Native {
        type Value = u16;
        type Weights = __m512i;

        #[inline(always)]
        fn load(from: &[f32; PANEL]) -> Self {
            // SAFETY: used where AVX-512 is there; all within an array of sixteen.
            unsafe { Self(_mm512_loadu_ps(from.as_ptr())) }
        }

        #[inline(always)]
        fn store(self, to: &mut [f32; PANEL]) {
            // SAFETY: used where AVX-512 is there; all within an array of sixteen.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self.0) }
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: used where AVX-512 is there.
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn weights(line: &PairLine) -> __m512i {
            // SAFETY: used where AVX-512 is there; a line is 64 bytes.
            unsafe { _mm512_loadu_si512(line.0.as_ptr().cast()) }
        }

        const STEPS: usize = 1;

        #[inline(always)]
        unsafe fn add_products(self, _: usize, row: &[u16], pair: usize, weights: __m512i) -> Self {
            // SAFETY: the caller's, and used where AVX-512 with BF16 is there.
            unsafe {
                let values = row.as_chunks::<PAIR>().0.get_unchecked(pair);
                let pair = u32::from(values[0]) | u32::from(values[1]) << 16;
                Self(_mm512_dpbf16_ps(self.0, halves(_mm512_set1_epi32(pair as i32)), halves(weights)))
            }
        }
    }
}
