//! What several parts are made of.

use blocks::ops::kernel::dense::Arithmetic;
use blocks::ops::kernel::product::{Packed, Rows};
use blocks::ops::kernel::relu_in_place;
use blocks::packed::layers::FeedForward;
use blocks::packed::tasks::take;
use blocks::packed::weights::Weights;
use candle_core::Result;

/// Two Linears by the names of the file, `fc1` and `fc2`.
pub(super) fn feed_forward(weights: &Weights, width: usize, hidden: usize) -> Result<FeedForward> {
    Ok(FeedForward {
        first: weights.pp("fc1").linear(width, hidden, Arithmetic::F32)?,
        second: weights.pp("fc2").linear(hidden, width, Arithmetic::F32)?,
    })
}

/// Linears with nothing below zero between them.
pub(super) struct MlpHead(Vec<Packed>);

impl MlpHead {
    /// `widths` from the input's to the output's.
    pub(super) fn new(weights: &Weights, widths: &[usize]) -> Result<Self> {
        let of =
            |(number, pair): (usize, &[usize])| weights.pp(format!("layers.{number}")).exact_linear(pair[0], pair[1]);
        Ok(Self(widths.windows(2).enumerate().map(of).collect::<Result<_>>()?))
    }

    /// Of every row of `x`, into the rows of `y`.
    pub(super) fn forward(&self, x: &[f32], y: &mut [f32], [here, next]: [&mut Vec<f32>; 2]) {
        let count = x.len() / self.0.first().map_or(1, Packed::input);
        let (mut here, mut next) = (here, next);
        for (number, linear) in self.0.iter().enumerate() {
            let (input, output) = (linear.input(), linear.output());
            let values = if number == 0 { x } else { &here[..count * input] };
            let rows = Rows { values, stride: input, count };
            if number + 1 == self.0.len() {
                linear.apply(rows, linear.bias(), y, output);
                return;
            }
            let out = take(next, count * output);
            linear.apply(rows, linear.bias(), out, output);
            relu_in_place(out);
            std::mem::swap(&mut here, &mut next);
        }
    }
}

/// `a + b` into `out`.
pub(super) fn sum(a: &[f32], b: &[f32], out: &mut [f32]) {
    out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = a + b);
}
