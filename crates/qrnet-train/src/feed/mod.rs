//! From a recipe to batches: which example comes when, and threads that prepare them ahead of the training step.

mod ahead;
mod mix;
mod part;

use std::collections::BTreeSet;
use std::sync::Arc;

use blocks::canvas::Canvas;
use blocks::text::tokenizer::QueryTokenizer;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::batch::{Collator, Prepared};
use crate::data::{DataSet, Example, Guesses, Legibility, Origin, Source};
use crate::error::{Error, Result};
use crate::recipe::{Phrases, Recipe};
use crate::scenes::motion::Films;
use crate::scenes::{Art, SceneSettings, Scenes};
pub use ahead::Ahead;
pub use mix::Mix;
use part::Part;

/// Lists of examples as one.
struct Joined(Vec<Arc<dyn DataSet>>);

impl DataSet for Joined {
    fn len(&self) -> usize {
        self.0.iter().map(|set| set.len()).sum()
    }

    fn legibility(&self, tokenizer: &QueryTokenizer) -> Result<Legibility> {
        self.0.iter().try_fold(Legibility::default(), |sum, set| {
            let Legibility { read, cut, unknown } = set.legibility(tokenizer)?;
            Ok(Legibility { read: sum.read + read, cut: sum.cut + cut, unknown: sum.unknown + unknown })
        })
    }

    fn phrases(&self) -> Vec<&str> {
        self.0.iter().flat_map(|set| set.phrases()).collect()
    }

    fn example(&self, index: usize) -> Result<Example> {
        let (set, index) = self.part(index)?;
        set.example(index)
    }

    fn examples(&self, range: std::ops::Range<usize>) -> Result<Vec<Example>> {
        let mut all = Vec::with_capacity(range.len());
        let mut first = 0;
        for set in &self.0 {
            let own = range.start.clamp(first, first + set.len())..range.end.clamp(first, first + set.len());
            if !own.is_empty() {
                all.extend(set.examples(own.start - first..own.end - first)?);
            }
            first += set.len();
        }
        if all.len() < range.len() {
            return Err(Error::Unsupported(format!("no example {} past the end", first.max(range.start))));
        }
        Ok(all)
    }

    fn thing(&self, index: usize) -> Option<Arc<str>> {
        let (set, index) = self.part(index).ok()?;
        set.thing(index)
    }

    fn guesses(&self) -> Option<Guesses> {
        self.0.iter().filter_map(|set| set.guesses()).reduce(Guesses::and)
    }

    fn varied(&self, index: usize, rng: &mut ChaCha8Rng) -> Result<Example> {
        let (set, index) = self.part(index)?;
        set.varied(index, rng)
    }

