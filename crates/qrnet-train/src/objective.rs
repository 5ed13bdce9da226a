//! What training minimises: the reference's box loss, presence, and training-only losses whose heads never ship.
//!
//! Plain regression stalls: in the fusion encoder positions enter queries and keys but never values, so the REG token
//! can read *where* only through attention that has to be learned first. The auxiliary losses give tokens a place and a
//! name early. None of their heads is part of a model.

use std::collections::BTreeMap;
use std::sync::Arc;

use blocks::pass::Pass;
use candle_core::{Device, Tensor, Var};
use qrnet::plan::CanvasPlan;
use qrnet::{Config, Output, QrNet};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::batch::{LABEL_LEVELS, Prepared, UNLABELLED};
use crate::error::Result;
use crate::expressions::nouns;
use crate::loss::box_terms;
use crate::scalar::{attention_mass, binary_cross_entropy, cross_entropy};
use crate::scenes;

/// Weights of the losses; 0 leaves one out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Weights {
    /// L1 distance of the box.
    pub l1: f64,
    /// 1 − `GIoU` of the box.
    pub giou: f64,
    /// Binary cross-entropy of the presence logit.
    pub presence: f64,
    /// Share of each fused visual token's cell that the object covers.
    pub token_heat: f64,
    /// The same on three levels of the neck, as similarity of the cell's feature and the text.
    pub neck_heat: f64,
    /// The box head on every visual token inside the box.
    pub token_box: f64,
    /// Attention of the REG token inside the box, in the last layer.
    pub attention: f64,
    /// Class of what covers each cell of three levels of the neck, before the text's gates.
    pub class: f64,
    /// Its colour.
    pub colour: f64,
}

impl Default for Weights {
    /// The reference's loss alone.
    fn default() -> Self {
        Self { l1: 1.0, giou: 1.0, ..Self::NONE }
    }
}

/// Classes of cells: those of drawn scenes, then those of photographs.
pub const ALL_CLASSES: usize = scenes::CLASSES + nouns::CLASSES;
/// Weight of background cells in the class loss: most cells are background.
const BACKGROUND: f32 = 0.15;
/// Start of the neck heat's bias: most cells are not the object.
const HEAT_BIAS: f32 = -2.0;

/// The terms of the loss, as [`Weights`] names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "documented at the weights")]
pub enum Term {
    L1,
    Giou,
    Presence,
    TokenHeat,
    NeckHeat,
    TokenBox,
    Attention,
    Class,
    Colour,
}

/// How many terms there are.
pub const TERMS: usize = Term::ALL.len();

impl Term {
    /// All of them, in the order in which they are reported.
    pub const ALL: [Self; 9] = [
        Self::L1,
        Self::Giou,
        Self::Presence,
        Self::TokenHeat,
        Self::NeckHeat,
        Self::TokenBox,
        Self::Attention,
        Self::Class,
        Self::Colour,
    ];

    /// What the log calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::L1 => "loss_l1",
            Self::Giou => "loss_giou",
            Self::Presence => "loss_presence",
            Self::TokenHeat => "loss_token_heat",
            Self::NeckHeat => "loss_neck_heat",
            Self::TokenBox => "loss_token_box",
            Self::Attention => "loss_attention",
            Self::Class => "loss_class",
            Self::Colour => "loss_colour",
        }
    }
}

impl Weights {
    /// No term at all.
    pub const NONE: Self = Self {
        l1: 0.0,
        giou: 0.0,
        presence: 0.0,
        token_heat: 0.0,
        neck_heat: 0.0,
        token_box: 0.0,
        attention: 0.0,
        class: 0.0,
        colour: 0.0,
    };

    /// The weight of one term.
    pub fn of(mut self, term: Term) -> f64 {
        *self.of_mut(term)
    }

    /// The weight of one term, to change.
    pub fn of_mut(&mut self, term: Term) -> &mut f64 {
        match term {
            Term::L1 => &mut self.l1,
            Term::Giou => &mut self.giou,
            Term::Presence => &mut self.presence,
            Term::TokenHeat => &mut self.token_heat,
            Term::NeckHeat => &mut self.neck_heat,
            Term::TokenBox => &mut self.token_box,
            Term::Attention => &mut self.attention,
            Term::Class => &mut self.class,
            Term::Colour => &mut self.colour,
        }
    }
}

