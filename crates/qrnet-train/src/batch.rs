//! From examples to the model's input and the targets of the losses.

use std::sync::Arc;

use blocks::canvas::Canvas;
use blocks::preprocess::{Letterboxed, Letterboxer};
use blocks::text::tokenizer::QueryTokenizer;
use candle_core::{Device, Tensor};
use qrnet::plan::CanvasPlan;
use rand_chacha::ChaCha8Rng;

use crate::augment::{Augment, Sample};
use crate::boxes::CxCyWh;
use crate::data::{Example, Labels};
use crate::error::{Error, Result};

/// A class that is not known: its cell takes part in no loss.
pub const UNLABELLED: u16 = u16::MAX;

/// One batch, still in plain memory, so that threads can make it.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The canvas of all its pictures.
    pub canvas: Canvas,
    /// The pictures on their canvas.
    pub pictures: Vec<Letterboxed>,
    /// `[B, L]`, row-major.
    pub ids: Vec<u32>,
    /// `[B, L]`, 1 = padding.
    pub text_ignore: Vec<u8>,
    /// Boxes in 0..1 of the canvas; none where the object is absent.
    pub targets: Vec<Option<CxCyWh>>,
    /// Class of what covers every cell's centre, by level of [`LABEL_LEVELS`], `[B, N]`: 0 is the background.
    pub classes: [Vec<u16>; 3],
    /// Its colour; 0 where it has none.
    pub colours: [Vec<u16>; 3],
    /// The phrases as they were encoded.
    pub phrases: Vec<String>,
}

/// Levels of the neck whose cells carry labels: strides 8, 16 and 32.
pub const LABEL_LEVELS: [usize; 3] = [1, 2, 3];

/// Turns examples into batches for one model.
pub struct Collator<'a> {
    plans: &'a [CanvasPlan],
    /// The one of them that batches are made for.
    plan: &'a CanvasPlan,
    tokenizer: &'a QueryTokenizer,
    letterboxer: Letterboxer,
}

impl<'a> Collator<'a> {
    /// For a canvas and a vocabulary.
    pub fn new(plan: &'a CanvasPlan, tokenizer: &'a QueryTokenizer) -> Self {
        Self { plans: std::slice::from_ref(plan), plan, tokenizer, letterboxer: Letterboxer::default() }
    }

    /// For several canvases, of which the first is taken until [`Collator::turn_to`] names another.
    ///
    /// # Errors
    /// There is none.
    pub fn with_plans(plans: &'a [CanvasPlan], tokenizer: &'a QueryTokenizer) -> Result<Self> {
        let plan = plans.first().ok_or_else(|| Error::Unsupported("batches for no canvas, expected one".into()))?;
        Ok(Self { plans, plan, tokenizer, letterboxer: Letterboxer::default() })
    }

    /// Makes the batches that follow for `canvas`.
    ///
    /// # Errors
    /// There is no plan for it.
    pub fn turn_to(&mut self, canvas: Canvas) -> Result<()> {
        let found = self.plans.iter().find(|plan| plan.canvas() == canvas);
        self.plan = found.ok_or_else(|| {
            let known: Vec<String> = self.plans.iter().map(|plan| plan.canvas().to_string()).collect();
            Error::Unsupported(format!("no plan for canvas {canvas}, expected one of {}", known.join(", ")))
        })?;
        Ok(())
    }

    /// Pictures as they are, letterboxed.
    ///
    /// # Errors
    /// A phrase that holds no known word, or a picture without pixels.
    pub fn collate(&mut self, examples: &[Example]) -> Result<Prepared> {
        let mut batch = Prepared::empty(self.plan.canvas());
        for example in examples {
            let picture = self.letterboxer.letterbox(&example.picture.view()?, self.plan.canvas())?;
            let target = example.target.map(|rect| picture.transform.to_target(&rect));
            self.add(&mut batch, &example.phrase, target, example.labels.as_deref(), picture)?;
        }
        Ok(batch)
    }

    /// Pictures changed at random, each by a generator of its own that `rng` gives for its number in the batch. Of
    /// every `questions` neighbours those that share the picture of the first share its change too.
    ///
    /// # Errors
    /// As [`Collator::collate`].
    pub fn augment(
        &mut self,
        examples: &[Example],
        augment: &Augment,
        questions: usize,
        rng: impl Fn(usize) -> ChaCha8Rng,
    ) -> Result<Prepared> {
        let mut batch = Prepared::empty(self.plan.canvas());
        let mut next = 0;
        for group in examples.chunks(questions.max(1)) {
            let mut rest = group;
            while let [first, others @ ..] = rest {
                let same = others.iter().take_while(|other| Arc::ptr_eq(&other.picture, &first.picture)).count();
                let sample = Sample::with_others(first, &others[..same]);
                self.add_changed(&mut batch, augment, sample, &mut rng(next))?;
                next += 1 + same;
                rest = &others[same..];
            }
        }
        Ok(batch)
    }

    fn add_changed(
        &mut self,
        batch: &mut Prepared,
        augment: &Augment,
        sample: Sample,
        rng: &mut ChaCha8Rng,
    ) -> Result<()> {
        let changed = augment.apply_all(sample, self.plan.canvas(), rng, &mut self.letterboxer)?;
        let picture = changed.letterbox(&mut self.letterboxer, Vec::new())?;
        let labels = changed.sample.labels.as_deref();
        let pictures = std::iter::repeat_n(picture, 1 + changed.sample.others.len());
        changed
            .questions()
            .zip(pictures)
            .try_for_each(|((phrase, target), picture)| self.add(batch, phrase, target, labels, picture))
    }

