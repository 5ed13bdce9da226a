//! The figures of one group of outcomes.

use serde::{Deserialize, Serialize};

use super::Outcome;
use super::estimate::Estimate;
use super::film::FilmFigures;
use super::presence::{auroc, calibration_error};

/// Overlaps from which on an answer counts as right; 0.5 is the field's, the others show how tight boxes are.
pub const IOU_THRESHOLDS: [f32; 4] = [0.5, 0.3, 0.7, 0.9];

/// Share of present examples that were found, at one threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// From this overlap on an answer is right.
    pub iou: f32,
    /// The share, with binomial error.
    pub share: Estimate,
}

/// Everything that is told of one group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Examples.
    pub examples: usize,
    /// Those whose thing is in the picture.
    pub present: usize,
    /// Accuracy at each of [`IOU_THRESHOLDS`], over present examples; empty where there are none.
    pub accuracy: Vec<Accuracy>,
    /// Mean overlap over present examples.
    pub mean_iou: Option<Estimate>,
    /// Share of examples answered rightly, absences included: claimed to be there with an overlap of 0.5 or more, or not
    /// there and not claimed to be. None from a model without presence head, which claims everything.
    pub right: Option<Estimate>,
    /// Area under the ROC curve of the presence probability; none unless both present and absent examples have one.
    pub auroc: Option<Estimate>,
    /// Expected calibration error of the presence probability, without an error of its own.
    pub calibration_error: Option<f64>,
    /// Over time; none of single pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub film: Option<FilmFigures>,
}

impl Figures {
    pub(super) fn of(outcomes: &[&Outcome]) -> Self {
        let overlap = |outcome: &&&Outcome| outcome.iou.filter(|iou| iou.is_finite()).unwrap_or(0.0);
        let overlaps: Vec<f32> = outcomes.iter().filter(|outcome| outcome.present).map(|o| overlap(&o)).collect();
        let right = |threshold: f32| overlaps.iter().filter(|overlap| **overlap >= threshold).count();
        let thresholds = IOU_THRESHOLDS.into_iter().filter(|_| !overlaps.is_empty());
        let accuracy =
            thresholds.map(|iou| Accuracy { iou, share: Estimate::share(right(iou), overlaps.len()) }).collect();
        let wide: Vec<f64> = overlaps.iter().map(|overlap| f64::from(*overlap)).collect();
        let answered: Vec<(f32, bool)> = outcomes
            .iter()
            .filter_map(|outcome| Some((outcome.presence.filter(|p| p.is_finite())?, outcome.present)))
            .collect();
        let is_found = |outcome: &&&Outcome| overlap(outcome) >= IOU_THRESHOLDS[0];
        let is_right =
            |outcome: &&&Outcome| outcome.here == Some(outcome.present) && (!outcome.present || is_found(outcome));
        let can_deny = outcomes.iter().any(|outcome| outcome.presence.is_some() || outcome.here != Some(true));
        Self {
            right: can_deny.then(|| Estimate::share(outcomes.iter().filter(is_right).count(), outcomes.len())),
            film: FilmFigures::of(outcomes),
            examples: outcomes.len(),
            present: overlaps.len(),
            accuracy,
            mean_iou: (!wide.is_empty()).then(|| Estimate::mean(&wide)),
            auroc: auroc(&answered),
            calibration_error: calibration_error(&answered),
        }
    }

    /// Accuracy at one of [`IOU_THRESHOLDS`]; none at others, and where no example is present.
    pub fn accuracy_at(&self, iou: f32) -> Option<Estimate> {
        self.accuracy.iter().find(|accuracy| (accuracy.iou - iou).abs() < 1e-6).map(|accuracy| accuracy.share)
    }

    /// The figures that there are by the names of the run's log: `acc50`, `acc30`, `acc70`, `acc90`, `miou`, `right`,
    /// `auroc`, `ece`, `viou`, `jitter`.
    pub fn scalars(&self) -> Vec<(String, f64)> {
        let accuracies = self.accuracy.iter().map(|a| (format!("acc{:.0}", 100.0 * a.iou), Some(a.share.value)));
        let others = [
            ("miou".to_owned(), self.mean_iou.map(|estimate| estimate.value)),
            ("right".to_owned(), self.right.map(|estimate| estimate.value)),
            ("auroc".to_owned(), self.auroc.map(|estimate| estimate.value)),
            ("ece".to_owned(), self.calibration_error),
            ("viou".to_owned(), self.film.as_ref().and_then(|film| film.viou).map(|estimate| estimate.value)),
            ("jitter".to_owned(), self.film.as_ref().and_then(|film| film.jitter)),
        ];
        accuracies.chain(others).filter_map(|(name, value)| Some((name, value?))).collect()
    }
}