/// The losses and the heads that only they use.
pub struct Objective {
    weights: Weights,
    heads: BTreeMap<String, Var>,
    taps: Arc<[String]>,
    /// Levels of the neck with losses of their own, among [`LABEL_LEVELS`].
    levels: Vec<usize>,
    attention_tap: String,
    text_length: usize,
}

/// The total, and every term before its weight.
pub struct Losses {
    /// What is minimised.
    pub total: Tensor,
    /// In the order of [`Term::ALL`]; NaN where a term is off.
    pub terms: [f64; TERMS],
}

impl Objective {
    /// Heads drawn from `seed`, for `classes` classes of cells beside the background: [`scenes::CLASSES`], or
    /// [`ALL_CLASSES`] where pictures are photographs.
    ///
    /// # Errors
    /// A loss that the model has nothing for, or the device cannot hold the heads.
    pub fn new(config: &Config, weights: Weights, classes: usize, seed: u64, device: &Device) -> Result<Self> {
        if weights.presence > 0.0 && !config.presence {
            return Err(crate::Error::Unsupported(format!(
                "`loss.presence` is {}, but the model has no presence head (`presence = false`)",
                weights.presence
            )));
        }
        let mut heads = BTreeMap::new();
        let mut linear = |name: &str, output: usize, input: usize, bias: Option<f32>| -> Result<()> {
            let mut rng = blocks::seeded::stream(seed, name);
            let bound = 1.0 / (input as f32).sqrt();
            let values: Vec<f32> = (0..output * input).map(|_| bound * (2.0 * rng.random::<f32>() - 1.0)).collect();
            let weight = Tensor::from_vec(values, (output, input), device)?;
            heads.insert(format!("{name}.weight"), Var::from_tensor(&weight)?);
            let bias = Tensor::full(bias.unwrap_or(0.0), output, device)?;
            heads.insert(format!("{name}.bias"), Var::from_tensor(&bias)?);
            Ok(())
        };
        let (d, channels, text) = (config.vl.hidden_dim, config.neck.out_channels, config.bert.hidden_size);
        let mut neck = config.neck_levels();
        neck.pop();
        let levels: Vec<usize> = LABEL_LEVELS.into_iter().filter(|level| neck.contains(level)).collect();
        let by_level = [("neck_heat", weights.neck_heat), ("class", weights.class), ("colour", weights.colour)];
        if let Some((key, weight)) = by_level.into_iter().find(|(_, weight)| *weight > 0.0 && levels.is_empty()) {
            return Err(crate::Error::Unsupported(format!(
                "`loss.{key}` is {weight}, but the model's neck has no level of stride 8, 16 or 32 (`neck.levels`)"
            )));
        }
        linear(TOKEN_HEAT, 1, d, Some(HEAT_BIAS))?;
        linear(NECK_TEXT, channels, text, None)?;
        for level in &levels {
            linear(&format!("auxiliary.class{level}"), classes + 1, channels, None)?;
            linear(&format!("auxiliary.colour{level}"), scenes::COLOUR_COUNT + 1, channels, None)?;
        }
        let bias = Tensor::full(HEAT_BIAS, LABEL_LEVELS.len(), device)?;
        heads.insert(NECK_BIAS.to_owned(), Var::from_tensor(&bias)?);
        heads.retain(|name, _| weights.uses(name));
        let attention_tap = format!("vl.layer{}.reg_weights", config.vl.enc_layers - 1);
        let mut taps = Vec::new();
        if weights.neck_heat > 0.0 {
            taps.push(TEXT_TAP.to_owned());
            taps.extend(levels.iter().map(|level| neck_tap(*level)));
        }
        if weights.class > 0.0 || weights.colour > 0.0 {
            taps.extend(levels.iter().map(|level| class_tap(*level)));
        }
        if weights.attention > 0.0 {
            taps.push(attention_tap.clone());
        }
        Ok(Self { weights, heads, taps: taps.into(), levels, attention_tap, text_length: config.max_query_len })
    }

    /// The variables of the training-only heads.
    pub fn heads(&self) -> &BTreeMap<String, Var> {
        &self.heads
    }

    /// A pass that records what the losses read.
    pub fn pass(&self, rng: rand_chacha::ChaCha8Rng) -> Pass {
        Pass::train(rng).with_taps_of(Arc::clone(&self.taps))
    }

