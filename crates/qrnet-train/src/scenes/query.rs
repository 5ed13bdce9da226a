//! What drawn scenes are asked: the grammar over their shapes, emoji and colours.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::names::{COLOURS, EMOJI, NONSENSE, SHAPES, class_name, colour_name};
use crate::expressions::grammar::{self, Fit, Margins, Words};
pub(super) use crate::expressions::grammar::{Meaning, Noun, Query, Side, Thing};

/// The words of drawn scenes: the number of a name is that of its class.
pub(super) struct Drawn;

/// Names that take in others: whoever asks for a bird may mean the owl.
const UMBRELLAS: [(&str, &[&str]); 2] = [("bird", &["duck", "owl", "penguin"]), ("bear", &["panda", "koala"])];

impl Words for Drawn {
    fn fit(&self, name: u16, class: u16) -> Fit {
        if name == class {
            return Fit::Yes;
        }
        let (own, other) = (class_name(name), class_name(class));
        let may = UMBRELLAS.iter().any(|(umbrella, under)| own == *umbrella && under.contains(&other));
        if may { Fit::Perhaps } else { Fit::No }
    }

    /// Emoji have some of every colour.
    fn colour_fit(&self, colour: u16, shown: u16) -> Fit {
        match shown {
            0 => Fit::Perhaps,
            _ if shown == colour => Fit::Yes,
            _ => Fit::No,
        }
    }

    fn name(&self, name: u16, rng: &mut ChaCha8Rng) -> &str {
        match usize::from(name) - 1 {
            shape if shape < SHAPES.len() => SHAPES[shape].name,
            emoji => {
                let names = EMOJI[emoji - SHAPES.len()];
                if rng.random_bool(0.7) { names[0] } else { grammar::pick(rng, names) }
            }
        }
    }

    fn colour(&self, colour: u16, rng: &mut ChaCha8Rng) -> &str {
        match colour_name(colour) {
            "grey" if rng.random_bool(0.3) => "gray",
            name => name,
        }
    }

    fn unknown(&self, word: usize) -> &str {
        NONSENSE[word % NONSENSE.len()]
    }

    fn article(&self, _text: &str, _plain: bool) -> &'static str {
        "a "
    }
}

/// Which of `things` is meant, where places must differ by `apart` times what is fair at all.
pub(super) fn resolve(query: Query, things: &[Thing], apart: f32) -> Meaning {
    query.resolve(things, &Drawn, Margins::DRAWN.apart_by(apart))
}

/// Whether `noun` is or might be said of `thing`.
pub(super) fn touches(noun: Noun, thing: &Thing) -> bool {
    noun.matches(thing, &Drawn) || noun.doubtful(thing, &Drawn)
}

/// Any noun that fits `thing`; `precise` asks for the narrowest.
pub(super) fn noun_of(thing: &Thing, precise: bool, rng: &mut ChaCha8Rng) -> Noun {
    if thing.colour == 0 {
        return Noun::Class(thing.class);
    }
    match rng.random_range(0..10) {
        _ if precise => Noun::Coloured(thing.colour, thing.class),
        0..=4 => Noun::Coloured(thing.colour, thing.class),
        5..=7 => Noun::Class(thing.class),
        _ => Noun::Colour(thing.colour),
    }
}

/// A noun that fits nothing, for a vocabulary word out of place.
pub(super) fn nonsense(rng: &mut ChaCha8Rng) -> Noun {
    Noun::Unknown(rng.random_range(0..NONSENSE.len()))
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
    use rand::seq::IndexedRandom;

    use super::*;

    fn thing(class: u16, colour: u16, cx: f32, cy: f32, size: f32) -> Thing {
        Thing { class, colour, cx, cy, size, doubtful: false }
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
            assert_eq!(resolve(query, &things, 1.0), meaning, "{query:?}");
        }
    }

    #[test]
    fn phrases_are_short_and_known() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let known: Vec<&str> = super::super::names::words().collect();
        for _ in 0..2000 {
            let noun = |rng: &mut ChaCha8Rng| {
                noun_of(&thing(rng.random_range(1..=78), rng.random_range(0..=11), 0.0, 0.0, 0.1), false, rng)
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
                let phrase = query.phrase(&Drawn, &mut rng);
                let words: Vec<String> =
                    phrase.replace(['.', ',', '!', '?'], " ").split_whitespace().map(str::to_owned).collect();
                assert!(words.len() <= 12, "{phrase}");
                assert!(words.iter().all(|word| known.contains(&word.as_str())), "{phrase}");
            }
        }
    }
}
