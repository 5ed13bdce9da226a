//! The operations that blocks are made of. Each passes a gradient: candle's fused layer norm and softmax do not,
//! so those are composed here from operations that do.
#![expect(clippy::missing_errors_doc, reason = "all fail alike: shapes that do not fit, or the device")]

use candle_core::{D, DType, Result, Tensor};

/// `x W^T + b` over the last axis.
///
/// # Shapes
/// `x [.., I]`, `weight [O, I]`, `bias [O]` → `[.., O]`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    let input = dims.pop().unwrap_or(1);
    let rows: usize = dims.iter().product();
    dims.push(weight.dim(0)?);
    let y = x.reshape((rows, input))?.matmul(&weight.t()?)?;
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    y.reshape(dims)
}

/// Layer norm over the last axis, with affine parameters.
///
/// # Shapes
/// `x [.., C]`, `weight [C]`, `bias [C]` → `[.., C]`.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let width = x.dim(D::Minus1)? as f64;
    let centred = x.broadcast_sub(&(x.sum_keepdim(D::Minus1)? / width)?)?;
    let variance = (centred.sqr()?.sum_keepdim(D::Minus1)? / width)?;
    let normed = centred.broadcast_div(&(variance + eps)?.sqrt()?)?;
    normed.broadcast_mul(weight)?.broadcast_add(bias)
}

/// Softmax over the last axis. Rows may hold `-inf`, but not only `-inf`.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    candle_nn::ops::softmax(x, D::Minus1)
}

/// `1 / (1 + exp(-x))`.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    candle_nn::ops::sigmoid(x)
}

/// Exact GELU: `x (1 + erf(x / sqrt 2)) / 2`.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    x.gelu_erf()
}

/// Splits the last axis into heads: `[B, S, heads * D]` → `[B, heads, S, D]`, contiguous.
pub fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, length, width) = x.dims3()?;
    x.reshape((batch, length, heads, width / heads))?.transpose(1, 2)?.contiguous()
}

/// Undoes [`split_heads`].
pub fn merge_heads(x: &Tensor) -> Result<Tensor> {
    let (batch, heads, length, width) = x.dims4()?;
    x.transpose(1, 2)?.contiguous()?.reshape((batch, length, heads * width))
}

/// An additive attention mask `[B, 1, 1, S]` from a key mask `[B, S]`, u8, 1 = ignore. The value is finite: a masked
/// key's weight underflows to exactly 0 in f32 as with `-inf`, and no gradient can become NaN.
pub fn additive_mask(ignore: &Tensor, dtype: DType) -> Result<Tensor> {
    (ignore.to_dtype(dtype)?.unsqueeze(1)?.unsqueeze(1)? * MASKED)?.contiguous()
}

const MASKED: f64 = -1e9;
