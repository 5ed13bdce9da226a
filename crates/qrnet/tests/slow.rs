//! What takes long, run by `make test-slow`: the full-size model, its compiled path against the plain forward for three
//! queries; a pretrained sentence encoder as the text tower; a published backbone against its own graph.

use blocks::pass::Pass;
use blocks::preprocess::{Letterboxed, Letterboxer, RgbView};
use blocks::text::pretrained;
use blocks::text::tokenizer::QueryTokenizer;
use candle_core::{DType, Device, Tensor};
use qrnet::plan::CanvasPlan;
use qrnet::weights::Sources;
use qrnet::{Canvas, Config, Grounder, QrNet, QueryModel, init, weights};
use std::io::Write;
use std::path::Path;

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

/// The backbone as `scripts/convert-backbone.py` writes it, against the detector's own graph in another engine
/// (`benches/peer/backbone_openvino.py`): every stage, inside of what the borders reach.
#[test]
fn the_published_backbone_is_what_its_graph_computes() {
    const SIDE: usize = 512;
    const INSIDE: usize = 192;
    const RELATIVE_LIMIT: f64 = 1e-5;
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let weights = root.join("media/photographs/backbone.safetensors");
    assert!(weights.exists(), "{} is needed: scripts/fetch-photograph-weights.sh brings it", weights.display());
    let device = Device::Cpu;
    let text = include_str!("../../../configs/model/photographs.toml");
    let canvas = Canvas { width: SIDE, height: SIDE };
    let sizes = Config::from_toml(text, "photographs").expect("valid");
    let config = Config { canvas, canvases: Vec::new(), ..sizes };
    let sources = Sources { detector: Some(&weights), ..Sources::default() };
    let (tensors, _) = weights::initialise(&config, 1, sources, &device).expect("the backbone is whole");
    let model = QrNet::new(&config, &weights::builder(&tensors, &device)).expect("builds");
    let plan = CanvasPlan::new(&config, canvas, &device).expect("a plan");
    let pixel = |x: usize, y: usize, c: usize| {
        ((x * (c + 2) + y * (5 - c)) / 3 + 60 * ((x / 16 + y / (12 + c)) % 3) + x * y / 97) % 256
    };
    let normal = |value: usize, c: usize| {
        let (mean, std) = ([0.485, 0.456, 0.406][c], [0.229, 0.224, 0.225][c]);
        ((value as f64 / 255.0 - mean) / std) as f32
    };
    let image: Vec<f32> = (0..3 * SIDE * SIDE)
        .map(|i| (i % SIDE, i / SIDE % SIDE, i / SIDE / SIDE))
        .map(|(x, y, c)| normal(pixel(x, y, c), c))
        .collect();
    let image = Tensor::from_vec(image, (1, 3, SIDE, SIDE), &device).expect("a picture");
    let mask = Tensor::zeros((1, SIDE, SIDE), DType::U8, &device).expect("a mask");
    let ids = Tensor::zeros((1, config.max_query_len), DType::U32, &device).expect("pieces");
    let ignore = Tensor::zeros((1, config.max_query_len), DType::U8, &device).expect("flags");
    // Gates that have learnt nothing halve what they gate twice, which the block behind them makes up for.
    let mut pass = Pass::eval().with_taps();
    model.forward(&image, &mask, &ids, &ignore, &plan, &mut pass).expect("runs");
    let taps = pass.into_taps();
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("fixtures/mobilenet/published.json")).expect("JSON");
    for (stage, (block, stride)) in [(2, 4), (5, 8), (12, 16), (16, 32)].into_iter().enumerate() {
        let map = &taps[&format!("block{block}")];
        let (_, channels, height, width) = map.dims4().expect("a map");
        assert_eq!((height, width), (SIDE / stride, SIDE / stride));
        let values: Vec<f32> = map.flatten_all().and_then(|map| map.to_vec1()).expect("values");
        let golden = &golden["stages"][stage];
        let largest = golden["largest"].as_f64().expect("a number");
        let (samples, cells) = (golden["samples"].as_array().expect("samples"), INSIDE / stride);
        assert_eq!(samples.len(), 160);
        let mut worst = 0.0f64;
        for (i, sample) in samples.iter().enumerate() {
            let (row, column, channel) = (i * 5 % cells, i * 7 / 3 % cells, i * 37 % channels);
            let ours = f64::from(values[(channel * height + row) * width + column]);
            worst = worst.max((ours - sample.as_f64().expect("a number")).abs() / largest);
        }
        assert!(worst <= RELATIVE_LIMIT, "stage {stage}: {worst:e} of the largest value");
        writeln!(std::io::stderr(), "stage {stage}: {worst:.1e} of the largest value").expect("written");
    }
}
