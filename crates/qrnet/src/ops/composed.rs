//! The operations composed of candle's own: for devices and element types without a fused kernel, and to test those by.

use candle_core::{D, Result, Tensor};

/// `x [N, I]`, `weight [O, I]`, `bias [O]` → `[N, O]`.
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let y = x.matmul(&weight.t()?)?;
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}

pub(crate) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let width = x.dim(D::Minus1)? as f64;
    let centred = x.broadcast_sub(&(x.sum_keepdim(D::Minus1)? / width)?)?;
    let variance = (centred.sqr()?.sum_keepdim(D::Minus1)? / width)?;
    let normed = centred.broadcast_div(&(variance + eps)?.sqrt()?)?;
    normed.broadcast_mul(weight)?.broadcast_add(bias)
}

/// The gradient of `max` would go to all equal tokens; that of a gather goes to the one that was picked.
pub(crate) fn pool_tokens(x: &Tensor) -> Result<Tensor> {
    let largest = x.contiguous()?.gather(&x.argmax_keepdim(1)?, 1)?;
    Tensor::cat(&[x.mean_keepdim(1)?, largest], 1)
}

pub(crate) fn softmax(x: &Tensor) -> Result<Tensor> {
    candle_nn::ops::softmax(x, D::Minus1)
}

pub(crate) fn window_attention(qkv: &Tensor, bias: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let (count, area, triple) = qkv.dims3()?;
    let heads = bias.dim(0)?;
    let width = triple / 3 / heads;
    let qkv = qkv.reshape((count, area, 3, heads, width))?.permute((2, 0, 3, 1, 4))?;
    let q = (qkv.get(0)?.contiguous()? * (1.0 / (width as f64).sqrt()))?;
    let (k, v) = (qkv.get(1)?.contiguous()?, qkv.get(2)?.contiguous()?);
    let mut scores = q.matmul(&k.t()?)?.broadcast_add(bias)?;
    if let Some(mask) = mask {
        let per_map = mask.dim(0)?;
        scores = scores
            .reshape((count / per_map, per_map, heads, area, area))?
            .broadcast_add(&mask.unsqueeze(1)?)?
            .reshape((count, heads, area, area))?;
    }
    merge_heads(&softmax(&scores)?.matmul(&v)?)
}

/// `1 / (1 + exp(-x))`.
#[expect(clippy::missing_errors_doc, reason = "fails as all operations do")]
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    candle_nn::ops::sigmoid(x)
}

/// Splits the last axis into heads: `[B, S, heads * D]` → `[B, heads, S, D]`, contiguous.
#[expect(clippy::missing_errors_doc, reason = "fails as all operations do")]
pub fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, length, width) = x.dims3()?;
    x.reshape((batch, length, heads, width / heads))?.transpose(1, 2)?.contiguous()
}

/// Undoes [`split_heads`].
#[expect(clippy::missing_errors_doc, reason = "fails as all operations do")]
pub fn merge_heads(x: &Tensor) -> Result<Tensor> {
    let (batch, heads, length, width) = x.dims4()?;
    x.transpose(1, 2)?.contiguous()?.reshape((batch, length, heads * width))
}
