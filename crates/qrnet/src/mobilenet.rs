//! MobileNetV2 as a backbone (Sandler et al. 2018), width 1, norms folded into the weights, padding as TensorFlow's
//! detectors have it, with QD-ATT's gates at the end of its later stages.
//!
//! Maps are token sequences `[B, H*W, C]`, row-major. Unlike Swin's they have no norm of their own behind the gates.
//! Everything before the first gate depends on the picture alone: it is computed once for all sentences.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use tracing::trace_span;

use crate::config::{Config, MobileNetConfig};
use crate::qdatt::Gates;
use blocks::canvas::Grid;
use blocks::ops::{self, BlockShape, BlockWeights, BlockWindow};
use blocks::pass::Pass;

/// Channels of the first convolution.
pub(crate) const STEM_CHANNELS: usize = 32;

/// One block of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockSizes {
    /// Channels that come in.
    pub(crate) input: usize,
    /// Channels of the depthwise convolution.
    pub(crate) hidden: usize,
    /// Channels that go out.
    pub(crate) output: usize,
    /// The stage that it belongs to.
    pub(crate) stage: usize,
    /// Stride, dilation, residual.
    pub(crate) shape: BlockShape,
}

impl BlockSizes {
    /// Whether a Linear widens the map before the depthwise convolution.
    pub(crate) fn widens(self) -> bool {
        self.hidden != self.input
    }
}

/// Output channels, number of blocks, stride of the first of them, and stage (Sandler et al. 2018, table 2; the stage ends
/// where the resolution changes next).
const ROWS: [(usize, usize, usize, usize); 7] =
    [(16, 1, 1, 0), (24, 2, 2, 0), (32, 3, 2, 1), (64, 4, 2, 2), (96, 3, 1, 2), (160, 3, 2, 3), (320, 1, 1, 3)];
/// How much wider the inner map of all blocks but the first is.
const WIDENING: usize = 6;

/// The seventeen blocks. With an output stride of 16 the last stage keeps the resolution of the one before, and the windows
/// behind the place where it would have been halved are dilated.
pub(crate) fn blocks(output_stride: usize) -> Vec<BlockSizes> {
    let mut input = STEM_CHANNELS;
    let mut blocks = Vec::new();
    for (row, &(output, count, stride, stage)) in ROWS.iter().enumerate() {
        for block in 0..count {
            let kept = stage == 3 && output_stride == 16;
            let first = stage == 3 && row == 5 && block == 0;
            let window = match (block, kept) {
                (_, true) => BlockWindow { stride: 1, dilation: if first { 1 } else { 2 } },
                (0, false) => BlockWindow { stride, dilation: 1 },
                _ => BlockWindow { stride: 1, dilation: 1 },
            };
            let hidden = if row == 0 { input } else { WIDENING * input };
            let residual = window.stride == 1 && input == output;
            blocks.push(BlockSizes { input, hidden, output, stage, shape: BlockShape { window, residual } });
            input = output;
        }
    }
    blocks
}

/// What names of tensors begin with that keep their weights in training.
pub(crate) fn frozen_tensors(config: &MobileNetConfig) -> Vec<String> {
    let root = "visumodel.backbone";
    let stem = (config.frozen_stages > 0).then(|| format!("{root}.stem."));
    let blocks = blocks(config.output_stride).into_iter().enumerate();
    let frozen = blocks.filter(|(_, block)| block.stage < config.frozen_stages);
    stem.into_iter().chain(frozen.map(|(number, _)| format!("{root}.blocks.{number}."))).collect()
}

/// The tensors that read maps which stages of `gated` have gated: each the first of the stage after it.
pub(crate) fn readers_of_gates(config: &MobileNetConfig, gated: std::ops::Range<usize>) -> Vec<String> {
    let blocks = blocks(config.output_stride);
    let first = |stage: usize| blocks.iter().position(|block| block.stage == stage);
    let readers = gated.filter_map(|stage| first(stage + 1));
    readers.map(|number| format!("visumodel.backbone.blocks.{number}.expand.weight")).collect()
}

/// Weights of the whole network, by the names of a checkpoint: the stem, and each block with its sizes.
pub(crate) struct NetworkWeights {
    pub(crate) stem: (Tensor, Tensor),
    pub(crate) blocks: Vec<(BlockSizes, BlockWeights<Tensor>)>,
}

