//! Measuring a model on a data set: any model that is loaded, or a `QRNet` as it is trained.

use std::cell::RefCell;
use std::collections::HashMap;

use blocks::canvas::Canvas;
use blocks::pass::Pass;
use blocks::preprocess::{Letterboxed, Letterboxer};
use blocks::text::tokenizer::QueryTokenizer;
use candle_core::Device;
use grounding::{CompiledQuery, Findings, Grounder};
use qrnet::plan::CanvasPlan;
use qrnet::{Config, QrNet};

use crate::batch::Inputs;
use crate::boxes::{CxCyWh, iou};
use crate::data::{DataSet, Example};
use crate::error::{Error, Result};
use crate::metrics::{OnFilm, Outcome, Tally};

/// A box in 0..1 of the canvas, and the probability that the object is there.
pub type Answer = (CxCyWh, Option<f32>);

/// Something that answers questions about pictures.
pub trait Answers {
    /// All canvases that it is for, its own first; never none.
    fn canvases(&self) -> Vec<Canvas>;

    /// One answer a question: what `phrases` ask of `pictures`, as many as there are, all on one canvas.
    ///
    /// # Errors
    /// The device fails, or a phrase cannot be read.
    fn answers(&self, pictures: &[Letterboxed], phrases: &[&str]) -> Result<Vec<Answer>>;

    /// From this presence on an answer claims that the object is there; none where every answer does.
    fn claims_from(&self) -> Option<f32>;
}

/// The plain forward pass, as in training.
pub struct Plain<'a> {
    /// The model.
    pub model: &'a QrNet,
    /// Its sizes.
    pub config: &'a Config,
    /// Its words.
    pub tokenizer: &'a QueryTokenizer,
    /// Its canvases.
    pub plans: &'a [CanvasPlan],
    /// Where it runs.
    pub device: &'a Device,
}

impl Answers for Plain<'_> {
    fn canvases(&self) -> Vec<Canvas> {
        self.plans.iter().map(CanvasPlan::canvas).collect()
    }

    fn answers(&self, pictures: &[Letterboxed], phrases: &[&str]) -> Result<Vec<Answer>> {
        let (mut ids, mut ignore) = (Vec::new(), Vec::new());
        for phrase in phrases {
            let (own, padding) = self.tokenizer.pad_to_length(&self.tokenizer.encode(phrase)?.ids);
            ids.extend(own);
            ignore.extend(padding);
        }
        let inputs = Inputs::new(pictures, &ids, &ignore, self.device)?;
        let canvas = pictures.first().map(|picture| picture.transform.canvas);
        let plan = self.plans.iter().find(|plan| Some(plan.canvas()) == canvas);
        let plan = plan.ok_or_else(|| Error::Unsupported("pictures on a canvas that the model is not for".into()))?;
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

/// A loaded model of any family, as in streaming: every phrase compiled, then its picture grounded, a question at a time.
pub struct Compiled<'a> {
    grounder: &'a Grounder,
    /// What was asked last: a film asks the same of every frame.
    known: RefCell<HashMap<String, CompiledQuery>>,
}

impl<'a> Compiled<'a> {
    /// Measures `grounder`.
    pub fn new(grounder: &'a Grounder) -> Self {
        Self { grounder, known: RefCell::default() }
    }
}

impl Answers for Compiled<'_> {
    fn canvases(&self) -> Vec<Canvas> {
        self.grounder.canvases()
    }

    fn answers(&self, pictures: &[Letterboxed], phrases: &[&str]) -> Result<Vec<Answer>> {
        let mut known = self.known.borrow_mut();
        known.retain(|phrase, _| phrases.contains(&phrase.as_str()));
        for phrase in phrases {
            if !known.contains_key(*phrase) {
                known.insert((*phrase).to_owned(), self.grounder.compile(phrase)?);
            }
        }
        let pictures: Vec<&Letterboxed> = pictures.iter().collect();
        let asked: Vec<[&CompiledQuery; 1]> = phrases.iter().map(|phrase| [&known[*phrase]]).collect();
        let asked: Vec<&[&CompiledQuery]> = asked.iter().map(<[_; 1]>::as_slice).collect();
        let found = self.grounder.ground_each(&pictures, &asked)?;
        // A model that found nothing at all answers with an empty box.
        let answer = |findings: &Findings| (findings.best().map_or([0.0; 4], |best| best.on_canvas), findings.presence);
        Ok(found.iter().flatten().map(answer).collect())
    }

    fn claims_from(&self) -> Option<f32> {
        self.grounder.claims_from()
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
    answer: Answer,
}

/// Questions that are answered at once.
const BATCH: usize = 32;
/// Pixels of their canvases together, at most: 32 of 640x640.
const PIXELS: usize = BATCH * 640 * 640;

/// Answers to `examples`, in their order, each on the canvas that fits its picture.
fn answer<'a>(
    model: &dyn Answers,
    canvases: &[Canvas],
    examples: &'a [Example],
    letterboxer: &mut Letterboxer,
) -> Result<Vec<Answered<'a>>> {
    let mut all: Vec<Option<Answered>> = examples.iter().map(|_| None).collect();
    let canvas = |example: &Example| {
        let (width, height) = (example.picture.width, example.picture.height);
        Canvas::fitting(canvases, width, height).unwrap_or(canvases[0])
    };
    while let Some(first) = all.iter().position(Option::is_none) {
        let own = canvas(&examples[first]);
        let together: Vec<usize> = (first..examples.len()).filter(|&i| canvas(&examples[i]) == own).collect();
        let boxed = |&i: &usize| Ok(letterboxer.letterbox(&examples[i].picture.view()?, own)?);
        let pictures: Vec<Letterboxed> = together.iter().map(boxed).collect::<Result<_>>()?;
        let phrases: Vec<&str> = together.iter().map(|&i| examples[i].phrase.as_str()).collect();
        let answers = model.answers(&pictures, &phrases)?;
        for ((i, answer), picture) in together.into_iter().zip(answers).zip(pictures) {
            all[i] = Some(Answered { example: &examples[i], picture, answer });
        }
    }
    Ok(all.into_iter().flatten().collect())
}

/// Measures `model` on the first `count` examples of `data`; `seen` gets every one of them.
///
/// # Errors
/// An example cannot be read, or the model fails.
pub fn evaluate(model: &dyn Answers, data: &dyn DataSet, count: usize, mut seen: impl FnMut(&Seen)) -> Result<Tally> {
    let count = count.min(data.len());
    let mut tally = Tally::default();
    let least = model.claims_from();
    let canvases = model.canvases();
    let largest = canvases.iter().map(|canvas| canvas.width * canvas.height).max();
    let largest = largest.ok_or_else(|| Error::Unsupported("a model for no canvas, expected one".into()))?;
    let batch = (PIXELS / largest.max(1)).clamp(1, BATCH);
    let mut letterboxer = Letterboxer::default();
    for first in (0..count).step_by(batch) {
        let examples = data.examples(first..(first + batch).min(count))?;
        for (index, answered) in (first..).zip(answer(model, &canvases, &examples, &mut letterboxer)?) {
            let (example, picture, (answer, presence)) = (answered.example, &answered.picture, answered.answer);
            let target = example.target.map(|rect| picture.transform.to_target(&rect).map(|v| v as f32));
            let overlap = target.map(|target| iou(answer, target));
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
