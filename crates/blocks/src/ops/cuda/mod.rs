//! Operations on a GPU that are kernels of our own, without a backward pass: training composes them of candle's.

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DeviceRepr, LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::{CudaStorageSlice, WrapErr};
use candle_core::{CpuStorage, CudaDevice, CudaStorage, CustomOp2, DType, Layout, Result, Shape, Storage, Tensor};

/// Compiled by the build script.
const CODE: &str = include_str!(concat!(env!("OUT_DIR"), "/window_attention.ptx"));

/// Channels of a head that a kernel is compiled for.
const DEPTHS: [usize; 4] = [8, 16, 24, 32];
/// Threads of a block, one a query.
const MOST_TOKENS: usize = 1024;
/// Bytes of shared memory that a block may have without asking for more.
const SHARED: usize = 48 << 10;
/// Blocks across and down.
const MOST_BLOCKS: (usize, usize) = (i32::MAX as usize, u16::MAX as usize);

/// Shared memory of a block: keys and values of a head.
fn shared(area: usize, depth: usize) -> usize {
    2 * area * depth * size_of::<f32>()
}

/// Whether there is a kernel for these sizes, and nobody wants a gradient.
pub fn takes(qkv: &Tensor, heads: usize) -> bool {
    let known = matches!(qkv.dtype(), DType::F32 | DType::F16 | DType::BF16);
    let Ok((windows, area, triple)) = qkv.dims3() else { return false };
    let depth = triple / (3 * heads);
    let whole = triple == 3 * heads * depth && DEPTHS.contains(&depth);
    let fits = area <= MOST_TOKENS && shared(area, depth) <= SHARED;
    let few = windows <= MOST_BLOCKS.0 && heads <= MOST_BLOCKS.1;
    qkv.device().is_cuda() && !qkv.track_op() && known && whole && fits && few
}

/// As [`crate::ops::window_attention`], where [`takes`] says so.
pub fn window_attention(qkv: &Tensor, bias: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let exact = |tensor: &Tensor| tensor.to_dtype(DType::F32)?.contiguous();
    let operation = WindowAttention { mask: mask.map(exact).transpose()? };
    qkv.contiguous()?.apply_op2_no_bwd(&exact(bias)?, &operation)
}

struct WindowAttention {
    /// `[windows of one map, area, area]`.
    mask: Option<Tensor>,
}

/// Elements of a contiguous tensor, from its first one on.
fn from_first<'a, T>(
    slice: &'a CudaSlice<T>,
    layout: &Layout,
) -> candle_core::cuda_backend::cudarc::driver::CudaView<'a, T> {
    slice.slice(layout.start_offset()..)
}

impl WindowAttention {
    fn launch<T: DeviceRepr>(
        &self,
        name: &str,
        device: &CudaDevice,
        (qkv, layout): (&CudaSlice<T>, &Layout),
        (bias, bias_layout): (&CudaSlice<f32>, &Layout),
    ) -> Result<CudaSlice<T>> {
        let (windows, area, triple) = layout.shape().dims3()?;
        let (heads, rows, columns) = bias_layout.shape().dims3()?;
        let depth = triple / (3 * heads);
        let masks = self.mask.as_ref().map(Tensor::dims3).transpose()?;
        let mask_fits =
            masks.is_none_or(|(count, r, c)| (r, c) == (area, area) && count > 0 && windows.is_multiple_of(count));
        if rows != area || columns != area || triple != 3 * heads * depth || !mask_fits {
            candle_core::bail!(
                "window attention: qkv {:?} does not fit bias {:?} and masks {masks:?}",
                layout.shape(),
                bias_layout.shape()
            );
        }
        let (qkv, bias) = (from_first(qkv, layout), from_first(bias, bias_layout));
        let guard = self.mask.as_ref().map(Tensor::storage_and_layout);
        let mask = match guard.as_ref().map(|(storage, layout)| (&**storage, *layout)) {
            None => None,
            Some((Storage::Cuda(storage), layout)) => match &storage.slice {
                CudaStorageSlice::F32(mask) => Some((from_first(mask, layout), layout.shape().dims3()?.0)),
                _ => candle_core::bail!("window attention: a mask that is not f32"),
            },
            Some(_) => candle_core::bail!("window attention: a mask on another device"),
        };
        let function =
            device.get_or_load_custom_func(&format!("window_attention_{name}_{depth}"), "window_attention", CODE)?;
        // SAFETY: the kernel writes every element.
        #[expect(unsafe_code, reason = "memory that a kernel fills")]
        let out = unsafe { device.alloc::<T>(windows * area * heads * depth)? };
        let threads = area.next_multiple_of(32) as u32;
        let config = LaunchConfig {
            grid_dim: (windows as u32, heads as u32, 1),
            block_dim: (threads, 1, 1),
            shared_mem_bytes: shared(area, depth) as u32,
        };
        let (area, heads) = (area as i32, heads as i32);
        let of_map = mask.as_ref().map_or(0, |(_, count)| *count as i32);
        let mut builder = function.builder();
        builder.arg(&qkv).arg(&bias);
        // Without a mask its place is taken by something that is not read.
        match &mask {
            Some((mask, _)) => builder.arg(mask),
            None => builder.arg(&bias),
        };
        builder.arg(&out).arg(&area).arg(&heads).arg(&of_map);
        // SAFETY: sizes are checked above, and the arguments are the kernel's.
        #[expect(unsafe_code, reason = "the call of a kernel")]
        unsafe { builder.launch(config) }.w()?;
        Ok(out)
    }
}

