//! The backbone, read by the names of the file.

use blocks::canvas::Grid;
use blocks::ops::kernel::dense::Arithmetic;
use blocks::packed::layers::Norm;
use blocks::packed::swin::{Layout, PatchEmbed, Stage};
use blocks::packed::tasks::{Workers, take};
use blocks::packed::weights::Weights;
use blocks::swin::{EPS, Windows};
use candle_core::Result;
use tracing::trace_span;

use crate::config::Config;

pub(super) struct Backbone {
    patches: PatchEmbed,
    stages: Vec<Stage>,
}

impl Backbone {
    pub(super) fn new(config: &Config, weights: &Weights) -> Result<Self> {
        let (swin, embed) = (&config.swin, weights.pp("embeddings"));
        // What nothing reads is not computed.
        let last = config.stages.last().copied().unwrap_or(0);
        let stage = |stage: usize| {
            let norm_at = weights.pp(format!("hidden_states_norms.stage{}", stage + 1));
            let norm = || Norm::new(&norm_at, swin.channels(stage), EPS);
            let norm = config.stages.contains(&stage).then(norm).transpose()?;
            Stage::new(swin, stage, &weights.pp(format!("encoder.layers.{stage}")), norm, stage < last, Arithmetic::F32)
        };
        let projection = embed.pp("patch_embeddings.projection");
        Ok(Self {
            patches: PatchEmbed::new(&projection, &embed.pp("norm"), swin.embed_dim, swin.patch_size)?,
            stages: (0..=last).map(stage).collect::<Result<_>>()?,
        })
    }

    /// How windows lie on the maps.
    pub(super) fn layouts(&self, config: &Config, windows: &Windows) -> Vec<Layout> {
        let layout = |stage| Layout::new(windows, stage, Stage::window_sizes(&config.swin, stage));
        (0..self.stages.len()).map(layout).collect()
    }

    /// The maps of all stages, normalised where they are read, of a `picture [3, H, W]` of `pixels`.
    pub(super) fn forward(
        &self,
        (picture, pixels): (&[f32], Grid),
        layouts: &[Layout],
        maps: &mut Vec<Vec<f32>>,
        by_window: &mut Vec<f32>,
        workers: &Workers,
    ) {
        maps.resize_with(self.stages.len(), Vec::new);
        let size = |stage: usize| layouts[stage].grid().len() * self.stages[stage].channels;
        trace_span!("patch embed").in_scope(|| {
            self.patches.embed(&[picture], pixels, take(&mut maps[0], size(0)), workers);
        });
        for (i, (stage, layout)) in self.stages.iter().zip(layouts).enumerate() {
            let _span = trace_span!("stage", number = i).entered();
            let (here, later) = maps.split_at_mut(i + 1);
            let x = take(&mut here[i], size(i));
            stage.blocks(x, layout, by_window, None, workers);
            let next = later.first_mut().map(|next| take(next, size(i + 1)));
            stage.finish(x, None, layout.grid(), next, workers);
        }
    }
}
