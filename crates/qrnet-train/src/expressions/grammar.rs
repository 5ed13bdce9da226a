//! Referring expressions over things with a class, a colour, a place and a size: what they mean, and how they are said.
//!
//! Drawn scenes and photographs share this grammar; what their things are called is a matter of their [`Words`].

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// What a query needs to know of an object. Lengths are shares of the picture's scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Thing {
    pub(crate) class: u16,
    /// 0 where there is none to name.
    pub(crate) colour: u16,
    pub(crate) cx: f32,
    pub(crate) cy: f32,
    pub(crate) size: f32,
    /// Somebody may count it or not: too small, or hard to make out. It is never meant.
    pub(crate) doubtful: bool,
}

/// Whether a word is said of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    /// It is not.
    No,
    /// Somebody might say it, though it is not what is meant: a bird, of an owl.
    Perhaps,
    /// It is.
    Yes,
}

/// What things are called. Names, classes and colours are numbers; names and classes need not be the same.
pub(crate) trait Words {
    /// Whether name `name` is said of things of `class`.
    fn fit(&self, name: u16, class: u16) -> Fit;

    /// Whether colour `colour` is said of things whose colour is `shown`, 0 where that has no name.
    fn colour_fit(&self, colour: u16, shown: u16) -> Fit;

    /// One way to say a name.
    fn name(&self, name: u16, rng: &mut ChaCha8Rng) -> &str;

    /// One way to say a colour.
    fn colour(&self, colour: u16, rng: &mut ChaCha8Rng) -> &str;

    /// A word that names nothing.
    fn unknown(&self, word: usize) -> &str;

    /// What stands before `text` where it is not `the`, with the space behind it; `plain` for a name or colour alone.
    fn article(&self, text: &str, plain: bool) -> &'static str;
}

/// A noun phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noun {
    Class(u16),
    Colour(u16),
    Coloured(u16, u16),
    /// A word that names nothing.
    Unknown(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
    Top,
    Bottom,
}

impl Side {
    pub(crate) const ALL: [Self; 4] = [Self::Left, Self::Right, Self::Top, Self::Bottom];

    /// Grows towards the other side.
    pub(crate) fn rank(self, thing: &Thing) -> f32 {
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
pub(crate) enum Query {
    Plain(Noun),
    Side(Noun, Side),
    /// The middle one of three in a row.
    Middle(Noun),
    /// The n-th (from 1) from a side.
    Ordinal(Noun, usize, Side),
    Size(Noun, bool),
    /// The first noun on that side of the second.
    Relation(Noun, Side, Noun),
}

/// What a query points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    One(usize),
    None,
    Ambiguous,
}

/// How clear a comparison must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Margins {
    /// Least distance between neighbours for "left", "second from the left".
    pub(crate) apart: f32,
    /// Least distance for "left of".
    pub(crate) beside: f32,
    /// Least ratio of sizes for "big" and "small".
    pub(crate) ratio: f32,
}

impl Margins {
    /// What is fair at all in a drawn scene.
    pub(crate) const DRAWN: Self = Self { apart: 0.07, beside: 0.12, ratio: 1.35 };

    /// Places must differ by `factor` times as much.
    pub(crate) fn apart_by(self, factor: f32) -> Self {
        Self { apart: factor * self.apart, beside: factor * self.beside, ..self }
    }
}

/// Largest share of their distance from left to right that three things in a row may differ from top to bottom.
const IN_A_ROW: f32 = 0.5;
/// How the n-th is said.
const ORDINALS: [&str; 4] = ["first", "second", "third", "fourth"];
/// The most that an ordinal counts to.
pub(crate) const MOST: usize = ORDINALS.len();

impl Noun {
    fn fit(self, thing: &Thing, words: &impl Words) -> Fit {
        let fit = match self {
            Self::Class(name) => words.fit(name, thing.class),
            Self::Colour(colour) => words.colour_fit(colour, thing.colour),
            Self::Coloured(colour, name) => words.fit(name, thing.class).min(words.colour_fit(colour, thing.colour)),
            Self::Unknown(_) => Fit::No,
        };
        if thing.doubtful { fit.min(Fit::Perhaps) } else { fit }
    }

