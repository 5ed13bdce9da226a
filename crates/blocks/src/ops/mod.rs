//! The operations that blocks are made of. Each passes a gradient: candle's fused layer norm and softmax do not.
//!
//! On the CPU in f32 they are fused kernels (`kernel`); everywhere else they are composed of candle's operations
//! (`composed`). Tests hold the two to each other, values and gradients.
#![expect(clippy::missing_errors_doc, reason = "all fail alike: shapes that do not fit, or the device")]

#[doc(hidden)]
pub mod composed;
#[cfg(feature = "cuda")]
mod cuda;
// For the model crates beside this one, which run whole frames on them.
#[doc(hidden)]
pub mod kernel;

use std::sync::Arc;

use candle_core::{DType, Device, Result, Shape, Tensor};

use crate::canvas::Grid;
pub use composed::{merge_heads, sigmoid, split_heads};
pub use kernel::depthwise::Window as BlockWindow;
pub use kernel::inverted::{Shape as BlockShape, Weights as BlockWeights};

/// `x W^T + b` over the last axis.
///
/// # Shapes
/// `x [.., I]`, `weight [O, I]`, `bias [O]` → `[.., O]`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    if kernel::fits(&[x, weight]) && bias.is_none_or(|bias| kernel::fits(&[bias])) {
        return kernel::linear(x, weight, bias);
    }
    let mut dims = x.dims().to_vec();
    let input = dims.pop().unwrap_or(1);
    let rows: usize = dims.iter().product();
    dims.push(weight.dim(0)?);
    composed::linear(&x.reshape((rows, input))?, weight, bias)?.reshape(dims)
}

/// Layer norm over the last axis, with affine parameters.
///
/// # Shapes
/// `x [.., C]`, `weight [C]`, `bias [C]` → `[.., C]`.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    if kernel::fits(&[x, weight, bias]) {
        return kernel::layer_norm(x, weight, bias, eps);
    }
    composed::layer_norm(x, weight, bias, eps)
}

/// Softmax over the last axis. Rows may hold `-inf`, but not only `-inf`.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    if kernel::fits(&[x]) { kernel::softmax(x) } else { composed::softmax(x) }
}

/// Exact GELU: `x (1 + erf(x / sqrt 2)) / 2`.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    if kernel::fits(&[x]) { kernel::gelu(x) } else { x.gelu_erf() }
}

/// What shifted windows add to their scores, `[windows of one map, area, area]`. On the CPU it is kept as plain values,
/// which the kernel reads; a tensor would have to be read out in every block of every frame.
#[derive(Clone)]
pub struct ShiftMask(Mask);

#[derive(Clone)]
enum Mask {
    Values { values: Arc<Vec<f32>>, shape: Shape },
    Tensor(Tensor),
}

impl ShiftMask {
    /// From a tensor `[windows of one map, area, area]`.
    pub fn new(tensor: Tensor) -> Result<Self> {
        if !kernel::fits(&[&tensor]) {
            return Ok(Self(Mask::Tensor(tensor)));
        }
        let values = Arc::new(tensor.flatten_all()?.to_vec1()?);
        Ok(Self(Mask::Values { values, shape: tensor.shape().clone() }))
    }

    fn tensor(&self) -> Result<Tensor> {
        match &self.0 {
            Mask::Tensor(tensor) => Ok(tensor.clone()),
            Mask::Values { values, shape } => Tensor::from_slice(values, shape.clone(), &Device::Cpu),
        }
    }

    /// Plain values `[windows * area * area]`.
    pub fn values(&self) -> Result<Arc<Vec<f32>>> {
        match &self.0 {
            Mask::Values { values, .. } => Ok(Arc::clone(values)),
            Mask::Tensor(tensor) => {
                let values = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
                Ok(Arc::new(values))
            }
        }
    }
}

/// Attention inside windows, with relative position bias and, in shifted blocks, the mask of regions.
///
/// # Shapes
/// `qkv [W, area, 3C]` in the order q, k, v, then heads; `bias [heads, area, area]`; `mask [windows of one map, area,
/// area]` → `[W, area, C]`.
pub fn window_attention(qkv: &Tensor, bias: &Tensor, mask: Option<&ShiftMask>) -> Result<Tensor> {
    if kernel::fits(&[qkv, bias]) {
        return kernel::window_attention(qkv, bias, mask);
    }
    #[cfg(feature = "cuda")]
    if cuda::takes(qkv, bias.dim(0)?) && !bias.track_op() {
        return cuda::window_attention(qkv, bias, mask.map(ShiftMask::tensor).transpose()?.as_ref());
    }
    composed::window_attention(qkv, bias, mask.map(ShiftMask::tensor).transpose()?.as_ref())
}

/// Multi-head attention over whole sequences. Without its weights: who wants them takes [`attention_with_weights`].
///
/// # Shapes
/// `parts [B, S, ..]`: q, k and v side by side, in one to three tensors of `3d` channels in all; a q of its own may have
/// fewer tokens. `mask [B, 1, 1, S]`, added to the scores, without a gradient → `[B, T, d]`.
pub fn attention(parts: &[&Tensor], mask: Option<&Tensor>, heads: usize) -> Result<Tensor> {
    if kernel::fits(parts) && mask.is_none_or(|mask| kernel::fits(&[mask])) {
        return kernel::attention(parts, mask, heads);
    }
    composed::attention(parts, mask, heads)
}

