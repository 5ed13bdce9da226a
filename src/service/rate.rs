//! How many a second, of late.

use std::time::{Duration, Instant};

/// Whole seconds that are looked back on.
const SECONDS: usize = 5;

/// Counts what happens, by second.
#[derive(Debug)]
pub(super) struct Rate {
    began: Instant,
    /// The second of the newest count, since it began.
    second: u64,
    /// That second and those before it, the newest first.
    counts: [u32; SECONDS + 1],
}

impl Default for Rate {
    fn default() -> Self {
        Self { began: Instant::now(), second: 0, counts: [0; SECONDS + 1] }
    }
}

impl Rate {
    pub(super) fn add(&mut self) {
        self.add_after(self.began.elapsed());
    }

    /// Over the last whole seconds; 0 before the first of them is over.
    pub(super) fn per_second(&self) -> f64 {
        self.per_second_after(self.began.elapsed())
    }

    fn add_after(&mut self, since: Duration) {
        let gone = usize::try_from(since.as_secs() - self.second.min(since.as_secs())).unwrap_or(usize::MAX);
        if gone > 0 {
            self.counts.rotate_right(gone.min(SECONDS + 1) % (SECONDS + 1));
            self.counts[..gone.min(SECONDS + 1)].fill(0);
            self.second = since.as_secs();
        }
        self.counts[0] += 1;
    }

    fn per_second_after(&self, since: Duration) -> f64 {
        let now = since.as_secs();
        let whole = now.min(SECONDS as u64);
        if whole == 0 {
            return 0.0;
        }
        // The second that is not over yet does not count.
        let of_second = |(back, count): (usize, &u32)| {
            let age = now - self.second.saturating_sub(back as u64).min(now);
            let is_there = back as u64 <= self.second && (1..=SECONDS as u64).contains(&age);
            if is_there { u64::from(*count) } else { 0 }
        };
        self.counts.iter().enumerate().map(of_second).sum::<u64>() as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_of_late_count() {
        let mut rate = Rate::default();
        let ms = Duration::from_millis;
        for number in 0..250 {
            rate.add_after(ms(40 * number));
        }
        assert!((rate.per_second_after(ms(9_960)) - 25.0).abs() < 1e-9);
        assert!((rate.per_second_after(ms(11_000)) - 20.0).abs() < 1e-9, "one second of five was silent");
        assert!(rate.per_second_after(ms(60_000)).abs() < 1e-9, "nothing came for a minute");
        rate.add_after(ms(60_500));
        assert!((rate.per_second_after(ms(61_000)) - 0.2).abs() < 1e-9);
    }

    #[test]
    fn the_first_seconds_are_no_slower() {
        let mut rate = Rate::default();
        for number in 0..30 {
            rate.add_after(Duration::from_millis(100 * number));
        }
        assert!(Rate::default().per_second_after(Duration::from_millis(900)).abs() < 1e-9);
        assert!((rate.per_second_after(Duration::from_millis(2_900)) - 10.0).abs() < 1e-9);
    }
}
