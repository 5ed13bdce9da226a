//! Sixteen numbers in vector registers. Loops over arrays are left to the compiler everywhere else; the products' inner loop
//! is not, for how it comes out decides the time of a frame, and changes with its surroundings.

/// Numbers in one [`Lanes`].
pub(crate) const WIDTH: usize = 16;

/// Sixteen numbers.
pub(super) trait Lanes: Copy {
    fn load(from: &[f32; WIDTH]) -> Self;
    fn store(self, to: &mut [f32; WIDTH]);
    /// `self + other`.
    fn add(self, other: Self) -> Self;
    /// `self + left * right`.
    fn add_product(self, left: f32, right: Self) -> Self;
    /// `self + left * right`, number by number.
    fn add_products(self, left: Self, right: Self) -> Self;
    /// Every number moved into `0..=6`; what is no number stays none.
    fn clamp6(self) -> Self;
}

/// Without vector instructions of its own.
#[derive(Clone, Copy)]
pub(super) struct Plain([f32; WIDTH]);

impl Lanes for Plain {
    #[inline(always)]
    fn load(from: &[f32; WIDTH]) -> Self {
        Self(*from)
    }

    #[inline(always)]
    fn store(self, to: &mut [f32; WIDTH]) {
        *to = self.0;
    }

    #[inline(always)]
    fn add(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a += b);
        self
    }

    #[inline(always)]
    fn add_product(mut self, left: f32, right: Self) -> Self {
        self.0.iter_mut().zip(right.0).for_each(|(sum, right)| *sum += left * right);
        self
    }

    #[inline(always)]
    fn add_products(mut self, left: Self, right: Self) -> Self {
        self.0.iter_mut().zip(left.0).zip(right.0).for_each(|((sum, left), right)| *sum += left * right);
        self
    }

    #[inline(always)]
    fn clamp6(mut self) -> Self {
        self.0.iter_mut().for_each(|value| *value = value.clamp(0.0, 6.0));
        self
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_min_ps, _mm256_set1_ps,
        _mm256_setzero_ps, _mm256_storeu_ps, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_max_ps,
        _mm512_min_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    use super::{Lanes, WIDTH};

    /// Two registers of AVX2 with FMA. To be used only where these are there.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256, __m256);

    impl Lanes for Avx2 {
        #[inline(always)]
        fn load(from: &[f32; WIDTH]) -> Self {
            // SAFETY: used where AVX2 and FMA are there; all within an array of sixteen.
            unsafe { Self(_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))) }
        }

        #[inline(always)]
        fn store(self, to: &mut [f32; WIDTH]) {
            // SAFETY: used where AVX2 and FMA are there; all within an array of sixteen.
            unsafe {
                _mm256_storeu_ps(to.as_mut_ptr(), self.0);
                _mm256_storeu_ps(to.as_mut_ptr().add(8), self.1);
            }
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: used where AVX2 and FMA are there; all within an array of sixteen.
            unsafe { Self(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
        }

        #[inline(always)]
        fn add_product(self, left: f32, right: Self) -> Self {
            // SAFETY: used where AVX2 and FMA are there; all within an array of sixteen.
            unsafe {
                let left = _mm256_set1_ps(left);
                Self(_mm256_fmadd_ps(left, right.0, self.0), _mm256_fmadd_ps(left, right.1, self.1))
            }
        }

        #[inline(always)]
        fn add_products(self, left: Self, right: Self) -> Self {
            // SAFETY: used where AVX2 and FMA are there.
            unsafe { Self(_mm256_fmadd_ps(left.0, right.0, self.0), _mm256_fmadd_ps(left.1, right.1, self.1)) }
        }

        #[inline(always)]
        fn clamp6(self) -> Self {
            // SAFETY: used where AVX2 and FMA are there.
            unsafe {
                let (zero, six) = (_mm256_setzero_ps(), _mm256_set1_ps(6.0));
                Self(_mm256_min_ps(six, _mm256_max_ps(zero, self.0)), _mm256_min_ps(six, _mm256_max_ps(zero, self.1)))
            }
        }
    }

    /// One register of AVX-512. To be used only where it is there.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512);

    impl Lanes for Avx512 {
        #[inline(always)]
        fn load(from: &[f32; WIDTH]) -> Self {
            // SAFETY: used where AVX-512 is there; all within an array of sixteen.
            unsafe { Self(_mm512_loadu_ps(from.as_ptr())) }
        }

        #[inline(always)]
        fn store(self, to: &mut [f32; WIDTH]) {
            // SAFETY: used where AVX-512 is there; all within an array of sixteen.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self.0) }
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: used where AVX-512 is there; all within an array of sixteen.
            unsafe { Self(_mm512_add_ps(self.0, other.0)) }
        }

        #[inline(always)]
        fn add_product(self, left: f32, right: Self) -> Self {
            // SAFETY: used where AVX-512 is there; all within an array of sixteen.
            unsafe { Self(_mm512_fmadd_ps(_mm512_set1_ps(left), right.0, self.0)) }
        }

        #[inline(always)]
        fn add_products(self, left: Self, right: Self) -> Self {
            // SAFETY: used where AVX-512 is there.
            unsafe { Self(_mm512_fmadd_ps(left.0, right.0, self.0)) }
        }

        #[inline(always)]
        fn clamp6(self) -> Self {
            // SAFETY: used where AVX-512 is there.
            unsafe { Self(_mm512_min_ps(_mm512_set1_ps(6.0), _mm512_max_ps(_mm512_setzero_ps(), self.0))) }
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub(super) use aarch64::Neon;

#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code)]
mod aarch64 {
    use std::arch::aarch64::{
        float32x4_t, vaddq_f32, vdupq_n_f32, vfmaq_f32, vfmaq_n_f32, vld1q_f32, vmaxq_f32, vminq_f32, vst1q_f32,
    };

    use super::{Lanes, WIDTH};

    /// Numbers in a register.
    const REGISTER: usize = 4;

    /// Four registers of NEON, which every aarch64 has.
    #[derive(Clone, Copy)]
    pub(crate) struct Neon([float32x4_t; WIDTH / REGISTER]);

    impl Lanes for Neon {
        #[inline(always)]
        fn load(from: &[f32; WIDTH]) -> Self {
            // SAFETY: all within an array of sixteen.
            unsafe {
                let from = from.as_ptr();
                Self([vld1q_f32(from), vld1q_f32(from.add(4)), vld1q_f32(from.add(8)), vld1q_f32(from.add(12))])
            }
        }

        #[inline(always)]
        fn store(self, to: &mut [f32; WIDTH]) {
            for (part, to) in self.0.into_iter().zip(to.as_chunks_mut::<REGISTER>().0) {
                // SAFETY: an array of four.
                unsafe { vst1q_f32(to.as_mut_ptr(), part) };
            }
        }

        #[inline(always)]
        fn add(mut self, other: Self) -> Self {
            for (part, other) in self.0.iter_mut().zip(other.0) {
                // SAFETY: every aarch64 has NEON.
                *part = unsafe { vaddq_f32(*part, other) };
            }
            self
        }

        #[inline(always)]
        fn add_product(mut self, left: f32, right: Self) -> Self {
            for (part, right) in self.0.iter_mut().zip(right.0) {
                // SAFETY: every aarch64 has NEON.
                *part = unsafe { vfmaq_n_f32(*part, right, left) };
            }
            self
        }

        #[inline(always)]
        fn add_products(mut self, left: Self, right: Self) -> Self {
            for ((part, left), right) in self.0.iter_mut().zip(left.0).zip(right.0) {
                // SAFETY: every aarch64 has NEON.
                *part = unsafe { vfmaq_f32(*part, left, right) };
            }
            self
        }

        #[inline(always)]
        fn clamp6(mut self) -> Self {
            for part in &mut self.0 {
                // SAFETY: every aarch64 has NEON. What is no number stays none in these.
                *part = unsafe { vminq_f32(vmaxq_f32(*part, vdupq_n_f32(0.0)), vdupq_n_f32(6.0)) };
            }
            self
        }
    }
}
