//! The kernels' frame against the tensors' frame: neck levels, boxes and presence.

use candle_core::{DType, Device, Tensor};
use rand::RngExt;

use super::*;
use crate::fusion::compiled::Folding;
use crate::init;
use crate::model::{FrameModel, QueryModel};
use crate::query::{CompiledQuery, stack};
use crate::weights;
use blocks::canvas::Canvas;
use blocks::pass::Pass;

/// How far features may lie apart.
const FEATURES: f32 = 1e-4;
/// How far boxes may, in shares of the canvas.
const BOXES: f32 = 1e-5;

struct Both {
    config: Config,
    plan: CanvasPlan,
    kernels: CpuFrame,
    tensors: FrameModel,
    folding: Folding,
    query: QueryModel,
}

/// Weights in which everything counts: as drawn, generators make gates that are open halfway whatever the query, and
/// biases are zero.
fn lively(config: &Config) -> blocks::checkpoint::Tensors {
    let mut tensors = init::parameters(config, 3, &Device::Cpu).expect("drawn");
    for (name, tensor) in &mut tensors {
        let mut rng = blocks::seeded::stream(9, name);
        // Convolutions start large already: more would drown what follows in the rounding of large numbers.
        let convolves = name.contains("backbone.blocks") && name.ends_with(".weight");
        let range = match name.rsplit('.').next() {
            Some("V") => 0.5,
            _ if convolves => 0.01,
            _ => 0.1,
        };
        let noise = (0..tensor.elem_count()).map(|_| (rng.random::<f32>() * 2.0 - 1.0) * range).collect::<Vec<_>>();
        let noise = Tensor::from_vec(noise, tensor.shape(), &Device::Cpu).expect("noise");
        *tensor = (&*tensor + noise).expect("the same shape");
    }
    tensors
}

