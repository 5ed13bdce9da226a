//! Attention of picture and text to each other, by one table of scores. Residuals are added to the *normalised* tokens.
//!
//! A picture has thousands of tokens and a text some twenty, while the attention is four times as wide as either. So what
//! projects every token of the picture is folded into small matrices of the text, which change nothing but the order of sums:
//! `(V Q) kᵗ = V (Q kᵗ)`, `(p t) O = p (t O)` and `pᵗ (V W) = (pᵗ V) W`.

use blocks::layers::{LayerNorm, Linear};
use blocks::ops;
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::config::Config;
use crate::plan::Plan;

/// Tokens of a picture and of a text.
pub(crate) struct Streams {
    /// `[1, T, d]`.
    pub(crate) vision: Tensor,
    /// `[1, L, d]`.
    pub(crate) text: Tensor,
}

pub(crate) struct Fusion {
    vision_norm: LayerNorm,
    text_norm: LayerNorm,
    vision: Linear,
    text: Linear,
    vision_values: Linear,
    text_values: Linear,
    vision_output: Linear,
    text_output: Linear,
    vision_scale: Tensor,
    text_scale: Tensor,
    heads: usize,
    /// Channels of all heads.
    inner: usize,
    by_head: ByHead,
}

/// The picture's projections, head by head (D = channels of a head).
struct ByHead {
    /// `[heads, D, d]`, with the scale of scores.
    queries: Tensor,
    /// `[heads, D, 1]`, likewise.
    query_bias: Tensor,
    /// `[heads, d, D]`.
    values: Tensor,
    /// `[heads, 1, D]`.
    value_bias: Tensor,
    /// `[heads, D, d]`.
    output: Tensor,
    /// `[d]`.
    output_bias: Tensor,
}

impl Fusion {
    pub(crate) fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        let (width, inner, attention) = (config.width, config.fusion_width(), vb.pp("attn"));
        let read = |name: &str, input: usize, output: usize| -> Result<(Tensor, Tensor)> {
            let vb = attention.pp(name);
            Ok((vb.get((output, input), "weight")?, vb.get(output, "bias")?))
        };
        let linear = |(weight, bias): &(Tensor, Tensor)| Linear::from_tensors(weight.clone(), bias.clone());
        let vision = read("vision_proj", width, inner)?;
        let values = read("values_vision_proj", width, inner)?;
        let output = read("out_vision_proj", inner, width)?;
        Ok(Self {
            vision_norm: LayerNorm::new(&vb.pp("layer_norm_vision"), width, config.eps)?,
            text_norm: LayerNorm::new(&vb.pp("layer_norm_text"), width, config.eps)?,
            vision: linear(&vision),
            text: linear(&read("text_proj", width, inner)?),
            vision_values: linear(&values),
            text_values: linear(&read("values_text_proj", width, inner)?),
            vision_output: linear(&output),
            text_output: linear(&read("out_text_proj", inner, width)?),
            vision_scale: vb.get(width, "vision_param")?,
            text_scale: vb.get(width, "text_param")?,
            heads: config.fusion_heads(),
            inner,
            by_head: ByHead::new(config.fusion_heads(), &vision, &values, &output)?,
        })
    }

    pub(crate) fn forward(&self, streams: &Streams, plan: &Plan) -> Result<Streams> {
        let (vision, text) = (self.vision_norm.forward(&streams.vision)?, self.text_norm.forward(&streams.text)?);
        // A long text leaves nothing to fold.
        let folds = self.heads * text.dim(1)? < self.inner;
        let (to_vision, to_text) =
            if folds { self.folded(&vision, &text, plan)? } else { self.plain(&vision, &text, plan)? };
        let vision_change = to_vision.broadcast_mul(&self.vision_scale)?;
        let text_change = self.text_output.forward(&to_text)?.broadcast_mul(&self.text_scale)?;
        Ok(Streams { vision: (vision + vision_change)?, text: (text + text_change)? })
    }

    /// What goes to the picture, `[1, T, d]`, and what goes to the text before its last projection, `[1, L, inner]`.
    fn plain(&self, vision: &Tensor, text: &Tensor, plan: &Plan) -> Result<(Tensor, Tensor)> {
        let (places, words) = (self.vision.forward(vision)?, self.text.forward(text)?);
        // The same products either way: the scale is that of a head's channels, which both share.
        let to_vision = ops::attention(&[&places, &words, &self.text_values.forward(text)?], None, self.heads)?;
        let values = self.vision_values.forward(vision)?;
        let to_text = ops::attention(&[&words, &places, &values], plan.mask.as_ref(), self.heads)?;
        Ok((self.vision_output.forward(&to_vision)?, to_text))
    }

    /// As [`Fusion::plain`], without projecting the picture's tokens.
    fn folded(&self, vision: &Tensor, text: &Tensor, plan: &Plan) -> Result<(Tensor, Tensor)> {
        let (by_head, heads) = (&self.by_head, self.heads);
        let ((_, tokens, width), words) = (vision.dims3()?, text.dim(1)?);
        let columns = heads * words;
        let keys = ops::split_heads(&self.text.forward(text)?, heads)?.squeeze(0)?;
        // One row of weights for every head and word.
        let weight = keys.matmul(&by_head.queries)?.reshape((columns, width))?;
        let bias = keys.matmul(&by_head.query_bias)?.reshape(columns)?;
        let scores = ops::linear(vision, &weight, Some(&bias))?;

        let values = ops::split_heads(&self.text_values.forward(text)?, heads)?.squeeze(0)?;
        let written = values.matmul(&by_head.output)?.reshape((columns, width))?.t()?.contiguous()?;
        let of_words = ops::softmax(&scores.reshape((tokens * heads, words))?)?.reshape((1, tokens, columns))?;
        let to_vision = ops::linear(&of_words, &written, Some(&by_head.output_bias))?;

        let mut of_places = scores.squeeze(0)?.t()?.contiguous()?;
        if let Some(mask) = &plan.mask {
            of_places = of_places.broadcast_add(&mask.flatten_all()?)?;
        }
        let seen = ops::softmax(&of_places)?.matmul(&vision.squeeze(0)?)?.reshape((heads, words, width))?;
        // The weights of a row add up to one: a bias of all values is one of their mean.
        let to_text = seen.matmul(&by_head.values)?.broadcast_add(&by_head.value_bias)?;
        Ok((to_vision, ops::merge_heads(&to_text.unsqueeze(0)?)?))
    }
}

