//! The fusion head of a compiled frame (SPEC section 5), with the constants of [`crate::fusion::compiled`].

use candle_core::Result;

use crate::config::Config;
use crate::fusion::compiled::HeadPlan;
use blocks::canvas::Grid;
use blocks::ops::kernel::attend::{NOT_THERE, attend, key_lines, pack_keys, pack_values, value_lines};
use blocks::ops::kernel::dense::Arithmetic;
use blocks::ops::kernel::product::{Line, Out, PANEL, Packed, Rows, Start};
use blocks::ops::kernel::relu_in_place as relu;
use blocks::packed::layers::{FeedForward, Norm};
use blocks::packed::tasks::{Portions, Scratch, Workers, share, take};
use blocks::packed::weights::{Weights, values};

const EPS: f64 = 1e-5;
/// Rows of a task: several for each thread, of the few hundred that there are.
const PORTIONS: Portions = Portions { most: 48, least: 16 };

pub(super) struct Head {
    reg: Vec<f32>,
    visual: Packed,
    layers: Vec<Layer>,
    boxes: Vec<Packed>,
    presence: Option<Packed>,
    heads: usize,
    width: usize,
}

struct Layer {
    qkv: Packed,
    projection: Packed,
    norm1: Norm,
    mlp: FeedForward,
    norm2: Norm,
}

/// The constants of one layout of tokens, see [`HeadPlan`].
pub(crate) struct Constants {
    /// Per layer, `[1 + L, 3d]`.
    front: Vec<Vec<f32>>,
    /// Per layer, `[N', 3d]`.
    visual: Vec<Vec<f32>>,
    reg_qkv: Vec<f32>,
    /// Per level, `[d]`.
    scale: [Vec<f32>; 2],
    /// Where every visual token comes from: its number among the tokens of both levels.
    tokens: Vec<u32>,
}

impl Constants {
    pub(crate) fn new(plan: &HeadPlan) -> Result<Self> {
        let all = |tensors: &[candle_core::Tensor]| tensors.iter().map(values).collect::<Result<Vec<_>>>();
        let visual = all(&plan.visual)?;
        let count = plan.visual.first().map_or(Ok(0), |visual| visual.dim(1))?;
        let tokens = match &plan.keep {
            Some(keep) => keep.to_vec1()?,
            None => (0..count as u32).collect(),
        };
        let [fine, coarse] = &plan.scale;
        Ok(Self {
            front: all(&plan.front)?,
            visual,
            reg_qkv: values(&plan.reg_qkv)?,
            scale: [values(fine)?, values(coarse)?],
            tokens,
        })
    }
}

/// The text's part, a row a query: `tokens [Q, n, d]`, `qkv [Q, n, 3d]`, `ignore [Q, n]` or empty.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) tokens: &'a [f32],
    pub(super) qkv: &'a [f32],
    pub(super) ignore: &'a [u8],
    pub(super) queries: usize,
}

/// What the head reads of a batch of pictures.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    /// The finer of the two levels, `[B, N, C]` on `grid`.
    pub(super) level: &'a [f32],
    /// The level after it, `[B, N / 4, C]`; where the neck has none, it is every second row and column.
    pub(super) coarse: Option<&'a [f32]>,
    pub(super) grid: Grid,
    pub(super) batch: usize,
    /// `[B, N']`, 1 = padding, or empty.
    pub(super) ignore: &'a [u8],
}

/// Buffers from frame to frame.
#[derive(Default)]
pub(super) struct Room {
    x: Vec<f32>,
    qkv: Vec<f32>,
    keys: Vec<Line>,
    values: Vec<Line>,
}

/// One picture's answer.
pub(super) struct Answer {
    /// `(cx, cy, w, h)` in 0..1 of the canvas.
    pub(super) rect: [f32; 4],
    /// Logit.
    pub(super) presence: Option<f32>,
    /// Whether the REG token's feature is a number throughout: a `ReLU` behind it takes a NaN for a zero.
    pub(super) finite: bool,
}

