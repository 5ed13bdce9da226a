//! The full-size model: the compiled path against the plain forward, for three queries. Run by `make test-slow`.

use candle_core::{Device, Tensor};
use qrnet::pass::Pass;
use qrnet::plan::CanvasPlan;
use qrnet::preprocess::{Letterboxed, Letterboxer, RgbView};
use qrnet::text::tokenizer::QueryTokenizer;
use qrnet::{Config, Grounder, QrNet, init, weights};

#[test]
fn full_size_compiled_equals_plain() {
    let device = Device::Cpu;
    let config =
        Config::from_toml(include_str!("../../../configs/model/qrnet-swin-s-l20.toml"), "swin-s").expect("valid");
    let mut tensors = init::parameters(&config, 2, &device).expect("drawn");
    // The factors V start at zero, which makes every query alike; give them values so that the text is felt.
    for (name, tensor) in &mut tensors {
        if name.ends_with("decoder.V") {
            *tensor = Tensor::randn(0f32, 0.05, tensor.shape(), &device).expect("drawn");
        }
    }
    let tokenizer = || QueryTokenizer::characters(config.max_query_len, config.bert.vocab_size).expect("a tokenizer");
    let grounder = Grounder::from_tensors(&config, &tensors, tokenizer(), "slow".into(), &device).expect("builds");
    let model = QrNet::new(&config, &weights::builder(&tensors, &device)).expect("builds");
    let plan = CanvasPlan::new(&config, config.canvas, &device).expect("a plan");
    let rgb: Vec<u8> = (0..3 * 1280 * 720).map(|i| (i * 7 % 253) as u8).collect();
    let view = RgbView::new(1280, 720, 3 * 1280, &rgb).expect("a picture");
    let picture = Letterboxer::default().letterbox(&view, config.canvas).expect("letterboxed");
    let batch = [&picture];
    for text in ["a", "the red one", "abcdefghijklmnopqr"] {
        let query = grounder.compile(text).expect("compiles");
        let compiled = grounder.ground(&batch, &query).expect("grounds")[0].raw;
        let (ids, ignore) = tokenizer().pad_to_length(query.ids());
        let row = |values: Tensor| values.unsqueeze(0).expect("a row");
        let output = model
            .forward(
                &Letterboxed::batch(&batch, &device).expect("a batch"),
                &Letterboxed::ignore_batch(&batch, &device).expect("masks"),
                &row(Tensor::new(ids, &device).expect("ids")),
                &row(Tensor::new(ignore, &device).expect("flags")),
                &plan,
                &mut Pass::eval(),
            )
            .expect("runs");
        let plain: Vec<f32> = output.boxes.flatten_all().and_then(|t| t.to_vec1()).expect("a box");
        let worst = compiled.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= 1e-5, "{text}: {compiled:?}, plain {plain:?}");
    }
}
