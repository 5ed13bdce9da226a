//! A loaded model of any family.

use std::path::Path;

use blocks::canvas::Canvas;
use blocks::error::{Error, Result};
use blocks::findings::{Finding, Findings};
use blocks::preprocess::Letterboxed;
use qrnet::{Grounding, MemoryModel, Placement};

use crate::family::Family;
use crate::query::{CompiledQuery, OfFamily};

/// A model ready to ground.
///
/// Thread-safe; grounding takes `&self`.
pub struct Grounder(Model);

enum Model {
    QrNet(Box<qrnet::Grounder>),
}

impl From<qrnet::Grounder> for Grounder {
    fn from(grounder: qrnet::Grounder) -> Self {
        Self(Model::QrNet(Box::new(grounder)))
    }
}

impl Grounder {
    /// Loads a model directory whole: it can compile queries and ground.
    ///
    /// # Errors
    /// A file is missing, damaged, or contradicts the configuration, or the family is unknown.
    pub fn load(dir: &Path, place: impl Into<Placement>) -> Result<Self> {
        match Family::of(dir)? {
            Family::QrNet => qrnet::Grounder::load(dir, place).map(Into::into),
        }
    }

    /// Loads only what a frame needs. Such a model grounds queries that were compiled before.
    ///
    /// # Errors
    /// As [`Grounder::load`].
    pub fn load_for_frames(dir: &Path, place: impl Into<Placement>) -> Result<Self> {
        match Family::of(dir)? {
            Family::QrNet => qrnet::Grounder::load_for_frames(dir, place).map(Into::into),
        }
    }

    /// Loads a model that lies in memory, as a program carries it within itself.
    ///
    /// # Errors
    /// A part is damaged, or contradicts the configuration.
    pub fn from_memory(model: &MemoryModel, place: impl Into<Placement>) -> Result<Self> {
        qrnet::Grounder::from_memory(model, place).map(Into::into)
    }

    /// The same, of what a frame needs alone, as [`Grounder::load_for_frames`].
    ///
    /// # Errors
    /// As [`Grounder::from_memory`].
    pub fn from_memory_for_frames(model: &MemoryModel, place: impl Into<Placement>) -> Result<Self> {
        qrnet::Grounder::from_memory_for_frames(model, place).map(Into::into)
    }

    /// The canvas that the model was made for.
    pub fn canvas(&self) -> Canvas {
        match &self.0 {
            Model::QrNet(grounder) => grounder.canvas(),
        }
    }

    /// All canvases that it is for, its own first.
    pub fn canvases(&self) -> Vec<Canvas> {
        match &self.0 {
            Model::QrNet(grounder) => grounder.config().all_canvases(),
        }
    }

    /// The canvas that fits a picture of `width` x `height` best, of those that the model is for.
    pub fn canvas_for(&self, width: usize, height: usize) -> Canvas {
        match &self.0 {
            Model::QrNet(grounder) => grounder.canvas_for(width, height),
        }
    }

    /// The digest that compiled queries carry.
    pub fn digest(&self) -> &str {
        match &self.0 {
            Model::QrNet(grounder) => grounder.digest(),
        }
    }

    /// False where the weights are still as drawn from a seed: boxes then mean nothing.
    pub fn trained(&self) -> bool {
        match &self.0 {
            Model::QrNet(grounder) => grounder.trained(),
        }
    }

    /// Whether it can say that something is not in the picture.
    pub fn has_presence(&self) -> bool {
        match &self.0 {
            Model::QrNet(grounder) => grounder.config().presence,
        }
    }

    /// Presence from which on it claims that a thing is there, 0..1; none where it cannot tell.
    pub fn claims_from(&self) -> Option<f32> {
        match &self.0 {
            Model::QrNet(grounder) => grounder.config().claims_from(),
        }
    }

    /// Whether it gives all things that match a sentence, and not the best alone.
    pub fn gives_all(&self) -> bool {
        match &self.0 {
            Model::QrNet(_) => false,
        }
    }

    /// Frees what reads text, once all queries are compiled.
    pub fn drop_text(&mut self) {
        match &mut self.0 {
            Model::QrNet(grounder) => grounder.drop_text(),
        }
    }

    /// Compiles a sentence. What does not fit the model's length, and words it does not know, are warned of.
    ///
    /// # Errors
    /// The sentence is empty or unreadable for the tokenizer, or the model was loaded for frames only.
    pub fn compile(&self, text: &str) -> Result<CompiledQuery> {
        match &self.0 {
            Model::QrNet(grounder) => grounder.compile(text).map(Into::into),
        }
    }

    /// Reads a saved query of this model.
    ///
    /// # Errors
    /// The file is no compiled query, belongs to another model, or holds tensors of other sizes.
    pub fn load_query(&self, path: &Path) -> Result<CompiledQuery> {
        match &self.0 {
            Model::QrNet(grounder) => grounder.load_query(path).map(Into::into),
        }
    }

    /// Asks every query of every picture: findings by picture, then by query. What does not depend on the sentence is
    /// computed once a picture.
    ///
    /// # Errors
    /// A query belongs to another model, a picture is on another canvas, or the device fails.
    pub fn ground(&self, pictures: &[&Letterboxed], queries: &[&CompiledQuery]) -> Result<Vec<Vec<Findings>>> {
        let each: Vec<&[&CompiledQuery]> = vec![queries; pictures.len()];
        self.ground_each(pictures, &each)
    }

    /// Asks of every picture its own queries: findings by picture, then by query.
    ///
    /// # Errors
    /// As [`Grounder::ground`], and where there are not as many lists of queries as pictures.
    pub fn ground_each(&self, pictures: &[&Letterboxed], queries: &[&[&CompiledQuery]]) -> Result<Vec<Vec<Findings>>> {
        if pictures.len() != queries.len() {
            let message = format!("{} lists of queries for {} pictures", queries.len(), pictures.len());
            return Err(Error::Unsupported(message));
        }
        match &self.0 {
            Model::QrNet(grounder) => ground_by_qrnet(grounder, pictures, queries),
        }
    }
}

/// QRNet answers every question with one box, and its presence is that box's score.
fn ground_by_qrnet(
    grounder: &qrnet::Grounder,
    pictures: &[&Letterboxed],
    queries: &[&[&CompiledQuery]],
) -> Result<Vec<Vec<Findings>>> {
    fn own(query: &CompiledQuery) -> &qrnet::CompiledQuery {
        match &query.0 {
            OfFamily::QrNet(query) => query,
        }
    }
    let of = |picture: usize| queries[picture].iter().map(move |_| picture);
    let asked: Vec<usize> = (0..pictures.len()).flat_map(of).collect();
    let each: Vec<&qrnet::CompiledQuery> =
        queries.iter().flat_map(|queries| queries.iter().map(|query| own(query))).collect();
    let same = each.windows(2).all(|pair| std::ptr::eq(pair[0], pair[1]));
    let answers = grounder.ground_questions(pictures, &asked, if same { &each[..each.len().min(1)] } else { &each })?;
    let mut answers = answers.into_iter().map(|Grounding { rect, canvas: on_canvas, presence, .. }| Findings {
        presence,
        found: vec![Finding { rect, on_canvas, score: presence }],
    });
    Ok(queries.iter().map(|queries| answers.by_ref().take(queries.len()).collect()).collect())
}
