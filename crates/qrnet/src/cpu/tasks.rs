//! How work is cut into tasks and shared out.

use std::sync::{Mutex, MutexGuard, PoisonError};

use blocks::ops::kernel::attend::HeadRoom;
use blocks::ops::kernel::int8::Quantised;
use blocks::ops::kernel::inverted::Room as BlockRoom;

/// Works on all `tasks`, on all threads of the pool: whoever is free takes the next one. Long tasks should come first.
pub(super) fn share<T: Send>(tasks: impl Iterator<Item = T> + Send, work: impl Fn(T) + Sync) {
    let queue = Mutex::new(tasks);
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || {
        while let Some(task) = next() {
            work(task);
        }
    };
    rayon::scope(|scope| {
        for _ in 1..rayon::current_num_threads() {
            scope.spawn(|_| run());
        }
        run();
    });
}

/// How many units come at a time. Depends on sizes alone, so that sums over pieces are the same on any number of threads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portions {
    /// At first: so many that weights are not read too often, so few that a task's data stay in the second cache.
    pub(super) most: usize,
    /// At the end, so that all threads end at about the same time.
    pub(super) least: usize,
}

impl Portions {
    /// For rows that meet weights.
    pub(super) const ROWS: Self = Self { most: 96, least: 16 };

    /// For units of `rows` rows each.
    pub(super) fn of_units(rows: usize) -> Self {
        let units = |count: usize| ((count + rows / 2) / rows.max(1)).max(1);
        Self { most: units(Self::ROWS.most), least: units(Self::ROWS.least) }
    }

    fn next(self, left: usize) -> usize {
        /// Tiles of rows are no higher.
        const TILE: usize = 8;
        let share = left.div_ceil(8);
        let share = if self.least >= TILE { share.next_multiple_of(TILE) } else { share };
        share.clamp(self.least, self.most).min(left)
    }

    /// How many portions `units` make.
    pub(super) fn count(self, mut units: usize) -> usize {
        let mut count = 0;
        while units > 0 {
            units -= self.next(units);
            count += 1;
        }
        count
    }

    /// `values`, of units of `width` values, in portions; each with the number of its first unit.
    pub(super) fn cut(self, values: &mut [f32], width: usize) -> Pieces<'_> {
        Pieces { rest: values, width, first: 0, portions: self }
    }
}

/// See [`Portions::cut`].
pub(super) struct Pieces<'a> {
    rest: &'a mut [f32],
    width: usize,
    first: usize,
    portions: Portions,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = (usize, &'a mut [f32]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let units = self.portions.next(self.rest.len() / self.width);
        let (piece, rest) = std::mem::take(&mut self.rest).split_at_mut(units * self.width);
        let first = self.first;
        (self.rest, self.first) = (rest, first + units);
        Some((first, piece))
    }
}

/// The first `length` values of a buffer that grows when it must.
pub(super) fn take(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}

/// What one thread works with.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) rows: [Vec<f32>; 4],
    /// Rows in bytes.
    pub(super) bytes: [Quantised; 2],
    pub(super) head: HeadRoom,
    pub(super) block: BlockRoom,
}

/// One [`Scratch`] a thread.
#[derive(Default)]
pub(super) struct Workers(Vec<Mutex<Scratch>>);

impl Workers {
    /// Makes sure that every thread of the pool has one.
    pub(super) fn prepare(&mut self) {
        self.0.resize_with(self.0.len().max(rayon::current_num_threads()), Mutex::default);
    }

    /// This thread's. A task holds it while it works and starts no other task meanwhile, so nobody waits.
    pub(super) fn mine(&self) -> MutexGuard<'_, Scratch> {
        let index = rayon::current_thread_index().unwrap_or(0);
        self.0[index % self.0.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_everything_once_and_get_smaller() {
        for units in [0, 1, 7, 16, 17, 100, 1600, 25_600] {
            for portions in [Portions::ROWS, Portions::of_units(49), Portions::of_units(320)] {
                let mut values = vec![0.0; units * 3];
                let mut sizes = Vec::new();
                for (first, piece) in portions.cut(&mut values, 3) {
                    assert_eq!(first, sizes.iter().sum::<usize>());
                    sizes.push(piece.len() / 3);
                    for value in piece {
                        *value += 1.0;
                    }
                }
                assert_eq!(sizes.len(), portions.count(units), "{units} units, {portions:?}");
                assert!(sizes.windows(2).all(|pair| pair[0] >= pair[1]), "{sizes:?}");
                assert!(sizes.iter().all(|size| *size <= portions.most), "{sizes:?}");
                assert_eq!(values, vec![1.0; units * 3], "{units} units, {portions:?}");
            }
        }
    }

    #[test]
    fn every_task_is_done_once() {
        let sum = std::sync::atomic::AtomicUsize::new(0);
        share(0..1000, |task| {
            sum.fetch_add(task, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 999 * 500);
    }
}
