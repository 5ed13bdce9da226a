//! Means and maxima over the tokens of pictures, gathered by the tasks that write the tokens.

use rayon::prelude::*;

use super::layers::take;
use crate::ops::kernel::gates::pool_part;

/// Every task's sums and maxima. Parts are added up in the order of the tasks, so that the result does not depend on who
/// was first.
#[derive(Default)]
pub(super) struct Pools {
    values: Vec<f32>,
    channels: usize,
    tasks: usize,
}

impl Pools {
    /// Room for `tasks` parts in each of `pictures`: an item a picture, to be cut with [`Pools::split`].
    fn begin(
        &mut self,
        pictures: usize,
        tasks: usize,
        channels: usize,
    ) -> rayon::slice::ChunksMut<'_, f32> {
        (self.channels, self.tasks) = (channels, tasks);
        let values = take(&mut self.values, pictures * tasks * 2 * channels);
        values.par_chunks_mut(tasks * 2 * channels)
    }

    /// The parts of one picture, a part a task.
    fn split(picture: &mut [f32], channels: usize) -> rayon::slice::ChunksMut<'_, f32> {
        picture.par_chunks_mut(2 * channels)
    }

    /// What one task saw.
    fn fill(part: &mut [f32], x: &[f32]) {
        let (sums, maxima) = part.split_at_mut(part.len() / 2);
        sums.fill(0.0);
        maxima.fill(f32::NEG_INFINITY);
        pool_part(x, sums, maxima);
    }

    /// Mean and maximum over the `tokens` of a picture, `[2, C]`.
    pub(super) fn of(&self, picture: usize, tokens: usize) -> Vec<f32> {
        let (channels, size) = (self.channels, 2 * self.channels * self.tasks);
        let mut parts = self.values[picture * size..][..size].chunks_exact(2 * channels);
        let mut pooled = parts.next().unwrap_or_default().to_vec();
        let (sums, maxima) = pooled.split_at_mut(channels);
        for part in parts {
            sums.iter_mut().zip(&part[..channels]).for_each(|(sum, value)| *sum += value);
            maxima.iter_mut().zip(&part[channels..]).for_each(|(maximum, value)| *maximum = maximum.max(*value));
        }
        sums.iter_mut().for_each(|sum| *sum /= tokens as f32);
        pooled
    }
}

/// Works on parts of `size` values of every picture in `values`, with the numbers of picture and part; and pools them.
pub(super) fn over_parts(
    values: &mut [f32],
    picture: usize,
    size: usize,
    channels: usize,
    pools: Option<&mut Pools>,
    work: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    let count = values.len() / picture;
    let pictures = values.par_chunks_mut(picture).enumerate();
    match pools {
        None => pictures.for_each(|(index, values)| {
            values.par_chunks_mut(size).enumerate().for_each(|(task, values)| work(index, task, values));
        }),
        Some(pools) => {
            let parts = pools.begin(count, picture.div_ceil(size), channels);
            pictures.zip(parts).for_each(|((index, values), parts)| {
                let parts = Pools::split(parts, channels);
                values.par_chunks_mut(size).zip(parts).enumerate().for_each(|(task, (values, part))| {
                    work(index, task, values);
                    Pools::fill(part, values);
                });
            });
        }
    }
}
