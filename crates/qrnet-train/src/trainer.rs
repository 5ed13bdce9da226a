//! The training loop.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use qrnet::plan::CanvasPlan;
use qrnet::text::tokenizer::QueryTokenizer;
use qrnet::weights::{self, Report, Sources, Tensors};
use qrnet::{Config, QrNet, init};

use crate::batch::{Collator, Prepared};
use crate::checkpoint::Checkpoint;
use crate::data::DataSet;
use crate::error::{Error, Result};
use crate::evaluate::{Plain, evaluate};
use crate::feed::{self, Ahead, Feed};
use crate::log::{Kind, RunLog};
use crate::metrics::Summary;
use crate::objective::{Losses, Objective, TERMS};
use crate::optim::{AdamW, average};
use crate::recipe::{EvalSet, Recipe};
use crate::scenes::{self, Art, SceneSettings, Scenes};

/// What a run works on: recipe, sizes, words, data, folder.
pub struct Setup {
    /// The recipe.
    pub recipe: Recipe,
    /// Sizes of the model.
    pub config: Config,
    /// Words.
    pub tokenizer: QueryTokenizer,
    /// Art of the scenes.
    pub art: Arc<Art>,
    /// Folder that the recipe's paths are relative to.
    pub base: PathBuf,
}

/// How far a run is, for whoever watches.
#[derive(Debug, Clone)]
pub struct Progress<'a> {
    /// Steps made.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Mean loss since the last report.
    pub loss: f64,
    /// Examples a second since the last report.
    pub rate: f64,
    /// Share of the time that was spent waiting for data.
    pub waiting: f64,
    /// A measurement that was just made.
    pub measured: Option<(&'a str, &'a Summary)>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All steps were made.
    Finished,
    /// Somebody asked for an end; a checkpoint was written.
    Interrupted,
}

/// What a run is told from outside.
pub struct Control<'a> {
    /// Folder of log, checkpoints and curves.
    pub out: &'a Path,
    /// Set to end the run after the current step.
    pub interrupt: &'a AtomicBool,
    /// End after this many steps of this call, as an interrupt would.
    pub stop_after: Option<u64>,
    /// Threads that prepare data.
    pub threads: usize,
    /// Called at every line of the log.
    pub progress: &'a mut dyn FnMut(&Progress),
}

/// The state of a run.
pub struct Trainer {
    setup: Setup,
    device: Device,
    plan: CanvasPlan,
    vars: BTreeMap<String, Var>,
    /// Everything the model reads, trained or not.
    tensors: Tensors,
    model: QrNet,
    averaged: Option<Averaged>,
    objective: Objective,
    optimiser: AdamW,
    step: u64,
    best: Option<(f64, u64)>,
}

struct Averaged {
    vars: BTreeMap<String, Var>,
    model: QrNet,
}

impl Setup {
    /// Reads what `recipe` names: vocabulary and art.
    ///
    /// # Errors
    /// Something is not where the recipe says.
    pub fn new(recipe: Recipe, config: Config, base: &Path) -> Result<Self> {
        let (length, size) = (config.max_query_len, config.bert.vocab_size);
        let tokenizer = match recipe.tokenizer.as_str() {
            "words" => QueryTokenizer::words(scenes::words(), length, size)?,
            file => QueryTokenizer::from_file(&base.join(file), length, size)?,
        };
        let styles = recipe.styles();
        let folder = recipe.art.as_ref().map_or_else(|| base.to_path_buf(), |art| base.join(art));
        let art = Arc::new(Art::load(&folder, &styles)?);
        Ok(Self { recipe, config, tokenizer, art, base: base.to_path_buf() })
    }

    /// The examples of an evaluation set.
    ///
    /// # Errors
    /// A list is not where the recipe says.
    pub fn eval_set(&self, set: &EvalSet) -> Result<Box<dyn DataSet>> {
        // Seeds of their own: no picture of training is ever measured on.
        let seed = self.recipe.seed ^ 0x5eed_0000 ^ set.name.bytes().fold(7, |h, b| h * 131 + u64::from(b));
        feed::open(set.scenes.as_ref(), &set.lists, (&self.base, &self.art), seed, set.count)
    }
}

