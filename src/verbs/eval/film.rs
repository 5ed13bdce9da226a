//! Labelled films: records of runs against their labels, runs made for the purpose, and what others would get.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use blocks::preprocess::Rect;
use crossbeam_channel::bounded;
use grounding::Grounder;
use qrnet_train::data::Source;
use qrnet_train::data::clip::{Baselines, ClipLabels, Recorded, score};
use qrnet_train::metrics::Tally;
use qrnet_train::recipe::{EvalSet, Recipe};
use records::{FRAME_SCHEMA, RecordPlace};
use serde::Deserialize;

use crate::cli::{EvalArgs, OutArg, RunArgs};
use crate::config::{QueryEntry, RunSettings, load_model, threshold};
use crate::error::{Error, Result};
use crate::run::ground_file;
use crate::service::Service;
use crate::stage::Model;

/// Labels of the films that a recipe trains on, as far as they are there.
pub(super) fn trained_on(recipe: &Recipe, base: &Path) -> Vec<ClipLabels> {
    let lists = recipe.phase.iter().flat_map(|phase| &phase.lists);
    lists.filter_map(|list| list.clip_labels(base).ok().flatten()).collect()
}

/// What a set's labels are worth without a model; none for sets that are no films.
pub(super) fn baselines(set: &EvalSet, base: &Path, trained: &[ClipLabels]) -> Result<Option<Baselines>> {
    let labels = clips(set, base)?;
    Ok(labels.first().map(|(_, labels)| Baselines::of(labels, trained)).filter(|_| labels.len() == 1))
}

fn clips<'a>(set: &'a EvalSet, base: &Path) -> Result<Vec<(&'a Source, ClipLabels)>> {
    let labelled = |list: &'a Source| list.clip_labels(base).map(|labels| Some((list, labels?))).transpose();
    Ok(set.lists.iter().filter_map(labelled).collect::<qrnet_train::Result<_>>()?)
}

/// Records by film, sentence and frame, from 1. A film is known by the name of its file.
#[derive(Default)]
pub(super) struct Records(HashMap<(OsString, String), HashMap<u64, Recorded>>);

/// What a film is known by.
fn film_name(path: &Path) -> OsString {
    path.file_name().unwrap_or_default().to_owned()
}

#[derive(Deserialize)]
struct Line {
    schema: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    status: String,
    frame_index: Option<u64>,
    resolution: Option<Size>,
    #[serde(default)]
    queries: Vec<Claim>,
    #[serde(default)]
    objects: Vec<Object>,
}

/// Events hold counts of queries in its place.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Claim {
    name: String,
    text: String,
    status: String,
    presence: Option<f32>,
}

#[derive(Deserialize)]
struct Object {
    query: String,
    id: u64,
    #[serde(rename = "box")]
    boxed: Sides,
}

#[derive(Deserialize)]
struct Sides {
    x: f64,
    y: f64,
    w: f64,
    h: f64,
}

impl Sides {
    fn rect(&self) -> Rect {
        Rect { x0: self.x, y0: self.y, x1: self.x + self.w, y1: self.y + self.h }
    }
}

#[derive(Deserialize)]
struct Size {
    width: f64,
    height: f64,
}

impl Records {
    /// Adds what stands in a file of `spotter.frame/2`.
    ///
    /// # Errors
    /// It cannot be read, a line is no JSON, or a frame stands there twice, or an id of a query on one frame.
    pub(super) fn read(&mut self, path: &Path) -> Result<()> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        // Whether the last frame that was looked at denied it: frames between carry that, as they carry a box.
        let mut denied: HashMap<(OsString, String), bool> = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let fail = |reason: String| Error::Usage(format!("{}, line {}: {reason}", path.display(), number + 1));
            let line: Line = serde_json::from_str(line).map_err(|e| fail(e.to_string()))?;
            let (Some(index), Some(size), true) = (line.frame_index, &line.resolution, line.schema == FRAME_SCHEMA)
            else {
                continue;
            };
            for claim in line.queries {
                let key = (film_name(Path::new(&line.source)), claim.text);
                let shown = format!("frame_index {index} of {:?} on {}", key.1, key.0.display());
                // The best one stands first.
                let objects = line.objects.iter().filter(|object| object.query == claim.name);
                let claimed: Vec<(u64, Rect)> = objects.map(|object| (object.id, object.boxed.rect())).collect();
                let mut ids = BTreeSet::new();
                if let Some((id, _)) = claimed.iter().find(|(id, _)| !ids.insert(*id)) {
                    return Err(fail(format!("{shown} has id {id} twice, expected an id for each thing")));
                }
                let denies = match claim.status.as_str() {
                    "absent" => true,
                    "box" => false,
                    _ => denied.get(&key).copied().unwrap_or(false),
                };
                denied.insert(key.clone(), denies);
                let is_lost = ["dropped", "error"].contains(&line.status.as_str());
                let answered = !claimed.is_empty() || (denies && !is_lost);
                let size = (size.width, size.height);
                let recorded = Recorded { claimed, answered, presence: claim.presence, size };
                if self.0.entry(key).or_default().insert(index + 1, recorded).is_some() {
                    return Err(fail(format!("{shown} stands there twice")));
                }
            }
        }
        Ok(())
    }

    /// Compares them with a set's labels.
    ///
    /// # Errors
    /// The set is no film, nothing is recorded of it, or a frame is lacking.
    pub(super) fn score(&self, set: &EvalSet, base: &Path) -> Result<Tally> {
        let mut all = Tally::default();
        for (list, labels) in clips(set, base)? {
            let Source::Clip { clip, .. } = list else { continue };
            let film = film_name(clip);
            let answer =
                |phrase: &str, frame: u64| self.0.get(&(film.clone(), phrase.to_owned()))?.get(&frame).cloned();
            let tally = score(&list.name(), &labels, answer).map_err(|(phrase, frame)| {
                let reason = format!("the records of {phrase:?} lack frame {frame} (frame_index {})", frame - 1);
                Error::Usage(format!("{}: {reason}", set.name))
            })?;
            all.append(tally);
        }
        if all.is_empty() {
            let films: BTreeSet<String> = self.0.keys().map(|(film, _)| film.display().to_string()).collect();
            let films = films.into_iter().collect::<Vec<_>>().join(", ");
            let reason = "nothing is recorded of any of its phrases on its film";
            return Err(Error::Usage(format!("{}: {reason}; there are records of: {films}", set.name)));
        }
        Ok(all)
    }
}