impl CustomOp2 for WindowAttention {
    fn name(&self) -> &'static str {
        "window-attention"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        candle_core::bail!("window attention: the CPU has kernels of its own")
    }

    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        let device = s1.device();
        let CudaStorageSlice::F32(bias) = &s2.slice else {
            candle_core::bail!("window attention: a bias that is not f32")
        };
        let bias = (bias, l2);
        let slice = match &s1.slice {
            CudaStorageSlice::F32(qkv) => CudaStorageSlice::F32(self.launch("f32", device, (qkv, l1), bias)?),
            CudaStorageSlice::F16(qkv) => CudaStorageSlice::F16(self.launch("f16", device, (qkv, l1), bias)?),
            CudaStorageSlice::BF16(qkv) => CudaStorageSlice::BF16(self.launch("bf16", device, (qkv, l1), bias)?),
            _ => candle_core::bail!("window attention: neither f32, f16 nor bf16"),
        };
        let (windows, area, triple) = l1.shape().dims3()?;
        Ok((CudaStorage { slice, device: device.clone() }, Shape::from((windows, area, triple / 3))))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use rand::RngExt;

    use super::*;
    use crate::ops::composed;
    use crate::seeded::stream;

    fn values(name: &str, shape: &[usize]) -> Tensor {
        let mut rng = stream(4, name);
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random::<f32>() * 2.0 - 1.0).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor")
    }

    #[test]
    #[ignore = "needs a GPU: cargo test --features cuda -- --ignored cuda"]
    fn the_kernel_computes_what_the_cpu_does() {
        let device = Device::new_cuda(0).expect("a GPU");
        for (depth, heads, area) in [(8, 2, 16), (16, 3, 49), (24, 1, 25), (32, 4, 49)] {
            for of_map in [0, 3] {
                let qkv = values("qkv", &[6, area, 3 * heads * depth]);
                let bias = values("bias", &[heads, area, area]);
                let mask = (of_map > 0).then(|| values("mask", &[of_map, area, area]));
                let expected = composed::window_attention(&qkv, &bias, mask.as_ref()).expect("runs");
                for (dtype, limit) in [(DType::F32, 1e-5), (DType::F16, 5e-3), (DType::BF16, 4e-2)] {
                    let there = |tensor: &Tensor| tensor.to_device(&device).expect("moved");
                    let own = there(&qkv).to_dtype(dtype).expect("cast");
                    assert!(takes(&own, heads), "{depth} channels");
                    let found = window_attention(&own, &there(&bias), mask.as_ref().map(there).as_ref());
                    let found = found.and_then(|t| t.to_dtype(DType::F32)?.to_device(&Device::Cpu)).expect("runs");
                    let apart = (found - &expected)
                        .and_then(|t| t.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>())
                        .expect("a number");
                    assert!(apart <= limit, "{dtype:?}, {depth} channels, {of_map} masks: {apart}");
                }
            }
        }
    }
}
