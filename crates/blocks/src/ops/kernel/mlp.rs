//! A block's MLP with its norm and residual, some rows at a time, so that hidden values never leave the cache. The
//! backward pass computes them again.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use super::elementwise::{gelu_both, gelu_in_place};
use super::fused::{Fused, apply};
use super::gemm::{Matrix, Onto, Tasks, add, add_columns, fill_rows, gemm};
use super::linear::total;
use super::norm::{layer_norm_gradient_rows, layer_norm_rows};
use crate::ops::{Activation, Mlp, NormPlace};

/// # Shapes
/// `x [.., C]`, `norm [C]` twice, first `[H, C]` and `[H]`, second `[C, H]` and `[C]` → `[.., C]`.
pub fn mlp(x: &Tensor, mlp: &Mlp) -> Result<Tensor> {
    let (hidden, width) = mlp.first.0.dims2()?;
    let vectors = [(mlp.norm.0, width), (mlp.norm.1, width), (mlp.first.1, hidden), (mlp.second.1, width)];
    let fits = vectors.iter().all(|(vector, size)| vector.dims() == [*size]);
    if !fits || mlp.second.0.dims() != [width, hidden] || x.dim(D::Minus1)? != width {
        candle_core::bail!("mlp: weights of {width} and {hidden} channels do not fit {:?}", x.shape());
    }
    let operation = Block { width, hidden, eps: mlp.eps as f32, place: mlp.place, activation: mlp.activation };
    let inputs = [x, mlp.norm.0, mlp.norm.1, mlp.first.0, mlp.first.1, mlp.second.0, mlp.second.1];
    apply(operation, &inputs, x.shape())
}

struct Block {
    width: usize,
    hidden: usize,
    eps: f32,
    place: NormPlace,
    activation: Activation,
}

/// The weights as they lie in the inputs.
#[derive(Clone, Copy)]
struct Weights<'a> {
    norm: (&'a [f32], &'a [f32]),
    first: (Matrix<'a>, &'a [f32]),
    second: (Matrix<'a>, &'a [f32]),
}

