//! A frame's grounding: the compiled path beside the plain forward, which is the baseline of the same run.
//!
//! `cargo bench -p qrnet` prints medians; read the ratio, not the absolute time. Input: one 1280x720 picture on the
//! canvas of `configs/model/small.toml`, random weights.

use blocks::pass::Pass;
use blocks::preprocess::{Letterboxed, Letterboxer, RgbView};
use blocks::text::tokenizer::QueryTokenizer;
use candle_core::{Device, Tensor};
use qrnet::plan::CanvasPlan;
use qrnet::{Config, Grounder, QrNet, init, weights};

/// The program's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

fn config() -> Config {
    Config::from_toml(include_str!("../../../configs/model/small.toml"), "small").expect("valid")
}

fn picture(config: &Config) -> Letterboxed {
    let rgb: Vec<u8> = (0..3 * 1280 * 720).map(|i| (i * 7 % 253) as u8).collect();
    let view = RgbView::new(1280, 720, 3 * 1280, &rgb).expect("a picture");
    Letterboxer::default().letterbox(&view, config.canvas).expect("letterboxed")
}

#[divan::bench]
fn letterbox_720p(bencher: divan::Bencher) {
    let (config, rgb) = (config(), vec![90; 3 * 1280 * 720]);
    let view = RgbView::new(1280, 720, 3 * 1280, &rgb).expect("a picture");
    let mut letterboxer = Letterboxer::default();
    bencher.bench_local(|| letterboxer.letterbox(&view, config.canvas));
}

#[divan::bench]
fn compiled(bencher: divan::Bencher) {
    let config = config();
    let tensors = init::parameters(&config, 1, &Device::Cpu).expect("drawn");
    let tokenizer = QueryTokenizer::characters(config.max_query_len, config.bert.vocab_size).expect("a tokenizer");
    let grounder = Grounder::from_tensors(&config, &tensors, tokenizer, "bench".into(), &Device::Cpu).expect("builds");
    let query = grounder.compile("the red one").expect("compiles");
    let picture = picture(&config);
    bencher.bench_local(|| grounder.ground(&[&picture], &query).expect("grounds"));
}

#[divan::bench]
fn plain(bencher: divan::Bencher) {
    let (config, device) = (config(), Device::Cpu);
    let tensors = init::parameters(&config, 1, &device).expect("drawn");
    let model = QrNet::new(&config, &weights::builder(&tensors, &device)).expect("builds");
    let plan = CanvasPlan::new(&config, config.canvas, &device).expect("a plan");
    let picture = picture(&config);
    let batch = [&picture];
    let (image, mask) = (
        Letterboxed::batch(&batch, &device).expect("a batch"),
        Letterboxed::ignore_batch(&batch, &device).expect("masks"),
    );
    let ids = Tensor::ones((1, config.max_query_len), candle_core::DType::U32, &device).expect("ids");
    let ignore = Tensor::zeros((1, config.max_query_len), candle_core::DType::U8, &device).expect("flags");
    bencher.bench_local(|| model.forward(&image, &mask, &ids, &ignore, &plan, &mut Pass::eval()).expect("runs"));
}