impl Both {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let text = include_str!("../../../../configs/model/tiny.toml");
        let mut config = Config::from_toml(text, "tiny").expect("valid");
        config.presence = true;
        change(&mut config);
        config.validate("test").expect("fits");
        let weights = lively(&config);
        let vb = weights::builder(&weights, &Device::Cpu);
        let plan = CanvasPlan::new(&config, config.canvas, &Device::Cpu).expect("a plan");
        let mut tensors = FrameModel::new(&config, &vb).expect("builds");
        tensors.freeze().expect("frozen");
        Self {
            kernels: CpuFrame::new(
                &config,
                &Weights::new(&vb, Sources::default()),
                std::slice::from_ref(&plan),
                Arithmetic::F32,
            )
            .expect("builds"),
            folding: Folding::new(&config, &vb).expect("builds"),
            query: QueryModel::new(&config, &vb).expect("builds"),
            config,
            plan,
            tensors,
        }
    }

    fn compile(&self, pieces: &[u32]) -> CompiledQuery {
        let length = self.config.max_query_len;
        let ids: Vec<u32> = (0..length).map(|i| pieces.get(i).copied().unwrap_or(0)).collect();
        let ignore: Vec<u8> = (0..length).map(|i| u8::from(i >= pieces.len())).collect();
        let tensor = |t: candle_core::Result<Tensor>| t.and_then(|t| t.unsqueeze(0)).expect("a row");
        let (ids, ignore) = (tensor(Tensor::new(ids, &Device::Cpu)), tensor(Tensor::new(ignore, &Device::Cpu)));
        let query = self.query.encode(&ids, &ignore, &mut Pass::eval()).expect("encoded");
        let tokens = query.tokens.squeeze(0).and_then(|t| t.narrow(0, 0, pieces.len())?.contiguous()).expect("tokens");
        let qkv = self.folding.text_qkv(&tokens).expect("projected");
        CompiledQuery::new("a".into(), pieces.to_vec(), "test".into(), query.gates, tokens, qkv)
    }

    fn pictures(&self, count: usize, seed: &str) -> Vec<Vec<f32>> {
        let mut rng = blocks::seeded::stream(1, seed);
        let size = 3 * self.config.canvas.width * self.config.canvas.height;
        (0..count).map(|_| (0..size).map(|_| rng.random::<f32>() * 4.0 - 2.0).collect()).collect()
    }

    /// Grounds `pictures` both ways, with all visual tokens but those in `ignore` (`[B, N]`, or empty for none).
    fn agree(&self, pictures: &[Vec<f32>], queries: &[&CompiledQuery], ignore: &[u8], what: &str) {
        self.agree_on(pictures, &(0..pictures.len()).collect::<Vec<_>>(), queries, ignore, what);
    }

    /// The same for the questions whose pictures `asked` tells.
    fn agree_on(&self, pictures: &[Vec<f32>], asked: &[usize], queries: &[&CompiledQuery], ignore: &[u8], what: &str) {
        let Canvas { width, height } = self.config.canvas;
        let (gates, text) =
            stack(queries, queries.iter().map(|query| query.ids().len()).max().unwrap_or(0)).expect("stacked");
        let head = self.folding.plan(&self.plan.positions, None, &Device::Cpu).expect("constants");
        let constants = Constants::new(&head).expect("constants");
        let slices: Vec<&[f32]> = pictures.iter().map(Vec::as_slice).collect();
        let found = self.kernels.ground(0, &slices, asked, &gates, &text, &constants, ignore).expect("grounds");
        let image = Tensor::new(slices.concat(), &Device::Cpu)
            .and_then(|image| image.reshape((pictures.len(), 3, height, width)))
            .expect("a batch");
        let numbers: Vec<u32> = asked.iter().map(|&picture| picture as u32).collect();
        let numbers = Tensor::new(numbers, &Device::Cpu).expect("numbers");
        let levels = self.tensors.levels(&image, &gates, Some(&numbers), &self.plan, &mut Pass::eval());
        let [fine, _] = levels.expect("levels");
        let buffers = self.kernels.buffers.lock().expect("not poisoned");
        let place = self.config.token_place();
        let last = buffers.last().and_then(|buffers| buffers.levels.get(place)).expect("kept from the call");
        let fine: Vec<f32> = fine.flatten_all().and_then(|t| t.to_vec1()).expect("values");
        // Weights as lively as these make large features on the way, whose rounding is of their size.
        let largest = fine.iter().fold(1.0, |largest: f32, value| largest.max(value.abs()));
        for (a, b) in last.iter().zip(&fine) {
            assert!((a - b).abs() <= FEATURES * largest, "{what}: a feature is {a}, expected {b} (of {largest})");
        }
        // The comparison means something: gates differ from token to token and from query to query.
        let spread = fine.iter().fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
        assert!(spread.1 - spread.0 > 0.1, "{what}: the features are alike, {spread:?}");
        let expected = self.tensors.ground(&image, asked, &gates, &text, &self.plan, &head, ignore).expect("grounds");
        assert_eq!(found.len(), asked.len());
        for (found, expected) in found.iter().zip(&expected) {
            let (found, expected) = (found.as_ref().expect("numbers"), expected.as_ref().expect("numbers"));
            let numbers = |found: &Found| [&found.rect[..], &[found.presence.expect("a presence head")]].concat();
            for (a, b) in numbers(found).iter().zip(numbers(expected)) {
                assert!((a - b).abs() <= BOXES, "{what}: {:?}, expected {:?}", found.rect, expected.rect);
            }
        }
    }
}

fn swin(config: &mut Config) -> &mut blocks::swin::SwinConfig {
    config.swin.as_mut().expect("a Swin")
}

/// Another backbone, with gates from its third stage on and tokens of two levels of the neck.
fn mobilenet(config: &mut Config, output_stride: usize) {
    config.swin = None;
    config.mobilenet = Some(config::MobileNetConfig { output_stride, frozen_stages: 2 });
    config.qdatt.from_stage = 2;
    if output_stride == 32 {
        config.neck.levels = vec![1, 2, 3];
        config.vl.token_stride = Some(16);
    } else {
        config.neck.levels = vec![0, 1, 3];
    }
}

#[test]
fn a_convolutional_backbone_gives_the_tensors_numbers() {
    for (width, height, stride) in [(64, 64, 32), (256, 256, 32), (320, 192, 32), (128, 64, 16), (192, 128, 16)] {
        let both = Both::new(|config| {
            config.canvas = Canvas { width, height };
            mobilenet(config, stride);
        });
        let query = both.compile(&[2, 5, 3]);
        for count in [2, 1] {
            let what = format!("{width}x{height} at {stride}, {count} pictures");
            both.agree(&both.pictures(count, "k"), &[&query], &[], &what);
        }
    }
}

#[test]
fn several_questions_of_one_picture_give_the_tensors_numbers() {
    for backbone in ["swin", "swin, late gates", "mobilenet"] {
        let both = Both::new(|config| {
            config.canvas = Canvas { width: 128, height: 64 };
            match backbone {
                "mobilenet" => mobilenet(config, 32),
                "swin" => {}
                _ => config.qdatt.from_stage = 2,
            }
        });
        let queries = [both.compile(&[2, 5, 6, 7, 3]), both.compile(&[2, 3]), both.compile(&[2, 8, 3])];
        let each: Vec<&CompiledQuery> = queries.iter().chain(&queries).collect();
        let pictures = both.pictures(2, "l");
        both.agree_on(&pictures, &[0, 0, 0, 1, 1, 1], &each, &[], &format!("{backbone}: three queries, two pictures"));
        both.agree_on(&pictures, &[1, 0], &each[..2], &[], &format!("{backbone}: pictures in another order"));
    }
}

