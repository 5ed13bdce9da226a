//! A Swin backbone with packed weights (SPEC section 2): every block in two passes over its map, one by windows and one by
//! rows, each of them a set of tasks whose data stay in the cache.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use tracing::{Span, trace_span};

use super::layers::{FeedForward, Norm};
use super::pools::{Pools, over_pieces};
use super::tasks::{Portions, Scratch, Workers, share, take};
use super::weights::{Weights, values};
use crate::canvas::Grid;
use crate::ops::kernel::attend::{WindowSizes, attend_window, widen};
use crate::ops::kernel::dense::{Arithmetic, Dense};
use crate::ops::kernel::gates::{Spatial, gate_rows};
use crate::ops::kernel::product::{Packed, Rows};
use crate::ops::kernel::{ZERO_ROW, gelu_in_place};
use crate::swin::{EPS, StageWindows, SwinConfig, Windows, relative_position_index};

/// Pixels to normalised tokens.
pub struct PatchEmbed {
    patch: Packed,
    norm: Norm,
    side: usize,
}

/// The blocks of one map, and how the next one is made of it.
pub struct Stage {
    pub channels: usize,
    blocks: Vec<Block>,
    norm: Option<Norm>,
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
pub struct Layout {
    windows: Arc<StageWindows>,
    /// What shifted windows add to their scores, `[area, wide]` each; most windows lie in one region and add nothing.
    masks: Vec<Vec<f32>>,
    /// For every window the number of its mask.
    mask_of: Vec<Option<usize>>,
}

impl Layout {
    pub fn new(windows: &Windows, stage: usize, sizes: WindowSizes) -> Self {
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

    pub fn grid(&self) -> Grid {
        self.windows.grid()
    }

    fn mask(&self, window: usize) -> &[f32] {
        self.mask_of[window].map_or(&[], |mask| &self.masks[mask])
    }
}

impl PatchEmbed {
    /// Reads `weight [C, 3, side, side]` and `bias` of the convolution at `projection`, and the norm's at `norm`.
    pub fn new(projection: &Weights, norm: &Weights, channels: usize, side: usize) -> Result<Self> {
        let patch = projection.exact("weight", (channels, 3, side, side), Some("bias"))?;
        Ok(Self { patch, norm: Norm::new(norm, channels, EPS)?, side })
    }

    /// Patches of `pictures`, each `[3, H, W]` of `pixels`, as normalised tokens into `x [B, N, C]`. Patches beyond the right
    /// and the bottom edge end in zeros.
    pub fn embed(&self, pictures: &[&[f32]], pixels: Grid, x: &mut [f32], workers: &Workers) {
        let (side, channels) = (self.side, self.patch.output());
        let grid = Grid { h: pixels.h.div_ceil(side), w: pixels.w.div_ceil(side) };
        let inputs = self.patch.input();
        share(x.chunks_exact_mut(grid.w * channels).enumerate(), |(row, x)| {
            let mut scratch = workers.mine();
            let [patches, tokens, ..] = &mut scratch.rows;
            let (patches, tokens) = (take(patches, grid.w * inputs), take(tokens, grid.w * channels));
            let (picture, top) = (pictures[row / grid.h], row % grid.h * side);
            for (place, part) in (0..3 * side).map(|part| (part * side, (part / side, part % side))) {
                let (colour, down) = part;
                let line = match top + down {
                    line if line < pixels.h => &picture[(colour * pixels.h + line) * pixels.w..][..pixels.w],
                    _ => &[],
                };
                let whole = line.chunks_exact(side);
                let (count, rest) = (whole.len(), whole.remainder());
                for (patch, line) in patches.chunks_exact_mut(inputs).zip(whole) {
                    patch[place..place + side].copy_from_slice(line);
                }
                for patch in patches.chunks_exact_mut(inputs).skip(count) {
                    patch[place..place + side].fill(0.0);
                }
                if let Some(patch) = patches.chunks_exact_mut(inputs).nth(count) {
                    patch[place..place + rest.len()].copy_from_slice(rest);
                }
            }
            let rows = Rows { values: patches, stride: inputs, count: grid.w };
            self.patch.apply(rows, self.patch.bias(), tokens, channels);
            self.norm.rows(tokens, x);
        });
    }
}

impl Stage {
    /// Reads the blocks at `layer`, and the merging behind them if there is a stage that `follows`; `norm` is that of the map
    /// that others read. The last Linear of the last stage computes in f32 whatever `arithmetic` says.
    pub fn new(
        config: &SwinConfig,
        stage: usize,
        layer: &Weights,
        norm: Option<Norm>,
        follows: bool,
        arithmetic: Arithmetic,
    ) -> Result<Self> {
        let (channels, depth) = (config.channels(stage), config.depths[stage]);
        let block = |number: usize| {
            let end = if !follows && number + 1 == depth { Arithmetic::F32 } else { arithmetic };
            Block::new(config, &layer.pp(format!("blocks.{number}")), (stage, number), arithmetic, end)
        };
        let blocks = (0..depth).map(block).collect::<Result<_>>()?;
        let merging = || -> Result<_> {
            let weights = layer.pp("downsample");
            let norm = Norm::new(&weights.pp("norm"), 4 * channels, EPS)?;
            let shape = (2 * channels, 4 * channels);
            Ok((norm, weights.pp("reduction").dense("weight", shape, None, arithmetic)?))
        };
        Ok(Self { channels, blocks, norm, merging: follows.then(merging).transpose()? })
    }

