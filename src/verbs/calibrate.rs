//! `spotter calibrate`: presence that means what it says.

use std::path::Path;
use std::sync::Arc;

use blocks::checkpoint::TensorFile;
use blocks::files;
use candle_core::Device;
use grounding::{CALIBRATION, Family, Grounder, Placement, load_tokenizer, logit};
use qrnet::weights;
use qrnet::{Config, ModelDir, NewModel};
use qrnet_train::evaluate::{Compiled, evaluate};
use qrnet_train::metrics::{Calibration, auroc, best_threshold, calibration_error};
use qrnet_train::recipe::Recipe;
use qrnet_train::trainer::EvalSetup;

use super::convert::dtype;
use super::eval::to_measure;
use crate::cli::CalibrateArgs;
use crate::config::{device, load_model};
use crate::error::{Error, Result};
use crate::models::{find, hold};
use crate::source::Films;
use crate::threads::use_threads;

/// Weight and bias of the presence logit.
const HEAD: [&str; 2] = ["presence_embed.weight", "presence_embed.bias"];

/// What the card says of it, in front of the report.
const IN_CARD: &str = "Presence was calibrated on ";

/// # Errors
/// The set or the model is unusable, has no presence to calibrate, ranks it the wrong way around, or the new model cannot be
/// written.
pub(super) fn run(args: &CalibrateArgs) -> Result<()> {
    if !(args.prevalence > 0.0 && args.prevalence < 1.0) {
        let given = args.prevalence;
        return Err(Error::Usage(format!("--prevalence {given}: expected a share between 0 and 1, neither of them")));
    }
    let mut recipe = to_measure(&args.recipe, Some(&args.split))?;
    recipe.phase.clear();
    use_threads(args.threads)?;
    let model = find(&args.model)?;
    match Family::of(&model)? {
        Family::QrNet => within(args, recipe, &model),
        Family::GroundingDino => beside(args, recipe, &model),
    }
}

/// A file in the model's own folder says how its scores become probabilities.
fn beside(args: &CalibrateArgs, recipe: Recipe, model: &Path) -> Result<()> {
    let given = [args.out.as_ref().map(|_| "--out"), args.dtype.map(|_| "--dtype")];
    if let Some(flag) = given.into_iter().flatten().next() {
        let reason = format!("has no meaning for this model, beside whose weights {CALIBRATION} is written");
        return Err(Error::Usage(format!("{flag}: {reason}")));
    }
    let file = model.join(CALIBRATION);
    if file.exists() && !args.force {
        return Err(Error::Usage(format!("{}: exists already; replace it with --force", file.display())));
    }
    let place = Placement { device: device(&args.device)?, precision: grounding::Precision::F32 };
    let _held = hold(model);
    let grounder = Grounder::load_uncalibrated(model, place)?;
    let (found, threshold, report) = calibrated(args, &scored(args, recipe, (model, &grounder))?)?;
    tracing::info!("{}: {report}", args.split);
    let measured = format!("{}: {report}", args.split);
    let own = grounding::Calibration::new(grounder.digest(), found.scale.recip(), found.shift, threshold, &measured);
    own.save(model)?;
    tracing::info!("{}: written", file.display());
    Ok(())
}

/// A new model has the calibration in its own weights.
fn within(args: &CalibrateArgs, recipe: Recipe, model: &Path) -> Result<()> {
    let dir = ModelDir::open(model)?;
    let out = args.out.as_ref();
    let out = out.ok_or_else(|| Error::Usage("--out DIR: is needed, where the calibrated model goes".into()))?;
    if !dir.config().presence {
        let model = model.display();
        return Err(Error::Usage(format!("--model {model}: has no presence head, so there is nothing to calibrate")));
    }
    // What cannot be written is said before anything is measured.
    ModelDir::check_free(out, args.force)?;
    let card = std::fs::read_to_string(model.join("README.md")).unwrap_or_default();
    let grounder = load_model(Some(dir.path()), &args.device, grounding::Precision::F32, false)?;
    let (found, threshold, report) = calibrated(args, &scored(args, recipe, (model, &grounder))?)?;
    tracing::info!("{}: {report}", args.split);
    let file = TensorFile::open(&dir.weights())?;
    let own = weights::stored_as(&file);
    let (mut tensors, _) = weights::load(&dir.weights(), dir.config(), &Device::Cpu)?;
    for (name, shift) in HEAD.into_iter().zip([0.0, found.shift]) {
        let tensor = tensors.get_mut(name).ok_or_else(|| Error::Usage(format!("the model has no tensor {name}")))?;
        *tensor = tensor.affine(found.scale, shift).map_err(qrnet::Error::from)?;
    }
    let earlier = |line: &&str| !line.starts_with(IN_CARD);
    let card: Vec<&str> = card.lines().filter(earlier).collect();
    let card = format!("{}\n\n{IN_CARD}`{}`: {report}.\n", card.join("\n").trim_end(), args.split);
    let new = NewModel {
        config: &Config { threshold: Some(threshold), ..dir.config().clone() },
        tensors: &tensors,
        dtype: args.dtype.map_or(own, dtype),
        tokenizer: &dir.load_tokenizer()?,
        card: &card,
        trained: dir.trained(),
    };
    ModelDir::write(out, &new, args.force)?;
    tracing::info!("{}: written", out.display());
    Ok(())
}

