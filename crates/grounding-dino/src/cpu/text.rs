//! Self-attention of the text, within phrases.

use blocks::ops::kernel::product::{Packed, Rows};
use blocks::ops::kernel::relu_in_place;
use blocks::packed::layers::{FeedForward, Norm};
use blocks::packed::tasks::take;
use blocks::packed::weights::Weights;
use candle_core::Result;

use super::attention::{Heads, Memory};
use super::fusion::TextRoom;
use super::layers::feed_forward;
use crate::config::Config;

pub(super) struct Enhancer {
    query: Packed,
    key: Packed,
    value: Packed,
    output: Packed,
    norm: Norm,
    mlp: FeedForward,
    last_norm: Norm,
    heads: Heads,
}

impl Enhancer {
    pub(super) fn new(config: &Config, weights: &Weights) -> Result<Self> {
        let (width, hidden) = (config.width, config.encoder.hidden / 2);
        let of = |name: &str| weights.pp("self_attn").pp(name).exact_linear(width, width);
        let count = config.fusion_heads();
        Ok(Self {
            query: of("query")?,
            key: of("key")?,
            value: of("value")?,
            output: of("out_proj")?,
            norm: Norm::new(&weights.pp("layer_norm_before"), width, config.eps)?,
            mlp: feed_forward(weights, width, hidden)?,
            last_norm: Norm::new(&weights.pp("layer_norm_after"), width, config.eps)?,
            heads: Heads { count, depth: width / count },
        })
    }

    /// In place on `words [L, d]`; `positions` are theirs, `mask [L, wide]` keeps phrases apart.
    pub(super) fn forward(
        &self,
        words: &mut [f32],
        (positions, mask): (&[f32], &[f32]),
        memory: &mut Memory,
        room: &mut TextRoom,
    ) {
        let width = self.query.input();
        let (count, size) = (words.len() / width, words.len());
        let TextRoom { rows: [placed, q, k, v, hidden, scores], left, .. } = room;
        let (placed, q, k, v) = (take(placed, size), take(q, size), take(k, size), take(v, size));
        for ((placed, word), position) in placed.iter_mut().zip(&*words).zip(positions) {
            *placed = word + position;
        }
        self.query.apply(Rows { values: placed, stride: width, count }, self.query.bias(), q, width);
        self.key.apply(Rows { values: placed, stride: width, count }, self.key.bias(), k, width);
        self.value.apply(Rows { values: words, stride: width, count }, self.value.bias(), v, width);
        memory.pack(Rows { values: k, stride: width, count }, Rows { values: v, stride: width, count }, self.heads);
        memory.ask(Rows { values: q, stride: width, count }, self.heads, mask, scores, placed);
        self.output.apply(Rows { values: placed, stride: width, count }, self.output.bias_onto(), words, width);
        self.norm.rows(words, placed);
        words.copy_from_slice(placed);
        self.mlp.add(placed, relu_in_place, words, hidden, left);
        placed.copy_from_slice(words);
        self.last_norm.rows(placed, words);
    }
}
