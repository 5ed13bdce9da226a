//! From a recipe to batches: which example comes when, and threads that prepare them ahead of the training step.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use qrnet::init;
use qrnet::plan::CanvasPlan;
use qrnet::text::tokenizer::QueryTokenizer;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::augment::Augment;
use crate::batch::{Collator, Prepared};
use crate::data::{DataSet, Example, Legibility, Origin, Source};
use crate::error::{Error, Result};
use crate::recipe::{Phrases, Recipe};
use crate::scenes::motion::Films;
use crate::scenes::{Art, SceneSettings, Scenes};

/// Lists of examples as one.
struct Joined(Vec<Box<dyn DataSet>>);

impl DataSet for Joined {
    fn len(&self) -> usize {
        self.0.iter().map(|set| set.len()).sum()
    }

    fn legibility(&self, tokenizer: &QueryTokenizer) -> Result<Legibility> {
        self.0.iter().try_fold(Legibility::default(), |sum, set| {
            let Legibility { cut, unknown } = set.legibility(tokenizer)?;
            Ok(Legibility { cut: sum.cut + cut, unknown: sum.unknown + unknown })
        })
    }

    fn phrases(&self) -> Vec<&str> {
        self.0.iter().flat_map(|set| set.phrases()).collect()
    }

    fn example(&self, index: usize) -> Result<Example> {
        let (set, index) = self.part(index)?;
        set.example(index)
    }

    fn varied(&self, index: usize, rng: &mut ChaCha8Rng) -> Result<Example> {
        let (set, index) = self.part(index)?;
        set.varied(index, rng)
    }
}

impl Joined {
    /// The data set that holds an example, and its number there.
    fn part(&self, mut index: usize) -> Result<(&dyn DataSet, usize)> {
        for set in &self.0 {
            if index < set.len() {
                return Ok((set.as_ref(), index));
            }
            index -= set.len();
        }
        Err(Error::Unsupported(format!("no example {index} past the end")))
    }
}

/// Opens what a recipe describes: drawn scenes, or lists on disk.
///
/// # Errors
/// A list is not where it should be, or holds nothing.
pub fn open(
    scenes: Option<&SceneSettings>,
    lists: &[Source],
    (origin, art): (Origin, &Arc<Art>),
    seed: u64,
    count: usize,
) -> Result<Box<dyn DataSet>> {
    if let Some(settings) = scenes {
        let scenes = Scenes::new(settings.clone(), Arc::clone(art), seed, count)?;
        return Ok(if settings.motion { Box::new(Films::new(scenes, count)) } else { Box::new(scenes) });
    }
    let joined = Joined(lists.iter().map(|list| list.open(origin)).collect::<Result<_>>()?);
    if joined.is_empty() {
        let names: Vec<String> = lists.iter().map(Source::name).collect();
        return Err(Error::Unsupported(format!("the data sets {names:?} hold no examples")));
    }
    Ok(Box::new(joined))
}

/// Reads every phrase of `data` once, and says how many the vocabulary cannot take whole.
///
/// # Errors
/// As [`DataSet::legibility`].
pub(crate) fn check_phrases(name: &str, data: &dyn DataSet, tokenizer: &QueryTokenizer) -> Result<()> {
    let Legibility { cut, unknown } = data.legibility(tokenizer)?;
    if cut + unknown > 0 {
        let all = data.len();
        tracing::warn!(
            "{name}: of {all} phrases, {cut} are longer than the model reads and {unknown} hold words that its vocabulary lacks"
        );
    }
    Ok(())
}

/// A part of the run.
struct Part {
    /// First position that no longer belongs to it.
    end: u64,
    /// Shared by phases that go on with it.
    data: Arc<dyn DataSet>,
    /// Examples before they come again, in another order; none for scenes, which never do.
    epoch: Option<u64>,
    /// Changes to its pictures.
    augment: Option<Augment>,
    /// The order of the epoch that is being read.
    order: Mutex<(u64, Arc<Vec<u32>>)>,
}

/// The training examples in their order: example `position` is the same in every run of a recipe.
pub struct Feed {
    parts: Vec<Part>,
    seed: u64,
    wording: Phrases,
    batch: usize,
}

impl Feed {
    /// Opens the phases of `recipe`.
    ///
    /// # Errors
    /// As [`open`].
    pub fn new(recipe: &Recipe, origin: Origin, art: &Arc<Art>) -> Result<Self> {
        let total = recipe.steps * recipe.step_examples() as u64;
        let mut parts: Vec<Part> = Vec::new();
        let mut drawn = false;
        for phase in &recipe.phase {
            let data = match parts.last() {
                Some(before) if phase.scenes.is_none() && phase.lists.is_empty() => Arc::clone(&before.data),
                _ => {
                    drawn = phase.scenes.is_some();
                    open(phase.scenes.as_ref(), &phase.lists, (origin, art), recipe.seed, total as usize)?.into()
                }
            };
            let length = phase.examples.unwrap_or(usize::MAX).min(data.len()) as u64;
            parts.push(Part {
                end: (phase.until * total as f64) as u64,
                data,
                epoch: (!drawn || phase.examples.is_some()).then_some(length),
                augment: phase.augment.or(recipe.augment),
                order: Mutex::new((u64::MAX, Arc::default())),
            });
        }
        Ok(Self { parts, seed: recipe.seed, wording: recipe.phrases.clone(), batch: recipe.batch })
    }

