//! The Swin backbone of a compiled frame (SPEC section 2): every block in two passes over its map, one by windows and one
//! by rows, each of them a set of tasks whose data stay in the cache.

use candle_core::{Result, Tensor};
use tracing::{Span, trace_span};

use super::layers::{FeedForward, Norm, values};
use super::pools::{Pools, over_pieces};
use super::tasks::{Portions, Scratch, Workers, share, take};
use super::weights::Weights;
use crate::config::Config;
use blocks::canvas::Grid;

use blocks::ops::kernel::attend::{WindowSizes, attend_window, widen};
use blocks::ops::kernel::dense::{Arithmetic, Dense};
use blocks::ops::kernel::gates::{Spatial, gate_rows};
use blocks::ops::kernel::product::{Packed, Rows};
use blocks::ops::kernel::{ZERO_ROW, gelu_in_place};
use blocks::swin::StageWindows;
use blocks::swin::Windows;
use blocks::swin::relative_position_index;

const EPS: f64 = 1e-5;

pub(super) struct Backbone {
    patch: Packed,
    patch_norm: Norm,
    patch_size: usize,
    pub(super) stages: Vec<Stage>,
}

pub(super) struct Stage {
    pub(super) channels: usize,
    blocks: Vec<Block>,
    norm: Norm,
    merging: Option<(Norm, Dense)>,
}

struct Block {
    norm1: Norm,
    qkv: Dense,
    sizes: WindowSizes,
    /// `[heads, area, wide]`.
    bias: Vec<f32>,
    projection: Dense,
    norm2: Norm,
    mlp: FeedForward,
    shifted: bool,
}

/// How the windows of a stage lie on one canvas.
pub(super) struct Layout {
    windows: std::sync::Arc<StageWindows>,
    /// What shifted windows add to their scores, `[area, wide]` each; most windows lie in one region and add nothing.
    masks: Vec<Vec<f32>>,
    /// For every window the number of its mask.
    mask_of: Vec<Option<usize>>,
}

impl Layout {
    pub(super) fn new(windows: &Windows, stage: usize, sizes: WindowSizes) -> Self {
        let windows = windows.shared(stage);
        let (mut masks, mut mask_of): (Vec<Vec<f32>>, _) = (Vec::new(), Vec::new());
        for values in (0..windows.count()).map(|window| windows.window_mask(window)) {
            if values.iter().all(|&value| value == 0.0) {
                mask_of.push(None);
                continue;
            }
            // The padding is in the bias already.
            let wide: Vec<f32> = widen(&values, sizes).iter().map(|value| value.max(-1e9)).collect();
            let known = masks.iter().position(|mask| *mask == wide);
            mask_of.push(Some(known.unwrap_or_else(|| {
                masks.push(wide);
                masks.len() - 1
            })));
        }
        Self { windows, masks, mask_of }
    }

    pub(super) fn grid(&self) -> Grid {
        self.windows.grid()
    }

    fn mask(&self, window: usize) -> &[f32] {
        self.mask_of[window].map_or(&[], |mask| &self.masks[mask])
    }
}

impl Backbone {
    /// The first Linear and the last one compute in f32 whatever `arithmetic` says.
    pub(super) fn new(config: &Config, weights: &Weights, arithmetic: Arithmetic) -> Result<Self> {
        let (channels, side) = (config.swin().embed_dim, config.swin().patch_size);
        let embed = weights.pp("patch_embed");
        Ok(Self {
            patch: embed.pp("proj").exact("weight", (channels, 3, side, side), Some("bias"))?,
            patch_norm: Norm::new(&embed.pp("norm"), channels, EPS)?,
            patch_size: side,
            stages: (0..config.stages())
                .map(|stage| Stage::new(config, weights, stage, arithmetic))
                .collect::<Result<_>>()?,
        })
    }

