//! Query-aware multiscale fusion (SPEC section 4): laterals, top-down sums, gated bottom-up sums, a fifth level.
//!
//! Everything runs on tokens `[B, H*W, C]`, so that the 1x1 laterals are Linears and no map is transposed.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use tracing::trace_span;

use crate::config::Config;
use crate::qdatt::Gates;
use blocks::canvas::Grid;
use blocks::layers::Linear;
use blocks::pass::Pass;

/// The neck.
pub(crate) struct Neck {
    /// Of the backbone's stages that are fused.
    laterals: Vec<(usize, Linear)>,
    /// Their levels, and whether anybody reads the one after them.
    levels: Vec<usize>,
    further: bool,
}

impl Neck {
    pub(crate) fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        let stages = config.neck_stages().into_iter().enumerate();
        let laterals = stages
            .map(|(place, stage)| {
                let vb = vb.pp(format!("lateral_convs.{place}.conv"));
                Ok((stage, Linear::from_conv1x1(&vb, config.stage_channels(stage), config.neck.out_channels)?))
            })
            .collect::<Result<_>>()?;
        let mut levels = config.neck_levels();
        let further = levels.pop();
        Ok(Self { laterals, levels, further: further.is_some_and(|level| config.token_levels().contains(&level)) })
    }

    /// Fuses the backbone's maps; where the fusion head reads it, into one level more than there are maps.
    ///
    /// # Shapes
    /// `maps` of all stages, `[B, N_i, C_i]`, `grids` of all levels → for every level of the neck `[B, N_i, out]`.
    pub(crate) fn forward(
        &self,
        maps: &[Tensor],
        grids: &[Grid],
        gates: &[Gates],
        pass: &mut Pass,
    ) -> Result<Vec<Tensor>> {
        if pass.is_tapped() {
            for ((stage, lateral), level) in self.laterals.iter().zip(&self.levels) {
                pass.tap_map(|| format!("neck.lateral{level}"), &lateral.forward(&maps[*stage])?, grids[*level])?;
            }
        }
        // From the coarsest map to the finest, each onto the one before.
        let mut levels: Vec<Tensor> = Vec::with_capacity(self.levels.len() + 1);
        for ((stage, lateral), level) in self.laterals.iter().zip(&self.levels).rev() {
            let map = &maps[*stage];
            let level = match levels.last() {
                Some(coarse) => lateral.forward_onto_upsampled(map, coarse, grids[*level].w)?,
                None => lateral.forward(map)?,
            };
            levels.push(level);
        }
        levels.reverse();
        for (number, level) in self.levels.iter().zip(&levels) {
            pass.tap(|| format!("neck.topdown{number}"), level);
        }
        for (i, gates) in gates.iter().enumerate() {
            let (number, grid) = (self.levels[i], grids[self.levels[i]]);
            pass.tap_map(|| format!("neck.down{number}.in"), &levels[i], grid)?;
            let name = format!("neck.down{number}");
            let _span = trace_span!("gates", number).entered();
            levels[i + 1] = gates.apply_halved(&levels[i], &levels[i + 1], grid, &name, pass)?;
        }
        if let (true, Some(last), Some(map)) = (self.further, self.levels.last(), levels.last()) {
            levels.push(every_second(map, grids[*last])?);
        }
        for (i, level) in levels.iter().enumerate() {
            let number = self.levels[0] + i;
            pass.tap(|| format!("neck.level{number}"), level);
            pass.tap_map(|| format!("neck.out{number}"), level, grids[number])?;
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
