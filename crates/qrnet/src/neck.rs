//! Query-aware multiscale fusion (SPEC section 4): laterals, top-down sums, gated bottom-up sums, a fifth level.
//!
//! Everything runs on tokens `[B, H*W, C]`, so that the 1x1 laterals are Linears and no map is transposed.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::config::{Config, Grid};
use crate::layers::Linear;
use crate::pass::Pass;
use crate::qdatt::Gates;

/// The neck.
pub(crate) struct Neck {
    laterals: Vec<Linear>,
}

impl Neck {
    pub(crate) fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        let laterals = (0..config.stages())
            .map(|stage| {
                let vb = vb.pp(format!("lateral_convs.{stage}.conv"));
                Linear::from_conv1x1(&vb, config.stage_channels(stage), config.neck.out_channels)
            })
            .collect::<Result<_>>()?;
        Ok(Self { laterals })
    }

    /// Fuses the backbone's maps into one level more than there are maps.
    ///
    /// # Shapes
    /// `maps[i] [B, H_i*W_i, C_i]` with `grids[i]` → five times `[B, N_i, out]`.
    pub(crate) fn forward(
        &self,
        maps: &[Tensor],
        grids: &[Grid],
        gates: &[Gates],
        pass: &mut Pass,
    ) -> Result<Vec<Tensor>> {
        let mut levels = Vec::with_capacity(maps.len() + 1);
        for (i, (lateral, map)) in self.laterals.iter().zip(maps).enumerate() {
            let level = lateral.forward(map)?;
            pass.tap_map(|| format!("neck.lateral{i}"), &level, grids[i])?;
            levels.push(level);
        }
        for i in (1..levels.len()).rev() {
            levels[i - 1] = (&levels[i - 1] + upsample2(&levels[i], grids[i])?)?;
        }
        for (i, level) in levels.iter().enumerate() {
            pass.tap(|| format!("neck.topdown{i}"), level);
        }
        for (i, gates) in gates.iter().enumerate() {
            pass.tap_map(|| format!("neck.down{i}.in"), &levels[i], grids[i])?;
            let gated = gates.apply(&levels[i], &format!("neck.down{i}"), pass)?;
            let pooled = mean_pool2(&gated, grids[i])?;
            pass.tap_map(|| format!("neck.down{i}.out"), &pooled, grids[i + 1])?;
            levels[i + 1] = (&levels[i + 1] + pooled)?;
        }
        let last = levels.len() - 1;
        levels.push(every_second(&levels[last], grids[last])?);
        for (i, level) in levels.iter().enumerate() {
            pass.tap(|| format!("neck.level{i}"), level);
            let grid = grids.get(i).copied().unwrap_or_else(|| grids[last].half());
            pass.tap_map(|| format!("neck.out{i}"), level, grid)?;
        }
        Ok(levels)
    }
}

/// Repeats every token 2x2: nearest upsampling by two.
fn upsample2(x: &Tensor, grid: Grid) -> Result<Tensor> {
    let (batch, _, channels) = x.dims3()?;
    x.reshape((batch, grid.h, 1, grid.w, 1, channels))?
        .broadcast_as((batch, grid.h, 2, grid.w, 2, channels))?
        .reshape((batch, 4 * grid.len(), channels))
}

/// Mean over 2x2 tokens.
fn mean_pool2(x: &Tensor, grid: Grid) -> Result<Tensor> {
    let (batch, _, channels) = x.dims3()?;
    let Grid { h, w } = grid.half();
    (x.reshape((batch * h, 2, w, 2, channels))?.sum(3)?.sum(1)? * 0.25)?.reshape((batch, h * w, channels))
}

/// Every second row and column, from the first: max pooling with kernel 1 and stride 2.
fn every_second(x: &Tensor, grid: Grid) -> Result<Tensor> {
    let (batch, _, channels) = x.dims3()?;
    let Grid { h, w } = grid.half();
    x.reshape((batch * h, 2, w, 2, channels))?.narrow(1, 0, 1)?.narrow(3, 0, 1)?.contiguous()?.reshape((
        batch,
        h * w,
        channels,
    ))
}
