//! Bytes of numbers, sums of their products and numbers of these, sixteen at a time: the inner loops of [`super::int8`].
//!
//! Sums are integers, so every unit finds the same; the arithmetic around them is the same step by step.

use super::lanes::WIDTH;

/// Inputs whose products go into a sum at once.
pub(super) const GROUP: usize = 4;

/// Four inputs' part in the outputs of a panel: the four weights of an output beside each other.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct ByteLine(pub(super) [i8; GROUP * WIDTH]);

/// What makes numbers of a panel's sums.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Outputs {
    /// What one step of a weight is worth.
    pub(super) scales: [f32; WIDTH],
    /// Sums of the weights, which the zero point of a row is multiplied with.
    pub(super) sums: [i32; WIDTH],
}

/// What makes numbers of a row's sums.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RowScale {
    /// What one step of a value is worth.
    pub(super) scale: f32,
    /// The byte that stands for 0.
    pub(super) zero: i32,
}

/// `1.5 * 2^23`: adding it rounds to an integer, which then lies in the low bits.
pub(super) const ROUND: f32 = 12_582_912.0;

/// The range of some numbers, stretched to hold 0.
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub(super) least: f32,
    pub(super) most: f32,
    /// Bits of the largest of them without its sign; what is no number has the largest.
    pub(super) largest: u32,
}

impl Range {
    /// Of every sixteenth number.
    fn of(least: [f32; WIDTH], most: [f32; WIDTH], largest: [u32; WIDTH]) -> Self {
        Self {
            least: least.into_iter().fold(0.0, |a, b| if b < a { b } else { a }),
            most: most.into_iter().fold(0.0, |a, b| if b > a { b } else { a }),
            largest: largest.into_iter().fold(0, u32::max),
        }
    }
}

/// Without their sign.
const MAGNITUDE: u32 = 0x7fff_ffff;

/// Sixteen sums.
pub(super) trait Sums: Copy {
    /// The range of `x`.
    fn range(x: &[[f32; WIDTH]]) -> Range;
    /// `x * steps + onto - ROUND`, between 0 and 255, where `onto` is [`ROUND`] and some more.
    fn bytes(x: &[f32; WIDTH], steps: f32, onto: f32, to: &mut [u8; WIDTH]);
    /// A line of weights, made ready.
    type Weights: Copy;

    fn zero() -> Self;
    fn weights(line: &ByteLine) -> Self::Weights;
    /// Adds the products of four values with the weights of every output.
    fn add_products(self, values: [u8; GROUP], weights: Self::Weights) -> Self;
    /// `start + (sum - zero * sums) * (scale * scales)`, each step rounded.
    fn finish(self, row: RowScale, outputs: &Outputs, onto: &mut [f32; WIDTH]);
}

/// Without vector instructions of its own.
#[derive(Clone, Copy)]
pub(super) struct Plain([i32; WIDTH]);

impl Sums for Plain {
    type Weights = ByteLine;

    #[inline(always)]
    fn range(x: &[[f32; WIDTH]]) -> Range {
        let (mut least, mut most, mut largest) = ([0.0; WIDTH], [0.0; WIDTH], [0; WIDTH]);
        for x in x {
            for i in 0..WIDTH {
                least[i] = if x[i] < least[i] { x[i] } else { least[i] };
                most[i] = if x[i] > most[i] { x[i] } else { most[i] };
                largest[i] = largest[i].max(x[i].to_bits() & MAGNITUDE);
            }
        }
        Range::of(least, most, largest)
    }

    #[inline(always)]
    fn bytes(x: &[f32; WIDTH], steps: f32, onto: f32, to: &mut [u8; WIDTH]) {
        for (to, x) in to.iter_mut().zip(x) {
            let step = (x * steps + onto).to_bits() as i32 - ROUND.to_bits() as i32;
            *to = step.clamp(0, 255) as u8;
        }
    }

