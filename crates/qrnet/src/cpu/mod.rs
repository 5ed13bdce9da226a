//! A compiled frame on the CPU: the same numbers as the tensor operations give, in f32, or near them, with a backbone in
//! two bytes a number or in one; in as few passes over memory as possible and with weights and buffers that lie ready.
//!
//! [`crate::model::FrameModel`] stays what training, other devices and other number types use, and what tests hold this
//! to.

mod backbone;
mod head;
mod neck;
mod network;

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use candle_core::{Device, Result, Tensor};
use tracing::{Span, trace_span};

use crate::config::{self, Config};
use crate::fusion::compiled::CompiledText;
use crate::plan::CanvasPlan;
use crate::qdatt::Gates;
use backbone::Backbone;
use blocks::canvas::Grid;
use blocks::checkpoint::Tensors;
use blocks::ops::kernel::dense::{Arithmetic, Dense};
use blocks::ops::kernel::gates::{Matrices, Spatial};
use blocks::ops::kernel::with_elements;
use blocks::packed::pools::Pools;
use blocks::packed::swin::{Layout, Stage};
use blocks::packed::tasks::{Workers, take};
use blocks::packed::weights::{Sources, Weights};
pub(crate) use head::Constants;
use head::{Head, Room, Seen, Text};
use neck::{Map, Neck};
use network::Network;

/// The half of the model that reads pictures, with packed weights, on some canvases.
pub(crate) struct CpuFrame {
    eyes: Eyes,
    neck: Neck,
    head: Head,
    /// Of every canvas, in the order of its plans.
    canvases: Vec<OnCanvas>,
    /// The first stage with gates: what comes before them is computed once for all queries of a picture.
    from_stage: usize,
    /// Stages that the neck fuses, and which of its levels the head reads first.
    neck_stages: Vec<usize>,
    token_place: usize,
    /// Buffers of calls that ended; there are as many as calls were at work at a time.
    buffers: Mutex<Vec<Buffers>>,
}

/// The backbone.
enum Eyes {
    Swin(Box<Backbone>),
    MobileNet(Box<Network>),
}

impl Eyes {
    fn new(config: &Config, weights: &Weights, arithmetic: Arithmetic) -> Result<Self> {
        let weights = weights.pp("visumodel.backbone");
        Ok(match config.backbone() {
            config::Backbone::MobileNet(own) => Self::MobileNet(Box::new(Network::new(own, &weights, arithmetic)?)),
            config::Backbone::Swin(_) => Self::Swin(Box::new(Backbone::new(config, &weights, arithmetic)?)),
        })
    }
}

/// Names of the weights whose products compute in `arithmetic` where a model does.
pub(crate) fn weights_in(config: &Config, tensors: &Tensors, arithmetic: Arithmetic) -> Result<HashSet<String>> {
    let names = RefCell::new(HashSet::new());
    let seen = |name: &str, weight: &Dense| {
        if weight.arithmetic() == arithmetic {
            names.borrow_mut().insert(name.to_owned());
        }
        Ok(())
    };
    let vb = crate::weights::builder(tensors, &Device::Cpu);
    Eyes::new(config, &Weights::new(&vb, Sources { seen: Some(&seen), ..Sources::default() }), arithmetic)?;
    Ok(names.into_inner())
}

/// How maps lie on one canvas.
struct OnCanvas {
    /// Of every stage's map.
    grids: Vec<Grid>,
    /// A Swin's windows, by stage.
    layouts: Vec<Layout>,
}

impl OnCanvas {
    fn new(config: &Config, plan: &CanvasPlan) -> Self {
        let layout = |windows, stage| Layout::new(windows, stage, Stage::window_sizes(config.swin(), stage));
        let layouts = plan.windows.iter().flat_map(|windows| (0..config.stages()).map(move |s| layout(windows, s)));
        Self {
            grids: (0..config.stages()).map(|stage| plan.level(config.stage_level(stage))).collect(),
            layouts: layouts.collect(),
        }
    }
}

#[derive(Default)]
struct Buffers {
    /// Every stage's tokens, then its map.
    maps: Vec<Vec<f32>>,
    /// What lies between blocks, and before the first gates; in windows, or from block to block.
    spare: [Vec<f32>; 2],
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
    /// Reads the weights from the root of a checkpoint. The backbone's Linears, but the first and the last, compute as
    /// `arithmetic` says; neck and head answer with fractions of a pixel and compute in f32.
    pub(crate) fn new(
        config: &Config,
        weights: &Weights,
        plans: &[CanvasPlan],
        arithmetic: Arithmetic,
    ) -> Result<Self> {
        Ok(Self {
            eyes: Eyes::new(config, weights, arithmetic)?,
            neck: Neck::new(config, &weights.pp("visumodel.neck"))?,
            head: Head::new(config, weights)?,
            canvases: plans.iter().map(|plan| OnCanvas::new(config, plan)).collect(),
            from_stage: config.gated_stages().start,
            neck_stages: config.neck_stages(),
            token_place: config.token_place(),
            buffers: Mutex::default(),
        })
    }

