//! Exact GELU, `x (1 + erf(x / √2)) / 2`, and its derivative.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{dispatch, elements, madd};

/// Elements per task.
const CHUNK: usize = 1 << 14;

/// Largest argument that `exp` takes; beyond it the results under- or overflow.
const EXP_LIMIT: f32 = 87.3;

/// `e^x` within 2 units in the last place: range reduction by powers of two, then a polynomial (Cephes' coefficients).
#[inline(always)]
pub(super) fn exp<const FUSED: bool>(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer in the low bits
    let x = x.clamp(-EXP_LIMIT, EXP_LIMIT);
    let shifted = madd::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = madd::<FUSED>(n, -LN2_LOW, madd::<FUSED>(n, -LN2_HIGH, x));
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = madd::<FUSED>(p, r, coefficient);
    }
    let value = madd::<FUSED>(p, r * r, r) + 1.0;
    // The integer stands in the low bits of `shifted`; as an exponent it scales by 2^n.
    let scale = f32::from_bits(shifted.to_bits().wrapping_add(127).wrapping_shl(23));
    value * scale
}

/// `1 / sqrt(2 pi)`.
const DENSITY: f32 = 0.398_942_3;

/// The standard normal distribution function and its density at `x`, by Abramowitz and Stegun 7.1.26 (absolute error of
/// erf below 1.5e-7, plus rounding).
#[inline(always)]
fn normal<const FUSED: bool>(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / madd::<FUSED>(0.327_591_1, z, 1.0);
    let mut p = 1.061_405_4;
    for coefficient in [-1.453_152, 1.421_413_8, -0.284_496_72, 0.254_829_6] {
        p = madd::<FUSED>(p, t, coefficient);
    }
    let gauss = exp::<FUSED>(-z * z);
    let tail = 0.5 * p * t * gauss;
    let below = if x >= 0.0 { 1.0 - tail } else { tail };
    (below, DENSITY * gauss)
}

/// The normal distribution function at `x` alone: `(1 + erf(x / sqrt 2)) / 2` with erf as the quotient of two polynomials
/// in the square of its argument, which is cut off where erf is 1 in f32 (absolute error below 3e-7). Half the work of
/// [`normal`].
#[inline(always)]
fn below<const FUSED: bool>(x: f32) -> f32 {
    const LIMIT: f32 = 4.0;
    let z = (x * std::f32::consts::FRAC_1_SQRT_2).clamp(-LIMIT, LIMIT);
    let square = z * z;
    let mut above = -2.726_142_3e-10;
    for coefficient in [2.770_681_4e-8, -2.101_024e-6, -5.692_506_4e-5, -7.349_906e-4, -2.954_6e-3, -1.609_603_3e-2] {
        above = madd::<FUSED>(above, square, coefficient);
    }
    let mut under = -1.456_607_2e-5;
    for coefficient in [-2.133_740_5e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2] {
        under = madd::<FUSED>(under, square, coefficient);
    }
    madd::<FUSED>(0.5 * z, above / under, 0.5)
}

#[inline(always)]
fn gelu_body<const FUSED: bool>(x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = x * below::<FUSED>(x);
    }
}

#[inline(always)]
fn gelu_gradient_body<const FUSED: bool>(x: &[f32], gradient: &[f32], y: &mut [f32]) {
    for ((y, &x), &g) in y.iter_mut().zip(x).zip(gradient) {
        let (below, density) = normal::<FUSED>(x);
        *y = g * madd::<FUSED>(x, density, below);
    }
}

#[inline(always)]
fn gelu_in_place_body<const FUSED: bool>(x: &mut [f32]) {
    for x in x {
        *x *= below::<FUSED>(*x);
    }
}

#[inline(always)]
fn gelu_both_body<const FUSED: bool>(x: &mut [f32], y: &mut [f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        let (below, density) = normal::<FUSED>(*x);
        *y = *x * below;
        *x = madd::<FUSED>(*x, density, below);
    }
}

#[inline(always)]
fn relu_in_place_body<const FUSED: bool>(x: &mut [f32]) {
    for x in x {
        *x = x.max(0.0);
    }
}

dispatch!(
    /// Nothing below zero; what is no number becomes zero.
    pub fn relu_in_place(x: &mut [f32]) = relu_in_place_body
);
dispatch!(pub fn gelu_in_place(x: &mut [f32]) = gelu_in_place_body);
dispatch!(
    /// Values into `y`, derivatives in place.
    pub(super) fn gelu_both(x: &mut [f32], y: &mut [f32]) = gelu_both_body
);
dispatch!(fn gelu_slice(x: &[f32], y: &mut [f32]) = gelu_body);
dispatch!(fn gelu_gradient_slice(x: &[f32], gradient: &[f32], y: &mut [f32]) = gelu_gradient_body);

/// Exact GELU of a contiguous f32 tensor on the CPU.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Gelu)
}

struct Gelu;

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = elements(storage, layout)?;
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| gelu_slice(x, y));
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        x.apply_op2_no_bwd(&gradient.contiguous()?, &GeluGradient).map(Some)
    }
}

struct GeluGradient;

impl CustomOp2 for GeluGradient {
    fn name(&self) -> &'static str {
        "gelu-gradient"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, gradient) = (elements(s1, l1)?, elements(s2, l2)?);
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(CHUNK)
            .zip(x.par_chunks(CHUNK))
            .zip(gradient.par_chunks(CHUNK))
            .for_each(|((y, x), g)| gelu_gradient_slice(x, g, y));
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }
}
