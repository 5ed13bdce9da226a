//! Model sizes: everything that `config.json` says, with defaults of the reference's full model.
//!
//! Nothing else in this crate knows a width, a depth or a canvas; fixtures and the models that ship differ
//! from QRNet Swin-S (CVPR 2022) in this structure alone.

mod check;

use std::path::Path;

use serde::{Deserialize, Serialize};

use blocks::canvas::{Canvas, Grid};
use blocks::error::{Error, Result};
use blocks::swin::SwinConfig;
use blocks::text::BertConfig;

/// Visual backbone: MobileNetV2 of width 1 (Sandler et al. 2018) with folded norms, as TensorFlow's detectors have it.
///
/// Its four stages end at strides 4, 8, 16 and 32 with 24, 32, 96 and 320 channels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MobileNetConfig {
    /// Pixels per token side in the last stage: 32, or 16, where the windows of the last stage are dilated instead.
    #[serde(default = "thirty_two")]
    pub output_stride: usize,
    /// So many stages keep their weights in training.
    #[serde(default)]
    pub frozen_stages: usize,
}

/// What the visual backbone is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Backbone<'a> {
    /// The reference's.
    Swin(&'a SwinConfig),
    /// A small one.
    MobileNet(&'a MobileNetConfig),
}

/// Query-aware dynamic attention and its weight generators (SPEC section 3).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QdAttConfig {
    /// Rank of the factor that the text generates.
    pub k: usize,
    /// Channels over hidden width of the channel gate.
    pub reduction_ratio: usize,
    /// The first stage of the backbone with gates at its end; 0 in the reference. What comes before the first gate does
    /// not depend on the sentence.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub from_stage: usize,
}

/// Query-aware multiscale fusion (SPEC section 4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NeckConfig {
    /// Channels of every level.
    pub out_channels: usize,
    /// The backbone's stages that it fuses, each of half the resolution of the one before; all of them if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<usize>,
}

/// Vision-language encoder and box head (SPEC section 5).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FusionConfig {
    /// Token width.
    pub hidden_dim: usize,
    /// Attention heads.
    pub nheads: usize,
    /// Hidden width of the feed-forward part.
    pub dim_feedforward: usize,
    /// Encoder layers.
    pub enc_layers: usize,
    /// Dropout in training.
    #[serde(default = "tenth")]
    pub dropout: f64,
    /// Pixels per side of the finer visual tokens; the coarser ones have twice as many. As the reference has it, the
    /// neck's last level if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_stride: Option<usize>,
}

/// All sizes of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The canvas that pictures are letterboxed into.
    pub canvas: Canvas,
    /// The canvas whose tokens the position table counts, where it differs from `canvas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pos_canvas: Option<Canvas>,
    /// Further canvases that the model is trained for: its position table is sampled for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub canvases: Vec<Canvas>,
    /// Text length L in pieces, `[CLS]` and `[SEP]` included.
    pub max_query_len: usize,
    /// Whether the model has a presence head (one logit from the REG token).
    #[serde(default)]
    pub presence: bool,
    /// Probability of presence from which on the thing counts as there, 0..1; a half where none is given. See
    /// [`Config::claims_from`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f32>,
    /// Visual backbone, unless it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swin: Option<SwinConfig>,
    /// Visual backbone in place of `swin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mobilenet: Option<MobileNetConfig>,
    /// Query-aware dynamic attention.
    pub qdatt: QdAttConfig,
    /// Multiscale fusion.
    pub neck: NeckConfig,
    /// Text tower.
    pub bert: BertConfig,
    /// Fusion head.
    pub vl: FusionConfig,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(value: &usize) -> bool {
    *value == 0
}
fn thirty_two() -> usize {
    32
}
fn tenth() -> f64 {
    0.1
}

/// More blocks or layers than this are a mistake, not a model.
const MOST_LAYERS: usize = 1000;
/// So are wider tensors.
const MOST_WIDE: usize = 1 << 20;
/// So are longer sides of a canvas, in pixels.
const MOST_PIXELS: usize = 1 << 14;

/// Stages of either backbone.
const STAGES: usize = 4;
/// Pixels per token side of the first level.
const PATCH: usize = 4;
/// Channels of MobileNetV2's stages.
const MOBILENET_CHANNELS: [usize; STAGES] = [24, 32, 96, 320];

