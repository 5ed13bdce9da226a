//! `spotter eval`: a model and a recipe's evaluation sets become numbers, and pictures of hits and misses.

mod sheet;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use qrnet::plan::CanvasPlan;
use qrnet::{Grounder, ModelDir, QrNet, files, weights};
use qrnet_train::batch::Collator;
use qrnet_train::data::{DataSet, Example};
use qrnet_train::evaluate::{Answers, Compiled, Plain, evaluate};
use qrnet_train::metrics::Summary;
use qrnet_train::recipe::{EvalSet, Recipe};
use qrnet_train::start::own_positions;
use qrnet_train::trainer::Setup;

use super::use_threads;
use crate::cli::EvalArgs;
use crate::config::device;
use crate::error::{Error, Result};
use crate::source::Films;
use sheet::Sheets;

/// # Errors
/// The recipe, its data or the model is unusable, or an output cannot be written.
pub(super) fn run(args: &EvalArgs) -> Result<()> {
    let mut recipe = Recipe::from_file(&args.recipe)?;
    use_threads(args.threads)?;
    let names: Vec<String> = recipe.eval.iter().map(|set| set.name.clone()).collect();
    recipe.eval.retain(|set| args.split.as_ref().is_none_or(|name| set.name == *name));
    if recipe.eval.is_empty() {
        let asked = args.split.as_deref().map_or_else(String::new, |name| format!("--split {name}: "));
        return Err(Error::Usage(format!(
            "{asked}{} has no such evaluation set; it has: {}",
            args.recipe.display(),
            names.join(", ")
        )));
    }
    // What is trained on need not be there; and a model is measured with its own words.
    recipe.phase.clear();
    let dir = ModelDir::open(&args.model)?;
    let (config, tokenizer) = (dir.config().clone(), dir.load_tokenizer()?);
    let setup =
        Setup::with_tokenizer(recipe, config, tokenizer, files::parent(&args.recipe))?.with_video(Arc::new(Films));
    let device = device(&args.device)?;
    let model = Model::load(&dir, args.compiled, &device)?;
    // What cannot be written is said before hours of measuring.
    let json = args.json.as_deref().map(JsonFile::new).transpose()?;
    if let Some(folder) = &args.draw {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    let mut all = BTreeMap::new();
    for set in &setup.recipe.eval {
        let data = setup.eval_set(set)?;
        let summary = measure(&model, &setup, set, data.as_ref(), args)?;
        all.insert(set.name.clone(), summary);
    }
    json.map_or(Ok(()), |json| json.write(&all))
}

/// A file that appears when it is whole.
struct JsonFile {
    path: PathBuf,
    staged: tempfile::NamedTempFile,
}

impl JsonFile {
    fn new(path: &Path) -> Result<Self> {
        let staged = tempfile::NamedTempFile::new_in(files::parent(path)).map_err(Error::io("create", path))?;
        Ok(Self { path: path.to_path_buf(), staged })
    }

    fn write(mut self, all: &BTreeMap<String, Summary>) -> Result<()> {
        let fail = |e: std::io::Error| Error::io("write", &self.path)(e);
        serde_json::to_writer_pretty(&mut self.staged, all).map_err(|e| fail(e.into()))?;
        files::publish(self.staged, &self.path).map_err(Error::io("write", &self.path))
    }
}

/// A model on one of its two paths.
enum Model {
    Plain { model: Box<QrNet>, plan: CanvasPlan, device: Device },
    Compiled { grounder: Box<Grounder>, plan: CanvasPlan },
}

impl Model {
    fn load(dir: &ModelDir, compiled: bool, device: &Device) -> Result<Self> {
        let config = dir.config();
        own_positions(config)?;
        let plan = CanvasPlan::new(config, config.canvas, device).map_err(qrnet::Error::from)?;
        if compiled {
            return Ok(Self::Compiled { grounder: Box::new(Grounder::load(dir.path(), device)?), plan });
        }
        let (tensors, _) = weights::load(&dir.weights(), config, device)?;
        let model = QrNet::new(config, &weights::builder(&tensors, device)).map_err(qrnet::Error::from)?;
        Ok(Self::Plain { model: Box::new(model), plan, device: device.clone() })
    }

    fn plan(&self) -> &CanvasPlan {
        match self {
            Self::Plain { plan, .. } | Self::Compiled { plan, .. } => plan,
        }
    }

    fn answers(&self) -> Box<dyn Answers + '_> {
        match self {
            Self::Plain { model, plan, device } => Box::new(Plain { model, plan, device }),
            Self::Compiled { grounder, .. } => Box::new(Compiled(grounder)),
        }
    }
}

fn measure(model: &Model, setup: &Setup, set: &EvalSet, data: &dyn DataSet, args: &EvalArgs) -> Result<Summary> {
    let mut collator = Collator::new(model.plan(), &setup.tokenizer);
    let mut sheets = args.draw.as_deref().map(|folder| Sheets::new(folder, &set.name));
    let mut guess = Guess::default();
    let count = args.count.unwrap_or(usize::MAX);
    let tally = evaluate(model.answers().as_ref(), data, &mut collator, count, |seen| {
        guess.add(seen.example);
        if let Some(sheets) = &mut sheets {
            sheets.add(seen);
        }
    })?;
    let summary = tally.summary();
    print(set, &summary, &guess, args.compiled)?;
    if let Some(sheets) = sheets {
        for path in sheets.write()? {
            tracing::info!("{}", path.display());
        }
    }
    Ok(summary)
}

fn print(set: &EvalSet, summary: &Summary, guess: &Guess, compiled: bool) -> Result<()> {
    let text = || -> String {
        let accuracy = summary.all.accuracy.iter().map(|accuracy| {
            let error = accuracy.share.error.map_or_else(String::new, |error| format!(" ± {error:.4}"));
            format!("Acc@{:.1} {:.4}{error}\n", accuracy.iou, accuracy.share.value)
        });
        let path = if compiled { ", compiled" } else { "" };
        let mut text = format!("{}: {} examples{path}\n", set.name, summary.all.examples);
        text.extend(accuracy);
        let share = guess.share().map(|share| format!("a random object's true box would be right for {share:.4}\n"));
        text.extend(share);
        text + &format!("{summary}\n")
    };
    let out = std::path::Path::new("-");
    std::io::stdout().lock().write_all(text().as_bytes()).map_err(Error::io("write", out))
}

/// What a perfect detector would get that is deaf to the query: one of the picture's objects, at random.
#[derive(Default)]
struct Guess {
    sum: f64,
    count: usize,
}

impl Guess {
    fn add(&mut self, example: &Example) {
        if let (Some(_), Some(labels)) = (&example.target, &example.labels) {
            self.sum += 1.0 / labels.objects.len().max(1) as f64;
            self.count += 1;
        }
    }

    fn share(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}
