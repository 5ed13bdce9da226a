//! Answers that were recorded elsewhere, against the labels of a film.

use std::sync::Arc;

use blocks::preprocess::Rect;

use super::ClipLabels;
use crate::metrics::{OnFilm, Outcome, Tally, Things};

/// What was said of a frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// What is claimed to be there, measured on this frame or carried: ids and boxes in pixels, the best one first.
    pub claimed: Vec<(u64, Rect)>,
    /// Whether anything is said of the frame at all, this one or an earlier one; else it is right in no case.
    pub answered: bool,
    /// The probability that it is there, where one was measured on this frame.
    pub presence: Option<f32>,
    /// Width and height of the picture.
    pub size: (f64, f64),
}

/// Compares recorded answers with labels: every phrase that `answer` knows of, on every frame. Where nothing is claimed
/// of a thing that is there, its box was not found. Figures of one box are about the best one, which is right on any thing
/// that is asked for; those of ids are about all. Returns the phrase and frame instead that an answer is lacking for.
///
/// # Errors
/// A phrase has answers, but not for every frame.
pub fn score(
    name: &str,
    labels: &ClipLabels,
    mut answer: impl FnMut(&str, u64) -> Option<Recorded>,
) -> Result<Tally, (String, u64)> {
    let (source, mut tally, mut question) = (Arc::from(name), Tally::default(), 0);
    for referent in labels.referents() {
        for phrase in &referent.phrases {
            let answers: Vec<_> = labels.frames().iter().map(|frame| answer(phrase, *frame)).collect();
            if answers.iter().all(Option::is_none) {
                continue;
            }
            question += 1;
            for (place, answer) in answers.into_iter().enumerate() {
                let moment = labels.moment(question, place);
                let frame = moment.frame;
                let answer = answer.ok_or_else(|| (phrase.clone(), frame))?;
                let Recorded { claimed, answered, presence, size: (width, height) } = answer;
                let there = labels.things(referent, frame).into_iter();
                let there: Vec<(u64, Rect)> = there.map(|(id, rect)| (id, rect.clipped(width, height))).collect();
                let claim = claimed.first().map(|(_, rect)| *rect);
                let overlap = |truth: &Rect| claim.map_or(0.0, |claim| truth.overlap(&claim));
                let truth = there.iter().map(|(_, rect)| *rect).max_by(|a, b| overlap(a).total_cmp(&overlap(b)));
                tally.push(Outcome {
                    source: Arc::clone(&source),
                    kind: referent.name.as_str().into(),
                    thing: None,
                    present: truth.is_some(),
                    iou: truth.map(|truth| overlap(&truth) as f32),
                    presence,
                    here: answered.then_some(claim.is_some()),
                    film: Some(OnFilm {
                        moment,
                        phrase: phrase.as_str().into(),
                        truth,
                        answer: claim,
                        things: Some(Things { there, claimed }),
                    }),
                });
            }
        }
    }
    Ok(tally)
}
