//! One training step (forward, backward, `AdamW`) of a small model, batch 24: by part, and per sample.
//!
//! `RAYON_NUM_THREADS=1 cargo bench -p qrnet-train` for one thread. The baseline is PyTorch on the same sizes, measured
//! beside it; see the model card.

use candle_core::{DType, Device, Tensor};
use qrnet::pass::Pass;
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

const BATCH: usize = 24;

struct Setup {
    model: QrNet,
    optimiser: AdamW,
    plan: CanvasPlan,
    inputs: [Tensor; 4],
}

impl Setup {
    fn new() -> Self {
        let device = Device::Cpu;
        let config =
            Config::from_toml(include_str!("../../../configs/model/sprites-tiny.toml"), "sprites-tiny").expect("valid");
        let tensors = init::parameters(&config, 1, &device).expect("drawn");
        let (vars, vb) = weights::variables(&config, &tensors, &device).expect("variables");
        let (w, h, length) = (config.canvas.width, config.canvas.height, config.max_query_len);
        let inputs = [
            Tensor::randn(0f32, 1.0, (BATCH, 3, h, w), &device).expect("pictures"),
            Tensor::zeros((BATCH, h, w), DType::U8, &device).expect("masks"),
            Tensor::ones((BATCH, length), DType::U32, &device).expect("ids"),
            Tensor::zeros((BATCH, length), DType::U8, &device).expect("flags"),
        ];
        Self {
            model: QrNet::new(&config, &vb).expect("builds"),
            optimiser: AdamW::new(&vars, Settings::reference()).expect("an optimiser"),
            plan: CanvasPlan::new(&config, config.canvas, &device).expect("a plan"),
            inputs,
        }
    }

    fn forward(&self) -> Output {
        let [image, mask, ids, ignore] = &self.inputs;
        self.model.forward(image, mask, ids, ignore, &self.plan, &mut Pass::eval()).expect("runs")
    }
}

#[divan::bench]
fn forward(bencher: divan::Bencher) {
    let setup = Setup::new();
    bencher.counter(divan::counter::ItemsCount::new(BATCH)).bench_local(|| setup.forward());
}

#[divan::bench]
fn step(bencher: divan::Bencher) {
    let mut setup = Setup::new();
    bencher.counter(divan::counter::ItemsCount::new(BATCH)).bench_local(|| {
        let loss = box_loss(&setup.forward().boxes, &[[0.5, 0.5, 0.2, 0.3]; BATCH]).expect("a loss");
        setup.optimiser.step(&loss.backward().expect("backward"), 1.0).expect("a step")
    });
}