    /// Sizes of a window's attention.
    pub fn window_sizes(config: &SwinConfig, stage: usize) -> WindowSizes {
        let heads = config.num_heads[stage];
        let area = config.window_size * config.window_size;
        WindowSizes { area, heads, depth: config.channels(stage) / heads }
    }

    /// All blocks, in place on `x [B, N, C]`; `by_window` is room for the windows' rows. Leaves `pools` of the result.
    pub fn blocks(
        &self,
        x: &mut [f32],
        layout: &Layout,
        by_window: &mut Vec<f32>,
        mut pools: Option<&mut Pools>,
        workers: &Workers,
    ) {
        let batch = x.len() / (layout.grid().len() * self.channels);
        let by_window = take(by_window, batch * layout.windows.padded().len() * self.channels);
        for (i, block) in self.blocks.iter().enumerate() {
            let _span = trace_span!("block", number = i).entered();
            trace_span!("windows").in_scope(|| block.attend(x, layout, by_window, workers));
            let pools = if i + 1 == self.blocks.len() { pools.as_deref_mut() } else { None };
            trace_span!("mlp").in_scope(|| block.feed_forward(x, layout, by_window, pools, workers));
        }
    }

    /// Gates the tokens of `x [B, N, C]`, if the stage has gates, of which `x` then holds the norm, the stage's map, if it has
    /// a norm; and merges them, two by two, into `next [B, N', 2C]` unless this is the last stage. Sides of the smaller map
    /// are rounded up: odd ones end in zeros.
    pub fn finish(
        &self,
        x: &mut [f32],
        gates: Option<&[Spatial]>,
        grid: Grid,
        next: Option<&mut [f32]>,
        workers: &Workers,
    ) {
        let (channels, span) = (self.channels, Span::current());
        // Pairs of the map's rows become rows of half the width and twice the channels.
        let (pair, row) = (2 * grid.w * channels, grid.half_up().w * 2 * channels);
        let portions = Portions::of_units(2 * grid.half_up().w);
        let pieces = x
            .chunks_exact_mut(grid.len() * channels)
            .enumerate()
            .map(|(place, x)| (x, gates.map(|gates| &gates[place])))
            .flat_map(|(x, gate)| portions.cut(x, pair).map(move |(_, x)| (x, gate)));
        match (next, &self.merging) {
            (Some(next), Some(merging)) => {
                let next = next.chunks_exact_mut(grid.half_up().h * row);
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
        let Scratch { rows: [gated, joined, normed, ..], left: [left, _], .. } = &mut *scratch;
        let gated = take(gated, x.len());
        match gate {
            Some(gate) => gate_rows(x, gate, 0, gated),
            None => gated.copy_from_slice(x),
        }
        if let Some(norm) = &self.norm {
            norm.rows(gated, x);
        }
        let Some(((norm, reduction), merged)) = merging else { return };
        let _part = trace_span!(parent: span, "merge patches").entered();
        let (width, across) = (4 * channels, columns.div_ceil(2));
        let size = merged.len() / (2 * channels) * width;
        let (joined, normed) = (take(joined, size), take(normed, size));
        // Four tokens after one another: column parity slow, row parity fast (SPEC 2.3).
        for (place, joined) in joined.chunks_exact_mut(width).enumerate() {
            let (y, x) = (2 * (place / across), 2 * (place % across));
            for ((down, right), joined) in
                [(0, 0), (1, 0), (0, 1), (1, 1)].into_iter().zip(joined.chunks_exact_mut(channels))
            {
                match gated.get(((y + down) * columns + x + right) * channels..) {
                    Some(token) if x + right < columns && !token.is_empty() => {
                        joined.copy_from_slice(&token[..channels]);
                    }
                    _ => joined.fill(0.0),
                }
            }
        }
        norm.rows(joined, normed);
        let rows = Rows { values: normed, stride: width, count: size / width };
        reduction.apply(rows, reduction.bias(), merged, 2 * channels, left);
    }
}

impl Block {
    /// Block `number` of a stage; its last Linear computes as `end` says.
    fn new(
        config: &SwinConfig,
        weights: &Weights,
        (stage, number): (usize, usize),
        arithmetic: Arithmetic,
        end: Arithmetic,
    ) -> Result<Self> {
        let channels = config.channels(stage);
        let (hidden, sizes) = (config.mlp_hidden(stage), Stage::window_sizes(config, stage));
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
            let Scratch { rows: [normed, qkv, attended, ..], left: [left, _], head, .. } = &mut *scratch;
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
fn relative_bias(config: &SwinConfig, weights: &Weights, sizes: WindowSizes) -> Result<Vec<f32>> {
    let side = config.window_size;
    let table = weights.get(((2 * side - 1).pow(2), sizes.heads), "relative_position_bias_table")?;
    let index = Tensor::new(relative_position_index(side), table.device())?;
    let bias = table.index_select(&index, 0)?.t()?.contiguous()?;
    Ok(widen(&values(&bias)?, sizes))
}
