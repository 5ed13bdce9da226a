//! The fusion head with everything folded that does not depend on the frame (SPEC section 9).
//!
//! Per layer `in_proj(x + pos) = W x + (W pos + b)`: the bracket is a constant of the canvas. The first layer's q, k, v
//! of REG belong to the model, those of the text to the compiled query. Masked tokens are left out where all pictures
//! of the batch agree on them. In the last layer only REG asks, so only its query and feed-forward are computed.

use candle_core::{Device, Result, Tensor};
use candle_nn::VarBuilder;
use tracing::trace_span;

use super::{Head, Output};
use crate::config::Config;
use crate::plan::Positions;
use blocks::layers::Linear;
use blocks::ops;
use blocks::pass::Pass;

/// Constants of one model on one canvas, for the visual tokens that are looked at.
pub(crate) struct HeadPlan {
    /// Per layer, `[1, 1 + L, 3d]`: what positions and biases add to q, k, v of REG and text.
    pub(crate) front: Vec<Tensor>,
    /// Per layer, `[1, N', 3d]`: the same for the kept visual tokens.
    pub(crate) visual: Vec<Tensor>,
    /// REG's q, k, v in the first layer, `[1, 1, 3d]`.
    pub(crate) reg_qkv: Tensor,
    /// Per level, `[d]`: `visu_proj` of the scale embedding, its bias included.
    pub(crate) scale: [Tensor; 2],
    /// Kept visual tokens, `[N']` u32; `None` keeps all.
    pub(crate) keep: Option<Tensor>,
}

/// A compiled query's part in the head, one row per query; rows past a query's length are padding.
pub(crate) struct CompiledText {
    /// Projected tokens, `[Q, n, d]`.
    pub(crate) tokens: Tensor,
    /// The first layer's q, k, v, `[Q, n, 3d]`.
    pub(crate) qkv: Tensor,
    /// `[Q, n]` u8, 1 = padding; `None` where all queries have `n` tokens.
    pub(crate) ignore: Option<Tensor>,
}

/// What the constants are made of: small tensors of the head, apart from it, so that a model that computes the head in
/// another way need not keep all of it.
pub(crate) struct Folding {
    reg_token: Tensor,
    scale_embed: Tensor,
    /// Row of the scale embedding for the finer of the two levels.
    first_scale: usize,
    positions: Tensor,
    visual_projection: Linear,
    /// q, k, v of every layer.
    in_projections: Vec<Linear>,
    max_query_len: usize,
}

impl Folding {
    /// Reads the weights from the root of a checkpoint.
    pub(crate) fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        let (d, channels) = (config.vl.hidden_dim, config.neck.out_channels);
        let in_projection = |layer| {
            let vb = vb.pp(format!("vl_transformer.encoder.layers.{layer}.self_attn"));
            Ok(Linear::from_tensors(vb.get((3 * d, d), "in_proj_weight")?, vb.get(3 * d, "in_proj_bias")?))
        };
        Ok(Self {
            reg_token: vb.get((1, d), "reg_token.weight")?,
            scale_embed: vb.get((config.neck_levels().len(), channels), "scale_embed.weight")?,
            first_scale: config.token_place(),
            positions: vb.get((config.position_rows(), d), "vl_pos_embed.weight")?,
            visual_projection: Linear::new(&vb.pp("visu_proj"), channels, d)?,
            in_projections: (0..config.vl.enc_layers).map(in_projection).collect::<Result<_>>()?,
            max_query_len: config.max_query_len,
        })
    }

    /// The first layer's q, k, v of projected text tokens `[n, d]` → `[n, 3d]`, positions included.
    pub(crate) fn text_qkv(&self, tokens: &Tensor) -> Result<Tensor> {
        let rows = self.positions.narrow(0, 1, tokens.dim(0)?)?;
        self.first_qkv(tokens, &rows)
    }

    fn first_qkv(&self, tokens: &Tensor, positions: &Tensor) -> Result<Tensor> {
        let projection = &self.in_projections[0];
        projection.forward_without_bias(tokens)? + position_term(projection, positions)?
    }

    /// Folds the constants for one canvas. `keep` lists the visual tokens that lie on the picture.
    pub(crate) fn plan(&self, positions: &Positions, keep: Option<Vec<u32>>, device: &Device) -> Result<HeadPlan> {
        let positions = positions.of(&self.positions)?;
        let (front_count, total) = (1 + self.max_query_len, positions.dim(0)?);
        let keep = keep.map(|keep| Tensor::new(keep, device)).transpose()?;
        let mut visual_positions = positions.narrow(0, front_count, total - front_count)?;
        if let Some(keep) = &keep {
            visual_positions = visual_positions.index_select(keep, 0)?;
        }
        let front_positions = positions.narrow(0, 0, front_count)?;
        let term = |positions: &Tensor| -> Result<Vec<Tensor>> {
            self.in_projections.iter().map(|layer| position_term(layer, positions)?.unsqueeze(0)).collect()
        };
        let first_scale = self.first_scale;
        let scale = |i: usize| self.visual_projection.forward(&self.scale_embed.narrow(0, first_scale + i, 1)?);
        Ok(HeadPlan {
            front: term(&front_positions)?,
            visual: term(&visual_positions)?,
            reg_qkv: self.first_qkv(&self.reg_token, &front_positions.narrow(0, 0, 1)?)?.unsqueeze(0)?,
            scale: [scale(0)?, scale(1)?],
            keep,
        })
    }
}

