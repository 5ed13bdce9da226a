//! The operations composed of candle's own: for devices and element types without a fused kernel, and to test those by.
//!
//! In half precision, products are computed in it; what sums over many values or takes exponents is computed in f32.

use candle_core::{D, DType, Result, Tensor};

use super::{Activation, BlockShape, BlockWeights, Mlp, NormPlace};
use crate::canvas::Grid;

/// `x [N, I]`, `weight [O, I]`, `bias [O]` → `[N, O]`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let y = x.matmul(&weight.t()?)?;
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}

/// Whether values have two bytes.
fn is_half(x: &Tensor) -> bool {
    matches!(x.dtype(), DType::F16 | DType::BF16)
}

pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    if is_half(x) {
        let [wide, weight, bias] = [x, weight, bias].map(|tensor| tensor.to_dtype(DType::F32));
        return layer_norm(&wide?, &weight?, &bias?, eps)?.to_dtype(x.dtype());
    }
    let width = x.dim(D::Minus1)? as f64;
    let centred = x.broadcast_sub(&(x.sum_keepdim(D::Minus1)? / width)?)?;
    let variance = (centred.sqr()?.sum_keepdim(D::Minus1)? / width)?;
    let normed = centred.broadcast_div(&(variance + eps)?.sqrt()?)?;
    normed.broadcast_mul(weight)?.broadcast_add(bias)
}

/// Mean and maximum over the tokens of a map, `[B, N, C]` → `[B, 2, C]`. The gradient of `max` would go to all equal tokens; that of a gather goes to the one that was picked.
pub fn pool_tokens(x: &Tensor) -> Result<Tensor> {
    let largest = x.contiguous()?.gather(&x.argmax_keepdim(1)?, 1)?;
    Tensor::cat(&[x.mean_keepdim(1)?, largest], 1)
}

pub fn softmax(x: &Tensor) -> Result<Tensor> {
    if is_half(x) {
        return candle_nn::ops::softmax(&x.to_dtype(DType::F32)?, D::Minus1)?.to_dtype(x.dtype());
    }
    candle_nn::ops::softmax(x, D::Minus1)
}

/// `x [B, N, C]`, `[E, C]`, `[E, 1, 3, 3]`, `[O, E]` and biases → `[B, N', O]`: see [`super::inverted_residual`].
pub fn inverted_residual(x: &Tensor, weights: &BlockWeights<&Tensor>, grid: Grid, shape: BlockShape) -> Result<Tensor> {
    let batch = x.dim(0)?;
    let hidden = match weights.expand {
        None => x.clone(),
        Some((weight, bias)) => super::linear(x, weight, Some(bias))?.clamp(0.0, 6.0)?,
    };
    let wide = hidden.dim(2)?;
    let map = hidden.reshape((batch, grid.h, grid.w, wide))?;
    let taps = weights.depthwise.0.reshape((wide, 9))?.t()?.contiguous()?;
    let filtered = windows(&map, shape.window.stride, shape.window.dilation, (1, 2))?
        .into_iter()
        .enumerate()
        .try_fold(None, |sum: Option<Tensor>, (tap, seen)| -> Result<_> {
            let part = seen.broadcast_mul(&taps.get(tap)?)?;
            Ok(Some(match sum {
                None => part,
                Some(sum) => (sum + part)?,
            }))
        })?
        .ok_or_else(|| candle_core::Error::msg("a convolution without weights"))?
        .broadcast_add(weights.depthwise.1)?
        .clamp(0.0, 6.0)?;
    let filtered = filtered.reshape((batch, shape.output(grid).len(), wide))?;
    let y = super::linear(&filtered, weights.project.0, Some(weights.project.1))?;
    if shape.residual { x + y } else { Ok(y) }
}