impl Head {
    pub(super) fn new(config: &Config, weights: &Weights) -> Result<Self> {
        let (d, hidden) = (config.vl.hidden_dim, config.vl.dim_feedforward);
        let layers = (0..config.vl.enc_layers)
            .map(|layer| {
                let weights = weights.pp(format!("vl_transformer.encoder.layers.{layer}"));
                let attention = weights.pp("self_attn");
                Ok(Layer {
                    // Its bias is in the constants.
                    qkv: attention.exact("in_proj_weight", (3 * d, d), None)?,
                    projection: attention.pp("out_proj").exact_linear(d, d)?,
                    norm1: Norm::new(&weights.pp("norm1"), d, EPS)?,
                    mlp: FeedForward {
                        first: weights.pp("linear1").linear(d, hidden, Arithmetic::F32)?,
                        second: weights.pp("linear2").linear(hidden, d, Arithmetic::F32)?,
                    },
                    norm2: Norm::new(&weights.pp("norm2"), d, EPS)?,
                })
            })
            .collect::<Result<_>>()?;
        let boxes = [d, d, 4].into_iter().enumerate();
        Ok(Self {
            reg: values(&weights.get((1, d), "reg_token.weight")?)?,
            visual: weights.pp("visu_proj").exact("weight", (d, config.neck.out_channels), None)?,
            layers,
            boxes: boxes
                .map(|(layer, output)| weights.pp(format!("bbox_embed.layers.{layer}")).exact_linear(d, output))
                .collect::<Result<_>>()?,
            presence: config.presence.then(|| weights.pp("presence_embed").exact_linear(d, 1)).transpose()?,
            heads: config.vl.nheads,
            width: d,
        })
    }

    /// # Shapes
    /// As in [`Seen`], [`Text`] and [`Constants`]; an answer a picture.
    pub(super) fn forward(
        &self,
        seen: Seen,
        text: Text,
        constants: &Constants,
        room: &mut Room,
        workers: &Workers,
    ) -> Vec<Answer> {
        let d = self.width;
        let front = 1 + text.tokens.len() / (text.queries * d);
        let length = front + constants.tokens.len();
        let x = take(&mut room.x, seen.batch * length * d);
        let qkv = take(&mut room.qkv, 3 * x.len());
        self.begin(seen, text, constants, x, qkv, workers);
        let masks = masks(seen, text, front, length);
        let sizes = Sizes { length, heads: self.heads, depth: d / self.heads };
        room.keys.resize(seen.batch * sizes.keys(), Line::of(0.0));
        room.values.resize(seen.batch * sizes.values(), Line::of(0.0));
        for (i, layer) in self.layers.iter().enumerate() {
            let _span = tracing::trace_span!("layer", number = i).entered();
            // In the last layer REG alone asks.
            let asking = if i + 1 == self.layers.len() { 1 } else { length };
            if i > 0 {
                let (front, visual) = (&constants.front[i][..front * 3 * d], &constants.visual[i]);
                layer.project(x, qkv, &[front, visual], length, asking);
            }
            sizes.pack(qkv, &mut room.keys, &mut room.values);
            let pictures = x.chunks_exact_mut(length * d).zip(qkv.chunks_exact(length * 3 * d));
            let packed = room.keys.chunks_exact(sizes.keys()).zip(room.values.chunks_exact(sizes.values()));
            let pieces = pictures.zip(packed).enumerate().flat_map(|(picture, ((x, qkv), packed))| {
                let mask = &masks[picture % masks.len()];
                PORTIONS.cut(&mut x[..asking * d], d).map(move |(first, x)| (x, &qkv[first * 3 * d..], packed, mask))
            });
            share(pieces, |(x, qkv, packed, mask)| layer.refine(x, qkv, packed, mask, sizes, workers));
        }
        x.chunks_exact(length * d).map(|x| self.answer(&x[..d])).collect()
    }