    fn varied_group(&self, index: usize, rngs: &mut [ChaCha8Rng]) -> Result<Vec<Example>> {
        let (set, index) = self.part(index)?;
        set.varied_group(index, rngs)
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
    match scenes {
        Some(settings) => drawn(settings, art, seed, count),
        None => Ok(Box::new(joined(&open_lists(lists, origin)?)?)),
    }
}

fn drawn(settings: &SceneSettings, art: &Arc<Art>, seed: u64, count: usize) -> Result<Box<dyn DataSet>> {
    let scenes = Scenes::new(settings.clone(), Arc::clone(art), seed, count)?;
    Ok(if settings.motion { Box::new(Films::new(scenes, count)) } else { Box::new(scenes) })
}

/// A data set and its name.
type Named = (String, Arc<dyn DataSet>);

fn open_lists(lists: &[Source], origin: Origin) -> Result<Vec<Named>> {
    lists.iter().map(|list| Ok((list.name(), list.open(origin)?.into()))).collect()
}

/// All of `lists` as one, which holds something.
fn joined(lists: &[Named]) -> Result<Joined> {
    let joined = Joined(lists.iter().map(|(_, list)| Arc::clone(list)).collect());
    if joined.is_empty() {
        let names: Vec<&str> = lists.iter().map(|(name, _)| name.as_str()).collect();
        return Err(Error::Unsupported(format!("the data sets {names:?} hold no examples")));
    }
    Ok(joined)
}

/// Reads every phrase of `data` once, and says how many the vocabulary cannot take whole.
///
/// # Errors
/// As [`DataSet::legibility`].
pub(crate) fn check_phrases(name: &str, data: &dyn DataSet, tokenizer: &QueryTokenizer) -> Result<()> {
    let Legibility { read, cut, unknown } = data.legibility(tokenizer)?;
    if cut + unknown > 0 {
        tracing::warn!(
            "{name}: of {read} phrases, {cut} are longer than the model reads and {unknown} hold words that its vocabulary lacks"
        );
    }
    Ok(())
}

/// The training examples in their order: example `position` is the same in every run of a recipe.
pub struct Feed {
    parts: Vec<Part>,
    seed: u64,
    wording: Phrases,
    batch: usize,
    /// None for the model's own.
    canvases: Vec<Canvas>,
}

impl Feed {
    /// Opens the phases of `recipe`.
    ///
    /// # Errors
    /// As [`open`].
    pub fn new(recipe: &Recipe, origin: Origin, art: &Arc<Art>) -> Result<Self> {
        let mut parts: Vec<Part> = Vec::new();
        for phase in &recipe.phase {
            parts.push(Part::new(recipe, phase, parts.last(), (origin, art))?);
        }
        let canvases =
            recipe.canvases.iter().map(|[width, height]| Canvas { width: *width, height: *height }).collect();
        let (seed, batch) = (recipe.seed, recipe.batch);
        Ok(Self { parts, seed, wording: recipe.phrases.clone(), batch, canvases })
    }

    /// Reads every phrase once.
    ///
    /// # Errors
    /// As [`DataSet::legibility`].
    pub fn check_phrases(&self, tokenizer: &QueryTokenizer) -> Result<()> {
        let mut sets = self.parts.iter().flat_map(Part::sets);
        sets.try_for_each(|data| check_phrases("training", data, tokenizer))
    }

    /// Every phrase that lists of examples ask, once.
    pub fn phrases(&self) -> BTreeSet<&str> {
        self.parts.iter().flat_map(Part::sets).flat_map(|data| data.phrases()).collect()
    }

    /// The part of batch `number`: that of its first example.
    fn part(&self, number: u64) -> Result<&Part> {
        let first = number * self.batch as u64;
        let part = self.parts.iter().find(|part| first < part.end()).or(self.parts.last());
        part.ok_or_else(|| Error::Unsupported("a recipe without phases".into()))
    }

    /// The example at `position`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn example(&self, position: u64) -> Result<Example> {
        self.part(position / self.batch as u64)?.example(position)
    }

    /// The canvas of batch `number`; none for the model's.
    pub fn canvas(&self, number: u64) -> Option<Canvas> {
        let mut rng = blocks::seeded::stream(self.seed, &format!("canvas.{number}"));
        (!self.canvases.is_empty()).then(|| self.canvases[rng.random_range(0..self.canvases.len())])
    }

    /// Batch `number`, ready for the model. Its examples come from one phase.
    ///
    /// # Errors
    /// An example cannot be read, or `collator` lacks the batch's canvas.
    pub fn prepare(&self, number: u64, collator: &mut Collator) -> Result<Prepared> {
        let part = self.part(number)?;
        let first = number * self.batch as u64;
        let mut examples = part.examples(first..first + self.batch as u64)?;
        if self.wording.varies() {
            for (i, example) in examples.iter_mut().enumerate() {
                let mut rng = blocks::seeded::stream(self.seed, &format!("wording.{number}.{i}"));
                example.phrase = self.wording.reworded(&example.phrase, &mut rng);
            }
        }
        if let Some(canvas) = self.canvas(number) {
            collator.turn_to(canvas)?;
        }
        let Some(augment) = part.augment() else { return collator.collate(&examples) };
        let rng = |i| blocks::seeded::stream(self.seed, &format!("augment.{number}.{i}"));
        collator.augment(&examples, augment, part.questions(), rng)
    }
}