/// What the nine weights of all 3x3 windows read, of a map whose rows and columns are the axes `down` and `across`; with
/// TensorFlow's padding.
fn windows(map: &Tensor, stride: usize, dilation: usize, (down, across): (usize, usize)) -> Result<Vec<Tensor>> {
    let (rows, columns) = (map.dim(down)?, map.dim(across)?);
    let (before, after) = if stride == 2 { (0, 2) } else { (dilation, dilation) };
    let padded = map.pad_with_zeros(down, before, after)?.pad_with_zeros(across, before, after)?;
    let every = |map: &Tensor, axis: usize, first: usize, count: usize| -> Result<Tensor> {
        let part = map.narrow(axis, first, count)?;
        if stride == 1 {
            return Ok(part);
        }
        let mut dims = part.dims().to_vec();
        dims.splice(axis..=axis, [count / stride, stride]);
        part.contiguous()?.reshape(dims)?.narrow(axis + 1, 0, 1)?.squeeze(axis + 1)
    };
    (0..9)
        .map(|tap| {
            let part = every(&padded, down, tap / 3 * dilation, rows)?;
            every(&part, across, tap % 3 * dilation, columns)
        })
        .collect()
}

/// `image [B, 3, H, W]`, `weight [C, 3, 3, 3]`, `bias [C]` → `[B, H/2 * W/2, C]`: see [`super::stem`].
pub fn stem(image: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (batch, colours, height, width) = image.dims4()?;
    let seen = windows(image, 2, 1, (2, 3))?;
    let tokens = height / 2 * (width / 2);
    // [B, 3, 9, N] → [B, N, 27]
    let patches = Tensor::stack(&seen, 2)?.reshape((batch, colours * 9, tokens))?.transpose(1, 2)?.contiguous()?;
    super::linear(&patches, &weight.flatten_from(1)?, Some(bias))?.clamp(0.0, 6.0)
}

pub fn window_attention(qkv_of_all: &Tensor, bias: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let (count, area, triple) = qkv_of_all.dims3()?;
    let heads = bias.dim(0)?;
    let width = triple / 3 / heads;
    let qkv = qkv_of_all.reshape((count, area, 3, heads, width))?.permute((2, 0, 3, 1, 4))?;
    let q = (qkv.get(0)?.contiguous()? * (1.0 / (width as f64).sqrt()))?;
    let (k, v) = (qkv.get(1)?.contiguous()?, qkv.get(2)?.contiguous()?);
    let half = is_half(qkv_of_all).then_some(DType::F32);
    let wide = |x: &Tensor| half.map_or_else(|| Ok(x.clone()), |dtype| x.to_dtype(dtype));
    let mut scores = wide(&q.matmul(&k.t()?)?)?.broadcast_add(&wide(bias)?)?;
    if let Some(mask) = mask {
        let per_map = mask.dim(0)?;
        scores = scores
            .reshape((count / per_map, per_map, heads, area, area))?
            .broadcast_add(&wide(mask)?.unsqueeze(1)?)?
            .reshape((count, heads, area, area))?;
    }
    merge_heads(&softmax(&scores)?.to_dtype(v.dtype())?.matmul(&v)?)
}

pub fn attention(parts: &[&Tensor], mask: Option<&Tensor>, heads: usize) -> Result<Tensor> {
    let [q, k, v] = attention_parts(parts, heads)?;
    merge_heads(&attention_weights(&q, &k, mask)?.matmul(&v)?)
}

/// q, k and v by heads, `[B, heads, S, D]`.
pub fn attention_parts(parts: &[&Tensor], heads: usize) -> Result<[Tensor; 3]> {
    let width = parts.iter().map(|part| part.dim(2)).sum::<Result<usize>>()? / 3;
    let mut split = Vec::with_capacity(3);
    for part in parts {
        for start in (0..part.dim(2)?).step_by(width) {
            split.push(split_heads(&part.narrow(2, start, width)?, heads)?);
        }
    }
    split.try_into().map_err(|_| candle_core::Error::msg("attention: not three parts"))
}

/// The weights of every query over the keys, `[B, heads, T, S]`.
pub fn attention_weights(q: &Tensor, k: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let scale = 1.0 / (q.dim(3)? as f64).sqrt();
    let mut scores = (q * scale)?.matmul(&k.t()?)?;
    if let Some(mask) = mask {
        scores = scores.broadcast_add(mask)?;
    }
    super::softmax(&scores)
}

