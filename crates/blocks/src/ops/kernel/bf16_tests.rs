//! Products of two-byte numbers, number by number, on every vector unit and either way.

use rand::RngExt;

use super::super::forced::on_each;
use super::super::pairs::widened;
use super::*;
use crate::seeded::stream;

fn values(name: &str, count: usize, range: f32) -> Vec<f32> {
    let mut rng = stream(12, name);
    (0..count).map(|_| (rng.random::<f32>() * 2.0 - 1.0) * range).collect()
}

/// Sizes that fill pairs, panels and parts, and that do not.
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

#[test]
fn the_nearest_number_of_two_bytes_is_taken() {
    let one = 0x3f80;
    for (value, expected) in [
        (0.0, 0),
        (-0.0, 0x8000),
        (1.0, one),
        (1.0 + 1.0 / 256.0, one),
        (1.0 + 1.1 / 256.0, one + 1),
        (1.0 + 3.0 / 256.0, one + 2),
        (-1.0 - 3.0 / 256.0, 0x8000 + one + 2),
        (f32::MAX, 0x7f80),
        (f32::INFINITY, 0x7f80),
        (f32::NEG_INFINITY, 0xff80),
        (f32::MIN_POSITIVE, 0x0080),
        // Below the smallest normal number, but nearest to it.
        (f32::from_bits(0x007f_ffff), 0x0080),
        (f32::from_bits(0x0040_0000), 0),
        (f32::from_bits(0x8000_0001), 0x8000),
    ] {
        assert_eq!(halved(value), expected, "{value}");
    }
    for none in [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001), f32::from_bits(0xffff_ffff)] {
        assert!(widened(halved(none)).is_nan(), "{:x}", none.to_bits());
    }
    // As everybody else rounds them.
    for value in values("any", 1000, 3.0) {
        let other = candle_core::Tensor::new(&[value], &candle_core::Device::Cpu)
            .and_then(|t| t.to_dtype(candle_core::DType::BF16)?.to_dtype(candle_core::DType::F32)?.to_vec1::<f32>())
            .expect("a number")[0];
        assert_eq!(widened(halved(value)).to_bits(), other.to_bits(), "{value}");
    }
}

#[test]
fn every_vector_unit_and_either_way_give_the_bytes_of_sums_in_order() {
    for (count, input, output) in SIZES {
        let (weight, bias) = (values("w", input * output, 0.3), values("b", output, 1.0));
        let packed = Packed::new(&weight, Some(&bias), input);
        let (x, stored) = (values("x", count * (input + 3), 5.0), values("y", count * (output + 5), 1.0));
        let rows = Rows { values: &x, stride: input + 3, count };
        let number = |values: &[f32], i: usize| widened(halved(values[i]));
        // Of each pair the second one first.
        let in_order = |i: usize| {
            let (row, column) = (i / output, i % output);
            let start = stored[row * (output + 5) + column] + bias[column];
            let product = |sum: f32, k: usize| {
                number(&x, row * (input + 3) + k).mul_add(number(&weight, column * input + k), sum)
            };
            let pairs = (0..input).step_by(PAIR).flat_map(|k| [k + 1, k]);
            pairs.filter(|k| *k < input).fold(start, product).to_bits()
        };
        let expected: Vec<u32> = (0..count * output).map(in_order).collect();
        let run = |what: &str| {
            let mut halves = Halves::default();
            halves.read(rows, input);
            let mut y = stored.clone();
            packed.apply_columns(&halves, packed.bias_onto(), 0..output, &mut y, output + 5);
            let found: Vec<u32> =
                y.chunks_exact(output + 5).flat_map(|row| &row[..output]).map(|y| y.to_bits()).collect();
            assert!(found == expected, "{count}x{input} times {output}, {what}: other bytes");
            let beside = y.chunks_exact(output + 5).zip(stored.chunks_exact(output + 5));
            assert!(beside.into_iter().all(|(y, stored)| y[output..] == stored[output..]), "{what}: written beside");
        };
        on_each(|unit| run(&format!("{unit:?}, {:?}", Way::current())));
    }
}

#[test]
fn outputs_and_inputs_in_parts_are_the_whole() {
    let (input, output, count) = (900, 70, 11);
    let (weight, bias) = (values("w", input * output, 0.3), values("b", output, 1.0));
    let (x, packed) = (values("x", count * input, 2.0), Packed::new(&weight, Some(&bias), input));
    let rows = Rows { values: &x, stride: input, count };
    let mut halves = Halves::default();
    halves.read(rows, input);
    let mut whole = vec![0.0; count * output];
    packed.apply_columns(&halves, packed.bias(), 0..output, &mut whole, output);
    let mut y = vec![0.0; count * output];
    for columns in [0..32, 32..70] {
        let (first, start) = (columns.start, packed.bias());
        packed.apply_columns(&halves, start, columns, &mut y[first..], output);
    }
    assert_eq!(y, whole, "by outputs");
    let mut y = vec![0.0; count * output];
    let mut start = packed.bias();
    for first in (0..input).step_by(DEPTH) {
        halves.read(Rows { values: &x[first..], ..rows }, DEPTH.min(input - first));
        packed.apply_inputs(&halves, first, start, &mut y, output);
        start = Start::Stored;
    }
    assert_eq!(y, whole, "by inputs");
}

#[test]
fn what_is_no_number_makes_none() {
    let (weight, mut x) = (values("w", 20 * 40, 1.0), values("x", 40, 1.0));
    x[7] = f32::NAN;
    let packed = Packed::new(&weight, None, 40);
    on_each(|unit| {
        let mut halves = Halves::default();
        halves.read(Rows { values: &x, stride: 40, count: 1 }, 40);
        let mut y = vec![0.0; 20];
        packed.apply_columns(&halves, packed.bias(), 0..20, &mut y, 20);
        assert!(y.iter().all(|y| y.is_nan()), "{unit:?}: {y:?}");
    });
}
