//! The smallest model that learns, recipes for it, and a run of one.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use candle_core::{Device, Tensor};
use qrnet::Config;
use qrnet::plan::CanvasPlan;
use qrnet_train::batch::{Collator, Prepared};
use qrnet_train::checkpoint::Checkpoint;
use qrnet_train::data::DataSet;
use qrnet_train::recipe::Recipe;
use qrnet_train::scenes::{Art, SceneSettings, Scenes};
use qrnet_train::trainer::{Control, End, Setup, Trainer};
use qrnet_train::{Result, checkpoint};

/// Sizes of the model; five visual tokens.
pub(crate) fn config() -> Config {
    let text = include_str!("../fixtures/smallest.toml");
    Config::from_toml(text, "the tests' model").expect("sizes")
}

/// Those of one on MobileNetV2, for two canvases.
pub(crate) fn convolutional() -> Config {
    let text = include_str!("../fixtures/smallest-mobilenet.toml");
    Config::from_toml(text, "the tests' convolutional model").expect("sizes")
}

/// Shapes on pictures as large as the canvas; the losses are those of the embedded default.
pub(crate) fn recipe() -> Recipe {
    let text = r#"
        name = "test"
        seed = 5
        model = "given"
        tokenizer = "words"
        steps = 8
        batch = 4
        [init]
        smooth_positions = true
        [optimiser]
        rate = 2e-3
        weight_decay = 0.02
        betas = [0.9, 0.98]
        clip = 1.0
        [schedule]
        warm_up = 3
        course = "cosine"
        [loss]
        presence = 0.5
        token_heat = 1.0
        neck_heat = 0.5
        token_box = 0.5
        attention = 0.3
        class = 1.0
        colour = 0.25
        [every]
        log = 2
        checkpoint = 1000
        eval = 1000
        [[phase]]
        [phase.scenes]
        side = 64
        objects = [2, 3]
        sizes = [0.3, 0.5]
    "#;
    Recipe::from_toml(text, "the tests' recipe").expect("a recipe")
}

/// The shapes; no file is read.
pub(crate) fn art() -> Arc<Art> {
    Arc::new(Art::load(Path::new(""), &[]).expect("shapes"))
}

pub(crate) fn scenes(settings: &SceneSettings, seed: u64, count: usize) -> Scenes {
    Scenes::new(settings.clone(), art(), seed, count).expect("scenes")
}

/// A trainer at the start.
pub(crate) fn trainer(recipe: &Recipe, config: &Config) -> Trainer {
    let setup = Setup::new(recipe.clone(), config.clone(), Path::new("")).expect("a setup");
    Trainer::new(setup, &Device::Cpu).expect("a trainer").0
}

/// The first examples of the recipe's first phase as a batch.
pub(crate) fn batch(recipe: &Recipe, config: &Config, count: usize) -> Prepared {
    let setup = Setup::new(recipe.clone(), config.clone(), Path::new("")).expect("a setup");
    let plan = CanvasPlan::new(config, config.canvas, &Device::Cpu).expect("a plan");
    let settings = recipe.phase[0].scenes.as_ref().expect("scenes");
    let examples = scenes(settings, recipe.seed, count).examples(0..count).expect("examples");
    Collator::new(&plan, &setup.tokenizer).collate(&examples).expect("a batch")
}

/// A run in `out` as the program does it: from the newest checkpoint, to the end or for `steps` steps.
pub(crate) struct Run<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) config: &'a Config,
    pub(crate) out: &'a Path,
    pub(crate) threads: usize,
}

impl Run<'_> {
    pub(crate) fn go(&self, steps: Option<u64>) -> Result<(Trainer, End)> {
        let mut trainer = trainer(self.recipe, self.config);
        if let Some(checkpoint) = Checkpoint::newest(self.out, &Device::Cpu)? {
            trainer.restore(&checkpoint)?;
        }
        let end = trainer.run(Control {
            out: self.out,
            interrupt: &AtomicBool::new(false),
            stop_after: steps,
            threads: self.threads,
            progress: &mut |_| (),
        })?;
        Ok((trainer, end))
    }
}

pub(crate) fn run(recipe: &Recipe, config: &Config, out: &Path, steps: Option<u64>) -> Result<(Trainer, End)> {
    Run { recipe, config, out, threads: 1 }.go(steps)
}

/// Steps of the checkpoints in `folder`.
pub(crate) fn saved(folder: &Path) -> Vec<u64> {
    checkpoint::list(folder).expect("a list").into_iter().map(|(step, _)| step).collect()
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|t| t.to_vec1()).expect("values")
}

pub(crate) fn bits(tensor: &Tensor) -> Vec<u32> {
    values(tensor).into_iter().map(f32::to_bits).collect()
}
