//! The operations that blocks are made of. Each passes a gradient: candle's fused layer norm and softmax do not.
//!
//! On the CPU in f32 they are fused kernels (`kernel`); everywhere else they are composed of candle's operations
//! (`composed`). Tests hold the two to each other, values and gradients.
#![expect(clippy::missing_errors_doc, reason = "all fail alike: shapes that do not fit, or the device")]

pub(crate) mod composed;
pub(crate) mod kernel;

use std::sync::Arc;

use candle_core::{DType, Device, Result, Shape, Tensor};

pub use composed::{merge_heads, sigmoid, split_heads};

/// `x W^T + b` over the last axis.
///
/// # Shapes
/// `x [.., I]`, `weight [O, I]`, `bias [O]` → `[.., O]`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    let input = dims.pop().unwrap_or(1);
    let rows: usize = dims.iter().product();
    dims.push(weight.dim(0)?);
    let flat = x.reshape((rows, input))?;
    let y = match bias {
        Some(bias) if kernel::fits(&[x, weight, bias]) => kernel::linear(&flat, weight, bias)?,
        _ => composed::linear(&flat, weight, bias)?,
    };
    y.reshape(dims)
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

    pub(crate) fn values(&self) -> Result<Arc<Vec<f32>>> {
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
    composed::window_attention(qkv, bias, mask.map(ShiftMask::tensor).transpose()?.as_ref())
}

/// Mean and maximum over the tokens of a map; the maximum's gradient goes to one token only.
///
/// # Shapes
/// `x [B, N, C]` → `[B, 2, C]`.
pub fn pool_tokens(x: &Tensor) -> Result<Tensor> {
    if kernel::fits(&[x]) { kernel::pool_tokens(x) } else { composed::pool_tokens(x) }
}

/// An additive attention mask `[B, 1, 1, S]` from a key mask `[B, S]`, u8, 1 = ignore. The value is finite: a masked
/// key's weight underflows to exactly 0 in f32 as with `-inf`, and no gradient can become NaN.
pub fn additive_mask(ignore: &Tensor, dtype: DType) -> Result<Tensor> {
    (ignore.to_dtype(dtype)?.unsqueeze(1)?.unsqueeze(1)? * MASKED)?.contiguous()
}

const MASKED: f64 = -1e9;