/// Canvas sides are multiples of this: the coarsest map (the fifth level) has one token per 64 pixels.
pub const CANVAS_STEP: usize = 64;

impl blocks::strict::Strict for Config {
    fn example() -> Self {
        let canvas = Canvas { width: 64, height: 64 };
        Self {
            canvas,
            pos_canvas: Some(canvas),
            canvases: vec![canvas],
            max_query_len: 8,
            presence: true,
            threshold: Some(0.5),
            swin: Some(SwinConfig {
                embed_dim: 16,
                depths: vec![1; 4],
                num_heads: vec![1; 4],
                window_size: 2,
                mlp_ratio: 4.0,
                patch_size: 4,
                drop_path_rate: 0.2,
            }),
            mobilenet: Some(MobileNetConfig { output_stride: 32, frozen_stages: 0 }),
            qdatt: QdAttConfig { k: 2, reduction_ratio: 16, from_stage: 1 },
            neck: NeckConfig { out_channels: 16, levels: vec![0] },
            bert: BertConfig {
                vocab_size: 8,
                hidden_size: 16,
                num_hidden_layers: 1,
                num_attention_heads: 1,
                intermediate_size: 16,
                max_position_embeddings: 8,
                type_vocab_size: 2,
                layer_norm_eps: 1e-12,
                dropout: tenth(),
                frozen: true,
                frozen_words: true,
            },
            vl: FusionConfig {
                hidden_dim: 16,
                nheads: 1,
                dim_feedforward: 16,
                enc_layers: 1,
                dropout: tenth(),
                token_stride: Some(16),
            },
        }
    }
}

impl Config {
    /// From this presence on an answer claims that the thing is there; none from a model without a presence head, which
    /// claims it always.
    pub fn claims_from(&self) -> Option<f32> {
        self.presence.then(|| self.threshold.unwrap_or(0.5))
    }

