//! The backbone of QRNet's full model on the kernels that Grounding DINO's frame uses, for the price of a multiplication.

use blocks::canvas::Grid;
use blocks::ops::kernel::dense::Arithmetic;
use blocks::packed::layers::Norm;
use blocks::packed::swin::{Layout, PatchEmbed, Stage};
use blocks::packed::tasks::{Workers, take};
use blocks::packed::weights::{Sources, Weights};
use blocks::swin::{EPS, StageWindows, SwinConfig, Windows};
use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use super::cost::{grids, of_swin};
use super::given::drawn;

/// Whatever is asked for, drawn.
struct Drawn;

impl SimpleBackend for Drawn {
    fn get(&self, shape: Shape, name: &str, _: Init, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        Ok(drawn(name, shape.dims()))
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("tensor {name} is read without a shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

pub(crate) struct SwinS {
    size: Grid,
    config: SwinConfig,
    patches: PatchEmbed,
    stages: Vec<Stage>,
    layouts: Vec<Layout>,
    maps: Vec<Vec<f32>>,
    by_window: Vec<f32>,
    workers: Workers,
}

impl SwinS {
    pub(crate) fn new(size: Grid) -> Self {
        let config = SwinConfig {
            embed_dim: 96,
            depths: vec![2, 2, 18, 2],
            num_heads: vec![3, 6, 12, 24],
            window_size: 7,
            mlp_ratio: 4.0,
            patch_size: 4,
            drop_path_rate: 0.0,
        };
        let vb = VarBuilder::from_backend(Box::new(Drawn), DType::F32, Device::Cpu);
        let weights = Weights::new(&vb, Sources::default());
        let windows = grids(&config, size).into_iter().map(|grid| StageWindows::new(grid, 7, &Device::Cpu)).collect();
        let windows = Windows::new(windows);
        let stage = |number: usize| {
            let weights = weights.pp(format!("swin.{number}"));
            let norm = Norm::new(&weights.pp("norm"), config.channels(number), EPS).expect("a norm");
            Stage::new(&config, number, &weights, Some(norm), number < 3, Arithmetic::F32).expect("a stage")
        };
        let layout = |number: usize| Layout::new(&windows, number, Stage::window_sizes(&config, number));
        Self {
            size,
            patches: PatchEmbed::new(&weights.pp("patch"), &weights.pp("patch_norm"), 96, 4).expect("patches"),
            stages: (0..4).map(stage).collect(),
            layouts: (0..4).map(layout).collect(),
            maps: vec![Vec::new(); 4],
            by_window: Vec::new(),
            workers: Workers::default(),
            config,
        }
    }

    pub(crate) fn cost(&self) -> usize {
        of_swin(&self.config, self.size)
    }

    pub(crate) fn run(&mut self, picture: &[f32]) {
        self.workers.prepare();
        let sizes: Vec<usize> =
            (0..4).map(|number| self.layouts[number].grid().len() * self.config.channels(number)).collect();
        self.patches.embed(&[picture], self.size, take(&mut self.maps[0], sizes[0]), &self.workers);
        for (i, stage) in self.stages.iter().enumerate() {
            let (here, later) = self.maps.split_at_mut(i + 1);
            let x = take(&mut here[i], sizes[i]);
            stage.blocks(x, &self.layouts[i], &mut self.by_window, None, &self.workers);
            let next = later.first_mut().map(|next| take(next, sizes[i + 1]));
            stage.finish(x, None, self.layouts[i].grid(), next, &self.workers);
        }
    }
}