    /// The sequences before the first layer, and that layer's q, k, v.
    fn begin(&self, seen: Seen, text: Text, constants: &Constants, x: &mut [f32], qkv: &mut [f32], workers: &Workers) {
        let d = self.width;
        let texts = text.tokens.len() / text.queries;
        let size = d + texts + constants.tokens.len() * d;
        let pictures = x.chunks_exact_mut(size).zip(qkv.chunks_exact_mut(3 * size)).enumerate();
        let pieces = pictures.flat_map(|(picture, (x, qkv))| {
            let (x, visual) = x.split_at_mut(d + texts);
            let (qkv, visual_qkv) = qkv.split_at_mut(3 * (d + texts));
            let query = if text.queries == 1 { 0 } else { picture };
            x[..d].copy_from_slice(&self.reg);
            x[d..].copy_from_slice(&text.tokens[query * texts..][..texts]);
            qkv[..3 * d].copy_from_slice(&constants.reg_qkv);
            qkv[3 * d..].copy_from_slice(&text.qkv[3 * query * texts..][..3 * texts]);
            let tasks = PORTIONS.cut(visual, d).zip(PORTIONS.cut(visual_qkv, 3 * d));
            tasks.map(move |((first, x), (_, qkv))| (picture, first, x, qkv))
        });
        share(pieces, |(picture, first, x, qkv)| {
            let tokens = &constants.tokens[first..][..x.len() / d];
            self.look(seen, picture, tokens, constants, x, &mut workers.mine());
            let rows = Rows { values: x, stride: d, count: tokens.len() };
            qkv.copy_from_slice(&constants.visual[0][first * 3 * d..][..qkv.len()]);
            if let Some(layer) = self.layers.first() {
                layer.qkv.apply(rows, Start::Stored, qkv, 3 * d);
            }
        });
    }

    /// Projects some of a picture's tokens, with their levels' embeddings.
    fn look(
        &self,
        seen: Seen,
        picture: usize,
        tokens: &[u32],
        constants: &Constants,
        x: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let (d, channels, Grid { h, w }) = (self.width, self.visual.input(), seen.grid);
        let gathered = take(&mut scratch.rows[0], tokens.len() * channels);
        for ((&token, x), gathered) in tokens.iter().zip(x.chunks_exact_mut(d)).zip(gathered.chunks_exact_mut(channels))
        {
            // Max pooling with kernel 1 and stride 2 takes every second row and column.
            let (level, source, place) = match ((token as usize).checked_sub(h * w), seen.coarse) {
                (None, _) => (0, seen.level, picture * h * w + token as usize),
                (Some(token), Some(coarse)) => (1, coarse, picture * (h * w / 4) + token),
                (Some(token), None) => (1, seen.level, picture * h * w + token / (w / 2) * 2 * w + token % (w / 2) * 2),
            };
            x.copy_from_slice(&constants.scale[level]);
            gathered.copy_from_slice(&source[place * channels..][..channels]);
        }
        let rows = Rows { values: gathered, stride: channels, count: tokens.len() };
        self.visual.apply(rows, Start::Stored, x, d);
    }

    fn answer(&self, reg: &[f32]) -> Answer {
        let one = |linear: &Packed, x: &[f32]| {
            let mut y = vec![0.0; linear.output()];
            linear.apply(Rows { values: x, stride: x.len(), count: 1 }, linear.bias(), &mut y, linear.output());
            y
        };
        let mut x = reg.to_vec();
        for (i, linear) in self.boxes.iter().enumerate() {
            x = one(linear, &x);
            if i + 1 < self.boxes.len() {
                relu(&mut x);
            }
        }
        Answer {
            rect: std::array::from_fn(|i| 1.0 / (1.0 + (-x[i]).exp())),
            presence: self.presence.as_ref().map(|linear| one(linear, reg)[0]),
            finite: reg.iter().all(|value| value.is_finite()),
        }
    }
}

/// Sizes of the attention over one picture's sequence.
#[derive(Clone, Copy)]
struct Sizes {
    length: usize,
    heads: usize,
    depth: usize,
}

impl Sizes {
    /// Lines of all heads' keys.
    fn keys(self) -> usize {
        self.heads * key_lines(self.length, self.depth)
    }

    fn values(self) -> usize {
        self.heads * value_lines(self.length, self.depth)
    }

    fn pack(self, qkv: &[f32], keys: &mut [Line], values: &mut [Line]) {
        let Self { length, heads, depth } = self;
        let d = heads * depth;
        let keys = keys.chunks_exact_mut(key_lines(length, depth));
        let packed = keys.zip(values.chunks_exact_mut(value_lines(length, depth)));
        share(packed.enumerate(), |(i, (keys, values))| {
            let (picture, head) = (i / heads, i % heads);
            let part = |part: usize| Rows {
                values: &qkv[picture * length * 3 * d + part * d + head * depth..],
                stride: 3 * d,
                count: length,
            };
            pack_keys(part(1), depth, keys);
            pack_values(part(2), depth, values);
        });
    }
}

