//! From the backbone's maps to tokens of one width, and smaller maps behind the last.

use blocks::canvas::Grid;
use blocks::ops::kernel::product::{Packed, Rows};
use blocks::packed::tasks::{Portions, Workers, share, take};
use blocks::packed::weights::{Weights, packed, values};
use candle_core::Result;

use crate::config::{Config, GROUPS};
use crate::neck::EPS;
use crate::plan::Level;

pub(super) struct Neck {
    /// Of the backbone's maps.
    laterals: Vec<(Packed, GroupNorm)>,
    /// 3x3 with a stride of two, over patches of nine tokens.
    halvings: Vec<(Packed, GroupNorm)>,
}

/// Room for the sums of all tasks, each of them every channel's values, then their squares; and for what becomes of these:
/// every channel's scale and shift.
#[derive(Default)]
pub(super) struct Sums {
    parts: Vec<f64>,
    line: Vec<(f32, f32)>,
}

impl Neck {
    pub(super) fn new(config: &Config, weights: &Weights) -> Result<Self> {
        let (width, read) = (config.width, config.stages.len());
        let channels = |level: usize| config.swin.channels(config.stages[level]);
        let of = |level: usize, input: usize, side: usize| {
            let weights = weights.pp(level.to_string());
            // Nine tokens lie one after the other, each with its channels.
            let weight = weights.pp("0").get((width, input, side, side), "weight")?.permute((0, 2, 3, 1))?;
            let linear = packed(&weight.contiguous()?, Some(&weights.pp("0").get(width, "bias")?))?;
            Ok((linear, GroupNorm::new(&weights.pp("1"), width)?))
        };
        let input = |level: usize| if level == read { channels(read - 1) } else { width };
        Ok(Self {
            laterals: (0..read).map(|level| of(level, channels(level), 1)).collect::<Result<_>>()?,
            halvings: (read..config.levels).map(|level| of(level, input(level), 3)).collect::<Result<_>>()?,
        })
    }

    /// `maps [h*w, C]` → `x [T, d]`, tokens of all levels.
    pub(super) fn forward(&self, maps: &[&[f32]], levels: &[Level], x: &mut [f32], sums: &mut Sums, workers: &Workers) {
        let mut rest = x;
        let mut before: Option<&[f32]> = None;
        for (number, level) in levels.iter().enumerate() {
            let (lateral, halving) = (self.laterals.get(number), number.checked_sub(self.laterals.len()));
            let Some((linear, norm)) = lateral.or_else(|| self.halvings.get(halving?)) else { break };
            let (here, later) = std::mem::take(&mut rest).split_at_mut(level.grid.len() * norm.weight.len());
            let source = match (halving, before) {
                (None, _) => maps[number],
                (Some(0), _) => maps.last().copied().unwrap_or_default(),
                (_, before) => before.unwrap_or_default(),
            };
            let from = halving.map(|_| levels[number - 1].grid);
            let (width, inputs) = (linear.output(), linear.input());
            let parts = norm.begin(sums, level.grid.len());
            share(Portions::ROWS.cut(here, width).zip(parts), |((first, x), part)| {
                let count = x.len() / width;
                let mut scratch = workers.mine();
                let values = match from {
                    None => &source[first * inputs..],
                    Some(from) => {
                        let patches = take(&mut scratch.rows[0], count * inputs);
                        nine(source, from, (first, level.grid.w), inputs / 9, patches);
                        &*patches
                    }
                };
                linear.apply(Rows { values, stride: inputs, count }, linear.bias(), x, width);
                GroupNorm::sum(x, part);
            });
            norm.finish(sums, here);
            before = Some(&*here);
            rest = later;
        }
    }
}

/// The nine tokens around every second one, from the `first` on of a map `columns` wide; zeros beyond the edges.
fn nine(source: &[f32], from: Grid, (first, columns): (usize, usize), channels: usize, patches: &mut [f32]) {
    for (place, patch) in patches.chunks_exact_mut(9 * channels).enumerate() {
        let (y, x) = (2 * ((first + place) / columns), 2 * ((first + place) % columns));
        for (i, out) in patch.chunks_exact_mut(channels).enumerate() {
            // One to the top left is one less.
            match ((y + i / 3).checked_sub(1), (x + i % 3).checked_sub(1)) {
                (Some(y), Some(x)) if y < from.h && x < from.w => {
                    out.copy_from_slice(&source[(y * from.w + x) * channels..][..channels]);
                }
                _ => out.fill(0.0),
            }
        }
    }
}

/// Norm over groups of channels and all tokens of a map.
struct GroupNorm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl GroupNorm {
    fn new(weights: &Weights, width: usize) -> Result<Self> {
        Ok(Self { weight: values(&weights.get(width, "weight")?)?, bias: values(&weights.get(width, "bias")?)? })
    }

    /// Room for every task's sums.
    fn begin<'a>(&self, sums: &'a mut Sums, tokens: usize) -> std::slice::ChunksExactMut<'a, f64> {
        let width = 2 * self.weight.len();
        sums.parts.clear();
        sums.parts.resize(Portions::ROWS.count(tokens) * width, 0.0);
        sums.parts.chunks_exact_mut(width)
    }

    /// What one task saw.
    fn sum(x: &[f32], part: &mut [f64]) {
        let width = part.len() / 2;
        let (sums, squares) = part.split_at_mut(width);
        for row in x.chunks_exact(width) {
            for ((sum, square), value) in sums.iter_mut().zip(squares.iter_mut()).zip(row) {
                let value = f64::from(*value);
                *sum += value;
                *square += value * value;
            }
        }
    }

    /// Norms all of `x`; the tasks' sums are added in their order.
    fn finish(&self, Sums { parts, line }: &mut Sums, x: &mut [f32]) {
        let width = self.weight.len();
        let size = width / GROUPS;
        let count = (x.len() / width * size) as f64;
        line.resize(width, (0.0, 0.0));
        for group in 0..GROUPS {
            let channels = group * size..(group + 1) * size;
            let total = |offset: usize| -> f64 {
                let of = |part: &[f64]| part[offset..][channels.clone()].iter().sum::<f64>();
                parts.chunks_exact(2 * width).map(of).sum()
            };
            let mean = total(0) / count;
            let variance = (total(width) / count - mean * mean).max(0.0);
            let scale = 1.0 / (variance + EPS).sqrt();
            for channel in channels {
                let scale = scale * f64::from(self.weight[channel]);
                line[channel] = (scale as f32, (f64::from(self.bias[channel]) - mean * scale) as f32);
            }
        }
        let line = &*line;
        share(Portions::ROWS.cut(x, width), |(_, x)| {
            for row in x.chunks_exact_mut(width) {
                for (value, (scale, shift)) in row.iter_mut().zip(line) {
                    *value = *value * scale + shift;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_around_every_second_token() {
        let source: Vec<f32> = (1..=12).map(|value| value as f32).collect();
        let mut patches = vec![f32::NAN; 4 * 9];
        nine(&source, Grid { h: 3, w: 4 }, (0, 2), 1, &mut patches);
        assert_eq!(patches[..9], [0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 5.0, 6.0]);
        assert_eq!(patches[27..], [6.0, 7.0, 8.0, 10.0, 11.0, 12.0, 0.0, 0.0, 0.0]);
    }
}