impl ByHead {
    /// Of the picture's projections into scores and values, and back, weight and bias each.
    fn new(
        heads: usize,
        (query, query_bias): &(Tensor, Tensor),
        (value, value_bias): &(Tensor, Tensor),
        (output, output_bias): &(Tensor, Tensor),
    ) -> Result<Self> {
        let (inner, width) = query.dims2()?;
        let depth = inner / heads;
        let scale = 1.0 / (depth as f64).sqrt();
        Ok(Self {
            queries: (query.reshape((heads, depth, width))? * scale)?,
            query_bias: (query_bias.reshape((heads, depth, 1))? * scale)?,
            values: value.reshape((heads, depth, width))?.transpose(1, 2)?.contiguous()?,
            value_bias: value_bias.reshape((heads, 1, depth))?,
            output: output.t()?.contiguous()?.reshape((heads, depth, width))?,
            output_bias: output_bias.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    use blocks::canvas::Grid;
    use candle_core::{DType, Device};

    #[test]
    fn folded_is_plain() {
        let device = Device::Cpu;
        let text =
            r#"{"model_type": "grounding-dino", "d_model": 64, "encoder_ffn_dim": 384, "encoder_attention_heads": 8}"#;
        let config = Config::from_json(text, "config.json").expect("sizes");
        let (width, inner) = (config.width, config.fusion_width());
        let mut shapes: Vec<(String, Vec<usize>)> =
            ["vision_param", "text_param"].map(|name| (name.to_owned(), vec![width])).to_vec();
        for (name, input, output) in [
            ("attn.vision_proj", width, inner),
            ("attn.text_proj", width, inner),
            ("attn.values_vision_proj", width, inner),
            ("attn.values_text_proj", width, inner),
            ("attn.out_vision_proj", inner, width),
            ("attn.out_text_proj", inner, width),
        ] {
            shapes.push((format!("{name}.weight"), vec![output, input]));
            shapes.push((format!("{name}.bias"), vec![output]));
        }
        for norm in ["layer_norm_vision", "layer_norm_text"] {
            shapes.extend(["weight", "bias"].map(|part| (format!("{norm}.{part}"), vec![width])));
        }
        let mut state = 1_u32;
        let mut draw = |shape: &[usize]| {
            let values: Vec<f32> = (0..shape.iter().product::<usize>())
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 8) as f32 / (1 << 24) as f32 - 0.5
                })
                .collect();
            Tensor::from_vec(values, shape, &device).and_then(|t| t * 0.6).expect("drawn")
        };
        let weights: HashMap<String, Tensor> = shapes.into_iter().map(|(name, shape)| (name, draw(&shape))).collect();
        let fusion = Fusion::new(&config, &VarBuilder::from_tensors(weights, DType::F32, &device)).expect("builds");
        for (shown, words) in [(Grid { h: 128, w: 96 }, 7), (Grid { h: 100, w: 70 }, 1)] {
            let plan = Plan::new(&config, Grid { h: 128, w: 96 }, shown, &device).expect("a plan");
            let vision = draw(&[1, plan.tokens(), 64]).affine(5.0, 0.0).expect("scaled");
            let text = draw(&[1, words, 64]).affine(5.0, 0.0).expect("scaled");
            let plain = fusion.plain(&vision, &text, &plan).expect("plain");
            let folded = fusion.folded(&vision, &text, &plan).expect("folded");
            for (a, b) in [(plain.0, folded.0), (plain.1, folded.1)] {
                assert_eq!(a.dims(), b.dims());
                let largest: f32 = (a - b).and_then(|d| d.abs()?.flatten_all()?.max(0)?.to_scalar()).expect("a number");
                assert!(largest < 1e-5, "differ by {largest}");
            }
        }
    }
}