    fn head(&self, name: &str) -> Result<(Tensor, Tensor)> {
        let get = |part: &str| match self.heads.get(&format!("{name}.{part}")) {
            Some(var) => Ok(var.as_tensor().clone()),
            None => candle_core::bail!("no training-only head {name}.{part}"),
        };
        Ok((get("weight")?, get("bias")?))
    }

    fn linear(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = self.head(name)?;
        Ok(blocks::ops::linear(x, &weight, Some(&bias))?)
    }

    /// All losses of one forward pass.
    ///
    /// # Errors
    /// The output does not belong to the batch, or the device fails.
    pub fn loss(
        &self,
        model: &QrNet,
        plan: &CanvasPlan,
        batch: &Prepared,
        output: &Output,
        pass: Pass,
    ) -> Result<Losses> {
        let taps = pass.into_taps();
        let tap = |name: &str| -> Result<&Tensor> {
            Ok(taps.get(name).ok_or_else(|| candle_core::Error::msg(format!("the pass recorded no {name}")))?)
        };
        let w = &self.weights;
        let mut sum = Sum { weights: self.weights, total: None, terms: [f64::NAN; TERMS] };
        let present: Vec<u32> = (0..batch.len() as u32).filter(|&i| batch.targets[i as usize].is_some()).collect();
        let device = output.boxes.device();
        if !present.is_empty() {
            let targets: Vec<_> = batch.targets.iter().flatten().copied().collect();
            let rows = Tensor::from_slice(&present, present.len(), device)?;
            let terms = box_terms(&output.boxes.index_select(&rows, 0)?, &targets)?;
            let mean = (terms.sum(0)? / targets.len() as f64)?;
            sum.add(Term::L1, &mean.get(0)?)?;
            sum.add(Term::Giou, &mean.get(1)?)?;
        }
        if let (true, Some(logits)) = (w.presence > 0.0, &output.presence) {
            let targets = batch.targets.iter().map(|t| f32::from(u8::from(t.is_some()))).collect();
            sum.add(Term::Presence, &binary_cross_entropy(logits, targets, false)?)?;
        }
        let tokens = output.visual_tokens.as_ref();
        if let Some(tokens) = tokens.filter(|_| w.token_heat > 0.0 || w.token_box > 0.0) {
            let coverage = Self::token_coverage(plan, batch);
            if w.token_heat > 0.0 {
                let logits = self.linear(TOKEN_HEAT, tokens)?;
                sum.add(Term::TokenHeat, &binary_cross_entropy(&logits, coverage.clone(), true)?)?;
            }
            if w.token_box > 0.0
                && let Some(loss) = token_boxes(model, tokens, batch, &coverage)?
            {
                sum.add(Term::TokenBox, &loss)?;
            }
        }
        if w.neck_heat > 0.0 {
            let text_cls = tap(TEXT_TAP)?.narrow(1, 0, 1)?;
            let query = self.linear(NECK_TEXT, &text_cls)?;
            let scale = 1.0 / (query.dim(2)? as f64).sqrt();
            let query = (query.transpose(1, 2)? * scale)?;
            let mut losses = Vec::new();
            for (i, level) in self.label_levels() {
                let features = tap(&neck_tap(level))?;
                let bias = self.heads[NECK_BIAS].as_tensor().narrow(0, i, 1)?;
                let logits = features.matmul(&query)?.broadcast_add(&bias)?;
                losses.push(binary_cross_entropy(&logits, batch.coverage(plan, level), true)?);
            }
            sum.add(Term::NeckHeat, &Tensor::stack(&losses, 0)?.sum_all()?)?;
        }
        if w.attention > 0.0 {
            let weights = tap(&self.attention_tap)?;
            let front = 1 + self.text_length;
            let visual = weights.dim(3)? - front;
            let reg = weights.narrow(3, front, visual)?.mean(1)?.squeeze(1)?;
            let wanted = Self::token_coverage(plan, batch).into_iter().map(|c| f32::from(u8::from(c > 0.0)));
            sum.add(Term::Attention, &attention_mass(&reg, wanted.collect())?)?;
        }
        if w.class > 0.0 || w.colour > 0.0 {
            let (mut classes, mut colours) = (Vec::new(), Vec::new());
            for (i, level) in self.label_levels() {
                let features = tap(&class_tap(level))?;
                let (labels, tints) = (&batch.classes[i], &batch.colours[i]);
                if w.class > 0.0 {
                    let logits = self.linear(&format!("auxiliary.class{level}"), features)?.flatten_to(1)?;
                    let targets = labels.iter().map(|&class| match class {
                        UNLABELLED => (0, 0.0),
                        0 => (0, BACKGROUND),
                        class => (class, 1.0),
                    });
                    classes.push(cross_entropy(&logits, targets.collect())?);
                }
                if w.colour > 0.0 {
                    let logits = self.linear(&format!("auxiliary.colour{level}"), features)?.flatten_to(1)?;
                    let targets = tints.iter().map(|&colour| (colour, f32::from(u8::from(colour > 0))));
                    colours.push(cross_entropy(&logits, targets.collect())?);
                }
            }
            if !classes.is_empty() {
                sum.add(Term::Class, &Tensor::stack(&classes, 0)?.mean_all()?)?;
            }
            if !colours.is_empty() {
                sum.add(Term::Colour, &Tensor::stack(&colours, 0)?.mean_all()?)?;
            }
        }
        let total = match sum.total {
            Some(total) => total,
            // Nothing present and nothing else asked for: a loss of 0 that still has a graph.
            None => (output.boxes.sum_all()? * 0.0)?,
        };
        Ok(Losses { total, terms: sum.terms })
    }

