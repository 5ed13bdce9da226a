//! The training loop.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use blocks::canvas::Canvas;
use blocks::checkpoint::Tensors;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Var};
use qrnet::plan::CanvasPlan;
use qrnet::weights::{self, Report, Sources};
use qrnet::{ModelDir, NewModel, QrNet};

use crate::batch::Prepared;
use crate::checkpoint::Checkpoint;
use crate::data::DataSet;
use crate::error::{Error, Result};
use crate::evaluate::{Plain, evaluate};
use crate::features::Features;
use crate::feed::Ahead;
use crate::log::{Kind, RunLog};
pub use crate::meter::Progress;
use crate::meter::{Meter, Sums};
use crate::metrics::Summary;
use crate::objective::{Losses, Objective};
use crate::optim::{AdamW, average};
use crate::start::{Data, own_positions, smooth_positions};
pub use crate::start::{EvalSetup, Setup};

/// Folder of the best model so far, in that of the run.
const BEST: &str = "best";

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
    data: Arc<Data>,
    device: Device,
    /// Of the model's canvas, then of the others that it is trained on.
    plans: Arc<[CanvasPlan]>,
    vars: BTreeMap<String, Var>,
    /// Everything the model reads, trained or not.
    tensors: Tensors,
    model: QrNet,
    averaged: Option<Averaged>,
    objective: Objective,
    optimiser: AdamW,
    /// Of a frozen text tower.
    features: Option<Features>,
    meter: Meter,
    step: u64,
    best: Option<(f64, u64)>,
}

struct Averaged {
    vars: BTreeMap<String, Var>,
    model: QrNet,
}

impl Trainer {
    /// Opens the data and takes weights from the recipe's start.
    ///
    /// # Errors
    /// The data or a file that the start names cannot be used, or the device cannot hold the model.
    pub fn new(mut setup: Setup, device: &Device) -> Result<(Self, Report)> {
        own_positions(&setup.config)?;
        setup.recipe.check_start(&setup.base)?;
        let data = Arc::new(Data::open(&mut setup)?);
        let (recipe, config) = (&setup.recipe, &setup.config);
        let from = |path: &Option<PathBuf>| path.as_ref().map(|path| setup.base.join(path));
        let start = &recipe.init;
        let (backbone, text) = (from(&start.backbone), from(&start.text));
        let model_dir =
            from(&start.model).filter(|path| path.is_dir()).map(|path| ModelDir::open(&path)).transpose()?;
        let model = model_dir.as_ref().map(ModelDir::weights).or_else(|| from(&start.model));
        let sources = Sources {
            detector: backbone.as_deref(),
            text: text.as_deref(),
            model: model.as_deref(),
            model_config: model_dir.as_ref().map(ModelDir::config),
        };
        let (mut tensors, report) = weights::initialise(config, recipe.seed, sources, device)
            .map_err(|error| recipe.named(error, &setup.base))?;
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
        let objective = Objective::new(config, recipe.loss, recipe.classes(), recipe.seed, device)?;
        vars.extend(objective.heads().iter().map(|(name, var)| (name.clone(), var.clone())));
        let optimiser = AdamW::new(&vars, recipe.optimiser())?;
        let plan = |canvas: &Canvas| Ok(CanvasPlan::new(config, *canvas, device)?);
        let plans = config.all_canvases().iter().map(plan).collect::<Result<_>>()?;
        let features = config.bert.frozen.then(Features::default);
        let trainer = Self {
            device: device.clone(),
            setup,
            data,
            plans,
            vars,
            tensors,
            model,
            averaged,
            objective,
            optimiser,
            features,
            meter: Meter::new(Sums::default()),
            step: 0,
            best: None,
        };
        Ok((trainer, report))
    }