#[test]
fn any_canvas_and_batch_give_the_tensors_numbers() {
    for (width, height) in [(64, 64), (128, 128), (192, 128), (320, 192)] {
        let both = Both::new(|config| config.canvas = Canvas { width, height });
        let query = both.compile(&[2, 5, 3]);
        // The second batch is smaller, so that buffers are longer than it needs.
        for count in [3, 1, 2] {
            both.agree(&both.pictures(count, "a"), &[&query], &[], &format!("{width}x{height}, {count} pictures"));
        }
    }
}

#[test]
fn windows_that_do_not_divide_the_map_are_padded_alike() {
    for side in [3, 5, 7] {
        let both = Both::new(|config| {
            swin(config).window_size = side;
            config.canvas = Canvas { width: 128, height: 192 };
        });
        let query = both.compile(&[2, 3]);
        both.agree(&both.pictures(2, "b"), &[&query], &[], &format!("windows of {side}"));
    }
}

#[test]
fn another_query_gives_another_answer() {
    let both = Both::new(|_| {});
    let queries = [both.compile(&[2, 5, 6, 3]), both.compile(&[2, 9, 3])];
    let pictures = both.pictures(1, "j");
    let rects = queries.each_ref().map(|query| {
        both.agree(&pictures, &[query], &[], "one of two queries");
        let (gates, text) = stack(&[query], query.ids().len()).expect("stacked");
        let head = both.folding.plan(&both.plan.positions, None, &Device::Cpu).expect("constants");
        let constants = Constants::new(&head).expect("constants");
        let found = both.kernels.ground(0, &[&pictures[0]], &[0], &gates, &text, &constants, &[]).expect("grounds");
        found[0].as_ref().expect("numbers").rect
    });
    assert!(rects[0].iter().zip(rects[1]).any(|(a, b)| (a - b).abs() > 1e-3), "{rects:?}");
}

#[test]
fn queries_and_masks_of_their_own_give_the_tensors_numbers() {
    let both = Both::new(|config| config.canvas = Canvas { width: 128, height: 128 });
    let queries = [both.compile(&[2, 5, 6, 7, 3]), both.compile(&[2, 3])];
    let tokens = both.config.visual_tokens(both.config.canvas);
    let ignore: Vec<u8> = (0..2 * tokens).map(|i| u8::from(i % 3 == 0)).collect();
    both.agree(&both.pictures(2, "c"), &[&queries[0], &queries[1]], &ignore, "two queries, masks");
    both.agree(&both.pictures(2, "c"), &[&queries[1]], &ignore, "one query, masks");
    both.agree(&both.pictures(2, "d"), &[&queries[0], &queries[1]], &[], "two queries, no masks");
}

#[test]
fn channels_that_fill_no_panel_give_the_tensors_numbers() {
    let both = Both::new(|config| {
        swin(config).embed_dim = 12;
        config.qdatt.reduction_ratio = 4;
        swin(config).num_heads = vec![1, 2, 3, 4];
        config.neck.out_channels = 20;
        config.vl.hidden_dim = 36;
        config.vl.nheads = 3;
        config.vl.dim_feedforward = 50;
    });
    let query = both.compile(&[2, 4, 3]);
    both.agree(&both.pictures(2, "e"), &[&query], &[], "odd widths");
}

#[test]
fn a_damaged_picture_is_told_and_does_not_spoil_the_next() {
    let both = Both::new(|_| {});
    let query = both.compile(&[2, 4, 3]);
    let mut pictures = both.pictures(2, "f");
    pictures[1][100] = f32::NAN;
    let (gates, text) = stack(&[&query], query.ids().len()).expect("stacked");
    let head = both.folding.plan(&both.plan.positions, None, &Device::Cpu).expect("constants");
    let constants = Constants::new(&head).expect("constants");
    let slices: Vec<&[f32]> = pictures.iter().map(Vec::as_slice).collect();
    let found = both.kernels.ground(0, &slices, &[0, 1], &gates, &text, &constants, &[]).expect("grounds");
    assert!(found[0].is_some() && found[1].is_none(), "the second picture holds a NaN");
    both.agree(&both.pictures(2, "g"), &[&query], &[], "after a damaged picture");
}

