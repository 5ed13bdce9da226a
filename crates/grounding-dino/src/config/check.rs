//! Which sizes fit each other: the first key whose value no model can be built from is named.

use super::Config;
use blocks::error::{Error, Result};

/// Groups of the neck's norms.
pub(crate) const GROUPS: usize = 32;
/// Widths and counts above these are no model's; sums of sizes stay far from overflowing.
const MOST_WIDE: usize = 1 << 16;
const MOST_WORDS: usize = 1 << 22;
const MOST_LAYERS: usize = 1 << 10;
const MOST_LEVELS: usize = 8;
const MOST_STAGES: usize = 6;
const MOST_TOKENS: usize = 64;

/// `stage2` → 2.
pub(super) fn stage_numbers(names: &[String], file: &str) -> Result<Vec<usize>> {
    let number = |name: &String| name.strip_prefix("stage").and_then(|number| number.parse().ok());
    names
        .iter()
        .map(|name| {
            number(name).ok_or_else(|| Error::Config {
                file: file.to_owned(),
                key: "backbone_config.out_features".into(),
                value: name.clone(),
                expected: "names of stages, as stage2".into(),
            })
        })
        .collect()
}

impl Config {
    /// Checks that the sizes fit each other; `file` is named in errors.
    ///
    /// # Errors
    /// The first key whose value no model can be built from.
    pub fn validate(&self, file: &str) -> Result<()> {
        let fail = |key: &str, value: String, expected: String| {
            Err(Error::Config { file: file.to_owned(), key: key.to_owned(), value, expected })
        };
        let sizes = [
            ("d_model", self.width, MOST_WIDE),
            ("num_feature_levels", self.levels, MOST_LEVELS),
            ("num_queries", self.queries, MOST_WIDE),
            ("max_text_len", self.max_text_len, MOST_WIDE),
            ("encoder_layers", self.encoder.layers, MOST_LAYERS),
            ("encoder_attention_heads", self.encoder.heads, MOST_WIDE),
            ("encoder_ffn_dim", self.encoder.hidden, MOST_WIDE),
            ("encoder_n_points", self.encoder.points, MOST_LAYERS),
            ("decoder_layers", self.decoder.layers, MOST_LAYERS),
            ("decoder_attention_heads", self.decoder.heads, MOST_WIDE),
            ("decoder_ffn_dim", self.decoder.hidden, MOST_WIDE),
            ("decoder_n_points", self.decoder.points, MOST_LAYERS),
            ("text_config.vocab_size", self.bert.vocab_size, MOST_WORDS),
            ("text_config.hidden_size", self.bert.hidden_size, MOST_WIDE),
            ("text_config.num_hidden_layers", self.bert.num_hidden_layers, MOST_LAYERS),
            ("text_config.num_attention_heads", self.bert.num_attention_heads, MOST_WIDE),
            ("text_config.intermediate_size", self.bert.intermediate_size, MOST_WIDE),
            ("text_config.max_position_embeddings", self.bert.max_position_embeddings, MOST_WIDE),
            ("text_config.type_vocab_size", self.bert.type_vocab_size, MOST_WIDE),
            ("backbone_config.embed_dim", self.swin.embed_dim, MOST_WIDE),
            ("backbone_config.window_size", self.swin.window_size, MOST_TOKENS),
            ("backbone_config.patch_size", self.swin.patch_size, MOST_TOKENS),
        ];
        if let Some((key, value, most)) = sizes.into_iter().find(|(_, value, most)| !(1..=*most).contains(value)) {
            return fail(key, value.to_string(), format!("from 1 to {most}"));
        }
        // Framing, a word and the full stop that ends it.
        if self.max_text_len < 4 {
            return fail("max_text_len", self.max_text_len.to_string(), "at least 4".into());
        }
        self.validate_backbone(file)?;
        if !self.width.is_multiple_of(GROUPS) {
            return fail(
                "d_model",
                self.width.to_string(),
                format!("a multiple of {GROUPS}, the groups of the neck's norms"),
            );
        }
        for (key, heads) in
            [("encoder_attention_heads", self.encoder.heads), ("decoder_attention_heads", self.decoder.heads)]
        {
            if !self.width.is_multiple_of(heads) {
                return fail(key, heads.to_string(), format!("a divisor of d_model, {}", self.width));
            }
        }
        let halves = self.fusion_heads();
        if halves == 0 || !self.encoder.heads.is_multiple_of(2) || !self.width.is_multiple_of(halves) {
            let expected = "an even number whose half divides d_model".into();
            return fail("encoder_attention_heads", self.encoder.heads.to_string(), expected);
        }
        if !self.encoder.hidden.is_multiple_of(2) || !self.fusion_width().is_multiple_of(halves) {
            let expected = format!("an even number whose half is a multiple of the fusion's {halves} heads");
            return fail("encoder_ffn_dim", self.encoder.hidden.to_string(), expected);
        }
        if !self.bert.hidden_size.is_multiple_of(self.bert.num_attention_heads) {
            let (key, heads) = ("text_config.num_attention_heads", self.bert.num_attention_heads);
            return fail(key, heads.to_string(), format!("a divisor of the width {}", self.bert.hidden_size));
        }
        for (key, eps) in [("layer_norm_eps", self.eps), ("text_config.layer_norm_eps", self.bert.layer_norm_eps)] {
            if !(eps > 0.0 && eps <= 1.0) {
                return fail(key, eps.to_string(), "above 0, at most 1".into());
            }
        }
        if !(self.temperature >= 1.0 && self.temperature.is_finite()) {
            return fail("positional_embedding_temperature", self.temperature.to_string(), "at least 1".into());
        }
        Ok(())
    }

    fn validate_backbone(&self, file: &str) -> Result<()> {
        let swin = &self.swin;
        let fail = |key: &str, value: String, expected: String| {
            Err(Error::Config { file: file.to_owned(), key: format!("backbone_config.{key}"), value, expected })
        };
        let stages = swin.depths.len();
        if !(1..=MOST_STAGES).contains(&stages) {
            return fail("depths", format!("{:?}", swin.depths), format!("one to {MOST_STAGES} stages"));
        }
        if swin.num_heads.len() != stages {
            return fail(
                "num_heads",
                format!("{:?}", swin.num_heads),
                format!("one number for each of {stages} stages"),
            );
        }
        if let Some(depth) = swin.depths.iter().find(|depth| !(1..=MOST_LAYERS).contains(*depth)) {
            return fail("depths", depth.to_string(), format!("from 1 to {MOST_LAYERS} blocks a stage"));
        }
        for (stage, &heads) in swin.num_heads.iter().enumerate() {
            if heads == 0 || !swin.channels(stage).is_multiple_of(heads) {
                let expected = format!("a divisor of the {} channels of stage {}", swin.channels(stage), stage + 1);
                return fail("num_heads", heads.to_string(), expected);
            }
        }
        if !(swin.mlp_ratio > 0.0 && swin.mlp_ratio <= 64.0 && swin.mlp_hidden(0) > 0) {
            return fail("mlp_ratio", swin.mlp_ratio.to_string(), "above 0, at most 64".into());
        }
        let shown = || format!("{:?}", self.stages.iter().map(|stage| stage + 1).collect::<Vec<_>>());
        if self.stages.is_empty() || !self.stages.is_sorted_by(|a, b| a < b) {
            return fail("out_indices", shown(), "stages in order, each once".into());
        }
        if self.stages.len() > self.levels {
            return fail(
                "out_indices",
                shown(),
                format!("at most {} stages, the model's num_feature_levels", self.levels),
            );
        }
        Ok(())
    }
}