/// What is added to scores, a line for every sixteen tokens: one for all pictures, or one each.
fn masks(seen: Seen, text: Text, front: usize, length: usize) -> Vec<Vec<Line>> {
    let count = if text.ignore.is_empty() && seen.ignore.is_empty() { 1 } else { seen.batch };
    let added = |ignore: &u8| if *ignore == 0 { 0.0 } else { NOT_THERE };
    let mask = |picture: usize| {
        let mut mask = vec![0.0; length];
        if !text.ignore.is_empty() {
            let query = if text.queries == 1 { 0 } else { picture };
            let ignore = &text.ignore[query * (front - 1)..][..front - 1];
            mask[1..front].iter_mut().zip(ignore).for_each(|(mask, ignore)| *mask = added(ignore));
        }
        if !seen.ignore.is_empty() {
            let ignore = &seen.ignore[picture * (length - front)..][..length - front];
            mask[front..].iter_mut().zip(ignore).for_each(|(mask, ignore)| *mask = added(ignore));
        }
        Line::all(&mask, NOT_THERE)
    };
    (0..count).map(mask).collect()
}

impl Layer {
    /// q, k, v of all tokens: their `constants`, front and visual ones, and the product. Only the first `asking` tokens'
    /// q are needed.
    fn project(&self, x: &[f32], qkv: &mut [f32], constants: &[&[f32]; 2], length: usize, asking: usize) {
        let d = self.qkv.input();
        let front = constants[0].len() / (3 * d);
        let pieces = x.chunks_exact(length * d).zip(qkv.chunks_exact_mut(length * 3 * d)).flat_map(|(x, qkv)| {
            PORTIONS.cut(qkv, 3 * d).map(move |(first, qkv)| (first, &x[first * d..][..qkv.len() / 3], qkv))
        });
        share(pieces, |(first, x, qkv)| {
            for (row, qkv) in qkv.chunks_exact_mut(3 * d).enumerate() {
                let row = first + row;
                let (part, row) = if row < front { (constants[0], row) } else { (constants[1], row - front) };
                qkv.copy_from_slice(&part[row * 3 * d..][..3 * d]);
            }
            let rows = Rows { values: x, stride: d, count: x.len() / d };
            if first + rows.count <= asking || !d.is_multiple_of(PANEL) {
                self.qkv.apply(rows, Start::Stored, qkv, 3 * d);
                return;
            }
            self.qkv.apply_columns(rows, Start::Stored, d..3 * d, &mut qkv[d..], 3 * d);
            let asks = Rows { count: asking.saturating_sub(first).min(rows.count), ..rows };
            self.qkv.apply_columns(asks, Start::Stored, 0..d, qkv, 3 * d);
        });
    }

    /// Attention, feed-forward and both norms of some rows, in place.
    fn refine(
        &self,
        x: &mut [f32],
        qkv: &[f32],
        (keys, values): (&[Line], &[Line]),
        mask: &[Line],
        sizes: Sizes,
        workers: &Workers,
    ) {
        let Sizes { length, heads, depth } = sizes;
        let (d, count) = (heads * depth, x.len() / (heads * depth));
        let mut scratch = workers.mine();
        let Scratch { rows: [attended, sum, hidden, scores, ..], left, .. } = &mut *scratch;
        let (attended, sum) = (take(attended, x.len()), take(sum, x.len()));
        let scores = take(scores, count * length.next_multiple_of(PANEL));
        let heads = keys.chunks_exact(key_lines(length, depth)).zip(values.chunks_exact(value_lines(length, depth)));
        for (head, (keys, values)) in heads.enumerate() {
            let q = Rows { values: &qkv[head * depth..], stride: 3 * d, count };
            let out = Out { values: &mut attended[head * depth..], stride: d, width: depth };
            attend(q, depth, keys, Start::Row(mask), values, scores, out);
        }
        sum.copy_from_slice(x);
        let rows = Rows { values: attended, stride: d, count };
        self.projection.apply(rows, self.projection.bias_onto(), sum, d);
        self.norm1.rows(sum, x);
        sum.copy_from_slice(x);
        self.mlp.add(x, relu, sum, hidden, left);
        self.norm2.rows(sum, x);
    }
}
