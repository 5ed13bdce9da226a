//! `AdamW` (decoupled weight decay) with groups, state that saves and loads, and clipping by the global norm.
//!
//! candle-nn's optimiser has one rate and hides its moments, so a run could not be resumed.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var};
use rayon::prelude::*;

/// The reference's parameter groups, in its order (SPEC section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Fusion encoder, projections, embeddings, heads.
    Rest,
    /// Backbone without the weight generators.
    Backbone,
    /// Weight generators of the backbone.
    BackboneQuery,
    /// Lateral convolutions of the neck.
    Neck,
    /// Weight generators of the neck.
    NeckQuery,
    /// Text tower.
    Text,
}

impl Group {
    /// All groups, in the reference's order.
    pub const ALL: [Self; 6] =
        [Self::Rest, Self::Backbone, Self::BackboneQuery, Self::Neck, Self::NeckQuery, Self::Text];

    /// The group of a tensor by its name.
    pub fn of(name: &str) -> Self {
        if name.starts_with("textmodel.") {
            return Self::Text;
        }
        if !name.starts_with("visumodel.") {
            return Self::Rest;
        }
        match (name.contains("backbone"), name.contains("qdatt"), name.contains("fpn_down")) {
            (true, false, _) => Self::Backbone,
            (true, true, _) => Self::BackboneQuery,
            (false, _, false) => Self::Neck,
            (false, _, true) => Self::NeckQuery,
        }
    }
}

/// What does not change from step to step.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Rate of each group, in the order of [`Group::ALL`].
    pub rates: [f64; 6],
    /// Weight decay of each group.
    pub decay: [f64; 6],
    /// Decay of the mean and of the mean square.
    pub betas: (f64, f64),
    /// Added to the root of the mean square.
    pub eps: f64,
    /// Largest global norm of the gradients; none clips nothing.
    pub clip: Option<f64>,
}

impl Settings {
    /// The reference's: 1e-5 for pretrained parts, 1e-4 for the others, decay 1e-4 on everything, no clipping.
    pub fn reference() -> Self {
        Self {
            rates: [1e-4, 1e-5, 1e-4, 1e-5, 1e-4, 1e-5],
            decay: [1e-4; 6],
            betas: (0.9, 0.999),
            eps: 1e-8,
            clip: None,
        }
    }
}

/// One trained tensor and its moments.
struct Slot {
    var: Var,
    group: usize,
    mean: Var,
    square: Var,
}

/// The optimiser over named variables, in name order.
pub struct AdamW {
    settings: Settings,
    slots: BTreeMap<String, Slot>,
    step: u64,
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stepped {
    /// Global norm of the gradients before clipping.
    pub norm: f64,
    /// False where the norm was not finite: nothing was changed then.
    pub applied: bool,
}

impl AdamW {
    /// # Errors
    /// The device cannot hold the moments.
    pub fn new(vars: &BTreeMap<String, Var>, settings: Settings) -> Result<Self> {
        let slots = vars
            .iter()
            .map(|(name, var)| {
                let group = Group::of(name) as usize;
                let moment = || Var::from_tensor(&var.zeros_like()?);
                Ok((name.clone(), Slot { var: var.clone(), group, mean: moment()?, square: moment()? }))
            })
            .collect::<Result<_>>()?;
        Ok(Self { settings, slots, step: 0 })
    }

    /// Steps made so far.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Changes every variable that has a gradient; `factor` scales all rates. Variables without a gradient stay as they
    /// are, also without decay, as in PyTorch.
    ///
    /// # Errors
    /// A gradient of another shape, or a device error.
    pub fn step(&mut self, grads: &GradStore, factor: f64) -> Result<Stepped> {
        let norm = self.norm(grads)?;
        if !norm.is_finite() {
            return Ok(Stepped { norm, applied: false });
        }
        self.step += 1;
        let (beta1, beta2) = self.settings.betas;
        let clip = self.settings.clip.map_or(1.0, |limit| (limit / (norm + 1e-6)).min(1.0));
        let corrections = (1.0 - beta1.powf(self.step as f64), 1.0 - beta2.powf(self.step as f64));
        for slot in self.slots.values() {
            let Some(gradient) = grads.get(&slot.var) else { continue };
            let gradient = gradient.contiguous()?;
            let rate = self.settings.rates[slot.group] * factor;
            let update = Update {
                rate: rate as f32,
                keep: (1.0 - rate * self.settings.decay[slot.group]) as f32,
                mean: (1.0 / corrections.0) as f32,
                square: (1.0 / corrections.1) as f32,
                eps: self.settings.eps as f32,
            };
            slot.apply(&gradient, (beta1, beta2), clip, &update)?;
        }
        Ok(Stepped { norm, applied: true })
    }

