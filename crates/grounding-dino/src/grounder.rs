//! The crate's front door: load a model, compile sentences, ground pictures.

use std::path::Path;

use blocks::canvas::Canvas;
use blocks::error::{Error, Result};
use blocks::findings::{Finding, Findings};
use blocks::preprocess::{Letterboxed, Letterboxer, Rect, RgbView, Transform};
use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;

use crate::compiler::QueryCompiler;
use crate::config::Config;
use crate::decoder::sigmoid;
use crate::frame_side::FrameSide;
use crate::model::Detected;
use crate::model_dir::ModelDir;
use crate::preprocess::Sizing;
use crate::query::CompiledQuery;
use crate::text::{FRAMING, Text, spans};
use crate::view::View;
use crate::weights::{Part, Weights};

/// Boxes that score below are not given, but for the best.
pub const LEAST: f32 = 0.05;
/// From which score on the reference claims a thing, unless it is told otherwise. No probability: these models are not
/// calibrated.
pub const CLAIMS_FROM: f32 = 0.25;

/// A model ready to ground.
///
/// Thread-safe; grounding takes `&self`.
pub struct Grounder {
    config: Config,
    digest: String,
    sizing: Sizing,
    canvas: Option<Canvas>,
    device: Device,
    frame: FrameSide,
    text: Option<QueryCompiler>,
}

impl Grounder {
    /// Loads a model directory whole: it can compile queries and ground.
    ///
    /// # Errors
    /// A file is missing, damaged, or contradicts the configuration.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        Self::load_parts(dir, device, &[Part::Frame, Part::Text])
    }

    /// Loads only what a frame needs. Such a model grounds queries that were compiled before.
    ///
    /// # Errors
    /// As [`Grounder::load`].
    pub fn load_for_frames(dir: &Path, device: &Device) -> Result<Self> {
        Self::load_parts(dir, device, &[Part::Frame])
    }

    /// The same of weights that lie elsewhere, by the file's names. `digest` names them in compiled queries.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn for_frames(config: &Config, sizing: Sizing, digest: String, vb: &VarBuilder) -> Result<Self> {
        let (config, device) = (config.clone(), vb.device().clone());
        let frame = FrameSide::new(&config, vb)?;
        Ok(Self { config, digest, sizing, canvas: None, device, frame, text: None })
    }

    fn load_parts(dir: &Path, device: &Device, parts: &[Part]) -> Result<Self> {
        let dir = ModelDir::open(dir)?;
        let weights = Weights::open(dir.path())?;
        parts.iter().try_for_each(|part| weights.check(dir.config(), *part))?;
        let (vb, digest) = (weights.into_builder(device), dir.digest()?);
        let mut grounder = Self::for_frames(dir.config(), dir.sizing(), digest.clone(), &vb)?;
        grounder.text = parts.contains(&Part::Text).then(|| QueryCompiler::new(&dir, &vb, digest)).transpose()?;
        Ok(grounder)
    }

    /// Sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How large pictures go in where no canvas is wanted.
    pub fn sizing(&self) -> Sizing {
        self.sizing
    }

    /// The same with pictures fitted into `canvas`, which need be no multiple of anything. A smaller one costs less, and finds
    /// less of what is small.
    #[must_use]
    pub fn with_canvas(mut self, canvas: Canvas) -> Self {
        self.canvas = Some(canvas);
        self
    }

    /// All canvases that it is for: the one that was wanted, or those in which pictures are as large as the reference would have
    /// them.
    pub fn canvases(&self) -> Vec<Canvas> {
        self.canvas.map_or_else(|| self.sizing.canvases(), |canvas| vec![canvas])
    }

    /// The first of [`Grounder::canvases`], for wide pictures.
    pub fn canvas(&self) -> Canvas {
        self.canvases()[0]
    }

    /// The canvas that fits a picture of `width` x `height` best.
    pub fn canvas_for(&self, width: usize, height: usize) -> Canvas {
        Canvas::fitting(&self.canvases(), width, height).unwrap_or_else(|| self.canvas())
    }

    /// A picture exactly as the checkpoint's own preprocessing brings it in. A letterbox of any canvas does too: its padding
    /// is cut away.
    ///
    /// # Errors
    /// A picture without pixels.
    pub fn bring_in(&self, letterboxer: &mut Letterboxer, picture: &RgbView) -> Result<Letterboxed> {
        letterboxer.place(picture, self.sizing.place(picture.width(), picture.height()), Vec::new())
    }

    /// The digest that compiled queries carry.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Frees the text tower once all queries are compiled.
    pub fn drop_text(&mut self) {
        self.text = None;
    }

    /// The half that reads text.
    ///
    /// # Errors
    /// The model was loaded for frames only.
    pub fn compiler(&self) -> Result<&QueryCompiler> {
        let missing = "this model was loaded for frames only and cannot compile a query";
        self.text.as_ref().ok_or_else(|| Error::Unsupported(missing.into()))
    }

    /// Compiles a sentence. What does not fit the model's length, and words it does not know, are warned of.
    ///
    /// # Errors
    /// As [`Grounder::compiler`] and [`QueryCompiler::compile`].
    pub fn compile(&self, text: &str) -> Result<CompiledQuery> {
        self.compiler()?.compile(text)
    }

    /// Reads a saved query of this model.
    ///
    /// # Errors
    /// As [`CompiledQuery::load`].
    pub fn load_query(&self, path: &Path) -> Result<CompiledQuery> {
        CompiledQuery::load(path, &self.config, &self.digest, &self.device)
    }

    /// Queries side by side, as one pass reads them.
    ///
    /// # Errors
    /// There are none, they belong to different models, or the device fails.
    pub fn text_of(&self, queries: &[&CompiledQuery]) -> Result<Text> {
        let first = queries.first().ok_or_else(|| Error::Unsupported("a text without queries".into()))?;
        let own: Vec<(&[u32], &Tensor)> = queries.iter().map(|query| (query.ids(), &query.tokens)).collect();
        Ok(Text::new(&first.framing, &own)?)
    }

    /// Asks of every picture its own queries: findings by picture, then by query. Queries of one picture go through the
    /// model together as long as its text has room; more of them take another pass over the picture's features.
    ///
    /// # Errors
    /// A query belongs to another model, there are not as many lists of queries as pictures, or the device fails.
    pub fn ground_each(&self, pictures: &[&Letterboxed], queries: &[&[&CompiledQuery]]) -> Result<Vec<Vec<Findings>>> {
        if pictures.len() != queries.len() {
            let message = format!("{} lists of queries for {} pictures", queries.len(), pictures.len());
            return Err(Error::Unsupported(message));
        }
        if let Some(foreign) = queries.iter().copied().flatten().find(|query| query.model() != self.digest) {
            return Err(Error::foreign_query(None, foreign.model(), &self.digest));
        }
        pictures.iter().zip(queries).map(|(picture, queries)| self.ground_one(picture, queries)).collect()
    }

    fn ground_one(&self, picture: &Letterboxed, queries: &[&CompiledQuery]) -> Result<Vec<Findings>> {
        if queries.is_empty() {
            return Ok(Vec::new());
        }
        let runs = self.passes(queries);
        let texts = runs.iter().map(|run| run.iter().map(|query| query.tokens.id()).collect()).collect();
        let text = |number: usize| self.text_of(runs[number]);
        let (mut findings, mut finite) = (Vec::with_capacity(queries.len()), true);
        self.frame.ground(View::new(picture)?, texts, text, &self.device, &mut |number, detected| {
            finite &= detected.is_finite();
            let spans = spans(runs[number].iter().map(|query| query.ids()));
            findings.extend(spans.map(|span| found(detected, &span, &picture.transform)));
        })?;
        if finite { Ok(findings) } else { Err(Error::NotFinite) }
    }

    /// Queries in runs that fit the model's text.
    fn passes<'a, 'q>(&self, queries: &'a [&'q CompiledQuery]) -> Vec<&'a [&'q CompiledQuery]> {
        let room = self.config.max_text_len - FRAMING.len();
        let (mut runs, mut first, mut taken) = (Vec::new(), 0, 0);
        for (number, query) in queries.iter().enumerate() {
            if taken + query.ids().len() > room && number > first {
                runs.push(&queries[first..number]);
                (first, taken) = (number, 0);
            }
            taken += query.ids().len();
        }
        runs.push(&queries[first..]);
        runs
    }
}