impl Setup {
    /// Wide scenes as the last phase draws them, in pictures whose longer side has `side` pixels.
    ///
    /// # Errors
    /// It draws none.
    pub fn last_scenes(&self, side: usize) -> Result<Scenes> {
        let settings = self.recipe.phase.last().and_then(|phase| phase.scenes.clone());
        let settings = settings
            .ok_or_else(|| Error::Unsupported(format!("the last phase of {:?} draws no scenes", self.recipe.name)))?;
        let settings = SceneSettings { side, square: 0.0, ..settings };
        Scenes::new(settings, Arc::clone(&self.art), self.recipe.seed, usize::MAX)
    }
}

impl Trainer {
    /// Weights from the recipe's start.
    ///
    /// # Errors
    /// A file that the start names cannot be used, or the device cannot hold the model.
    pub fn new(setup: Setup, device: &Device) -> Result<(Self, Report)> {
        let (recipe, config) = (&setup.recipe, &setup.config);
        let from = |path: &Option<PathBuf>| path.as_ref().map(|path| setup.base.join(path));
        let start = &recipe.init;
        let (backbone, text) = (from(&start.backbone), from(&start.text));
        let model = from(&start.model).map(|path| match path.join("model.safetensors") {
            file if file.is_file() => file,
            _ => path,
        });
        let sources = Sources { detector: backbone.as_deref(), text: text.as_deref(), model: model.as_deref() };
        let (mut tensors, report) = weights::initialise(config, recipe.seed, sources, device)?;
        if start.smooth_positions && model.is_none() {
            smooth_positions(config, &mut tensors, device)?;
        }
        let (mut vars, vb) = weights::variables(config, &tensors, device)?;
        let model = QrNet::new(config, &vb)?;
        let averaged = (recipe.ema > 0.0)
            .then(|| -> Result<Averaged> {
                let (vars, vb) = weights::variables(config, &tensors, device)?;
                Ok(Averaged { vars, model: QrNet::new(config, &vb)? })
            })
            .transpose()?;
        let objective = Objective::new(config, recipe.loss.clone(), recipe.seed, device)?;
        vars.extend(objective.heads().iter().map(|(name, var)| (name.clone(), var.clone())));
        let optimiser = AdamW::new(&vars, recipe.optimiser())?;
        let plan = CanvasPlan::new(config, config.canvas, device)?;
        let device = device.clone();
        let trainer =
            Self { setup, device, plan, vars, tensors, model, averaged, objective, optimiser, step: 0, best: None };
        Ok((trainer, report))
    }

    /// Steps made.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// What the run works on.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The state to go on from.
    pub fn checkpoint(&self) -> Checkpoint {
        let mut tensors = self.optimiser.state();
        tensors.extend(self.vars.iter().map(|(name, var)| (format!("model.{name}"), var.as_tensor().clone())));
        if let Some(averaged) = &self.averaged {
            let vars = averaged.vars.iter();
            tensors.extend(vars.map(|(name, var)| (format!("ema.{name}"), var.as_tensor().clone())));
        }
        Checkpoint { step: self.step, tensors, best: self.best }
    }

