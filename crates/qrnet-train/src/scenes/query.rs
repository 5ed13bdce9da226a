//! Referring expressions over a scene: what they mean, and how they are said.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::names::{COLOURS, EMOJI, NONSENSE, SHAPES, class_name, colour_name};

/// What a query needs to know of an object. Lengths are shares of the picture's scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Thing {
    pub(super) class: u16,
    pub(super) colour: u16,
    pub(super) cx: f32,
    pub(super) cy: f32,
    pub(super) size: f32,
}

/// A noun phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noun {
    Class(u16),
    Colour(u16),
    Coloured(u16, u16),
    /// A word that names nothing.
    Unknown(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
    Top,
    Bottom,
}

impl Side {
    pub(super) const ALL: [Self; 4] = [Self::Left, Self::Right, Self::Top, Self::Bottom];

    /// Grows towards the other side.
    fn rank(self, thing: &Thing) -> f32 {
        match self {
            Self::Left => thing.cx,
            Self::Right => -thing.cx,
            Self::Top => thing.cy,
            Self::Bottom => -thing.cy,
        }
    }
}

/// A referring expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Query {
    Plain(Noun),
    Side(Noun, Side),
    /// The n-th (from 1) from a side.
    Ordinal(Noun, usize, Side),
    Size(Noun, bool),
    /// The first noun on that side of the second.
    Relation(Noun, Side, Noun),
}

/// What a query points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    One(usize),
    None,
    Ambiguous,
}

/// Least distance between neighbours for "left", "second from the left".
const APART: f32 = 0.07;
/// Least ratio of sizes for "big" and "small".
const RATIO: f32 = 1.35;
/// Least distance for "left of".
const BESIDE: f32 = 0.12;

impl Noun {
    pub(super) fn matches(self, thing: &Thing) -> bool {
        match self {
            Self::Class(class) => thing.class == class,
            Self::Colour(colour) => thing.colour == colour,
            Self::Coloured(colour, class) => thing.class == class && thing.colour == colour,
            Self::Unknown(_) => false,
        }
    }
}

/// Names that take in others: whoever asks for a bird may mean the owl.
const UMBRELLAS: [(&str, &[&str]); 2] = [("bird", &["duck", "owl", "penguin"]), ("bear", &["panda", "koala"])];

impl Noun {
    /// Whether somebody might say this of `thing`, though it is not what is meant: a colour, of an emoji that has some of
    /// it; a bird, of an owl. A query with such a thing in sight is no fair question.
    pub(super) fn doubtful(self, thing: &Thing) -> bool {
        match self {
            Self::Colour(_) => thing.colour == 0,
            Self::Class(class) => {
                let own = class_name(class);
                let other = class_name(thing.class);
                UMBRELLAS.iter().any(|(umbrella, under)| own == *umbrella && under.contains(&other))
            }
            Self::Coloured(..) | Self::Unknown(_) => false,
        }
    }
}

impl Query {
    /// Its nouns: the subject, and what it is compared with.
    fn nouns(self) -> impl Iterator<Item = Noun> {
        let anchor = match self {
            Self::Relation(_, _, anchor) => Some(anchor),
            _ => None,
        };
        std::iter::once(self.noun()).chain(anchor)
    }

    pub(super) fn noun(self) -> Noun {
        match self {
            Self::Plain(noun)
            | Self::Side(noun, _)
            | Self::Ordinal(noun, ..)
            | Self::Size(noun, _)
            | Self::Relation(noun, ..) => noun,
        }
    }

