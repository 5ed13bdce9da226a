//! `x W^T + b`, and its three gradients in one pass over the rows.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use super::fused::{Fused, apply};
use super::gemm::{Matrix, Onto, Tasks, add, add_columns, fill_rows, gemm};
use super::half_row;

/// # Shapes
/// `x [.., I]`, `weight [O, I]`, `bias [O]` → `[.., O]`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (output, input) = weight.dims2()?;
    if x.dim(D::Minus1)? != input || bias.is_some_and(|bias| bias.dims() != [output]) {
        candle_core::bail!("linear: x {:?} does not fit weight {:?} and bias", x.shape(), weight.shape());
    }
    let mut shape = x.dims().to_vec();
    shape.pop();
    shape.push(output);
    let mut inputs = vec![x, weight];
    inputs.extend(bias);
    apply(Linear { input, output, columns: None }, &inputs, shape)
}

/// `x W^T + b`, plus a map of half the size with every token repeated 2x2; the larger map is `columns` wide.
///
/// # Shapes
/// `x [B, N, I]`, `weight [O, I]`, `bias [O]`, `coarse [B, N / 4, O]` → `[B, N, O]`.
pub fn linear_onto_upsampled(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    coarse: &Tensor,
    columns: usize,
) -> Result<Tensor> {
    let (output, input) = weight.dims2()?;
    let (batch, tokens, width) = x.dims3()?;
    let fits = width == input && bias.dims() == [output] && tokens % (2 * columns) == 0 && columns.is_multiple_of(2);
    if !fits || coarse.dims() != [batch, tokens / 4, output] {
        candle_core::bail!(
            "linear: x {:?} does not fit weight {:?} and {:?}",
            x.shape(),
            weight.shape(),
            coarse.shape()
        );
    }
    let operation = Linear { input, output, columns: Some(columns) };
    apply(operation, &[x, weight, bias, coarse], (batch, tokens, output))
}

struct Linear {
    input: usize,
    output: usize,
    /// Columns of the map that the upsampled one is added to, if one is.
    columns: Option<usize>,
}

impl Fused for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn forward(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let &Self { input, output, .. } = self;
        let (x, weight) = (inputs[0], Matrix::new(inputs[1], input));
        let rows = x.len() / input;
        let tasks = Tasks::forward(rows, input * output);
        let mut y = vec![0.0; rows * output];
        y.par_chunks_mut(tasks.rows * output).zip(x.par_chunks(tasks.rows * input)).enumerate().for_each(
            |(i, (y, x))| {
                let onto = if let Some(bias) = inputs.get(2) {
                    fill_rows(bias, y);
                    Onto::Result
                } else {
                    Onto::Nothing
                };
                if let (Some(columns), Some(coarse)) = (self.columns, inputs.get(3)) {
                    for (row, y) in y.chunks_exact_mut(output).enumerate() {
                        add(&coarse[half_row(i * tasks.rows + row, columns) * output..][..output], y);
                    }
                }
                gemm(y, onto, Matrix::new(x, input), weight.transposed(), tasks.alone);
            },
        );
        y
    }

    fn backward(&self, inputs: &[&[f32]], gradient: &[f32], wanted: &[bool]) -> Vec<Vec<f32>> {
        let &Self { input, output, .. } = self;
        let (x, weight) = (inputs[0], Matrix::new(inputs[1], input));
        let rows = x.len() / input;
        let tasks = Tasks::backward(rows, input * output);
        let mut dx = vec![0.0; if wanted[0] { x.len() } else { 0 }];
        let mut parts: Vec<Option<&mut [f32]>> = dx.chunks_mut(tasks.rows * input).map(Some).collect();
        parts.resize_with(rows.div_ceil(tasks.rows), || None);
        let sums = parts
            .into_par_iter()
            .zip(x.par_chunks(tasks.rows * input).zip(gradient.par_chunks(tasks.rows * output)))
            .map(|(dx, (x, g))| {
                let (x, rows) = (Matrix::new(x, input), Matrix::new(g, output));
                if let Some(dx) = dx {
                    gemm(dx, Onto::Nothing, rows, weight, tasks.alone);
                }
                let mut sums = vec![0.0; output * input + output];
                let (dw, db) = sums.split_at_mut(output * input);
                if wanted[1] {
                    gemm(dw, Onto::Nothing, rows.transposed(), x, tasks.alone);
                }
                if inputs.len() > 2 {
                    add_columns(g, db);
                }
                sums
            })
            .collect::<Vec<_>>();
        let mut dw = total(sums);
        let db = dw.split_off(output * input);
        let mut gradients = vec![dx, dw, db];
        if let Some(columns) = self.columns {
            let mut coarse = vec![0.0; gradient.len() / 4];
            let rows = coarse.par_chunks_mut(columns / 2 * output).zip(gradient.par_chunks(2 * columns * output));
            rows.for_each(|(coarse, pair)| {
                for (row, g) in pair.chunks_exact(output).enumerate() {
                    add(g, &mut coarse[half_row(row, columns) * output..][..output]);
                }
            });
            gradients.push(coarse);
        }
        gradients
    }
}

/// The sum of the tasks' sums, in their order.
pub(super) fn total(parts: Vec<Vec<f32>>) -> Vec<f32> {
    parts
        .into_iter()
        .reduce(|mut sum, part| {
            add(&part, &mut sum);
            sum
        })
        .unwrap_or_default()
}
