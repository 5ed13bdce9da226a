//! Questions about what a picture shows.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::grammar::{MOST, Meaning, Noun, Query, Side, Thing};
use super::known::PHOTOGRAPHED;
use super::nouns;
use super::settings::Kind;
use super::vocabulary::Vocabulary;
use blocks::preprocess::Rect;

/// Share of names that become another of the same class.
const OTHERWISE: f64 = 0.35;
/// Share of bare names that become one that takes in more.
const WIDER: f64 = 0.15;
/// A place beyond this share of the picture is not on that side of it.
const BEYOND: f32 = 0.55;
/// Least step to the side as a share of that across it: something below and a little to the left is not "left of".
const ASIDE: f32 = 0.5;
/// Least share of the narrower box that lies above or below the other.
const OVER: f64 = 0.3;
/// Largest share of the smaller box that two things may share, side by side and one above the other.
const SHARED: [f64; 2] = [0.3, 0.6];

/// What the things of a picture are called, and where they are.
#[derive(Clone, Copy)]
pub(crate) struct Sight<'a> {
    pub(crate) words: &'a Vocabulary,
    pub(crate) things: &'a [Thing],
    /// Their boxes.
    pub(crate) boxes: &'a [Rect],
}

impl Sight<'_> {
    pub(crate) fn resolve(&self, query: Query) -> Meaning {
        query.resolve(self.things, self.words, PHOTOGRAPHED)
    }

    /// Classes that can be asked for, with their usual names.
    pub(crate) fn classes(&self) -> Vec<(u16, u16)> {
        let mut classes: Vec<u16> = self.things.iter().filter(|t| !t.doubtful).map(|thing| thing.class).collect();
        classes.sort_unstable();
        classes.dedup();
        classes.into_iter().filter_map(|class| Some((class, *self.words.names_of(class).first()?))).collect()
    }

    /// All queries of a kind that mean one thing, with that thing.
    pub(crate) fn queries(&self, kind: Kind) -> Vec<(Query, usize)> {
        let classes = self.classes();
        let mut all = Vec::new();
        let mut add = |query: Query| {
            if let Meaning::One(found) = self.resolve(query)
                && self.natural(query, found)
            {
                all.push((query, found));
            }
        };
        if kind == Kind::Attribute {
            let mut coloured: Vec<(u16, u16)> = self.things.iter().map(|thing| (thing.class, thing.colour)).collect();
            coloured.sort_unstable();
            coloured.dedup();
            for (class, colour) in coloured.into_iter().filter(|(_, colour)| *colour > 0) {
                if let Some(name) = self.words.names_of(class).first() {
                    add(Query::Plain(Noun::Coloured(colour, *name)));
                }
            }
            return all;
        }
        for &(_, name) in &classes {
            let (noun, single) = (Noun::Class(name), self.words.singular(name));
            match kind {
                Kind::Name => add(Query::Plain(noun)),
                Kind::Place => {
                    for side in Side::ALL {
                        add(Query::Side(noun, side));
                    }
                    add(Query::Middle(noun));
                }
                Kind::Ordinal if single => {
                    for side in Side::ALL {
                        for n in 1..=MOST {
                            add(Query::Ordinal(noun, n, side));
                        }
                    }
                }
                Kind::Size if single => {
                    add(Query::Size(noun, true));
                    add(Query::Size(noun, false));
                }
                Kind::Relation => {
                    for &(_, anchor) in classes.iter().filter(|(_, anchor)| *anchor != name) {
                        for side in Side::ALL {
                            add(Query::Relation(noun, side, Noun::Class(anchor)));
                        }
                    }
                }
                _ => {}
            }
        }
        all
    }

    /// Whether people would say so, beyond its being true.
    fn natural(&self, query: Query, found: usize) -> bool {
        let thing = &self.things[found];
        match query {
            Query::Side(noun, side) => {
                let there = match side {
                    Side::Left => thing.cx < BEYOND,
                    Side::Right => thing.cx > 1.0 - BEYOND,
                    Side::Top => thing.cy < BEYOND,
                    Side::Bottom => thing.cy > 1.0 - BEYOND,
                };
                there && self.spread(noun, side)
            }
            Query::Middle(_) => (1.0 - BEYOND - 0.2..BEYOND + 0.2).contains(&thing.cx),
            // The first of two is simply the left one.
            Query::Ordinal(noun, _, side) => self.matching(noun).count() > 2 && self.spread(noun, side),
            Query::Relation(_, side, anchor) => {
                let Some(other) = self.matching(anchor).next() else { return false };
                let (a, b) = (&self.boxes[found], &self.boxes[other]);
                let shared = a.intersection(b) / (a.width() * a.height()).min(b.width() * b.height());
                if matches!(side, Side::Left | Side::Right) {
                    let (dx, dy) = (thing.cx - self.things[other].cx, thing.cy - self.things[other].cy);
                    return dx.abs() >= ASIDE * dy.abs() && shared <= SHARED[0];
                }
                // One above the other, not merely higher up elsewhere.
                let common = a.x1.min(b.x1) - a.x0.max(b.x0);
                common >= OVER * a.width().min(b.width()) && shared <= SHARED[1]
            }
            _ => true,
        }
    }

    fn matching(&self, noun: Noun) -> impl Iterator<Item = usize> {
        (0..self.things.len()).filter(move |&i| noun.matches(&self.things[i], self.words))
    }

    /// Whether things of a name lie apart along a side's axis at all: two who stand side by side are no upper and lower
    /// one, though one of them is taller.
    fn spread(&self, noun: Noun, side: Side) -> bool {
        let length = |place: fn(&Thing) -> f32| {
            let places = || self.matching(noun).map(|i| place(&self.things[i]));
            places().fold(f32::MIN, f32::max) - places().fold(f32::MAX, f32::min)
        };
        let (across, down) = (length(|thing| thing.cx), length(|thing| thing.cy));
        if matches!(side, Side::Left | Side::Right) { across >= ASIDE * down } else { down >= across }
    }

    /// One of `queries`: each of the things that they mean is as likely as the others.
    pub(crate) fn one_of(&self, queries: &[(Query, usize)], rng: &mut ChaCha8Rng) -> Option<(Query, usize)> {
        let mut meant: Vec<usize> = queries.iter().map(|(_, found)| *found).collect();
        meant.sort_unstable();
        meant.dedup();
        let found = *meant.choose(rng)?;
        let queries: Vec<Query> =
            queries.iter().filter(|(_, other)| *other == found).map(|(query, _)| *query).collect();
        let query = *queries.choose(rng)?;
        let reworded = self.reworded(query, rng);
        Some(if self.resolve(reworded) == Meaning::One(found) { (reworded, found) } else { (query, found) })
    }

    /// A class's usual name, or another.
    pub(crate) fn name(&self, class: u16, rng: &mut ChaCha8Rng) -> Option<u16> {
        let names = self.words.names_of(class);
        if rng.random_bool(OTHERWISE) { names.choose(rng).copied() } else { names.first().copied() }
    }

    fn reworded(&self, query: Query, rng: &mut ChaCha8Rng) -> Query {
        let mut noun = |noun: Noun, wider: bool| {
            let (name, colour) = match noun {
                Noun::Class(name) => (name, None),
                Noun::Coloured(colour, name) => (name, Some(colour)),
                other => return other,
            };
            let owner = (0..self.words.classes()).find(|&class| self.words.names_of(class).contains(&name));
            let Some(class) = owner else { return noun };
            let umbrellas: Vec<u16> = self.words.umbrellas_of(class).collect();
            let name = match umbrellas.choose(rng) {
                Some(wide) if wider && rng.random_bool(WIDER) => *wide,
                _ => self.name(class, rng).unwrap_or(name),
            };
            colour.map_or(Noun::Class(name), |colour| Noun::Coloured(colour, name))
        };
        match query {
            Query::Plain(own) => Query::Plain(noun(own, matches!(own, Noun::Class(_)))),
            Query::Side(own, side) => Query::Side(noun(own, false), side),
            Query::Middle(own) => Query::Middle(noun(own, false)),
            Query::Ordinal(own, n, side) => Query::Ordinal(noun(own, false), n, side),
            Query::Size(own, big) => Query::Size(noun(own, false), big),
            Query::Relation(own, side, anchor) => {
                let own = noun(own, false);
                Query::Relation(own, side, noun(anchor, false))
            }
        }
    }

    /// Whether the colour of things of a class is worth a word.
    pub(crate) fn coloured(&self, class: u16) -> bool {
        self.words.number(class).is_some_and(nouns::has_colour)
    }
}
