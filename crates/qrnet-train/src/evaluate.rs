//! Measuring a model on a data set, by the plain pass or the compiled one.

use blocks::pass::Pass;
use blocks::preprocess::Letterboxed;
use candle_core::Device;
use grounding::{CompiledQuery, Findings, Grounder};
use qrnet::plan::CanvasPlan;
use qrnet::{Config, QrNet};

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

    /// From this presence on an answer claims that the object is there; none where every answer does.
    fn claims_from(&self) -> Option<f32>;
}

/// The plain forward pass, as in training.
pub struct Plain<'a> {
    /// The model.
    pub model: &'a QrNet,
    /// Its sizes.
    pub config: &'a Config,
    /// Its canvases.
    pub plans: &'a [CanvasPlan],
    /// Where it runs.
    pub device: &'a Device,
}

impl Answers for Plain<'_> {
    fn answers(&self, batch: &Prepared) -> Result<Vec<Answer>> {
        let inputs = batch.inputs(self.device)?;
        let plan = batch.plan(self.plans);
        let pass = &mut Pass::eval();
        let query = self.model.query.encode(&inputs.ids, &inputs.text_ignore, pass)?;
        let (frame, pictures) = (&self.model.frame, inputs.pictures.as_ref());
        let output = frame.forward(&inputs.image, &inputs.image_ignore, &query, pictures, plan, pass)?;
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
                (plan.box_to_canvas(raw), logits.as_ref().map(|l| 1.0 / (1.0 + (-l[i]).exp())))
            })
            .collect())
    }

    fn claims_from(&self) -> Option<f32> {
        self.config.claims_from()
    }
}

/// The compiled pass, as in streaming: every phrase compiled, then its picture grounded.
pub struct Compiled<'a>(pub &'a Grounder);

impl Answers for Compiled<'_> {
    fn answers(&self, batch: &Prepared) -> Result<Vec<Answer>> {
        let queries =
            batch.phrases.iter().map(|phrase| self.0.compile(phrase)).collect::<grounding::Result<Vec<_>>>()?;
        let pictures: Vec<&Letterboxed> = batch.pictures.iter().collect();
        let asked: Vec<[&CompiledQuery; 1]> = queries.iter().map(|query| [query]).collect();
        let asked: Vec<&[&CompiledQuery]> = asked.iter().map(<[_; 1]>::as_slice).collect();
        let found = self.0.ground_each(&pictures, &asked)?;
        // A model that found nothing at all answers with an empty box.
        let answer = |findings: &Findings| (findings.best().map_or([0.0; 4], |best| best.on_canvas), findings.presence);
        Ok(found.iter().flatten().map(answer).collect())
    }

    fn claims_from(&self) -> Option<f32> {
        self.0.claims_from()
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
    /// Whether the answer claims that the object is there.
    pub here: bool,
    /// Overlap with the true box; none where the object is not there.
    pub overlap: Option<f32>,
}

struct Answered<'a> {
    example: &'a Example,
    picture: Letterboxed,
    target: Option<CxCyWh>,
    answer: Answer,
}

/// Answers to `examples`, in their order, each on the canvas that fits its picture.
fn answer<'a>(model: &dyn Answers, examples: &'a [Example], collator: &mut Collator) -> Result<Vec<Answered<'a>>> {
    let mut all: Vec<Option<Answered>> = examples.iter().map(|_| None).collect();
    while let Some(first) = all.iter().position(Option::is_none) {
        let canvas = |i: usize| collator.canvas_for(examples[i].picture.width, examples[i].picture.height);
        let own = canvas(first);
        let together: Vec<usize> = (first..examples.len()).filter(|&i| canvas(i) == own).collect();
        collator.turn_to(own)?;
        let batch = collator.collate(&together.iter().map(|&i| examples[i].clone()).collect::<Vec<_>>())?;
        let answers = model.answers(&batch)?;
        let pictures = batch.pictures.into_iter().zip(batch.targets);
        for ((i, answer), (picture, target)) in together.into_iter().zip(answers).zip(pictures) {
            all[i] = Some(Answered { example: &examples[i], picture, target, answer });
        }
    }
    Ok(all.into_iter().flatten().collect())
}

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
    let least = model.claims_from();
    for first in (0..count).step_by(BATCH) {
        let examples = data.examples(first..(first + BATCH).min(count))?;
        for (index, answered) in (first..).zip(answer(model, &examples, collator)?) {
            let (example, picture, (answer, presence)) = (answered.example, &answered.picture, answered.answer);
            let overlap = answered.target.map(|target| iou(answer, target));
            let here = presence.zip(least).is_none_or(|(presence, least)| presence >= least);
            tally.push(Outcome {
                source: example.source.clone(),
                kind: example.kind.clone(),
                thing: data.thing(index),
                present: overlap.is_some(),
                iou: overlap,
                presence,
                here: Some(here),
                film: example.moment.map(|moment| OnFilm {
                    moment,
                    phrase: example.phrase.as_str().into(),
                    truth: example.target,
                    answer: Some(picture.transform.from_target(answer.map(f64::from))),
                    things: None,
                }),
            });
            seen(&Seen { example, picture, answer, presence, here, overlap });
        }
    }
    Ok(tally)
}
