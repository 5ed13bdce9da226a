//! Questions about what a picture does not show.
//!
//! Where every object of a set's classes has a box, boxes and captions together prove a class absent. Where not, people's
//! words have to do: a notable thing that none of them is related to.

use std::collections::HashMap;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::colours::{self, GREY};
use super::grammar::{MOST, Meaning, Noun, Query, Side};
use super::known::Known;
use super::nouns::{self, Meanings};
use super::present::Sight;
use super::settings::{Ask, Kind};
use crate::data::labelled::LabelledSet;
use crate::scenes::{COLOUR_COUNT, colour_name};

/// Draws before one way to ask is given up.
const TRIES: usize = 24;
/// Draws of people's phrases, of which most are of people and dogs.
const PHRASES: usize = 400;

/// Pictures that tell how rarely something is lacking.
const SAMPLED: usize = 256;
/// Least share of pictures that lack something, as far as that makes it drawn more often.
const RARE: f64 = 0.04;

/// Draws with a chance of their own.
#[derive(Debug, Clone)]
pub(crate) struct Weighted<T> {
    /// Sums of the chances up to each item.
    sums: Vec<f64>,
    items: Vec<T>,
}

impl<T> Default for Weighted<T> {
    fn default() -> Self {
        Self { sums: Vec::new(), items: Vec::new() }
    }
}

impl<T> Weighted<T> {
    fn push(&mut self, item: T, weight: f64) {
        self.sums.push(self.sums.last().unwrap_or(&0.0) + weight);
        self.items.push(item);
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> Option<&T> {
        let at = rng.random::<f64>() * self.sums.last()?;
        self.items.get(self.sums.partition_point(|sum| *sum <= at))
    }
}

/// How much more often than it is there something has to be drawn so that it is missed as often as other things: most
/// pictures show people, and few lack them.
fn rarity(known: &[Known], lacks: impl Fn(&Known) -> bool) -> f64 {
    let step = known.len().div_ceil(SAMPLED).max(1);
    let sampled = known.iter().step_by(step);
    let lacking = sampled.clone().filter(|known| lacks(known)).count() as f64;
    1.0 / (lacking / sampled.count().max(1) as f64).max(RARE)
}

/// A phrase of some picture that others may be asked for.
#[derive(Debug, Clone)]
pub(crate) struct Foreign {
    /// Index of the picture in the set, of the referent and of the phrase.
    at: [u32; 3],
    /// What its head may mean.
    head: Meanings,
}

/// Phrases that can be missed in other pictures, as often as they are asked for in their own.
pub(crate) fn foreign(set: &LabelledSet, known: &[Known]) -> Weighted<Foreign> {
    let mut all = Weighted::default();
    let mut rarities: HashMap<String, f64> = HashMap::new();
    for own in known {
        let mut phrases: HashMap<usize, usize> = HashMap::new();
        let clear = || own.said.iter().filter(|said| said.clear);
        clear().for_each(|said| *phrases.entry(said.referent).or_default() += 1);
        for said in clear() {
            let text = &set.pictures[own.picture].referents[said.referent].phrases[said.phrase];
            let words = nouns::lemmas(text);
            // Two things at once, or somebody's: half of it may be there.
            let joined = words.iter().any(|word| ["and", "his", "her", "its", "their"].contains(&word.as_str()));
            let Some(head) = nouns::head_noun(text).filter(|_| nouns::notable(said.head) && !joined) else { continue };
            let head = nouns::lemma(&head.to_lowercase());
            let rarity = || rarity(known, |known| known.lacks(&head));
            let weight = *rarities.entry(head.clone()).or_insert_with(rarity);
            let at = [own.picture, said.referent, said.phrase].map(|index| index as u32);
            let asked = 1.0 / (phrases.len() * phrases[&said.referent]) as f64;
            all.push(Foreign { at, head: said.head }, asked * weight);
        }
    }
    all
}

/// Classes more often where pictures show them, and where few lack them: by the root of how often. As often as they are
/// shown, names would tell nothing and rare things would hardly be missed; all alike, a rare name alone would say no.
pub(crate) fn classes(showing: &[Vec<u32>], known: &[Known]) -> Weighted<u16> {
    let mut all = Weighted::default();
    for (class, pictures) in showing.iter().enumerate().filter(|(_, pictures)| !pictures.is_empty()) {
        let lacks = |known: &Known| known.things.iter().all(|thing| usize::from(thing.class) != class);
        all.push(class as u16, (pictures.len() as f64).sqrt() * rarity(known, lacks));
    }
    all
}

impl Foreign {
    fn text<'a>(&self, set: &'a LabelledSet) -> (&'a str, &'a str) {
        let [picture, referent, phrase] = self.at.map(|index| index as usize);
        let referent = &set.pictures[picture].referents[referent];
        (&referent.phrases[phrase], &referent.kind)
    }
}