    /// The kind of expression, as reports name it.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Plain(Noun::Class(_) | Noun::Unknown(_)) => "name",
            Self::Plain(_) => "attribute",
            Self::Side(..) => "position",
            Self::Ordinal(..) => "ordinal",
            Self::Size(..) => "size",
            Self::Relation(..) => "relation",
        }
    }

    /// Which of `things` is meant.
    pub(super) fn resolve(self, things: &[Thing]) -> Meaning {
        self.resolve_apart(things, 1.0)
    }

    /// As [`Query::resolve`], where places must differ by `margin` times what is fair at all.
    pub(super) fn resolve_apart(self, things: &[Thing], margin: f32) -> Meaning {
        let (apart, beside_least) = (margin * APART, margin * BESIDE);
        if self.nouns().any(|noun| things.iter().any(|thing| noun.doubtful(thing))) {
            return Meaning::Ambiguous;
        }
        let mut matching: Vec<usize> = (0..things.len()).filter(|&i| self.noun().matches(&things[i])).collect();
        if matching.is_empty() {
            return Meaning::None;
        }
        match self {
            Self::Plain(_) => match matching.as_slice() {
                [only] => Meaning::One(*only),
                _ => Meaning::Ambiguous,
            },
            Self::Side(_, side) => {
                let rank = |i: usize| side.rank(&things[i]);
                matching.sort_by(|&a, &b| rank(a).total_cmp(&rank(b)));
                match matching.as_slice() {
                    [first, second, ..] if rank(*second) - rank(*first) >= apart => Meaning::One(*first),
                    _ => Meaning::Ambiguous,
                }
            }
            Self::Ordinal(_, n, side) => {
                let rank = |i: usize| side.rank(&things[i]);
                matching.sort_by(|&a, &b| rank(a).total_cmp(&rank(b)));
                let clear = matching.windows(2).all(|pair| rank(pair[1]) - rank(pair[0]) >= apart);
                match matching.get(n - 1) {
                    _ if !clear => Meaning::Ambiguous,
                    Some(found) => Meaning::One(*found),
                    None => Meaning::None,
                }
            }
            Self::Size(_, big) => {
                let rank = |i: usize| if big { -things[i].size.ln() } else { things[i].size.ln() };
                matching.sort_by(|&a, &b| rank(a).total_cmp(&rank(b)));
                match matching.as_slice() {
                    [first, second, ..] if rank(*second) - rank(*first) >= RATIO.ln() => Meaning::One(*first),
                    _ => Meaning::Ambiguous,
                }
            }
            Self::Relation(_, side, anchor) => {
                let anchors: Vec<usize> = (0..things.len()).filter(|&i| anchor.matches(&things[i])).collect();
                let [anchor] = anchors.as_slice() else {
                    return if anchors.is_empty() { Meaning::None } else { Meaning::Ambiguous };
                };
                let beside = |i: usize| side.rank(&things[*anchor]) - side.rank(&things[i]);
                matching.retain(|i| i != anchor);
                if matching.iter().any(|&i| beside(i).abs() < beside_least) {
                    return Meaning::Ambiguous;
                }
                let found: Vec<usize> = matching.into_iter().filter(|&i| beside(i) > 0.0).collect();
                match found.as_slice() {
                    [] => Meaning::None,
                    [only] => Meaning::One(*only),
                    _ => Meaning::Ambiguous,
                }
            }
        }
    }

    /// One way to say it.
    pub(super) fn phrase(self, rng: &mut ChaCha8Rng) -> String {
        let core = match self {
            Self::Plain(noun) => noun.say(rng),
            Self::Side(noun, side) => {
                let noun = noun.say(rng);
                let (adjective, place) = match side {
                    Side::Left => (pick(rng, &["left", "leftmost"]), "on the left"),
                    Side::Right => (pick(rng, &["right", "rightmost"]), "on the right"),
                    Side::Top => (pick(rng, &["top", "upper", "topmost"]), "at the top"),
                    Side::Bottom => (pick(rng, &["bottom", "lower", "bottommost"]), "at the bottom"),
                };
                if rng.random_bool(0.5) { format!("{adjective} {noun}") } else { format!("{noun} {place}") }
            }
            Self::Ordinal(noun, n, side) => {
                let ordinal = ["first", "second", "third", "fourth"][n - 1];
                let side = match side {
                    Side::Left => "left",
                    Side::Right => "right",
                    Side::Top => "top",
                    Side::Bottom => "bottom",
                };
                format!("{ordinal} {} from the {side}", noun.say(rng))
            }
            Self::Size(noun, big) => {
                let size = if big {
                    pick(rng, &["big", "bigger", "biggest", "large", "largest"])
                } else {
                    pick(rng, &["small", "smaller", "smallest"])
                };
                format!("{size} {}", noun.say(rng))
            }
            Self::Relation(noun, side, anchor) => {
                let relation = match side {
                    Side::Left => pick(rng, &["left of", "to the left of"]),
                    Side::Right => pick(rng, &["right of", "to the right of"]),
                    Side::Top => "above",
                    Side::Bottom => pick(rng, &["below", "under"]),
                };
                let noun = noun.say(rng);
                let link = if rng.random_bool(0.08) { " that is" } else { "" };
                format!("{noun}{link} {relation} the {}", anchor.say(rng))
            }
        };
        let mut text = core;
        if rng.random_bool(0.85) || matches!(self.noun(), Noun::Unknown(_)) {
            text.insert_str(0, if rng.random_bool(0.9) { "the " } else { "a " });
        }
        if rng.random_bool(0.04) {
            text.push_str(pick(rng, &[".", "!", "?", " ,"]));
        }
        text
    }
}

fn pick<'a>(rng: &mut ChaCha8Rng, words: &[&'a str]) -> &'a str {
    words.choose(rng).copied().unwrap_or_default()
}

