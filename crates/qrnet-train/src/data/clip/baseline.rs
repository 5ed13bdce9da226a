//! What those get on a labelled film who do not look at it, or are deaf to the question.

use blocks::preprocess::Rect;
use serde::{Deserialize, Serialize};

use super::ClipLabels;
use crate::metrics::IOU_THRESHOLDS;

/// From this overlap on a box is right.
const RIGHT: f64 = IOU_THRESHOLDS[0] as f64;

/// Shares over all phrases and frames, 0..1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    /// Acc@0.5 of the question's mean box in training, where the thing is there; none without training labels of it.
    pub mean_box: Option<f64>,
    /// Acc@0.5 of a labelled person of the frame, at random, where the thing is there.
    pub random_person: Option<f64>,
    /// Share of frames on which "not here" is right.
    pub always_absent: f64,
}

impl Baselines {
    /// Of what `measured` asks, after what `trained` shows.
    pub fn of(measured: &ClipLabels, trained: &[ClipLabels]) -> Self {
        let (mut frames, mut present, mut mean, mut random) = (0.0, 0.0, 0.0, 0.0);
        let mut knows_mean = false;
        for referent in measured.referents() {
            // Each phrase is asked on each frame.
            let weight = referent.phrases.len() as f64;
            let usual = mean_box(trained, &referent.name);
            knows_mean |= usual.is_some();
            for &frame in measured.frames() {
                frames += weight;
                let there = measured.things(referent, frame);
                if there.is_empty() {
                    continue;
                }
                present += weight;
                let is_right = |rect: Rect| there.iter().any(|(_, truth)| truth.overlap(&rect) >= RIGHT);
                mean += weight * f64::from(u8::from(usual.is_some_and(is_right)));
                let people: Vec<Rect> = measured.boxes(frame).map(|(_, rect)| rect).collect();
                let right = people.iter().filter(|rect| is_right(**rect)).count();
                random += weight * right as f64 / people.len().max(1) as f64;
            }
        }
        let share = |sum: f64| (present > 0.0).then(|| sum / present);
        Self {
            mean_box: share(mean).filter(|_| knows_mean),
            random_person: share(random),
            always_absent: if frames > 0.0 { 1.0 - present / frames } else { 0.0 },
        }
    }
}

/// The mean of all boxes of a referent.
fn mean_box(labels: &[ClipLabels], name: &str) -> Option<Rect> {
    let boxes: Vec<Rect> = labels
        .iter()
        .flat_map(|labels| {
            let referent = labels.referents().iter().find(|referent| referent.name == name);
            let targets = referent.map(|referent| labels.frames().iter().filter_map(|f| labels.target(referent, *f)));
            targets.into_iter().flatten()
        })
        .collect();
    let mean = |edge: fn(&Rect) -> f64| boxes.iter().map(edge).sum::<f64>() / boxes.len() as f64;
    let mean_edges = || Rect { x0: mean(|r| r.x0), y0: mean(|r| r.y0), x1: mean(|r| r.x1), y1: mean(|r| r.y1) };
    (!boxes.is_empty()).then(mean_edges)
}