    #[inline(always)]
    fn zero() -> Self {
        Self([0; WIDTH])
    }

    #[inline(always)]
    fn weights(line: &ByteLine) -> ByteLine {
        *line
    }

    #[inline(always)]
    fn add_products(mut self, values: [u8; GROUP], weights: ByteLine) -> Self {
        for (sum, weights) in self.0.iter_mut().zip(weights.0.as_chunks::<GROUP>().0) {
            for (value, weight) in values.iter().zip(weights) {
                *sum += i32::from(*value) * i32::from(*weight);
            }
        }
        self
    }

    #[inline(always)]
    fn finish(self, row: RowScale, outputs: &Outputs, onto: &mut [f32; WIDTH]) {
        for (i, onto) in onto.iter_mut().enumerate() {
            let sum = self.0[i] - row.zero * outputs.sums[i];
            *onto += sum as f32 * (row.scale * outputs.scales[i]);
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Vnni};

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    #[allow(clippy::wildcard_imports, reason = "dozens of instructions")]
    use std::arch::x86_64::*;

    use super::{ByteLine, GROUP, MAGNITUDE, Outputs, ROUND, Range, RowScale, Sums, WIDTH};

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
        /// Even and odd inputs of the first eight outputs, then of the others.
        type Weights = [[__m256i; 2]; 2];

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
        fn weights(line: &ByteLine) -> Self::Weights {
            // SAFETY: used where AVX2 is there; a line is 64 bytes.
            unsafe {
                let (first, second) = (line.0.as_ptr(), line.0.as_ptr().add(32));
                [widened(_mm256_loadu_si256(first.cast())), widened(_mm256_loadu_si256(second.cast()))]
            }
        }

        #[inline(always)]
        fn add_products(self, values: [u8; GROUP], weights: Self::Weights) -> Self {
            // SAFETY: used where AVX2 is there.
            unsafe {
                let values = _mm256_set1_epi32(i32::from_le_bytes(values));
                let values = [_mm256_and_si256(values, _mm256_set1_epi16(0xff)), _mm256_srli_epi16::<8>(values)];
                Self([added(self.0[0], values, weights[0]), added(self.0[1], values, weights[1])])
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

    /// One register of AVX-512 with VNNI.
    #[derive(Clone, Copy)]
    pub(crate) struct Vnni(__m512i);

    impl Sums for Vnni {
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
        fn add_products(self, values: [u8; GROUP], weights: __m512i) -> Self {
            // SAFETY: used where AVX-512 and VNNI are there.
            Self(unsafe { _mm512_dpbusd_epi32(self.0, _mm512_set1_epi32(i32::from_le_bytes(values)), weights) })
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
}

/// Defines `fn $name(arguments)` that calls `$body` with the [`Sums`] of the processor, and the rows and panels of its
/// tiles.
macro_rules! dispatch_bytes {
    (fn $name:ident($($arg:ident: $type:ty),* $(,)?) = $body:ident) => {
        #[allow(unsafe_code)]
        fn $name($($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                use super::vector::VectorUnit;

                #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
                fn wide($($arg: $type),*) {
                    $body::<super::bytes::Vnni, 12, 2>($($arg),*);
                }
                #[target_feature(enable = "avx2,fma")]
                fn vectorised($($arg: $type),*) {
                    $body::<super::bytes::Avx2, 4, 1>($($arg),*);
                }
                match VectorUnit::current() {
                    // SAFETY: the processor has AVX-512 with VNNI.
                    VectorUnit::Vnni => return unsafe { wide($($arg),*) },
                    // SAFETY: the processor has AVX2 and FMA.
                    VectorUnit::Avx2 | VectorUnit::Avx512 => return unsafe { vectorised($($arg),*) },
                    VectorUnit::None => {}
                }
            }
            $body::<super::bytes::Plain, 4, 1>($($arg),*);
        }
    };
}
pub(super) use dispatch_bytes;
