//! Inverted residuals and the stem against composed operations, values and gradients.

use candle_core::{DType, Tensor};
use rand::RngExt;

use super::depthwise::{Window, by_tap, convolve};
use super::forced::on_each;
use super::tests::{Operation, both, difference, values};
use crate::canvas::Grid;
use crate::ops::{self, BlockShape, BlockWeights, composed};
use crate::seeded::stream;

fn weights(tensors: &[Tensor]) -> BlockWeights<&Tensor> {
    let (expand, rest) = tensors[1..].split_at(tensors.len() - 5);
    BlockWeights {
        expand: (!expand.is_empty()).then(|| (&expand[0], &expand[1])),
        depthwise: (&rest[0], &rest[1]),
        project: (&rest[2], &rest[3]),
    }
}

/// A map, and the weights of a block, such that values lie on both sides of 0 and of 6.
fn inputs(grid: Grid, (input, hidden, output): (usize, usize, usize)) -> Vec<Tensor> {
    let mut inputs = vec![values("x", &[3, grid.len(), input], 3.0)];
    if hidden != input {
        inputs.extend([values("e", &[hidden, input], 1.0), values("eb", &[hidden], 3.0)]);
    }
    inputs.extend([values("d", &[hidden, 1, 3, 3], 1.0), values("db", &[hidden], 3.0)]);
    inputs.extend([values("p", &[output, hidden], 0.3), values("pb", &[output], 1.0)]);
    inputs
}

#[test]
fn inverted_residuals() {
    for (grid, sizes, stride, dilation) in [
        (Grid { h: 6, w: 8 }, (5, 20, 7), 1, 1),
        (Grid { h: 6, w: 8 }, (16, 48, 16), 1, 1),
        (Grid { h: 2, w: 2 }, (3, 16, 3), 1, 2),
        (Grid { h: 7, w: 5 }, (6, 33, 6), 1, 2),
        (Grid { h: 4, w: 6 }, (9, 35, 4), 2, 1),
        (Grid { h: 2, w: 2 }, (16, 32, 8), 2, 1),
        (Grid { h: 10, w: 12 }, (32, 32, 16), 1, 1),
    ] {
        let residual = stride == 1 && sizes.0 == sizes.2;
        let shape = BlockShape { window: Window { stride, dilation }, residual };
        let (kernel, reference): (Operation, Operation) =
            (&|t| ops::inverted_residual(&t[0], &weights(t), grid, shape), &|t| {
                composed::inverted_residual(&t[0], &weights(t), grid, shape)
            });
        let inputs = inputs(grid, sizes);
        both(&format!("block of {sizes:?} on {grid:?}, {shape:?}"), kernel, reference, &inputs);
    }
}

/// Large enough for several strips of one map.
#[test]
fn strips_join_without_a_seam() {
    let grid = Grid { h: 64, w: 64 };
    for (stride, dilation) in [(1, 1), (1, 2), (2, 1)] {
        let shape = BlockShape { window: Window { stride, dilation }, residual: false };
        let (kernel, reference): (Operation, Operation) =
            (&|t| ops::inverted_residual(&t[0], &weights(t), grid, shape), &|t| {
                composed::inverted_residual(&t[0], &weights(t), grid, shape)
            });
        // Values alone: of so many, some lie so near to 0 or 6 that their gradient depends on rounding.
        let inputs = inputs(grid, (16, 96, 24));
        let wide: Vec<Tensor> = inputs.iter().map(|t| t.to_dtype(DType::F64).expect("cast")).collect();
        let found = difference(&kernel(&inputs).expect("runs"), &reference(&wide).expect("runs"));
        assert!(found < 5e-5, "{shape:?}: values differ by {found}");
    }
}

#[test]
fn stem() {
    for (height, width) in [(2, 2), (6, 4), (64, 32)] {
        let image = values("image", &[2, 3, height, width], 3.0);
        let wide = image.to_dtype(DType::F64).expect("cast");
        let (kernel, reference): (Operation, Operation) =
            (&|t| ops::stem(&image, &t[0], &t[1]), &|t| composed::stem(&wide, &t[0], &t[1]));
        let inputs = [values("w", &[32, 3, 3, 3], 0.5), values("b", &[32], 2.0)];
        both(&format!("stem on {width}x{height}"), kernel, reference, &inputs);
    }
}

/// Whatever the processor has, a row of windows comes out the same.
#[test]
fn vector_units_convolve_alike() {
    let mut rng = stream(4, "rows");
    let mut numbers = |count: usize| -> Vec<f32> { (0..count).map(|_| rng.random::<f32>() * 4.0 - 2.0).collect() };
    for channels in [16, 40, 96] {
        let (rows, weight, bias) = (numbers(3 * 10 * channels), numbers(9 * channels), numbers(channels));
        let taps = by_tap(&weight);
        let whole = std::array::from_fn(|row| Some(&rows[row * 10 * channels..][..10 * channels]));
        let at_the_edge = [whole[0], whole[1], None];
        for (three, (stride, dilation)) in
            [(whole, (1, 1)), (whole, (1, 2)), (whole, (2, 1)), (at_the_edge, (1, 1)), (at_the_edge, (2, 1))]
        {
            let window = Window { stride, dilation };
            let mut expected: Option<Vec<f32>> = None;
            on_each(|unit| {
                let mut found = vec![0.0; 10 / stride * channels];
                convolve(&three, window, &taps, &bias, true, &mut found);
                let expected = expected.get_or_insert_with(|| found.clone());
                let near = found.iter().zip(&*expected).all(|(a, b)| (a - b).abs() < 1e-5);
                assert!(near, "{channels} channels, {window:?}, {unit:?}");
            });
        }
    }
}
