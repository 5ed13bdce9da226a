//! Swin Transformer backbone, detection flavour, with QD-ATT at the end of every stage (SPEC section 2; Liu et al.
//! 2021). Maps are token sequences `[B, H*W, C]`, row-major.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use tracing::trace_span;

use crate::config::Config;
use crate::qdatt::Gates;
use blocks::canvas::Canvas;
use blocks::layers::LayerNorm;
use blocks::pass::Pass;
use blocks::swin::{Block, EPS, PatchEmbed, PatchMerging, StageWindows, Windows};

/// The backbone without the generators of its gates.
pub(crate) struct Backbone {
    patches: PatchEmbed,
    stages: Vec<Stage>,
}

impl Backbone {
    pub(crate) fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        let swin = config.swin();
        let embed = vb.pp("patch_embed");
        let blocks: usize = swin.depths.iter().sum();
        let mut first = 0;
        let mut stages = Vec::new();
        for stage in 0..config.stages() {
            let rates = (first..first + swin.depths[stage])
                .map(|block| swin.drop_path_rate * block as f64 / (blocks.max(2) - 1) as f64)
                .collect();
            stages.push(Stage::new(config, vb, stage, rates)?);
            first += swin.depths[stage];
        }
        Ok(Self {
            patches: PatchEmbed::new(&embed.pp("proj"), &embed.pp("norm"), swin.embed_dim, swin.patch_size)?,
            stages,
        })
    }

    /// Expands the relative position tables once, for weights that no longer change.
    pub(crate) fn freeze(&mut self) -> Result<()> {
        self.stages.iter_mut().flat_map(|stage| &mut stage.blocks).try_for_each(Block::freeze)
    }

    /// Normalised output map of every stage.
    ///
    /// # Shapes
    /// `image [B, 3, H, W]` on the canvas of `windows`, `gates[i]` for stage `i` if it has any → `[B, H_i*W_i, C_i]` each.
    pub(crate) fn forward(
        &self,
        image: &Tensor,
        windows: &Windows,
        gates: &[Option<&Gates>],
        pass: &mut Pass,
    ) -> Result<Vec<Tensor>> {
        let mut x = trace_span!("patch embed").in_scope(|| self.patches.forward(image))?;
        pass.tap_map(|| "patch_embed".into(), &x, windows.stage(0).grid())?;
        let mut maps = Vec::with_capacity(self.stages.len());
        for (i, stage) in self.stages.iter().enumerate() {
            let _span = trace_span!("stage", number = i).entered();
            let (map, next) = stage.forward(&x, windows.stage(i), gates[i], i, pass)?;
            maps.push(map);
            if let Some(next) = next {
                x = next;
            }
        }
        Ok(maps)
    }
}

struct Stage {
    blocks: Vec<Block>,
    norm: LayerNorm,
    downsample: Option<PatchMerging>,
}

impl Stage {
    fn new(config: &Config, vb: &VarBuilder, stage: usize, drop_path: Vec<f64>) -> Result<Self> {
        let channels = config.stage_channels(stage);
        let layer = vb.pp(format!("layers.{stage}"));
        let blocks = drop_path
            .into_iter()
            .enumerate()
            .map(|(block, rate)| {
                Block::new(config.swin(), &layer.pp(format!("blocks.{block}")), stage, block % 2 == 1, rate)
            })
            .collect::<Result<_>>()?;
        let last = stage + 1 == config.stages();
        let downsample = if last { None } else { Some(PatchMerging::new(&layer.pp("downsample"), channels)?) };
        Ok(Self { blocks, norm: LayerNorm::new(&vb.pp(format!("norm{stage}")), channels, EPS)?, downsample })
    }

    /// The stage's output map and the next stage's input. Both read the gated tokens.
    fn forward(
        &self,
        x: &Tensor,
        windows: &StageWindows,
        gates: Option<&Gates>,
        stage: usize,
        pass: &mut Pass,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let mut x = x.clone();
        for (i, block) in self.blocks.iter().enumerate() {
            x = trace_span!("block", number = i).in_scope(|| block.forward(&x, windows, pass))?;
            pass.tap(|| format!("stage{stage}.block{i}"), &x);
        }
        pass.tap(|| format!("stage{stage}.pre_qdatt"), &x);
        let x = match gates {
            Some(gates) => trace_span!("gates").in_scope(|| gates.apply(&x, &format!("stage{stage}"), pass))?,
            None => x,
        };
        pass.tap(|| format!("stage{stage}.post_qdatt"), &x);
        let map = trace_span!("norm").in_scope(|| self.norm.forward(&x))?;
        pass.tap_map(|| format!("backbone_out{stage}"), &map, windows.grid())?;
        let merge = |merge: &PatchMerging| trace_span!("merge patches").in_scope(|| merge.forward(&x, windows));
        let next = self.downsample.as_ref().map(merge).transpose()?;
        if let Some(next) = &next {
            pass.tap(|| format!("stage{stage}.downsample"), next);
        }
        Ok((map, next))
    }
}

/// Window layouts of all stages on `canvas`.
pub(crate) fn windows(config: &Config, canvas: Canvas, device: &candle_core::Device) -> Windows {
    let stages = (0..config.stages())
        .map(|stage| StageWindows::new(config.level_grid(canvas, stage), config.swin().window_size, device))
        .collect();
    Windows::new(stages)
}
