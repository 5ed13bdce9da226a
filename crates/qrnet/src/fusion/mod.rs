//! Fusion head (SPEC section 5): REG, text and visual tokens in a post-norm encoder, then an MLP to a box.
//!
//! `Head::forward` is the plain pass that training needs. `compiled` computes the same from what a compiled query
//! and a fixed canvas leave over.

pub(crate) mod compiled;
mod encoder;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::config::Config;
use crate::plan::Positions;
use blocks::layers::Linear;
use blocks::ops;
use blocks::pass::Pass;
use encoder::EncoderLayer;

/// What the model says of a batch of pictures.
#[derive(Debug, Clone)]
pub struct Output {
    /// `(cx, cy, w, h)` in 0..1 of the canvas, `[B, 4]`.
    pub boxes: Tensor,
    /// Logit that the object is in the picture, `[B]`; only with a presence head.
    pub presence: Option<Tensor>,
    /// What box and presence are read from: the REG token after the encoder, `[B, d]`.
    pub reg: Tensor,
    /// Visual tokens after the encoder, `[B, N, d]`, for training-only losses; empty in the compiled pass.
    pub visual_tokens: Option<Tensor>,
}

/// The fusion head without `text_proj`, which is read once per query.
pub(crate) struct Head {
    reg_token: Tensor,
    scale_embed: Tensor,
    /// Row of the scale embedding for the finer of the two levels.
    first_scale: usize,
    positions: Tensor,
    visual_projection: Linear,
    layers: Vec<EncoderLayer>,
    box_mlp: Vec<Linear>,
    presence: Option<Linear>,
}

/// Text tokens for the head, one row per query.
pub(crate) struct TextTokens<'a> {
    /// `[B, L, d]`.
    pub(crate) tokens: &'a Tensor,
    /// `[B, L]` u8, 1 = padding.
    pub(crate) ignore: &'a Tensor,
}

impl Head {
    pub(crate) fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        let (d, channels) = (config.vl.hidden_dim, config.neck.out_channels);
        let layers = (0..config.vl.enc_layers)
            .map(|layer| {
                let vb = vb.pp(format!("vl_transformer.encoder.layers.{layer}"));
                EncoderLayer::new(config, &vb, format!("vl.layer{layer}"))
            })
            .collect::<Result<_>>()?;
        let box_mlp = [d, d, 4]
            .into_iter()
            .enumerate()
            .map(|(layer, output)| Linear::new(&vb.pp(format!("bbox_embed.layers.{layer}")), d, output))
            .collect::<Result<_>>()?;
        let presence = config.presence.then(|| Linear::new(&vb.pp("presence_embed"), d, 1)).transpose()?;
        Ok(Self {
            reg_token: vb.get((1, d), "reg_token.weight")?,
            scale_embed: vb.get((config.neck_levels().len(), channels), "scale_embed.weight")?,
            first_scale: config.token_place(),
            positions: vb.get((config.position_rows(), d), "vl_pos_embed.weight")?,
            visual_projection: Linear::new(&vb.pp("visu_proj"), channels, d)?,
            layers,
            box_mlp,
            presence,
        })
    }

    /// # Shapes
    /// `levels`: the two levels that are read, `[B, N_i, C]`; `visual_ignore [B, N]` u8, 1 = padding of the picture;
    /// `positions` says what the position table gives every token.
    pub(crate) fn forward(
        &self,
        levels: &[Tensor; 2],
        visual_ignore: &Tensor,
        text: &TextTokens,
        positions: &Positions,
        pass: &mut Pass,
    ) -> Result<Output> {
        let (batch, text_length, d) = text.tokens.dims3()?;
        let first_scale = self.first_scale;
        let scaled: Vec<Tensor> = levels
            .iter()
            .enumerate()
            .map(|(i, level)| level.broadcast_add(&self.scale_embed.narrow(0, first_scale + i, 1)?))
            .collect::<Result<_>>()?;
        let visual = Tensor::cat(&scaled, 1)?;
        pass.tap_sequence(|| "visu_proj.in".into(), &visual)?;
        let visual = self.visual_projection.forward(&visual)?;
        pass.tap_sequence(|| "visu_proj".into(), &visual)?;

        let reg = self.reg_token.unsqueeze(0)?.broadcast_as((batch, 1, d))?;
        let mut x = Tensor::cat(&[&reg, text.tokens, &visual], 1)?;
        let positions = positions.of(&self.positions)?.unsqueeze(0)?;
        let reg_ignore = text.ignore.narrow(1, 0, 1)?.zeros_like()?;
        let ignore = Tensor::cat(&[&reg_ignore, text.ignore, visual_ignore], 1)?;
        pass.tap_sequence(|| "vl.src".into(), &x)?;
        pass.tap_sequence(|| "vl.pos".into(), &positions.broadcast_as(x.shape())?)?;
        pass.tap(|| "vl.key_padding_mask".into(), &ignore);

        let mask = ops::additive_mask(&ignore, x.dtype())?;
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, &positions, &mask, pass)?;
            pass.tap_sequence(|| format!("vl.layer{i}"), &x)?;
        }
        let reg = x.narrow(1, 0, 1)?.squeeze(1)?;
        let visual_tokens = x.narrow(1, 1 + text_length, visual.dim(1)?)?;
        let mut output = self.read_reg(&reg, pass)?;
        output.visual_tokens = Some(visual_tokens);
        Ok(output)
    }

    /// Box and presence from the REG token's feature, `[B, d]`.
    fn read_reg(&self, reg: &Tensor, pass: &mut Pass) -> Result<Output> {
        pass.tap(|| "reg_feature".into(), reg);
        let logits = self.box_logits(reg)?;
        pass.tap(|| "bbox_logits".into(), &logits);
        let boxes = ops::sigmoid(&logits)?;
        pass.tap(|| "pred_box".into(), &boxes);
        let presence = self.presence.as_ref().map(|head| head.forward(reg)?.squeeze(1)).transpose()?;
        Ok(Output { boxes, presence, reg: reg.clone(), visual_tokens: None })
    }

    /// The box MLP before its sigmoid, on any tokens `[.., d]` → `[.., 4]`.
    pub(crate) fn box_logits(&self, tokens: &Tensor) -> Result<Tensor> {
        let mut y = tokens.clone();
        for (i, layer) in self.box_mlp.iter().enumerate() {
            y = layer.forward(&y)?;
            if i + 1 < self.box_mlp.len() {
                y = y.relu()?;
            }
        }
        Ok(y)
    }
}
