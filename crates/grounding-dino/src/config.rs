//! Sizes of a model, as `config.json` of a Hugging Face directory tells them. Keys that are left out have the defaults of its
//! library, `transformers`; unknown ones are tolerated.

mod check;

use std::path::Path;

use blocks::error::{Error, Result};
use blocks::swin::SwinConfig;
use blocks::text::BertConfig;
use serde::Deserialize;

pub(crate) use check::GROUPS;

/// The classes that share this architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// `GroundingDinoForObjectDetection`: IDEA's tiny and base.
    Idea,
    /// `MMGroundingDinoForObjectDetection`: MM-Grounding-DINO and `LLMDet`. Scores are scaled and have a bias.
    Mm,
}

impl Class {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Idea, Self::Mm];

    /// As `model_type` in `config.json` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idea => "grounding-dino",
            Self::Mm => "mm-grounding-dino",
        }
    }

    /// As `architectures` there names it.
    pub fn architecture(self) -> &'static str {
        match self {
            Self::Idea => "GroundingDinoForObjectDetection",
            Self::Mm => "MMGroundingDinoForObjectDetection",
        }
    }
}

/// Sizes of a whole model.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Which class it is.
    pub class: Class,
    /// The backbone.
    pub swin: SwinConfig,
    /// Stages of the backbone whose maps are read, counted from 0, in order.
    pub stages: Vec<usize>,
    /// The text tower.
    pub bert: BertConfig,
    /// Width d of picture and text tokens.
    pub width: usize,
    /// Maps that the encoder reads: those of `stages`, then each of half the size of the one before it.
    pub levels: usize,
    /// Boxes that come out, and proposals that are picked for them.
    pub queries: usize,
    /// The encoder.
    pub encoder: StackConfig,
    /// The decoder.
    pub decoder: StackConfig,
    /// Word pieces in one pass, framing included.
    pub max_text_len: usize,
    /// Temperature of the sine positions of pictures.
    pub temperature: f64,
    /// Epsilon of the layer norms in encoder and decoder.
    pub eps: f64,
    /// Whether all layers of the decoder refine boxes by one head.
    pub shared_boxes: bool,
    /// Whether all layers of the decoder score by one head.
    pub shared_scores: bool,
}

/// Sizes of encoder or decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackConfig {
    /// Layers.
    pub layers: usize,
    /// Attention heads; fusion and text layers of the encoder have half of them.
    pub heads: usize,
    /// Hidden width of the feed-forward part; fusion and text layers of the encoder have half of it.
    pub hidden: usize,
    /// Places that a head of the deformable attention looks at on each level.
    pub points: usize,
}

impl Config {
    /// Reads `config.json` of a Hugging Face directory.
    ///
    /// # Errors
    /// The file cannot be read, is no JSON, is of another architecture, or holds sizes that contradict each other.
    pub fn from_json_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        Self::from_json(&text, &path.display().to_string())
    }

    /// As [`Config::from_json_file`], from text; `file` is named in errors.
    ///
    /// # Errors
    /// As [`Config::from_json_file`].
    pub fn from_json(text: &str, file: &str) -> Result<Self> {
        let syntax = |e: serde_json::Error| Error::ConfigSyntax { file: file.to_owned(), reason: e.to_string() };
        // The architecture first: sizes of another one would be complained of otherwise.
        let head: Head = serde_json::from_str(text).map_err(syntax)?;
        let class = Class::ALL.into_iter().find(|class| head.model_type.as_deref() == Some(class.name()));
        let Some(class) = class else {
            let names = Class::ALL.map(Class::name).join(" or ");
            return Err(Error::Config {
                file: file.to_owned(),
                key: "model_type".into(),
                value: head.model_type.unwrap_or_else(|| "missing".into()),
                expected: names,
            });
        };
        let written: Written = serde_json::from_str(text).map_err(syntax)?;
        written.check(file)?;
        let config = written.resolved(class, file)?;
        config.validate(file)?;
        Ok(config)
    }

    /// Hidden width of the fusion layers.
    pub fn fusion_width(&self) -> usize {
        self.encoder.hidden / 2
    }

    /// Attention heads of fusion and text layers.
    pub fn fusion_heads(&self) -> usize {
        self.encoder.heads / 2
    }
}

