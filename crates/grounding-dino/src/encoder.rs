//! The encoder: in every layer picture and text look at each other, then each at itself.

use blocks::layers::{LayerNorm, Linear, Mlp};
use blocks::ops::{Activation, NormPlace};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::attention::Attention;
use crate::config::Config;
use crate::deformable::{DeformableAttention, References};
use crate::fusion::{Fusion, Streams};
use crate::plan::Plan;
use crate::text::Text;

pub(crate) struct EncoderLayer {
    fusion: Fusion,
    enhancer: Enhancer,
    deformable: DeformableLayer,
}

impl EncoderLayer {
    pub(crate) fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        Ok(Self {
            fusion: Fusion::new(config, &vb.pp("fusion_layer"))?,
            enhancer: Enhancer::new(config, &vb.pp("text_enhancer_layer"))?,
            deformable: DeformableLayer::new(config, &vb.pp("deformable_layer"))?,
        })
    }

    /// `fused` sees the text's tokens between.
    pub(crate) fn forward(
        &self,
        streams: &Streams,
        plan: &Plan,
        text: &Text,
        fused: impl FnOnce(&Tensor),
    ) -> Result<Streams> {
        let Streams { vision, text: words } = self.fusion.forward(streams, plan)?;
        fused(&words);
        Ok(Streams { vision: self.deformable.forward(&vision, plan)?, text: self.enhancer.forward(&words, text)? })
    }
}

/// Self-attention of the text, within phrases.
struct Enhancer {
    attention: Attention,
    norm: LayerNorm,
    first: Linear,
    second: Linear,
    last_norm: LayerNorm,
}

impl Enhancer {
    fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        let (width, hidden) = (config.width, config.encoder.hidden / 2);
        Ok(Self {
            attention: Attention::new(&vb.pp("self_attn"), width, config.fusion_heads())?,
            norm: LayerNorm::new(&vb.pp("layer_norm_before"), width, config.eps)?,
            first: Linear::new(&vb.pp("fc1"), width, hidden)?,
            second: Linear::new(&vb.pp("fc2"), hidden, width)?,
            last_norm: LayerNorm::new(&vb.pp("layer_norm_after"), width, config.eps)?,
        })
    }

    fn forward(&self, words: &Tensor, text: &Text) -> Result<Tensor> {
        let placed = (words + &text.positions)?;
        let attended = self.attention.forward_masked(&placed, &placed, words, &text.mask)?;
        let x = self.norm.forward(&(words + attended)?)?;
        feed_forward(&x, (&self.first, &self.second), &self.last_norm)
    }
}

/// Deformable self-attention of the picture.
struct DeformableLayer {
    attention: DeformableAttention,
    norm: LayerNorm,
    first: Linear,
    second: Linear,
    last_norm: LayerNorm,
}

impl DeformableLayer {
    fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        let (width, hidden) = (config.width, config.encoder.hidden);
        Ok(Self {
            attention: DeformableAttention::new(config, config.encoder, &vb.pp("self_attn"))?,
            norm: LayerNorm::new(&vb.pp("self_attn_layer_norm"), width, config.eps)?,
            first: Linear::new(&vb.pp("fc1"), width, hidden)?,
            second: Linear::new(&vb.pp("fc2"), hidden, width)?,
            last_norm: LayerNorm::new(&vb.pp("final_layer_norm"), width, config.eps)?,
        })
    }

    fn forward(&self, tokens: &Tensor, plan: &Plan) -> Result<Tensor> {
        let queries = (tokens + &plan.positions)?;
        let seen = self.attention.forward(&queries, tokens, References::Points(&plan.points), plan)?;
        let x = self.norm.forward(&(tokens + seen)?)?;
        feed_forward(&x, (&self.first, &self.second), &self.last_norm)
    }
}

/// The second half of every layer here: two Linears, a residual around them, and a norm behind it.
pub(crate) fn feed_forward(x: &Tensor, (first, second): (&Linear, &Linear), norm: &LayerNorm) -> Result<Tensor> {
    Mlp { norm, first, second, place: NormPlace::After, activation: Activation::Relu }.forward(x)
}
