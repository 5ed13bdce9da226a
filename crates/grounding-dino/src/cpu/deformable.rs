//! Deformable attention with packed projections.

use blocks::ops::kernel::deformable::{Around, LookRoom, Looked, Map, look};
use blocks::ops::kernel::product::{Packed, Rows};
use blocks::packed::weights::{Weights, values};
use candle_core::Result;

use crate::config::{Config, StackConfig};

pub(super) struct Deformable {
    /// Offsets across and down and scores, head by head, as [`look`] wants them.
    asking: Packed,
    value: Packed,
    output: Packed,
    heads: usize,
    points: usize,
}

impl Deformable {
    pub(super) fn new(config: &Config, stack: StackConfig, weights: &Weights) -> Result<Self> {
        let (width, each) = (config.width, config.levels * stack.points);
        let looks = stack.heads * each;
        let read = |name: &str, output: usize| -> Result<(Vec<f32>, Vec<f32>)> {
            let weights = weights.pp(name);
            Ok((values(&weights.get((output, width), "weight")?)?, values(&weights.get(output, "bias")?)?))
        };
        let (offsets, scores) = (read("sampling_offsets", 2 * looks)?, read("attention_weights", looks)?);
        let (mut weight, mut bias) = (Vec::with_capacity(3 * looks * width), Vec::with_capacity(3 * looks));
        for place in (0..3 * looks).map(|row| (row / each / 3 * each + row % each, row / each % 3)) {
            let ((weights, biases), row) = match place {
                (place, 2) => (&scores, place),
                (place, axis) => (&offsets, 2 * place + axis),
            };
            weight.extend_from_slice(&weights[row * width..][..width]);
            bias.push(biases[row]);
        }
        Ok(Self {
            asking: Packed::new(&weight, Some(&bias), width).halved(),
            value: weights.pp("value_proj").exact_linear(width, width)?,
            output: weights.pp("output_proj").exact_linear(width, width)?,
            heads: stack.heads,
            points: stack.points,
        })
    }

    /// How many numbers a query asks with.
    pub(super) fn asks(&self) -> usize {
        self.asking.output()
    }

    /// What `queries [rows, d]`, with their positions, ask, into `asked [rows, asks]`.
    pub(super) fn ask(&self, queries: &[f32], asked: &mut [f32]) {
        let width = self.asking.input();
        let rows = Rows { values: queries, stride: width, count: queries.len() / width };
        self.asking.apply(rows, self.asking.bias(), asked, self.asks());
    }

    /// What there is to see of `tokens [rows, d]`, into `out`. Of tokens that are not `shown` nothing; an empty `shown`
    /// shows all.
    pub(super) fn show(&self, tokens: &[f32], shown: &[bool], out: &mut [f32]) {
        let width = self.value.input();
        let rows = Rows { values: tokens, stride: width, count: tokens.len() / width };
        self.value.apply(rows, self.value.bias(), out, width);
        for (out, _) in out.chunks_exact_mut(width).zip(shown).filter(|(_, shown)| !**shown) {
            out.fill(0.0);
        }
    }

    /// Adds to `x [rows, d]` what its queries see of the `values` of all tokens; `asked` is used up.
    pub(super) fn add(
        &self,
        (values, maps): (&[f32], &[Map]),
        around: Around,
        asked: &mut [f32],
        x: &mut [f32],
        seen: &mut [f32],
        room: &mut LookRoom,
    ) {
        let width = self.value.output();
        let looked = Looked { values, maps, heads: self.heads, depth: width / self.heads, points: self.points };
        look(looked, around, asked, room, seen);
        let rows = Rows { values: seen, stride: width, count: seen.len() / width };
        self.output.apply(rows, self.output.bias_onto(), x, width);
    }
}