    /// Steps made.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Everything that is trained, by name; the training-only heads are called `auxiliary.…`.
    pub fn variables(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    /// Phrases that went through a frozen text tower so far; none where the tower learns.
    pub fn encoded(&self) -> Option<u64> {
        self.features.as_ref().map(Features::encoded)
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
        Checkpoint { step: self.step, tensors, best: self.best, sums: self.meter.sums }
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
        self.meter = Meter::new(checkpoint.sums);
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
        let data = Arc::clone(&self.data);
        let mut log = RunLog::open(out, Some(self.step + 1))?;
        let last = stop_after.map_or(recipe.steps, |count| recipe.steps.min(self.step + count));
        // The threads that prepare data borrow what they read; the loop below borrows the trainer.
        let plans = Arc::clone(&self.plans);
        let tokenizer = self.setup.tokenizer.clone();
        let accumulate = recipe.accumulate as u64;
        thread::scope(|scope| {
            let batches = self.step * accumulate..last * accumulate;
            let mut ahead = Ahead::start(scope, &data.feed, (&plans, &tokenizer), batches, threads);
            self.meter = Meter::new(self.meter.sums);
            while self.step < last {
                let mut store: Option<GradStore> = None;
                let mut last_batch = None;
                for part in 0..accumulate {
                    let (batch, waited) = ahead.take()?;
                    let losses = self.losses(&batch, part)?;
                    let loss = f64::from(losses.total.to_scalar::<f32>()?);
                    if !loss.is_finite() {
                        return Err(self.not_finite(out, &batch, "loss", loss));
                    }
                    let grads = (losses.total / accumulate as f64)?.backward()?;

                    store = Some(match store.take() {
                        None => grads,
                        Some(sum) => self.add(sum, &grads)?,
                    });
                    self.meter.add(loss, &losses.terms, batch.len(), waited);
                    last_batch = Some(batch);
                }
                let factor = recipe.schedule().factor(self.step);
                if let Some(grads) = store {
                    let stepped = self.optimiser.step(&grads, factor)?;
                    if let (false, Some(batch)) = (stepped.applied, &last_batch) {
                        // The loss may hide it: a ReLU turns a NaN into a number.
                        return Err(self.not_finite(out, batch, "norm of the gradient", stepped.norm));
                    }
                    self.meter.stepped(stepped.norm);
                }
                self.step += 1;
                self.average(recipe.ema)?;
                let samples = self.step * recipe.step_examples() as u64;
                let (step, steps) = (self.step, recipe.steps);
                let due = |every: u64| step % every == 0 || step == steps;
                if due(recipe.every.log) {
                    let (scalars, report) = self.meter.take(factor * recipe.optimiser.rate);
                    log.scalars(step, samples, Kind::Train, &scalars)?;
                    progress(&Progress { step, steps, measured: None, ..report });
                }
                let pause = Instant::now();
                if due(recipe.every.eval) {
                    for (i, (set, examples)) in data.watched.iter().enumerate() {
                        let summary = self.measure(examples.as_ref(), recipe.every.eval_examples)?;
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
                }
                let stopped = interrupt.load(Ordering::Relaxed) || step == last;
                if due(recipe.every.checkpoint) || stopped {
                    self.checkpoint().save(out, recipe.every.keep)?;
                    if !log.is_empty() {
                        crate::log::curves(out)?;
                    }
                }
                self.meter.pause(pause.elapsed());
                if stopped && step < steps {
                    return Ok(End::Interrupted);
                }
            }
            Ok(if self.step < recipe.steps { End::Interrupted } else { End::Finished })
        })
    }

    /// Losses of one batch, as part `part` of the next step.
    ///
    /// # Errors
    /// The batch does not fit the model, or the device fails.
    pub fn losses(&mut self, batch: &Prepared, part: u64) -> Result<Losses> {
        let inputs = batch.inputs(&self.device)?;
        let rng = blocks::seeded::stream(self.setup.recipe.seed, &format!("pass.{}.{part}", self.step));
        let mut pass = self.objective.pass(rng);
        let (query, frame) = (&self.model.query, &self.model.frame);
        let query = match &mut self.features {
            None => query.encode(&inputs.ids, &inputs.text_ignore, &mut pass)?,
            Some(features) => {
                let features = features.of(query, batch, &self.device)?;
                query.encode_features(&features, &inputs.text_ignore, &mut pass)?
            }
        };
        let plan = batch.plan(&self.plans);
        let pictures = inputs.pictures.as_ref();
        let output = frame.forward(&inputs.image, &inputs.image_ignore, &query, pictures, plan, &mut pass)?;
        self.objective.loss(&self.model, plan, batch, &output, pass)
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
        let Setup { config, tokenizer, .. } = &self.setup;
        let plain = Plain { model, config, tokenizer, plans: &self.plans, device: &self.device };
        Ok(evaluate(&plain, data, count, |_| ())?.summary())
    }

    /// Keeps the model of the best measurement so far as `best`, for every other verb to use while training goes on.
    fn note_best(&mut self, summary: &Summary, out: &Path) -> Result<()> {
        let value = summary.all.accuracy.first().map_or(f64::NAN, |accuracy| accuracy.share.value);
        if self.best.is_none_or(|(best, _)| value > best) && value.is_finite() {
            self.best = Some((value, self.step));
            let Setup { recipe, config, tokenizer, .. } = &self.setup;
            let card =
                format!("# {}\n\nThe best so far, after {} of {} steps.\n", recipe.name, self.step, recipe.steps);
            let (tensors, dtype) = (self.weights(), DType::F32);
            let new = NewModel { config, tensors: &tensors, dtype, tokenizer, card: &card, trained: true };
            ModelDir::write(&out.join(BEST), &new, true)?;
        }
        Ok(())
    }

    fn not_finite(&self, out: &Path, batch: &Prepared, what: &'static str, value: f64) -> Error {
        let path = out.join(format!("not-finite-{:08}.safetensors", self.step));
        let saved = batch.inputs(&Device::Cpu).and_then(|inputs| {
            let tensors = [
                ("image".to_owned(), inputs.image),
                ("image_ignore".to_owned(), inputs.image_ignore),
                ("ids".to_owned(), inputs.ids),
                ("text_ignore".to_owned(), inputs.text_ignore),
            ];
            let phrases = std::collections::HashMap::from([("phrases".to_owned(), batch.phrases.join("\n"))]);
            Ok(blocks::checkpoint::save(&tensors, Some(phrases), &path)?)
        });
        match saved {
            Ok(()) => Error::NotFinite { step: self.step, what, value, batch: path },
            Err(error) => error,
        }
    }
}
