//! A training recipe: everything that decides what a run computes, as TOML.

mod check;
mod files;
mod phrases;
mod sets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use blocks::strict::{self, Strict};
pub use files::brought_by;
pub(crate) use files::there;
pub use phrases::Phrases;
use serde::{Deserialize, Serialize};

use crate::augment::Augment;
use crate::data::Source;
use crate::error::{Error, Result};
use crate::objective::{self, Weights};
use crate::optim;
use crate::scenes::{self, SceneSettings};
use crate::schedule::{Course, Schedule};

/// What [`Phase::shares`] calls drawn scenes.
pub const SCENES: &str = "scenes";

/// A whole recipe. Paths are relative to the recipe's folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// What the run and its model are called.
    pub name: String,
    /// Everything random follows from it.
    pub seed: u64,
    /// Sizes: a variant's name or a TOML file.
    pub model: String,
    /// Where words come from: `words` for the language of the scenes, or a `vocab.txt` or `tokenizer.json`; with
    /// `phrases.learn` those of the phrases beside them.
    pub tokenizer: String,
    /// Optimiser steps in all.
    pub steps: u64,
    /// Examples in a forward pass.
    pub batch: usize,
    /// Forward passes in a step.
    #[serde(default = "one")]
    pub accumulate: usize,
    /// Width and height of canvases, of which every batch takes one at random; without it, all take the model's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub canvases: Vec<[usize; 2]>,
    /// What the weights start from.
    #[serde(default)]
    pub init: Start,
    /// Rates and decay.
    pub optimiser: Optimiser,
    /// The rate over time.
    #[serde(default)]
    pub schedule: Rates,
    /// Share of the old value that the averaged weights keep at a step; 0 averages nothing. Averaged weights are what
    /// is evaluated and shipped.
    #[serde(default)]
    pub ema: f64,
    /// Weights of the losses.
    #[serde(default)]
    pub loss: Weights,
    /// Changes to training pictures.
    #[serde(default)]
    pub augment: Option<Augment>,
    /// Changes to training phrases, and words to learn from them.
    #[serde(default)]
    pub phrases: Phrases,
    /// Folder of the emoji art that scenes name.
    #[serde(default)]
    pub art: Option<PathBuf>,
    /// What is trained on, one phase after the other.
    pub phase: Vec<Phase>,
    /// What is measured on.
    #[serde(default)]
    pub eval: Vec<EvalSet>,
    /// What is written, and when.
    #[serde(default)]
    pub every: Every,
}

/// What the weights start from; what is not named is drawn from the seed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Start {
    /// A detector checkpoint in mmdetection's layout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backbone: Option<PathBuf>,
    /// A Hugging Face BERT directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<PathBuf>,
    /// A model directory or checkpoint; may lack tensors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// Rows of visual tokens in the position table start as sines of the cell's place instead of noise.
    pub smooth_positions: bool,
}

/// One rate for everything, or one for each of the reference's groups.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Optimiser {
    /// Fusion encoder, projections, embeddings, heads; and every group that has no rate of its own.
    pub rate: f64,
    /// Rates of single groups.
    #[serde(flatten)]
    pub groups: Groups,
    /// Decoupled weight decay, on every tensor whose group has none of its own.
    pub weight_decay: f64,
    /// Decay of single groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay: Option<Groups>,
    /// Decay of the moments.
    #[serde(default = "betas")]
    pub betas: (f64, f64),
    /// Added to the root of the mean square.
    #[serde(default = "eps")]
    pub eps: f64,
    /// Largest norm of all gradients together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
}

/// One number for each of the reference's groups but the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Groups {
    /// Backbone without its generators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backbone: Option<f64>,
    /// Weight generators of the backbone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backbone_query: Option<f64>,
    /// Lateral convolutions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neck: Option<f64>,
    /// Weight generators of the neck.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neck_query: Option<f64>,
    /// Text tower.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<f64>,
}

