//! Answers over time: tubes, and boxes that jump about.

use std::collections::BTreeMap;

use blocks::preprocess::Rect;
use serde::{Deserialize, Serialize};

use super::Outcome;
use super::estimate::Estimate;
use super::identity::{IdentityFigures, Things};
use crate::data::Moment;

/// Overlaps of tubes from which on a tube counts as found.
const TUBE_THRESHOLDS: [f64; 2] = [0.3, 0.5];

/// What is told of films beside the figures of their frames.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FilmFigures {
    /// Tubes: stretches of frames in which a question's thing is there, each stretch of the data set by itself.
    pub tubes: usize,
    /// Mean overlap of tubes, vIoU as TubeDETR measures it.
    pub viou: Option<Estimate>,
    /// Shares of tubes with a vIoU above 0.3 and above 0.5.
    pub viou_above: Vec<(f64, f64)>,
    /// How far answered boxes move beside the true ones from frame to frame, as a share of the true box's size (the root
    /// of its area). Over neighbouring frames on which both are there.
    pub jitter: Option<f64>,
    /// Whether things keep their ids, where answers have them: a question's frames in one film are a sequence, stretch after
    /// stretch. None where nothing that is asked for is ever there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityFigures>,
}

/// A frame of a question.
struct Frame<'a> {
    moment: Moment,
    /// The true and the answered place; none where it is not there, or not claimed to be.
    truth: Option<Rect>,
    claim: Option<Rect>,
    things: Option<&'a Things>,
}

impl FilmFigures {
    /// None where no outcome belongs to a film.
    pub(super) fn of(outcomes: &[&Outcome]) -> Option<Self> {
        let mut questions: BTreeMap<(&str, &str, u32), Vec<Frame>> = BTreeMap::new();
        for outcome in outcomes {
            if let Some(film) = &outcome.film {
                let frame = Frame {
                    moment: film.moment,
                    truth: film.truth,
                    claim: film.answer.filter(|_| outcome.here == Some(true)),
                    things: film.things.as_ref(),
                };
                // Data sets of one film number their questions by themselves.
                questions.entry((&outcome.source, &film.phrase, film.moment.question)).or_default().push(frame);
            }
        }
        if questions.is_empty() {
            return None;
        }
        let (mut overlaps, mut steps, mut films) = (Vec::new(), Vec::new(), Vec::new());
        for frames in questions.values_mut() {
            frames.sort_by_key(|frame| frame.moment.frame);
            films.push(frames.iter().filter_map(|frame| frame.things).collect::<Vec<_>>());
            frames.sort_by_key(|frame| frame.moment);
            for stretch in frames.chunk_by(|a, b| a.moment.stretch == b.moment.stretch) {
                overlaps.extend(tube_overlap(stretch));
                steps.extend(stretch.windows(2).filter_map(|pair| jump(&pair[0], &pair[1])));
            }
        }
        let above = |least: f64| overlaps.iter().filter(|overlap| **overlap > least).count() as f64;
        let share = |least: f64| (least, above(least) / overlaps.len() as f64);
        Some(Self {
            tubes: overlaps.len(),
            viou: (!overlaps.is_empty()).then(|| Estimate::mean(&overlaps)),
            viou_above: TUBE_THRESHOLDS.into_iter().filter(|_| !overlaps.is_empty()).map(share).collect(),
            jitter: (!steps.is_empty()).then(|| steps.iter().sum::<f64>() / steps.len() as f64),
            identity: IdentityFigures::of(&films),
        })
    }
}

/// vIoU of one stretch, none where the thing is not in it. Both tubes reach from the first frame on which there is a box
/// to the one behind the last. Overlaps are summed over the frames in both, and divided by the number of frames from the
/// earlier beginning to the later end.
fn tube_overlap(frames: &[Frame]) -> Option<f64> {
    let span = |is_there: fn(&Frame) -> bool| {
        let (first, last) = (frames.iter().position(is_there)?, frames.iter().rposition(is_there)?);
        Some(first..last + 1)
    };
    let truth = span(|frame| frame.truth.is_some())?;
    let Some(claim) = span(|frame| frame.claim.is_some()) else { return Some(0.0) };
    let both = truth.start.max(claim.start)..truth.end.min(claim.end);
    let union = truth.end.max(claim.end) - truth.start.min(claim.start);
    let overlap = |frame: &Frame| frame.truth.zip(frame.claim).map_or(0.0, |(truth, claim)| truth.overlap(&claim));
    let sum: f64 = if both.is_empty() { 0.0 } else { frames[both].iter().map(overlap).sum() };
    Some(sum / union as f64)
}

/// How far the answered box moved beside the true one.
fn jump(before: &Frame, after: &Frame) -> Option<f64> {
    let (truth, claim) = ((before.truth?, after.truth?), (before.claim?, after.claim?));
    let moved = |(a, b): (Rect, Rect)| {
        let ((ax, ay), (bx, by)) = (a.centre(), b.centre());
        (bx - ax, by - ay)
    };
    let ((tx, ty), (cx, cy)) = (moved(truth), moved(claim));
    let size = (after.truth?.width() * after.truth?.height()).sqrt();
    Some((cx - tx).hypot(cy - ty) / size)
}
