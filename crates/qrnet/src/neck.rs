//! Query-aware multiscale fusion (SPEC section 4): laterals, top-down sums, gated bottom-up sums, a fifth level.
//!
//! Everything runs on tokens `[B, H*W, C]`, so that the 1x1 laterals are Linears and no map is transposed.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use tracing::trace_span;

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
        if pass.is_tapped() {
            for (i, (lateral, map)) in self.laterals.iter().zip(maps).enumerate() {
                pass.tap_map(|| format!("neck.lateral{i}"), &lateral.forward(map)?, grids[i])?;
            }
        }
        // From the coarsest map to the finest, each onto the one before.
        let mut levels: Vec<Tensor> = Vec::with_capacity(maps.len() + 1);
        for ((lateral, map), grid) in self.laterals.iter().zip(maps).zip(grids).rev() {
            let level = match levels.last() {
                Some(coarse) => lateral.forward_onto_upsampled(map, coarse, grid.w)?,
                None => lateral.forward(map)?,
            };
            levels.push(level);
        }
        levels.reverse();
        for (i, level) in levels.iter().enumerate() {
            pass.tap(|| format!("neck.topdown{i}"), level);
        }
        for (i, gates) in gates.iter().enumerate() {
            pass.tap_map(|| format!("neck.down{i}.in"), &levels[i], grids[i])?;
            let name = format!("neck.down{i}");
            let _span = trace_span!("gates", number = i).entered();
            levels[i + 1] = gates.apply_halved(&levels[i], &levels[i + 1], grids[i], &name, pass)?;
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
