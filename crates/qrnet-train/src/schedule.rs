//! Learning rates over time: warm-up, then one of four courses.

/// How the learning rate goes on after the warm-up, as a factor on each group's rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Course {
    /// Always 1.
    Constant,
    /// Times `factor` after every `every` steps, again and again (PyTorch's `StepLR`).
    Steps {
        /// Steps between two falls, at least 1.
        every: u64,
        /// What is left after one, 0..1.
        factor: f64,
    },
    /// 1, then a straight line down to `last` over the final `fall` steps.
    Hold {
        /// Steps of the fall.
        fall: u64,
        /// The factor at the end, 0..1.
        last: f64,
    },
    /// Half a cosine from 1 to `last` at the final step.
    Cosine {
        /// The factor at the end, 0..1.
        last: f64,
    },
}

/// A whole schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Steps over which the rate rises linearly from nothing.
    pub warm_up: u64,
    /// Steps in all; `Hold` and `Cosine` need them.
    pub total: u64,
    /// What follows the warm-up.
    pub course: Course,
}

impl Schedule {
    /// The factor for step `step`, counted from 0.
    pub fn factor(&self, step: u64) -> f64 {
        let rise = if step < self.warm_up { (step + 1) as f64 / self.warm_up as f64 } else { 1.0 };
        let course = match self.course {
            Course::Constant => 1.0,
            Course::Steps { every, factor } => factor.powf((step / every.max(1)) as f64),
            Course::Hold { fall, last } => {
                let left = self.total.saturating_sub(step).min(fall) as f64 / fall.max(1) as f64;
                last + (1.0 - last) * left
            }
            Course::Cosine { last } => {
                let span = self.total.saturating_sub(self.warm_up).max(1);
                let done = (step.saturating_sub(self.warm_up) as f64 / span as f64).min(1.0);
                last + (1.0 - last) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
        };
        rise * course
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn rises_and_falls_where_it_should() {
        let cosine = Schedule { warm_up: 10, total: 110, course: Course::Cosine { last: 0.1 } };
        close(cosine.factor(0), 0.1);
        close(cosine.factor(9), 1.0);
        close(cosine.factor(60), 0.55);
        close(cosine.factor(110), 0.1);
        close(cosine.factor(1000), 0.1);
        let hold = Schedule { warm_up: 0, total: 100, course: Course::Hold { fall: 20, last: 0.5 } };
        for (step, factor) in [(0, 1.0), (80, 1.0), (90, 0.75), (100, 0.5), (120, 0.5)] {
            close(hold.factor(step), factor);
        }
        let steps = Schedule { warm_up: 0, total: 180, course: Course::Steps { every: 60, factor: 0.1 } };
        for (step, factor) in [(0, 1.0), (59, 1.0), (60, 0.1), (119, 0.1), (120, 0.01)] {
            close(steps.factor(step), factor);
        }
        close(Schedule { warm_up: 0, total: 0, course: Course::Constant }.factor(7), 1.0);
    }
}
