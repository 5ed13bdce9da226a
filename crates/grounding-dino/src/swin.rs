//! The backbone: Swin with windows that may reach beyond the map, and a norm on every map that is read (`SwinBackbone`).

use blocks::layers::LayerNorm;
use blocks::pass::Pass;
use blocks::swin::{Block, EPS, PatchEmbed, PatchMerging};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::config::Config;
use crate::plan::Plan;

/// Where names of the backbone begin.
pub(crate) const PREFIX: &str = "model.backbone.conv_encoder.model";

pub(crate) struct Backbone {
    patches: PatchEmbed,
    stages: Vec<Stage>,
}

struct Stage {
    blocks: Vec<Block>,
    /// Of the map that is read; none where the stage's map is not.
    norm: Option<LayerNorm>,
    merging: Option<PatchMerging>,
}

impl Backbone {
    pub(crate) fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        let embed = vb.pp("embeddings");
        let projection = embed.pp("patch_embeddings.projection");
        // What nothing reads is not computed.
        let last = config.stages.last().copied().unwrap_or(0);
        Ok(Self {
            patches: PatchEmbed::new(&projection, &embed.pp("norm"), config.swin.embed_dim, config.swin.patch_size)?,
            stages: (0..=last).map(|stage| Stage::new(config, vb, stage, stage == last)).collect::<Result<_>>()?,
        })
    }

    /// Expands the relative positions once, for weights that no longer change.
    pub(crate) fn freeze(&mut self) -> Result<()> {
        self.stages.iter_mut().flat_map(|stage| &mut stage.blocks).try_for_each(Block::freeze)
    }

    /// The maps that are read, `image [1, 3, H, W]` → `[1, h*w, C]` each.
    pub(crate) fn forward(&self, image: &Tensor, plan: &Plan, pass: &mut Pass) -> Result<Vec<Tensor>> {
        let mut x = self.patches.forward(image)?;
        let mut maps = Vec::new();
        for (number, stage) in self.stages.iter().enumerate() {
            let windows = plan.windows.stage(number);
            for block in &stage.blocks {
                x = block.forward(&x, windows, pass)?;
            }
            pass.tap_map(|| format!("stage{number}"), &x, windows.grid())?;
            if let Some(norm) = &stage.norm {
                let map = norm.forward(&x)?;
                pass.tap_map(|| format!("map{}", maps.len()), &map, windows.grid())?;
                maps.push(map);
            }
            if let Some(merging) = &stage.merging {
                x = merging.forward(&x, windows)?;
            }
        }
        Ok(maps)
    }
}

impl Stage {
    fn new(config: &Config, vb: &VarBuilder, stage: usize, last: bool) -> Result<Self> {
        let (swin, channels) = (&config.swin, config.swin.channels(stage));
        let layer = vb.pp(format!("encoder.layers.{stage}"));
        let block = |number: usize| {
            Block::new(swin, &layer.pp(format!("blocks.{number}")), stage, !number.is_multiple_of(2), 0.0)
        };
        let norm = || LayerNorm::new(&vb.pp(format!("hidden_states_norms.stage{}", stage + 1)), channels, EPS);
        Ok(Self {
            blocks: (0..swin.depths[stage]).map(block).collect::<Result<_>>()?,
            norm: config.stages.contains(&stage).then(norm).transpose()?,
            merging: (!last).then(|| PatchMerging::new(&layer.pp("downsample"), channels)).transpose()?,
        })
    }
}