    /// Answers questions about pictures, each `[3, H, W]` on canvas number `canvas`; `asked` holds the picture of every question. `None`
    /// for an answer whose features are no numbers.
    ///
    /// # Shapes
    /// `gates` and `text` of one query or of as many as there are questions; `ignore [B, N']` (1 = padding) by question, or
    /// empty.
    #[expect(clippy::too_many_arguments, reason = "both halves of a question, and the canvas")]
    pub(crate) fn ground(
        &self,
        canvas: usize,
        pictures: &[&[f32]],
        asked: &[usize],
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
            let canvas = &self.canvases[canvas];
            let (backbone_gates, neck_gates) = gates.split_at(canvas.grids.len() - self.from_stage);
            trace_span!("backbone").in_scope(|| self.look(canvas, pictures, asked, backbone_gates, &mut buffers))?;
            let batch = asked.len();
            let own: Vec<usize> = (0..batch).collect();
            let Buffers { maps, levels, pools, head, workers, .. } = &mut buffers;
            trace_span!("neck").in_scope(|| {
                let gate = |level: usize, pools: &Pools, tokens| opened(&neck_gates[level], pools, &own, tokens);
                let map = |&stage: &usize| Map {
                    values: &maps[stage],
                    grid: canvas.grids[stage],
                    places: if stage < self.from_stage { asked } else { &own },
                };
                let maps: Vec<Map> = self.neck_stages.iter().map(map).collect();
                self.neck.forward(&maps, levels, pools, gate)
            })?;
            let _span = trace_span!("head").entered();
            let place = self.token_place;
            let (grid, coarse) = (canvas.grids[self.neck_stages[place]], levels.get(place + 1).map(Vec::as_slice));
            let seen = Seen { level: &levels[place], coarse, grid, batch, ignore };
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

    /// The backbone's maps: of the pictures before the first gates, of the questions behind them.
    fn look(
        &self,
        canvas: &OnCanvas,
        pictures: &[&[f32]],
        asked: &[usize],
        gates: &[Gates],
        buffers: &mut Buffers,
    ) -> Result<()> {
        let OnCanvas { grids, layouts } = canvas;
        buffers.maps.resize_with(grids.len(), Vec::new);
        match &self.eyes {
            Eyes::Swin(backbone) => self.look_through_windows(backbone, layouts, (pictures, asked), gates, buffers),
            Eyes::MobileNet(network) => network.look(pictures, asked, (gates, self.from_stage), grids, buffers),
        }
    }

    fn look_through_windows(
        &self,
        backbone: &Backbone,
        layouts: &[Layout],
        (pictures, asked): (&[&[f32]], &[usize]),
        gates: &[Gates],
        buffers: &mut Buffers,
    ) -> Result<()> {
        let Buffers { maps, spare: [by_window, shared], pools, workers, .. } = buffers;
        let own: Vec<usize> = (0..asked.len()).collect();
        // How many maps the blocks of a stage work on.
        let count = |stage: usize| if stage <= self.from_stage { pictures.len() } else { asked.len() };
        let size = |stage: usize| layouts[stage].grid().len() * backbone.stages[stage].channels;
        trace_span!("patch embed").in_scope(|| {
            let x = take(&mut maps[0], count(0) * size(0));
            backbone.patches.embed(pictures, backbone.pixels(layouts[0].grid()), x, workers);
        });
        for (i, (stage, layout)) in backbone.stages.iter().zip(layouts).enumerate() {
            let _span = trace_span!("stage", number = i).entered();
            let (here, later) = maps.split_at_mut(i + 1);
            stage.blocks(take(&mut here[i], count(i) * size(i)), layout, by_window, Some(pools), workers);
            let _span = trace_span!("gates").entered();
            let gates = match i.checked_sub(self.from_stage) {
                None => None,
                Some(gated) => {
                    let places = if gated == 0 { asked } else { &own };
                    Some(opened(&gates[gated], pools, places, layout.grid().len())?)
                }
            };
            let behind = if i < self.from_stage { pictures.len() } else { asked.len() };
            if i == self.from_stage && asked.iter().ne(&own) {
                std::mem::swap(shared, &mut here[i]);
                copy_maps(&shared[..count(i) * size(i)], asked, size(i), &mut here[i]);
            }
            let next = later.first_mut().map(|next| take(next, behind * size(i + 1)));
            let x = take(&mut here[i], behind * size(i));
            stage.finish(x, gates.as_deref(), layout.grid(), next, workers);
        }
        Ok(())
    }
}

/// A map for every question, of those of the pictures.
fn copy_maps(maps: &[f32], asked: &[usize], size: usize, out: &mut Vec<f32>) {
    for (out, picture) in take(out, asked.len() * size).chunks_exact_mut(size).zip(asked) {
        out.copy_from_slice(&maps[picture * size..][..size]);
    }
}

/// Every question's gate, from the pools of the map that it has in `places`.
fn opened(gates: &Gates, pools: &Pools, places: &[usize], tokens: usize) -> Result<Vec<Spatial>> {
    let tensors: Vec<Tensor> = gates.tensors().map(Clone::clone).to_vec();
    with_elements(&tensors, |slices| {
        let queries = gates.fc1.dims()[0];
        let part = |part: usize, query: usize| {
            let size = slices[part].len() / queries;
            &slices[part][query * size..][..size]
        };
        let gate = |(question, &place): (usize, &usize)| {
            let query = if queries == 1 { 0 } else { question };
            let matrices = Matrices { fc1: part(0, query), fc2: part(1, query), spatial: part(2, query) };
            Spatial::of_pools(&pools.of(place, tokens), matrices)
        };
        places.iter().enumerate().map(gate).collect()
    })
}

#[cfg(test)]
mod tests;