/// Colours among the words of a text, as bits.
fn colour_words(text: &str) -> u16 {
    let words = nouns::lemmas(text);
    let has = |colour: u16| words.iter().any(|word| word == colour_name(colour) || (word == "gray" && colour == GREY));
    (1..=COLOUR_COUNT as u16).filter(|&colour| has(colour)).fold(0, |bits, colour| bits | 1 << colour)
}

/// What absence is drawn from.
#[derive(Clone, Copy)]
pub(crate) struct Missing<'a> {
    pub(crate) set: &'a LabelledSet,
    pub(crate) ask: &'a Ask,
    pub(crate) all: &'a [Known],
    /// For every class, the pictures (as indices into `all`) that show it.
    pub(crate) showing: &'a [Vec<u32>],
    pub(crate) classes: &'a Weighted<u16>,
    pub(crate) foreign: &'a Weighted<Foreign>,
}

/// Whether a class is proved absent from a picture, and may be asked for by `name`.
fn lacks(sight: Sight, known: &Known, name: u16) -> bool {
    sight.resolve(Query::Plain(Noun::Class(name))) == Meaning::None && known.lacks(sight.words.text(name))
}

/// An expression of a kind about a class that the picture lacks.
fn dressed(class: u16, kind: Kind, sight: Sight, known: &Known, rng: &mut ChaCha8Rng) -> Option<Query> {
    let name = sight.name(class, rng)?;
    if !lacks(sight, known, name) {
        return None;
    }
    let noun = Noun::Class(name);
    let side = *Side::ALL.choose(rng)?;
    let query = match kind {
        Kind::Phrase | Kind::Name => Query::Plain(noun),
        Kind::Attribute if sight.coloured(class) => Query::Plain(Noun::Coloured(colours::any(rng), name)),
        Kind::Place if rng.random_bool(0.1) => Query::Middle(noun),
        Kind::Place => Query::Side(noun, side),
        Kind::Ordinal if sight.words.singular(name) => Query::Ordinal(noun, rng.random_range(1..MOST), side),
        Kind::Size if sight.words.singular(name) => Query::Size(noun, rng.random_bool(0.5)),
        Kind::Relation => {
            let (_, anchor) = *sight.classes().choose(rng)?;
            Query::Relation(noun, side, Noun::Class(anchor))
        }
        _ => return None,
    };
    (sight.resolve(query) == Meaning::None).then_some(query)
}