/// As [`attention`], with every query's weights over the keys, `[B, heads, T, S]`, which pass a gradient; `change` is
/// what becomes of the weights before they meet the values, as dropout.
pub fn attention_with_weights(
    parts: &[&Tensor],
    mask: Option<&Tensor>,
    heads: usize,
    change: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<(Tensor, Tensor)> {
    let [q, k, v] = composed::attention_parts(parts, heads)?;
    let weights = composed::attention_weights(&q, &k, mask)?;
    Ok((merge_heads(&change(&weights)?.matmul(&v)?)?, weights))
}

/// Where an [`mlp`] has its norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlace {
    /// `x + f(norm(x))`
    Before,
    /// `norm(x + f(x))`
    After,
}

/// What an [`mlp`] has between its Linears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// As [`gelu`].
    Gelu,
    /// Nothing below zero.
    Relu,
}

/// The weights of an [`mlp`], weight and bias of each part.
pub struct Mlp<'a> {
    /// Layer norm, `[C]` both.
    pub norm: (&'a Tensor, &'a Tensor),
    /// The norm's epsilon.
    pub eps: f64,
    /// `[H, C]` and `[H]`.
    pub first: (&'a Tensor, &'a Tensor),
    /// `[C, H]` and `[C]`.
    pub second: (&'a Tensor, &'a Tensor),
    /// Where the norm stands.
    pub place: NormPlace,
    /// What is between the Linears.
    pub activation: Activation,
}

impl Mlp<'_> {
    fn tensors(&self) -> [&Tensor; 6] {
        [self.norm.0, self.norm.1, self.first.0, self.first.1, self.second.0, self.second.1]
    }
}

/// Two Linears with an activation, a residual around them and a norm, as transformer blocks have them.
///
/// # Shapes
/// `x [.., C]` → `[.., C]`.
pub fn mlp(x: &Tensor, mlp: &Mlp) -> Result<Tensor> {
    if kernel::fits(&[x]) && kernel::fits(&mlp.tensors()) {
        return kernel::mlp(x, mlp);
    }
    composed::mlp(x, mlp)
}

/// MobileNetV2's inverted residual with folded norms, on maps of `grid`.
///
/// # Shapes
/// `x [B, N, C]` → `[B, N', O]`; weights as in [`BlockWeights`].
pub fn inverted_residual(x: &Tensor, weights: &BlockWeights<&Tensor>, grid: Grid, shape: BlockShape) -> Result<Tensor> {
    let (depthwise, project) = (weights.depthwise, weights.project);
    let expand = weights.expand.is_none_or(|(weight, bias)| kernel::fits(&[weight, bias]));
    if expand && kernel::fits(&[x, depthwise.0, depthwise.1, project.0, project.1]) {
        return kernel::inverted_residual(x, weights, grid, shape);
    }
    composed::inverted_residual(x, weights, grid, shape)
}

/// MobileNetV2's first convolution, 3x3 with a stride of 2, and `ReLU6`.
///
/// # Shapes
/// `image [B, 3, H, W]`, `weight [C, 3, 3, 3]`, `bias [C]` → `[B, H/2 * W/2, C]`. The fused kernel gives the picture no
/// gradient.
pub fn stem(image: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if kernel::fits(&[image, weight, bias]) {
        return kernel::stem(image, weight, bias);
    }
    composed::stem(image, weight, bias)
}

/// Scales tokens by QD-ATT's channel gate, then by its spatial gate, with the generated `matrices` of both.
///
/// # Shapes
/// `x [B, N, C]`, `matrices` `[Q, C + 1, R]`, `[Q, R + 1, C]` and `[Q, C + 1, 1]`, `Q` = `B` or 1 → `[B, N, C]`.
pub fn gates(x: &Tensor, matrices: [&Tensor; 3]) -> Result<Tensor> {
    if kernel::fits(&[x]) && kernel::fits(&matrices) {
        kernel::gates(x, matrices)
    } else {
        composed::gates(x, matrices)
    }
}

/// `onto` plus the mean over 2x2 tokens of [`gates`], on a map `columns` wide.
///
/// # Shapes
/// As [`gates`]; `onto [B, N / 4, C]` → `[B, N / 4, C]`.
pub fn gates_halved(x: &Tensor, matrices: [&Tensor; 3], onto: &Tensor, columns: usize) -> Result<Tensor> {
    if kernel::fits(&[x, onto]) && kernel::fits(&matrices) {
        return kernel::gates_halved(x, matrices, onto, columns);
    }
    onto + composed::mean_pool2(&composed::gates(x, matrices)?, columns)?
}

/// `x W^T + b` plus a map of half the size with every token repeated 2x2; the larger map is `columns` wide.
///
/// # Shapes
/// `x [B, N, I]`, `weight [O, I]`, `bias [O]`, `coarse [B, N / 4, O]` → `[B, N, O]`.
pub fn linear_onto_upsampled(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    coarse: &Tensor,
    columns: usize,
) -> Result<Tensor> {
    if kernel::fits(&[x, weight, bias, coarse]) {
        return kernel::linear_onto_upsampled(x, weight, bias, coarse, columns);
    }
    linear(x, weight, Some(bias))? + composed::upsample2(coarse, columns / 2)?
}

/// An additive attention mask `[B, 1, 1, S]` from a key mask `[B, S]`, u8, 1 = ignore. The value is finite: a masked
/// key's weight underflows to exactly 0 in f32 as with `-inf`, and no gradient can become NaN.
pub fn additive_mask(ignore: &Tensor, dtype: DType) -> Result<Tensor> {
    (ignore.to_dtype(dtype)?.unsqueeze(1)?.unsqueeze(1)? * MASKED)?.contiguous()
}

const MASKED: f64 = -1e9;
