//! Attention of picture and text to each other, folded as [`crate::fusion`] tells: what a picture's token meets are small
//! matrices of the text. Those of the first layer follow from the text alone, the others are made beside the picture's work.

use blocks::ops::kernel::attend::{pack_values, value_lines};
use blocks::ops::kernel::dense::Room as LeftRoom;
use blocks::ops::kernel::product::{Line, Out, Packed, Rows, Start, multiply};
use blocks::ops::kernel::{column_weights, softmax_in_place};
use blocks::packed::layers::Norm;
use blocks::packed::tasks::take;
use blocks::packed::weights::{Weights, values};
use candle_core::{Result, Tensor};

use crate::config::Config;

pub(super) struct Fusion {
    vision_norm: Norm,
    text_norm: Norm,
    /// The text's projections into scores and into values for the picture.
    keys: Packed,
    text_values: Packed,
    /// The picture's projections, head by head.
    heads: Vec<Head>,
    /// Of what comes back to the picture, with its scale.
    output_bias: Vec<Line>,
    /// Of what comes back to the text, with its scale.
    text_output: Packed,
    width: usize,
    /// Channels of a head.
    depth: usize,
}

struct Head {
    /// Keys to weights of scores, `D` → `d`, with the scale of scores; and keys to their bias, `D` → 1.
    queries: Packed,
    query_bias: Packed,
    /// What the text sees to its values, `d` → `D`.
    values: Packed,
    /// The text's values to what they write onto the picture, `D` → `d`, with its scale.
    output: Packed,
}

/// What pictures' tokens meet in one layer.
#[derive(Default)]
pub(crate) struct Folded {
    /// The text's normalised tokens, `[L, d]`.
    words: Vec<f32>,
    /// To scores by head and word, `d` → `heads * L`.
    scores: Packed,
    /// From these to what is added, `heads * L` → `d`.
    written: Vec<Line>,
}

impl Folded {
    /// What it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.words.as_slice()) + self.scores.bytes() + size_of_val(self.written.as_slice())
    }

    /// A score for every head and word.
    pub(super) fn columns(&self) -> usize {
        self.scores.output()
    }
}

/// Room for the text's values on the way.
#[derive(Default)]
pub(super) struct TextRoom {
    wide: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    pub(super) rows: [Vec<f32>; 6],
    pub(super) left: [LeftRoom; 2],
}

/// What some of a picture's rows say to the text: a largest score, a sum and a weighted sum of tokens for every column.
#[derive(Default)]
pub(super) struct Parts(Vec<f32>);

impl Parts {
    pub(super) fn begin(&mut self, tasks: usize, columns: usize, width: usize) -> std::slice::ChunksExactMut<'_, f32> {
        let size = columns * (2 + width);
        take(&mut self.0, tasks * size).chunks_exact_mut(size)
    }

    /// The parts together: what a softmax over all rows sees of them, `[columns, d]`.
    fn total(&self, tasks: usize, columns: usize, width: usize, seen: &mut [f32]) {
        let size = columns * (2 + width);
        let parts = || self.0[..tasks * size].chunks_exact(size);
        for (column, seen) in seen.chunks_exact_mut(width).enumerate() {
            let largest = parts().fold(f32::NEG_INFINITY, |largest, part| largest.max(part[column]));
            let mut sum = 0.0;
            seen.fill(0.0);
            for part in parts() {
                // Nothing of rows that are padding throughout.
                let share = (part[column] - largest).exp();
                sum += share * part[columns + column];
                let own = &part[2 * columns + column * width..][..width];
                seen.iter_mut().zip(own).for_each(|(seen, own)| *seen += share * own);
            }
            for seen in seen {
                *seen /= sum;
            }
        }
    }
}

impl Fusion {
    pub(super) fn new(config: &Config, weights: &Weights) -> Result<Self> {
        let (width, inner, attention) = (config.width, config.fusion_width(), weights.pp("attn"));
        let (heads, depth) = (config.fusion_heads(), inner / config.fusion_heads());
        let read = |name: &str, input: usize, output: usize| -> Result<(Tensor, Vec<f32>)> {
            let weights = attention.pp(name);
            Ok((weights.get((output, input), "weight")?, values(&weights.get(output, "bias")?)?))
        };
        let linear = |(weight, bias): (Tensor, Vec<f32>)| -> Result<Packed> {
            Ok(Packed::new(&values(&weight)?, Some(&bias), weight.dim(1)?).halved())
        };
        // Rows of a result, and their scales.
        let scaled = |(weight, bias): (Tensor, Vec<f32>), name: &str| -> Result<(Tensor, Vec<f32>)> {
            let scale = weights.get(width, name)?;
            let bias = bias.iter().zip(values(&scale)?).map(|(bias, scale)| bias * scale).collect();
            Ok((weight.broadcast_mul(&scale.unsqueeze(1)?)?, bias))
        };
        let (queries, query_bias) = read("vision_proj", width, inner)?;
        let (seen, seen_bias) = read("values_vision_proj", width, inner)?;
        let (output, output_bias) = scaled(read("out_vision_proj", inner, width)?, "vision_param")?;
        let scale = 1.0 / (depth as f32).sqrt();
        let head = |head: usize| {
            let own = head * depth..(head + 1) * depth;
            let part = |tensor: &Tensor| tensor.narrow(0, own.start, depth);
            let scores = (part(&queries)?.t()? * f64::from(scale))?.contiguous()?;
            let bias: Vec<f32> = query_bias[own.clone()].iter().map(|bias| bias * scale).collect();
            let output = output.narrow(1, own.start, depth)?.contiguous()?;
            Ok(Head {
                queries: Packed::new(&values(&scores)?, None, depth).halved(),
                query_bias: Packed::new(&bias, None, depth),
                values: Packed::new(&values(&part(&seen)?)?, Some(&seen_bias[own.clone()]), width).halved(),
                output: Packed::new(&values(&output)?, None, depth).halved(),
            })
        };
        Ok(Self {
            vision_norm: Norm::new(&weights.pp("layer_norm_vision"), width, config.eps)?,
            text_norm: Norm::new(&weights.pp("layer_norm_text"), width, config.eps)?,
            keys: linear(read("text_proj", width, inner)?)?,
            text_values: linear(read("values_text_proj", width, inner)?)?,
            heads: (0..heads).map(head).collect::<Result<_>>()?,
            output_bias: Line::all(&output_bias, 0.0),
            text_output: linear(scaled(read("out_text_proj", inner, width)?, "text_param")?)?,
            width,
            depth,
        })
    }

