//! Losses that are one number: value and gradient computed together, in f64, as one differentiable operation.

use std::sync::Mutex;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};

/// A number and its gradient by the values it was computed from.
pub(crate) struct Loss {
    pub(crate) value: f64,
    pub(crate) gradient: Vec<f32>,
}

/// `loss` of all values of `x`, as a tensor without axes that passes its gradient on.
pub(crate) fn scalar(x: &Tensor, loss: impl Fn(&[f32]) -> Loss + Send + Sync + 'static) -> Result<Tensor> {
    x.to_device(&Device::Cpu)?.contiguous()?.apply_op1(Scalar { loss, gradient: Mutex::new(Vec::new()) })
}

struct Scalar<F> {
    loss: F,
    /// Filled by the forward pass, taken by the backward pass.
    gradient: Mutex<Vec<f32>>,
}

impl<F: Fn(&[f32]) -> Loss + Send + Sync> CustomOp1 for Scalar<F> {
    fn name(&self) -> &'static str {
        "scalar-loss"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            candle_core::bail!("a loss is computed of contiguous f32");
        };
        let Loss { value, gradient } = (self.loss)(&values[start..end]);
        if let Ok(mut slot) = self.gradient.lock() {
            *slot = gradient;
        }
        Ok((CpuStorage::F32(vec![value as f32]), Shape::from(())))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, outer: &Tensor) -> Result<Option<Tensor>> {
        let outer: f32 = outer.to_scalar()?;
        let gradient = self.gradient.lock().map_err(|_| candle_core::Error::msg("a loss panicked"))?;
        let scaled = gradient.iter().map(|g| g * outer).collect();
        Tensor::from_vec(scaled, x.shape(), x.device()).map(Some)
    }
}

/// Softplus and the logistic function.
fn logistic(x: f32) -> (f64, f64) {
    let x = f64::from(x);
    (x.max(0.0) + (-x.abs()).exp().ln_1p(), 1.0 / (1.0 + (-x).exp()))
}

/// Binary cross-entropy of logits against targets in 0..1. With `balanced`, the positive and the negative side are each
/// divided by their own mass, so that a small object weighs as much as the rest of the picture; else the mean.
pub(crate) fn binary_cross_entropy(logits: &Tensor, targets: Vec<f32>, balanced: bool) -> Result<Tensor> {
    let positive: f64 = targets.iter().map(|&t| f64::from(t)).sum();
    let negative = targets.len() as f64 - positive;
    let (positive, negative) = if balanced {
        (1.0 / positive.max(1.0), 1.0 / negative.max(1.0))
    } else {
        let mean = 1.0 / targets.len().max(1) as f64;
        (mean, mean)
    };
    scalar(logits, move |x| {
        let mut value = 0.0;
        let gradient = x
            .iter()
            .zip(&targets)
            .map(|(&x, &t)| {
                let (plus, share) = logistic(x);
                let (up, down) = (positive * f64::from(t), negative * (1.0 - f64::from(t)));
                value += up * (plus - f64::from(x)) + down * plus;
                (down * share - up * (1.0 - share)) as f32
            })
            .collect();
        Loss { value, gradient }
    })
}

/// Cross-entropy of rows of logits `[N, classes]` against class numbers, each row with its weight, divided by the sum
/// of weights.
pub(crate) fn cross_entropy(logits: &Tensor, targets: Vec<(u16, f32)>) -> Result<Tensor> {
    let (_, classes) = logits.dims2()?;
    let total: f64 = targets.iter().map(|(_, weight)| f64::from(*weight)).sum();
    let scale = if total > 0.0 { 1.0 / total } else { 0.0 };
    scalar(logits, move |x| {
        let mut value = 0.0;
        let mut gradient = vec![0.0; x.len()];
        for ((row, out), (class, weight)) in
            x.chunks_exact(classes).zip(gradient.chunks_exact_mut(classes)).zip(&targets)
        {
            if *weight == 0.0 {
                continue;
            }
            let weight = scale * f64::from(*weight);
            let largest = row.iter().copied().fold(f32::MIN, f32::max);
            let mut sum = 0.0f32;
            for (out, x) in out.iter_mut().zip(row) {
                *out = (x - largest).exp();
                sum += *out;
            }
            let target = usize::from(*class);
            value += weight * f64::from(sum.ln() + largest - row[target]);
            let share = (weight / f64::from(sum)) as f32;
            for value in out.iter_mut() {
                *value *= share;
            }
            out[target] -= weight as f32;
        }
        Loss { value, gradient }
    })
}

