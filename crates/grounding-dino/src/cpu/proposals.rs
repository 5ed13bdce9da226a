//! The tokens that score best become what the decoder starts from.

use blocks::ops::kernel::product::{Packed, Rows};
use blocks::packed::layers::Norm;
use blocks::packed::tasks::{Portions, Scratch, Workers, share, take};
use blocks::packed::weights::Weights;
use candle_core::Result;

use super::layers::MlpHead;
use crate::config::{Class, Config};
use crate::decoder::sigmoid;
use crate::plan::Proposal;

pub(super) struct Proposals {
    linear: Packed,
    norm: Norm,
    scores: ScoreHead,
    boxes: MlpHead,
    /// How many are picked.
    count: usize,
}

/// Scores rows by every token of the text.
pub(super) struct ScoreHead {
    /// The class that has one divides scores by the root of the width, too.
    bias: Option<f32>,
    width: usize,
}

/// The text's tokens as a score's right side.
#[derive(Default)]
pub(super) struct ScoreWords(Packed);

impl ScoreHead {
    pub(super) fn new(config: &Config, weights: &Weights) -> Result<Self> {
        let bias = match config.class {
            Class::Idea => None,
            Class::Mm => Some(weights.get((), "bias")?.to_scalar()?),
        };
        Ok(Self { bias, width: config.width })
    }

    /// Of the text's `words [L, d]`.
    pub(super) fn pack(&self, words: &[f32], packed: &mut ScoreWords) {
        packed.0.pack(words, None, self.width);
    }

    /// `x [rows, d]` → `scores [rows, L]`.
    pub(super) fn forward(&self, x: &[f32], words: &ScoreWords, scores: &mut [f32]) {
        let rows = Rows { values: x, stride: self.width, count: x.len() / self.width };
        words.0.apply(rows, words.0.bias(), scores, words.0.output());
        if let Some(bias) = self.bias {
            let root = (self.width as f32).sqrt();
            for score in scores {
                *score = *score / root + bias;
            }
        }
    }
}

/// Buffers from frame to frame.
#[derive(Default)]
pub(super) struct Room {
    objects: Vec<f32>,
    scores: Vec<f32>,
    words: ScoreWords,
    order: Vec<u32>,
}

impl Proposals {
    pub(super) fn new(config: &Config, weights: &Weights) -> Result<Self> {
        let width = config.width;
        Ok(Self {
            linear: weights.pp("enc_output").exact_linear(width, width)?,
            norm: Norm::new(&weights.pp("enc_output_norm"), width, config.eps)?,
            scores: ScoreHead::new(config, &weights.pp("encoder_output_class_embed"))?,
            boxes: MlpHead::new(&weights.pp("encoder_output_bbox_embed"), &[width, width, width, 4])?,
            count: config.queries,
        })
    }

    /// The tokens that score best of `x [T, d]`, best first, and their boxes into `boxes`.
    pub(super) fn pick(
        &self,
        x: &[f32],
        words: &[f32],
        proposals: &[Proposal],
        boxes: &mut Vec<[f32; 4]>,
        room: &mut Room,
        workers: &Workers,
    ) {
        let width = self.linear.output();
        self.scores.pack(words, &mut room.words);
        let (objects, scores) = (take(&mut room.objects, x.len()), take(&mut room.scores, proposals.len()));
        let (right, length) = (&room.words, words.len() / width);
        let pieces = Portions::ROWS.cut(objects, width).zip(Portions::ROWS.cut(scores, 1));
        share(pieces, |((first, objects), (_, best))| {
            let mut scratch = workers.mine();
            let Scratch { rows: [tokens, projected, scores, ..], .. } = &mut *scratch;
            let (tokens, projected) = (take(tokens, objects.len()), take(projected, objects.len()));
            tokens.copy_from_slice(&x[first * width..][..objects.len()]);
            // Tokens without a proposal score as zeros do.
            for (token, _) in
                tokens.chunks_exact_mut(width).zip(&proposals[first..]).filter(|(_, proposal)| !proposal.valid)
            {
                token.fill(0.0);
            }
            let rows = Rows { values: tokens, stride: width, count: best.len() };
            self.linear.apply(rows, self.linear.bias(), projected, width);
            self.norm.rows(projected, objects);
            let scores = take(scores, best.len() * length);
            self.scores.forward(objects, right, scores);
            for (best, scores) in best.iter_mut().zip(scores.chunks_exact(length)) {
                *best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            }
        });
        room.order.clear();
        room.order.extend(0..proposals.len() as u32);
        // Of equals the first.
        let better = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b));
        if self.count < room.order.len() {
            room.order.select_nth_unstable_by(self.count, better);
            room.order.truncate(self.count);
        }
        room.order.sort_unstable_by(better);
        boxes.clear();
        boxes.resize(room.order.len(), [0.0; 4]);
        let order = &room.order;
        let pieces = Portions::ROWS.cut(boxes.as_flattened_mut(), 4);
        share(pieces, |(first, boxes)| {
            let mut scratch = workers.mine();
            let Scratch { rows: [picked, here, next, ..], .. } = &mut *scratch;
            let tokens = &order[first..][..boxes.len() / 4];
            let picked = take(picked, tokens.len() * width);
            for (picked, &token) in picked.chunks_exact_mut(width).zip(tokens) {
                picked.copy_from_slice(&objects[token as usize * width..][..width]);
            }
            self.boxes.forward(picked, boxes, [here, next]);
            for (own, &token) in boxes.as_chunks_mut::<4>().0.iter_mut().zip(tokens) {
                let logits = proposals[token as usize].logits;
                *own = std::array::from_fn(|i| sigmoid(own[i] + logits[i]));
            }
        });
    }
}
