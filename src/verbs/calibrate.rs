//! `spotter calibrate`: presence that means what it says.

use candle_core::Device;
use qrnet::{Config, ModelDir, NewModel, files, weights};
use qrnet_train::batch::Collator;
use qrnet_train::evaluate::{Compiled, evaluate};
use qrnet_train::metrics::{Calibration, auroc, balanced_threshold, calibration_error};
use qrnet_train::recipe::Recipe;
use qrnet_train::trainer::Setup;

use super::convert::dtype;
use super::eval::set_named;
use super::use_threads;
use crate::cli::CalibrateArgs;
use crate::config::load_model;
use crate::error::{Error, Result};

/// Weight and bias of the presence logit.
const HEAD: [&str; 2] = ["presence_embed.weight", "presence_embed.bias"];

/// # Errors
/// The set or the model is unusable, has no presence to calibrate, or the new model cannot be written.
pub(super) fn run(args: &CalibrateArgs) -> Result<()> {
    let recipe = Recipe::to_measure(&args.recipe)?;
    use_threads(args.threads)?;
    let set = set_named(&recipe, &args.split, &args.recipe)?;
    let dir = ModelDir::open(&args.model)?;
    if !dir.config().presence {
        let model = args.model.display();
        return Err(Error::Usage(format!("--model {model}: has no presence head, so there is nothing to calibrate")));
    }
    if args.out.exists() && !args.force {
        let out = args.out.display();
        return Err(Error::Usage(format!("--out {out}: exists already; name another folder or use --force")));
    }
    let grounder = load_model(Some(&args.model), &args.device, qrnet::Precision::F32, false)?;
    let setup =
        Setup::with_tokenizer(recipe, dir.config().clone(), dir.load_tokenizer()?, files::parent(&args.recipe))?;
    let data = setup.eval_set(&set)?;
    let mut collator = Collator::with_plans(grounder.plans(), &setup.tokenizer)?;
    let mut scored: Vec<(f32, bool)> = Vec::with_capacity(data.len());
    evaluate(&Compiled(&grounder), data.as_ref(), &mut collator, usize::MAX, |seen| {
        scored.extend(seen.presence.map(|presence| (logit(presence), seen.overlap.is_some())));
    })?;
    let one_sided = || {
        let there = scored.iter().filter(|(_, there)| *there).count();
        let found = format!("{there} of {} questions ask for what is there", scored.len());
        Error::Usage(format!("--split {}: {found}, expected some of both", args.split))
    };
    let found = Calibration::fit(&scored).ok_or_else(one_sided)?;
    let calibrated = |by: Calibration, scored: &[(f32, bool)]| -> Vec<(f32, bool)> {
        scored.iter().map(|(logit, there)| (sigmoid(by.apply(*logit)), *there)).collect()
    };
    let threshold = balanced_threshold(&calibrated(found, &scored)).ok_or_else(one_sided)?;
    let (first, second) = scored.split_at(scored.len() / 2);
    let crossed: Option<Vec<(f32, bool)>> = Calibration::fit(first)
        .zip(Calibration::fit(second))
        .map(|(of_first, of_second)| [calibrated(of_second, first), calibrated(of_first, second)].concat());
    let before: Vec<(f32, bool)> = scored.iter().map(|(logit, there)| (sigmoid(*logit), *there)).collect();
    let shown = |error: Option<f64>| error.map_or("unknown".to_owned(), |error| format!("{error:.4}"));
    let report = format!(
        "{} questions, AUROC {}; calibration error {} before, {} after (each half by what the other one tells); logit times \
         {:.4} and {:+.4}, threshold {threshold:.4}",
        scored.len(),
        shown(auroc(&scored).map(|estimate| estimate.value)),
        shown(calibration_error(&before)),
        shown(crossed.as_deref().and_then(calibration_error)),
        found.scale,
        found.shift,
    );
    tracing::info!("{}: {report}", set.name);
    let (mut tensors, _) = weights::load(&dir.weights(), dir.config(), &Device::Cpu)?;
    for (name, shift) in HEAD.into_iter().zip([0.0, found.shift]) {
        let tensor = tensors.get_mut(name).ok_or_else(|| Error::Usage(format!("the model has no tensor {name}")))?;
        *tensor = tensor.affine(found.scale, shift).map_err(qrnet::Error::from)?;
    }
    let config = Config { threshold: Some(threshold), ..dir.config().clone() };
    let path = args.model.join("README.md");
    let card = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let card = format!("{}\n\nPresence was calibrated on `{}`: {report}.\n", card.trim_end(), set.name);
    let dtype = dtype(args.dtype);
    let new = NewModel {
        config: &config,
        tensors: &tensors,
        dtype,
        tokenizer: &setup.tokenizer,
        card: &card,
        trained: dir.trained(),
    };
    ModelDir::write(&args.out, &new, args.force)?;
    tracing::info!("{}: written", args.out.display());
    Ok(())
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// Of a probability as f32 has it: neither 0 nor 1 is beyond all bounds.
fn logit(probability: f32) -> f32 {
    let p = f64::from(probability).clamp(1e-9, 1.0 - 1e-7);
    (p / (1.0 - p)).ln() as f32
}