pub fn mlp(x: &Tensor, mlp: &Mlp) -> Result<Tensor> {
    let norm = |x: &Tensor| super::layer_norm(x, mlp.norm.0, mlp.norm.1, mlp.eps);
    let read = if mlp.place == NormPlace::Before { norm(x)? } else { x.clone() };
    let hidden = super::linear(&read, mlp.first.0, Some(mlp.first.1))?;
    let active = match mlp.activation {
        Activation::Gelu => super::gelu(&hidden)?,
        Activation::Relu => hidden.relu()?,
    };
    let y = (x + super::linear(&active, mlp.second.0, Some(mlp.second.1))?)?;
    if mlp.place == NormPlace::After { norm(&y) } else { Ok(y) }
}

/// `x W + b` with a generated matrix per query.
///
/// # Shapes
/// `x [B, N, in]`, `matrix [Q, in + 1, out]`, `Q` = `B` or 1 → `[B, N, out]`.
pub fn dynamic_linear(x: &Tensor, matrix: &Tensor) -> Result<Tensor> {
    let (batch, length, input) = x.dims3()?;
    let weight = matrix.narrow(1, 0, input)?;
    let bias = matrix.narrow(1, input, 1)?;
    if matrix.dim(0)? == 1 {
        let output = matrix.dim(2)?;
        let y = x.reshape((batch * length, input))?.matmul(&weight.squeeze(0)?)?;
        return y.reshape((batch, length, output))?.broadcast_add(&bias);
    }
    x.matmul(&weight.contiguous()?)?.broadcast_add(&bias)
}

/// The channel gate's MLP over both pools, `[B, 2, C]`.
pub fn channel_logits(x: &Tensor, fc1: &Tensor, fc2: &Tensor) -> Result<Tensor> {
    dynamic_linear(&dynamic_linear(&pool_tokens(x)?, fc1)?.relu()?, fc2)
}

/// Tokens behind the channel gate, and the spatial gate's logits `[B, N, 1]`.
pub fn spatial_logits(x: &Tensor, [fc1, fc2, spatial]: [&Tensor; 3]) -> Result<(Tensor, Tensor)> {
    // One MLP for both pools: its output bias counts twice in the sum.
    let channel = sigmoid(&channel_logits(x, fc1, fc2)?.sum_keepdim(1)?)?;
    let x = x.broadcast_mul(&channel)?;
    let logits = dynamic_linear(&x, spatial)?;
    Ok((x, logits))
}

pub fn gates(x: &Tensor, matrices: [&Tensor; 3]) -> Result<Tensor> {
    if is_half(x) {
        return gates(&x.to_dtype(DType::F32)?, matrices)?.to_dtype(x.dtype());
    }
    let (x, logits) = spatial_logits(x, matrices)?;
    x.broadcast_mul(&sigmoid(&logits)?)
}

/// Repeats every token 2x2: nearest upsampling by two of a map `columns` wide.
pub fn upsample2(x: &Tensor, columns: usize) -> Result<Tensor> {
    let (batch, tokens, channels) = x.dims3()?;
    let rows = tokens / columns;
    x.reshape((batch, rows, 1, columns, 1, channels))?.broadcast_as((batch, rows, 2, columns, 2, channels))?.reshape((
        batch,
        4 * tokens,
        channels,
    ))
}

/// Mean over 2x2 tokens of a map `columns` wide.
pub fn mean_pool2(x: &Tensor, columns: usize) -> Result<Tensor> {
    let (batch, tokens, channels) = x.dims3()?;
    let (h, w) = (tokens / columns / 2, columns / 2);
    (x.reshape((batch * h, 2, w, 2, channels))?.sum(3)?.sum(1)? * 0.25)?.reshape((batch, h * w, channels))
}

/// `1 / (1 + exp(-x))`.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    candle_nn::ops::sigmoid(x)
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
