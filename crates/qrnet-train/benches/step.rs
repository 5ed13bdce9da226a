//! One training step (forward, backward, `AdamW`) of the two models that are trained on a CPU: by part, and per question.
//!
//! `RAYON_NUM_THREADS=1 cargo bench -p qrnet-train` for one thread. `benches/peer.rs` measures the whole step in turns with
//! PyTorch's.

use blocks::pass::Pass;
use candle_core::{DType, Device, Tensor};
use qrnet::plan::CanvasPlan;
use qrnet::{Config, Output, QrNet, init, weights};
use qrnet_train::loss::box_loss;
use qrnet_train::optim::{AdamW, Settings};

/// The program's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// Sizes, questions in a batch, and questions of each picture.
const MODELS: [(&str, &str, usize, usize); 3] = [
    ("sprites", include_str!("../../../configs/model/sprites-tiny.toml"), 24, 1),
    ("photographs", include_str!("../../../configs/model/photographs.toml"), 16, 1),
    ("photographs, four questions each", include_str!("../../../configs/model/photographs.toml"), 16, 4),
];

struct Setup {
    model: QrNet,
    optimiser: AdamW,
    plan: CanvasPlan,
    inputs: [Tensor; 4],
    pictures: Tensor,
    batch: usize,
}

impl Setup {
    fn new(name: &str) -> Self {
        let device = Device::Cpu;
        let (_, text, batch, questions) = MODELS.into_iter().find(|model| model.0 == name).expect("one of them");
        let config = Config::from_toml(text, name).expect("valid");
        let tensors = init::parameters(&config, 1, &device).expect("drawn");
        let (vars, vb) = weights::variables(&config, &tensors, &device).expect("variables");
        let (w, h, length) = (config.canvas.width, config.canvas.height, config.max_query_len);
        let pictures = batch / questions;
        let inputs = [
            Tensor::randn(0f32, 1.0, (pictures, 3, h, w), &device).expect("pictures"),
            Tensor::zeros((pictures, h, w), DType::U8, &device).expect("masks"),
            Tensor::ones((batch, length), DType::U32, &device).expect("ids"),
            Tensor::zeros((batch, length), DType::U8, &device).expect("flags"),
        ];
        let numbers: Vec<u32> = (0..batch).map(|question| (question / questions) as u32).collect();
        Self {
            model: QrNet::new(&config, &vb).expect("builds"),
            optimiser: AdamW::new(&vars, Settings::reference()).expect("an optimiser"),
            plan: CanvasPlan::new(&config, config.canvas, &device).expect("a plan"),
            inputs,
            pictures: Tensor::new(numbers, &device).expect("numbers"),
            batch,
        }
    }

    fn forward(&self) -> Output {
        let [image, mask, ids, ignore] = &self.inputs;
        let pass = &mut Pass::eval();
        let query = self.model.query.encode(ids, ignore, pass).expect("encoded");
        self.model.frame.forward(image, mask, &query, Some(&self.pictures), &self.plan, pass).expect("runs")
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    MODELS.into_iter().map(|model| model.0)
}

#[divan::bench(args = names())]
fn forward(bencher: divan::Bencher, name: &str) {
    let setup = Setup::new(name);
    bencher.counter(divan::counter::ItemsCount::new(setup.batch)).bench_local(|| setup.forward());
}

#[divan::bench(args = names())]
fn step(bencher: divan::Bencher, name: &str) {
    let mut setup = Setup::new(name);
    bencher.counter(divan::counter::ItemsCount::new(setup.batch)).bench_local(|| {
        let target = vec![[0.5, 0.5, 0.2, 0.3]; setup.batch];
        let loss = box_loss(&setup.forward().boxes, &target).expect("a loss");
        setup.optimiser.step(&loss.backward().expect("backward"), 1.0).expect("a step")
    });
}
