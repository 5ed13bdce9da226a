//! Products of the models' own shapes, in turns: weights packed in f32, with either tile, in bf16, either way, and in bytes, and the
//! `gemm` crate's. GMAC/s of the fastest of some rounds, on one thread and on two; `SPOTTER_VECTOR_UNIT` names another vector unit.
//!
//! `cargo bench -p spotter-blocks --bench products`
#![expect(clippy::print_stdout, reason = "the table")]

use std::time::Instant;

use blocks::ops::kernel::VectorUnit;
use blocks::ops::kernel::bf16::Way;
use blocks::ops::kernel::dense::{Arithmetic, Dense, Room};
use blocks::ops::kernel::product::{Rows, Tile};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

/// Rows, inputs, outputs: Swin-S on 640x640, then `MobileNetV2`'s pointwise convolutions on 320x192.
const SHAPES: [(usize, usize, usize); 12] = [
    (1600, 384, 1536),
    (1600, 1536, 384),
    (1600, 384, 1152),
    (6400, 192, 768),
    (960, 32, 192),
    (960, 192, 32),
    (240, 64, 384),
    (240, 384, 64),
    (240, 96, 576),
    (240, 576, 96),
    (60, 160, 960),
    (60, 960, 320),
];
/// Rows of a task, as a compiled frame has them.
const TASK: usize = 96;
const ROUNDS: usize = 25;
/// Multiplications of a round at least.
const WORK: usize = 1 << 27;

fn values(count: usize, step: usize) -> Vec<f32> {
    (0..count).map(|i| (i * step % 255) as f32 / 127.0 - 1.0).collect()
}

/// GMAC/s of every one of `ways`.
fn rates<const N: usize>(macs: usize, ways: [&mut (dyn FnMut() + Send); N]) -> [f64; N] {
    let (mut best, calls) = ([f64::MAX; N], WORK.div_ceil(macs));
    let mut ways = ways;
    for _ in 0..ROUNDS {
        for (way, best) in ways.iter_mut().zip(&mut best) {
            let start = Instant::now();
            (0..calls).for_each(|_| way());
            *best = best.min(start.elapsed().as_secs_f64() / calls as f64);
        }
    }
    best.map(|seconds| macs as f64 / seconds / 1e9)
}

fn main() {
    let (unit, tile, way) = (VectorUnit::current(), Tile::current(), Way::current());
    println!("vector unit: {unit:?}, faster were tile {tile:?} and bf16 {way:?}");
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        println!(
            "\n| rows x inputs x outputs, {threads} threads | f32, a panel | f32, two panels | gemm | bf16, by f32 | bf16, native | int8 |\n|---|---|---|---|---|---|---|"
        );
        for (count, input, output) in SHAPES {
            let (x, weight) = (values(count * input, 7), values(output * input, 11));
            let [exact, halves, bytes] = Arithmetic::ALL.map(|a| Dense::new(&weight, None, input, a));
            let [mut a, mut b, mut c, mut d, mut e] = [(); 5].map(|()| vec![0.0; count * output]);
            let apply = |dense: &Dense, y: &mut [f32]| {
                let tasks = y.par_chunks_mut(TASK * output).zip(x.par_chunks(TASK * input));
                tasks.for_each_init(Room::default, |room, (y, x)| {
                    let rows = Rows { values: x, stride: input, count: x.len() / input };
                    dense.apply(rows, dense.bias(), y, output, room);
                });
            };
            let left = Tensor::from_slice(&x, (count, input), &Device::Cpu).expect("a matrix");
            let right = Tensor::from_slice(&weight, (output, input), &Device::Cpu).and_then(|t| t.t()).expect("one");
            let [one, two, gemm, wide, native, bytes] = pool.install(|| {
                rates(
                    count * input * output,
                    [
                        &mut || {
                            Tile::One.set();
                            apply(&exact, &mut a);
                        },
                        &mut || {
                            Tile::Two.set();
                            apply(&exact, &mut c);
                        },
                        &mut || drop(left.matmul(&right).expect("a product")),
                        &mut || {
                            Way::Wide.set();
                            apply(&halves, &mut d);
                        },
                        &mut || {
                            Way::Native.set();
                            apply(&halves, &mut e);
                        },
                        &mut || apply(&bytes, &mut b),
                    ],
                )
            });
            println!(
                "| {count} x {input} x {output} | {one:.1} | {two:.1} | {gemm:.1} | {wide:.1} | {native:.1} | {bytes:.1} |"
            );
        }
    }
}
