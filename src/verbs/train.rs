//! `spotter train`: a recipe becomes a model.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use blocks::files;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use qrnet::{ModelDir, NewModel};
use qrnet_train::checkpoint::{self, Checkpoint};
use qrnet_train::recipe::Recipe;
use qrnet_train::trainer::{Control, End, Progress, Setup, Trainer};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::{film, preview};
use crate::cli::TrainArgs;
use crate::config::{device, model_variant};
use crate::error::{Error, Result};
use crate::source::Films;
use crate::threads::use_threads;

/// # Errors
/// The recipe or its data is unusable, the loss is no number, or the run was interrupted.
pub(super) fn run(args: &TrainArgs) -> Result<()> {
    let recipe = Recipe::from_file(&args.recipe)?;
    let base = files::parent(&args.recipe);
    let config = model_variant(&format!("{}: `model`", args.recipe.display()), &recipe.model, base)?;
    use_threads(args.threads)?;
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(&recipe.name));
    let setup = Setup::new(recipe, config, base)?.with_video(Arc::new(Films));
    if let Some(count) = args.preview {
        return preview::draw(&setup, &out, count);
    }
    if let Some(seconds) = args.film {
        let wanted = film::Wanted { seconds, number: args.film_number, over: args.film_over.as_deref() };
        return film::write(&setup, &out, &wanted);
    }
    if out.exists() && !out.is_dir() {
        return Err(Error::Usage(format!("--out {}: is no folder", out.display())));
    }
    let newest = checkpoint::list(&out)?.last().map(|(step, _)| *step);
    match (newest, args.resume) {
        (Some(step), false) => {
            return Err(Error::Usage(format!(
                "{}: holds a run at step {step}; go on with --resume or name another folder with --out",
                out.display()
            )));
        }
        (None, true) => {
            return Err(Error::Usage(format!("--resume: {} holds no checkpoint", out.display())));
        }
        _ => {}
    }
    let device = device(&args.device)?;
    let (mut trainer, report) = Trainer::new(setup, &device)?;
    if !report.loaded.is_empty() {
        tracing::info!("{}", report.to_string().trim_end());
    }
    std::fs::create_dir_all(&out).map_err(Error::io("create", &out))?;
    if args.resume
        && let Some(checkpoint) = Checkpoint::newest(&out, &device)?
    {
        trainer.restore(&checkpoint)?;
        tracing::info!("{}: going on at step {}", out.display(), checkpoint.step);
    }
    keep_recipe(&args.recipe, &out.join("recipe.toml"), trainer.step())?;
    train(&mut trainer, args, &out)
}

/// Writes down what the run was told. The recipe may be the very copy that an earlier start left.
fn keep_recipe(recipe: &Path, kept: &Path, step: u64) -> Result<()> {
    let text = std::fs::read(recipe).map_err(Error::io("read", recipe))?;
    match std::fs::read(kept) {
        Ok(before) if before == text => return Ok(()),
        Ok(_) => {
            let older = kept.with_file_name(format!("recipe-until-{step:08}.toml"));
            std::fs::rename(kept, &older).map_err(Error::io("write", &older))?;
            tracing::warn!("the recipe has changed since the run was last started; the old one is {}", older.display());
        }
        Err(_) => {}
    }
    std::fs::write(kept, text).map_err(Error::io("write", kept))
}

fn train(trainer: &mut Trainer, args: &TrainArgs, out: &Path) -> Result<()> {
    let interrupt = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The first ends the run cleanly, the second at once.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupt))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&interrupt)))
            .map_err(|e| Error::Worker(format!("signals cannot be watched: {e}")))?;
    }
    let steps = trainer.setup().recipe.steps;
    let bar = ProgressBar::new(steps);
    bar.set_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} steps, {msg}, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.set_position(trainer.step());
    let (start, first) = (Instant::now(), trainer.step());
    let plain = bar.is_hidden();
    let mut lines = 0u64;
    let mut progress = |p: &Progress| {
        if let Some((set, summary)) = p.measured {
            bar.suspend(|| tracing::info!("step {}: {set}: {}", p.step, headline(summary)));
            return;
        }
        let message =
            format!("loss {:.3}, {:.0} examples/s, {:.0} % waiting for data", p.loss, p.rate, 100.0 * p.waiting);
        bar.set_position(p.step);
        bar.set_message(message.clone());
        // Without a terminal, a line now and then.
        if plain && lines.is_multiple_of(25) {
            let left = start.elapsed().mul_f64((p.steps - p.step) as f64 / (p.step - first).max(1) as f64);
            tracing::info!("step {} of {}: {message}, {} left", p.step, p.steps, HumanDuration(left));
        }
        lines += 1;
    };
    let end = trainer.run(Control {
        out,
        interrupt: &interrupt,
        stop_after: args.stop_after,
        threads: args.data_threads,
        progress: &mut progress,
    });
    bar.finish_and_clear();
    match end? {
        End::Interrupted => {
            tracing::info!("{}: stopped at step {} of {steps}; go on with --resume", out.display(), trainer.step());
            Err(Error::Interrupted)
        }
        End::Finished => {
            let dir = write_model(trainer, args, out)?;
            let minutes = start.elapsed().as_secs_f64() / 60.0;
            tracing::info!("{}: {steps} steps made, the last of them in {minutes:.1} minutes", dir.path().display());
            Ok(())
        }
    }
}

fn headline(summary: &qrnet_train::metrics::Summary) -> String {
    let scalars = summary.all.scalars();
    scalars.iter().map(|(name, value)| format!("{name} {value:.3}")).collect::<Vec<_>>().join(", ")
}

fn write_model(trainer: &Trainer, args: &TrainArgs, out: &Path) -> Result<ModelDir> {
    let setup = trainer.setup();
    let recipe = &setup.recipe;
    let tensors = trainer.weights();
    let count: usize = tensors.values().map(candle_core::Tensor::elem_count).sum();
    let card = format!(
        "# {}\n\nTrained by `spotter train {}`.\n\n- {count} parameters, canvas {}\n- {} steps of {} examples\n",
        recipe.name,
        args.recipe.file_name().unwrap_or_default().to_string_lossy(),
        setup.config.canvas,
        recipe.steps,
        recipe.step_examples(),
    );
    let new = NewModel {
        config: &setup.config,
        tensors: &tensors,
        dtype: super::convert::dtype(args.dtype),
        tokenizer: &setup.tokenizer,
        card: &card,
        trained: true,
    };
    Ok(ModelDir::write(&out.join("model"), &new, true)?)
}