    /// Patches of `pictures`, each `[3, H, W]`, as normalised tokens into `x [B, N, C]`, on a map of `grid`.
    pub(super) fn embed(&self, pictures: &[&[f32]], grid: Grid, x: &mut [f32], workers: &Workers) {
        let (side, channels) = (self.patch_size, self.patch.output());
        let (width, inputs) = (grid.w * side, self.patch.input());
        let plane = grid.h * side * width;
        share(x.chunks_exact_mut(grid.w * channels).enumerate(), |(row, x)| {
            let mut scratch = workers.mine();
            let [patches, tokens, ..] = &mut scratch.rows;
            let (patches, tokens) = (take(patches, grid.w * inputs), take(tokens, grid.w * channels));
            let (picture, top) = (pictures[row / grid.h], row % grid.h * side);
            for (place, part) in (0..3 * side).map(|part| (part * side, (part / side, part % side))) {
                let (colour, down) = part;
                let pixels = &picture[colour * plane + (top + down) * width..][..width];
                for (patch, pixels) in patches.chunks_exact_mut(inputs).zip(pixels.chunks_exact(side)) {
                    patch[place..place + side].copy_from_slice(pixels);
                }
            }
            let rows = Rows { values: patches, stride: inputs, count: grid.w };
            self.patch.apply(rows, self.patch.bias(), tokens, channels);
            self.patch_norm.rows(tokens, x);
        });
    }
}

impl Stage {
    fn new(config: &Config, weights: &Weights, stage: usize, arithmetic: Arithmetic) -> Result<Self> {
        let channels = config.stage_channels(stage);
        let layer = weights.pp(format!("layers.{stage}"));
        let (last, depth) = (stage + 1 == config.stages(), config.swin().depths[stage]);
        let block = |number: usize| {
            let end = if last && number + 1 == depth { Arithmetic::F32 } else { arithmetic };
            Block::new(config, &layer.pp(format!("blocks.{number}")), (stage, number), arithmetic, end)
        };
        let blocks = (0..depth).map(block).collect::<Result<_>>()?;
        let merging = || -> Result<_> {
            let weights = layer.pp("downsample");
            let norm = Norm::new(&weights.pp("norm"), 4 * channels, EPS)?;
            let shape = (2 * channels, 4 * channels);
            Ok((norm, weights.pp("reduction").dense("weight", shape, None, arithmetic)?))
        };
        Ok(Self {
            channels,
            blocks,
            norm: Norm::new(&weights.pp(format!("norm{stage}")), channels, EPS)?,
            merging: if last { None } else { Some(merging()?) },
        })
    }

    /// Sizes of a window's attention.
    pub(super) fn window_sizes(config: &Config, stage: usize) -> WindowSizes {
        let heads = config.swin().num_heads[stage];
        WindowSizes {
            area: config.swin().window_size * config.swin().window_size,
            heads,
            depth: config.stage_channels(stage) / heads,
        }
    }

    /// All blocks, in place on `x [B, N, C]`; `by_window` is room for the windows' rows. Leaves the pools of the result.
    pub(super) fn blocks(
        &self,
        x: &mut [f32],
        layout: &Layout,
        by_window: &mut Vec<f32>,
        pools: &mut Pools,
        workers: &Workers,
    ) {
        let batch = x.len() / (layout.grid().len() * self.channels);
        let by_window = take(by_window, batch * layout.windows.padded().len() * self.channels);
        for (i, block) in self.blocks.iter().enumerate() {
            let _span = trace_span!("block", number = i).entered();
            trace_span!("windows").in_scope(|| block.attend(x, layout, by_window, workers));
            let pools = if i + 1 == self.blocks.len() { Some(&mut *pools) } else { None };
            trace_span!("mlp").in_scope(|| block.feed_forward(x, layout, by_window, pools, workers));
        }
    }

