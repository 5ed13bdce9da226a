//! The decoder, a layer in two passes over the queries: in the first, what they are to each other; in the second, everything
//! that they look at, row by row, and where their boxes move.

use blocks::ops::kernel::deformable::{Around, Map};
use blocks::ops::kernel::product::{Packed, Rows};
use blocks::ops::kernel::relu_in_place;
use blocks::packed::layers::{FeedForward, Norm};
use blocks::packed::tasks::{Portions, Scratch, Workers, share, take};
use blocks::packed::weights::{Weights, packed, values};
use candle_core::{Result, Tensor};
use tracing::trace_span;

use super::Geometry;
use super::attention::{Heads, Memory};
use super::deformable::Deformable;
use super::layers::{MlpHead, feed_forward, sum};
use super::proposals::{ScoreHead, ScoreWords};
use crate::config::Config;
use crate::decoder::{TEMPERATURE, logit, sigmoid};
use crate::plan::{frequencies, waves};

pub(super) struct Decoder {
    layers: Vec<Layer>,
    norm: Norm,
    positions: MlpHead,
    /// One for every layer, or one for all.
    boxes: Vec<MlpHead>,
    scores: ScoreHead,
    /// `[Q, d]`: what queries start from.
    queries: Vec<f32>,
    frequencies: Vec<f32>,
    width: usize,
}

struct Layer {
    /// Queries and keys of the queries themselves, which have positions, one below the other.
    places: Packed,
    value: Packed,
    itself: Packed,
    itself_norm: Norm,
    text_query: Packed,
    /// The text's keys and values, one below the other.
    text: Packed,
    text_output: Packed,
    text_norm: Norm,
    vision: Deformable,
    vision_norm: Norm,
    mlp: FeedForward,
    last_norm: Norm,
    heads: Heads,
}

/// Buffers from frame to frame.
#[derive(Default)]
pub(super) struct Room {
    x: Vec<f32>,
    /// The queries' positions, and what they are to each other.
    positions: Vec<f32>,
    qkv: Vec<f32>,
    itself: Memory,
    text: Memory,
    text_rows: Vec<f32>,
    words: ScoreWords,
}

/// What all layers look at.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    /// `[T, d]`.
    pub(super) vision: &'a [f32],
    /// `[L, d]`.
    pub(super) words: &'a [f32],
    pub(super) geometry: &'a Geometry,
}

impl Decoder {
    /// `weights` is the whole model's: the heads lie outside of the decoder.
    pub(super) fn new(config: &Config, weights: &Weights) -> Result<Self> {
        let (width, decoder) = (config.width, weights.pp("model.decoder"));
        let layer = |number: usize| Layer::new(config, &decoder.pp(format!("layers.{number}")));
        let heads = if config.shared_boxes { 1 } else { config.decoder.layers };
        let head = |number: usize| MlpHead::new(&weights.pp(format!("bbox_embed.{number}")), &[width, width, width, 4]);
        let scoring = if config.shared_scores { 0 } else { config.decoder.layers - 1 };
        let queries = weights.pp("model").get((config.queries, width), "query_position_embeddings.weight")?;
        Ok(Self {
            layers: (0..config.decoder.layers).map(layer).collect::<Result<_>>()?,
            norm: Norm::new(&decoder.pp("layer_norm"), width, config.eps)?,
            positions: MlpHead::new(&decoder.pp("reference_points_head"), &[2 * width, width, width])?,
            boxes: (0..heads).map(head).collect::<Result<_>>()?,
            scores: ScoreHead::new(config, &weights.pp(format!("class_embed.{scoring}")))?,
            queries: values(&queries)?,
            frequencies: frequencies(width / 2, TEMPERATURE),
            width,
        })
    }