#[derive(Deserialize)]
struct Head {
    model_type: Option<String>,
}

/// What the file says, by its names.
#[derive(Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "the file has as many")]
struct Written {
    backbone_config: Option<WrittenSwin>,
    use_timm_backbone: bool,
    text_config: Option<WrittenBert>,
    num_queries: usize,
    encoder_layers: usize,
    encoder_ffn_dim: usize,
    encoder_attention_heads: usize,
    encoder_n_points: usize,
    decoder_layers: usize,
    decoder_ffn_dim: usize,
    decoder_attention_heads: usize,
    decoder_n_points: usize,
    activation_function: String,
    d_model: usize,
    position_embedding_type: String,
    num_feature_levels: usize,
    two_stage: bool,
    embedding_init_target: bool,
    query_dim: usize,
    max_text_len: usize,
    positional_embedding_temperature: f64,
    decoder_bbox_embed_share: bool,
    decoder_cls_embed_share: bool,
    layer_norm_eps: f64,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            backbone_config: None,
            use_timm_backbone: false,
            text_config: None,
            num_queries: 900,
            encoder_layers: 6,
            encoder_ffn_dim: 2048,
            encoder_attention_heads: 8,
            encoder_n_points: 4,
            decoder_layers: 6,
            decoder_ffn_dim: 2048,
            decoder_attention_heads: 8,
            decoder_n_points: 4,
            activation_function: "relu".into(),
            d_model: 256,
            position_embedding_type: "sine".into(),
            num_feature_levels: 4,
            two_stage: true,
            embedding_init_target: true,
            query_dim: 4,
            max_text_len: 256,
            positional_embedding_temperature: 20.0,
            decoder_bbox_embed_share: true,
            decoder_cls_embed_share: true,
            layer_norm_eps: 1e-5,
        }
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct WrittenSwin {
    model_type: String,
    embed_dim: usize,
    depths: Vec<usize>,
    num_heads: Vec<usize>,
    window_size: usize,
    mlp_ratio: f64,
    patch_size: usize,
    num_channels: usize,
    qkv_bias: bool,
    hidden_act: String,
    use_absolute_embeddings: bool,
    layer_norm_eps: f64,
    out_indices: Option<Vec<usize>>,
    out_features: Option<Vec<String>>,
}