    /// Gates the tokens of `x [B, N, C]`, if the stage has gates, of which `x` then holds the norm, the stage's map; and
    /// merges them, two by two, into `next [B, N / 4, 2C]` unless this is the last stage.
    pub(super) fn finish(
        &self,
        x: &mut [f32],
        gates: Option<&[Spatial]>,
        grid: Grid,
        next: Option<&mut [f32]>,
        workers: &Workers,
    ) {
        let (channels, span) = (self.channels, Span::current());
        // Pairs of the map's rows become rows of half the width and twice the channels.
        let (pair, row) = (2 * grid.w * channels, grid.half().w * 2 * channels);
        let portions = Portions::of_units(2 * grid.half().w);
        let pieces = x
            .chunks_exact_mut(grid.len() * channels)
            .enumerate()
            .map(|(place, x)| (x, gates.map(|gates| &gates[place])))
            .flat_map(|(x, gate)| portions.cut(x, pair).map(move |(_, x)| (x, gate)));
        match (next, &self.merging) {
            (Some(next), Some(merging)) => {
                let next = next.chunks_exact_mut(grid.half().h * row);
                let merged = next.flat_map(|next| portions.cut(next, row).map(|(_, next)| next));
                share(pieces.zip(merged), |((x, gate), merged)| {
                    self.finish_rows(x, gate, grid.w, Some((merging, merged)), &span, workers);
                });
            }
            _ => share(pieces, |(x, gate)| self.finish_rows(x, gate, grid.w, None, &span, workers)),
        }
    }

    fn finish_rows(
        &self,
        x: &mut [f32],
        gate: Option<&Spatial>,
        columns: usize,
        merging: Option<(&(Norm, Dense), &mut [f32])>,
        span: &Span,
        workers: &Workers,
    ) {
        let channels = self.channels;
        let mut scratch = workers.mine();
        let Scratch { rows: [gated, joined, normed, _], left: [left, _], .. } = &mut *scratch;
        let gated = take(gated, x.len());
        match gate {
            Some(gate) => gate_rows(x, gate, 0, gated),
            None => gated.copy_from_slice(x),
        }
        self.norm.rows(gated, x);
        let Some(((norm, reduction), merged)) = merging else { return };
        let _part = trace_span!(parent: span, "merge patches").entered();
        let (joined, normed) = (take(joined, gated.len()), take(normed, gated.len()));
        // Four tokens after one another: column parity slow, row parity fast (SPEC 2.3).
        for (place, joined) in joined.chunks_exact_mut(4 * channels).enumerate() {
            let (y, x) = (2 * (place / (columns / 2)), 2 * (place % (columns / 2)));
            for ((down, right), joined) in
                [(0, 0), (1, 0), (0, 1), (1, 1)].into_iter().zip(joined.chunks_exact_mut(channels))
            {
                joined.copy_from_slice(&gated[((y + down) * columns + x + right) * channels..][..channels]);
            }
        }
        norm.rows(joined, normed);
        let rows = Rows { values: normed, stride: 4 * channels, count: normed.len() / (4 * channels) };
        reduction.apply(rows, reduction.bias(), merged, 2 * channels, left);
    }
}

impl Block {
    /// Block `number` of a stage; its last Linear computes as `end` says.
    fn new(
        config: &Config,
        weights: &Weights,
        (stage, number): (usize, usize),
        arithmetic: Arithmetic,
        end: Arithmetic,
    ) -> Result<Self> {
        let channels = config.stage_channels(stage);
        let (hidden, sizes) = (config.swin().mlp_hidden(stage), Stage::window_sizes(config, stage));
        let attention = weights.pp("attn");
        Ok(Self {
            norm1: Norm::new(&weights.pp("norm1"), channels, EPS)?,
            qkv: attention.pp("qkv").linear(channels, 3 * channels, arithmetic)?,
            sizes,
            bias: relative_bias(config, &attention, sizes)?,
            projection: attention.pp("proj").linear(channels, channels, arithmetic)?,
            norm2: Norm::new(&weights.pp("norm2"), channels, EPS)?,
            mlp: FeedForward {
                first: weights.pp("mlp.fc1").linear(channels, hidden, arithmetic)?,
                second: weights.pp("mlp.fc2").linear(hidden, channels, end)?,
            },
            shifted: number % 2 == 1,
        })
    }