    /// Norm over all gradients, summed in name order, in f64.
    fn norm(&self, grads: &GradStore) -> Result<f64> {
        let mut total = 0.0;
        for slot in self.slots.values() {
            if let Some(gradient) = grads.get(&slot.var) {
                let square: f32 = gradient.sqr()?.sum_all()?.to_scalar()?;
                total += f64::from(square);
            }
        }
        Ok(total.sqrt())
    }

    /// Moments by name, `mean.NAME` and `square.NAME`, to be saved with [`AdamW::steps`].
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        self.slots
            .iter()
            .flat_map(|(name, slot)| {
                let named = |kind: &str, var: &Var| (format!("{kind}.{name}"), var.as_tensor().clone());
                [named("mean", &slot.mean), named("square", &slot.square)]
            })
            .collect()
    }

    /// Takes up a saved state.
    ///
    /// # Errors
    /// A moment is missing or has another shape.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>, steps: u64) -> Result<()> {
        for (name, slot) in &self.slots {
            for (kind, var) in [("mean", &slot.mean), ("square", &slot.square)] {
                let key = format!("{kind}.{name}");
                let Some(saved) = state.get(&key) else { candle_core::bail!("the optimiser state lacks {key}") };
                if saved.dims() != var.dims() {
                    candle_core::bail!(
                        "the optimiser state {key} has shape {:?}, expected {:?}",
                        saved.dims(),
                        var.dims()
                    );
                }
                var.set(saved)?;
            }
        }
        self.step = steps;
        Ok(())
    }
}

impl Slot {
    fn apply(&self, gradient: &Tensor, (beta1, beta2): (f64, f64), clip: f64, update: &Update) -> Result<()> {
        if self.var.device().is_cpu() {
            self.mean.inplace_op2(gradient, &Blend { keep: beta1 as f32, scale: clip as f32, square: false })?;
            self.square.inplace_op2(gradient, &Blend { keep: beta2 as f32, scale: clip as f32, square: true })?;
            return self.var.inplace_op3(&self.mean, &self.square, update);
        }
        let gradient = (gradient * clip)?;
        self.mean.set(&((self.mean.as_tensor() * beta1)? + (&gradient * (1.0 - beta1))?)?)?;
        self.square.set(&((self.square.as_tensor() * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?)?;
        let root = ((self.square.as_tensor() * f64::from(update.square))?.sqrt()? + f64::from(update.eps))?;
        let step = ((self.mean.as_tensor() * f64::from(update.mean * update.rate))? / root)?;
        self.var.set(&((self.var.as_tensor() * f64::from(update.keep))? - step)?)
    }
}

/// Averaged weights: `average = keep * average + (1 - keep) * weight`.
///
/// # Errors
/// The shapes differ, or a device error.
pub fn average(average: &Var, weight: &Tensor, keep: f64) -> Result<()> {
    if average.device().is_cpu() {
        let blend = Blend { keep: keep as f32, scale: 1.0, square: false };
        return average.inplace_op2(weight, &blend);
    }
    average.set(&((average.as_tensor() * keep)? + (weight * (1.0 - keep))?)?)
}

/// Elements per task.
const CHUNK: usize = 1 << 15;

fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => candle_core::bail!("the optimiser wants contiguous f32"),
    }
}

fn slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => candle_core::bail!("the optimiser wants contiguous f32"),
    }
}

/// `moment = keep * moment + (1 - keep) * g`, or of its square.
struct Blend {
    keep: f32,
    scale: f32,
    square: bool,
}

impl InplaceOp2 for Blend {
    fn name(&self) -> &'static str {
        "adamw-moment"
    }

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<()> {
        let (moment, gradient) = (slice_mut(s1, l1)?, slice(s2, l2)?);
        let Self { keep, scale, square } = *self;
        moment.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK)).for_each(|(moment, gradient)| {
            for (moment, &g) in moment.iter_mut().zip(gradient) {
                let g = g * scale;
                *moment = keep * *moment + (1.0 - keep) * if square { g * g } else { g };
            }
        });
        Ok(())
    }
}

/// `w = keep * w - rate * (mean * m) / (sqrt(square * v) + eps)`.
struct Update {
    rate: f32,
    keep: f32,
    mean: f32,
    square: f32,
    eps: f32,
}

impl InplaceOp3 for Update {
    fn name(&self) -> &'static str {
        "adamw-update"
    }

    fn cpu_fwd(
        &self,
        s1: &mut CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<()> {
        let (weights, means, squares) = (slice_mut(s1, l1)?, slice(s2, l2)?, slice(s3, l3)?);
        let rows = means.par_chunks(CHUNK).zip(squares.par_chunks(CHUNK));
        weights.par_chunks_mut(CHUNK).zip(rows).for_each(|(weights, (means, squares))| {
            for (w, (&m, &v)) in weights.iter_mut().zip(means.iter().zip(squares)) {
                *w = self.keep * *w - self.rate * (self.mean * m) / ((self.square * v).sqrt() + self.eps);
            }
        });
        Ok(())
    }
}
