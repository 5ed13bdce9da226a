//! A loaded model of any family.

use std::path::Path;

use blocks::canvas::Canvas;
use blocks::error::{Error, Result};
use blocks::findings::{Finding, Findings};
use blocks::preprocess::Letterboxed;
use candle_core::Device;
use qrnet::{Grounding, MemoryModel, Placement, Precision};

use crate::calibration::Calibration;
use crate::family::Family;
use crate::query::{CompiledQuery, OfFamily};

/// A model ready to ground.
///
/// Thread-safe; grounding takes `&self`.
pub struct Grounder {
    model: Model,
    /// Of a family whose scores are no probabilities.
    calibration: Option<Calibration>,
}

enum Model {
    QrNet(Box<qrnet::Grounder>),
    GroundingDino(Box<grounding_dino::Grounder>),
}

impl From<qrnet::Grounder> for Grounder {
    fn from(grounder: qrnet::Grounder) -> Self {
        Self { model: Model::QrNet(Box::new(grounder)), calibration: None }
    }
}

impl From<grounding_dino::Grounder> for Grounder {
    fn from(grounder: grounding_dino::Grounder) -> Self {
        Self { model: Model::GroundingDino(Box::new(grounder)), calibration: None }
    }
}

impl Grounder {
    /// Loads a model directory whole: it can compile queries and ground.
    ///
    /// # Errors
    /// A file is missing, damaged, or contradicts the configuration, the family is unknown, or its calibration is another
    /// model's.
    pub fn load(dir: &Path, place: impl Into<Placement>) -> Result<Self> {
        Self::load_uncalibrated(dir, place)?.calibrated(dir)
    }

    /// The same with scores as the model itself gives them, whatever calibration lies beside it.
    ///
    /// # Errors
    /// As [`Grounder::load`].
    pub fn load_uncalibrated(dir: &Path, place: impl Into<Placement>) -> Result<Self> {
        match Family::of(dir)? {
            Family::QrNet => qrnet::Grounder::load(dir, place).map(Into::into),
            Family::GroundingDino => grounding_dino::Grounder::load(dir, &in_f32(place)?).map(Into::into),
        }
    }

    /// Loads only what a frame needs. Such a model grounds queries that were compiled before.
    ///
    /// # Errors
    /// As [`Grounder::load`].
    pub fn load_for_frames(dir: &Path, place: impl Into<Placement>) -> Result<Self> {
        let grounder: Self = match Family::of(dir)? {
            Family::QrNet => qrnet::Grounder::load_for_frames(dir, place)?.into(),
            Family::GroundingDino => grounding_dino::Grounder::load_for_frames(dir, &in_f32(place)?)?.into(),
        };
        grounder.calibrated(dir)
    }

    /// The same with the calibration in `dir`, where its scores want one.
    fn calibrated(mut self, dir: &Path) -> Result<Self> {
        if let Model::GroundingDino(grounder) = &self.model {
            self.calibration = Calibration::of(dir, grounder.digest())?;
        }
        Ok(self)
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
        match &self.model {
            Model::QrNet(grounder) => grounder.canvas(),
            Model::GroundingDino(grounder) => grounder.canvas(),
        }
    }

    /// All canvases that it is for, its own first.
    pub fn canvases(&self) -> Vec<Canvas> {
        match &self.model {
            Model::QrNet(grounder) => grounder.config().all_canvases(),
            Model::GroundingDino(grounder) => grounder.canvases(),
        }
    }

    /// The canvas that fits a picture of `width` x `height` best, of those that the model is for.
    pub fn canvas_for(&self, width: usize, height: usize) -> Canvas {
        match &self.model {
            Model::QrNet(grounder) => grounder.canvas_for(width, height),
            Model::GroundingDino(grounder) => grounder.canvas_for(width, height),
        }
    }

    /// The digest that compiled queries carry.
    pub fn digest(&self) -> &str {
        match &self.model {
            Model::QrNet(grounder) => grounder.digest(),
            Model::GroundingDino(grounder) => grounder.digest(),
        }
    }

    /// False where the weights are still as drawn from a seed: boxes then mean nothing.
    pub fn trained(&self) -> bool {
        match &self.model {
            Model::QrNet(grounder) => grounder.trained(),
            Model::GroundingDino(_) => true,
        }
    }

    /// Whether it can say that something is not in the picture. Grounding DINO's presence is the best box's score, and no
    /// probability before that is calibrated.
    pub fn has_presence(&self) -> bool {
        match &self.model {
            Model::QrNet(grounder) => grounder.config().presence,
            Model::GroundingDino(_) => true,
        }
    }

    /// Whether presence and scores are probabilities; those of Grounding DINO are once a [`Calibration`] lies beside the model.
    pub fn is_calibrated(&self) -> bool {
        match &self.model {
            Model::QrNet(_) => true,
            Model::GroundingDino(_) => self.calibration.is_some(),
        }
    }

