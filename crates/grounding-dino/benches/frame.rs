//! A frame of IDEA's tiny model in its full size, random weights, on 640x384: packed weights with one query and with three, and
//! tensor operations, in turns; and the backbone of QRNet's full model on the same kernels, for the price of a multiplication.
//! Fastest of some rounds; within one run the ratios count.
//!
//! `cargo bench -p spotter-grounding-dino`; `SPOTTER_BENCH_ROUNDS` says how many rounds, `SPOTTER_BENCH_PLAIN=0` leaves the
//! tensors out.
#![expect(clippy::print_stdout, reason = "the table")]

use std::time::Instant;

use blocks::canvas::{Canvas, Grid};
use blocks::ops::kernel::dense::Arithmetic;
use blocks::packed::layers::Norm;
use blocks::packed::swin::{Layout, PatchEmbed, Stage};
use blocks::packed::tasks::{Workers, take};
use blocks::packed::weights::{Sources, Weights};
use blocks::pass::Pass;
use blocks::preprocess::{Letterboxed, Transform};
use blocks::swin::{EPS, StageWindows, SwinConfig, Windows};
use blocks::text::query_file;
use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use grounding_dino::{CompiledQuery, Config, FrameModel, Grounder, STOP, Sizing};
use rand::RngExt;

const SIZE: Grid = Grid { h: 384, w: 640 };
/// Words of a query, full stop included.
const PIECES: usize = 5;

/// Seeded noise of the size that a layer's input asks for.
struct Noise;

