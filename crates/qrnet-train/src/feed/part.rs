//! A part of the run: what its examples are drawn from, and in which order.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{Mix, Named, drawn, joined, open_lists};
use crate::augment::Augment;
use crate::data::{DataSet, Example, Origin};
use crate::error::{Error, Result};
use crate::recipe::{Phase, Recipe, SCENES};
use crate::scenes::Art;

/// What a phase opens; shared by phases that go on with it.
#[derive(Clone, Default)]
struct Opened {
    scenes: Option<Arc<dyn DataSet>>,
    lists: Vec<Named>,
}

/// One source of examples.
struct Stock {
    /// Its name among the shares; empty where there are none.
    name: String,
    data: Arc<dyn DataSet>,
    /// Whether its examples are drawn scenes, each of which is asked what it is asked.
    scenes: bool,
    /// Examples before they come again, in another order; none for scenes, which never do.
    epoch: Option<u64>,
    /// What was taken from it before this part.
    taken: u64,
    /// The order of the epoch that is being read.
    order: Mutex<Option<(u64, Arc<Vec<u32>>)>>,
}

/// Where an example comes from.
struct Place<'a> {
    stock: &'a Stock,
    /// Counts what is taken from the stock: pictures of lists, examples of scenes.
    number: u64,
    /// Which of the questions about the picture it is.
    question: usize,
}

/// A part of the run.
///
/// Its positions go to the stocks in groups of `questions`: that many questions about one picture of a list, or that many
/// examples of drawn scenes.
pub(super) struct Part {
    /// First position that belongs to it, where sources are mixed; otherwise 0.
    start: u64,
    /// First position that no longer belongs to it.
    end: u64,
    opened: Opened,
    shares: BTreeMap<String, f64>,
    stocks: Vec<Stock>,
    /// None for a single stock.
    mix: Option<Mix>,
    questions: u64,
    augment: Option<Augment>,
    seed: u64,
}

impl Part {
    /// `phase` of `recipe`, which follows on `before`.
    pub(super) fn new(
        recipe: &Recipe,
        phase: &Phase,
        before: Option<&Self>,
        (origin, art): (Origin, &Arc<Art>),
    ) -> Result<Self> {
        let total = recipe.steps * recipe.step_examples() as u64;
        let goes_on = before.filter(|_| !phase.has_data());
        let opened = if let Some(before) = goes_on {
            before.opened.clone()
        } else {
            let scenes = phase.scenes.as_ref().map(|scenes| drawn(scenes, art, recipe.seed, total as usize));
            Opened { scenes: scenes.transpose()?.map(Arc::from), lists: open_lists(&phase.lists, origin)? }
        };
        let inherited = goes_on.filter(|_| phase.shares.is_empty());
        let shares = inherited.map_or(&phase.shares, |before| &before.shares).clone();
        let mut part = Self {
            start: 0,
            end: (phase.until * total as f64) as u64,
            opened,
            shares,
            stocks: Vec::new(),
            mix: None,
            questions: phase.questions.unwrap_or(1) as u64,
            augment: phase.augment.or(recipe.augment),
            seed: recipe.seed,
        };
        if part.shares.is_empty() {
            part.stocks = vec![part.single(phase.examples)?];
        } else {
            // A batch belongs to the part of its first example.
            part.start = before.map_or(0, |before| before.end.next_multiple_of(recipe.batch as u64));
            let taken = goes_on.map_or_else(BTreeMap::new, |before| before.taken(part.start));
            part.stocks = part.mixed(&taken)?;
            let shares: Vec<f64> = part.stocks.iter().map(|stock| part.shares[&stock.name]).collect();
            part.mix = Some(Mix::new(&shares));
        }
        Ok(part)
    }

    /// Everything as one stock.
    fn single(&self, examples: Option<usize>) -> Result<Stock> {
        let (data, scenes): (Arc<dyn DataSet>, bool) = match &self.opened.scenes {
            Some(scenes) => (Arc::clone(scenes), true),
            None => (Arc::new(joined(&self.opened.lists)?), false),
        };
        let length = examples.unwrap_or(usize::MAX).min(data.len()) as u64;
        let epoch = (!scenes || examples.is_some()).then_some(length);
        Ok(Stock { name: String::new(), data, scenes, epoch, taken: 0, order: Mutex::default() })
    }

    /// A stock for every share; lists of one name are one.
    fn mixed(&self, taken: &BTreeMap<String, u64>) -> Result<Vec<Stock>> {
        let stock = |name: &String| -> Result<Stock> {
            let order = Mutex::default();
            if let Some(scenes) = self.opened.scenes.as_ref().filter(|_| name == SCENES) {
                let data = Arc::clone(scenes);
                // No scene of an earlier part comes again.
                return Ok(Stock { name: name.clone(), data, scenes: true, epoch: None, taken: self.start, order });
            }
            let lists: Vec<Named> = self.opened.lists.iter().filter(|(list, _)| list == name).cloned().collect();
            let data = Arc::new(joined(&lists)?);
            let (epoch, taken) = (Some(data.len() as u64), taken.get(name).copied().unwrap_or(0));
            Ok(Stock { name: name.clone(), data, scenes: false, epoch, taken, order })
        };
        self.shares.keys().map(stock).collect()
    }