    /// Presence from which on it claims that a thing is there, 0..1; none where it cannot tell.
    pub fn claims_from(&self) -> Option<f32> {
        match &self.model {
            Model::QrNet(grounder) => grounder.config().claims_from(),
            Model::GroundingDino(_) => {
                Some(self.calibration.as_ref().map_or(grounding_dino::CLAIMS_FROM, Calibration::threshold))
            }
        }
    }

    /// Whether it gives all things that match a sentence, and not the best alone.
    pub fn gives_all(&self) -> bool {
        match &self.model {
            Model::QrNet(_) => false,
            Model::GroundingDino(_) => true,
        }
    }

    /// Frees what reads text, once all queries are compiled.
    pub fn drop_text(&mut self) {
        match &mut self.model {
            Model::QrNet(grounder) => grounder.drop_text(),
            Model::GroundingDino(grounder) => grounder.drop_text(),
        }
    }

    /// Compiles a sentence. What does not fit the model's length, and words it does not know, are warned of.
    ///
    /// # Errors
    /// The sentence is empty or unreadable for the tokenizer, or the model was loaded for frames only.
    pub fn compile(&self, text: &str) -> Result<CompiledQuery> {
        match &self.model {
            Model::QrNet(grounder) => grounder.compile(text).map(Into::into),
            Model::GroundingDino(grounder) => grounder.compile(text).map(Into::into),
        }
    }

    /// Reads a saved query of this model.
    ///
    /// # Errors
    /// The file is no compiled query, belongs to another model, or holds tensors of other sizes.
    pub fn load_query(&self, path: &Path) -> Result<CompiledQuery> {
        match &self.model {
            Model::QrNet(grounder) => grounder.load_query(path).map(Into::into),
            Model::GroundingDino(grounder) => grounder.load_query(path).map(Into::into),
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
        match &self.model {
            Model::QrNet(grounder) => ground_by_qrnet(grounder, pictures, queries),
            Model::GroundingDino(grounder) => {
                let mut found = ground_by_dino(grounder, pictures, queries)?;
                if let Some(calibration) = &self.calibration {
                    found.iter_mut().flatten().for_each(|findings| calibration.apply(findings));
                }
                Ok(found)
            }
        }
    }
}

/// The device of models that compute in f32 alone.
fn in_f32(place: impl Into<Placement>) -> Result<Device> {
    let Placement { device, precision } = place.into();
    match precision {
        Precision::F32 => Ok(device),
        other => Err(Error::Unsupported(format!("{other:?}: models of the Grounding DINO family compute in f32"))),
    }
}

/// A query of another family is another model's.
fn foreign(query: &CompiledQuery, digest: &str) -> Error {
    Error::foreign_query(None, query.model(), digest)
}

/// Grounding DINO looks for all queries of a picture at once.
fn ground_by_dino(
    grounder: &grounding_dino::Grounder,
    pictures: &[&Letterboxed],
    queries: &[&[&CompiledQuery]],
) -> Result<Vec<Vec<Findings>>> {
    fn own<'a>(query: &'a CompiledQuery, digest: &str) -> Result<&'a grounding_dino::CompiledQuery> {
        match &query.0 {
            OfFamily::GroundingDino(own) => Ok(own),
            OfFamily::QrNet(_) => Err(foreign(query, digest)),
        }
    }
    let mut each: Vec<Vec<&grounding_dino::CompiledQuery>> = Vec::with_capacity(queries.len());
    for queries in queries {
        each.push(queries.iter().map(|query| own(query, grounder.digest())).collect::<Result<_>>()?);
    }
    grounder.ground_each(pictures, &each.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// QRNet answers every question with one box, and its presence is that box's score.
fn ground_by_qrnet(
    grounder: &qrnet::Grounder,
    pictures: &[&Letterboxed],
    queries: &[&[&CompiledQuery]],
) -> Result<Vec<Vec<Findings>>> {
    fn own<'a>(query: &'a CompiledQuery, digest: &str) -> Result<&'a qrnet::CompiledQuery> {
        match &query.0 {
            OfFamily::QrNet(own) => Ok(own),
            OfFamily::GroundingDino(_) => Err(foreign(query, digest)),
        }
    }
    let of = |picture: usize| queries[picture].iter().map(move |_| picture);
    let asked: Vec<usize> = (0..pictures.len()).flat_map(of).collect();
    let all = queries.iter().copied().flatten();
    let each: Vec<&qrnet::CompiledQuery> = all.map(|query| own(query, grounder.digest())).collect::<Result<_>>()?;
    let same = each.windows(2).all(|pair| std::ptr::eq(pair[0], pair[1]));
    let answers = grounder.ground_questions(pictures, &asked, if same { &each[..each.len().min(1)] } else { &each })?;
    let mut answers = answers.into_iter().map(|Grounding { rect, canvas: on_canvas, presence, .. }| Findings {
        presence,
        found: vec![Finding { rect, on_canvas, score: presence }],
    });
    Ok(queries.iter().map(|queries| answers.by_ref().take(queries.len()).collect()).collect())
}
