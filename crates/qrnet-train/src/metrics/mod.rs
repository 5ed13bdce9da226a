//! How good answers are: boxes by overlap, presence by ranking and calibration, each with its standard error.

mod calibrate;
mod estimate;
mod figures;
mod film;
mod identity;
mod presence;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use blocks::preprocess::Rect;
use serde::{Deserialize, Serialize};

use crate::data::Moment;

pub use calibrate::{Calibration, best_threshold};
pub use estimate::Estimate;
pub use figures::{Accuracy, Figures, IOU_THRESHOLDS};
pub use film::FilmFigures;
pub use identity::{IdentityFigures, Things};
pub use presence::{CALIBRATION_BINS, auroc, calibration_error};

/// What a model made of one example.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Where the example comes from, as its data set says.
    pub source: Arc<str>,
    /// What kind of expression its phrase is.
    pub kind: Arc<str>,
    /// What class of thing is looked for, where the data set knows.
    pub thing: Option<Arc<str>>,
    /// Whether the thing looked for is in the picture.
    pub present: bool,
    /// Overlap of the answered box with the true one, 0..1; none where the thing is absent. A thing that is present
    /// and has no overlap here, or one that is not a number, counts as 0: it was not found.
    pub iou: Option<f32>,
    /// Answered probability that the thing is there, 0..1; none from a model without presence head. What is not a
    /// number counts as none.
    pub presence: Option<f32>,
    /// Whether the answer claims that the thing is there; none where there is no answer, which is right in no case.
    pub here: Option<bool>,
    /// Of a frame of a film: which, and where things are on it.
    pub film: Option<OnFilm>,
}

/// What belongs to one frame of a film.
#[derive(Debug, Clone, PartialEq)]
pub struct OnFilm {
    /// Which frame, for which question.
    pub moment: Moment,
    /// What was asked.
    pub phrase: Arc<str>,
    /// Where the thing is, in pixels; none where it is not there.
    pub truth: Option<Rect>,
    /// Where it was answered to be, claimed or not; none where there is no answer.
    pub answer: Option<Rect>,
    /// All that is asked for and all that was claimed, with ids; none of answers without ids.
    pub things: Option<Things>,
}

/// Outcomes, gathered one by one. Ranking needs all of them, so all are kept (about 50 bytes each).
#[derive(Debug, Clone, Default)]
pub struct Tally {
    outcomes: Vec<Outcome>,
}

/// What a [`Tally`] comes to: over everything, and over each group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// All examples.
    pub all: Figures,
    /// Examples of one source.
    pub by_source: BTreeMap<String, Figures>,
    /// Examples of one kind of expression.
    pub by_kind: BTreeMap<String, Figures>,
    /// Examples that ask for one class of things.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_thing: BTreeMap<String, Figures>,
    /// Frames of films, by what was asked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_phrase: BTreeMap<String, Figures>,
}

impl Tally {
    /// Adds one outcome.
    pub fn push(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    /// Adds all of another's.
    pub fn append(&mut self, other: Self) {
        self.outcomes.extend(other.outcomes);
    }

    /// Outcomes so far.
    pub fn len(&self) -> usize {
        self.outcomes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// All figures, over everything and by group.
    pub fn summary(&self) -> Summary {
        let all: Vec<&Outcome> = self.outcomes.iter().collect();
        Summary {
            all: Figures::of(&all),
            by_source: self.grouped(|outcome| Some(&outcome.source)),
            by_kind: self.grouped(|outcome| Some(&outcome.kind)),
            by_thing: self.grouped(|outcome| outcome.thing.as_ref()),
            by_phrase: self.grouped(|outcome| outcome.film.as_ref().map(|film| &film.phrase)),
        }
    }

    fn grouped(&self, key: impl Fn(&Outcome) -> Option<&Arc<str>>) -> BTreeMap<String, Figures> {
        let mut groups: BTreeMap<&str, Vec<&Outcome>> = BTreeMap::new();
        for outcome in &self.outcomes {
            if let Some(key) = key(outcome) {
                groups.entry(key).or_default().push(outcome);
            }
        }
        groups.into_iter().map(|(name, group)| (name.to_owned(), Figures::of(&group))).collect()
    }
}

impl Extend<Outcome> for Tally {
    fn extend<T: IntoIterator<Item = Outcome>>(&mut self, outcomes: T) {
        self.outcomes.extend(outcomes);
    }
}

#[cfg(test)]
mod tests;