impl Groups {
    /// In the order of [`optim::Group::ALL`]; `otherwise` where there is none.
    fn values(self, otherwise: f64) -> [f64; 6] {
        let own = [None, self.backbone, self.backbone_query, self.neck, self.neck_query, self.text];
        own.map(|value| value.unwrap_or(otherwise))
    }
}

/// The rate over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    /// Steps of linear rise.
    pub warm_up: u64,
    /// `constant`, `hold`, `cosine` or `steps`.
    pub course: CourseName,
    /// For `hold` and `cosine`: what is left at the end.
    pub last: f64,
    /// For `hold`: steps of the fall at the end.
    pub fall: u64,
    /// For `steps`: steps between two falls.
    pub every: u64,
    /// For `steps`: what is left after one.
    pub factor: f64,
}

/// The names of the courses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CourseName {
    /// [`Course::Constant`].
    Constant,
    /// [`Course::Hold`].
    Hold,
    /// [`Course::Cosine`].
    Cosine,
    /// [`Course::Steps`].
    Steps,
}

impl Default for Rates {
    fn default() -> Self {
        Self { warm_up: 0, course: CourseName::Constant, last: 0.0, fall: 1000, every: 1000, factor: 0.1 }
    }
}

/// A part of the run: drawn scenes, or lists of examples shuffled anew every epoch, or both by shares. Without either it
/// goes on with the data of the phase before it.
///
/// ```toml
/// questions = 4
/// shares = { flickr = 4.0, coco = 2.5, scenes = 0.7 }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Share of the run after which it ends, 0..1; the last one ends with the run.
    #[serde(default = "whole")]
    pub until: f64,
    /// Only so many first examples, again and again in an order that changes every epoch; without it, lists are taken
    /// whole and scenes never come twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<usize>,
    /// Neighbouring examples of a batch that are questions about one picture of a list, which is read and changed once;
    /// without it, one. For data sets that can ask several; the batch is a multiple of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub questions: Option<usize>,
    /// How much is taken of every list, by its name, and of the drawn ones, as `scenes`; only the numbers' ratios count.
    /// Every source has its own order and its own epochs. Without it, lists are one long list. A phase without data
    /// may mix those of the phase before it anew.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shares: BTreeMap<String, f64>,
    /// Changes to its pictures, in place of the recipe's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augment: Option<Augment>,
    /// Drawn scenes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenes: Option<SceneSettings>,
    /// Data sets on disk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<Source>,
}

impl Phase {
    /// Whether it has data of its own.
    pub fn has_data(&self) -> bool {
        self.scenes.is_some() || !self.lists.is_empty()
    }
}

/// A set to measure on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalSet {
    /// What `--split` calls it.
    pub name: String,
    /// For scenes: how many examples; lists are taken whole.
    #[serde(default = "two_thousand")]
    pub count: usize,
    /// Whether it is measured while training, on its first examples; the best checkpoint is chosen by the first such set.
    #[serde(default)]
    pub watch: bool,
    /// Drawn scenes, under a seed of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenes: Option<SceneSettings>,
    /// Data sets on disk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<Source>,
}

/// What is written and measured, and after how many steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Every {
    /// A line of the log.
    pub log: u64,
    /// A checkpoint.
    pub checkpoint: u64,
    /// A measurement of the watched sets.
    pub eval: u64,
    /// Examples of each watched set that are measured.
    pub eval_examples: usize,
    /// Checkpoints kept, beside the best.
    pub keep: usize,
}

impl Default for Every {
    fn default() -> Self {
        Self { log: 20, checkpoint: 1000, eval: 1000, eval_examples: 600, keep: 2 }
    }
}

fn one() -> usize {
    1
}
fn two_thousand() -> usize {
    2000
}
fn whole() -> f64 {
    1.0
}
fn betas() -> (f64, f64) {
    (0.9, 0.999)
}
fn eps() -> f64 {
    1e-8
}