    /// What was taken from every stock before position `end`.
    fn taken(&self, end: u64) -> BTreeMap<String, u64> {
        let Some(mix) = &self.mix else { return BTreeMap::new() };
        let groups = end.saturating_sub(self.start) / self.questions;
        let counts = mix.counts(groups, self.stocks.len());
        self.stocks.iter().zip(counts).map(|(stock, count)| (stock.name.clone(), stock.taken + count)).collect()
    }

    /// First position that no longer belongs to it.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Changes to its pictures.
    pub(super) fn augment(&self) -> Option<&Augment> {
        self.augment.as_ref()
    }

    /// Neighbouring examples that may be questions about one picture.
    pub(super) fn questions(&self) -> usize {
        self.questions as usize
    }

    /// What it draws from.
    pub(super) fn sets(&self) -> impl Iterator<Item = &dyn DataSet> {
        self.stocks.iter().map(|stock| stock.data.as_ref())
    }

    /// The example at `position`.
    pub(super) fn example(&self, position: u64) -> Result<Example> {
        let place = self.place(position);
        let example = if place.stock.epoch.is_none() {
            place.stock.data.example(place.number as usize)?
        } else {
            self.group(&place, position)?.swap_remove(place.question)
        };
        Ok(example)
    }

    /// The examples at `positions`.
    pub(super) fn examples(&self, positions: Range<u64>) -> Result<Vec<Example>> {
        // Scenes that never come again are drawn in one go, as neighbours share a picture.
        let mut fresh = positions.clone().map(|p| self.place(p)).filter(|place| place.stock.epoch.is_none());
        let mut drawn = Vec::new().into_iter();
        if let Some(Place { stock, number, .. }) = fresh.next() {
            let (first, count) = (number as usize, 1 + fresh.count());
            drawn = stock.data.examples(first..first + count)?.into_iter();
        }
        let mut examples = Vec::with_capacity((positions.end - positions.start) as usize);
        let mut position = positions.start;
        while position < positions.end {
            let place = self.place(position);
            let before = examples.len();
            if place.stock.epoch.is_none() {
                examples.push(drawn.next().ok_or_else(|| missing(position))?);
            } else {
                let group = self.group(&place, position)?.into_iter().skip(place.question);
                examples.extend(group.take((positions.end - position) as usize));
            }
            position += (examples.len() - before) as u64;
        }
        Ok(examples)
    }

    /// The questions about one picture among which is that at `position`, which is `place`.
    fn group(&self, place: &Place, position: u64) -> Result<Vec<Example>> {
        let Place { stock, number, question } = place;
        let length = stock.epoch.unwrap_or(1);
        let index = self.order(stock, number / length, length)[(number % length) as usize] as usize;
        let rng = |position: u64| blocks::seeded::stream(self.seed, &format!("varied.{position}"));
        if stock.scenes || self.questions == 1 {
            return Ok(vec![stock.data.varied(index, &mut rng(position))?]);
        }
        let first = position - *question as u64;
        let mut rngs: Vec<ChaCha8Rng> = (first..first + self.questions).map(rng).collect();
        let group = stock.data.varied_group(index, &mut rngs)?;
        if group.len() == rngs.len() { Ok(group) } else { Err(missing(position)) }
    }

    fn order(&self, stock: &Stock, epoch: u64, length: u64) -> Arc<Vec<u32>> {
        let mut kept = stock.order.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if kept.as_ref().is_none_or(|(of, _)| *of != epoch) {
            let mut order: Vec<u32> = (0..length as u32).collect();
            let name = if stock.name.is_empty() { String::new() } else { format!("{}.", stock.name) };
            order.shuffle(&mut blocks::seeded::stream(self.seed, &format!("epoch.{name}{epoch}")));
            *kept = Some((epoch, Arc::new(order)));
        }
        kept.as_ref().map_or_else(Arc::default, |(_, order)| Arc::clone(order))
    }

    /// Where the example at `position` comes from.
    fn place(&self, position: u64) -> Place<'_> {
        let since = position - self.start;
        let (group, question) = (since / self.questions, since % self.questions);
        let (stock, turn) = self.mix.as_ref().map_or((0, group), |mix| mix.at(group));
        let stock = &self.stocks[stock];
        let (number, question) =
            if stock.scenes { (turn * self.questions + question, 0) } else { (turn, question as usize) };
        Place { stock, number: stock.taken + number, question }
    }
}

fn missing(position: u64) -> Error {
    Error::Unsupported(format!("the data set of example {position} gave too few examples"))
}