impl Head {
    /// # Shapes
    /// `levels`: the two coarsest levels, `[B, N_i, C]`; `visual_ignore [B, N']` u8 where pictures of the batch differ
    /// in their padding.
    pub(crate) fn forward_compiled(
        &self,
        levels: &[Tensor; 2],
        visual_ignore: Option<&Tensor>,
        text: &CompiledText,
        plan: &HeadPlan,
    ) -> Result<Output> {
        let pass = &mut Pass::eval();
        let (batch, d) = (levels[0].dim(0)?, self.reg_token.dim(1)?);
        let projected: Vec<Tensor> = levels
            .iter()
            .zip(&plan.scale)
            .map(|(level, scale)| self.visual_projection.forward_without_bias(level)?.broadcast_add(scale))
            .collect::<Result<_>>()?;
        let mut visual = Tensor::cat(&projected, 1)?;
        if let Some(keep) = &plan.keep {
            visual = visual.index_select(keep, 1)?;
        }
        let expand = |x: &Tensor| {
            if x.dim(0)? == batch { Ok(x.clone()) } else { x.broadcast_as((batch, x.dim(1)?, x.dim(2)?)) }
        };
        let text_count = text.tokens.dim(1)?;
        let reg = self.reg_token.unsqueeze(0)?;
        let mut x = Tensor::cat(&[&expand(&reg)?, &expand(&text.tokens)?, &visual], 1)?;
        let visual_qkv = self.layers[0].in_projection.forward_without_bias(&visual)?.broadcast_add(&plan.visual[0])?;
        let mut qkv = Tensor::cat(&[&expand(&plan.reg_qkv)?, &expand(&text.qkv)?, &visual_qkv], 1)?;
        let mask = padding_mask(text.ignore.as_ref(), visual_ignore, batch, text_count, visual.dim(1)?, &x)?;
        for (i, layer) in self.layers.iter().enumerate() {
            let _span = trace_span!("layer", number = i).entered();
            if i > 0 {
                let front = plan.front[i].narrow(1, 0, 1 + text_count)?;
                let constant = Tensor::cat(&[&front, &plan.visual[i]], 1)?;
                qkv = layer.in_projection.forward_without_bias(&x)?.broadcast_add(&constant)?;
            }
            let asking = if i + 1 == self.layers.len() { 1 } else { x.dim(1)? };
            let asks = x.narrow(1, 0, asking)?;
            x = if asking == x.dim(1)? {
                layer.attend(&asks, &[&qkv], mask.as_ref(), pass)?
            } else {
                let q = qkv.narrow(2, 0, d)?.narrow(1, 0, asking)?;
                layer.attend(&asks, &[&q, &qkv.narrow(2, d, 2 * d)?], mask.as_ref(), pass)?
            };
        }
        self.read_reg(&x.narrow(1, 0, 1)?.squeeze(1)?, pass)
    }
}

/// `W [pos, pos, 0] + b`: positions enter q and k only.
fn position_term(projection: &Linear, positions: &Tensor) -> Result<Tensor> {
    let d = positions.dim(1)?;
    let qk = projection.rows(0, 2 * d)?.forward(positions)?;
    let v = projection.rows(2 * d, d)?.forward(&positions.zeros_like()?)?;
    Tensor::cat(&[&qk, &v], 1)
}

/// The additive mask over REG, text and visual tokens, or `None` where nothing is padding.
fn padding_mask(
    text: Option<&Tensor>,
    visual: Option<&Tensor>,
    batch: usize,
    text_count: usize,
    visual_count: usize,
    like: &Tensor,
) -> Result<Option<Tensor>> {
    if text.is_none() && visual.is_none() {
        return Ok(None);
    }
    let none = |count| Tensor::zeros((batch, count), candle_core::DType::U8, like.device());
    let text = match text {
        Some(ignore) => ignore.broadcast_as((batch, text_count))?.contiguous()?,
        None => none(text_count)?,
    };
    let visual = visual.map_or_else(|| none(visual_count), |ignore| Ok(ignore.clone()))?;
    let ignore = Tensor::cat(&[&none(1)?, &text, &visual], 1)?;
    ops::additive_mask(&ignore, like.dtype()).map(Some)
}