impl Block {
    fn weights<'a>(&self, inputs: &[&'a [f32]]) -> Weights<'a> {
        Weights {
            norm: (inputs[1], inputs[2]),
            first: (Matrix::new(inputs[3], self.width), inputs[4]),
            second: (Matrix::new(inputs[5], self.hidden), inputs[6]),
        }
    }

    /// What the first Linear reads: the rows, or their norm in `memory`.
    fn read<'a>(&self, x: &'a [f32], w: Weights, memory: &'a mut Vec<f32>) -> &'a [f32] {
        match self.place {
            NormPlace::After => x,
            NormPlace::Before => {
                memory.resize(x.len(), 0.0);
                layer_norm_rows(x, w.norm.0, w.norm.1, self.eps, memory);
                memory
            }
        }
    }

    /// Hidden values before the activation.
    fn hidden(&self, read: &[f32], w: Weights, alone: bool) -> Vec<f32> {
        let mut hidden = vec![0.0; read.len() / self.width * self.hidden];
        fill_rows(w.first.1, &mut hidden);
        gemm(&mut hidden, Onto::Result, Matrix::new(read, self.width), w.first.0.transposed(), alone);
        hidden
    }

    /// Residual and second Linear into `y`.
    fn finish(&self, x: &[f32], active: &[f32], w: Weights, y: &mut [f32], alone: bool) {
        fill_rows(w.second.1, y);
        add(x, y);
        gemm(y, Onto::Result, Matrix::new(active, self.hidden), w.second.0.transposed(), alone);
    }

    fn forward_rows(&self, x: &[f32], w: Weights, y: &mut [f32], alone: bool) {
        let mut memory = Vec::new();
        let mut hidden = self.hidden(self.read(x, w, &mut memory), w, alone);
        match self.activation {
            Activation::Gelu => gelu_in_place(&mut hidden),
            Activation::Relu => hidden.iter_mut().for_each(|h| *h = h.max(0.0)),
        }
        match self.place {
            NormPlace::Before => self.finish(x, &hidden, w, y, alone),
            NormPlace::After => {
                memory.resize(x.len(), 0.0);
                self.finish(x, &hidden, w, &mut memory, alone);
                layer_norm_rows(&memory, w.norm.0, w.norm.1, self.eps, y);
            }
        }
    }

    /// Gradients of some rows into `dx`; those of the weights, summed over the rows, in the order of the inputs.
    fn backward_rows(&self, x: &[f32], w: Weights, g: &[f32], dx: &mut [f32], alone: bool) -> Vec<f32> {
        let (width, hidden_width) = (self.width, self.hidden);
        let mut sums = vec![0.0; 2 * width + hidden_width * width + hidden_width + width * hidden_width + width];
        let (dnorm, rest) = sums.split_at_mut(2 * width);
        let (dnorm_weight, dnorm_bias) = dnorm.split_at_mut(width);
        let (dfirst, rest) = rest.split_at_mut(hidden_width * width);
        let (dfirst_bias, rest) = rest.split_at_mut(hidden_width);
        let (dsecond, dsecond_bias) = rest.split_at_mut(width * hidden_width);

        let mut memory = Vec::new();
        let read = self.read(x, w, &mut memory);
        let mut slope = self.hidden(read, w, alone);
        let mut active = vec![0.0; slope.len()];
        match self.activation {
            Activation::Gelu => gelu_both(&mut slope, &mut active),
            // As candle's ReLU: zero passes a gradient.
            Activation::Relu => slope.iter_mut().zip(&mut active).for_each(|(h, a)| {
                *a = h.max(0.0);
                *h = if *h >= 0.0 { 1.0 } else { 0.0 };
            }),
        }
        let mut normed = vec![0.0; width];
        let mut inner = Vec::new();
        let outer = match self.place {
            NormPlace::Before => g,
            NormPlace::After => {
                let mut y = vec![0.0; x.len()];
                self.finish(x, &active, w, &mut y, alone);
                inner.resize(x.len(), 0.0);
                layer_norm_gradient_rows(&y, w.norm.0, g, self.eps, &mut normed, &mut inner, dnorm_weight, dnorm_bias);
                inner.as_slice()
            }
        };
        let outer_rows = Matrix::new(outer, width);
        gemm(dsecond, Onto::Nothing, outer_rows.transposed(), Matrix::new(&active, hidden_width), alone);
        add_columns(outer, dsecond_bias);
        let dhidden = &mut active;
        gemm(dhidden, Onto::Nothing, outer_rows, w.second.0, alone);
        dhidden.iter_mut().zip(&slope).for_each(|(d, s)| *d *= s);
        let dhidden_rows = Matrix::new(dhidden, hidden_width);
        gemm(dfirst, Onto::Nothing, dhidden_rows.transposed(), Matrix::new(read, width), alone);
        add_columns(dhidden, dfirst_bias);
        match self.place {
            NormPlace::After => {
                dx.copy_from_slice(outer);
                gemm(dx, Onto::Result, dhidden_rows, w.first.0, alone);
            }
            NormPlace::Before => {
                inner.resize(x.len(), 0.0);
                gemm(&mut inner, Onto::Nothing, dhidden_rows, w.first.0, alone);
                layer_norm_gradient_rows(x, w.norm.0, &inner, self.eps, &mut normed, dx, dnorm_weight, dnorm_bias);
                add(g, dx);
            }
        }
        sums
    }
}

impl Fused for Block {
    fn name(&self) -> &'static str {
        "mlp"
    }

    fn forward(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let (x, w) = (inputs[0], self.weights(inputs));
        let tasks = Tasks::forward(x.len() / self.width, 2 * self.width * self.hidden);
        let mut y = vec![0.0; x.len()];
        let size = tasks.rows * self.width;
        y.par_chunks_mut(size).zip(x.par_chunks(size)).for_each(|(y, x)| self.forward_rows(x, w, y, tasks.alone));
        y
    }

    fn backward(&self, inputs: &[&[f32]], gradient: &[f32], _: &[bool]) -> Vec<Vec<f32>> {
        let (x, w) = (inputs[0], self.weights(inputs));
        let tasks = Tasks::backward(x.len() / self.width, 2 * self.width * self.hidden);
        let mut dx = vec![0.0; x.len()];
        let size = tasks.rows * self.width;
        let sums = dx
            .par_chunks_mut(size)
            .zip(x.par_chunks(size).zip(gradient.par_chunks(size)))
            .map(|(dx, (x, g))| self.backward_rows(x, w, g, dx, tasks.alone))
            .collect();
        let mut rest = total(sums);
        let mut gradients = vec![dx];
        for input in &inputs[1..] {
            let later = rest.split_off(input.len());
            gradients.push(rest);
            rest = later;
        }
        gradients
    }
}