/// Mean of `-ln` of the mass that rows of weights `[N, S]` put where `wanted [N, S]` is 1; rows that want nothing do not
/// count.
pub(crate) fn attention_mass(weights: &Tensor, wanted: Vec<f32>) -> Result<Tensor> {
    const LEAST: f64 = 1e-6;
    let (_, length) = weights.dims2()?;
    let rows = wanted.chunks(length).filter(|row| row.iter().any(|w| *w > 0.0)).count();
    let scale = 1.0 / rows.max(1) as f64;
    scalar(weights, move |x| {
        let mut value = 0.0;
        let mut gradient = vec![0.0; x.len()];
        let rows = x.chunks_exact(length).zip(gradient.chunks_exact_mut(length)).zip(wanted.chunks_exact(length));
        for ((row, out), wanted) in rows {
            if wanted.iter().all(|w| *w == 0.0) {
                continue;
            }
            let mass: f64 = row.iter().zip(wanted).map(|(x, w)| f64::from(x * w)).sum::<f64>() + LEAST;
            value -= scale * mass.ln();
            out.iter_mut().zip(wanted).for_each(|(out, w)| *out = (-scale * f64::from(*w) / mass) as f32);
        }
        Loss { value, gradient }
    })
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;

    /// The gradient against central differences.
    fn check(shape: (usize, usize), loss: impl Fn(&Tensor) -> Result<Tensor>) {
        let count = shape.0 * shape.1;
        let values: Vec<f32> = (0..count).map(|i| ((i * 37 % 19) as f32 - 9.0) / 12.0).collect();
        let at = |values: &[f32]| -> f32 {
            let x = Tensor::from_slice(values, shape, &Device::Cpu).expect("a tensor");
            loss(&x).expect("a loss").to_scalar().expect("a number")
        };
        let var = Var::from_tensor(&Tensor::from_slice(&values, shape, &Device::Cpu).expect("a tensor")).expect("var");
        let grads = (loss(&var).expect("a loss") * 2.0).expect("scaled").backward().expect("backward");
        let gradient: Vec<f32> =
            grads.get(&var).expect("a gradient").flatten_all().expect("flat").to_vec1().expect("values");
        for i in 0..count {
            let (mut up, mut down) = (values.clone(), values.clone());
            up[i] += 1e-2;
            down[i] -= 1e-2;
            let slope = (at(&up) - at(&down)) / 2e-2;
            assert!((2.0 * slope - gradient[i]).abs() < 2e-3, "{i}: {slope} against half of {}", gradient[i]);
        }
    }

    #[test]
    fn gradients_are_slopes() {
        let targets: Vec<f32> = (0..12).map(|i| [0.0, 1.0, 0.3][i % 3]).collect();
        check((3, 4), |x| binary_cross_entropy(x, targets.clone(), true));
        check((3, 4), |x| binary_cross_entropy(x, targets.clone(), false));
        check((3, 4), |x| cross_entropy(x, vec![(0, 1.0), (3, 0.15), (1, 0.0)]));
        let wanted = vec![1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0];
        check((3, 4), |x| attention_mass(&(x.sqr()? + 0.1)?, wanted.clone()));
    }

    #[test]
    fn known_values() {
        let x = Tensor::new(&[[0.0f32, 0.0]], &Device::Cpu).expect("a tensor");
        let value = |loss: Result<Tensor>| -> f32 { loss.expect("a loss").to_scalar().expect("a number") };
        let ln2 = std::f32::consts::LN_2;
        assert!((value(binary_cross_entropy(&x, vec![1.0, 0.0], false)) - ln2).abs() < 1e-6);
        assert!((value(binary_cross_entropy(&x, vec![1.0, 0.0], true)) - 2.0 * ln2).abs() < 1e-6);
        assert!((value(cross_entropy(&x, vec![(1, 3.0)])) - ln2).abs() < 1e-6);
        let weights = Tensor::new(&[[0.25f32, 0.75], [0.5, 0.5]], &Device::Cpu).expect("a tensor");
        assert!((value(attention_mass(&weights, vec![1.0, 0.0, 0.0, 0.0])) - 4f32.ln()).abs() < 1e-4);
    }
}
