//! The encoder, a layer in two passes over the picture's tokens: in the first, fusion and what the deformable attention
//! shows and asks; in the second, what it sees, and the feed-forward part. Beside the second the text makes itself ready
//! for the next layer.

use blocks::ops::kernel::deformable::{Around, Map};
use blocks::ops::kernel::relu_in_place;
use blocks::packed::layers::{FeedForward, Norm};
use blocks::packed::tasks::{Portions, Scratch, Workers, share, take};
use blocks::packed::weights::Weights;
use candle_core::Result;
use tracing::trace_span;

use super::attention::Memory;
use super::deformable::Deformable;
use super::fusion::{Folded, Fusion, Parts, TextRoom};
use super::layers::{feed_forward, sum};
use super::text::Enhancer;
use super::{Geometry, Words};
use crate::config::Config;

pub(super) struct Encoder {
    layers: Vec<Layer>,
    width: usize,
}

struct Layer {
    fusion: Fusion,
    enhancer: Enhancer,
    attention: Deformable,
    norm: Norm,
    mlp: FeedForward,
    last_norm: Norm,
}

/// Buffers from frame to frame.
#[derive(Default)]
pub(super) struct Room {
    parts: Parts,
    asked: Vec<f32>,
    folded: Folded,
    memory: Memory,
    text: TextRoom,
}

impl Encoder {
    pub(super) fn new(config: &Config, weights: &Weights) -> Result<Self> {
        let layers =
            (0..config.encoder.layers).map(|number| Layer::new(config, &weights.pp(format!("layers.{number}"))));
        Ok(Self { layers: layers.collect::<Result<_>>()?, width: config.width })
    }

    /// What pictures meet in the first layer, which follows from the text's `tokens [L, d]` alone.
    pub(super) fn fold(&self, tokens: &[f32]) -> Folded {
        let mut folded = Folded::default();
        if let Some(first) = self.layers.first() {
            first.fusion.fold(tokens, &mut folded, &mut TextRoom::default());
        }
        folded
    }

    /// All layers, in place on `x [T, d]`; leaves the text's tokens in `words`. `seen [T, d]` is room.
    pub(super) fn forward(
        &self,
        x: &mut [f32],
        words: &mut [f32],
        (text, geometry, positions): (&Words, &Geometry, &[f32]),
        seen: &mut [f32],
        room: &mut Room,
        workers: &Workers,
    ) {
        let Room { parts, asked, folded, memory, text: text_room } = room;
        for (number, layer) in self.layers.iter().enumerate() {
            let _span = trace_span!("encoder", number).entered();
            let here = if number == 0 { &text.folded } else { &*folded };
            let asked = take(asked, x.len() / self.width * layer.attention.asks());
            let tasks = layer.meet(x, (here, geometry, positions), parts, (&mut *seen, &mut *asked), workers);
            layer.fusion.hear(parts, tasks, here, text_room, words);
            let follows = self.layers.get(number + 1);
            rayon::join(
                || {
                    layer.enhancer.forward(words, (&text.positions, &text.mask), memory, text_room);
                    if let Some(next) = follows {
                        next.fusion.fold(words, folded, text_room);
                    }
                },
                || layer.refine(x, (&*seen, &geometry.maps, &geometry.plan.points), asked, workers),
            );
        }
    }
}

impl Layer {
    fn new(config: &Config, weights: &Weights) -> Result<Self> {
        let (width, own) = (config.width, weights.pp("deformable_layer"));
        Ok(Self {
            fusion: Fusion::new(config, &weights.pp("fusion_layer"))?,
            enhancer: Enhancer::new(config, &weights.pp("text_enhancer_layer"))?,
            attention: Deformable::new(config, config.encoder, &own.pp("self_attn"))?,
            norm: Norm::new(&own.pp("self_attn_layer_norm"), width, config.eps)?,
            mlp: feed_forward(&own, width, config.encoder.hidden)?,
            last_norm: Norm::new(&own.pp("final_layer_norm"), width, config.eps)?,
        })
    }

    /// The first pass. Returns in how many tasks it was made.
    fn meet(
        &self,
        x: &mut [f32],
        (folded, geometry, positions): (&Folded, &Geometry, &[f32]),
        parts: &mut Parts,
        (values, asked): (&mut [f32], &mut [f32]),
        workers: &Workers,
    ) -> usize {
        let (width, asks) = (self.fusion.width(), self.attention.asks());
        let tasks = Portions::ROWS.count(x.len() / width);
        let parts = parts.begin(tasks, folded.columns(), width);
        let pieces = Portions::ROWS.cut(x, width).zip(Portions::ROWS.cut(values, width));
        let pieces = pieces.zip(Portions::ROWS.cut(asked, asks)).zip(parts);
        share(pieces, |((((first, x), (_, values)), (_, asked)), part)| {
            let mut scratch = workers.mine();
            let Scratch { rows: [normed, scores, weights, queries, ..], lines, .. } = &mut *scratch;
            let shown = geometry.shown(first, x.len() / width);
            self.fusion.look(x, shown, folded, part, [normed, scores, weights], lines);
            self.attention.show(x, shown, values);
            let queries = take(queries, x.len());
            sum(x, &positions[first * width..], queries);
            self.attention.ask(queries, asked);
        });
        tasks
    }

    /// The second pass.
    fn refine(
        &self,
        x: &mut [f32],
        (values, maps, points): (&[f32], &[Map], &[f32]),
        asked: &mut [f32],
        workers: &Workers,
    ) {
        let (width, asks) = (self.fusion.width(), self.attention.asks());
        let pieces = Portions::ROWS.cut(x, width).zip(Portions::ROWS.cut(asked, asks));
        share(pieces, |((first, x), (_, asked))| {
            let mut scratch = workers.mine();
            let Scratch { rows: [seen, normed, hidden, ..], left, looks, .. } = &mut *scratch;
            let (seen, normed) = (take(seen, x.len()), take(normed, x.len()));
            let around = Around::Points(&points[first * 2 * maps.len()..]);
            self.attention.add((values, maps), around, asked, x, seen, looks);
            self.norm.rows(x, normed);
            x.copy_from_slice(normed);
            self.mlp.add(normed, relu_in_place, x, hidden, left);
            normed.copy_from_slice(x);
            self.last_norm.rows(normed, x);
        });
    }
}