    /// Goes on from `checkpoint`.
    ///
    /// # Errors
    /// It belongs to a model of other sizes or losses.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let take = |prefix: &str, vars: &BTreeMap<String, Var>| -> Result<()> {
            for (name, var) in vars {
                let saved = checkpoint.tensors.get(&format!("{prefix}{name}"));
                let Some(saved) = saved.filter(|saved| saved.dims() == var.dims()) else {
                    let found = saved.map_or("none".to_owned(), |saved| format!("shape {:?}", saved.dims()));
                    return Err(Error::Unsupported(format!(
                        "the checkpoint of step {} was made with other sizes or losses: tensor {prefix}{name}: found {found}, expected shape {:?}",
                        checkpoint.step,
                        var.dims()
                    )));
                };
                var.set(saved)?;
            }
            Ok(())
        };
        take("model.", &self.vars)?;
        if let Some(averaged) = &self.averaged {
            take("ema.", &averaged.vars)?;
        }
        self.optimiser.restore(&checkpoint.tensors, checkpoint.step)?;
        self.step = checkpoint.step;
        self.best = checkpoint.best;
        Ok(())
    }

    /// The weights to ship: averaged where the recipe averages, without training-only heads.
    pub fn weights(&self) -> Tensors {
        let mut tensors = self.tensors.clone();
        let vars = self.averaged.as_ref().map_or(&self.vars, |averaged| &averaged.vars);
        for (name, tensor) in &mut tensors {
            if let Some(var) = vars.get(name) {
                *tensor = var.as_tensor().clone();
            }
        }
        tensors
    }

    /// Trains to the recipe's last step, or until somebody stops it; every checkpoint leaves a run that can go on.
    ///
    /// # Errors
    /// The data cannot be read, the loss is no number, or a file cannot be written.
    pub fn run(&mut self, control: Control) -> Result<End> {
        let Control { out, interrupt, stop_after, threads, progress } = control;
        let recipe = self.setup.recipe.clone();
        let feed = Feed::new(&recipe, &self.setup.base, &self.setup.art)?;
        let watched: Vec<(&EvalSet, Box<dyn DataSet>)> = recipe
            .eval
            .iter()
            .filter(|set| set.watch)
            .map(|set| Ok((set, self.setup.eval_set(set)?)))
            .collect::<Result<_>>()?;
        let mut log = RunLog::open(out, Some(self.step))?;
        let last = stop_after.map_or(recipe.steps, |count| recipe.steps.min(self.step + count));
        // The threads that prepare data borrow what they read; the loop below borrows the trainer.
        let plan = CanvasPlan::new(&self.setup.config, self.setup.config.canvas, &self.device)?;
        let tokenizer = self.setup.tokenizer.clone();
        let accumulate = recipe.accumulate as u64;
        thread::scope(|scope| {
            let batches = self.step * accumulate..last * accumulate;
            let mut ahead = Ahead::start(scope, &feed, (&plan, &tokenizer), batches, threads);
            let mut meter = Meter::new();
            while self.step < last {
                let mut store: Option<GradStore> = None;
                for part in 0..accumulate {
                    let (batch, waited) = ahead.next()?;
                    let losses = self.losses(&batch, part)?;
                    let loss = f64::from(losses.total.to_scalar::<f32>()?);
                    if !loss.is_finite() {
                        return Err(self.not_finite(out, &batch, loss));
                    }
                    let grads = (losses.total / accumulate as f64)?.backward()?;
                    store = Some(match store.take() {
                        None => grads,
                        Some(sum) => self.add(sum, &grads)?,
                    });
                    meter.add(loss, &losses.terms, batch.len(), waited);
                }
                let factor = recipe.schedule().factor(self.step);
                if let Some(grads) = store {
                    let stepped = self.optimiser.step(&grads, factor)?;
                    meter.stepped(stepped.norm, stepped.applied);
                }
                self.step += 1;
                self.average(recipe.ema)?;
                let samples = self.step * recipe.step_examples() as u64;
                let (step, steps) = (self.step, recipe.steps);
                let due = |every: u64| step % every == 0 || step == steps;
                if due(recipe.every.log) {
                    let (scalars, report) = meter.take(factor * recipe.optimiser.rate);
                    log.scalars(step, samples, Kind::Train, &scalars)?;
                    progress(&Progress { step, steps, measured: None, ..report });
                }
                if due(recipe.every.eval) {
                    for (i, (set, data)) in watched.iter().enumerate() {
                        let summary = self.measure(data.as_ref(), recipe.every.eval_examples)?;
                        let scalars: Vec<(String, f64)> = summary
                            .all
                            .scalars()
                            .into_iter()
                            .map(|(name, value)| (format!("{name}_{}", set.name), value))
                            .collect();
                        let named: Vec<(&str, f64)> = scalars.iter().map(|(n, v)| (n.as_str(), *v)).collect();
                        log.scalars(step, samples, Kind::Eval, &named)?;
                        let report = Progress { step, steps, loss: f64::NAN, rate: 0.0, waiting: 0.0, measured: None };
                        progress(&Progress { measured: Some((&set.name, &summary)), ..report });
                        if i == 0 {
                            self.note_best(&summary, out)?;
                        }
                    }
                    meter.restart();
                }
                let stopped = interrupt.load(Ordering::Relaxed) || step == last;
                if due(recipe.every.checkpoint) || stopped {
                    self.checkpoint().save(out, recipe.every.keep)?;
                    crate::log::curves(out)?;
                    meter.restart();
                }
                if stopped && step < steps {
                    return Ok(End::Interrupted);
                }
            }
            Ok(End::Finished)
        })
    }

    fn losses(&self, batch: &Prepared, part: u64) -> Result<Losses> {
        let inputs = batch.inputs(&self.device)?;
        let rng = init::stream(self.setup.recipe.seed, &format!("pass.{}.{part}", self.step));
        let mut pass = self.objective.pass(rng);
        let output = self.model.forward(
            &inputs.image,
            &inputs.image_ignore,
            &inputs.ids,
            &inputs.text_ignore,
            &self.plan,
            &mut pass,
        )?;
        self.objective.loss(&self.model, &self.plan, batch, &output, pass)
    }

    fn add(&self, mut sum: GradStore, grads: &GradStore) -> Result<GradStore> {
        for var in self.vars.values() {
            if let Some(gradient) = grads.get(var) {
                let added = match sum.get(var) {
                    Some(before) => (before + gradient)?,
                    None => gradient.clone(),
                };
                sum.insert(var, added);
            }
        }
        Ok(sum)
    }

    /// Early averages forget faster: the start is no weight worth keeping.
    fn average(&self, keep: f64) -> Result<()> {
        let Some(averaged) = &self.averaged else { return Ok(()) };
        let keep = keep.min((1.0 + self.step as f64) / (10.0 + self.step as f64));
        for (name, var) in &averaged.vars {
            average(var, self.vars[name].as_tensor(), keep)?;
        }
        Ok(())
    }

    /// Measures the weights to ship.
    ///
    /// # Errors
    /// As [`evaluate`].
    pub fn measure(&self, data: &dyn DataSet, count: usize) -> Result<Summary> {
        let model = self.averaged.as_ref().map_or(&self.model, |averaged| &averaged.model);
        let plain = Plain { model, plan: &self.plan, device: &self.device };
        let mut collator = Collator::new(&self.plan, &self.setup.tokenizer);
        Ok(evaluate(&plain, data, &mut collator, count, |_, _| Ok(()))?.summary())
    }

    /// Keeps the weights of the best measurement so far as `best.safetensors`.
    fn note_best(&mut self, summary: &Summary, out: &Path) -> Result<()> {
        let value = summary.all.accuracy.first().map_or(f64::NAN, |accuracy| accuracy.share.value);
        if self.best.is_none_or(|(best, _)| value > best) && value.is_finite() {
            self.best = Some((value, self.step));
            let tensors: Vec<(String, Tensor)> = self.weights().into_iter().collect();
            weights::save(&tensors, None, &out.join("best.safetensors"))?;
        }
        Ok(())
    }

    fn not_finite(&self, out: &Path, batch: &Prepared, loss: f64) -> Error {
        let path = out.join(format!("not-finite-{:08}.safetensors", self.step));
        let saved = batch.inputs(&Device::Cpu).and_then(|inputs| {
            let tensors = [
                ("image".to_owned(), inputs.image),
                ("image_ignore".to_owned(), inputs.image_ignore),
                ("ids".to_owned(), inputs.ids),
                ("text_ignore".to_owned(), inputs.text_ignore),
            ];
            let phrases = std::collections::HashMap::from([("phrases".to_owned(), batch.phrases.join("\n"))]);
            Ok(weights::save(&tensors, Some(phrases), &path)?)
        });
        match saved {
            Ok(()) => Error::NotFinite { step: self.step, loss, batch: path },
            Err(error) => error,
        }
    }
}

