//! What the things of one labelled set are called.

use rand_chacha::ChaCha8Rng;

use super::colours;
use super::grammar::{Fit, Words};
use super::nouns;
use crate::data::labelled::LabelledSet;
use crate::scenes::colour_name;

/// Names that stand for one thing but are no singular: never counted, never with `a`.
const NO_SINGULAR: [&str; 2] = ["skis", "scissors"];

/// One name, and whether it is said of each class of the set.
#[derive(Debug, Clone)]
struct Name {
    text: String,
    fits: Vec<Fit>,
}

/// Names of a set's classes. A class is its number among those of the set, from 0.
#[derive(Debug, Clone)]
pub(crate) struct Vocabulary {
    names: Vec<Name>,
    /// Names of each class, the usual one first.
    of_class: Vec<Vec<u16>>,
    /// Names that take in several classes.
    umbrellas: Vec<u16>,
    /// Numbers that are the same in every set.
    numbers: Vec<Option<u16>>,
}

impl Vocabulary {
    /// With `hold_out`, without the synonyms that a comparison leaves out.
    pub(crate) fn new(set: &LabelledSet, hold_out: bool) -> Self {
        let numbers: Vec<Option<u16>> = set.classes.iter().map(|name| nouns::class_number(name)).collect();
        let mut names: Vec<Name> = Vec::new();
        let mut of_class = Vec::new();
        for (class, number) in numbers.iter().enumerate() {
            let own = match number {
                Some(number) => nouns::names(*number).map(str::to_owned).collect(),
                None => vec![plainly(&set.classes[class])],
            };
            let own = own.into_iter().filter(|text| !(hold_out && nouns::says_held_out(text)));
            let mut list = Vec::new();
            for text in own {
                let name = names.iter().position(|name| name.text == text).unwrap_or_else(|| {
                    names.push(Name { fits: fits(&text, &set.classes, &numbers, class), text });
                    names.len() - 1
                });
                names[name].fits[class] = Fit::Yes;
                list.push(name as u16);
            }
            of_class.push(list);
        }
        let mut umbrellas = Vec::new();
        for (text, under) in nouns::umbrellas() {
            // Where the set leaves out one of its kind, that may stand in the picture without a box.
            let whole = nouns::classes(under).all(|class| numbers.contains(&Some(class)));
            if whole && !(hold_out && nouns::says_held_out(text)) {
                let meant = nouns::meanings(text);
                let fit = |number: &Option<u16>| match number.map(nouns::Meanings::of_class) {
                    Some(class) if class.meets(under) => Fit::Yes,
                    Some(class) if class.meets(meant) => Fit::Perhaps,
                    Some(_) => Fit::No,
                    None => Fit::Perhaps,
                };
                umbrellas.push(names.len() as u16);
                names.push(Name { text: text.to_owned(), fits: numbers.iter().map(fit).collect() });
            }
        }
        Self { names, of_class, umbrellas, numbers }
    }

    /// Names of a class, the usual one first; none where all are held out.
    pub(crate) fn names_of(&self, class: u16) -> &[u16] {
        self.of_class.get(usize::from(class)).map_or(&[], Vec::as_slice)
    }

    /// Names of several classes that take in this one.
    pub(crate) fn umbrellas_of(&self, class: u16) -> impl Iterator<Item = u16> {
        self.umbrellas.iter().copied().filter(move |&name| self.fit(name, class) == Fit::Yes)
    }

    /// A name as it is said.
    pub(crate) fn text(&self, name: u16) -> &str {
        &self.names[usize::from(name)].text
    }

    /// The name that is said so.
    pub(crate) fn find(&self, text: &str) -> Option<u16> {
        self.names.iter().position(|name| name.text == text).map(|name| name as u16)
    }

    /// Whether a name can be counted.
    pub(crate) fn singular(&self, name: u16) -> bool {
        !NO_SINGULAR.contains(&self.text(name))
    }

    /// The number of a class in every set, from 1; none where only this set knows it.
    pub(crate) fn number(&self, class: u16) -> Option<u16> {
        self.numbers[usize::from(class)]
    }

    /// Classes.
    pub(crate) fn classes(&self) -> u16 {
        self.numbers.len() as u16
    }

    /// All that may be said of things, for a vocabulary.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| name.text.as_str())
    }
}

/// A class's name in plain words.
fn plainly(name: &str) -> String {
    let words: Vec<String> = name
        .split(|c: char| c == '_' || c == '-' || c.is_whitespace())
        .filter(|w| !w.is_empty())
        .map(str::to_lowercase)
        .collect();
    words.join(" ")
}

/// Whether `text`, a name of class `own`, is or may be said of each of `classes`. What only this set knows, a `van` or a
/// `rider`, may be what its own words say.
fn fits(text: &str, classes: &[String], numbers: &[Option<u16>], own: usize) -> Vec<Fit> {
    let meant = nouns::meanings(text);
    let fit = |(class, number): (usize, &Option<u16>)| match number {
        _ if class == own => Fit::Yes,
        Some(number) if nouns::names(*number).any(|name| name == text) => Fit::Yes,
        Some(number) if meant.meets(nouns::Meanings::of_class(*number)) => Fit::Perhaps,
        None if meant.meets(nouns::meanings(&plainly(&classes[class]))) => Fit::Perhaps,
        _ => Fit::No,
    };
    numbers.iter().enumerate().map(fit).collect()
}

impl Words for Vocabulary {
    fn fit(&self, name: u16, class: u16) -> Fit {
        self.names[usize::from(name)].fits[usize::from(class)]
    }

    fn colour_fit(&self, colour: u16, shown: u16) -> Fit {
        match shown {
            0 => Fit::Perhaps,
            _ if shown == colour => Fit::Yes,
            _ if colours::near(colour, shown) => Fit::Perhaps,
            _ => Fit::No,
        }
    }

    fn name(&self, name: u16, _rng: &mut ChaCha8Rng) -> &str {
        self.text(name)
    }

    fn colour(&self, colour: u16, _rng: &mut ChaCha8Rng) -> &str {
        colour_name(colour)
    }

    fn unknown(&self, _word: usize) -> &'static str {
        ""
    }

    fn article(&self, text: &str, plain: bool) -> &'static str {
        let last = text.rsplit(' ').next().unwrap_or_default();
        if !plain || NO_SINGULAR.contains(&last) && !text.contains("pair of") {
            return "the ";
        }
        if text.starts_with(['a', 'e', 'i', 'o', 'u']) { "an " } else { "a " }
    }
}
