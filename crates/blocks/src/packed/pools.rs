//! Means and maxima over the tokens of pictures, gathered by the tasks that write the tokens.

use super::tasks::{Portions, share, take};
use crate::ops::kernel::gates::pool_part;

/// Every task's sums and maxima. Parts are added up in the order of the tasks, so that the result does not depend on who
/// was first.
#[derive(Default)]
pub struct Pools {
    values: Vec<f32>,
    channels: usize,
    tasks: usize,
}

impl Pools {
    /// Room for `tasks` parts in each of `pictures`, one after the other.
    fn begin(&mut self, pictures: usize, tasks: usize, channels: usize) -> std::slice::ChunksExactMut<'_, f32> {
        (self.channels, self.tasks) = (channels, tasks);
        take(&mut self.values, pictures * tasks * 2 * channels).chunks_exact_mut(2 * channels)
    }

    /// What one task saw.
    fn fill(part: &mut [f32], x: &[f32]) {
        let (sums, maxima) = part.split_at_mut(part.len() / 2);
        sums.fill(0.0);
        maxima.fill(f32::NEG_INFINITY);
        pool_part(x, sums, maxima);
    }

    /// Mean and maximum over the `tokens` of a picture, `[2, C]`.
    pub fn of(&self, picture: usize, tokens: usize) -> Vec<f32> {
        let (channels, size) = (self.channels, 2 * self.channels * self.tasks);
        let mut parts = self.values[picture * size..][..size].chunks_exact(2 * channels);
        let mut pooled = parts.next().unwrap_or_default().to_vec();
        let (sums, maxima) = pooled.split_at_mut(channels);
        for part in parts {
            sums.iter_mut().zip(&part[..channels]).for_each(|(sum, value)| *sum += value);
            maxima.iter_mut().zip(&part[channels..]).for_each(|(maximum, value)| *maximum = maximum.max(*value));
        }
        for sum in sums {
            *sum /= tokens as f32;
        }
        pooled
    }
}

/// Works on portions of every picture's rows in `values`, with the numbers of the picture and of its first unit; and pools
/// them. A unit is `width` values, some rows of `channels`.
pub fn over_pieces(
    values: &mut [f32],
    (pictures, width, channels): (usize, usize, usize),
    portions: Portions,
    pools: Option<&mut Pools>,
    work: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    let size = values.len() / pictures;
    let pieces = values
        .chunks_exact_mut(size)
        .enumerate()
        .flat_map(|(picture, values)| portions.cut(values, width).map(move |(first, piece)| (picture, first, piece)));
    let Some(pools) = pools else {
        share(pieces, |(picture, first, piece)| work(picture, first, piece));
        return;
    };
    let parts = pools.begin(pictures, portions.count(size / width), channels);
    share(pieces.zip(parts), |((picture, first, piece), part)| {
        work(picture, first, piece);
        Pools::fill(part, piece);
    });
}
