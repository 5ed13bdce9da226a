//! The decoder: every query has a box, looks at the other queries, the text and the picture around its box, and refines the box.

use blocks::layers::{LayerNorm, Linear};
use blocks::pass::Pass;
use candle_core::{Device, Result, Tensor};
use candle_nn::VarBuilder;

use crate::attention::Attention;
use crate::config::Config;
use crate::deformable::{DeformableAttention, References};
use crate::encoder::feed_forward;
use crate::fusion::Streams;
use crate::heads::{BoxHead, Boxes, MlpHead};
use crate::plan::{Plan, frequencies, waves};

/// Temperature of the sine positions of boxes.
pub(crate) const TEMPERATURE: f64 = 10_000.0;

pub(crate) struct Decoder {
    layers: Vec<DecoderLayer>,
    norm: LayerNorm,
    positions: MlpHead,
    /// One for every layer, or one for all.
    boxes: Vec<BoxHead>,
    width: usize,
}

/// What comes out of the last layer.
pub(crate) struct Decoded {
    /// `[1, Q, d]`, normalised.
    pub(crate) queries: Tensor,
    pub(crate) boxes: Boxes,
}

impl Decoder {
    /// `vb` is the whole model's: the heads lie outside of the decoder.
    pub(crate) fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        let (width, decoder) = (config.width, vb.pp("model.decoder"));
        let layer = |number: usize| DecoderLayer::new(config, &decoder.pp(format!("layers.{number}")));
        let heads = if config.shared_boxes { 1 } else { config.decoder.layers };
        let head = |number: usize| BoxHead::new(&vb.pp(format!("bbox_embed.{number}")), width);
        Ok(Self {
            layers: (0..config.decoder.layers).map(layer).collect::<Result<_>>()?,
            norm: LayerNorm::new(&decoder.pp("layer_norm"), width, config.eps)?,
            positions: MlpHead::new(&decoder.pp("reference_points_head"), &[2 * width, width, width])?,
            boxes: (0..heads).map(head).collect::<Result<_>>()?,
            width,
        })
    }

    /// `queries [1, Q, d]`, each with its box, over what the encoder made of picture and text.
    pub(crate) fn forward(
        &self,
        queries: &Tensor,
        boxes: Boxes,
        streams: &Streams,
        plan: &Plan,
        pass: &mut Pass,
    ) -> Result<Decoded> {
        let (mut x, mut boxes) = (queries.clone(), boxes);
        let mut decoded = None;
        for (number, layer) in self.layers.iter().enumerate() {
            let references = by_level(&boxes, plan);
            let positions = self.positions(&references, plan, x.device())?;
            x = layer.forward(&x, &positions, &references, streams, plan)?;
            pass.tap(|| format!("decoder{number}"), &x);
            let normed = self.norm.forward(&x)?;
            pass.tap(|| format!("normed{number}"), &normed);
            let head = &self.boxes[number.min(self.boxes.len() - 1)];
            // What comes out is refined from normalised queries, what the next layer starts from is not.
            let last = number + 1 == self.layers.len();
            let refined = if last && !pass.is_tapped() { Vec::new() } else { head.refine(&x, &boxes)? };
            if pass.is_tapped() {
                pass.tap(|| format!("references{number}"), &as_tensor(&refined)?);
            }
            if last {
                decoded = Some(Decoded { boxes: head.refine(&normed, &boxes)?, queries: normed });
            }
            boxes = refined;
        }
        decoded.ok_or_else(|| candle_core::Error::msg("a decoder without layers"))
    }

    /// Positions of the queries, from their boxes on the first level, `[1, Q, d]`.
    fn positions(&self, references: &[f32], plan: &Plan, device: &Device) -> Result<Tensor> {
        let frequencies = frequencies(self.width / 2, TEMPERATURE);
        let firsts = references.chunks_exact(4 * plan.levels.len());
        let count = firsts.len();
        // y before x, as everywhere in this family.
        let angles = firsts.flat_map(|own| [own[1], own[0], own[2], own[3]]);
        let sine: Vec<f32> = angles.flat_map(|angle| waves(angle * std::f32::consts::TAU, &frequencies)).collect();
        self.positions.forward(&Tensor::from_vec(sine, (1, count, 2 * self.width), device)?)
    }
}

