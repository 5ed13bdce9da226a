//! `spotter eval`: a model and a recipe's evaluation sets become numbers, and pictures of hits and misses.

mod film;
mod sheet;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blocks::files;
use blocks::text::tokenizer::QueryTokenizer;
use candle_core::Device;
use clap::ValueEnum;
use grounding::{Family, Grounder, load_tokenizer};
use qrnet::plan::CanvasPlan;
use qrnet::{Config, ModelDir, QrNet, weights};
use qrnet_train::data::clip::Baselines;
use qrnet_train::data::{Example, Guesses};
use qrnet_train::evaluate::{Answers, Compiled, Plain, evaluate};
use qrnet_train::expressions::questions;
use qrnet_train::metrics::{Estimate, IdentityFigures, Summary};
use qrnet_train::recipe::{EvalSet, Recipe};
use qrnet_train::trainer::EvalSetup;
use serde::Serialize;

use crate::cli::{ComputeArg, EvalArgs, Measuring};
use crate::config::{chosen_or_fetched, device, load_model};
use crate::error::{Error, Result};
use crate::source::Films;
use crate::threads::use_threads;
use film::{Records, Streaming};
use sheet::Sheets;

/// # Errors
/// The recipe, its data or the model is unusable, or an output cannot be written.
pub(super) fn run(args: &EvalArgs) -> Result<()> {
    if args.precision != ComputeArg::F32 && !args.records.is_empty() {
        return Err(Error::Usage("--precision: has no meaning for --records, whose boxes are there already".into()));
    }
    if !args.streaming && args.measuring != Measuring::default() {
        let flags = "--stride, --max-fps, --static-gate, --threshold, --hysteresis, --smooth and --hold";
        return Err(Error::Usage(format!("{flags}: are for --streaming")));
    }
    let mut recipe = to_measure(&args.recipe, args.split.as_deref())?;
    let base = files::parent(&args.recipe);
    if let Some(folder) = &args.write_questions {
        return write_questions(&recipe, base, folder);
    }
    use_threads(args.threads)?;
    let trained = film::trained_on(&recipe, base);
    // What is trained on need not be there.
    recipe.phase.clear();
    // What cannot be written is said before hours of measuring.
    if let Some(folder) = args.draw.as_ref().filter(|folder| folder.exists() && !folder.is_dir()) {
        return Err(Error::Usage(format!("--draw {}: is no folder", folder.display())));
    }
    let answers = AnswerSource::open(recipe.clone(), args, base)?;
    let json = args.json.as_deref().map(JsonFile::new).transpose()?;
    if let Some(folder) = &args.draw {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    let mut all = BTreeMap::new();
    for set in &recipe.eval {
        let measured = answers.measure(set, base)?;
        let baselines = film::baselines(set, base, &trained)?;
        print(set, &measured, baselines.as_ref(), args)?;
        let Measured { summary: figures, guesses, .. } = measured;
        all.insert(set.name.clone(), Report { figures, baselines, guesses });
    }
    json.map_or(Ok(()), |json| json.write(&all))
}

/// Writes the fixed questions of all sets, a file for each list.
///
/// # Errors
/// None of the sets has any, their data cannot be read, or a file cannot be written.
fn write_questions(recipe: &Recipe, base: &Path, folder: &Path) -> Result<()> {
    let mut written = false;
    for list in recipe.eval.iter().flat_map(|set| &set.lists) {
        let Some((set, all)) = list.fixed_questions(base)? else { continue };
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let file = folder.join(format!("{}.jsonl", list.name()));
        questions::write(&set, &all, &file)?;
        tracing::info!("{}: {} questions", file.display(), all.len());
        written = true;
    }
    if !written {
        let reason = "none of its sets has fixed questions, expected a list with `ask = { questions = \"names\" }`";
        return Err(Error::Usage(format!("--write-questions: {}: {reason}", recipe.name)));
    }
    Ok(())
}

/// The recipe in `file`, of its evaluation sets that which `split` names, or all.
///
/// # Errors
/// It cannot be read, or has no such set.
pub(super) fn to_measure(file: &Path, split: Option<&str>) -> Result<Recipe> {
    let mut recipe = Recipe::to_measure(file)?;
    let names: Vec<String> = recipe.eval.iter().map(|set| set.name.clone()).collect();
    recipe.eval.retain(|set| split.is_none_or(|name| set.name == name));
    if recipe.eval.is_empty() {
        let asked = split.map_or_else(String::new, |name| format!("--split {name}: "));
        let file = file.display();
        return Err(Error::Usage(format!("{asked}{file} has no such evaluation set; it has: {}", names.join(", "))));
    }
    Ok(recipe)
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

    fn write(mut self, all: &BTreeMap<String, Report>) -> Result<()> {
        let fail = |e: std::io::Error| Error::io("write", &self.path)(e);
        serde_json::to_writer_pretty(&mut self.staged, all).map_err(|e| fail(e.into()))?;
        files::publish(self.staged, &self.path).map_err(Error::io("write", &self.path))
    }
}

/// What is told of a set.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    figures: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    baselines: Option<Baselines>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guesses: Option<Guesses>,
}

