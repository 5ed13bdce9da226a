//! A model for several canvases, asked several things of one picture: the compiled path against the plain one.

use blocks::canvas::Canvas;
use blocks::checkpoint::Tensors;
use blocks::pass::Pass;
use blocks::preprocess::{Letterboxed, Letterboxer, RgbView};
use blocks::text::tokenizer::QueryTokenizer;
use candle_core::{Device, Tensor};
use qrnet::config::MobileNetConfig;
use qrnet::plan::CanvasPlan;
use qrnet::weights::Sources;
use qrnet::{Config, Grounder, QrNet, init, weights};
use rand::RngExt;

/// Largest difference allowed on a box, in shares of the canvas.
const BOX_LIMIT: f32 = 1e-5;

fn config() -> Config {
    let text = include_str!("../../../configs/model/tiny.toml");
    let mut config = Config::from_toml(text, "tiny.toml").expect("valid");
    config.swin = None;
    config.mobilenet = Some(MobileNetConfig { output_stride: 32, frozen_stages: 0 });
    config.presence = true;
    config.qdatt.from_stage = 2;
    config.neck.levels = vec![1, 2, 3];
    config.vl.token_stride = Some(16);
    config.canvas = Canvas { width: 128, height: 128 };
    config.canvases = vec![Canvas { width: 192, height: 128 }];
    config.validate("test").expect("fits");
    config
}

/// As drawn, but with gates that differ from query to query: generators start with factors of zero.
fn lively(config: &Config) -> Tensors {
    let mut tensors = init::parameters(config, 5, &Device::Cpu).expect("drawn");
    for (name, tensor) in tensors.iter_mut().filter(|(name, _)| name.rsplit('.').next() == Some("V")) {
        let mut rng = blocks::seeded::stream(6, name);
        let values: Vec<f32> = (0..tensor.elem_count()).map(|_| rng.random::<f32>() - 0.5).collect();
        *tensor = Tensor::from_vec(values, tensor.shape(), &Device::Cpu).expect("a tensor");
    }
    tensors
}

struct Both {
    config: Config,
    tokenizer: QueryTokenizer,
    grounder: Grounder,
    plain: QrNet,
}

impl Both {
    fn new() -> Self {
        let (config, tensors) = (config(), lively(&config()));
        let words = ["red", "blue", "circle", "square", "left", "the"];
        let (length, size) = (config.max_query_len, config.bert.vocab_size);
        let tokenizer = || QueryTokenizer::words(words.into_iter(), length, size).expect("words");
        let grounder = Grounder::from_tensors(&config, &tensors, tokenizer(), "test".into(), &Device::Cpu);
        let plain = QrNet::new(&config, &weights::builder(&tensors, &Device::Cpu)).expect("builds");
        Self { tokenizer: tokenizer(), grounder: grounder.expect("builds"), plain, config }
    }

    /// A picture of `width` x `height` on the canvas that fits it.
    fn picture(&self, width: usize, height: usize) -> Letterboxed {
        let mut rng = blocks::seeded::stream(7, &format!("{width}x{height}"));
        let rgb: Vec<u8> = (0..3 * width * height).map(|_| rng.random()).collect();
        let view = RgbView::new(width, height, 3 * width, &rgb).expect("a picture");
        Letterboxer::default().letterbox(&view, self.grounder.canvas_for(width, height)).expect("letterboxed")
    }

    /// Box and presence by the plain pass.
    fn plainly(&self, picture: &Letterboxed, query: &str) -> [f32; 5] {
        let (ids, ignore) = self.tokenizer.pad_to_length(&self.tokenizer.encode(query).expect("known").ids);
        let row = |t: candle_core::Result<Tensor>| t.and_then(|t| t.unsqueeze(0)).expect("a row");
        let (ids, ignore) = (row(Tensor::new(ids, &Device::Cpu)), row(Tensor::new(ignore, &Device::Cpu)));
        let image = Letterboxed::batch(&[picture], &Device::Cpu).expect("a batch");
        let mask = Letterboxed::ignore_batch(&[picture], &Device::Cpu).expect("masks");
        let plan = CanvasPlan::new(&self.config, picture.transform.canvas, &Device::Cpu).expect("a plan");
        let output = self.plain.forward(&image, &mask, &ids, &ignore, &plan, &mut Pass::eval()).expect("runs");
        let raw: Vec<f32> = output.boxes.flatten_all().and_then(|t| t.to_vec1()).expect("a box");
        let logit: Vec<f32> = output.presence.expect("a head").to_vec1().expect("a logit");
        [raw[0], raw[1], raw[2], raw[3], 1.0 / (1.0 + (-logit[0]).exp())]
    }
}