    /// Moves `boxes`, one for every query, and scores them by every token of the text, into `logits [Q, L]`. `seen [T, d]` is
    /// room.
    pub(super) fn forward(
        &self,
        (boxes, logits): (&mut [[f32; 4]], &mut Vec<f32>),
        shown: Shown,
        seen: &mut [f32],
        room: &mut Room,
        workers: &Workers,
    ) {
        let (width, count, ratios) = (self.width, boxes.len(), &shown.geometry.plan.ratios);
        let Room { x, positions, qkv, itself, text, text_rows, words } = room;
        let x = take(x, count * width);
        // A small picture has fewer tokens than there are queries.
        x.copy_from_slice(&self.queries[..count * width]);
        let (positions, qkv) = (take(positions, count * width), take(qkv, 3 * count * width));
        self.scores.pack(shown.words, words);
        let length = shown.words.len() / width;
        logits.resize(count * length, 0.0);
        for (number, layer) in self.layers.iter().enumerate() {
            let _span = trace_span!("decoder", number).entered();
            layer.show(shown, seen, text, text_rows);
            self.place(layer, x, boxes, ratios, (&mut *positions, &mut *qkv), workers);
            let rows = |part: usize| Rows { values: &qkv[part * width..], stride: 3 * width, count };
            itself.pack(rows(1), rows(2), layer.heads);
            let head = &self.boxes[number.min(self.boxes.len() - 1)];
            let last = number + 1 == self.layers.len();
            let pieces = Portions::ROWS.cut(x, width).zip(Portions::ROWS.cut(boxes.as_flattened_mut(), 4));
            let pieces = pieces.zip(Portions::ROWS.cut(logits, length));
            let (itself, text, seen, maps) = (&*itself, &*text, &*seen, &shown.geometry.maps);
            share(pieces, |(((first, x), (_, boxes)), (_, logits))| {
                let mut scratch = workers.mine();
                let positions = &positions[first * width..][..x.len()];
                let queries = Rows { values: &qkv[first * 3 * width..], stride: 3 * width, count: boxes.len() / 4 };
                let scratch = &mut *scratch;
                by_level(boxes, ratios, &mut scratch.rows[6]);
                layer.look(x, positions, queries, (itself, text), (seen, maps.as_slice()), scratch);
                let Scratch { rows: [normed, here, next, moves, ..], .. } = scratch;
                // What comes out is refined from normalised queries, what the next layer starts from is not.
                let normed = take(normed, x.len());
                if last {
                    self.norm.rows(x, normed);
                    self.scores.forward(normed, words, logits);
                }
                let moves = take(moves, boxes.len());
                head.forward(if last { normed } else { x }, moves, [here, next]);
                boxes.iter_mut().zip(moves).for_each(|(own, change)| *own = sigmoid(*change + logit(*own)));
            });
        }
    }

    /// The queries' positions, from their boxes on the first level, and what they are to each other.
    fn place(
        &self,
        layer: &Layer,
        x: &[f32],
        boxes: &[[f32; 4]],
        ratios: &[[f32; 2]],
        (positions, qkv): (&mut [f32], &mut [f32]),
        workers: &Workers,
    ) {
        let width = self.width;
        let [across, down] = ratios[0];
        let pieces = Portions::ROWS.cut(positions, width).zip(Portions::ROWS.cut(qkv, 3 * width));
        share(pieces, |((first, positions), (_, qkv))| {
            let mut scratch = workers.mine();
            let Scratch { rows: [sine, here, next, placed, ..], .. } = &mut *scratch;
            let count = positions.len() / width;
            let sine = take(sine, count * 2 * width);
            for (sine, [x, y, w, h]) in sine.chunks_exact_mut(2 * width).zip(&boxes[first..]) {
                // y before x, as everywhere in this family.
                let sides = [y * down, x * across, w * across, h * down];
                for (sine, side) in sine.chunks_exact_mut(width / 2).zip(sides) {
                    let angle = side * std::f32::consts::TAU;
                    sine.iter_mut().zip(waves(angle, &self.frequencies)).for_each(|(sine, wave)| *sine = wave);
                }
            }
            self.positions.forward(sine, positions, [here, next]);
            let (x, placed) = (&x[first * width..][..positions.len()], take(placed, positions.len()));
            sum(x, positions, placed);
            let rows = Rows { values: placed, stride: width, count };
            layer.places.apply(rows, layer.places.bias(), qkv, 3 * width);
            let rows = Rows { values: x, stride: width, count };
            layer.value.apply(rows, layer.value.bias(), &mut qkv[2 * width..], 3 * width);
        });
    }
}

/// Boxes over the whole of every map, of which the picture is a part: `[Q, levels, 4]`.
fn by_level(boxes: &[f32], ratios: &[[f32; 2]], out: &mut Vec<f32>) {
    out.clear();
    out.extend(boxes.as_chunks::<4>().0.iter().flat_map(|[x, y, w, h]| {
        ratios.iter().flat_map(move |[across, down]| [x * across, y * down, w * across, h * down])
    }));
}

