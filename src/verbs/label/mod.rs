//! `spotter label`: a large model's answers become labels that a small one learns from.

mod film;
mod pictures;
mod sheets;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blocks::preprocess::{Letterboxer, Picture, Rect};
use grounding::{CompiledQuery, Findings, Grounder};
use indicatif::{ProgressBar, ProgressStyle};
use records::Query;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::LabelArgs;
use crate::config::{load_model, threshold};
use crate::error::{Error, Result};
use crate::service::check_all;
use crate::source::is_picture;
use crate::stage::QuerySettings;
use crate::threads::use_threads;
use film::Film;
use pictures::Pictures;

/// # Errors
/// The model or a query is unusable, an input cannot be read, labels are there already or cannot be written.
pub(super) fn run(args: &LabelArgs) -> Result<()> {
    let asked = asked(args)?;
    let (pictures, films): (Vec<&PathBuf>, Vec<&PathBuf>) = args.inputs.iter().partition(|path| is_picture(path));
    if let (Some(text), Some(picture)) = (args.all.first(), pictures.first()) {
        return Err(Error::Usage(format!(
            "--all {text:?}: is for films, and {} is a picture, whose labels hold one box for a question; ask with --query",
            picture.display()
        )));
    }
    for input in &args.inputs {
        std::fs::metadata(input).map_err(Error::io("read", input))?;
    }
    let films: Vec<Film> = films.into_iter().map(|path| Film::new(path, args)).collect::<Result<_>>()?;
    let pictures = (!pictures.is_empty()).then(|| Pictures::new(pictures, args));
    let targets: Vec<&Path> =
        films.iter().flat_map(Film::targets).chain(pictures.iter().flat_map(Pictures::targets)).collect();
    check_targets(&targets, args.force)?;
    use_threads(args.threads)?;
    let grounder = load_model(args.model.as_deref(), &args.device, args.precision.into(), false)?;
    let threshold = threshold(args.threshold, &grounder)?;
    if let Some(text) = args.all.first().filter(|_| !grounder.gives_all()) {
        return Err(Error::Usage(format!("--all {text:?}: this model gives one box for a sentence; ask with --query")));
    }
    let compiled =
        asked.iter().map(|asked| grounder.compile(&asked.text)).collect::<grounding::Result<Vec<CompiledQuery>>>()?;
    let interrupt = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The first ends the work with what is labelled by then, the second at once.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupt))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&interrupt)))
            .map_err(|e| Error::Worker(format!("signals cannot be watched: {e}")))?;
    }
    if !args.out.is_dir() {
        std::fs::create_dir(&args.out).map_err(Error::io("create", &args.out))?;
    }
    let mut labeller =
        Labeller { grounder, compiled, asked, threshold, letterboxer: Letterboxer::default(), interrupt };
    for film in &films {
        film.label(&mut labeller)?;
    }
    pictures.map_or(Ok(()), |pictures| pictures.label(&mut labeller))
}

/// What is asked of every picture.
struct Asked {
    text: String,
    /// How reports call it.
    name: String,
    /// Whether all that match are wanted, and not the best alone.
    all: bool,
}

fn asked(args: &LabelArgs) -> Result<Vec<Asked>> {
    let of = |(text, all): (&String, bool)| Asked { text: text.clone(), name: Query::name_of(text), all };
    let one = args.query.iter().map(|text| (text, false));
    let asked: Vec<Asked> = one.chain(args.all.iter().map(|text| (text, true))).map(of).collect();
    let queries: Vec<QuerySettings> = asked.iter().map(|asked| QuerySettings::of(&asked.text)).collect();
    check_all(&queries).map_err(|reason| Error::Usage(format!("--query: {reason}")))?;
    // As the labels' readers compare phrases.
    let lowered: Vec<String> = asked.iter().map(|asked| asked.text.trim().to_lowercase()).collect();
    if let Some(place) = (0..lowered.len()).find(|&place| lowered[..place].contains(&lowered[place])) {
        return Err(Error::Usage(format!("--query {:?}: is asked twice", asked[place].text)));
    }
    Ok(asked)
}

/// No two inputs leave the same file, and none is replaced unasked.
fn check_targets(targets: &[&Path], force: bool) -> Result<()> {
    for (place, target) in targets.iter().enumerate() {
        let shown = target.display();
        if targets[..place].contains(target) {
            return Err(Error::Usage(format!("two films would be labelled in {shown}; label them into two folders")));
        }
        if target.exists() && !force {
            return Err(Error::Usage(format!(
                "{shown}: exists already; name another folder with --out, or replace it with --force (corrections stay)"
            )));
        }
    }
    Ok(())
}

/// Looks at one picture after the other.
struct Labeller {
    grounder: Grounder,
    compiled: Vec<CompiledQuery>,
    /// As many as compiled ones.
    asked: Vec<Asked>,
    threshold: Option<f32>,
    letterboxer: Letterboxer,
    interrupt: Arc<AtomicBool>,
}

/// One box of a picture.
struct Found {
    /// Which question, from 0.
    place: usize,
    rect: Rect,
    score: Option<f32>,
    /// In films.
    track: Option<u64>,
}

impl Labeller {
    /// What is found, by question.
    fn look(&mut self, picture: &Picture) -> Result<Vec<Findings>> {
        let canvas = self.grounder.canvas_for(picture.width, picture.height);
        let letterboxed = self.letterboxer.letterbox(&picture.view()?, canvas)?;
        let queries: Vec<&CompiledQuery> = self.compiled.iter().collect();
        let found = self.grounder.ground(&[&letterboxed], &queries)?;
        Ok(found.into_iter().next().unwrap_or_default())
    }

    fn is_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }
}

/// Whether there is anything to learn from a box: a pixel at least.
fn has_area(rect: &Rect) -> bool {
    rect.width() >= 1.0 && rect.height() >= 1.0
}

/// How far the work is, on terminals.
fn progress(name: &str, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{prefix}: {bar:30} {pos}/{len}, {eta} left"),
        None => (ProgressBar::no_length(), "{prefix}: {pos} frames labelled, {per_sec}"),
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_prefix(name.to_owned())
}