impl Missing<'_> {
    /// A query of a kind about a class that the picture lacks, or that it has otherwise.
    pub(crate) fn query(&self, kind: Kind, sight: Sight, known: &Known, rng: &mut ChaCha8Rng) -> Option<Query> {
        if !self.set.complete {
            return None;
        }
        if rng.random_bool(self.ask.near) {
            let otherwise = if rng.random_bool(0.5) { self.otherwise(kind, sight, known, rng) } else { None };
            let found = otherwise.or_else(|| self.alike(kind, sight, known, rng));
            if found.is_some() {
                return found;
            }
        }
        // Any class of the set.
        (0..TRIES).find_map(|_| dressed(*self.classes.draw(rng)?, kind, sight, known, rng))
    }

    /// What goes with something that is there, or is of one kind with it.
    fn alike(&self, kind: Kind, sight: Sight, known: &Known, rng: &mut ChaCha8Rng) -> Option<Query> {
        let shown = sight.classes();
        (0..TRIES).find_map(|_| {
            let (class, _) = *shown.choose(rng)?;
            let other = if rng.random_bool(0.5) {
                let other = self.showing[usize::from(class)].choose(rng)?;
                self.all[*other as usize].things.choose(rng)?.class
            } else {
                let other = *self.classes.draw(rng)?;
                let of = |class: u16| sight.words.number(class).map(Meanings::of_class).unwrap_or_default();
                Some(other).filter(|other| nouns::siblings(of(class), of(*other)))?
            };
            dressed(other, kind, sight, known, rng)
        })
    }

    /// Something that is there, with what it is not: another colour, one too many, the other side, beside what is not
    /// there.
    fn otherwise(&self, kind: Kind, sight: Sight, known: &Known, rng: &mut ChaCha8Rng) -> Option<Query> {
        let shown = sight.classes();
        (0..TRIES).find_map(|_| {
            let (class, usual) = *shown.choose(rng)?;
            let (name, side) = (sight.name(class, rng)?, *Side::ALL.choose(rng)?);
            let noun = Noun::Class(name);
            let query = match kind {
                Kind::Attribute => {
                    let coloured: Vec<u16> = sight.things.iter().map(|t| t.colour).filter(|c| *c > 0).collect();
                    let colour = colours::other(*coloured.choose(rng)?, rng);
                    let told = known.says(colour_name(colour));
                    (!told && sight.coloured(class)).then_some(Query::Plain(Noun::Coloured(colour, name)))?
                }
                Kind::Ordinal => {
                    let count = sight.things.iter().filter(|thing| noun.matches(thing, sight.words)).count();
                    let countable = (2..MOST).contains(&count) && sight.words.singular(name);
                    countable.then_some(Query::Ordinal(noun, count + 1, side))?
                }
                Kind::Relation => {
                    let (_, anchor) = *shown.choose(rng)?;
                    let absent = sight.name(*self.classes.draw(rng)?, rng)?;
                    if rng.random_bool(0.5) {
                        (anchor != usual).then_some(Query::Relation(noun, side, Noun::Class(anchor)))?
                    } else {
                        lacks(sight, known, absent).then_some(Query::Relation(noun, side, Noun::Class(absent)))?
                    }
                }
                _ => return None,
            };
            (sight.resolve(query) == Meaning::None).then_some(query)
        })
    }

    /// Somebody's phrase about another picture, and its kind, that nothing in this one can be meant by.
    pub(crate) fn phrase(&self, known: &Known, rng: &mut ChaCha8Rng) -> Option<(&str, &str)> {
        let near = rng.random_bool(self.ask.near);
        let picture = &self.set.pictures[known.picture];
        let heads = known.said.iter().fold(Meanings::default(), |all, said| all.with(said.head));
        let phrases = picture.referents.iter().flat_map(|referent| &referent.phrases);
        let colours = phrases.fold(0, |bits, phrase| bits | colour_words(phrase));
        // What kind is missed is drawn first, so that all kinds are missed as often as they are there.
        let mut spare: Option<(&str, &str)> = None;
        for _ in 0..PHRASES {
            let drawn = self.foreign.draw(rng)?;
            let (text, kind) = drawn.text(self.set);
            if spare.is_some_and(|(_, first)| first != kind) || drawn.at[0] as usize == known.picture {
                continue;
            }
            let head = nouns::head_noun(text)?;
            if !known.lacks(&head.to_lowercase()) {
                continue;
            }
            let alike = || nouns::siblings(drawn.head, heads) || colour_words(text) & colours != 0;
            if !near || alike() {
                return Some((text, kind));
            }
            spare = spare.or(Some((text, kind)));
        }
        spare
    }
}
