//! From the backbone's maps to those that the encoder reads: all of one width, and smaller ones behind the last.

use blocks::layers::Linear;
use blocks::pass::Pass;
use candle_core::{Module, Result, Tensor};
use candle_nn::{GroupNorm, VarBuilder, group_norm};

use crate::config::{Config, GROUPS};
use crate::plan::{Level, Plan};

/// Epsilon of the norms.
pub(crate) const EPS: f64 = 1e-5;

pub(crate) struct Neck {
    laterals: Vec<(Linear, GroupNorm)>,
    halvings: Vec<(Convolution, GroupNorm)>,
}

/// 3x3 with a stride of two.
struct Convolution {
    weight: Tensor,
    bias: Tensor,
}

impl Neck {
    pub(crate) fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        let (width, read) = (config.width, config.stages.len());
        let norm = |level: usize| group_norm(GROUPS, width, EPS, vb.pp(format!("{level}.1")));
        let channels = |level: usize| config.swin.channels(config.stages[level]);
        let lateral = |level: usize| {
            Ok((Linear::from_conv1x1(&vb.pp(format!("{level}.0")), channels(level), width)?, norm(level)?))
        };
        let halving = |level: usize| {
            let (vb, input) = (vb.pp(format!("{level}.0")), if level == read { channels(read - 1) } else { width });
            let (weight, bias) = (vb.get((width, input, 3, 3), "weight")?, vb.get(width, "bias")?);
            Ok((Convolution { weight, bias: bias.reshape((1, width, 1, 1))? }, norm(level)?))
        };
        Ok(Self {
            laterals: (0..read).map(lateral).collect::<Result<_>>()?,
            halvings: (read..config.levels).map(halving).collect::<Result<_>>()?,
        })
    }

    /// The backbone's `maps [1, h*w, C]` → tokens of all levels, `[1, T, d]`.
    pub(crate) fn forward(&self, maps: &[Tensor], plan: &Plan, pass: &mut Pass) -> Result<Tensor> {
        let mut levels = Vec::with_capacity(plan.levels.len());
        for ((map, (lateral, norm)), level) in maps.iter().zip(&self.laterals).zip(&plan.levels) {
            levels.push(norm.forward(&as_map(&lateral.forward(map)?, level)?)?);
        }
        // The first of the smaller ones reads the backbone's last map, the others each other.
        let last = maps.last().zip(plan.levels.get(maps.len().saturating_sub(1)));
        let mut source = last.map(|(map, level)| as_map(map, level)).transpose()?;
        for (convolution, norm) in &self.halvings {
            let Some(read) = &source else { break };
            let halved = read.conv2d(&convolution.weight, 1, 2, 1, 1)?.broadcast_add(&convolution.bias)?;
            let level = norm.forward(&halved)?;
            levels.push(level.clone());
            source = Some(level);
        }
        for (number, level) in levels.iter().enumerate() {
            pass.tap(|| format!("level{number}"), level);
        }
        let tokens: Vec<Tensor> =
            levels.iter().map(|level| level.flatten_from(2)?.transpose(1, 2)).collect::<Result<_>>()?;
        Tensor::cat(&tokens, 1)?.contiguous()
    }
}

/// `[1, h*w, C]` → `[1, C, h, w]`.
fn as_map(tokens: &Tensor, level: &Level) -> Result<Tensor> {
    let (batch, _, channels) = tokens.dims3()?;
    tokens.transpose(1, 2)?.contiguous()?.reshape((batch, channels, level.grid.h, level.grid.w))
}