    pub(crate) fn matches(self, thing: &Thing, words: &impl Words) -> bool {
        self.fit(thing, words) == Fit::Yes
    }

    /// Whether somebody might say this of `thing`, though it is not what is meant. A query with such a thing in sight is
    /// no fair question.
    pub(crate) fn doubtful(self, thing: &Thing, words: &impl Words) -> bool {
        self.fit(thing, words) == Fit::Perhaps
    }

    fn say(self, words: &impl Words, rng: &mut ChaCha8Rng) -> String {
        match self {
            Self::Class(c) => words.name(c, rng).to_owned(),
            Self::Colour(c) => format!("{} {}", words.colour(c, rng), pick(rng, &["one", "thing"])),
            Self::Coloured(c, k) => format!("{} {}", words.colour(c, rng), words.name(k, rng)),
            Self::Unknown(word) => words.unknown(word).to_owned(),
        }
    }
}

/// The n-th of those in order, where all neighbours differ by `apart`.
fn nth(order: &[(usize, f32)], n: usize, apart: f32) -> Meaning {
    if order.windows(2).any(|pair| pair[1].1 - pair[0].1 < apart) {
        return Meaning::Ambiguous;
    }
    order.get(n - 1).map_or(Meaning::None, |(found, _)| Meaning::One(*found))
}

/// The first of several, where it differs from the next by `least`.
fn foremost(order: &[(usize, f32)], least: f32) -> Meaning {
    match order {
        [first, second, ..] if second.1 - first.1 >= least => Meaning::One(first.0),
        _ => Meaning::Ambiguous,
    }
}

