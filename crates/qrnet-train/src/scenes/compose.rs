//! Scenes to a plan: what kind of expression is asked, and objects that make it a fair question.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::Kinds;
use super::names::{COLOURS, EMOJI, SHAPES};
use super::query::{self, Drawn, Meaning, Noun, Query, Side, Thing, other_colour};

/// An object before it has a place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draft {
    pub(super) class: u16,
    /// 0 for emoji.
    pub(super) colour: u16,
    /// Longer side, as a share of the picture's scale.
    pub(super) size: f32,
}

impl Draft {
    /// As a thing without a place, for nouns.
    pub(super) fn thing(self) -> Thing {
        Thing { class: self.class, colour: self.colour, cx: 0.0, cy: 0.0, size: self.size, doubtful: false }
    }
}

/// What may appear.
pub(super) struct Cast {
    /// Emoji classes at hand (from 1, after the shapes); empty for scenes of shapes alone.
    pub(super) emoji: Vec<u16>,
    /// Smallest and largest size.
    pub(super) sizes: (f32, f32),
    /// How often each kind of expression is planned.
    pub(super) kinds: Kinds,
}

/// Objects, and a query that means one of them or none.
pub(super) struct Plan {
    pub(super) drafts: Vec<Draft>,
    pub(super) query: Query,
    /// What the query should mean once the objects have their places.
    pub(super) present: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    Attribute,
    Position,
    Ordinal,
    Size,
    Relation,
}

fn side(rng: &mut ChaCha8Rng) -> Side {
    Side::ALL[rng.random_range(0..4)]
}

impl Cast {
    fn kind(&self, rng: &mut ChaCha8Rng) -> Kind {
        let Kinds { name, attribute, position, ordinal, size, relation } = self.kinds;
        let weights = [
            (Kind::Name, name),
            (Kind::Attribute, attribute),
            (Kind::Position, position),
            (Kind::Ordinal, ordinal),
            (Kind::Size, size),
            (Kind::Relation, relation),
        ];
        weights.choose_weighted(rng, |(_, weight)| *weight).map_or(Kind::Name, |(kind, _)| *kind)
    }

    fn size(&self, rng: &mut ChaCha8Rng) -> f32 {
        self.sizes.0 + (self.sizes.1 - self.sizes.0) * rng.random::<f32>()
    }

    /// Any object; in emoji scenes a plain shape now and then.
    fn any(&self, rng: &mut ChaCha8Rng) -> Draft {
        match self.emoji.choose(rng) {
            Some(&class) if rng.random_bool(0.82) => Draft { class, colour: 0, size: self.size(rng) },
            _ => self.shape(rng),
        }
    }

    fn shape(&self, rng: &mut ChaCha8Rng) -> Draft {
        let class = rng.random_range(1..=SHAPES.len() as u16);
        Draft { class, colour: rng.random_range(1..=COLOURS.len() as u16), size: self.size(rng) }
    }

    /// Another object that `noun` fits.
    fn like(&self, noun: Noun, rng: &mut ChaCha8Rng) -> Draft {
        let mut draft = self.shape(rng);
        match noun {
            Noun::Class(class) => draft.class = class,
            Noun::Colour(colour) => draft.colour = colour,
            Noun::Coloured(colour, class) => (draft.class, draft.colour) = (class, colour),
            Noun::Unknown(_) => {}
        }
        if usize::from(draft.class) > SHAPES.len() {
            draft.colour = 0;
        }
        draft
    }

    /// Adds objects up to `count` that none of `nouns` fits.
    fn fill(&self, drafts: &mut Vec<Draft>, count: usize, nouns: &[Noun], rng: &mut ChaCha8Rng) {
        while drafts.len() < count {
            let draft = self.any(rng);
            let thing = draft.thing();
            if !nouns.iter().any(|noun| query::touches(*noun, &thing)) {
                drafts.push(draft);
            }
        }
    }

    /// A plan for `count` objects.
    pub(super) fn plan(&self, count: usize, absent: bool, rng: &mut ChaCha8Rng) -> Plan {
        if absent { self.absent(count, rng) } else { self.present(count, rng) }
    }