    fn add(
        &self,
        batch: &mut Prepared,
        phrase: &str,
        target: Option<[f64; 4]>,
        labels: Option<&Labels>,
        picture: Letterboxed,
    ) -> Result<()> {
        let encoded = self.tokenizer.encode(phrase)?;
        let (ids, ignore) = self.tokenizer.pad_to_length(&encoded.ids);
        batch.ids.extend(ids);
        batch.text_ignore.extend(ignore);
        batch.targets.push(target.map(|target| target.map(|v| v as f32)));
        self.label(labels, &picture, batch);
        batch.pictures.push(picture);
        batch.phrases.push(phrase.to_owned());
        Ok(())
    }

    fn label(&self, labels: Option<&Labels>, picture: &Letterboxed, batch: &mut Prepared) {
        let transform = &picture.transform;
        for (slot, level) in LABEL_LEVELS.into_iter().enumerate() {
            let (grid, stride) = (self.plan.level(level), self.plan.stride(level));
            for cell in 0..grid.len() {
                let (x, y) = (cell % grid.w * stride + stride / 2, cell / grid.w * stride + stride / 2);
                let (class, colour) = match labels {
                    None => (UNLABELLED, 0),
                    Some(_) if !transform.shows(x, y) => (0, 0),
                    Some(labels) => {
                        let (w, h) = transform.grounded;
                        let px = ((x - transform.left) * w / transform.resized.0).min(w - 1);
                        let py = ((y - transform.top) * h / transform.resized.1).min(h - 1);
                        match labels.instance[py * w + px] {
                            0 => (0, 0),
                            instance => {
                                let object = labels.objects[usize::from(instance) - 1];
                                (object.class, object.colour)
                            }
                        }
                    }
                };
                batch.classes[slot].push(class);
                batch.colours[slot].push(colour);
            }
        }
    }
}

/// A batch's tensors. Neighbours with the same picture share it: of `B` questions there are `P` pictures.
pub struct Inputs {
    /// `[P, 3, H, W]`.
    pub image: Tensor,
    /// `[P, H, W]` u8.
    pub image_ignore: Tensor,
    /// `[B]` u32, the picture of every question; none where every one has its own.
    pub pictures: Option<Tensor>,
    /// `[B, L]` u32.
    pub ids: Tensor,
    /// `[B, L]` u8.
    pub text_ignore: Tensor,
}

impl Inputs {
    /// Of as many pictures as questions, whose pieces are `ids` and their padding `text_ignore`, `[B, L]` both.
    pub(crate) fn new(pictures: &[Letterboxed], ids: &[u32], text_ignore: &[u8], device: &Device) -> Result<Self> {
        let count = pictures.len();
        let (pictures, numbers) = distinct(pictures);
        let shared = pictures.len() < count;
        let shape = (count, ids.len() / count.max(1));
        Ok(Self {
            image: Letterboxed::batch(&pictures, device)?,
            image_ignore: Letterboxed::ignore_batch(&pictures, device)?,
            pictures: shared.then(|| Tensor::new(numbers, device)).transpose()?,
            ids: Tensor::from_slice(ids, shape, device)?,
            text_ignore: Tensor::from_slice(text_ignore, shape, device)?,
        })
    }
}

/// The pictures without those that equal the one before, and every question's number among them.
fn distinct(all: &[Letterboxed]) -> (Vec<&Letterboxed>, Vec<u32>) {
    let mut pictures: Vec<&Letterboxed> = Vec::with_capacity(all.len());
    let mut numbers = Vec::with_capacity(all.len());
    for picture in all {
        let same = |last: &&Letterboxed| last.transform == picture.transform && last.pixels == picture.pixels;
        if !pictures.last().is_some_and(same) {
            pictures.push(picture);
        }
        numbers.push(pictures.len() as u32 - 1);
    }
    (pictures, numbers)
}

impl Prepared {
    /// A batch without examples.
    fn empty(canvas: Canvas) -> Self {
        Self {
            canvas,
            pictures: Vec::new(),
            ids: Vec::new(),
            text_ignore: Vec::new(),
            targets: Vec::new(),
            classes: Default::default(),
            colours: Default::default(),
            phrases: Vec::new(),
        }
    }

    /// Examples.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// # Errors
    /// The device cannot hold them.
    pub fn inputs(&self, device: &Device) -> Result<Inputs> {
        Inputs::new(&self.pictures, &self.ids, &self.text_ignore, device)
    }

    /// The plan of its canvas, of `plans`, which hold it or are of one canvas.
    pub fn plan<'a>(&self, plans: &'a [CanvasPlan]) -> &'a CanvasPlan {
        plans.iter().find(|plan| plan.canvas() == self.canvas).unwrap_or(&plans[0])
    }

    /// Share of every cell of level `level` that the object's box covers, `[B, N]`; 0 where it is absent.
    pub fn coverage(&self, plan: &CanvasPlan, level: usize) -> Vec<f32> {
        let grid = plan.level(level);
        let along = |from: f32, to: f32, cell: usize, cells: usize| {
            let (a, b) = (from * cells as f32, to * cells as f32);
            (b.min(cell as f32 + 1.0) - a.max(cell as f32)).max(0.0)
        };
        let mut shares = Vec::with_capacity(self.len() * grid.len());
        for target in &self.targets {
            match target {
                None => shares.extend(std::iter::repeat_n(0.0, grid.len())),
                Some([cx, cy, w, h]) => shares.extend((0..grid.len()).map(|cell| {
                    along(cx - 0.5 * w, cx + 0.5 * w, cell % grid.w, grid.w)
                        * along(cy - 0.5 * h, cy + 0.5 * h, cell / grid.w, grid.h)
                })),
            }
        }
        shares
    }
}
