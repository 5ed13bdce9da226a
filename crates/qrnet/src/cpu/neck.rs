//! The neck of a compiled frame (SPEC section 4): from the coarsest map to the finest, then back with gates.

use candle_core::Result;

use crate::config::Config;
use blocks::canvas::Grid;
use blocks::ops::kernel::gates::{Spatial, gate_rows};
use blocks::ops::kernel::half_row;
use blocks::ops::kernel::product::{Packed, Rows};
use blocks::packed::pools::{Pools, over_pieces};
use blocks::packed::tasks::{Portions, take};
use blocks::packed::weights::Weights;

pub(super) struct Neck {
    laterals: Vec<Packed>,
    channels: usize,
}

/// What the backbone gives one level.
#[derive(Clone, Copy)]
pub(super) struct Map<'a> {
    /// Maps `[N, C]` on `grid`, one after the other.
    pub(super) values: &'a [f32],
    pub(super) grid: Grid,
    /// For every question the number of its map.
    pub(super) places: &'a [usize],
}

impl Neck {
    pub(super) fn new(config: &Config, weights: &Weights) -> Result<Self> {
        let channels = config.neck.out_channels;
        let stages = config.neck_stages().into_iter().enumerate();
        let laterals = stages
            .map(|(place, stage)| {
                let shape = (channels, config.stage_channels(stage), 1, 1);
                weights.pp(format!("lateral_convs.{place}.conv")).exact("weight", shape, Some("bias"))
            })
            .collect::<Result<_>>()?;
        Ok(Self { laterals, channels })
    }

    /// The levels of `maps` into `levels`, `[B, N_i, channels]` for `B` questions. `gate` gives, for a level and its pools,
    /// each question's gate.
    pub(super) fn forward(
        &self,
        maps: &[Map],
        levels: &mut Vec<Vec<f32>>,
        pools: &mut Pools,
        gates: impl Fn(usize, &Pools, usize) -> Result<Vec<Spatial>>,
    ) -> Result<()> {
        levels.resize_with(maps.len(), Vec::new);
        for (level, map) in levels.iter_mut().zip(maps) {
            take(level, map.places.len() * map.grid.len() * self.channels);
        }
        for i in (0..maps.len()).rev() {
            let (here, coarser) = levels.split_at_mut(i + 1);
            let pools = (i == 0 && maps.len() > 1).then_some(&mut *pools);
            self.descend(&self.laterals[i], maps[i], coarser.first().map(Vec::as_slice), &mut here[i], pools);
        }
        for i in 0..maps.len() - 1 {
            let grid = maps[i].grid;
            let gates = gates(i, pools, grid.len())?;
            let (fine, coarse) = levels.split_at_mut(i + 1);
            let pools = (i + 2 < maps.len()).then_some(&mut *pools);
            self.ascend(&fine[i], grid, &gates, &mut coarse[0], pools);
        }
        Ok(())
    }

    /// The lateral of a map onto the next coarser level, repeated 2x2.
    fn descend(
        &self,
        lateral: &Packed,
        Map { values: map, grid, places }: Map,
        coarser: Option<&[f32]>,
        level: &mut [f32],
        pools: Option<&mut Pools>,
    ) {
        let batch = places.len();
        let (channels, tokens, inputs) = (self.channels, grid.len(), lateral.input());
        let level = &mut level[..batch * tokens * channels];
        // Pairs of the map's rows.
        let pair = 2 * grid.w;
        let work = |picture: usize, first: usize, level: &mut [f32]| {
            let (read, first) = (places[picture] * tokens + first * pair, picture * tokens + first * pair);
            let count = level.len() / channels;
            let start = match coarser {
                None => lateral.bias(),
                Some(coarser) => {
                    for (row, level) in level.chunks_exact_mut(channels).enumerate() {
                        let place = half_row(first + row, grid.w);
                        level.copy_from_slice(&coarser[place * channels..][..channels]);
                    }
                    lateral.bias_onto()
                }
            };
            lateral.apply(Rows { values: &map[read * inputs..], stride: inputs, count }, start, level, channels);
        };
        let sizes = (batch, pair * channels, channels);
        over_pieces(level, sizes, Portions::of_units(pair), pools, work);
    }

    /// Adds the means over 2x2 of a level's gated tokens to the next coarser level.
    fn ascend(&self, fine: &[f32], grid: Grid, gates: &[Spatial], coarse: &mut [f32], pools: Option<&mut Pools>) {
        let (channels, tokens) = (self.channels, grid.half().len());
        let row = grid.half().w;
        let coarse = &mut coarse[..gates.len() * tokens * channels];
        let work = |picture: usize, first: usize, coarse: &mut [f32]| {
            let first = 4 * (picture * tokens + first * row) * channels;
            gate_rows(&fine[first..][..4 * coarse.len()], &gates[picture], grid.w, coarse);
        };
        let sizes = (gates.len(), row * channels, channels);
        over_pieces(coarse, sizes, Portions::of_units(4 * row), pools, work);
    }
}