/// A set, measured.
struct Measured {
    summary: Summary,
    guess: Guess,
    guesses: Option<Guesses>,
}

/// Where answers come from.
enum AnswerSource<'a> {
    /// A model looks at every example.
    Model { model: Box<Model>, setup: Box<EvalSetup>, args: &'a EvalArgs },
    /// Films are streamed.
    Streaming(Streaming<'a>),
    /// They were recorded before.
    Records(Records),
}

impl<'a> AnswerSource<'a> {
    fn open(recipe: Recipe, args: &'a EvalArgs, base: &Path) -> Result<Self> {
        if !args.records.is_empty() {
            let mut records = Records::default();
            args.records.iter().try_for_each(|file| records.read(file))?;
            return Ok(Self::Records(records));
        }
        if args.streaming {
            return Ok(Self::Streaming(Streaming::new(args)?));
        }
        let model = Model::load(args)?;
        // A model is measured with its own words.
        let setup = EvalSetup::new(recipe, model.tokenizer.clone(), base, Arc::new(Films))?;
        Ok(Self::Model { model: Box::new(model), setup: Box::new(setup), args })
    }

    fn measure(&self, set: &EvalSet, base: &Path) -> Result<Measured> {
        let of_records = |records: &Records| -> Result<Measured> {
            Ok(Measured { summary: records.score(set, base)?.summary(), guess: Guess::default(), guesses: None })
        };
        match self {
            Self::Records(records) => of_records(records),
            Self::Streaming(streaming) => of_records(&streaming.records(set, base)?),
            Self::Model { model, setup, args } => measure(model, setup, set, args),
        }
    }
}

/// A model on one of its paths.
struct Model {
    tokenizer: QueryTokenizer,
    path: ModelPath,
}

enum ModelPath {
    /// A `QRNet` as it is trained.
    Plain { model: Box<QrNet>, config: Box<Config>, plans: Vec<CanvasPlan>, device: Device },
    /// Any model, as in streaming.
    Compiled(Box<Grounder>),
}

impl Model {
    fn load(args: &EvalArgs) -> Result<Self> {
        let device = device(&args.device)?;
        let dir = chosen_or_fetched(args.model.as_deref())?
            .ok_or_else(|| Error::Usage("--model DIR: is needed to measure a model, or SPOTTER_MODEL".into()))?;
        let tokenizer = load_tokenizer(&dir)?;
        if args.is_compiled() || Family::of(&dir)? != Family::QrNet {
            let grounder = load_model(Some(&dir), &args.device, args.precision.into(), false)?;
            return Ok(Self { tokenizer, path: ModelPath::Compiled(Box::new(grounder)) });
        }
        let dir = ModelDir::open(&dir)?;
        let config = Box::new(dir.config().clone());
        let plan = |canvas| CanvasPlan::new(&config, canvas, &device).map_err(qrnet::Error::from);
        let plans = config.all_canvases().into_iter().map(plan).collect::<qrnet::Result<_>>()?;
        let (tensors, _) = weights::load(&dir.weights(), &config, &device)?;
        let model = QrNet::new(&config, &weights::builder(&tensors, &device)).map_err(qrnet::Error::from)?;
        Ok(Self { tokenizer, path: ModelPath::Plain { model: Box::new(model), config, plans, device } })
    }

    fn answers(&self) -> Box<dyn Answers + '_> {
        match &self.path {
            ModelPath::Plain { model, config, plans, device } => {
                Box::new(Plain { model, config, tokenizer: &self.tokenizer, plans, device })
            }
            ModelPath::Compiled(grounder) => Box::new(Compiled::new(grounder)),
        }
    }
}