    /// Levels with losses of their own, each with its place in [`LABEL_LEVELS`].
    fn label_levels(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        LABEL_LEVELS.into_iter().enumerate().filter(|(_, level)| self.levels.contains(level))
    }

    /// Coverage of the fusion encoder's visual tokens, `[B, N]`: the two levels that it reads side by side.
    fn token_coverage(plan: &CanvasPlan, batch: &Prepared) -> Vec<f32> {
        let levels = plan.token_levels().map(|level| (batch.coverage(plan, level), plan.level(level).len()));
        (0..batch.len())
            .flat_map(|i| levels.iter().flat_map(move |(shares, n)| shares[i * n..(i + 1) * n].iter().copied()))
            .collect()
    }
}

const TEXT_TAP: &str = "text_features";
const TOKEN_HEAT: &str = "auxiliary.token_heat";
const NECK_TEXT: &str = "auxiliary.neck_text";
const NECK_BIAS: &str = "auxiliary.neck_bias";

/// The neck's level behind the gates.
fn neck_tap(level: usize) -> String {
    format!("neck.level{level}")
}

/// The neck's level before them.
fn class_tap(level: usize) -> String {
    format!("neck.topdown{level}")
}

impl Weights {
    /// Whether the training-only head `name` is read.
    fn uses(&self, name: &str) -> bool {
        let weight = match name {
            _ if name.starts_with(TOKEN_HEAT) => self.token_heat,
            _ if name.starts_with("auxiliary.neck") => self.neck_heat,
            _ if name.starts_with("auxiliary.class") => self.class,
            _ => self.colour,
        };
        weight > 0.0
    }
}

/// The box head on tokens inside the box, each weighted by how much of its cell the box covers.
fn token_boxes(model: &QrNet, tokens: &Tensor, batch: &Prepared, coverage: &[f32]) -> Result<Option<Tensor>> {
    let (_, count, d) = tokens.dims3()?;
    let rows: Vec<u32> = (0..coverage.len() as u32).filter(|&i| coverage[i as usize] > 0.0).collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let targets: Vec<_> = rows.iter().filter_map(|&row| batch.targets[row as usize / count]).collect();
    let weights: Vec<f32> = rows.iter().map(|&row| coverage[row as usize]).collect();
    let total: f32 = weights.iter().sum();
    let index = Tensor::from_slice(&rows, rows.len(), tokens.device())?;
    let boxes = model.frame.token_boxes(&tokens.reshape(((), d))?.index_select(&index, 0)?)?;
    let terms = box_terms(&boxes, &targets)?.sum(1)?;
    let weights = Tensor::from_vec(weights, rows.len(), &Device::Cpu)?;
    Ok(Some(((terms * weights)?.sum_all()? / f64::from(total))?))
}

struct Sum {
    weights: Weights,
    total: Option<Tensor>,
    terms: [f64; TERMS],
}

impl Sum {
    fn add(&mut self, term: Term, loss: &Tensor) -> Result<()> {
        self.terms[term as usize] = f64::from(loss.to_scalar::<f32>()?);
        let weight = self.weights.of(term);
        if weight > 0.0 {
            let weighted = (loss * weight)?;
            self.total = Some(match self.total.take() {
                None => weighted,
                Some(total) => (total + weighted)?,
            });
        }
        Ok(())
    }
}
