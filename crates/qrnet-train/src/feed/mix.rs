//! Whose turn it is, where a phase draws from several sources: shares kept as evenly as whole numbers allow, and known for
//! every position without counting up to it.

/// Turns among sources, by shares.
///
/// Sources are put in a row, smallest share first. The first `i + 1` of them have their turns; of those the first `i` take
/// every so manieth, as an even stride says (`count * part / whole`, rounded), and what is left is source `i`'s. So
/// every position has one source, and the number of turns before it is a formula.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix {
    /// Sources with a share, smallest first.
    order: Vec<usize>,
    /// Sums of their shares up to and with each, in whole numbers.
    sums: Vec<u64>,
}

impl Mix {
    /// For shares of any size; a source with a share of 0 has no turn.
    ///
    /// # Panics
    /// No share is above 0, or one is negative or no number.
    pub fn new(shares: &[f64]) -> Self {
        /// What all shares together are about.
        const WHOLE: f64 = (1u64 << 32) as f64;
        let all: f64 = shares.iter().sum();
        assert!(all > 0.0 && shares.iter().all(|share| *share >= 0.0), "shares {shares:?}");
        let mut order: Vec<usize> = (0..shares.len()).filter(|source| shares[*source] > 0.0).collect();
        order.sort_by(|a, b| shares[*a].total_cmp(&shares[*b]));
        let mut sum = 0;
        let sums = order
            .iter()
            .map(|source| {
                sum += ((shares[*source] / all * WHOLE).round() as u64).max(1);
                sum
            })
            .collect();
        Self { order, sums }
    }

    /// The source that has turn `position`, and how many turns it had before.
    pub fn at(&self, position: u64) -> (usize, u64) {
        let mut turn = position;
        for last in (1..self.order.len()).rev() {
            let (before, after) = (self.first(last, turn), self.first(last, turn + 1));
            if before == after {
                return (self.order[last], turn - before);
            }
            turn = before;
        }
        (self.order[0], turn)
    }

    /// Turns of every one of `sources` sources in the first `turns`.
    pub fn counts(&self, turns: u64, sources: usize) -> Vec<u64> {
        let mut counts = vec![0; sources];
        let mut turns = turns;
        for last in (0..self.order.len()).rev() {
            let before = if last == 0 { 0 } else { self.first(last, turns) };
            counts[self.order[last]] = turns - before;
            turns = before;
        }
        counts
    }

    /// Of the first `turns` of sources up to and with `last` in the row, those that belong to sources before it.
    fn first(&self, last: usize, turns: u64) -> u64 {
        let (part, whole) = (u128::from(self.sums[last - 1]), u128::from(self.sums[last]));
        ((u128::from(turns) * part + whole / 2) / whole) as u64
    }
}
