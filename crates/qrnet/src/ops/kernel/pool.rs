//! Mean and maximum over the tokens of a map, in one pass.

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::elements;

/// # Shapes
/// `x [B, N, C]` → `[B, 2, C]`: the mean, then the maximum. The maximum's gradient goes to the first token that holds it
/// and to no other, however many are equal (SPEC 3.2).
pub(crate) fn pool_tokens(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Pool)
}

struct Pool;

impl CustomOp1 for Pool {
    fn name(&self) -> &'static str {
        "pool-tokens"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = elements(storage, layout)?;
        let (batch, tokens, width) = layout.shape().dims3()?;
        let mut pooled = vec![0.0; batch * 2 * width];
        pooled.par_chunks_mut(2 * width).zip(x.par_chunks(tokens * width)).for_each(|(pooled, map)| {
            let (mean, largest) = pooled.split_at_mut(width);
            largest.fill(f32::NEG_INFINITY);
            for row in map.chunks_exact(width) {
                for ((mean, largest), &value) in mean.iter_mut().zip(largest.iter_mut()).zip(row) {
                    *mean += value;
                    *largest = largest.max(value);
                }
            }
            for sum in mean {
                *sum /= tokens as f32;
            }
        });
        Ok((CpuStorage::F32(pooled), Shape::from((batch, 2, width))))
    }

    fn bwd(&self, x: &Tensor, pooled: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        x.apply_op3_no_bwd(pooled, &gradient.contiguous()?, &PoolGradient).map(Some)
    }
}

struct PoolGradient;

impl CustomOp3 for PoolGradient {
    fn name(&self) -> &'static str {
        "pool-tokens-gradient"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, pooled, gradient) = (elements(s1, l1)?, elements(s2, l2)?, elements(s3, l3)?);
        let (_, tokens, width) = l1.shape().dims3()?;
        let mut dx = vec![0.0; x.len()];
        let outer = pooled.par_chunks(2 * width).zip(gradient.par_chunks(2 * width));
        dx.par_chunks_mut(tokens * width).zip(x.par_chunks(tokens * width)).zip(outer).for_each(
            |((dx, x), (pooled, g))| {
                let share: Vec<f32> = g[..width].iter().map(|g| g / tokens as f32).collect();
                // What is left of the maximum's gradient: nothing once the first token took it.
                let mut left = g[width..].to_vec();
                for (dx, x) in dx.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    for (c, (dx, &x)) in dx.iter_mut().zip(x).enumerate() {
                        let here = if x >= pooled[width + c] { std::mem::take(&mut left[c]) } else { 0.0 };
                        *dx = share[c] + here;
                    }
                }
            },
        );
        Ok((CpuStorage::F32(dx), l1.shape().clone()))
    }
}