/// Sums since the last line of the log.
struct Meter {
    since: Instant,
    losses: Vec<f64>,
    terms: [(f64, u64); TERMS.len()],
    norm: f64,
    skipped: u64,
    steps: u64,
    examples: usize,
    waited: Duration,
}

impl Meter {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            losses: Vec::new(),
            terms: [(0.0, 0); TERMS.len()],
            norm: 0.0,
            skipped: 0,
            steps: 0,
            examples: 0,
            waited: Duration::ZERO,
        }
    }

    /// Time that went into something else than steps does not count.
    fn restart(&mut self) {
        *self = Self::new();
    }

    fn add(&mut self, loss: f64, terms: &[f64; TERMS.len()], examples: usize, waited: Duration) {
        self.losses.push(loss);
        for (sum, term) in self.terms.iter_mut().zip(terms).filter(|(_, term)| term.is_finite()) {
            *sum = (sum.0 + term, sum.1 + 1);
        }
        self.examples += examples;
        self.waited += waited;
    }

    fn stepped(&mut self, norm: f64, applied: bool) {
        self.norm += norm;
        self.steps += 1;
        self.skipped += u64::from(!applied);
    }

    fn take(&mut self, rate: f64) -> (Vec<(&'static str, f64)>, Progress<'static>) {
        const NAMES: [&str; TERMS.len()] = [
            "loss_l1",
            "loss_giou",
            "loss_presence",
            "loss_token_heat",
            "loss_neck_heat",
            "loss_token_box",
            "loss_attention",
            "loss_class",
            "loss_colour",
        ];
        let seconds = self.since.elapsed().as_secs_f64();
        let loss = self.losses.iter().sum::<f64>() / self.losses.len().max(1) as f64;
        let steps = self.steps.max(1) as f64;
        let mut scalars = vec![("loss", loss)];
        scalars.extend(NAMES.into_iter().zip(self.terms).filter(|(_, t)| t.1 > 0).map(|(n, t)| (n, t.0 / t.1 as f64)));
        scalars.push(("rate", rate));
        scalars.push(("gradient_norm", self.norm / steps));
        scalars.push(("skipped_steps", self.skipped as f64));
        scalars.push(("step_seconds", (seconds - self.waited.as_secs_f64()) / steps));
        scalars.push(("data_seconds", self.waited.as_secs_f64() / steps));
        let report = Progress {
            step: 0,
            steps: 0,
            loss,
            rate: self.examples as f64 / seconds.max(1e-9),
            waiting: self.waited.as_secs_f64() / seconds.max(1e-9),
            measured: None,
        };
        self.restart();
        (scalars, report)
    }
}