#[test]
fn several_queries_on_several_canvases_are_what_the_plain_pass_says() {
    let both = Both::new();
    let queries = ["the red circle", "blue square left", "circle"];
    let compiled = queries.map(|query| both.grounder.compile(query).expect("compiled"));
    // Square, wide, wide again, and one between: on two canvases in one call.
    let pictures = [(100, 100), (320, 180), (64, 36), (90, 80)].map(|(width, height)| both.picture(width, height));
    let canvases: Vec<usize> = pictures.iter().map(|picture| picture.transform.canvas.width).collect();
    assert_eq!(canvases, [128, 192, 192, 128]);
    for count in [1, 3] {
        let all: Vec<&Letterboxed> = pictures.iter().collect();
        let asked: Vec<_> = compiled.iter().take(count).collect();
        let found = both.grounder.ground_all(&all, &asked).expect("grounds");
        assert_eq!(found.len(), pictures.len());
        let mut spread = 0.0f32;
        for (picture, found) in pictures.iter().zip(&found) {
            assert_eq!(found.len(), count);
            for (query, found) in queries.iter().zip(found) {
                let expected = both.plainly(picture, query);
                let numbers = [&found.raw[..], &[found.presence.expect("a presence head")]].concat();
                for (a, b) in numbers.iter().zip(expected) {
                    assert!((a - b).abs() <= BOX_LIMIT, "{query}, {count} queries: {numbers:?}, expected {expected:?}");
                }
            }
            if let [first, second, ..] = found.as_slice() {
                spread = spread.max((first.raw[0] - second.raw[0]).abs());
            }
        }
        // The comparison means something: queries get answers of their own.
        assert!(count == 1 || spread > 1e-3, "all queries get the same answer");
    }
}

#[test]
fn pictures_on_canvases_of_no_model_are_refused() {
    let both = Both::new();
    let query = both.grounder.compile("circle").expect("compiled");
    let view = vec![9; 3 * 64 * 64];
    let view = RgbView::new(64, 64, 3 * 64, &view).expect("a picture");
    let other = Letterboxer::default().letterbox(&view, Canvas { width: 64, height: 64 }).expect("letterboxed");
    let message = both.grounder.ground(&[&other], &query).expect_err("another canvas").to_string();
    assert_eq!(message, "a picture on canvas 64x64 for a model with canvas 128x128 or 192x128");
    assert!(both.grounder.ground_all(&[], &[&query]).expect("nothing asked").is_empty());
}

#[test]
fn a_backbone_is_taken_whole_and_sees_through_gates_that_know_nothing() {
    let config = config();
    let drawn = init::parameters(&config, 8, &Device::Cpu).expect("drawn");
    let is_network = |name: &str| name.contains("backbone.stem.") || name.contains("backbone.blocks.");
    let network: Vec<(String, Tensor)> = drawn
        .iter()
        .filter(|(name, _)| is_network(name))
        .map(|(name, tensor)| (name.clone(), tensor.clone()))
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("backbone.safetensors");
    let sources = || Sources { detector: Some(&path), ..Sources::default() };
    blocks::checkpoint::save(&network, None, &path).expect("saved");
    let (found, report) = weights::initialise(&config, 9, sources(), &Device::Cpu).expect("initialised");
    assert_eq!(report.loaded.len(), network.len());
    let values = |tensor: &Tensor| -> Vec<f32> { tensor.flatten_all().and_then(|t| t.to_vec1()).expect("values") };
    for (name, stored) in &network {
        // Gates let a quarter through at first; what reads the gated map of stage 2 makes up for it.
        let factor = if name.ends_with("blocks.13.expand.weight") { 4.0 } else { 1.0 };
        let expected: Vec<f32> = values(stored).iter().map(|value| factor * value).collect();
        assert_eq!(values(&found[name]), expected, "{name}");
    }
    let missing = "visumodel.backbone.blocks.9.project.bias";
    let fewer: Vec<_> = network.iter().filter(|(name, _)| name != missing).cloned().collect();
    blocks::checkpoint::save(&fewer, None, &path).expect("saved");
    let message = weights::initialise(&config, 9, sources(), &Device::Cpu).expect_err("not whole").to_string();
    assert!(message.contains("backbone.safetensors") && message.contains(missing), "{message}");
    blocks::checkpoint::save(&[("conv1.weight".to_owned(), network[0].1.clone())], None, &path).expect("saved");
    let message = weights::initialise(&config, 9, sources(), &Device::Cpu).expect_err("another model").to_string();
    let expected = "holds none of the tensors that this source should bring, expected `visumodel.backbone.stem.weight` among others";
    assert!(message.ends_with(expected), "{message}");
    for value in [f32::NAN, f32::INFINITY] {
        let name = "visumodel.backbone.blocks.9.project.bias";
        let mut broken: Vec<_> = network.iter().filter(|(other, _)| other != name).cloned().collect();
        let mut bias = values(&drawn[name]);
        bias[7] = value;
        broken.push((name.to_owned(), Tensor::new(bias, &Device::Cpu).expect("a tensor")));
        blocks::checkpoint::save(&broken, None, &path).expect("saved");
        let message = weights::initialise(&config, 9, sources(), &Device::Cpu).expect_err("no number").to_string();
        assert!(message.contains("backbone.safetensors: tensor `") && message.contains(name), "{message}");
        assert!(message.ends_with("expected finite values"), "{message}");
    }
}
