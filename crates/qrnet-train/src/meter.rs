//! Sums between two lines of a run's log. What they hold is part of a checkpoint, so that the line after a stop says what
//! it would have said without; times are not.

use std::time::{Duration, Instant};

use crate::metrics::Summary;
use crate::objective::{TERMS, Term};

/// What a line of the log is the mean of.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sums {
    /// Sum of the losses.
    pub loss: f64,
    /// Forward passes.
    pub passes: u64,
    /// Sum of each term before its weight, and how many passes had it.
    pub terms: [(f64, u64); TERMS],
    /// Sum of the gradients' norms.
    pub norm: f64,
    /// Steps.
    pub steps: u64,
}

impl std::fmt::Display for Sums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {} {}", self.loss, self.passes, self.norm, self.steps)?;
        self.terms.iter().try_for_each(|(sum, count)| write!(f, " {sum} {count}"))
    }
}

impl Sums {
    /// Reads what [`Display`](std::fmt::Display) wrote, to the bit.
    pub fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let [loss, passes, norm, steps, terms @ ..] = words.as_slice() else { return None };
        let mut sums = Self {
            loss: loss.parse().ok()?,
            passes: passes.parse().ok()?,
            norm: norm.parse().ok()?,
            steps: steps.parse().ok()?,
            ..Self::default()
        };
        let (pairs, []) = terms.as_chunks::<2>() else { return None };
        if pairs.len() != sums.terms.len() {
            return None;
        }
        for (term, [sum, count]) in sums.terms.iter_mut().zip(pairs) {
            *term = (sum.parse().ok()?, count.parse().ok()?);
        }
        Some(sums)
    }
}

/// How far a run is, for whoever watches.
#[derive(Debug, Clone)]
pub struct Progress<'a> {
    /// Steps made.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Mean loss since the last report.
    pub loss: f64,
    /// Examples a second since the last report.
    pub rate: f64,
    /// Share of the time that was spent waiting for data.
    pub waiting: f64,
    /// A measurement that was just made.
    pub measured: Option<(&'a str, &'a Summary)>,
}

/// Sums and clocks since the last line of the log.
pub(crate) struct Meter {
    pub(crate) sums: Sums,
    since: Instant,
    /// Time that went into something else than steps.
    paused: Duration,
    waited: Duration,
    /// Steps and examples that the clocks saw: after a resumed stop fewer than the sums hold.
    steps: u64,
    examples: usize,
}

impl Meter {
    /// Goes on from `sums`, with the clocks at 0.
    pub(crate) fn new(sums: Sums) -> Self {
        Self { sums, since: Instant::now(), paused: Duration::ZERO, waited: Duration::ZERO, steps: 0, examples: 0 }
    }

    /// Time that went into something else than steps does not count.
    pub(crate) fn pause(&mut self, time: Duration) {
        self.paused += time;
    }

    pub(crate) fn add(&mut self, loss: f64, terms: &[f64; TERMS], examples: usize, waited: Duration) {
        self.sums.loss += loss;
        self.sums.passes += 1;
        for (sum, term) in self.sums.terms.iter_mut().zip(terms).filter(|(_, term)| term.is_finite()) {
            *sum = (sum.0 + term, sum.1 + 1);
        }
        self.examples += examples;
        self.waited += waited;
    }

    pub(crate) fn stepped(&mut self, norm: f64) {
        self.sums.norm += norm;
        self.sums.steps += 1;
        self.steps += 1;
    }

    /// The line's values and a report, and starts again from nothing.
    pub(crate) fn take(&mut self, rate: f64) -> (Vec<(&'static str, f64)>, Progress<'static>) {
        let sums = self.sums;
        let seconds = self.since.elapsed().saturating_sub(self.paused).as_secs_f64();
        let waited = self.waited.as_secs_f64();
        let loss = sums.loss / sums.passes.max(1) as f64;
        let mut scalars = vec![("loss", loss)];
        scalars.extend(
            Term::ALL.into_iter().zip(sums.terms).filter(|(_, t)| t.1 > 0).map(|(n, t)| (n.name(), t.0 / t.1 as f64)),
        );
        scalars.push(("rate", rate));
        scalars.push(("gradient_norm", sums.norm / sums.steps.max(1) as f64));
        scalars.push(("step_seconds", (seconds - waited) / self.steps.max(1) as f64));
        scalars.push(("data_seconds", waited / self.steps.max(1) as f64));
        let report = Progress {
            step: 0,
            steps: 0,
            loss,
            rate: self.examples as f64 / seconds.max(1e-9),
            waiting: waited / seconds.max(1e-9),
            measured: None,
        };
        *self = Self::new(Sums::default());
        (scalars, report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_survive_as_text_to_the_bit() {
        let mut sums = Sums { loss: 0.1 + 0.2, passes: 3, norm: f64::INFINITY, steps: 2, ..Sums::default() };
        sums.terms[8] = (1.0 / 3.0, 7);
        sums.terms[0] = (f64::MIN_POSITIVE, 1);
        assert_eq!(Sums::parse(&sums.to_string()), Some(sums));
        for broken in ["", "1 2", "a 1 2 3 4", &format!("{sums} 5"), &format!("{sums} 5 6")] {
            assert_eq!(Sums::parse(broken), None, "{broken}");
        }
    }
}
