//! MobileNetV2 of a compiled frame: a pass over the map for every block, in strips of rows.

use candle_core::Result;
use tracing::trace_span;

use super::{Buffers, copy_maps, opened};
use crate::config::MobileNetConfig;
use crate::mobilenet::{BlockSizes, STEM_CHANNELS, blocks};
use crate::qdatt::Gates;
use blocks::canvas::Grid;
use blocks::ops::kernel::dense::Arithmetic;
use blocks::ops::kernel::gates::gate_rows;
use blocks::ops::kernel::inverted::{Block, STEM_INPUTS, clamp6, stem_row};
use blocks::ops::kernel::product::{Packed, Rows};
use blocks::packed::pools::over_pieces;
use blocks::packed::tasks::{Portions, Workers, share, take};
use blocks::packed::weights::{Weights, values};

/// Inputs from which on a Linear is faster in bytes: what makes bytes of its rows must be worth it.
const LEAST_INPUTS: usize = 32;

/// The network with packed weights.
pub(super) struct Network {
    stem: Packed,
    /// Each with its stage.
    blocks: Vec<(usize, Block)>,
}

impl Network {
    /// Reads `weights`, those of `visumodel.backbone`. The first convolution and the last Linear compute in f32 whatever
    /// `arithmetic` says, and so do Linears that are too small to gain by another.
    pub(super) fn new(config: &MobileNetConfig, weights: &Weights, arithmetic: Arithmetic) -> Result<Self> {
        let all = blocks(config.output_stride);
        let last = all.len() - 1;
        let read = |(number, sizes): (usize, BlockSizes)| {
            let weights = weights.pp(format!("blocks.{number}"));
            let of = |input: usize| if input < LEAST_INPUTS { Arithmetic::F32 } else { arithmetic };
            let end = if number == last { Arithmetic::F32 } else { of(sizes.hidden) };
            let linear = |name: &str, input: usize, output: usize, arithmetic| {
                weights.pp(name).dense("weight", (output, input, 1, 1), Some("bias"), arithmetic)
            };
            let expand = || linear("expand", sizes.input, sizes.hidden, of(sizes.input));
            let expand = sizes.widens().then(expand).transpose()?;
            let depthwise = weights.pp("depthwise");
            let taps = values(&depthwise.get((sizes.hidden, 1, 3, 3), "weight")?)?;
            let biases = values(&depthwise.get(sizes.hidden, "bias")?)?;
            let project = linear("project", sizes.hidden, sizes.output, end)?;
            Ok((sizes.stage, Block::of(expand, (&taps, &biases), project, sizes.shape)))
        };
        Ok(Self {
            stem: weights.pp("stem").exact("weight", (STEM_CHANNELS, 3, 3, 3), Some("bias"))?,
            blocks: all.into_iter().enumerate().map(read).collect::<Result<_>>()?,
        })
    }

    /// The maps of all stages: one a picture before the first gates, one a question behind them.
    pub(super) fn look(
        &self,
        pictures: &[&[f32]],
        asked: &[usize],
        (gates, from_stage): (&[Gates], usize),
        grids: &[Grid],
        buffers: &mut Buffers,
    ) -> Result<()> {
        let Buffers { maps, spare: [x, other], pools, workers, .. } = buffers;
        let own: Vec<usize> = (0..asked.len()).collect();
        let mut grid = Grid { h: grids[0].h * 2, w: grids[0].w * 2 };
        let (mut channels, last) = (self.stem.output(), maps.len() - 1);
        trace_span!("stem").in_scope(|| {
            self.stem(pictures, grid, take(x, pictures.len() * grid.len() * channels), workers);
        });
        for (stage, map) in maps.iter_mut().enumerate() {
            let _span = trace_span!("stage", number = stage).entered();
            let count = if stage <= from_stage { pictures.len() } else { asked.len() };
            for (number, (_, block)) in self.blocks.iter().enumerate().filter(|(_, (of, _))| *of == stage) {
                let _span = trace_span!("block", number).entered();
                let to = block.shape().output(grid);
                let (from_size, to_size) = (grid.len() * channels, to.len() * block.output());
                let out = take(other, count * to_size);
                run(block, &x[..count * from_size], grid, out, workers);
                std::mem::swap(x, other);
                (grid, channels) = (to, block.output());
            }
            let size = grid.len() * channels;
            let Some(gates) = stage.checked_sub(from_stage).map(|gated| &gates[gated]) else {
                take(map, count * size).copy_from_slice(&x[..count * size]);
                continue;
            };
            let _span = trace_span!("gates").entered();
            let pieces = (count, channels, channels);
            over_pieces(&mut x[..count * size], pieces, Portions::ROWS, Some(pools), |_, _, _| ());
            let places = if stage == from_stage { asked } else { &own };
            let gates = opened(gates, pools, places, grid.len())?;
            if asked.iter().ne(&own) && stage == from_stage {
                std::mem::swap(x, other);
                copy_maps(&other[..count * size], asked, size, x);
            }
            let gated = take(map, asked.len() * size);
            let pieces =
                gated.chunks_exact_mut(size).zip(x.chunks_exact(size)).zip(&gates).flat_map(|((gated, x), gate)| {
                    let cut = Portions::ROWS.cut(gated, channels);
                    cut.map(move |(first, gated)| (&x[first * channels..][..gated.len()], gate, gated))
                });
            share(pieces, |(x, gate, gated)| gate_rows(x, gate, 0, gated));
            if stage < last {
                x[..gated.len()].copy_from_slice(gated);
            }
        }
        Ok(())
    }

    /// The first convolution of `pictures`, each `[3, H, W]`, into `x [P, N, C]`.
    fn stem(&self, pictures: &[&[f32]], grid: Grid, x: &mut [f32], workers: &Workers) {
        let channels = self.stem.output();
        // Some rows a task: handing over costs more than a row.
        let rows = (Portions::ROWS.most / grid.w).clamp(1, grid.h);
        let tasks = x.chunks_mut(grid.len() * channels).zip(pictures).flat_map(|(x, picture)| {
            x.chunks_mut(rows * grid.w * channels).enumerate().map(move |(number, x)| (picture, number * rows, x))
        });
        share(tasks, |(picture, first, x)| {
            let mut scratch = workers.mine();
            let patches = take(&mut scratch.rows[0], grid.w * STEM_INPUTS);
            for (row, x) in x.chunks_exact_mut(grid.w * channels).enumerate() {
                stem_row(picture, grid, first + row, patches);
                let rows = Rows { values: patches, stride: STEM_INPUTS, count: grid.w };
                self.stem.apply(rows, self.stem.bias(), x, channels);
                clamp6(x);
            }
        });
    }
}

/// One block on maps of `grid`, one after the other.
fn run(block: &Block, x: &[f32], grid: Grid, out: &mut [f32], workers: &Workers) {
    let to = block.shape().output(grid);
    let (rows, width) = (block.strip_rows(grid), to.w * block.output());
    let count = out.len() / (to.h * width);
    let from = x.len() / count;
    let tasks = out.chunks_exact_mut(to.h * width).zip(x.chunks_exact(from)).flat_map(|(out, x)| {
        out.chunks_mut(rows * width).enumerate().map(move |(number, out)| (x, number * rows, out))
    });
    share(tasks, |(x, first, out)| block.strip(x, grid, first, &mut workers.mine().block, out));
}