/// What streams: a model, and flags as those of `run`.
pub(super) struct Streaming<'a> {
    args: &'a EvalArgs,
    grounder: Arc<Grounder>,
    folder: tempfile::TempDir,
}

impl<'a> Streaming<'a> {
    /// # Errors
    /// The model cannot be loaded, or there is no room for records.
    pub(super) fn new(args: &'a EvalArgs) -> Result<Self> {
        crate::pipeline::init()?;
        let grounder = Arc::new(load_model(args.model.as_deref(), &args.device, args.precision.into(), false)?);
        let folder = tempfile::tempdir().map_err(Error::io("create", &std::env::temp_dir()))?;
        Ok(Self { args, grounder, folder })
    }

    /// Records of runs over a set's film, one for every phrase.
    ///
    /// # Errors
    /// The set is no film, or a run fails.
    pub(super) fn records(&self, set: &EvalSet, base: &Path) -> Result<Records> {
        let mut records = Records::default();
        let clips = clips(set, base)?;
        if clips.is_empty() {
            return Err(Error::Usage(format!("--streaming: {} has no films", set.name)));
        }
        for (list, labels) in clips {
            let Some(clip) = list.film(base)? else { continue };
            let clip = clip.display().to_string();
            let last = labels.frames().last().copied().unwrap_or(0);
            let asked = labels.referents().iter();
            let asked: Vec<(&String, bool)> =
                asked.flat_map(|referent| referent.phrases.iter().map(move |phrase| (phrase, referent.all))).collect();
            for (number, &(phrase, all)) in asked.iter().enumerate() {
                if records.0.contains_key(&(film_name(Path::new(&clip)), phrase.clone())) {
                    continue;
                }
                let file = self.folder.path().join(format!("{}-{number}.jsonl", set.name));
                tracing::info!("{}: {} of {}: {phrase}", set.name, number + 1, asked.len());
                self.run(&clip, (phrase, all), &file, last)?;
                records.read(&file)?;
            }
        }
        Ok(records)
    }

    /// One run that asks for one thing, or for all of them where the model can give all, as far as frame `last`, from 1.
    fn run(&self, clip: &str, (phrase, all): (&str, bool), file: &Path, last: u64) -> Result<()> {
        const TICK: Duration = Duration::from_millis(50);
        let settings = RunSettings::resolve(RunArgs {
            source: vec![clip.to_owned()],
            query: vec![QueryEntry { all: Some(all && self.grounder.gives_all()), ..QueryEntry::from(phrase) }],
            out: vec![OutArg::Records(RecordPlace::native(file))],
            measuring: self.args.measuring.clone(),
            reproducible: true,
            ..RunArgs::default()
        })?;
        let threshold = threshold(settings.threshold, &self.grounder)?;
        let model = Model {
            grounder: Arc::clone(&self.grounder),
            queries: vec![vec![Arc::new(self.grounder.compile(phrase)?)]],
        };
        let service = Service::start(&settings.service, std::iter::once(clip))?;
        let (end, stop) = bounded::<()>(0);
        std::thread::scope(|scope| {
            let running = scope.spawn(|| ground_file(&settings, model, threshold, &"eval".into(), stop, &service));
            // What comes behind the last labelled frame need not be grounded.
            while !running.is_finished() && service.run_status.stream(0).summary().decoded < last {
                std::thread::sleep(TICK);
            }
            drop(end);
            running.join().map_err(|_| Error::Worker("the run panicked".into()))?
        })
        .map(drop)
    }
}