/// Boxes over the whole of every map, of which the picture is a part: `[Q, levels, 4]`.
fn by_level(boxes: &[[f32; 4]], plan: &Plan) -> Vec<f32> {
    let of = |own: &[f32; 4]| {
        let [x, y, w, h] = *own;
        plan.ratios.iter().flat_map(move |[across, down]| [x * across, y * down, w * across, h * down])
    };
    boxes.iter().flat_map(of).collect()
}

/// `[1, Q, 4]`.
pub(crate) fn as_tensor(boxes: &[[f32; 4]]) -> Result<Tensor> {
    Tensor::from_vec(boxes.concat(), (1, boxes.len(), 4), &Device::Cpu)
}

struct DecoderLayer {
    itself: Attention,
    itself_norm: LayerNorm,
    text: Attention,
    text_norm: LayerNorm,
    vision: DeformableAttention,
    vision_norm: LayerNorm,
    first: Linear,
    second: Linear,
    last_norm: LayerNorm,
}

impl DecoderLayer {
    fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        let (width, hidden, heads) = (config.width, config.decoder.hidden, config.decoder.heads);
        let norm = |name: &str| LayerNorm::new(&vb.pp(name), width, config.eps);
        Ok(Self {
            itself: Attention::new(&vb.pp("self_attn"), width, heads)?,
            itself_norm: norm("self_attn_layer_norm")?,
            text: Attention::new(&vb.pp("encoder_attn_text"), width, heads)?,
            text_norm: norm("encoder_attn_text_layer_norm")?,
            vision: DeformableAttention::new(config, config.decoder, &vb.pp("encoder_attn"))?,
            vision_norm: norm("encoder_attn_layer_norm")?,
            first: Linear::new(&vb.pp("fc1"), width, hidden)?,
            second: Linear::new(&vb.pp("fc2"), hidden, width)?,
            last_norm: norm("final_layer_norm")?,
        })
    }

    fn forward(
        &self,
        queries: &Tensor,
        positions: &Tensor,
        references: &[f32],
        streams: &Streams,
        plan: &Plan,
    ) -> Result<Tensor> {
        let placed = (queries + positions)?;
        let attended = self.itself.forward(&placed, &placed, queries)?;
        let x = self.itself_norm.forward(&(queries + attended)?)?;
        let attended = self.text.forward(&(&x + positions)?, &streams.text, &streams.text)?;
        let x = self.text_norm.forward(&(x + attended)?)?;
        let references = References::Boxes(references);
        let seen = self.vision.forward(&(&x + positions)?, &streams.vision, references, plan)?;
        let x = self.vision_norm.forward(&(x + seen)?)?;
        feed_forward(&x, (&self.first, &self.second), &self.last_norm)
    }
}

impl BoxHead {
    /// Moves every box by what the head says of its query, behind the inverse of the sigmoid.
    pub(crate) fn refine(&self, queries: &Tensor, boxes: &[[f32; 4]]) -> Result<Boxes> {
        let moves = self.forward(queries)?;
        let moved = |(change, own): (&[f32; 4], &[f32; 4])| std::array::from_fn(|i| sigmoid(change[i] + logit(own[i])));
        Ok(moves.iter().zip(boxes).map(moved).collect())
    }
}

/// `1 / (1 + exp(-x))`.
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The inverse of [`sigmoid`], of a value kept from 0 and 1.
pub(crate) fn logit(x: f32) -> f32 {
    const EPS: f32 = 1e-5;
    let x = x.clamp(EPS, 1.0 - EPS);
    (x / (1.0 - x)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_at_the_edge_are_kept_from_infinity() {
        // ln((1 - 1e-5) / 1e-5)
        const FAR: f32 = 11.512_915;
        for (value, expected) in [(0.0, -FAR), (1.0, FAR), (0.5, 0.0), (0.25, -1.098_612_3)] {
            assert!((logit(value) - expected).abs() < 2e-3, "{value}: {}, expected {expected}", logit(value));
        }
        assert!((sigmoid(logit(0.25)) - 0.25).abs() < 1e-6);
        assert_eq!((sigmoid(f32::INFINITY), sigmoid(f32::NEG_INFINITY)), (1.0, 0.0));
    }
}
