//! Answers that were recorded elsewhere, against the labels of a film.

use std::sync::Arc;

use blocks::preprocess::Rect;

use super::ClipLabels;
use crate::metrics::{OnFilm, Outcome, Tally};

/// What was said of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recorded {
    /// Where the thing is claimed to be, in pixels; none where it is not.
    pub claim: Option<Rect>,
    /// Whether anything is said of the frame at all, this one or an earlier one; else it is right in no case.
    pub answered: bool,
    /// The probability that it is there, where one was measured on this frame.
    pub presence: Option<f32>,
    /// Width and height of the picture.
    pub size: (f64, f64),
}

/// Compares recorded answers with labels: every phrase that `answer` knows of, on every frame. Where nothing is claimed
/// of a thing that is there, its box was not found. Returns the phrase and frame instead that an answer is lacking for.
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
                let truth = labels.target(referent, frame).map(|rect| rect.clipped(answer.size.0, answer.size.1));
                let claim = answer.claim;
                tally.push(Outcome {
                    source: Arc::clone(&source),
                    kind: referent.name.as_str().into(),
                    thing: None,
                    present: truth.is_some(),
                    iou: truth.map(|truth| claim.map_or(0.0, |claim| truth.overlap(&claim) as f32)),
                    presence: answer.presence,
                    here: answer.answered.then_some(claim.is_some()),
                    film: Some(OnFilm { moment, phrase: phrase.as_str().into(), truth, answer: claim }),
                });
            }
        }
    }
    Ok(tally)
}
