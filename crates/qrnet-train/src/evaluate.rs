//! Measuring a model on a data set, by the plain pass or the compiled one.

use candle_core::Device;
use qrnet::pass::Pass;
use qrnet::plan::CanvasPlan;
use qrnet::preprocess::Letterboxed;
use qrnet::{Grounder, QrNet};

use crate::batch::{Collator, Prepared};
use crate::boxes::{CxCyWh, iou};
use crate::data::{DataSet, Example};
use crate::error::Result;
use crate::metrics::{OnFilm, Outcome, Tally};

/// A box in 0..1 of the canvas, and the probability that the object is there.
pub type Answer = (CxCyWh, Option<f32>);

/// Something that answers batches.
pub trait Answers {
    /// One answer an example.
    ///
    /// # Errors
    /// The device fails, or a phrase cannot be read.
    fn answers(&self, batch: &Prepared) -> Result<Vec<Answer>>;
}

/// The plain forward pass, as in training.
pub struct Plain<'a> {
    /// The model.
    pub model: &'a QrNet,
    /// Its canvas.
    pub plan: &'a CanvasPlan,
    /// Where it runs.
    pub device: &'a Device,
}

impl Answers for Plain<'_> {
    fn answers(&self, batch: &Prepared) -> Result<Vec<Answer>> {
        let inputs = batch.inputs(self.device)?;
        let pass = &mut Pass::eval();
        let query = self.model.query.encode(&inputs.ids, &inputs.text_ignore, pass)?;
        let (frame, pictures) = (&self.model.frame, inputs.pictures.as_ref());
        let output = frame.forward(&inputs.image, &inputs.image_ignore, &query, pictures, self.plan, pass)?;
        let boxes: Vec<Vec<f32>> = output.boxes.to_vec2()?;
        let features: f32 = output.reg.abs()?.sum_all()?.to_scalar()?;
        if !features.is_finite() {
            return Err(qrnet::Error::NotFinite.into());
        }
        let logits: Option<Vec<f32>> = output.presence.map(|logits| logits.to_vec1()).transpose()?;
        Ok(boxes
            .iter()
            .enumerate()
            .map(|(i, b)| {
                let raw = [b[0], b[1], b[2], b[3]];
                (self.plan.box_to_canvas(raw), logits.as_ref().map(|l| 1.0 / (1.0 + (-l[i]).exp())))
            })
            .collect())
    }
}

/// The compiled pass, as in streaming: every phrase compiled, then its picture grounded.
pub struct Compiled<'a>(pub &'a Grounder);

impl Answers for Compiled<'_> {
    fn answers(&self, batch: &Prepared) -> Result<Vec<Answer>> {
        let queries = batch.phrases.iter().map(|phrase| self.0.compile(phrase)).collect::<qrnet::Result<Vec<_>>>()?;
        let pictures: Vec<&Letterboxed> = batch.pictures.iter().collect();
        let found = self.0.ground_each(&pictures, &queries.iter().collect::<Vec<_>>())?;
        Ok(found.iter().map(|grounding| (self.0.plan().box_to_canvas(grounding.raw), grounding.presence)).collect())
    }
}

/// An example, what was answered, and how far the two agree.
pub struct Seen<'a> {
    /// The example.
    pub example: &'a Example,
    /// Its picture on the canvas.
    pub picture: &'a Letterboxed,
    /// The answered box.
    pub answer: CxCyWh,
    /// The answered probability that the object is there.
    pub presence: Option<f32>,
    /// Overlap with the true box; none where the object is not there.
    pub overlap: Option<f32>,
}

/// From this presence on an answer claims that the object is there.
pub const THRESHOLD: f32 = 0.5;

/// Measures `model` on the first `count` examples of `data`; `seen` gets every one of them.
///
/// # Errors
/// An example cannot be read, or the model fails.
pub fn evaluate(
    model: &dyn Answers,
    data: &dyn DataSet,
    collator: &mut Collator,
    count: usize,
    mut seen: impl FnMut(&Seen),
) -> Result<Tally> {
    const BATCH: usize = 32;
    let count = count.min(data.len());
    let mut tally = Tally::default();
    for first in (0..count).step_by(BATCH) {
        let examples = data.examples(first..(first + BATCH).min(count))?;
        let batch = collator.collate(&examples)?;
        let answers = model.answers(&batch)?;
        for (i, (example, (answer, presence))) in examples.iter().zip(answers).enumerate() {
            let overlap = batch.targets[i].map(|target| iou(answer, target));
            tally.push(Outcome {
                source: example.source.clone(),
                kind: example.kind.clone(),
                present: overlap.is_some(),
                iou: overlap,
                presence,
                here: Some(presence.is_none_or(|presence| presence >= THRESHOLD)),
                film: example.moment.map(|moment| OnFilm {
                    moment,
                    phrase: example.phrase.as_str().into(),
                    truth: example.target,
                    answer: Some(batch.pictures[i].transform.from_target(answer.map(f64::from))),
                }),
            });
            seen(&Seen { example, picture: &batch.pictures[i], answer, presence, overlap });
        }
    }
    Ok(tally)
}