impl NetworkWeights {
    /// Reads the weights at `vb`, `visumodel.backbone` of a checkpoint.
    pub(crate) fn new(config: &MobileNetConfig, vb: &VarBuilder) -> Result<Self> {
        let stem = vb.pp("stem");
        let read = |(number, sizes): (usize, BlockSizes)| {
            let vb = vb.pp(format!("blocks.{number}"));
            let linear = |name: &str, input: usize, output: usize| -> Result<(Tensor, Tensor)> {
                let vb = vb.pp(name);
                let weight = vb.get((output, input, 1, 1), "weight")?.reshape((output, input))?;
                Ok((weight, vb.get(output, "bias")?))
            };
            let depthwise = vb.pp("depthwise");
            let weights = BlockWeights {
                expand: sizes.widens().then(|| linear("expand", sizes.input, sizes.hidden)).transpose()?,
                depthwise: (depthwise.get((sizes.hidden, 1, 3, 3), "weight")?, depthwise.get(sizes.hidden, "bias")?),
                project: linear("project", sizes.hidden, sizes.output)?,
            };
            Ok((sizes, weights))
        };
        Ok(Self {
            stem: (stem.get((STEM_CHANNELS, 3, 3, 3), "weight")?, stem.get(STEM_CHANNELS, "bias")?),
            blocks: blocks(config.output_stride).into_iter().enumerate().map(read).collect::<Result<_>>()?,
        })
    }
}

/// The backbone on tensors.
pub(crate) struct Backbone {
    weights: NetworkWeights,
    /// The level of every stage's map.
    levels: Vec<usize>,
}

impl Backbone {
    /// Reads the weights at `vb`, `visumodel.backbone` of a checkpoint.
    pub(crate) fn new(config: &Config, mobilenet: &MobileNetConfig, vb: &VarBuilder) -> Result<Self> {
        let levels = (0..config.stages()).map(|stage| config.stage_level(stage)).collect();
        Ok(Self { weights: NetworkWeights::new(mobilenet, vb)?, levels })
    }

    /// The map of every stage, behind its gates if it has any.
    ///
    /// # Shapes
    /// `image [P, 3, H, W]` on the canvas of `grids`, those of all levels; `gates[i]` for stage `i`; `pictures [B]` u32 says
    /// which picture each of the queries asks, where these are not one each → `[B, N_i, C_i]` each.
    pub(crate) fn forward(
        &self,
        image: &Tensor,
        grids: &[Grid],
        gates: &[Option<&Gates>],
        pictures: Option<&Tensor>,
        pass: &mut Pass,
    ) -> Result<Vec<Tensor>> {
        let asked = |x: &Tensor| pictures.map_or_else(|| Ok(x.clone()), |pictures| x.index_select(pictures, 0));
        let (weight, bias) = &self.weights.stem;
        let mut x = trace_span!("stem").in_scope(|| ops::stem(image, weight, bias))?;
        let mut grid = Grid { h: grids[0].h * 2, w: grids[0].w * 2 };
        pass.tap_map(|| "stem".into(), &x, grid)?;
        let mut maps = Vec::with_capacity(gates.len());
        // Whether a gate has been passed: then there is a map for every query.
        let mut split = false;
        for (stage, gates) in gates.iter().enumerate() {
            let _span = trace_span!("stage", number = stage).entered();
            for (number, (sizes, weights)) in self.weights.blocks.iter().enumerate() {
                if sizes.stage != stage {
                    continue;
                }
                let _span = trace_span!("block", number).entered();
                x = ops::inverted_residual(&x, &weights.as_ref(), grid, sizes.shape)?;
                grid = sizes.shape.output(grid);
                pass.tap_map(|| format!("block{number}"), &x, grid)?;
            }
            debug_assert_eq!(grid, grids[self.levels[stage]]);
            pass.tap(|| format!("stage{stage}.pre_qdatt"), &x);
            if let Some(gates) = gates {
                if !split {
                    x = asked(&x)?;
                    split = true;
                }
                x = trace_span!("gates").in_scope(|| gates.apply(&x, &format!("stage{stage}"), pass))?;
                pass.tap(|| format!("stage{stage}.post_qdatt"), &x);
            }
            maps.push(if split { x.clone() } else { asked(&x)? });
            pass.tap_map(|| format!("backbone_out{stage}"), &maps[stage], grid)?;
        }
        Ok(maps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_end_at_their_strides_and_channels() {
        for (stride, last) in [(32, 32), (16, 16)] {
            let mut at = 2;
            let mut ends = [(0, 0); 4];
            for block in blocks(stride) {
                at *= block.shape.window.stride;
                ends[block.stage] = (at, block.output);
            }
            assert_eq!(ends, [(4, 24), (8, 32), (16, 96), (last, 320)]);
        }
        let residuals: Vec<usize> =
            blocks(32).iter().enumerate().filter(|(_, block)| block.shape.residual).map(|(number, _)| number).collect();
        assert_eq!(residuals, [2, 4, 5, 7, 8, 9, 11, 12, 14, 15]);
    }

    #[test]
    fn frozen_tensors_are_those_of_the_first_stages() {
        let names = frozen_tensors(&MobileNetConfig { output_stride: 32, frozen_stages: 2 });
        assert_eq!(names.len(), 1 + 6);
        assert!(names.contains(&"visumodel.backbone.blocks.5.".to_owned()));
        assert!(frozen_tensors(&MobileNetConfig { output_stride: 32, frozen_stages: 0 }).is_empty());
    }
}
