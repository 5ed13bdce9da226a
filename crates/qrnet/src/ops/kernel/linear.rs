//! `x W^T + b`: candle's matrix products, with the bias added and its gradient summed in kernels of our own.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{elements, rows_per_task};

/// # Shapes
/// `x [N, I]`, `weight [O, I]`, `bias [O]` → `[N, O]`.
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.matmul(&weight.t()?)?.apply_op2(&bias.contiguous()?, AddBias)
}

struct AddBias;

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, bias) = (elements(s1, l1)?, elements(s2, l2)?);
        let width = bias.len();
        let chunk = rows_per_task(width) * width;
        let mut y = x.to_vec();
        y.par_chunks_mut(chunk).for_each(|rows| {
            for row in rows.chunks_exact_mut(width) {
                row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
        });
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let sums = gradient.contiguous()?.apply_op1_no_bwd(&SumRows)?;
        Ok((Some(gradient.clone()), Some(sums)))
    }
}

/// Sums over all axes but the last.
struct SumRows;

impl CustomOp1 for SumRows {
    fn name(&self) -> &'static str {
        "sum-rows"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = elements(storage, layout)?;
        let width = layout.dims().last().copied().unwrap_or(1);
        let chunk = rows_per_task(width) * width;
        let partial: Vec<Vec<f32>> = x
            .par_chunks(chunk)
            .map(|rows| {
                let mut sums = vec![0.0f32; width];
                for row in rows.chunks_exact(width) {
                    sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                }
                sums
            })
            .collect();
        let mut sums = vec![0.0f32; width];
        for part in partial {
            sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        }
        Ok((CpuStorage::F32(sums), Shape::from(width)))
    }
}