/// What a GPU computes in half precision, on the CPU: backbone and neck in two bytes, text and head in four.
#[test]
fn half_precision_stays_near() {
    let both = Both::new(|config| config.canvas = Canvas { width: 128, height: 128 });
    let query = both.compile(&[2, 4, 3]);
    let (gates, text) = stack(&[&query], query.ids().len()).expect("stacked");
    let head = both.folding.plan(&both.plan.positions, None, &Device::Cpu).expect("constants");
    let image = Tensor::new(both.pictures(2, "i").concat(), &Device::Cpu)
        .and_then(|image| image.reshape((2, 3, 128, 128)))
        .expect("a batch");
    let exact = both.tensors.ground(&image, &[0, 1], &gates, &text, &both.plan, &head, &[]).expect("grounds");
    let weights = lively(&both.config);
    for (dtype, limit) in [(DType::BF16, 1e-2), (DType::F16, 1e-3)] {
        let vb = weights::builder(&weights, &Device::Cpu).to_dtype(dtype);
        let mut half = FrameModel::new(&both.config, &vb).expect("builds");
        half.freeze().expect("frozen");
        let found = half.ground(&image, &[0, 1], &gates, &text, &both.plan, &head, &[]).expect("grounds");
        for (found, exact) in found.iter().zip(&exact) {
            let (found, exact) = (found.as_ref().expect("numbers"), exact.as_ref().expect("numbers"));
            let apart = found.rect.iter().zip(exact.rect).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart > 0.0 && apart < limit, "{dtype:?}: {:?}, exactly {:?}", found.rect, exact.rect);
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let both = Both::new(|config| config.canvas = Canvas { width: 192, height: 128 });
    let query = both.compile(&[2, 4, 3]);
    let (gates, text) = stack(&[&query], query.ids().len()).expect("stacked");
    let head = both.folding.plan(&both.plan.positions, None, &Device::Cpu).expect("constants");
    let constants = Constants::new(&head).expect("constants");
    let pictures = both.pictures(2, "h");
    let slices: Vec<&[f32]> = pictures.iter().map(Vec::as_slice).collect();
    let answers = |threads: usize| -> Vec<[u32; 4]> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let found =
            pool.install(|| both.kernels.ground(0, &slices, &[0, 1], &gates, &text, &constants, &[])).expect("grounds");
        found.iter().flatten().map(|found| found.rect.map(f32::to_bits)).collect()
    };
    let one = answers(1);
    assert_eq!(one.len(), 2);
    for threads in [2, 3, 7] {
        assert_eq!(answers(threads), one, "{threads} threads");
    }
}

/// A backbone in bytes finds nearly the same, and the same bytes on any number of threads.
#[test]
fn bytes_stay_near_and_do_not_depend_on_threads() {
    for convolves in [false, true] {
        let both = Both::new(|config| {
            config.canvas = Canvas { width: 192, height: 128 };
            if convolves {
                mobilenet(config, 32);
            }
        });
        let weights = lively(&both.config);
        let vb = weights::builder(&weights, &Device::Cpu);
        let bytes = CpuFrame::new(
            &both.config,
            &Weights::new(&vb, Sources::default()),
            std::slice::from_ref(&both.plan),
            Arithmetic::Int8,
        );
        let bytes = bytes.expect("builds");
        let query = both.compile(&[2, 4, 3]);
        let (gates, text) = stack(&[&query], query.ids().len()).expect("stacked");
        let head = both.folding.plan(&both.plan.positions, None, &Device::Cpu).expect("constants");
        let constants = Constants::new(&head).expect("constants");
        let pictures = both.pictures(2, "m");
        let slices: Vec<&[f32]> = pictures.iter().map(Vec::as_slice).collect();
        let answers = |frame: &CpuFrame, threads: usize| -> Vec<[f32; 4]> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let found = pool.install(|| frame.ground(0, &slices, &[0, 1], &gates, &text, &constants, &[]));
            found.expect("grounds").iter().flatten().map(|found| found.rect).collect()
        };
        let (exact, near) = (answers(&both.kernels, 2), answers(&bytes, 2));
        assert_eq!((exact.len(), near.len()), (2, 2));
        let apart = exact.iter().flatten().zip(near.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart > 0.0 && apart < 5e-2, "convolves: {convolves}, {near:?}, in f32 {exact:?}");
        for threads in [1, 3] {
            assert!(answers(&bytes, threads) == near, "{threads} threads");
        }
    }
}
