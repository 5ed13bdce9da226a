//! BERT encoder (SPEC section 1; Devlin et al. 2019), trainable and checkpoint-compatible.
//!
//! Names are Hugging Face's under `textmodel.bert`. The pooler is left out: the reference never reads it. Token types
//! are all 0. Written here because candle-transformers' BERT passes no gradient; a test holds the two to each other.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::layers::{LayerNorm, Linear, Mlp};
use crate::ops::{self, Activation, NormPlace};
use crate::pass::Pass;
use crate::text::BertConfig;

/// The encoder.
pub struct Bert {
    words: Tensor,
    positions: Tensor,
    token_types: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
    dropout: f64,
}

impl Bert {
    /// Reads the weights at `vb` (`textmodel.bert` of a checkpoint).
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn new(config: &BertConfig, vb: &VarBuilder) -> Result<Self> {
        let width = config.hidden_size;
        let embeddings = vb.pp("embeddings");
        let layers = (0..config.num_hidden_layers)
            .map(|layer| Layer::new(config, &vb.pp(format!("encoder.layer.{layer}"))))
            .collect::<Result<_>>()?;
        Ok(Self {
            words: embeddings.get((config.vocab_size, width), "word_embeddings.weight")?,
            positions: embeddings.get((config.max_position_embeddings, width), "position_embeddings.weight")?,
            token_types: embeddings.get((config.type_vocab_size, width), "token_type_embeddings.weight")?,
            norm: LayerNorm::new(&embeddings.pp("LayerNorm"), width, config.layer_norm_eps)?,
            layers,
            dropout: config.dropout,
        })
    }

    /// The last layer's hidden states.
    ///
    /// # Shapes
    /// `ids [B, L]` u32, `ignore [B, L]` u8 (1 = padding) → `[B, L, D]`.
    ///
    /// # Errors
    /// An id outside the vocabulary, or a device error.
    pub fn forward(&self, ids: &Tensor, ignore: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let (batch, length) = ids.dims2()?;
        let width = self.words.dim(1)?;
        let words = self.words.index_select(&ids.flatten_all()?, 0)?.reshape((batch, length, width))?;
        let fixed = self.positions.narrow(0, 0, length)?.broadcast_add(&self.token_types.narrow(0, 0, 1)?)?;
        let mut x = self.norm.forward(&words.broadcast_add(&fixed)?)?;
        pass.tap(|| "bert.embeddings".into(), &x);
        x = pass.dropout(&x, self.dropout)?;
        let mask = ops::additive_mask(ignore, x.dtype())?;
        for (number, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, &mask, pass)?;
            pass.tap(|| format!("bert.layer{number}"), &x);
        }
        Ok(x)
    }
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
    heads: usize,
    dropout: f64,
}

impl Layer {
    fn new(config: &BertConfig, vb: &VarBuilder) -> Result<Self> {
        let (width, hidden) = (config.hidden_size, config.intermediate_size);
        Ok(Self {
            query: Linear::new(&vb.pp("attention.self.query"), width, width)?,
            key: Linear::new(&vb.pp("attention.self.key"), width, width)?,
            value: Linear::new(&vb.pp("attention.self.value"), width, width)?,
            attention_output: Linear::new(&vb.pp("attention.output.dense"), width, width)?,
            attention_norm: LayerNorm::new(&vb.pp("attention.output.LayerNorm"), width, config.layer_norm_eps)?,
            intermediate: Linear::new(&vb.pp("intermediate.dense"), width, hidden)?,
            output: Linear::new(&vb.pp("output.dense"), hidden, width)?,
            output_norm: LayerNorm::new(&vb.pp("output.LayerNorm"), width, config.layer_norm_eps)?,
            heads: config.num_attention_heads,
            dropout: config.dropout,
        })
    }

    fn forward(&self, x: &Tensor, mask: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let parts = [&self.query.forward(x)?, &self.key.forward(x)?, &self.value.forward(x)?];
        let context = if pass.drops(self.dropout) {
            let drop = |weights: &Tensor| pass.dropout(weights, self.dropout);
            ops::attention_with_weights(&parts, Some(mask), self.heads, drop)?.0
        } else {
            ops::attention(&parts, Some(mask), self.heads)?
        };
        let attended = pass.dropout(&self.attention_output.forward(&context)?, self.dropout)?;
        let x = self.attention_norm.forward(&(x + attended)?)?;
        if !pass.drops(self.dropout) {
            let (norm, first, second) = (&self.output_norm, &self.intermediate, &self.output);
            return Mlp { norm, first, second, place: NormPlace::After, activation: Activation::Gelu }.forward(&x);
        }
        let hidden = ops::gelu(&self.intermediate.forward(&x)?)?;
        let output = pass.dropout(&self.output.forward(&hidden)?, self.dropout)?;
        self.output_norm.forward(&(x + output)?)
    }
}
