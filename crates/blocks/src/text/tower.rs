//! The text tower of a model: BERT that learns, or a pretrained encoder that stays as it is.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config, HiddenAct, PositionEmbeddingType};

use crate::pass::Pass;
use crate::text::BertConfig;
use crate::text::bert::Bert;

/// Pieces to features, in one of two ways; both read the same tensors (`textmodel.bert`).
pub enum Tower {
    /// Trained with the rest of the model.
    Trainable(Box<Bert>),
    /// Never trained.
    Frozen(Box<Frozen>),
}

impl Tower {
    /// Reads the weights at `vb` (`textmodel.bert` of a checkpoint); `config.frozen` chooses the way.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn new(config: &BertConfig, vb: &VarBuilder) -> Result<Self> {
        if config.frozen {
            Ok(Self::Frozen(Box::new(Frozen::new(config, vb)?)))
        } else {
            Ok(Self::Trainable(Box::new(Bert::new(config, vb)?)))
        }
    }

    /// The last layer's hidden states.
    ///
    /// # Shapes
    /// `ids [B, L]` u32, `ignore [B, L]` u8 (1 = padding) → `[B, L, D]`.
    ///
    /// # Errors
    /// An id outside the vocabulary, or a device error.
    pub fn forward(&self, ids: &Tensor, ignore: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        match self {
            Self::Trainable(bert) => bert.forward(ids, ignore, pass),
            Self::Frozen(frozen) => frozen.forward(ids, ignore),
        }
    }
}

/// An encoder of the BERT family as candle-transformers computes it: without dropout, without gradients.
pub struct Frozen {
    encoder: BertModel,
}

impl Frozen {
    /// Reads the weights at `vb` (`textmodel.bert` of a checkpoint).
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn new(config: &BertConfig, vb: &VarBuilder) -> Result<Self> {
        let theirs = Config {
            vocab_size: config.vocab_size,
            hidden_size: config.hidden_size,
            num_hidden_layers: config.num_hidden_layers,
            num_attention_heads: config.num_attention_heads,
            intermediate_size: config.intermediate_size,
            hidden_act: HiddenAct::Gelu,
            max_position_embeddings: config.max_position_embeddings,
            type_vocab_size: config.type_vocab_size,
            layer_norm_eps: config.layer_norm_eps,
            position_embedding_type: PositionEmbeddingType::Absolute,
            // A name here would be tried as a second place for the weights, and hide which tensor is missing.
            model_type: None,
            ..Config::default()
        };
        Ok(Self { encoder: BertModel::load(vb.clone(), &theirs)? })
    }

    /// As [`Tower::forward`]; the features lead to no gradient, and depend on nothing but the pieces.
    ///
    /// # Errors
    /// As [`Tower::forward`].
    pub fn forward(&self, ids: &Tensor, ignore: &Tensor) -> Result<Tensor> {
        let real = ignore.eq(0u8)?;
        Ok(self.encoder.forward(ids, &ids.zeros_like()?, Some(&real))?.detach())
    }
}