    /// Channels of a token.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Makes `folded` of the text's `words [L, d]`.
    pub(super) fn fold(&self, words: &[f32], folded: &mut Folded, room: &mut TextRoom) {
        let (width, depth) = (self.width, self.depth);
        let (count, inner) = (words.len() / width, self.heads.len() * depth);
        let columns = self.heads.len() * count;
        let TextRoom { wide, weight, bias, .. } = room;
        let (wide, weight) = (take(wide, count * inner), take(weight, columns * width));
        let bias = take(bias, columns);
        folded.words.resize(words.len(), 0.0);
        self.text_norm.rows(words, &mut folded.words);
        let rows = Rows { values: &folded.words, stride: width, count };
        self.keys.apply(rows, self.keys.bias(), wide, inner);
        for (i, head) in self.heads.iter().enumerate() {
            let keys = Rows { values: &wide[i * depth..], stride: inner, count };
            head.queries.apply(keys, Start::Zero, &mut weight[i * count * width..], width);
            head.query_bias.apply(keys, Start::Zero, &mut bias[i * count..], 1);
        }
        folded.scores.pack(weight, Some(bias), width);
        self.text_values.apply(rows, self.text_values.bias(), wide, inner);
        for (i, head) in self.heads.iter().enumerate() {
            let own = Rows { values: &wide[i * depth..], stride: inner, count };
            head.output.apply(own, Start::Zero, &mut weight[i * count * width..], width);
        }
        folded.written.resize(value_lines(columns, width), Line::of(0.0));
        pack_values(Rows { values: weight, stride: width, count: columns }, width, &mut folded.written);
    }

    /// Some of a picture's rows: `x [rows, d]` in place, and into `part` what they say to the text. Rows that are not
    /// `shown` say nothing; an empty `shown` shows all.
    pub(super) fn look(
        &self,
        x: &mut [f32],
        shown: &[bool],
        folded: &Folded,
        part: &mut [f32],
        [normed, scores, weights]: [&mut Vec<f32>; 3],
        lines: &mut Vec<Line>,
    ) {
        let (width, columns) = (self.width, folded.scores.output());
        let (count, words) = (x.len() / width, columns / self.heads.len());
        let (normed, scores) = (take(normed, x.len()), take(scores, count * columns));
        self.vision_norm.rows(x, normed);
        let rows = Rows { values: normed, stride: width, count };
        folded.scores.apply(rows, folded.scores.bias(), scores, columns);

        let weights = take(weights, count * columns);
        let (maxima, rest) = part.split_at_mut(columns);
        let (sums, seen) = rest.split_at_mut(columns);
        column_weights(scores, columns, shown, maxima, sums, weights);
        lines.resize(value_lines(count, width), Line::of(0.0));
        pack_values(rows, width, lines);
        let by_column = Rows { values: weights, stride: count, count: columns };
        multiply(by_column, lines, count, Start::Zero, Out { values: seen, stride: width, width });

        softmax_in_place(scores, words);
        x.copy_from_slice(normed);
        let rows = Rows { values: scores, stride: columns, count };
        let out = Out { values: x, stride: width, width };
        multiply(rows, &folded.written, columns, Start::StoredAndRow(&self.output_bias), out);
    }

    /// The text's tokens behind the layer, into `words [L, d]`, of what `tasks` parts said.
    pub(super) fn hear(&self, parts: &Parts, tasks: usize, folded: &Folded, room: &mut TextRoom, words: &mut [f32]) {
        let (width, depth) = (self.width, self.depth);
        let (count, inner) = (words.len() / width, self.heads.len() * depth);
        let TextRoom { wide, weight: seen, .. } = room;
        let (wide, seen) = (take(wide, count * inner), take(seen, self.heads.len() * count * width));
        parts.total(tasks, self.heads.len() * count, width, seen);
        for (i, head) in self.heads.iter().enumerate() {
            let rows = Rows { values: &seen[i * count * width..], stride: width, count };
            // The weights of a row add up to one: a bias of all values is one of their mean.
            head.values.apply(rows, head.values.bias(), &mut wide[i * depth..], inner);
        }
        words.copy_from_slice(&folded.words);
        let rows = Rows { values: wide, stride: inner, count };
        self.text_output.apply(rows, self.text_output.bias_onto(), words, width);
    }
}