    fn present(&self, count: usize, rng: &mut ChaCha8Rng) -> Plan {
        let kind = self.kind(rng);
        let subject = if kind == Kind::Attribute { self.shape(rng) } else { self.any(rng) };
        let mut drafts = vec![subject];
        let noun = match kind {
            Kind::Name => Noun::Class(subject.class),
            Kind::Attribute if rng.random_bool(0.35) => Noun::Colour(subject.colour),
            Kind::Attribute => Noun::Coloured(subject.colour, subject.class),
            _ => query::noun_of(&subject.thing(), false, rng),
        };
        let twins = |least: usize, most: usize, rng: &mut ChaCha8Rng| {
            let most = most.min(count).max(least);
            rng.random_range(least..=most)
        };
        let query = match kind {
            Kind::Name => Query::Plain(noun),
            Kind::Attribute => {
                drafts.push(half_match(self, subject, rng));
                Query::Plain(noun)
            }
            Kind::Position => {
                let twins = twins(2, 3, rng);
                drafts.extend((1..twins).map(|_| self.like(noun, rng)));
                Query::Side(noun, side(rng))
            }
            Kind::Ordinal => {
                let twins = twins(2, 4, rng);
                drafts.extend((1..twins).map(|_| self.like(noun, rng)));
                Query::Ordinal(noun, rng.random_range(1..=twins), side(rng))
            }
            Kind::Size => {
                let (big, twins) = (rng.random_bool(0.5), twins(2, 3, rng));
                drafts.extend((1..twins).map(|_| self.like(noun, rng)));
                // Sizes well apart: one at one end of the range, the others towards the other.
                let (low, high) = self.sizes;
                let (low, high) = (low * 0.9, high * 1.05);
                let ratio = 1.4 + 0.5 * rng.random::<f32>();
                let own = if big {
                    high * (0.85 + 0.15 * rng.random::<f32>())
                } else {
                    low * (1.0 + 0.15 * rng.random::<f32>())
                };
                drafts[0].size = own;
                for other in &mut drafts[1..] {
                    other.size = if big { (own / ratio).max(0.8 * low) } else { (own * ratio).min(1.2 * high) };
                }
                Query::Size(noun, big)
            }
            Kind::Relation => {
                let anchor = self.any(rng);
                let other = query::noun_of(&anchor.thing(), rng.random_bool(0.4), rng);
                if rng.random_bool(0.75) {
                    drafts.push(self.like(noun, rng));
                }
                drafts.push(anchor);
                self.fill(&mut drafts, count, &[noun, other], rng);
                return Plan { drafts, query: Query::Relation(noun, side(rng), other), present: true };
            }
        };
        self.fill(&mut drafts, count, &[noun], rng);
        Plan { drafts, query, present: true }
    }

    /// Queries whose object is missing: unlike anything, half-matching, one too many, on the wrong side.
    fn absent(&self, count: usize, rng: &mut ChaCha8Rng) -> Plan {
        let subject = self.any(rng);
        let mut noun = query::noun_of(&subject.thing(), false, rng);
        let mut drafts = Vec::new();
        let query = match rng.random_range(0..100) {
            0..=5 => {
                noun = query::nonsense(rng);
                self.dress(noun, rng)
            }
            6..=35 => Query::Plain(noun),
            36..=59 => {
                let shape = self.shape(rng);
                noun = Noun::Coloured(shape.colour, shape.class);
                drafts.push(half_match(self, shape, rng));
                if rng.random_bool(0.5) {
                    drafts.push(half_match(self, shape, rng));
                }
                drafts.retain(|draft| !noun.matches(&draft.thing(), &Drawn));
                if rng.random_bool(0.6) { Query::Plain(noun) } else { self.dress(noun, rng) }
            }
            60..=79 => self.dress(noun, rng),
            80..=88 => {
                let twins = rng.random_range(1..=2);
                drafts.extend((0..twins).map(|_| self.like(noun, rng)));
                Query::Ordinal(noun, rng.random_range(twins + 1..=4), side(rng))
            }
            _ => {
                let anchor = self.any(rng);
                let other = query::noun_of(&anchor.thing(), true, rng);
                drafts.extend([self.like(noun, rng), anchor]);
                self.fill(&mut drafts, count, &[noun, other], rng);
                return Plan { drafts, query: Query::Relation(noun, side(rng), other), present: false };
            }
        };
        self.fill(&mut drafts, count, &[noun], rng);
        Plan { drafts, query, present: false }
    }

    /// An expression with more than a noun.
    fn dress(&self, noun: Noun, rng: &mut ChaCha8Rng) -> Query {
        match self.kind(rng) {
            Kind::Name | Kind::Attribute => Query::Plain(noun),
            Kind::Position => Query::Side(noun, side(rng)),
            Kind::Ordinal => Query::Ordinal(noun, rng.random_range(1..=3), side(rng)),
            Kind::Size => Query::Size(noun, rng.random_bool(0.5)),
            Kind::Relation => Query::Relation(noun, side(rng), query::noun_of(&self.any(rng).thing(), false, rng)),
        }
    }

    /// Another question about a scene that stands: one of its things, or none of them.
    pub(super) fn ask(&self, things: &[Thing], absent: bool, rng: &mut ChaCha8Rng) -> Option<Query> {
        const TRIES: usize = 60;
        for _ in 0..TRIES {
            let thing = if absent { self.any(rng).thing() } else { *things.choose(rng)? };
            let mut noun = query::noun_of(&thing, false, rng);
            if absent && rng.random_bool(0.4) {
                let shown = things.choose(rng)?;
                if shown.colour > 0 {
                    noun = Noun::Coloured(other_colour(shown.colour, rng), shown.class);
                }
            }
            let query = self.dress(noun, rng);
            let wanted = match query::resolve(query, things, 1.0) {
                Meaning::One(_) => !absent,
                Meaning::None => absent,
                Meaning::Ambiguous => false,
            };
            if wanted {
                return Some(query);
            }
        }
        None
    }
}

/// The same shape in another colour, or another shape in the same colour.
fn half_match(cast: &Cast, shape: Draft, rng: &mut ChaCha8Rng) -> Draft {
    let mut other = cast.shape(rng);
    if rng.random_bool(0.5) {
        other.class = shape.class;
        other.colour = other_colour(shape.colour, rng);
    } else {
        other.colour = shape.colour;
        while other.class == shape.class {
            other.class = rng.random_range(1..=SHAPES.len() as u16);
        }
    }
    other
}

/// The number of emoji class `index`.
pub(super) fn emoji_class(index: usize) -> u16 {
    debug_assert!(index < EMOJI.len());
    (SHAPES.len() + index + 1) as u16
}