impl Strict for Recipe {
    fn example() -> Self {
        let path = || Some(PathBuf::from("path"));
        let scenes = || {
            let (aspect, styles) = (Some([16, 9]), vec!["style".into()]);
            Some(SceneSettings { aspect, styles, ..SceneSettings::default() })
        };
        let lists = Source::examples;
        let some = Some(1e-4);
        let groups = Groups { backbone: some, backbone_query: some, neck: some, neck_query: some, text: some };
        Self {
            name: "name".into(),
            seed: 1,
            model: "tiny".into(),
            tokenizer: "words".into(),
            steps: 1,
            batch: 1,
            accumulate: 1,
            canvases: vec![[64, 64]],
            init: Start { backbone: path(), text: path(), model: path(), smooth_positions: true },
            optimiser: Optimiser {
                rate: 1e-4,
                groups,
                weight_decay: 1e-4,
                decay: Some(groups),
                betas: betas(),
                eps: eps(),
                clip: Some(1.0),
            },
            schedule: Rates::default(),
            ema: 0.0,
            loss: Weights::default(),
            augment: Some(Augment::default()),
            phrases: Phrases { learn: true, alike: vec![vec!["word".into()]], forget: 0.0 },
            art: path(),
            phase: vec![Phase {
                until: 1.0,
                examples: Some(1),
                questions: Some(1),
                // Names of lists are keys here.
                shares: BTreeMap::from([(strict::ANY.to_owned(), 1.0)]),
                augment: Some(Augment::default()),
                scenes: scenes(),
                lists: lists(),
            }],
            eval: vec![EvalSet { name: "test".into(), count: 1, watch: true, scenes: scenes(), lists: lists() }],
            every: Every::default(),
        }
    }
}

impl Recipe {
    /// Reads and checks a recipe.
    ///
    /// # Errors
    /// The file cannot be read, holds a key that no recipe has, or a value that no run can be made from.
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        Self::from_toml(&text, &path.display().to_string())
    }

    /// As [`Recipe::from_file`]; `file` is named in errors.
    ///
    /// # Errors
    /// As [`Recipe::from_file`].
    pub fn from_toml(text: &str, file: &str) -> Result<Self> {
        let recipe: Self = strict::toml(text, file)?;
        recipe.check(file)?;
        Ok(recipe)
    }

    /// Classes that cells of training pictures may have: those of photographs only where some are labelled.
    pub fn classes(&self) -> usize {
        let labelled = self.phase.iter().flat_map(|phase| &phase.lists).any(Source::is_labelled);
        if labelled { objective::ALL_CLASSES } else { scenes::CLASSES }
    }

    /// Examples in one optimiser step.
    pub fn step_examples(&self) -> usize {
        self.batch * self.accumulate
    }

    /// The optimiser's settings.
    pub fn optimiser(&self) -> optim::Settings {
        let o = &self.optimiser;
        optim::Settings {
            rates: o.groups.values(o.rate),
            decay: o.decay.unwrap_or_default().values(o.weight_decay),
            betas: o.betas,
            eps: o.eps,
            clip: o.clip,
        }
    }

    /// The schedule.
    pub fn schedule(&self) -> Schedule {
        let course = match self.schedule.course {
            CourseName::Constant => Course::Constant,
            CourseName::Hold => Course::Hold { fall: self.schedule.fall, last: self.schedule.last },
            CourseName::Cosine => Course::Cosine { last: self.schedule.last },
            CourseName::Steps => Course::Steps { every: self.schedule.every, factor: self.schedule.factor },
        };
        Schedule { warm_up: self.schedule.warm_up, total: self.steps, course }
    }

    /// The art styles that any part of the recipe draws with.
    pub fn styles(&self) -> Vec<String> {
        let phases = self.phase.iter().filter_map(|phase| phase.scenes.as_ref());
        let sets = self.eval.iter().filter_map(|set| set.scenes.as_ref());
        let mut styles: Vec<String> = phases.chain(sets).flat_map(|scenes| scenes.styles.iter().cloned()).collect();
        styles.sort();
        styles.dedup();
        styles
    }
}