/// A logit of presence, whether the thing is there, and which half of the set it belongs to: every other picture is of the
/// second.
struct Scored {
    logit: f32,
    there: bool,
    second: bool,
}

/// What the loaded model of the folder `model` says of the set.
fn scored(args: &CalibrateArgs, recipe: Recipe, (model, grounder): (&Path, &Grounder)) -> Result<Vec<Scored>> {
    let set = recipe.eval[0].clone();
    let tokenizer = load_tokenizer(model)?;
    let setup = EvalSetup::new(recipe, tokenizer, files::parent(&args.recipe), Arc::new(Films))?;
    let data = setup.eval_set(&set)?;
    let mut scored: Vec<Scored> = Vec::with_capacity(data.len());
    let (mut second, mut last) = (true, None);
    evaluate(&Compiled::new(grounder), data.as_ref(), usize::MAX, |seen| {
        let picture = &seen.example.picture;
        if last.as_ref().is_none_or(|last| !Arc::ptr_eq(last, picture)) {
            (second, last) = (!second, Some(Arc::clone(picture)));
        }
        let there = seen.overlap.is_some();
        scored.extend(seen.presence.map(|presence| Scored { logit: logit(presence) as f32, there, second }));
    })?;
    Ok(scored)
}

/// What was found, the threshold that suits it, and both in words.
fn calibrated(args: &CalibrateArgs, scored: &[Scored]) -> Result<(Calibration, f32, String)> {
    let split = &args.split;
    let pairs = |of: &dyn Fn(&Scored) -> bool| -> Vec<(f32, bool)> {
        scored.iter().filter(|one| of(one)).map(|one| (one.logit, one.there)).collect()
    };
    let by = |by: Calibration, scored: &[(f32, bool)]| -> Vec<(f32, bool)> {
        scored.iter().map(|(logit, there)| (by.probability(*logit), *there)).collect()
    };
    let all = pairs(&|_| true);
    let one_sided = || {
        let there = all.iter().filter(|(_, there)| *there).count();
        let found = format!("{there} of {} questions ask for what is there", all.len());
        Error::Usage(format!("--split {split}: {found}, expected some of both"))
    };
    let found = Calibration::fit(&all).ok_or_else(one_sided)?;
    let ranked = auroc(&all).ok_or_else(one_sided)?.value;
    if found.scale <= 0.0 {
        return Err(Error::Usage(format!(
            "--split {split}: presence is the lower where things are there (AUROC {ranked:.4}), expected a set and a model that agree"
        )));
    }
    let threshold = best_threshold(&by(found, &all), args.prevalence).ok_or_else(one_sided)?;
    let halves = [pairs(&|one| !one.second), pairs(&|one| one.second)];
    let fits = [Calibration::fit(&halves[0]), Calibration::fit(&halves[1])];
    let crossed = match fits {
        [Some(first), Some(second)] => calibration_error(&[by(second, &halves[0]), by(first, &halves[1])].concat()),
        _ => None,
    };
    let before = calibration_error(&by(Calibration::NONE, &all));
    if crossed.zip(before).is_none_or(|(after, before)| after >= before) {
        tracing::warn!("{split}: {} questions are too few to make presence better than it is", all.len());
    }
    let shown = |error: Option<f64>| error.map_or("unknown".to_owned(), |error| format!("{error:.4}"));
    let report = format!(
        "{} questions, AUROC {ranked:.4}; calibration error {} before, {} after (every other picture by what the rest tells); logit \
         times {:.4} and {:+.4}; threshold {threshold:.4}, for things that are there in {:.0} % of questions",
        all.len(),
        shown(before),
        shown(crossed),
        found.scale,
        found.shift,
        100.0 * args.prevalence,
    );
    Ok((found, threshold, report))
}
