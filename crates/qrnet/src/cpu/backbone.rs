//! The Swin backbone of a compiled frame (SPEC section 2), read by the reference's names.

use candle_core::Result;

use crate::config::Config;
use blocks::canvas::Grid;
use blocks::ops::kernel::dense::Arithmetic;
use blocks::packed::layers::Norm;
use blocks::packed::swin::{PatchEmbed, Stage};
use blocks::packed::weights::Weights;
use blocks::swin::EPS;

pub(super) struct Backbone {
    pub(super) patches: PatchEmbed,
    pub(super) stages: Vec<Stage>,
    side: usize,
}

impl Backbone {
    /// The first Linear and the last one compute in f32 whatever `arithmetic` says.
    pub(super) fn new(config: &Config, weights: &Weights, arithmetic: Arithmetic) -> Result<Self> {
        let (swin, embed) = (config.swin(), weights.pp("patch_embed"));
        let stage = |stage: usize| {
            let layer = weights.pp(format!("layers.{stage}"));
            let norm = Norm::new(&weights.pp(format!("norm{stage}")), config.stage_channels(stage), EPS)?;
            let follows = stage + 1 < config.stages();
            Stage::new(swin, stage, &layer, Some(norm), follows, arithmetic)
        };
        Ok(Self {
            patches: PatchEmbed::new(&embed.pp("proj"), &embed.pp("norm"), swin.embed_dim, swin.patch_size)?,
            stages: (0..config.stages()).map(stage).collect::<Result<_>>()?,
            side: swin.patch_size,
        })
    }

    /// Of pictures whose patches make a map of `grid`.
    pub(super) fn pixels(&self, grid: Grid) -> Grid {
        Grid { h: grid.h * self.side, w: grid.w * self.side }
    }
}
