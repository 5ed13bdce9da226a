//! QD-ATT: query-aware dynamic attention (SPEC section 3; QRNet, CVPR 2022, section 3.2).
//!
//! The text generates the weights of three small Linears; a channel gate and then a spatial gate scale the picture's
//! tokens with them. Two halves live here: `Generators`, read once per query, and `Gates::apply`, read per frame.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::config::Config;
use blocks::canvas::Grid;
use blocks::layers::Linear;
use blocks::ops::{self, composed};
use blocks::pass::Pass;

/// The generated weights of one QD-ATT module, each `[Q, in + 1, out]` with the bias in the last row. `Q` is the
/// number of queries: the batch, or 1 for one query over all pictures.
#[derive(Debug, Clone)]
pub struct Gates {
    /// Channel gate, `C → R`: `[Q, C + 1, R]`.
    pub fc1: Tensor,
    /// Channel gate, `R → C`: `[Q, R + 1, C]`.
    pub fc2: Tensor,
    /// Spatial gate, `C → 1`: `[Q, C + 1, 1]`.
    pub spatial: Tensor,
}

impl Gates {
    /// Scales tokens by the channel gate, then by the spatial gate. No residual, no norm.
    ///
    /// # Shapes
    /// `x [B, N, C]` → `[B, N, C]`.
    pub(crate) fn apply(&self, x: &Tensor, name: &str, pass: &mut Pass) -> Result<Tensor> {
        self.tap(x, name, pass)?;
        ops::gates(x, self.tensors())
    }

    /// `onto` plus the mean over 2x2 of the gated tokens of `grid`.
    ///
    /// # Shapes
    /// `x [B, N, C]`, `onto [B, N / 4, C]` → `[B, N / 4, C]`.
    pub(crate) fn apply_halved(
        &self,
        x: &Tensor,
        onto: &Tensor,
        grid: Grid,
        name: &str,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        self.tap(x, name, pass)?;
        if pass.is_tapped() {
            let halved = ops::gates_halved(x, self.tensors(), &onto.zeros_like()?, grid.w)?;
            pass.tap_map(|| format!("{name}.out"), &halved, grid.half())?;
        }
        ops::gates_halved(x, self.tensors(), onto, grid.w)
    }

    /// Records the gates' logits, which the fused operation keeps to itself.
    fn tap(&self, x: &Tensor, name: &str, pass: &mut Pass) -> Result<()> {
        if !pass.is_tapped() {
            return Ok(());
        }
        let logits = composed::channel_logits(x, &self.fc1, &self.fc2)?;
        for pool in 0..2 {
            pass.tap(|| format!("{name}.channel_logits.{pool}"), &logits.narrow(1, pool, 1)?.squeeze(1)?);
        }
        let (_, logits) = composed::spatial_logits(x, self.tensors())?;
        pass.tap(|| format!("{name}.spatial_logits"), &logits);
        Ok(())
    }

    /// The generated matrices, in a fixed order.
    pub(crate) fn tensors(&self) -> [&Tensor; 3] {
        [&self.fc1, &self.fc2, &self.spatial]
    }

    /// The gates of several queries, stacked along `Q`.
    pub(crate) fn stack(queries: &[&Self]) -> Result<Self> {
        let cat = |pick: fn(&Self) -> &Tensor| Tensor::cat(&queries.iter().map(|g| pick(g)).collect::<Vec<_>>(), 0);
        Ok(Self { fc1: cat(|g| &g.fc1)?, fc2: cat(|g| &g.fc2)?, spatial: cat(|g| &g.spatial)? })
    }
}

/// Generates the weights of one dynamic Linear: `reshape(W_g t + b_g) · V`, rank k.
struct Generator {
    decoder: Linear,
    factor: Tensor,
    input: usize,
}

impl Generator {
    fn new(config: &Config, vb: &VarBuilder, input: usize, output: usize) -> Result<Self> {
        let (k, text) = (config.qdatt.k, config.bert.hidden_size);
        let decoder = Linear::new(&vb.pp("decoder"), text, (input + 1) * k)?;
        Ok(Self { decoder, factor: vb.get((k, output), "V")?, input })
    }

    /// `text [Q, D]` → `[Q, in + 1, out]`.
    fn generate(&self, text: &Tensor) -> Result<Tensor> {
        let (queries, rows) = (text.dim(0)?, self.input + 1);
        let (k, output) = self.factor.dims2()?;
        let left = self.decoder.forward(text)?.reshape((queries * rows, k))?;
        left.matmul(&self.factor)?.reshape((queries, rows, output))
    }
}

struct GateGenerators {
    name: String,
    fc1: Generator,
    fc2: Generator,
    spatial: Generator,
}

impl GateGenerators {
    fn new(config: &Config, vb: &VarBuilder, name: String, channels: usize) -> Result<Self> {
        let hidden = config.gate_width(channels);
        Ok(Self {
            name,
            fc1: Generator::new(config, &vb.pp("ChannelGate.mlp.0.decoder"), channels, hidden)?,
            fc2: Generator::new(config, &vb.pp("ChannelGate.mlp.2.decoder"), hidden, channels)?,
            spatial: Generator::new(config, &vb.pp("SpatialGate.spatial.decoder"), channels, 1)?,
        })
    }

    fn generate(&self, text: &Tensor, pass: &mut Pass) -> Result<Gates> {
        let gates = Gates {
            fc1: self.fc1.generate(text)?,
            fc2: self.fc2.generate(text)?,
            spatial: self.spatial.generate(text)?,
        };
        for (part, matrix) in ["channel_fc1", "channel_fc2", "spatial"].into_iter().zip(gates.tensors()) {
            pass.tap(|| format!("{}.dyn.{part}", self.name), &matrix.flatten_from(1)?);
        }
        Ok(gates)
    }
}

/// The weight generators of all QD-ATT modules: one per gated backbone stage, one per downward step of the neck.
pub(crate) struct Generators(Vec<GateGenerators>);

impl Generators {
    /// Reads the generators from the root of a checkpoint.
    pub(crate) fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        let backbone = config.gated_stages().map(|stage| {
            let vb = vb.pp(format!("visumodel.backbone.layers.{stage}.qdatt"));
            GateGenerators::new(config, &vb, format!("stage{stage}"), config.stage_channels(stage))
        });
        let levels = config.neck_levels();
        let neck = (0..levels.len() - 2).map(|place| {
            let vb = vb.pp(format!("visumodel.neck.fpn_down.{place}.qdatt"));
            GateGenerators::new(config, &vb, format!("neck.down{}", levels[place]), config.neck.out_channels)
        });
        Ok(Self(backbone.chain(neck).collect::<Result<_>>()?))
    }

    /// Backbone stages first, then the neck's levels.
    ///
    /// # Shapes
    /// `text_cls [Q, D]`.
    pub(crate) fn generate(&self, text_cls: &Tensor, pass: &mut Pass) -> Result<Vec<Gates>> {
        self.0.iter().map(|generators| generators.generate(text_cls, pass)).collect()
    }
}