    /// Norm and attention of all windows, not yet added to `x`: into `out`, window by window.
    fn attend(&self, x: &[f32], layout: &Layout, out: &mut [f32], workers: &Workers) {
        let WindowSizes { area, .. } = self.sizes;
        let channels = self.sizes.channels();
        let map = layout.windows.map(self.shifted);
        let (sources, tokens) = (map.sources(), map.places().len());
        // What tasks do is listed below what they are tasks of, whichever thread they run on.
        let span = Span::current();
        share(Portions::of_units(area).cut(out, area * channels), |(first, out)| {
            let mut scratch = workers.mine();
            let Scratch { rows: [normed, qkv, attended, _], left: [left, _], head, .. } = &mut *scratch;
            let count = out.len() / channels;
            let (normed, attended) = (take(normed, out.len()), take(attended, out.len()));
            let qkv = take(qkv, 3 * out.len());
            let part = trace_span!(parent: &span, "norm").entered();
            for (row, normed) in normed.chunks_exact_mut(channels).enumerate() {
                let place = first * area + row;
                // The padding comes after the norm: padded tokens are exact zeros and take part as the bias of q, k and
                // v (quirk Q1).
                match sources[place % sources.len()] {
                    ZERO_ROW => normed.fill(0.0),
                    source => {
                        let token = place / sources.len() * tokens + source as usize;
                        self.norm1.rows(&x[token * channels..][..channels], normed);
                    }
                }
            }
            drop(part);
            let part = trace_span!(parent: &span, "qkv").entered();
            let rows = Rows { values: normed, stride: channels, count };
            self.qkv.apply(rows, self.qkv.bias(), qkv, 3 * channels, left);
            drop(part);
            let part = trace_span!(parent: &span, "attention").entered();
            let windows_here = qkv.chunks_exact(3 * area * channels).zip(attended.chunks_exact_mut(area * channels));
            for (i, (qkv, attended)) in windows_here.enumerate() {
                let mask = if self.shifted { layout.mask((first + i) % layout.windows.count()) } else { &[] };
                attend_window(qkv, self.sizes, &self.bias, mask, head, attended);
            }
            drop(part);
            let _part = trace_span!(parent: &span, "projection").entered();
            let rows = Rows { values: attended, stride: channels, count };
            self.projection.apply(rows, self.projection.bias(), out, channels, left);
        });
    }

    /// Adds what the windows have to say, then the MLP, to `x`, in place.
    fn feed_forward(
        &self,
        x: &mut [f32],
        layout: &Layout,
        by_window: &[f32],
        pools: Option<&mut Pools>,
        workers: &Workers,
    ) {
        let channels = self.sizes.channels();
        let places = layout.windows.map(self.shifted).places();
        let padded = layout.windows.padded().len();
        let work = |picture: usize, first: usize, x: &mut [f32]| {
            let mut scratch = workers.mine();
            let Scratch { rows: [normed, hidden, ..], left, .. } = &mut *scratch;
            for (x, &place) in x.chunks_exact_mut(channels).zip(&places[first..]) {
                let attended = &by_window[(picture * padded + place as usize) * channels..][..channels];
                x.iter_mut().zip(attended).for_each(|(x, a)| *x += a);
            }
            let normed = take(normed, x.len());
            self.norm2.rows(x, normed);
            self.mlp.add(normed, gelu_in_place, x, hidden, left);
        };
        let sizes = (by_window.len() / (padded * channels), channels, channels);
        over_pieces(x, sizes, Portions::ROWS, pools, work);
    }
}

/// What relative positions add to scores, `[heads, area, wide]`.
fn relative_bias(config: &Config, weights: &Weights, sizes: WindowSizes) -> Result<Vec<f32>> {
    let side = config.swin().window_size;
    let table = weights.get(((2 * side - 1).pow(2), sizes.heads), "relative_position_bias_table")?;
    let index = Tensor::new(relative_position_index(side), table.device())?;
    let bias = table.index_select(&index, 0)?.t()?.contiguous()?;
    Ok(widen(&values(&bias)?, sizes))
}