/// Boxes of one query: a box scores as the best of the query's words does.
fn found(detected: &Detected, span: &[usize], transform: &Transform) -> Findings {
    let score = |logits: &[f32]| sigmoid(span.iter().map(|&word| logits[word]).fold(f32::NEG_INFINITY, f32::max));
    let mut all: Vec<(f32, [f32; 4])> = detected.rows().map(score).zip(detected.boxes.iter().copied()).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let kept = all.iter().take_while(|(score, _)| *score >= LEAST).count().max(1);
    all.truncate(kept);
    let found: Vec<Finding> = all.into_iter().map(|(score, own)| finding(score, own, transform)).collect();
    Findings { presence: found.first().and_then(|best| best.score), found }
}

/// A box in shares of the picture, in pixels of it and in shares of its canvas.
fn finding(score: f32, own: [f32; 4], transform: &Transform) -> Finding {
    let (width, height) = (transform.grounded.0 as f64, transform.grounded.1 as f64);
    let [x, y, w, h] = own.map(f64::from);
    let rect = Rect {
        x0: (x - 0.5 * w) * width,
        y0: (y - 0.5 * h) * height,
        x1: (x + 0.5 * w) * width,
        y1: (y + 0.5 * h) * height,
    };
    let Transform { canvas, resized, left, top, .. } = transform;
    let (across, down) = (resized.0 as f64 / canvas.width as f64, resized.1 as f64 / canvas.height as f64);
    let (left, top) = (*left as f64 / canvas.width as f64, *top as f64 / canvas.height as f64);
    let on_canvas = [x * across + left, y * down + top, w * across, h * down].map(|value| value as f32);
    Finding { rect: rect.clipped(width, height), on_canvas, score: Some(score) }
}