fn measure(model: &Model, setup: &EvalSetup, set: &EvalSet, args: &EvalArgs) -> Result<Measured> {
    let data = setup.eval_set(set)?;
    let mut sheets = args.draw.as_deref().map(|folder| Sheets::new(folder, &set.name));
    let mut guess = Guess::default();
    let count = args.count.unwrap_or(usize::MAX);
    let tally = evaluate(model.answers().as_ref(), data.as_ref(), count, |seen| {
        guess.add(seen.example);
        if let Some(sheets) = &mut sheets {
            sheets.add(seen);
        }
    })?;
    if let Some(sheets) = sheets {
        for path in sheets.write()? {
            tracing::info!("{}", path.display());
        }
    }
    let summary = tally.summary();
    // Nothing is told that was not asked the same questions.
    let guesses = data.guesses().filter(|guesses| guesses.present == summary.all.present);
    Ok(Measured { summary, guess, guesses })
}

fn print(set: &EvalSet, measured: &Measured, baselines: Option<&Baselines>, args: &EvalArgs) -> Result<()> {
    let out = std::path::Path::new("-");
    let text = text(set, measured, baselines, args);
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(Error::io("write", out))
}

fn text(set: &EvalSet, measured: &Measured, baselines: Option<&Baselines>, args: &EvalArgs) -> String {
    let all = &measured.summary.all;
    let shown = |estimate: &Estimate| {
        let error = estimate.error.map_or_else(String::new, |error| format!(" ± {error:.4}"));
        format!("{:.4}{error}", estimate.value)
    };
    let path = match (args.streaming, args.is_compiled()) {
        (true, _) => ", streaming",
        (_, true) => ", compiled",
        _ => "",
    };
    let precision = args.precision.to_possible_value().filter(|_| args.precision != ComputeArg::F32);
    let precision = precision.map_or_else(String::new, |value| format!(", {}", value.get_name()));
    let mut lines = vec![format!("{}: {} examples{path}{precision}", set.name, all.examples)];
    lines.extend(all.accuracy.iter().map(|a| format!("Acc@{:.1} {}", a.iou, shown(&a.share))));
    lines.extend(all.right.as_ref().map(|right| format!("right, absences included, {}", shown(right))));
    if let Some(film) = &all.film {
        lines.extend(film.viou.as_ref().map(|viou| format!("vIoU {} over {} tubes", shown(viou), film.tubes)));
        lines.extend(film.viou_above.iter().map(|(least, share)| format!("vIoU@{least} {share:.4}")));
        lines.extend(film.identity.as_ref().map(identity));
    }
    let guess = measured.guess.share();
    lines.extend(guess.map(|share| format!("a random object's true box would be right for {share:.4}")));
    let guesses = measured.guesses.iter().flat_map(Guesses::named);
    lines.extend(guesses.map(|(name, share)| format!("Acc@0.5 of {name} {share:.4}")));
    if let Some(Baselines { mean_box, random_person, always_absent }) = baselines {
        let boxes = [("its mean box in training", mean_box), ("a random labelled person", random_person)];
        let boxes = boxes.into_iter().filter_map(|(name, share)| Some((name, (*share)?)));
        lines.extend(boxes.map(|(name, share)| format!("Acc@0.5 of {name} {share:.4}")));
        lines.push(format!("right by \"not here\" on every frame {always_absent:.4}"));
    }
    lines.push(measured.summary.to_string());
    lines.join("\n") + "\n"
}

/// Whether things keep their ids.
fn identity(figures: &IdentityFigures) -> String {
    let IdentityFigures { hota, det_a, ass_a, idf1, mota, id_switches } = figures;
    let switches = if *id_switches == 1 { "switch" } else { "switches" };
    format!(
        "HOTA {hota:.4} (DetA {det_a:.4}, AssA {ass_a:.4}), IDF1 {idf1:.4}, MOTA {mota:.4}, {id_switches} id {switches}"
    )
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
