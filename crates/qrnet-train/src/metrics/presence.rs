//! Ranking and calibration of the presence probability.

use super::estimate::{Estimate, sample_variance};

/// Bins of equal width over 0..1 in [`calibration_error`] (Guo et al. 2017).
pub const CALIBRATION_BINS: usize = 15;

/// Area under the ROC curve: the probability that a present example scores above an absent one, a tie counting half.
///
/// Exact, by mid-ranks. The standard error is that of `DeLong` et al. (1988), from the same ranks (Sun and Xu 2014);
/// it is none with fewer than two examples on either side. `scored` holds finite scores of any range and whether the
/// example is present; the result is none unless both are among them.
pub fn auroc(scored: &[(f32, bool)]) -> Option<Estimate> {
    let side =
        |present: bool| -> Vec<f32> { scored.iter().filter(|(_, p)| *p == present).map(|(score, _)| *score).collect() };
    let (positive, negative) = (side(true), side(false));
    if positive.is_empty() || negative.is_empty() {
        return None;
    }
    let (m, n) = (positive.len() as f64, negative.len() as f64);
    let pooled: Vec<f32> = positive.iter().chain(&negative).copied().collect();
    let ranks = mid_ranks(&pooled);
    let (above, below) = ranks.split_at(positive.len());
    // Of each example, the share of the other side that it is ranked rightly against.
    let of_positive: Vec<f64> = above.iter().zip(mid_ranks(&positive)).map(|(all, own)| (all - own) / n).collect();
    let of_negative: Vec<f64> =
        below.iter().zip(mid_ranks(&negative)).map(|(all, own)| 1.0 - (all - own) / m).collect();
    let variance = sample_variance(&of_positive).zip(sample_variance(&of_negative)).map(|(p, q)| p / m + q / n);
    Some(Estimate { value: of_positive.iter().sum::<f64>() / m, error: variance.map(f64::sqrt) })
}

/// Ranks from 1 in ascending order; equal values share the mean of their ranks.
fn mid_ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    // `chunk_by` compares with ==, for which 0 and -0 are one value, neighbours in the total order.
    #[expect(clippy::float_cmp, reason = "a tie is two scores that are the same number")]
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = start as f64 + (tied.len() + 1) as f64 / 2.0;
        for &i in tied {
            ranks[i] = rank;
        }
        start += tied.len();
    }
    ranks
}

/// Expected calibration error of the event "the thing is there": examples fall into [`CALIBRATION_BINS`] bins of equal
/// width by their probability (a border belongs to the bin above it, 1 to the last), and the result is the mean over
/// examples of the distance between their bin's mean probability and its share of present examples. 0 is calibrated, 1
/// is always surely wrong. None where `scored` is empty; probabilities outside 0..1 fall into the outer bins.
pub fn calibration_error(scored: &[(f32, bool)]) -> Option<f64> {
    if scored.is_empty() {
        return None;
    }
    // A bin's |mean p - share| times its count is |sum of p - number present|.
    let mut surplus = [0.0f64; CALIBRATION_BINS];
    for &(probability, present) in scored {
        let probability = f64::from(probability);
        let bin = ((probability * CALIBRATION_BINS as f64) as usize).min(CALIBRATION_BINS - 1);
        surplus[bin] += probability - if present { 1.0 } else { 0.0 };
    }
    Some(surplus.iter().map(|sum| sum.abs()).sum::<f64>() / scored.len() as f64)
}
