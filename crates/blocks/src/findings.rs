//! What a model found of a sentence on a picture, whatever its family.

use crate::preprocess::Rect;

/// One thing that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finding {
    /// In pixels of the picture as grounded, clipped to it.
    pub rect: Rect,
    /// `(cx, cy, w, h)` over width and height of the canvas, 0..1, as the model gave it.
    pub on_canvas: [f32; 4],
    /// Probability that this is what the sentence describes, 0..1; none from a model without such scores.
    pub score: Option<f32>,
}

/// What was found of one sentence on one picture.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Findings {
    /// Probability that what the sentence describes is in the picture, 0..1; none from a model that cannot tell.
    pub presence: Option<f32>,
    /// Best first. A model that always answers with one box has one here, also where presence is low.
    pub found: Vec<Finding>,
}

impl Findings {
    /// The best one.
    pub fn best(&self) -> Option<&Finding> {
        self.found.first()
    }
}
