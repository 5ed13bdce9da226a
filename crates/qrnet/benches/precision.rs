//! A frame with the backbone in bf16 and in bytes beside one in f32, in turns, on one thread and on two: medians, and the
//! medians of the turns' ratios. The built-in model on 320x192, and the published Swin-S on 640x384 with drawn weights.
//!
//! `cargo bench -p qrnet --bench precision`
#![expect(clippy::print_stdout, reason = "the table")]

use std::path::Path;
use std::time::Instant;

use blocks::canvas::Canvas;
use blocks::preprocess::{Letterboxed, Letterboxer, RgbView};
use blocks::text::tokenizer::QueryTokenizer;
use candle_core::Device;
use qrnet::{Config, Grounder, Placement, Precision, init};

/// The program's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::Int8];

fn place(precision: Precision) -> Placement {
    Placement { device: Device::Cpu, precision }
}

fn built_in() -> [Grounder; 3] {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/spotter-base"));
    PRECISIONS.map(|precision| Grounder::load(folder, place(precision)).expect("loads"))
}

fn published() -> [Grounder; 3] {
    let text = include_str!("../../../configs/model/qrnet-swin-s-l20.toml");
    let mut config = Config::from_toml(text, "swin-s").expect("valid");
    config.canvas = Canvas { width: 640, height: 384 };
    // The text's half is no part of a frame.
    config.bert.num_hidden_layers = 1;
    let tensors = init::parameters(&config, 1, &Device::Cpu).expect("drawn");
    PRECISIONS.map(|precision| {
        let tokenizer = QueryTokenizer::characters(config.max_query_len, config.bert.vocab_size).expect("a tokenizer");
        Grounder::from_tensors(&config, &tensors, tokenizer, "bench".into(), place(precision)).expect("builds")
    })
}

fn picture(canvas: Canvas) -> Letterboxed {
    let rgb: Vec<u8> = (0..3 * 1280 * 720).map(|i| (i * 7 % 253) as u8).collect();
    let view = RgbView::new(1280, 720, 3 * 1280, &rgb).expect("a picture");
    Letterboxer::default().letterbox(&view, canvas).expect("letterboxed")
}

/// A model in all precisions.
type Load = fn() -> [Grounder; 3];

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let models = [("models/spotter-base, 320x192", built_in as Load, 200), ("Swin-S, 640x384", published, 7)];
    println!(
        "| | threads | f32, ms | bf16, ms | bf16 over f32 | int8, ms | int8 over f32 |\n|---|---|---|---|---|---|---|"
    );
    for (name, load, turns) in models {
        let grounders = load();
        let picture = picture(grounders[0].canvas_for(1280, 720));
        let queries = grounders.each_ref().map(|grounder| grounder.compile("a car").expect("compiles"));
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let once = |which: usize| {
                let start = Instant::now();
                let found = pool.install(|| grounders[which].ground(&[&picture], &queries[which]));
                drop(found.expect("grounds"));
                start.elapsed().as_secs_f64() * 1e3
            };
            let turn = || [once(0), once(1), once(2)];
            turn();
            let times: Vec<[f64; 3]> = (0..turns).map(|_| turn()).collect();
            let of = |value: fn(&[f64; 3]) -> f64| median(times.iter().map(value).collect());
            let [exact, halves, bytes] = [of(|turn| turn[0]), of(|turn| turn[1]), of(|turn| turn[2])];
            let ratios = [of(|turn| turn[1] / turn[0]), of(|turn| turn[2] / turn[0])];
            println!(
                "| {name} | {threads} | {exact:.2} | {halves:.2} | {:.2} | {bytes:.2} | {:.2} |",
                ratios[0], ratios[1]
            );
        }
    }
}
