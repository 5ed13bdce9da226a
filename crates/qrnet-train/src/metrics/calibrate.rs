//! Presence that means what it says: a logit becomes `scale * logit + shift` (Platt 1999; Guo et al. 2017 with a bias).

/// Steps of Newton's method; a handful is enough.
const STEPS: usize = 50;
/// The loss has its least value where its gradient is shorter than this.
const DONE: f64 = 1e-10;
/// Keeps the fit finite where scores part the two sides without an error.
const RIDGE: f64 = 1e-6;

/// What makes a presence logit calibrated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calibration {
    /// Factor of the logit; the inverse of a temperature.
    pub scale: f64,
    /// What is added to it; a share of present things other than that of training.
    pub shift: f64,
}

impl Calibration {
    /// The least cross-entropy on `scored`: logits, and whether the thing is there. None unless both sides are among them
    /// and all logits are finite.
    pub fn fit(scored: &[(f32, bool)]) -> Option<Self> {
        let present = scored.iter().filter(|(_, present)| *present).count();
        if present == 0 || present == scored.len() || scored.iter().any(|(logit, _)| !logit.is_finite()) {
            return None;
        }
        let count = scored.len() as f64;
        let mut fit = Self::NONE;
        let mut loss = fit.loss(scored);
        for _ in 0..STEPS {
            // Gradient and second derivatives by scale and shift.
            let (mut by_scale, mut by_shift) = (RIDGE * (fit.scale - 1.0), RIDGE * fit.shift);
            let (mut ss, mut sb, mut bb) = (RIDGE, 0.0, RIDGE);
            for &(logit, present) in scored {
                let logit = f64::from(logit);
                let p = sigmoid(fit.scale * logit + fit.shift);
                let (error, weight) = ((p - f64::from(u8::from(present))) / count, p * (1.0 - p) / count);
                by_scale += error * logit;
                by_shift += error;
                ss += weight * logit * logit;
                sb += weight * logit;
                bb += weight;
            }
            let determinant = ss * bb - sb * sb;
            if by_scale.hypot(by_shift) < DONE || determinant <= 0.0 {
                break;
            }
            let (dx, dy) =
                ((bb * by_scale - sb * by_shift) / determinant, (ss * by_shift - sb * by_scale) / determinant);
            // A step that goes too far is halved.
            let mut part = 1.0;
            let step = loop {
                let next = Self { scale: fit.scale - part * dx, shift: fit.shift - part * dy };
                let after = next.loss(scored);
                if after <= loss {
                    break (next, after);
                }
                part /= 2.0;
                if part < 1e-6 {
                    return Some(fit);
                }
            };
            (fit, loss) = step;
        }
        Some(fit)
    }

    /// Nothing is changed.
    pub const NONE: Self = Self { scale: 1.0, shift: 0.0 };

    /// The calibrated probability of a logit.
    pub fn probability(self, logit: f32) -> f32 {
        sigmoid(self.scale * f64::from(logit) + self.shift) as f32
    }

    fn loss(self, scored: &[(f32, bool)]) -> f64 {
        let one = |&(logit, present): &(f32, bool)| {
            let logit = self.scale * f64::from(logit) + self.shift;
            // -ln of the sigmoid, without overflow.
            let signed = if present { -logit } else { logit };
            signed.max(0.0) + (-signed.abs()).exp().ln_1p()
        };
        let mean = scored.iter().map(one).sum::<f64>() / scored.len() as f64;
        mean + RIDGE / 2.0 * ((self.scale - 1.0).powi(2) + self.shift.powi(2))
    }
}

fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

/// The probability from which on to claim presence: where the share of claims that are right (precision) and the share of
/// what is there that is claimed (recall) have the largest harmonic mean, F1 (van Rijsbergen 1979), if the share `prevalence`
/// of questions, 0..1 without its ends, asks for what is there; of which `scored` may have more or fewer. Half way to the next
/// score below; none unless both sides are among `scored`.
pub fn best_threshold(scored: &[(f32, bool)], prevalence: f64) -> Option<f32> {
    let present = scored.iter().filter(|(_, present)| *present).count();
    if present == 0 || present == scored.len() {
        return None;
    }
    let weights = [(1.0 - prevalence) / (scored.len() - present) as f64, prevalence / present as f64];
    let mut order = scored.to_vec();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut right, mut claimed) = (0.0, 0.0);
    let mut best = (f64::MIN, order[0].0);
    for (i, &(score, is_there)) in order.iter().enumerate() {
        let weight = weights[usize::from(is_there)];
        claimed += weight;
        right += if is_there { weight } else { 0.0 };
        let below = order.get(i + 1).map_or(0.0, |(next, _)| *next);
        if below >= score {
            continue;
        }
        let f1 = 2.0 * right / (claimed + prevalence);
        if f1 > best.0 {
            best = (f1, f32::midpoint(score, below));
        }
    }
    Some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::calibration_error;

    /// Logits whose true log-odds are `scale * logit + shift`, as shares of a large count.
    fn drawn(scale: f64, shift: f64) -> Vec<(f32, bool)> {
        let mut all = Vec::new();
        for step in -20..=20 {
            let logit = f64::from(step) / 5.0;
            let there = (2000.0 * sigmoid(scale * logit + shift)).round() as usize;
            all.extend((0..2000).map(|i| (logit as f32, i < there)));
        }
        all
    }

    #[test]
    fn what_was_bent_is_found_again() {
        for (scale, shift) in [(1.0, 0.0), (0.4, -3.0), (2.5, 1.0)] {
            let scored = drawn(scale, shift);
            let fit = Calibration::fit(&scored).expect("both sides");
            assert!(
                (fit.scale - scale).abs() < 0.03 && (fit.shift - shift).abs() < 0.05,
                "{fit:?} of {scale}, {shift}"
            );
            let probabilities: Vec<(f32, bool)> =
                scored.iter().map(|(logit, there)| (fit.probability(*logit), *there)).collect();
            assert!(calibration_error(&probabilities).expect("examples") < 0.01);
        }
    }

    #[test]
    fn one_side_alone_and_a_clean_cut() {
        assert_eq!(Calibration::fit(&[(1.0, true), (2.0, true)]), None);
        assert_eq!(Calibration::fit(&[(f32::NAN, true), (2.0, false)]), None);
        let cut = Calibration::fit(&[(-1.0, false), (1.0, true)]).expect("both sides");
        assert!(cut.scale.is_finite() && cut.scale > 1.0 && cut.shift.abs() < 1e-6, "{cut:?}");
    }

    #[test]
    fn thresholds_have_the_best_f1() {
        let scored = [(0.9, true), (0.6, true), (0.5, false), (0.4, false), (0.3, true), (0.2, false), (0.1, false)];
        // As they are, three of seven: two claims, both right, of three: 2 * 2 / (2 + 3) = 0.8; from 0.3 on, three of five right, of
        // three: 0.75.
        assert_eq!(best_threshold(&scored, 3.0 / 7.0), Some(0.55));
        // Nine of ten there: from 0.3 on, recall is 1 and precision 0.9 / (0.9 + 0.05); before, recall is 2 / 3.
        assert_eq!(best_threshold(&scored, 0.9), Some(0.25));
        assert_eq!(best_threshold(&[(0.4, true), (0.4, false)], 0.1), Some(0.2));
        assert_eq!(best_threshold(&[(0.4, true)], 0.1), None);
    }
}