    /// The visual backbone. Of two, the first.
    pub fn backbone(&self) -> Backbone<'_> {
        match (&self.swin, &self.mobilenet) {
            (Some(swin), _) => Backbone::Swin(swin),
            (None, Some(mobilenet)) => Backbone::MobileNet(mobilenet),
            (None, None) => unreachable!("a configuration is validated when it is read"),
        }
    }

    /// Sizes of a backbone that is known to be a Swin.
    pub(crate) fn swin(&self) -> &SwinConfig {
        self.swin.as_ref().expect("a Swin's blocks are made of a Swin's sizes")
    }

    /// Number of backbone stages.
    pub fn stages(&self) -> usize {
        STAGES
    }

    /// Channels of backbone stage `stage`.
    pub fn stage_channels(&self, stage: usize) -> usize {
        match self.backbone() {
            Backbone::Swin(swin) => swin.embed_dim << stage,
            Backbone::MobileNet(_) => MOBILENET_CHANNELS[stage],
        }
    }

    /// The level of backbone stage `stage`, which says how fine its map is: levels 0.. have stride 4, 8, 16, 32, 64.
    pub fn stage_level(&self, stage: usize) -> usize {
        match self.backbone() {
            Backbone::MobileNet(mobilenet) if stage + 1 == STAGES && mobilenet.output_stride == 16 => stage - 1,
            _ => stage,
        }
    }

    /// Token map of level `level` on `canvas`; levels 0.. have stride 4, 8, 16, 32, 64.
    pub fn level_grid(&self, canvas: Canvas, level: usize) -> Grid {
        canvas.grid(PATCH << level)
    }

    /// The backbone's stages that the neck fuses.
    pub fn neck_stages(&self) -> Vec<usize> {
        if self.neck.levels.is_empty() { (0..STAGES).collect() } else { self.neck.levels.clone() }
    }

    /// The levels of the neck: those of its stages, and the one after them.
    pub fn neck_levels(&self) -> Vec<usize> {
        let mut levels: Vec<usize> = self.neck_stages().into_iter().map(|stage| self.stage_level(stage)).collect();
        levels.extend(levels.last().map(|last| last + 1));
        levels
    }

    /// The two neighbouring levels whose tokens the fusion head reads, the finer one first.
    pub fn token_levels(&self) -> [usize; 2] {
        let finer = match self.vl.token_stride {
            Some(stride) => (stride / PATCH).max(1).ilog2() as usize,
            None => self.neck_levels().into_iter().rev().nth(1).unwrap_or(0),
        };
        [finer, finer + 1]
    }

    /// Where the finer of [`Config::token_levels`] stands among [`Config::neck_levels`].
    pub(crate) fn token_place(&self) -> usize {
        let [finer, _] = self.token_levels();
        self.neck_levels().iter().position(|level| *level == finer).unwrap_or(0)
    }

    /// Backbone stages with gates at their end.
    pub fn gated_stages(&self) -> std::ops::Range<usize> {
        self.qdatt.from_stage.min(STAGES)..STAGES
    }

    /// All canvases that the model is for, the one that it is known by first.
    pub fn all_canvases(&self) -> Vec<Canvas> {
        let others = self.canvases.iter().filter(|other| **other != self.canvas);
        std::iter::once(&self.canvas).chain(others).copied().collect()
    }

    /// The canvas that the position table belongs to.
    pub fn position_canvas(&self) -> Canvas {
        self.pos_canvas.unwrap_or(self.canvas)
    }

    /// Whether the position table is sampled for `canvas`, which it does not belong to but the model is trained for.
    pub fn is_sampled(&self, canvas: Canvas) -> bool {
        canvas != self.position_canvas() && !self.canvases.is_empty()
    }

    /// Visual tokens in the fusion head on `canvas`.
    pub fn visual_tokens(&self, canvas: Canvas) -> usize {
        self.token_levels().into_iter().map(|level| self.level_grid(canvas, level).len()).sum()
    }

    /// Rows of `vl_pos_embed`: REG, text, visual tokens.
    pub fn position_rows(&self) -> usize {
        1 + self.max_query_len + self.visual_tokens(self.position_canvas())
    }

    /// Hidden width R of a channel gate over `channels`.
    pub fn gate_width(&self, channels: usize) -> usize {
        channels / self.qdatt.reduction_ratio
    }

    /// Reads `config.json` of a model directory. Unknown keys are tolerated: other tools write there too.
    ///
    /// # Errors
    /// The file cannot be read, is no JSON, lacks a key, or holds sizes that contradict each other.
    pub fn from_json_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        Self::from_json(&text, &path.display().to_string())
    }

    /// As [`Config::from_json_file`], from text; `file` is named in errors.
    ///
    /// # Errors
    /// As [`Config::from_json_file`].
    pub fn from_json(text: &str, file: &str) -> Result<Self> {
        let config: Self = serde_json::from_str(text)
            .map_err(|e| Error::ConfigSyntax { file: file.to_owned(), reason: e.to_string() })?;
        config.validate(file)?;
        Ok(config)
    }

    /// Reads a model variant (`configs/model/*.toml`). Unknown keys are errors.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, lacks a key or has an unknown one, or holds sizes that contradict each other.
    pub fn from_toml_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        Self::from_toml(&text, &path.display().to_string())
    }

    /// Reads a model variant from TOML text; `file` is named in errors.
    ///
    /// # Errors
    /// As [`Config::from_toml_file`].
    pub fn from_toml(text: &str, file: &str) -> Result<Self> {
        let config: Self = blocks::strict::toml(text, file)?;
        config.validate(file)?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> Config {
        Config::from_toml(include_str!("../../../configs/model/tiny.toml"), "tiny.toml").expect("valid")
    }

    #[test]
    fn full_model_counts_521_and_541_positions() {
        for (text, rows) in [
            (include_str!("../../../configs/model/qrnet-swin-s-l20.toml"), 521),
            (include_str!("../../../configs/model/qrnet-swin-s-l40.toml"), 541),
        ] {
            let config = Config::from_toml(text, "swin-s").expect("valid");
            assert_eq!(config.position_rows(), rows);
        }
    }

    type Change = fn(&mut Config);

    #[test]
    fn sizes_of_the_convolutional_backbone_name_key_value_and_expectation() {
        let text = include_str!("../../../configs/model/photographs.toml");
        let config = Config::from_toml(text, "photographs.toml").expect("valid");
        assert_eq!((config.neck_levels(), config.token_levels(), config.token_place()), (vec![1, 2, 3, 4], [2, 3], 1));
        assert_eq!(config.visual_tokens(config.canvas), 16 * 16 + 8 * 8);
        assert_eq!(config.gated_stages(), 2..4);
        let cases: [(Change, &str); 8] = [
            (|c| c.swin = tiny().swin, "`mobilenet` is there beside `swin`, expected one backbone"),
            (|c| c.mobilenet = None, "`swin` is missing, expected a backbone: `swin` or `mobilenet`"),
            (|c| c.own().output_stride = 8, "`mobilenet.output_stride` is 8, expected 16 or 32"),
            (|c| c.own().frozen_stages = 5, "`mobilenet.frozen_stages` is 5, expected at most 4"),
            (|c| c.qdatt.from_stage = 4, "`qdatt.from_stage` is 4, expected 0 to 3"),
            (
                |c| c.neck.levels = vec![1, 3],
                "`neck.levels` is [1, 3], expected stages whose maps have half the resolution of the one before",
            ),
            (
                |c| c.vl.token_stride = Some(64),
                "`vl.token_stride` is 64, expected a stride of the neck, one of [8, 16, 32]",
            ),
            (|c| c.canvases[0].width = 300, "`canvases.width` is 300, expected a multiple of 64"),
        ];
        for (change, expected) in cases {
            let mut config = config.clone();
            change(&mut config);
            let message = config.validate("x.json").expect_err(expected).to_string();
            assert_eq!(message, format!("x.json: {expected}"));
        }
        // With dilation the last stage keeps the resolution of the one before it.
        let mut dilated = config.clone();
        dilated.own().output_stride = 16;
        (dilated.neck.levels, dilated.vl.token_stride) = (vec![1, 3], None);
        dilated.validate("x.json").expect("valid");
        assert_eq!((dilated.neck_levels(), dilated.token_levels()), (vec![1, 2, 3], [2, 3]));
    }

    impl Config {
        fn own(&mut self) -> &mut MobileNetConfig {
            self.mobilenet.as_mut().expect("a MobileNetV2")
        }
    }

    #[test]
    fn a_picture_takes_the_canvas_that_it_fills_best() {
        let canvas = |width, height| Canvas { width, height };
        let all = [canvas(256, 256), canvas(320, 192), canvas(384, 256), canvas(256, 384), canvas(512, 512)];
        for (width, height, expected) in
            [(1280, 720, all[1]), (640, 480, all[2]), (500, 500, all[4]), (480, 640, all[3]), (1500, 1000, all[2])]
        {
            assert_eq!(Canvas::fitting(&all, width, height), Some(expected), "{width}x{height}");
        }
        assert_eq!(Canvas::fitting(&[all[0], all[0]], 1, 1), Some(all[0]));
    }

    #[test]
    fn wrong_sizes_name_key_value_and_expectation() {
        let mut config = tiny();
        config.canvas.width = 100;
        let message = config.validate("x.json").expect_err("no multiple of 64").to_string();
        assert_eq!(message, "x.json: `canvas.width` is 100, expected a multiple of 64");
        let mut config = tiny();
        config.vl.nheads = 7;
        let message = config.validate("x.json").expect_err("7 does not divide 40").to_string();
        assert_eq!(message, "x.json: `vl.nheads` is 7, expected a divisor of the width 40");
    }

    #[test]
    fn a_frozen_tower_is_asked_for_and_written_only_then() {
        let plain = tiny();
        assert!(!plain.bert.frozen);
        assert!(!serde_json::to_string(&plain).expect("JSON").contains("frozen"), "digests stay as they were");
        let text = include_str!("../../../configs/model/tiny.toml").replace("[bert]", "[bert]\nfrozen = true");
        let frozen = Config::from_toml(&text, "tiny.toml").expect("valid");
        let back: Config = serde_json::from_str(&serde_json::to_string(&frozen).expect("JSON")).expect("a config");
        assert!(frozen.bert.frozen && back == frozen);
    }

    #[test]
    fn unknown_key_names_the_nearest() {
        let text = include_str!("../../../configs/model/tiny.toml").replace("embed_dim", "embed_dmi");
        let message = Config::from_toml(&text, "tiny.toml").expect_err("misspelt").to_string();
        assert!(message.contains("swin.embed_dmi") && message.contains("embed_dim"), "{message}");
    }
}