    /// Reads every phrase once.
    ///
    /// # Errors
    /// As [`DataSet::legibility`].
    pub fn check_phrases(&self, tokenizer: &QueryTokenizer) -> Result<()> {
        self.parts.iter().try_for_each(|part| check_phrases("training", part.data.as_ref(), tokenizer))
    }

    /// Every phrase that lists of examples ask, once.
    pub fn phrases(&self) -> BTreeSet<&str> {
        self.parts.iter().flat_map(|part| part.data.phrases()).collect()
    }

    /// The examples of batch `number`, which come from one phase: that of the first of them.
    fn examples(&self, number: u64) -> Result<Vec<Example>> {
        let part = self.part(number)?;
        let first = number * self.batch as u64;
        if part.epoch.is_none() {
            let first = first as usize;
            return part.data.examples(first..first + self.batch);
        }
        (first..first + self.batch as u64).map(|position| self.of(part, position)).collect()
    }

    fn part(&self, number: u64) -> Result<&Part> {
        let first = number * self.batch as u64;
        let part = self.parts.iter().find(|part| first < part.end).or(self.parts.last());
        part.ok_or_else(|| Error::Unsupported("a recipe without phases".into()))
    }

    fn of(&self, part: &Part, position: u64) -> Result<Example> {
        let Some(length) = part.epoch else { return part.data.example(position as usize) };
        let order = self.order(part, position / length, length);
        let mut rng = init::stream(self.seed, &format!("varied.{position}"));
        part.data.varied(order[(position % length) as usize] as usize, &mut rng)
    }

    fn order(&self, part: &Part, epoch: u64, length: u64) -> Arc<Vec<u32>> {
        let mut kept = part.order.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if kept.0 != epoch {
            let mut order: Vec<u32> = (0..length as u32).collect();
            order.shuffle(&mut init::stream(self.seed, &format!("epoch.{epoch}")));
            *kept = (epoch, Arc::new(order));
        }
        Arc::clone(&kept.1)
    }

    /// The example at `position`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn example(&self, position: u64) -> Result<Example> {
        let part = self.part(position / self.batch as u64)?;
        self.of(part, position)
    }

    /// Batch `number`, ready for the model.
    ///
    /// # Errors
    /// An example cannot be read.
    pub fn prepare(&self, number: u64, collator: &mut Collator) -> Result<Prepared> {
        let mut examples = self.examples(number)?;
        if self.wording.varies() {
            for (i, example) in examples.iter_mut().enumerate() {
                let mut rng = init::stream(self.seed, &format!("wording.{number}.{i}"));
                example.phrase = self.wording.reworded(&example.phrase, &mut rng);
            }
        }
        match &self.part(number)?.augment {
            None => collator.collate(&examples),
            Some(augment) => {
                collator.augment(&examples, augment, |i| init::stream(self.seed, &format!("augment.{number}.{i}")))
            }
        }
    }
}

/// Batches in order from threads of their own.
pub struct Ahead {
    /// One channel a thread; batch `n` comes from channel `n % threads`.
    channels: Vec<Receiver<Result<Prepared>>>,
    next: u64,
}

/// Batches that each thread holds ready.
const READY: usize = 2;

impl Ahead {
    /// Starts `threads` threads that prepare batches `from` to `to`. They end when the batches are taken or when this
    /// value is dropped.
    pub fn start<'scope, 'env>(
        scope: &'scope thread::Scope<'scope, 'env>,
        feed: &'env Feed,
        (plan, tokenizer): (&'env CanvasPlan, &'env QueryTokenizer),
        batches: std::ops::Range<u64>,
        threads: usize,
    ) -> Self {
        let threads = threads.max(1) as u64;
        let channels = (0..threads)
            .map(|thread| {
                let (sender, receiver) = bounded(READY);
                let batches = batches.clone();
                scope.spawn(move || {
                    let mut collator = Collator::new(plan, tokenizer);
                    for number in batches.filter(|number| number % threads == thread) {
                        if sender.send(feed.prepare(number, &mut collator)).is_err() {
                            return;
                        }
                    }
                });
                receiver
            })
            .collect();
        Self { channels, next: batches.start }
    }

    /// The next batch, and how long it was waited for.
    ///
    /// # Errors
    /// An example cannot be read, or all batches were taken.
    pub fn take(&mut self) -> Result<(Prepared, Duration)> {
        let start = Instant::now();
        let channel = &self.channels[(self.next % self.channels.len() as u64) as usize];
        let batch = channel.recv().map_err(|_| Error::Unsupported("the thread that prepares data ended".into()))??;
        self.next += 1;
        Ok((batch, start.elapsed()))
    }
}
