//! Products of the models' own shapes, in turns: weights packed in f32, with either tile, in bf16, either way, and in bytes, and
//! the `gemm` crate's; and MKL's and oneDNN's, where their packages are (`make bench` fetches them into target/bench-peers).
//! GMAC/s of the fastest of some rounds, on one thread and on two; `SPOTTER_VECTOR_UNIT` names another vector unit of ours.
//!
//! `cargo bench -p spotter-blocks --bench products`
#![expect(clippy::print_stdout, reason = "the table")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use blocks::ops::kernel::VectorUnit;
use blocks::ops::kernel::bf16::{self, Halves, Way};
use blocks::ops::kernel::dense::{Arithmetic, Dense, Room};
use blocks::ops::kernel::product::{Packed, Rows, Tile};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

/// Rows, inputs, outputs, and how many tasks share the rows at least, as in a frame: of Swin-S on 640x640, whose tasks have
/// 96 rows, then of `MobileNetV2`'s pointwise convolutions on 320x192, whose tasks are halves of a map.
const SHAPES: [(usize, usize, usize, usize); 12] = [
    (1600, 384, 1536, 17),
    (1600, 1536, 384, 17),
    (1600, 384, 1152, 17),
    (6400, 192, 768, 67),
    (960, 32, 192, 2),
    (960, 192, 32, 2),
    (240, 64, 384, 2),
    (240, 384, 64, 2),
    (240, 96, 576, 2),
    (240, 576, 96, 2),
    (60, 160, 960, 2),
    (60, 960, 320, 2),
];
const ROUNDS: usize = 25;
/// Multiplications of a round at least.
const WORK: usize = 1 << 27;
/// Ways of ours, then those of `products_torch.py`.
const OURS: usize = 6;
const THEIRS: usize = 3;

fn values(count: usize, step: usize) -> Vec<f32> {
    (0..count).map(|i| (i * step % 255) as f32 / 127.0 - 1.0).collect()
}

/// `benches/peer/products_torch.py`.
struct Peer {
    process: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// None where its packages are not.
    fn start(threads: usize) -> Option<Self> {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let packages = root.join("target/bench-peers");
        packages.join("torch").exists().then(|| {
            let mut process = Command::new("python3")
                .arg(root.join("benches/peer/products_torch.py"))
                .arg(threads.to_string())
                .env("PYTHONPATH", packages)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("python3 starts");
            let (ask, answers) = (process.stdin.take().expect("piped"), process.stdout.take().expect("piped"));
            Self { process, ask, answers: BufReader::new(answers) }
        })
    }

    /// Seconds of a call, by way.
    fn round(&mut self, (rows, input, output): (usize, usize, usize), calls: usize) -> [f64; THEIRS] {
        writeln!(self.ask, "{rows} {input} {output} {calls}").expect("hears");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("answers");
        let seconds: Vec<f64> = line.split_whitespace().map(|word| word.parse().expect("seconds")).collect();
        seconds.try_into().expect("of all ways")
    }

    fn end(mut self) {
        drop(self.ask);
        assert!(self.process.wait().expect("ends").success());
    }
}

/// GMAC/s of all ways.
fn rates(
    (count, input, output, tasks): (usize, usize, usize, usize),
    peer: &mut Option<Peer>,
    pool: &rayon::ThreadPool,
) -> [f64; OURS + THEIRS] {
    let (x, weight) = (values(count * input, 7), values(output * input, 11));
    let exact = Packed::new(&weight, None, input);
    let halves = bf16::Packed::new(&weight, None, input);
    let bytes = Dense::new(&weight, None, input, Arithmetic::Int8);
    let left = Tensor::from_slice(&x, (count, input), &Device::Cpu).expect("a matrix");
    let right = Tensor::from_slice(&weight, (output, input), &Device::Cpu).and_then(|t| t.t()).expect("one");
    let task = count.div_ceil(tasks);
    let mut y = vec![0.0; count * output];
    let mut apply = |way: usize| {
        let pieces = y.par_chunks_mut(task * output).zip(x.par_chunks(task * input));
        let rows = |values| Rows { values, stride: input, count: <[f32]>::len(values) / input };
        match way {
            0 => pieces.for_each(|(y, x)| exact.apply_by(Tile::One, rows(x), exact.bias(), y, output)),
            1 => pieces.for_each(|(y, x)| exact.apply_by(Tile::Two, rows(x), exact.bias(), y, output)),
            2 => drop(left.matmul(&right).expect("a product")),
            3 | 4 => pieces.for_each_init(Halves::default, |room, (y, x)| {
                room.read_by(if way == 3 { Way::Wide } else { Way::Native }, rows(x), input);
                halves.apply_columns(room, halves.bias(), 0..output, y, output);
            }),
            _ => pieces.for_each_init(Room::default, |room, (y, x)| {
                bytes.apply(rows(x), bytes.bias(), y, output, room);
            }),
        }
    };
    let macs = count * input * output;
    let (mut best, calls) = ([f64::MAX; OURS + THEIRS], WORK.div_ceil(macs));
    for _ in 0..ROUNDS {
        pool.install(|| {
            for (way, best) in best[..OURS].iter_mut().enumerate() {
                // Others may still wait for work on the second core.
                apply(way);
                let start = Instant::now();
                (0..calls).for_each(|_| apply(way));
                *best = best.min(start.elapsed().as_secs_f64() / calls as f64);
            }
        });
        if let Some(peer) = peer {
            for (best, seconds) in best[OURS..].iter_mut().zip(peer.round((count, input, output), calls)) {
                *best = best.min(seconds);
            }
        }
    }
    best.map(|seconds| macs as f64 / seconds / 1e9)
}

fn main() {
    let (unit, tile, way) = (VectorUnit::current(), Tile::current(), Way::current());
    println!("vector unit: {unit:?}, faster were tile {tile:?} and bf16 {way:?}");
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let mut peer = Peer::start(threads);
        if peer.is_none() {
            println!("SKIPPED: MKL and oneDNN: target/bench-peers lacks torch (`make bench` fetches it)");
        }
        println!(
            "\n| rows x inputs x outputs, {threads} threads | f32, a panel | f32, two panels | gemm | bf16, by f32 \
             | bf16, native | int8 | MKL | Linear | oneDNN | ours over the best |\n|---|---|---|---|---|---|---|---|---|---|---|"
        );
        for shape in SHAPES {
            let rates = rates(shape, &mut peer, &pool);
            let [one, two, gemm, wide, native, bytes, theirs @ ..] = rates;
            let ours = if Tile::current() == Tile::One { one } else { two };
            let (count, input, output, _) = shape;
            print!(
                "| {count} x {input} x {output} | {one:.1} | {two:.1} | {gemm:.1} | {wide:.1} | {native:.1} | {bytes:.1} |"
            );
            if peer.is_some() {
                let best = theirs.into_iter().fold(gemm, f64::max);
                for rate in theirs {
                    print!(" {rate:.1} |");
                }
                print!(" {:.2} |", ours / best);
            }
            println!();
        }
        if let Some(peer) = peer {
            peer.end();
        }
    }
}