impl SimpleBackend for Noise {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let mut rng = blocks::seeded::stream(1, name);
        let dims = shape.dims();
        let inputs: usize = dims.iter().skip(1).product();
        let (middle, spread) = match dims.len() {
            1 if name.ends_with("weight") => (1.0, 0.1),
            0 | 1 => (0.0, 0.1),
            _ => (0.0, 1.7 / (inputs as f32).sqrt()),
        };
        let values: Vec<f32> =
            (0..shape.elem_count()).map(|_| middle + spread * (rng.random::<f32>() * 2.0 - 1.0)).collect();
        Tensor::from_vec(values, shape, device)?.to_dtype(dtype)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("tensor {name} is read without a shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

fn noise(name: &str, count: usize) -> Vec<f32> {
    let mut rng = blocks::seeded::stream(2, name);
    (0..count).map(|_| rng.random::<f32>() * 4.0 - 2.0).collect()
}

/// A compiled query of random tokens, by way of a file, as other programs bring them.
fn query(grounder: &Grounder, number: usize) -> CompiledQuery {
    let width = grounder.config().width;
    let tensor = |name: &str, rows: usize| {
        let values = noise(&format!("{name}{number}"), rows * width);
        (name.to_owned(), Tensor::from_vec(values, (rows, width), &Device::Cpu).expect("a tensor"))
    };
    let mut ids = vec![2000 + number as u32; PIECES];
    ids[PIECES - 1] = STOP;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("query.safetensors");
    let own = vec![tensor("tokens", PIECES), tensor("framing", 2)];
    query_file::save(&file, ("noise", &ids, grounder.digest()), own).expect("saved");
    grounder.load_query(&file).expect("a query")
}

/// The backbone of QRNet's full model.
struct SwinS {
    config: SwinConfig,
    patches: PatchEmbed,
    stages: Vec<Stage>,
    layouts: Vec<Layout>,
    maps: Vec<Vec<f32>>,
    by_window: Vec<f32>,
    workers: Workers,
}

fn grids(config: &SwinConfig) -> Vec<Grid> {
    let mut grid = Grid { h: SIZE.h / config.patch_size, w: SIZE.w / config.patch_size };
    let next = |_: &usize| {
        let half = grid.half_up();
        std::mem::replace(&mut grid, half)
    };
    config.depths.iter().map(next).collect()
}

impl SwinS {
    fn new() -> Self {
        let config = SwinConfig {
            embed_dim: 96,
            depths: vec![2, 2, 18, 2],
            num_heads: vec![3, 6, 12, 24],
            window_size: 7,
            mlp_ratio: 4.0,
            patch_size: 4,
            drop_path_rate: 0.0,
        };
        let vb = VarBuilder::from_backend(Box::new(Noise), DType::F32, Device::Cpu);
        let weights = Weights::new(&vb, Sources::default());
        let windows = grids(&config).into_iter().map(|grid| StageWindows::new(grid, 7, &Device::Cpu)).collect();
        let windows = Windows::new(windows);
        let stage = |number: usize| {
            let weights = weights.pp(format!("swin.{number}"));
            let norm = Norm::new(&weights.pp("norm"), config.channels(number), EPS).expect("a norm");
            Stage::new(&config, number, &weights, Some(norm), number < 3, Arithmetic::F32).expect("a stage")
        };
        let layout = |number: usize| Layout::new(&windows, number, Stage::window_sizes(&config, number));
        Self {
            patches: PatchEmbed::new(&weights.pp("patch"), &weights.pp("patch_norm"), 96, 4).expect("patches"),
            stages: (0..4).map(stage).collect(),
            layouts: (0..4).map(layout).collect(),
            maps: vec![Vec::new(); 4],
            by_window: Vec::new(),
            workers: Workers::default(),
            config,
        }
    }

    fn run(&mut self, picture: &[f32]) {
        self.workers.prepare();
        let sizes: Vec<usize> =
            (0..4).map(|number| self.layouts[number].grid().len() * self.config.channels(number)).collect();
        self.patches.embed(&[picture], SIZE, take(&mut self.maps[0], sizes[0]), &self.workers);
        for (i, stage) in self.stages.iter().enumerate() {
            let (here, later) = self.maps.split_at_mut(i + 1);
            let x = take(&mut here[i], sizes[i]);
            stage.blocks(x, &self.layouts[i], &mut self.by_window, None, &self.workers);
            let next = later.first_mut().map(|next| take(next, sizes[i + 1]));
            stage.finish(x, None, self.layouts[i].grid(), next, &self.workers);
        }
    }
}

/// Multiplications of a Swin.
fn swin_macs(config: &SwinConfig) -> usize {
    let mut total = 0;
    for (stage, (grid, depth)) in grids(config).into_iter().zip(&config.depths).enumerate() {
        let (c, side) = (config.channels(stage), config.window_size);
        let padded = grid.h.next_multiple_of(side) * grid.w.next_multiple_of(side);
        let block = padded * (4 * c * c + 2 * side * side * c) + grid.len() * 2 * c * config.mlp_hidden(stage);
        let begins = if stage == 0 { grid.len() * 48 * c } else { grid.len() * 2 * c * c };
        total += begins + depth * block;
    }
    total
}

/// Multiplications of a frame, fusion folded, with `words` tokens of text.
fn macs(config: &Config, words: usize) -> usize {
    let (d, grids) = (config.width, grids(&config.swin));
    let mut levels: Vec<(Grid, usize)> =
        config.stages.iter().map(|&stage| (grids[stage], config.swin.channels(stage))).collect();
    while let Some(&(last, inputs)) = levels.last().filter(|_| levels.len() < config.levels) {
        levels.push((last.half_up(), 9 * inputs));
    }
    let tokens: usize = levels.iter().map(|(grid, _)| grid.len()).sum();
    let neck: usize = levels.iter().map(|(grid, inputs)| grid.len() * inputs * d).sum();
    let looks = |stack: &grounding_dino::config::StackConfig| config.levels * stack.points;
    let columns = config.fusion_heads() * words;
    let (encoder, decoder, queries) = (&config.encoder, &config.decoder, config.queries);
    let deformable = |stack: &grounding_dino::config::StackConfig| {
        d * d + 3 * stack.heads * looks(stack) * d + 4 * looks(stack) * d + 2 * d * stack.hidden
    };
    let inner = config.fusion_width();
    let text = words * (3 * d * inner + 3 * d * inner + 4 * d * d + d * encoder.hidden);
    let encoding = encoder.layers * (tokens * (d * d + 3 * columns * d + deformable(encoder)) + text);
    let query = 3 * d * d + 4 * d * d + 2 * queries * d + 2 * d * d + 2 * words * d + deformable(decoder) + 2 * d * d;
    let decoding = decoder.layers * (tokens * d * d + queries * query);
    let proposing = tokens * (d * d + words * d) + queries * 2 * d * d;
    swin_macs(&config.swin) + neck + encoding + proposing + decoding
}

fn main() {
    let number = |name: &str, default: usize| {
        std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is {text}")))
    };
    let (rounds, with_plain) = (number("SPOTTER_BENCH_ROUNDS", 5), number("SPOTTER_BENCH_PLAIN", 1) > 0);
    let config = Config::from_json(r#"{"model_type": "grounding-dino"}"#, "config.json").expect("sizes");
    let vb = VarBuilder::from_backend(Box::new(Noise), DType::F32, Device::Cpu);
    let grounder = Grounder::for_frames(&config, Sizing::default(), "bench".into(), &vb).expect("builds");
    let plain = with_plain.then(|| FrameModel::from_builder(&config, &vb).expect("builds"));
    let mut swin = SwinS::new();
    let queries: Vec<CompiledQuery> = (0..3).map(|number| query(&grounder, number)).collect();
    let (one, three) = ([&queries[0]], [&queries[0], &queries[1], &queries[2]]);
    let transform = Transform::pasted(SIZE.w, SIZE.h, 0, 0, Canvas { width: SIZE.w, height: SIZE.h });
    let picture = Letterboxed { pixels: noise("picture", 3 * SIZE.len()), transform };
    let ground = |queries: &[&CompiledQuery]| {
        assert_eq!(grounder.ground_each(&[&picture], &[queries]).expect("grounds")[0].len(), queries.len());
    };
    let on_tensors = || {
        let Some(plain) = &plain else { return };
        let image = Tensor::from_slice(&picture.pixels, (1, 3, SIZE.h, SIZE.w), &Device::Cpu).expect("a picture");
        let (plan, mut pass) = (plain.plan(SIZE, SIZE).expect("a plan"), Pass::eval());
        let seen = plain.look(&image, &plan, &mut pass).expect("looks");
        let text = grounder.text_of(&one).expect("a text");
        plain.find(&seen, &text, &plan, &mut pass).expect("finds");
    };

    let (short, long) = (PIECES + 2, 3 * PIECES + 2);
    let mut ways: [(&str, usize, &mut dyn FnMut()); 4] = [
        ("QRNet's Swin-S alone", swin_macs(&swin.config), &mut || swin.run(&picture.pixels)),
        ("one query", macs(&config, short), &mut || ground(&one)),
        ("three queries", macs(&config, long), &mut || ground(&three)),
        ("one query, on tensors", macs(&config, short), &mut || on_tensors()),
    ];
    let mut best = [f64::MAX; 4];
    for _ in 0..rounds {
        for ((_, _, way), best) in ways.iter_mut().zip(&mut best) {
            let start = Instant::now();
            way();
            *best = best.min(start.elapsed().as_secs_f64());
        }
    }
    println!("640x384, {} threads, fastest of {rounds} rounds\n", rayon_threads());
    println!("| | s | GMAC | GMAC/s | time per GMAC, of Swin-S | time, of one query |\n|---|---|---|---|---|---|");
    let price = |i: usize| best[i] / ways[i].1 as f64;
    for (i, (name, macs, _)) in ways.iter().enumerate().filter(|(i, _)| with_plain || *i < 3) {
        let giga = *macs as f64 / 1e9;
        println!(
            "| {name} | {:.3} | {giga:.1} | {:.1} | {:.2} | {:.2} |",
            best[i],
            giga / best[i],
            price(i) / price(0),
            best[i] / best[1]
        );
    }
}

/// As many as the pool has.
fn rayon_threads() -> usize {
    std::env::var("RAYON_NUM_THREADS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}