/// Rows of visual tokens start as sines and cosines of the cell's centre: half of the width for x, half for y.
fn smooth_positions(config: &Config, tensors: &mut Tensors, device: &Device) -> Result<()> {
    const NAME: &str = "vl_pos_embed.weight";
    let d = config.vl.hidden_dim;
    let mut rows: Vec<Vec<f32>> = tensors[NAME].to_vec2()?;
    let mut row = 1 + config.max_query_len;
    let canvas = config.position_canvas();
    for level in [config.stages() - 1, config.stages()] {
        let grid = config.level_grid(canvas, level);
        for cell in 0..grid.len() {
            let x = ((cell % grid.w) as f32 + 0.5) / grid.w as f32;
            let y = ((cell / grid.w) as f32 + 0.5) / grid.h as f32;
            for (column, value) in rows[row].iter_mut().enumerate() {
                let (place, column) = if column < d / 2 { (x, column) } else { (y, column - d / 2) };
                let pairs = (d / 4).max(1) as f32;
                // Wavelengths from four canvases down to an eighth of one.
                let angle = std::f32::consts::FRAC_PI_2 * place * 32f32.powf((column / 2) as f32 / pairs);
                *value = if column % 2 == 0 { angle.sin() } else { angle.cos() };
            }
            row += 1;
        }
    }
    let flat: Vec<f32> = rows.into_iter().flatten().collect();
    let shape = tensors[NAME].shape().clone();
    tensors.insert(NAME.to_owned(), Tensor::from_vec(flat, shape, device)?);
    Ok(())
}