/// The middle one of three that stand side by side.
fn middle(order: &[(usize, f32)], things: &[Thing], apart: f32) -> Meaning {
    let [first, second, third] = order else { return Meaning::Ambiguous };
    let height = |(i, _): &(usize, f32)| things[*i].cy;
    let heights = order.iter().map(height);
    let spread = heights.clone().fold(f32::MIN, f32::max) - heights.fold(f32::MAX, f32::min);
    if spread > IN_A_ROW * (third.1 - first.1) {
        return Meaning::Ambiguous;
    }
    if second.1 - first.1 < apart || third.1 - second.1 < apart { Meaning::Ambiguous } else { Meaning::One(second.0) }
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

    pub(crate) fn noun(self) -> Noun {
        match self {
            Self::Plain(noun)
            | Self::Side(noun, _)
            | Self::Middle(noun)
            | Self::Ordinal(noun, ..)
            | Self::Size(noun, _)
            | Self::Relation(noun, ..) => noun,
        }
    }

    /// The kind of expression, as reports name it.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Plain(Noun::Class(_) | Noun::Unknown(_)) => "name",
            Self::Plain(_) => "attribute",
            Self::Side(..) | Self::Middle(_) => "position",
            Self::Ordinal(..) => "ordinal",
            Self::Size(..) => "size",
            Self::Relation(..) => "relation",
        }
    }

    /// Which of `things` is meant.
    pub(crate) fn resolve(self, things: &[Thing], words: &impl Words, margins: Margins) -> Meaning {
        if self.nouns().any(|noun| things.iter().any(|thing| noun.doubtful(thing, words))) {
            return Meaning::Ambiguous;
        }
        let all = |noun: Noun| (0..things.len()).filter(move |&i| noun.matches(&things[i], words));
        let mut matching: Vec<usize> = all(self.noun()).collect();
        if matching.is_empty() {
            return Meaning::None;
        }
        let order = |rank: &dyn Fn(&Thing) -> f32| {
            let mut order: Vec<(usize, f32)> = matching.iter().map(|&i| (i, rank(&things[i]))).collect();
            order.sort_by(|a, b| a.1.total_cmp(&b.1));
            order
        };
        match self {
            Self::Plain(_) => match matching.as_slice() {
                [only] => Meaning::One(*only),
                _ => Meaning::Ambiguous,
            },
            Self::Side(_, side) => foremost(&order(&|thing| side.rank(thing)), margins.apart),
            Self::Middle(_) => middle(&order(&|thing| Side::Left.rank(thing)), things, margins.apart),
            Self::Ordinal(_, n, side) => nth(&order(&|thing| side.rank(thing)), n, margins.apart),
            Self::Size(_, big) => {
                let rank = |thing: &Thing| if big { -thing.size.ln() } else { thing.size.ln() };
                foremost(&order(&rank), margins.ratio.ln())
            }
            Self::Relation(_, side, anchor) => {
                let anchors: Vec<usize> = all(anchor).collect();
                let [anchor] = anchors.as_slice() else {
                    return if anchors.is_empty() { Meaning::None } else { Meaning::Ambiguous };
                };
                let beside = |i: usize| side.rank(&things[*anchor]) - side.rank(&things[i]);
                matching.retain(|i| i != anchor);
                if matching.iter().any(|&i| beside(i).abs() < margins.beside) {
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
    pub(crate) fn phrase(self, words: &impl Words, rng: &mut ChaCha8Rng) -> String {
        let core = match self {
            Self::Plain(noun) => noun.say(words, rng),
            Self::Side(noun, side) => {
                let noun = noun.say(words, rng);
                let (adjective, place) = match side {
                    Side::Left => (pick(rng, &["left", "leftmost"]), "on the left"),
                    Side::Right => (pick(rng, &["right", "rightmost"]), "on the right"),
                    Side::Top => (pick(rng, &["top", "upper", "topmost"]), "at the top"),
                    Side::Bottom => (pick(rng, &["bottom", "lower", "bottommost"]), "at the bottom"),
                };
                if rng.random_bool(0.5) { format!("{adjective} {noun}") } else { format!("{noun} {place}") }
            }
            Self::Middle(noun) => {
                let noun = noun.say(words, rng);
                if rng.random_bool(0.5) { format!("middle {noun}") } else { format!("{noun} in the middle") }
            }
            Self::Ordinal(noun, n, side) => {
                let ordinal = ORDINALS[n - 1];
                let side = match side {
                    Side::Left => "left",
                    Side::Right => "right",
                    Side::Top => "top",
                    Side::Bottom => "bottom",
                };
                format!("{ordinal} {} from the {side}", noun.say(words, rng))
            }
            Self::Size(noun, big) => {
                let size = if big {
                    pick(rng, &["big", "bigger", "biggest", "large", "largest"])
                } else {
                    pick(rng, &["small", "smaller", "smallest"])
                };
                format!("{size} {}", noun.say(words, rng))
            }
            Self::Relation(noun, side, anchor) => {
                let relation = match side {
                    Side::Left => pick(rng, &["left of", "to the left of"]),
                    Side::Right => pick(rng, &["right of", "to the right of"]),
                    Side::Top => "above",
                    Side::Bottom => pick(rng, &["below", "under"]),
                };
                let noun = noun.say(words, rng);
                let link = if rng.random_bool(0.08) { " that is" } else { "" };
                format!("{noun}{link} {relation} the {}", anchor.say(words, rng))
            }
        };
        let mut text = core;
        if rng.random_bool(0.85) || matches!(self.noun(), Noun::Unknown(_)) {
            let plain = matches!(self, Self::Plain(_));
            let article = if rng.random_bool(0.9) { "the " } else { words.article(&text, plain) };
            text.insert_str(0, article);
        }
        if rng.random_bool(0.04) {
            text.push_str(pick(rng, &[".", "!", "?", " ,"]));
        }
        text
    }
}

/// One of `words`.
pub(crate) fn pick<'a>(rng: &mut ChaCha8Rng, words: &[&'a str]) -> &'a str {
    words.choose(rng).copied().unwrap_or_default()
}