impl Layer {
    fn new(config: &Config, weights: &Weights) -> Result<Self> {
        let (width, hidden, count) = (config.width, config.decoder.hidden, config.decoder.heads);
        let norm = |name: &str| Norm::new(&weights.pp(name), width, config.eps);
        let of = |name: &str| weights.pp(name).exact_linear(width, width);
        let both = |attention: &str, names: [&str; 2]| {
            let weights = weights.pp(attention);
            let [first, second] = names.map(|name| weights.pp(name));
            let weight = [first.get((width, width), "weight")?, second.get((width, width), "weight")?];
            let bias = [first.get(width, "bias")?, second.get(width, "bias")?];
            packed(&Tensor::cat(&weight, 0)?, Some(&Tensor::cat(&bias, 0)?))
        };
        Ok(Self {
            places: both("self_attn", ["query", "key"])?,
            value: of("self_attn.value")?,
            itself: of("self_attn.out_proj")?,
            itself_norm: norm("self_attn_layer_norm")?,
            text_query: of("encoder_attn_text.query")?,
            text: both("encoder_attn_text", ["key", "value"])?,
            text_output: of("encoder_attn_text.out_proj")?,
            text_norm: norm("encoder_attn_text_layer_norm")?,
            vision: Deformable::new(config, config.decoder, &weights.pp("encoder_attn"))?,
            vision_norm: norm("encoder_attn_layer_norm")?,
            mlp: feed_forward(weights, width, hidden)?,
            last_norm: norm("final_layer_norm")?,
            heads: Heads { count, depth: width / count },
        })
    }

    /// What there is to see of picture and text.
    fn show(&self, shown: Shown, seen: &mut [f32], text: &mut Memory, text_rows: &mut Vec<f32>) {
        let width = self.text_query.output();
        share(Portions::ROWS.cut(seen, width), |(first, seen)| {
            let tokens = &shown.vision[first * width..][..seen.len()];
            self.vision.show(tokens, shown.geometry.shown(first, seen.len() / width), seen);
        });
        let count = shown.words.len() / width;
        let both = take(text_rows, 2 * shown.words.len());
        let words = Rows { values: shown.words, stride: width, count };
        self.text.apply(words, self.text.bias(), both, 2 * width);
        let part = |part: usize| Rows { values: &both[part * width..], stride: 2 * width, count };
        text.pack(part(0), part(1), self.heads);
    }

    /// All that some queries `x [rows, d]` look at, in place; the last but one of the scratch's rows holds their boxes by level.
    fn look(
        &self,
        x: &mut [f32],
        positions: &[f32],
        queries: Rows,
        (itself, text): (&Memory, &Memory),
        (values, maps): (&[f32], &[Map]),
        scratch: &mut Scratch,
    ) {
        let (width, count) = (self.text_query.output(), queries.count);
        let Scratch { rows: [attended, normed, placed, scores, hidden, asked, boxes, _], left, looks, .. } = scratch;
        let (attended, normed) = (take(attended, x.len()), take(normed, x.len()));
        let placed = take(placed, x.len());
        itself.ask(queries, self.heads, &[], scores, attended);
        let rows = Rows { values: attended, stride: width, count };
        self.itself.apply(rows, self.itself.bias_onto(), x, width);
        self.itself_norm.rows(x, normed);
        x.copy_from_slice(normed);

        sum(x, positions, placed);
        let rows = Rows { values: placed, stride: width, count };
        self.text_query.apply(rows, self.text_query.bias(), normed, width);
        text.ask(Rows { values: normed, stride: width, count }, self.heads, &[], scores, attended);
        let rows = Rows { values: attended, stride: width, count };
        self.text_output.apply(rows, self.text_output.bias_onto(), x, width);
        self.text_norm.rows(x, normed);
        x.copy_from_slice(normed);

        sum(x, positions, placed);
        let asked = take(asked, count * self.vision.asks());
        self.vision.ask(placed, asked);
        self.vision.add((values, maps), Around::Boxes(boxes), asked, x, attended, looks);
        self.vision_norm.rows(x, normed);
        x.copy_from_slice(normed);
        self.mlp.add(normed, relu_in_place, x, hidden, left);
        normed.copy_from_slice(x);
        self.last_norm.rows(normed, x);
    }
}
