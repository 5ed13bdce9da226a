//! Products in bytes against wide integers, and against the numbers that the bytes stand for.

use rand::RngExt;

use super::super::bytes::RowScale;
use super::super::forced::on_each;
use super::super::panel::Rows;
use super::*;
use crate::seeded::stream;

fn values(name: &str, count: usize, range: f32) -> Vec<f32> {
    let mut rng = stream(8, name);
    (0..count).map(|_| (rng.random::<f32>() * 2.0 - 1.0) * range).collect()
}

/// Sizes that fill groups, panels and parts, and that do not.
const SIZES: [(usize, usize, usize); 8] = [
    (1, 384, 48),
    (13, 101, 40),
    (49, 32, 64),
    (96, 192, 96),
    (30, 771, 31),
    (25, 1536, 33),
    (7, 385, 16),
    (12, 1, 17),
];

/// The same in wide integers, from the bytes and what they stand for.
fn plainly(packed: &Packed, x: &Quantised, start: &[f32]) -> Vec<f32> {
    let (panels, output) = (packed.output.div_ceil(PANEL), packed.output);
    let mut y = start.to_vec();
    for (i, y) in y.iter_mut().enumerate() {
        let (row, column) = (i / output, i % output);
        let (panel, lane) = (column / PANEL, column % PANEL);
        for part in 0..packed.input.div_ceil(DEPTH) {
            let (left, right) = (x.part(part), packed.part(part, 0..panels));
            let depth = DEPTH.min(packed.input - part * DEPTH);
            let RowScale { scale, zero } = left.scales[row * left.parts];
            let product = |k: usize| {
                let value = i64::from(left.values[row * left.stride + k]) - i64::from(zero);
                value * i64::from(right.lines[panel * right.depth + k / GROUP].0[lane * GROUP + k % GROUP])
            };
            let sum: i64 = (0..depth).map(product).sum();
            *y += sum as f32 * (scale * right.outputs[panel].scales[lane]);
        }
    }
    y
}

#[test]
fn every_vector_unit_gives_the_bytes_of_wide_integers() {
    for (count, input, output) in SIZES {
        let (weight, bias) = (values("w", input * output, 0.3), values("b", output, 1.0));
        let packed = Packed::new(&weight, Some(&bias), input);
        let (x, stored) = (values("x", count * (input + 3), 5.0), values("y", count * (output + 5), 1.0));
        let rows = Rows { values: &x, stride: input + 3, count };
        let onto = |i: usize| stored[i / output * (output + 5) + i % output] + bias[i % output];
        let start: Vec<f32> = (0..count * output).map(onto).collect();
        on_each(|unit| {
            let mut quantised = Quantised::default();
            quantised.read(rows, input);
            let mut y = stored.clone();
            packed.apply_columns(&quantised, packed.bias_onto(), 0..output, &mut y, output + 5);
            let found: Vec<f32> = y.chunks(output + 5).flat_map(|row| &row[..output]).copied().collect();
            let what = format!("{count}x{input} times {output}, {unit:?}");
            assert!(found == plainly(&packed, &quantised, &start), "{what}");
            let beyond = y.chunks(output + 5).zip(stored.chunks(output + 5));
            assert!(beyond.into_iter().all(|(a, b)| a[output..] == b[output..]), "{what}: written beyond");
        });
    }
}

/// The largest bytes on both sides, which sums in sixteen bits would not hold.
#[test]
fn sums_of_the_largest_bytes_do_not_overflow() {
    let (input, output) = (DEPTH, 32);
    for sign in [1.0, -1.0] {
        let packed = Packed::new(&vec![sign; input * output], None, input);
        let x = vec![2.0; 3 * input];
        on_each(|unit| {
            let mut quantised = Quantised::default();
            quantised.read(Rows { values: &x, stride: input, count: 3 }, input);
            let mut y = vec![0.0; 3 * output];
            packed.apply_columns(&quantised, Start::Zero, 0..output, &mut y, output);
            let expected = 2.0 * sign * input as f32;
            assert!(y.iter().all(|y| (y / expected - 1.0).abs() < 1e-5), "{unit:?}: {}, {expected}", y[0]);
        });
    }
}

#[test]
fn products_are_near_those_of_the_numbers() {
    let (count, input, output) = (40, 768, 64);
    let (weight, x) = (values("w", input * output, 0.3), values("x", count * input, 5.0));
    let packed = Packed::new(&weight, None, input);
    let mut quantised = Quantised::default();
    quantised.read(Rows { values: &x, stride: input, count }, input);
    let mut y = vec![0.0; count * output];
    packed.apply_columns(&quantised, Start::Zero, 0..output, &mut y, output);
    let exact = |i: usize| -> f32 {
        let (row, column) = (&x[i / output * input..][..input], &weight[i % output * input..][..input]);
        row.iter().zip(column).map(|(x, w)| x * w).sum()
    };
    let (mut error, mut size) = (0.0, 0.0);
    for (i, y) in y.iter().enumerate() {
        (error, size) = (error + (y - exact(i)).powi(2), size + exact(i).powi(2));
    }
    let share = (error / size).sqrt();
    assert!(share > 0.0 && share < 0.01, "{share}");
    // In parts of outputs and of inputs, with bytes of the parts alone.
    let mut parts = vec![0.0; count * output];
    for columns in [0..32, 32..64] {
        let first = columns.start;
        packed.apply_columns(&quantised, Start::Zero, columns, &mut parts[first..], output);
    }
    assert!(parts == y, "by outputs");
    let mut parts = vec![0.0; count * output];
    for first in (0..input).step_by(DEPTH) {
        quantised.read(Rows { values: &x[first..], stride: input, count }, DEPTH.min(input - first));
        packed.apply_inputs(&quantised, first, Start::Stored, &mut parts, output);
    }
    assert!(parts == y, "by inputs");
}

#[test]
fn what_is_no_number_makes_none() {
    let packed = Packed::new(&values("w", 48 * 20, 1.0), None, 20);
    for damage in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        on_each(|unit| {
            let mut x = values("x", 3 * 20, 1.0);
            x[25] = damage;
            let mut quantised = Quantised::default();
            quantised.read(Rows { values: &x, stride: 20, count: 3 }, 20);
            let mut y = vec![0.0; 3 * 48];
            packed.apply_columns(&quantised, Start::Zero, 0..48, &mut y, 48);
            let finite = |row: usize| y[row * 48..][..48].iter().all(|value| value.is_finite());
            assert!(finite(0) && finite(2), "{unit:?}: {damage} spoils its neighbours");
            assert!(y[48..96].iter().all(|value| value.is_nan()), "{unit:?}: {damage} is not told");
        });
    }
}
