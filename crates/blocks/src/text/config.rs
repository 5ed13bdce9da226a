//! Sizes of the text tower.

use serde::{Deserialize, Serialize};

/// Text tower (SPEC section 1): BERT with absolute positions and GELU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BertConfig {
    /// Pieces in the vocabulary.
    pub vocab_size: usize,
    /// Width of a text feature; also the width of the vector that drives the generators.
    pub hidden_size: usize,
    /// Encoder layers.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Hidden width of the feed-forward part.
    pub intermediate_size: usize,
    /// Rows of the position table; at least `max_query_len`.
    pub max_position_embeddings: usize,
    /// Rows of the token-type table.
    #[serde(default = "two")]
    pub type_vocab_size: usize,
    /// Epsilon of the layer norms.
    #[serde(default = "bert_eps")]
    pub layer_norm_eps: f64,
    /// Dropout in training.
    #[serde(default = "tenth")]
    pub dropout: f64,
    /// Whether the tower keeps its weights in training: features of a phrase then never change. Left out where false,
    /// so that digests of models from before this key stay as they are.
    #[serde(default, skip_serializing_if = "is_false")]
    pub frozen: bool,
    /// Whether the rows of words alone keep their weights in training, so that words that training never shows stay
    /// neighbours of those that it does.
    #[serde(default, skip_serializing_if = "is_false")]
    pub frozen_words: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}
fn two() -> usize {
    2
}
fn bert_eps() -> f64 {
    1e-12
}
fn tenth() -> f64 {
    0.1
}
