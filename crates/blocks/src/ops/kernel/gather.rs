//! Row gathers: window partition with its roll and padding is one of them, and so is its inverse.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{elements, rows_per_task};

/// A source row that does not exist: the output row is zero.
pub const ZERO_ROW: u32 = u32::MAX;

/// Where each output row of one map comes from, and where each input row goes: a one-to-one map up to zero rows.
#[derive(Clone)]
pub struct RowMap {
    forward: Arc<[u32]>,
    backward: Arc<[u32]>,
}

impl RowMap {
    /// `sources[i]` is the input row of output row `i`, or [`ZERO_ROW`]; `inputs` is the number of input rows.
    pub fn new(sources: Vec<u32>, inputs: usize) -> Self {
        let mut backward = vec![ZERO_ROW; inputs];
        for (output, &source) in sources.iter().enumerate() {
            if source != ZERO_ROW {
                backward[source as usize] = output as u32;
            }
        }
        Self { forward: sources.into(), backward: backward.into() }
    }

    /// For every output row its input row, or [`ZERO_ROW`].
    pub fn sources(&self) -> &[u32] {
        &self.forward
    }

    /// For every input row the output row that it becomes, or [`ZERO_ROW`].
    pub fn places(&self) -> &[u32] {
        &self.backward
    }

    /// The map back: rows that went nowhere become zero.
    #[must_use]
    pub fn inverse(&self) -> Self {
        Self { forward: Arc::clone(&self.backward), backward: Arc::clone(&self.forward) }
    }
}

/// Applies `map` to every map of a batch.
///
/// # Shapes
/// `x [B, inputs, C]` → `[B, outputs, C]`.
pub fn gather_rows(x: &Tensor, map: &RowMap) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Gather(map.clone()))
}

struct Gather(RowMap);

impl CustomOp1 for Gather {
    fn name(&self) -> &'static str {
        "gather-rows"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = elements(storage, layout)?;
        let (batch, inputs, width) = layout.shape().dims3()?;
        let sources = &self.0.forward;
        let outputs = sources.len();
        if inputs != self.0.backward.len() {
            candle_core::bail!("a gather over {} rows was given {inputs}", self.0.backward.len());
        }
        let mut y = vec![0.0; batch * outputs * width];
        let rows = rows_per_task(width);
        y.par_chunks_mut(rows * width).enumerate().for_each(|(task, y)| {
            for (i, y) in y.chunks_exact_mut(width).enumerate() {
                let row = task * rows + i;
                let source = sources[row % outputs];
                if source != ZERO_ROW {
                    let start = (row / outputs * inputs + source as usize) * width;
                    y.copy_from_slice(&x[start..start + width]);
                }
            }
        });
        Ok((CpuStorage::F32(y), Shape::from((batch, outputs, width))))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        gradient.contiguous()?.apply_op1_no_bwd(&Gather(self.0.inverse())).map(Some)
    }
}
