//! Fused CPU kernels in f32, each with a backward pass, as candle custom operations.
//!
//! The kernels are plain loops that the compiler turns into vector code; `dispatch` compiles each of them twice, for
//! AVX2 with FMA (aarch64: with its fused multiplication, which every processor has) and for whatever the target has, and
//! picks at run time. Sums over rows are split at fixed places, not
//! by the number of threads, so that equal input gives equal bytes on any number of threads.
//!
//! These modules, and those of CUDA's kernels, hold `unsafe`, and no others: for vector code, and for the call of the
//! matrix product.
#![expect(clippy::inline_always, reason = "bodies must end up in the function that turns the vector unit on")]
#![allow(clippy::too_many_arguments, reason = "a kernel takes its slices and sizes")]

pub mod attend;
mod attention;
pub mod bf16;
mod bias;
mod bytes;
pub mod deformable;
pub mod dense;
pub mod depthwise;
mod elementwise;
mod fused;
pub mod gates;
mod gather;
mod gemm;
mod halves;
mod heads;
pub mod int8;
pub mod inverted;
mod lanes;
mod linear;
mod matmul;
mod mlp;
mod norm;
mod pairs;
mod panel;
pub mod product;
mod quantise;
pub mod store;
mod tile;
mod vector;

pub use attention::window_attention;
pub use elementwise::gelu;
pub use elementwise::{gelu_in_place, relu_in_place};
pub use fused::with_elements;
pub use gates::{gates, gates_halved};
pub use gather::{RowMap, ZERO_ROW, gather_rows};
pub use heads::attention;
pub use inverted::{inverted_residual, stem};
pub use linear::{linear, linear_onto_upsampled};
pub use mlp::mlp;
pub use norm::{column_weights, layer_norm, layer_norm_rows, softmax, softmax_in_place};
pub use vector::{VECTOR_UNIT, VectorUnit};

use candle_core::{CpuStorage, DType, Layout, Result, Tensor};

/// Whether the fused kernels take these tensors: f32 on the CPU.
pub fn fits(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|t| t.device().is_cpu() && t.dtype() == DType::F32)
}

/// The elements of a contiguous f32 tensor on the CPU.
fn elements<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        (CpuStorage::F32(_), None) => candle_core::bail!("a fused kernel wants contiguous tensors"),
        _ => candle_core::bail!("a fused kernel wants f32"),
    }
}

/// `a * b + c`, fused where the target fuses in hardware: elsewhere `mul_add` is a slow library call.
#[inline(always)]
fn madd<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Defines `fn $name(arguments)` that calls `$body::<true>` compiled for AVX2 and FMA where the processor has them, or on
/// aarch64, and `$body::<false>` elsewhere.
macro_rules! dispatch {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) = $body:ident) => {
        $(#[$meta])*
        #[allow(unsafe_code)]
        $vis fn $name($($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn vectorised($($arg: $type),*) {
                    $body::<true>($($arg),*);
                }
                if super::vector::VectorUnit::current() >= super::vector::VectorUnit::Avx2 {
                    // SAFETY: the processor has AVX2 and FMA.
                    return unsafe { vectorised($($arg),*) };
                }
            }
            #[cfg(target_arch = "aarch64")]
            if super::vector::VectorUnit::current() >= super::vector::VectorUnit::Neon {
                return $body::<true>($($arg),*);
            }
            $body::<false>($($arg),*);
        }
    };
}
use dispatch;

/// As [`dispatch`], for bodies that also take [`lanes::Lanes`], first, and the number of rows whose sums fit the registers, last;
/// with a third version for AVX-512.
macro_rules! dispatch_rows {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) = $body:ident) => {
        $(#[$meta])*
        #[allow(unsafe_code)]
        $vis fn $name($($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq")]
                fn wide($($arg: $type),*) {
                    $body::<super::lanes::Avx512, true, 8>($($arg),*);
                }
                #[target_feature(enable = "avx2,fma")]
                fn vectorised($($arg: $type),*) {
                    $body::<super::lanes::Avx2, true, 6>($($arg),*);
                }
                if super::vector::VectorUnit::current() >= super::vector::VectorUnit::Avx512 {
                    // SAFETY: the processor has AVX-512 F, BW, VL and DQ, AVX2 and FMA.
                    return unsafe { wide($($arg),*) };
                }
                if super::vector::VectorUnit::current() >= super::vector::VectorUnit::Avx2 {
                    // SAFETY: the processor has AVX2 and FMA.
                    return unsafe { vectorised($($arg),*) };
                }
            }
            #[cfg(target_arch = "aarch64")]
            if super::vector::VectorUnit::current() >= super::vector::VectorUnit::Neon {
                return $body::<super::lanes::Neon, true, 6>($($arg),*);
            }
            $body::<super::lanes::Plain, false, 4>($($arg),*);
        }
    };
}
use dispatch_rows;

/// The token of a map of half the size that token `row` belongs to, in a batch of maps of `columns` columns and an even
/// number of rows.
#[inline(always)]
pub fn half_row(row: usize, columns: usize) -> usize {
    row / (2 * columns) * (columns / 2) + row % columns / 2
}

/// Rows per task where rows are short: enough work to be worth handing over.
fn rows_per_task(width: usize) -> usize {
    const ELEMENTS: usize = 1 << 14;
    (ELEMENTS / width.max(1)).max(1)
}

#[cfg(test)]
mod block_tests;
#[cfg(test)]
mod forced;
#[cfg(test)]
mod tests;
