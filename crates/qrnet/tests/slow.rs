//! What takes long, run by `make test-slow`: the full-size model, its compiled path against the plain forward for three
//! queries; a pretrained sentence encoder as the text tower.

use candle_core::{Device, Tensor};
use qrnet::pass::Pass;
use qrnet::plan::CanvasPlan;
use qrnet::preprocess::{Letterboxed, Letterboxer, RgbView};
use qrnet::text::pretrained;
use qrnet::text::tokenizer::QueryTokenizer;
use qrnet::weights::Sources;
use qrnet::{Config, Grounder, QrNet, QueryModel, init, weights};
use std::io::Write;

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

/// A real sentence encoder as a frozen tower; its folder is named by `QRNET_TEXT_ENCODER` (`config.json`,
/// `model.safetensors` and `tokenizer.json`, as of `all-MiniLM-L6-v2`).
#[test]
fn a_pretrained_sentence_encoder_is_a_frozen_tower() {
    let Some(dir) = std::env::var_os("QRNET_TEXT_ENCODER").map(std::path::PathBuf::from) else {
        writeln!(std::io::stderr(), "SKIPPED: QRNET_TEXT_ENCODER names no folder").expect("written");
        return;
    };
    let device = Device::Cpu;
    let mut config = Config::from_toml(include_str!("../../../configs/model/small.toml"), "small.toml").expect("valid");
    config.bert = pretrained::sizes(&dir).expect("sizes");
    config.bert.frozen = true;
    config.max_query_len = 20;
    config.validate("small.toml").expect("valid");
    let sources = Sources { text: Some(&dir), ..Sources::default() };
    let (tensors, report) = weights::initialise(&config, 1, sources, &device).expect("initialises");
    assert!(report.initial.iter().all(|name| !name.starts_with("textmodel.")), "{report}");
    let vb = weights::builder(&tensors, &device);
    let frozen = QueryModel::new(&config, &vb).expect("builds");
    let mut plain = config.clone();
    plain.bert.frozen = false;
    let trainable = QueryModel::new(&plain, &vb).expect("builds");
    let tokenizer =
        QueryTokenizer::from_file(&dir.join("tokenizer.json"), config.max_query_len, config.bert.vocab_size)
            .expect("a tokenizer");
    let sentences = ["a red car", "an automobile in crimson", "three cooks stir the soup"];
    let mut means: Vec<Vec<f32>> = Vec::new();
    for sentence in sentences {
        let pieces = tokenizer.encode(sentence).expect("encodes").ids;
        let (ids, ignore) = tokenizer.pad_to_length(&pieces);
        let ids = Tensor::new(ids, &device).and_then(|t| t.unsqueeze(0)).expect("ids");
        let ignore = Tensor::new(ignore, &device).and_then(|t| t.unsqueeze(0)).expect("flags");
        let features = |model: &QueryModel| {
            let all = model.features(&ids, &ignore, &mut Pass::eval()).expect("the tower runs");
            all.narrow(1, 0, pieces.len()).and_then(|t| t.squeeze(0)).expect("real pieces")
        };
        let (a, b) = (features(&frozen), features(&trainable));
        let worst: f32 = (&a - b).and_then(|t| t.abs()?.max_all()?.to_scalar()).expect("a difference");
        assert!(worst < 1e-5, "{sentence}: the two towers differ by {worst}");
        means.push(a.mean(0).and_then(|t| t.to_vec1()).expect("a mean"));
    }
    let cosine = |a: &[f32], b: &[f32]| {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    let (alike, other) = (cosine(&means[0], &means[1]), cosine(&means[0], &means[2]));
    println!("alike {alike}, other {other}");
    assert!(alike > 0.5 && other < 0.3, "alike {alike}, other {other}");
}
