//! A compiled frame on the CPU, in f32: the same numbers as the tensor operations give, in as few passes over memory as
//! possible and with weights and buffers that lie ready.
//!
//! [`crate::model::FrameModel`] stays what training, other devices and other number types use, and what tests hold this
//! to.

mod backbone;
mod head;
mod layers;
mod neck;
mod pools;
mod tasks;

use std::sync::{Mutex, PoisonError};

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use tracing::{Span, trace_span};

use crate::config::{Config, Grid};
use crate::fusion::compiled::CompiledText;
use crate::ops::kernel::gates::{Matrices, Spatial};
use crate::ops::kernel::with_elements;
use crate::plan::CanvasPlan;
use crate::qdatt::Gates;
use backbone::{Backbone, Layout, Stage};
pub(crate) use head::Constants;
use head::{Head, Room, Seen, Text};
use neck::Neck;
use pools::Pools;
use tasks::{Workers, take};

/// The half of the model that reads pictures, with packed weights, on one canvas.
pub(crate) struct CpuFrame {
    backbone: Backbone,
    neck: Neck,
    head: Head,
    layouts: Vec<Layout>,
    /// Buffers of calls that ended; there are as many as calls were at work at a time.
    buffers: Mutex<Vec<Buffers>>,
}

#[derive(Default)]
struct Buffers {
    /// Every stage's tokens, then its map.
    maps: Vec<Vec<f32>>,
    by_window: Vec<f32>,
    levels: Vec<Vec<f32>>,
    pools: Pools,
    head: Room,
    workers: Workers,
}

/// What the model says of one picture.
pub(crate) struct Found {
    /// `(cx, cy, w, h)` in 0..1 of the canvas.
    pub(crate) rect: [f32; 4],
    /// Probability that the object is there, with a presence head.
    pub(crate) presence: Option<f32>,
}

impl CpuFrame {
    /// Reads the weights from the root of a checkpoint.
    pub(crate) fn new(config: &Config, vb: &VarBuilder, plan: &CanvasPlan) -> Result<Self> {
        let layout = |stage| Layout::new(&plan.windows, stage, Stage::window_sizes(config, stage));
        Ok(Self {
            backbone: Backbone::new(config, &vb.pp("visumodel.backbone"))?,
            neck: Neck::new(config, &vb.pp("visumodel.neck"))?,
            head: Head::new(config, vb)?,
            layouts: (0..config.stages()).map(layout).collect(),
            buffers: Mutex::default(),
        })
    }

    /// Grounds pictures, each `[3, H, W]` on the canvas; `None` for one whose features are no numbers.
    ///
    /// # Shapes
    /// `gates` and `text` of one query or of as many as there are pictures; `ignore [B, N']` (1 = padding) or empty.
    pub(crate) fn ground(
        &self,
        pictures: &[&[f32]],
        gates: &[Gates],
        text: &CompiledText,
        constants: &Constants,
        ignore: &[u8],
    ) -> Result<Vec<Option<Found>>> {
        // Into the pool once, and not anew for every set of tasks.
        let around = Span::current();
        rayon::scope(|_| {
            let _span = trace_span!(parent: &around, "model").entered();
            let spare = self.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut buffers = spare.unwrap_or_default();
            buffers.workers.prepare();
            let (backbone_gates, neck_gates) = gates.split_at(self.backbone.stages.len());
            trace_span!("backbone").in_scope(|| self.look(pictures, backbone_gates, &mut buffers))?;
            let grids: Vec<Grid> = self.layouts.iter().map(Layout::grid).collect();
            let batch = pictures.len();
            let Buffers { maps, levels, pools, head, workers, .. } = &mut buffers;
            trace_span!("neck").in_scope(|| {
                let gate = |level: usize, pools: &Pools, tokens| opened(&neck_gates[level], pools, batch, tokens);
                self.neck.forward(maps, &grids, batch, levels, pools, gate)
            })?;
            let _span = trace_span!("head").entered();
            let last = grids.len() - 1;
            let seen = Seen { level: &levels[last], grid: grids[last], batch, ignore };
            let flags = text.ignore.as_ref().map_or(Ok(Vec::new()), |ignore| ignore.flatten_all()?.to_vec1())?;
            let answers = with_elements(&[text.tokens.clone(), text.qkv.clone()], |slices| {
                let queries = text.tokens.dims()[0];
                let text = Text { tokens: slices[0], qkv: slices[1], ignore: &flags, queries };
                self.head.forward(seen, text, constants, head, workers)
            })?;
            self.buffers.lock().unwrap_or_else(PoisonError::into_inner).push(buffers);
            let sigmoid = |logit: f32| 1.0 / (1.0 + (-logit).exp());
            let found = |answer: head::Answer| {
                let numbers = answer.finite && answer.rect.iter().all(|value| value.is_finite());
                numbers.then(|| Found { rect: answer.rect, presence: answer.presence.map(sigmoid) })
            };
            Ok(answers.into_iter().map(found).collect())
        })
    }

    /// The backbone's maps.
    fn look(&self, pictures: &[&[f32]], gates: &[Gates], buffers: &mut Buffers) -> Result<()> {
        let Buffers { maps, by_window, pools, workers, .. } = buffers;
        let batch = pictures.len();
        maps.resize_with(self.layouts.len(), Vec::new);
        let size = |stage: usize| batch * self.layouts[stage].grid().len() * self.backbone.stages[stage].channels;
        trace_span!("patch embed").in_scope(|| {
            let x = take(&mut maps[0], size(0));
            self.backbone.embed(pictures, self.layouts[0].grid(), x, workers);
        });
        for (i, (stage, layout)) in self.backbone.stages.iter().zip(&self.layouts).enumerate() {
            let _span = trace_span!("stage", number = i).entered();
            let (here, later) = maps.split_at_mut(i + 1);
            let x = take(&mut here[i], size(i));
            stage.blocks(x, layout, by_window, pools, workers);
            let _span = trace_span!("gates").entered();
            let gates = opened(&gates[i], pools, batch, layout.grid().len())?;
            let next = later.first_mut().map(|next| take(next, size(i + 1)));
            stage.finish(x, &gates, layout.grid(), next, workers);
        }
        Ok(())
    }
}

/// Every picture's gate from its pools.
fn opened(gates: &Gates, pools: &Pools, batch: usize, tokens: usize) -> Result<Vec<Spatial>> {
    let tensors: Vec<Tensor> = gates.tensors().map(Clone::clone).to_vec();
    with_elements(&tensors, |slices| {
        let queries = gates.fc1.dims()[0];
        let part = |part: usize, query: usize| {
            let size = slices[part].len() / queries;
            &slices[part][query * size..][..size]
        };
        (0..batch)
            .map(|picture| {
                let query = if queries == 1 { 0 } else { picture };
                let matrices = Matrices { fc1: part(0, query), fc2: part(1, query), spatial: part(2, query) };
                Spatial::of_pools(&pools.of(picture, tokens), matrices)
            })
            .collect()
    })
}

#[cfg(test)]
mod tests;