impl Noun {
    fn say(self, rng: &mut ChaCha8Rng) -> String {
        let class = |class: u16, rng: &mut ChaCha8Rng| match usize::from(class) - 1 {
            shape if shape < SHAPES.len() => SHAPES[shape].name,
            emoji => {
                let names = EMOJI[emoji - SHAPES.len()];
                if rng.random_bool(0.7) { names[0] } else { pick(rng, names) }
            }
        };
        let colour = |colour: u16, rng: &mut ChaCha8Rng| match colour_name(colour) {
            "grey" if rng.random_bool(0.3) => "gray",
            name => name,
        };
        match self {
            Self::Class(c) => class(c, rng).to_owned(),
            Self::Colour(c) => format!("{} {}", colour(c, rng), pick(rng, &["one", "thing"])),
            Self::Coloured(c, k) => format!("{} {}", colour(c, rng), class(k, rng)),
            Self::Unknown(word) => NONSENSE[word % NONSENSE.len()].to_owned(),
        }
    }

    /// Any noun that fits `thing`; `precise` asks for the narrowest.
    pub(super) fn of(thing: &Thing, precise: bool, rng: &mut ChaCha8Rng) -> Self {
        if thing.colour == 0 {
            return Self::Class(thing.class);
        }
        match rng.random_range(0..10) {
            _ if precise => Self::Coloured(thing.colour, thing.class),
            0..=4 => Self::Coloured(thing.colour, thing.class),
            5..=7 => Self::Class(thing.class),
            _ => Self::Colour(thing.colour),
        }
    }

    /// A noun that fits nothing, for a vocabulary word out of place.
    pub(super) fn nonsense(rng: &mut ChaCha8Rng) -> Self {
        Self::Unknown(rng.random_range(0..NONSENSE.len()))
    }
}

/// A colour number that is not `other`.
pub(super) fn other_colour(other: u16, rng: &mut ChaCha8Rng) -> u16 {
    loop {
        let colour = rng.random_range(1..=COLOURS.len() as u16);
        if colour != other {
            return colour;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn thing(class: u16, colour: u16, cx: f32, cy: f32, size: f32) -> Thing {
        Thing { class, colour, cx, cy, size }
    }

    #[test]
    fn queries_mean_what_they_say() {
        let things = [
            thing(1, 1, 0.2, 0.2, 0.3),
            thing(1, 5, 0.55, 0.8, 0.2),
            thing(1, 1, 0.9, 0.5, 0.2),
            thing(2, 5, 0.4, 0.4, 0.2),
        ];
        let circle = Noun::Class(1);
        let cases = [
            (Query::Plain(Noun::Class(2)), Meaning::One(3)),
            (Query::Plain(circle), Meaning::Ambiguous),
            (Query::Plain(Noun::Coloured(5, 1)), Meaning::One(1)),
            (Query::Plain(Noun::Coloured(5, 3)), Meaning::None),
            (Query::Side(circle, Side::Left), Meaning::One(0)),
            (Query::Side(circle, Side::Bottom), Meaning::One(1)),
            (Query::Side(Noun::Class(2), Side::Bottom), Meaning::Ambiguous),
            (Query::Ordinal(circle, 2, Side::Left), Meaning::One(1)),
            (Query::Ordinal(circle, 3, Side::Top), Meaning::One(1)),
            (Query::Ordinal(circle, 4, Side::Top), Meaning::None),
            (Query::Size(circle, true), Meaning::One(0)),
            (Query::Size(circle, false), Meaning::Ambiguous),
            (Query::Relation(circle, Side::Left, Noun::Class(2)), Meaning::One(0)),
            (Query::Relation(circle, Side::Top, Noun::Class(2)), Meaning::Ambiguous),
            (Query::Relation(Noun::Class(2), Side::Left, Noun::Coloured(5, 1)), Meaning::One(3)),
            (Query::Relation(circle, Side::Left, Noun::Class(7)), Meaning::None),
            (Query::Plain(Noun::Unknown(0)), Meaning::None),
        ];
        for (query, meaning) in cases {
            assert_eq!(query.resolve(&things), meaning, "{query:?}");
        }
    }

    #[test]
    fn phrases_are_short_and_known() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let known: Vec<&str> = super::super::names::words().collect();
        for _ in 0..2000 {
            let noun = |rng: &mut ChaCha8Rng| {
                Noun::of(&thing(rng.random_range(1..=78), rng.random_range(0..=11), 0.0, 0.0, 0.1), false, rng)
            };
            let (a, b) = (noun(&mut rng), noun(&mut rng));
            let side = *Side::ALL.choose(&mut rng).expect("four");
            for query in [
                Query::Plain(a),
                Query::Side(a, side),
                Query::Ordinal(a, 3, side),
                Query::Size(a, true),
                Query::Relation(a, side, b),
            ] {
                let phrase = query.phrase(&mut rng);
                let words: Vec<String> =
                    phrase.replace(['.', ',', '!', '?'], " ").split_whitespace().map(str::to_owned).collect();
                assert!(words.len() <= 12, "{phrase}");
                assert!(words.iter().all(|word| known.contains(&word.as_str())), "{phrase}");
            }
        }
    }
}
