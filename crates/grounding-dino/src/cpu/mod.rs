//! A frame on the CPU: the same numbers as the tensor operations give, in as few passes over memory as possible and with
//! weights and buffers that lie ready.
//!
//! [`crate::model::FrameModel`] stays what other devices use, and what tests hold this to.

mod attention;
mod backbone;
mod decoder;
mod deformable;
mod encoder;
mod fusion;
mod layers;
mod neck;
mod proposals;
mod text;

use std::sync::{Mutex, PoisonError};

use blocks::canvas::Grid;
use blocks::ops::kernel::attend::{WindowSizes, widen};
use blocks::ops::kernel::deformable::Map;
use blocks::ops::kernel::with_elements;
use blocks::packed::swin::Layout;
use blocks::packed::tasks::{Workers, take};
use blocks::packed::weights::{Sources, Weights, values};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use tracing::{Span, trace_span};

use crate::config::Config;
use crate::model::Detected;
use crate::plan::Plan;
use crate::swin::PREFIX;
use crate::text::Text;
use crate::view::View;
use backbone::Backbone;
use decoder::{Decoder, Shown};
use encoder::Encoder;
use fusion::Folded;
use neck::{Neck, Sums};
use proposals::Proposals;

/// The half of a model that reads pictures, with packed weights.
pub(crate) struct CpuFrame {
    config: Config,
    backbone: Backbone,
    neck: Neck,
    level_embed: Tensor,
    encoder: Encoder,
    proposals: Proposals,
    decoder: Decoder,
    /// Buffers of calls that ended; there are as many as calls were at work at a time.
    buffers: Mutex<Vec<Buffers>>,
}

/// How maps lie on pictures of one size.
pub(crate) struct Geometry {
    plan: Plan,
    layouts: Vec<Layout>,
    maps: Vec<Map>,
    /// Whether tokens show the picture; empty where all do.
    shown: Vec<bool>,
}

impl Geometry {
    /// Whether the `count` tokens from the `first` on show the picture; empty where all do.
    fn shown(&self, first: usize, count: usize) -> &[bool] {
        if self.shown.is_empty() { &[] } else { &self.shown[first..][..count] }
    }
}

/// A text as a frame reads it, and what follows from it alone.
pub(crate) struct Words {
    /// `[L, d]`.
    tokens: Vec<f32>,
    /// `[L, d]`.
    positions: Vec<f32>,
    /// What keeps phrases apart, `[L, L]` in whole panels.
    mask: Vec<f32>,
    folded: Folded,
}

impl Words {
    /// What it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<f32>() * (self.tokens.len() + self.positions.len() + self.mask.len()) + self.folded.bytes()
    }
}

#[derive(Default)]
struct Buffers {
    /// The picture without the canvas around it, where there is one.
    picture: Vec<f32>,
    /// Every stage's tokens, then its map; and what lies in windows between.
    maps: Vec<Vec<f32>>,
    by_window: Vec<f32>,
    sums: Sums,
    /// The picture's tokens behind the neck, and as the encoder changes them.
    tokens: Vec<f32>,
    x: Vec<f32>,
    /// What the layer at work shows of them.
    seen: Vec<f32>,
    words: Vec<f32>,
    detected: Detected,
    encoder: encoder::Room,
    proposals: proposals::Room,
    decoder: decoder::Room,
    workers: Workers,
}