impl Default for WrittenSwin {
    fn default() -> Self {
        Self {
            model_type: "swin".into(),
            embed_dim: 96,
            depths: vec![2, 2, 6, 2],
            num_heads: vec![3, 6, 12, 24],
            window_size: 7,
            mlp_ratio: 4.0,
            patch_size: 4,
            num_channels: 3,
            qkv_bias: true,
            hidden_act: "gelu".into(),
            use_absolute_embeddings: false,
            layer_norm_eps: blocks::swin::EPS,
            out_indices: None,
            out_features: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct WrittenBert {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f64,
    hidden_act: String,
    position_embedding_type: String,
}

impl Default for WrittenBert {
    fn default() -> Self {
        Self {
            model_type: "bert".into(),
            vocab_size: 30522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            hidden_act: "gelu".into(),
            position_embedding_type: "absolute".into(),
        }
    }
}

impl Written {
    /// What of the file names something that is not built here.
    fn check(&self, file: &str) -> Result<()> {
        let swin = self.backbone_config.as_ref();
        let usual = WrittenBert::default();
        let text = self.text_config.as_ref().unwrap_or(&usual);
        let words = [
            ("backbone_config.model_type", swin.map_or("swin", |swin| swin.model_type.as_str()), "swin"),
            ("backbone_config.hidden_act", swin.map_or("gelu", |swin| swin.hidden_act.as_str()), "gelu"),
            ("text_config.model_type", text.model_type.as_str(), "bert"),
            ("text_config.hidden_act", text.hidden_act.as_str(), "gelu"),
            ("text_config.position_embedding_type", text.position_embedding_type.as_str(), "absolute"),
            ("activation_function", self.activation_function.as_str(), "relu"),
            ("position_embedding_type", self.position_embedding_type.as_str(), "sine"),
        ];
        let flags = [
            ("use_timm_backbone", self.use_timm_backbone, false),
            ("backbone_config.qkv_bias", swin.is_none_or(|swin| swin.qkv_bias), true),
            ("backbone_config.use_absolute_embeddings", swin.is_some_and(|swin| swin.use_absolute_embeddings), false),
            ("two_stage", self.two_stage, true),
            ("embedding_init_target", self.embedding_init_target, true),
        ];
        let numbers = [
            ("backbone_config.num_channels", swin.map_or(3, |swin| swin.num_channels), 3),
            ("query_dim", self.query_dim, 4),
        ];
        let words = words.into_iter().map(|(key, value, known)| (key, value.to_owned(), known.to_owned()));
        let flags = flags.into_iter().map(|(key, value, known)| (key, value.to_string(), known.to_string()));
        let numbers = numbers.into_iter().map(|(key, value, known)| (key, value.to_string(), known.to_string()));
        match words.chain(flags).chain(numbers).find(|(_, value, known)| value != known) {
            None => Ok(()),
            Some((key, value, known)) => {
                let (file, key, expected) =
                    (file.to_owned(), key.to_owned(), format!("{known}: nothing else is built here"));
                Err(Error::Config { file, key, value, expected })
            }
        }
    }

    fn resolved(self, class: Class, file: &str) -> Result<Config> {
        // Without a backbone of its own the library takes its Swin, and the last three of its four stages.
        let stated = self.backbone_config.is_some();
        let swin = self.backbone_config.unwrap_or_default();
        if (swin.layer_norm_eps - blocks::swin::EPS).abs() > 1e-9 {
            let expected = format!("{:e}: nothing else is built here", blocks::swin::EPS);
            let (file, key) = (file.to_owned(), "backbone_config.layer_norm_eps".to_owned());
            return Err(Error::Config { file, key, value: format!("{:e}", swin.layer_norm_eps), expected });
        }
        let last = swin.depths.len();
        let stages = match (swin.out_indices, swin.out_features) {
            (Some(indices), _) => indices,
            (None, Some(names)) => check::stage_numbers(&names, file)?,
            (None, None) if stated => vec![last.max(1)],
            (None, None) => (2..=last).collect(),
        };
        // Counted from 1 there: 0 is what goes into the first stage. That there are stages at all is seen to later.
        let beyond = stages.iter().find(|stage| !(1..=last.max(1)).contains(*stage));
        if let Some(beyond) = beyond {
            let (file, key) = (file.to_owned(), "backbone_config.out_indices".to_owned());
            return Err(Error::Config {
                file,
                key,
                value: beyond.to_string(),
                expected: format!("stages from 1 to {last}"),
            });
        }
        let text = self.text_config.unwrap_or_default();
        Ok(Config {
            class,
            swin: SwinConfig {
                embed_dim: swin.embed_dim,
                depths: swin.depths,
                num_heads: swin.num_heads,
                window_size: swin.window_size,
                mlp_ratio: swin.mlp_ratio,
                patch_size: swin.patch_size,
                drop_path_rate: 0.0,
            },
            stages: stages.into_iter().map(|stage| stage - 1).collect(),
            bert: BertConfig {
                vocab_size: text.vocab_size,
                hidden_size: text.hidden_size,
                num_hidden_layers: text.num_hidden_layers,
                num_attention_heads: text.num_attention_heads,
                intermediate_size: text.intermediate_size,
                max_position_embeddings: text.max_position_embeddings,
                type_vocab_size: text.type_vocab_size,
                layer_norm_eps: text.layer_norm_eps,
                dropout: 0.0,
                frozen: false,
                frozen_words: false,
            },
            width: self.d_model,
            levels: self.num_feature_levels,
            queries: self.num_queries,
            encoder: StackConfig {
                layers: self.encoder_layers,
                heads: self.encoder_attention_heads,
                hidden: self.encoder_ffn_dim,
                points: self.encoder_n_points,
            },
            decoder: StackConfig {
                layers: self.decoder_layers,
                heads: self.decoder_attention_heads,
                hidden: self.decoder_ffn_dim,
                points: self.decoder_n_points,
            },
            max_text_len: self.max_text_len,
            temperature: self.positional_embedding_temperature,
            eps: self.layer_norm_eps,
            shared_boxes: self.decoder_bbox_embed_share,
            shared_scores: self.decoder_cls_embed_share,
        })
    }
}

#[cfg(test)]
mod tests;