impl CpuFrame {
    /// Reads the weights by the file's names.
    pub(crate) fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        let weights = Weights::new(vb, Sources { halved: true, ..Sources::default() });
        let model = weights.pp("model");
        Ok(Self {
            config: config.clone(),
            backbone: Backbone::new(config, &weights.pp(PREFIX))?,
            neck: Neck::new(config, &model.pp("input_proj_vision"))?,
            level_embed: model.get((config.levels, config.width), "level_embed")?,
            encoder: Encoder::new(config, &model.pp("encoder"))?,
            proposals: Proposals::new(config, &model)?,
            decoder: Decoder::new(config, &weights)?,
            buffers: Mutex::default(),
        })
    }

    /// The geometry of pictures of `image` pixels, of which `shown` from the top left are the picture.
    pub(crate) fn plan(&self, image: Grid, shown: Grid) -> Result<Geometry> {
        let device = self.level_embed.device();
        let plan = Plan::new(&self.config, image, shown, device)?.with_levels(&self.level_embed)?;
        Ok(Geometry {
            layouts: self.backbone.layouts(&self.config, &plan.windows),
            maps: plan.levels.iter().map(|level| Map { grid: level.grid, start: level.start }).collect(),
            shown: if plan.is_padded() { plan.visible() } else { Vec::new() },
            plan,
        })
    }

    /// What follows from a text alone.
    pub(crate) fn words(&self, text: &Text) -> Result<Words> {
        let tokens = values(&text.tokens)?;
        let area = tokens.len() / self.config.width;
        Ok(Words {
            positions: values(&text.positions)?,
            mask: widen(&values(&text.mask)?, WindowSizes { area, heads: 1, depth: 1 }),
            folded: self.encoder.fold(&tokens),
            tokens,
        })
    }

    /// Looks on a normalised `picture` of the geometry's size for what each of the texts says, and tells it with the text's
    /// number.
    pub(crate) fn ground(
        &self,
        picture: View,
        geometry: &Geometry,
        texts: &[&Words],
        told: &mut (dyn FnMut(usize, &Detected) + Send),
    ) -> Result<()> {
        let plan = &geometry.plan;
        if picture.size() != plan.image {
            candle_core::bail!("a picture of {:?}, expected {:?}", picture.size(), plan.image);
        }
        // Into the pool once, and not anew for every set of tasks.
        let around = Span::current();
        rayon::scope(|_| {
            let _span = trace_span!(parent: &around, "model").entered();
            let spare = self.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut buffers = spare.unwrap_or_default();
            buffers.workers.prepare();
            let mut room = std::mem::take(&mut buffers.picture);
            self.look(picture.pixels(&mut room), geometry, &mut buffers);
            buffers.picture = room;
            with_elements(std::slice::from_ref(&plan.positions), |positions| {
                for (number, text) in texts.iter().enumerate() {
                    self.find(text, (geometry, positions[0]), &mut buffers);
                    told(number, &buffers.detected);
                }
            })?;
            self.buffers.lock().unwrap_or_else(PoisonError::into_inner).push(buffers);
            Ok(())
        })
    }

    /// What does not depend on the text.
    fn look(&self, picture: &[f32], geometry: &Geometry, buffers: &mut Buffers) {
        let plan = &geometry.plan;
        let Buffers { maps, by_window, sums, tokens, workers, .. } = buffers;
        let layouts = &geometry.layouts;
        trace_span!("backbone")
            .in_scope(|| self.backbone.forward((picture, plan.image), layouts, maps, by_window, workers));
        let _span = trace_span!("neck").entered();
        let size = |stage: usize| layouts[stage].grid().len() * self.config.swin.channels(stage);
        let read: Vec<&[f32]> = self.config.stages.iter().map(|&stage| &maps[stage][..size(stage)]).collect();
        let tokens = take(tokens, plan.tokens() * self.config.width);
        self.neck.forward(&read, &plan.levels, tokens, sums, workers);
    }

    /// What a text says of a picture that was looked at, into `detected`.
    fn find(&self, text: &Words, (geometry, positions): (&Geometry, &[f32]), buffers: &mut Buffers) {
        let plan = &geometry.plan;
        let Buffers { tokens, x, seen, words, detected, encoder, proposals, decoder, workers, .. } = buffers;
        let Detected { logits, boxes } = detected;
        let size = plan.tokens() * self.config.width;
        let (x, seen, words) = (take(x, size), take(seen, size), take(words, text.tokens.len()));
        x.copy_from_slice(&tokens[..size]);
        words.copy_from_slice(&text.tokens);
        self.encoder.forward(x, words, (text, geometry, positions), seen, encoder, workers);
        trace_span!("proposals").in_scope(|| {
            self.proposals.pick(x, words, &plan.proposals, boxes, proposals, workers);
        });
        let shown = Shown { vision: x, words, geometry };
        self.decoder.forward((boxes, logits), shown, seen, decoder, workers);
    }
}

#[cfg(test)]
mod tests;
