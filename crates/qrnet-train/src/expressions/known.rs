//! What is known of one labelled picture before its pixels: things with places, words that were said of it, and which
//! of people's phrases mean one thing in it.

use blocks::preprocess::Rect;

use super::grammar::{Margins, Thing};
use super::nouns::{self, Meanings};
use super::vocabulary::Vocabulary;
use crate::data::labelled::{LabelledPicture, LabelledSet};

/// How clear places and sizes must be in a photograph: centres a tenth of the picture apart.
pub(crate) const PHOTOGRAPHED: Margins = Margins { apart: 0.10, beside: 0.12, ratio: 1.35 };

/// Words that say which one only to those who have heard of the others.
const POINTING: [&str; 21] = [
    "another",
    "other",
    "others",
    "each",
    "both",
    "all",
    "rest",
    "they",
    "them",
    "it",
    "he",
    "she",
    "him",
    "himself",
    "herself",
    "itself",
    "themselves",
    "same",
    "one",
    "something",
    "someone",
];
/// Words that do not tell one thing from another.
const EMPTY: [&str; 11] = ["a", "an", "the", "his", "her", "its", "their", "some", "this", "that", "of"];
/// Two referents whose boxes overlap more than this are one.
const SAME: f64 = 0.7;

/// One of people's phrases for a referent of the picture.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    /// Index of the referent.
    pub(crate) referent: usize,
    /// Index of the phrase.
    pub(crate) phrase: usize,
    /// What its head may mean.
    pub(crate) head: Meanings,
    /// Whether it means one thing of the picture.
    pub(crate) clear: bool,
}

/// A picture as far as its labels tell.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// Index into the set.
    pub(crate) picture: usize,
    /// Its objects, in their order; classes are those of the set, colours are not known yet.
    pub(crate) things: Vec<Thing>,
    /// Phrases that may be asked.
    pub(crate) said: Vec<Said>,
    /// All that labels, phrases and captions mention.
    pub(crate) told: Meanings,
    /// Their words, as singulars in alphabetical order.
    words: Vec<String>,
}

fn area(rect: &Rect) -> f64 {
    rect.width() * rect.height()
}

/// The share of the picture that a box covers.
pub(crate) fn share(picture: &LabelledPicture, rect: &Rect) -> f64 {
    area(rect) / (picture.width * picture.height)
}

fn things(picture: &LabelledPicture, least_area: f64) -> Vec<Thing> {
    let thing = |object: &crate::data::labelled::LabelledObject| {
        let (cx, cy) = object.rect.centre();
        let share = share(picture, &object.rect);
        Thing {
            class: object.class as u16,
            colour: 0,
            cx: (cx / picture.width) as f32,
            cy: (cy / picture.height) as f32,
            size: share.sqrt() as f32,
            doubtful: object.difficult || object.crowd || share < least_area,
        }
    };
    picture.objects.iter().map(thing).collect()
}

/// What every phrase of a picture says, by referent.
struct Phrase {
    referent: usize,
    number: usize,
    /// Singulars of the words that tell, the head apart.
    more: Vec<String>,
    head: String,
    means: Meanings,
}

fn phrases(picture: &LabelledPicture) -> Vec<Phrase> {
    let mut all = Vec::new();
    for (referent, found) in picture.referents.iter().enumerate() {
        for (number, text) in found.phrases.iter().enumerate() {
            let head = nouns::head_noun(text).map(|head| nouns::lemma(&head.to_lowercase())).unwrap_or_default();
            let mut more = nouns::lemmas(text);
            more.retain(|word| *word != head && !EMPTY.contains(&word.as_str()));
            let means = nouns::meanings(&head);
            all.push(Phrase { referent, number, more, head, means });
        }
    }
    all
}

impl Phrase {
    /// Whether all that this says may be true of what the other one means.
    fn suits(&self, other: &Self) -> bool {
        let head = self.head == other.head || (!other.means.is_empty() && other.means.within(self.means));
        let known = |word: &String| other.more.contains(word) || *word == other.head;
        head && self.more.iter().all(known)
    }
}

/// Phrases of what is large enough; clear are those that mean one thing of the picture: not "another man", nor "a man"
/// beside "a man in red".
fn said(picture: &LabelledPicture, all: &[Phrase], least_area: f64) -> Vec<Said> {
    let large = |phrase: &&Phrase| share(picture, &picture.referents[phrase.referent].rect) >= least_area;
    let clear = |phrase: &Phrase| {
        let rect = picture.referents[phrase.referent].rect;
        let points = POINTING.iter().any(|word| phrase.head == *word || phrase.more.iter().any(|more| more == word));
        let elsewhere = |other: &Phrase| picture.referents[other.referent].rect.overlap(&rect) < SAME;
        let suits = |other: &Phrase| other.referent != phrase.referent && elsewhere(other) && phrase.suits(other);
        let noun = !phrase.head.is_empty() && !nouns::is_no_noun(&phrase.head);
        noun && !points && !all.iter().any(suits)
    };
    let said = |phrase: &Phrase| Said {
        referent: phrase.referent,
        phrase: phrase.number,
        head: phrase.means,
        clear: clear(phrase),
    };
    all.iter().filter(large).map(said).collect()
}

/// What a kind of referent may mean where its words are not in the table.
fn by_kind(kind: &str) -> Meanings {
    match kind {
        "people" => nouns::meanings("people"),
        "animals" => nouns::meanings("animal"),
        "vehicles" => nouns::meanings("vehicle"),
        "instruments" => nouns::meanings("instrument"),
        _ => Meanings::default(),
    }
}

impl Known {
    /// Of picture number `index`.
    pub(crate) fn new(set: &LabelledSet, vocabulary: &Vocabulary, index: usize, least_area: f64) -> Self {
        let picture = &set.pictures[index];
        let all = phrases(picture);
        let mut words = Vec::new();
        let mut told = Meanings::default();
        let labels = picture.objects.iter().map(|object| set.classes[object.class].as_str());
        let phrases = picture.referents.iter().flat_map(|referent| referent.phrases.iter().map(String::as_str));
        for text in labels.chain(phrases).chain(picture.captions.iter().map(String::as_str)) {
            let text = nouns::lemmas(text);
            told = told.with(nouns::mentioned(&text));
            words.extend(text);
        }
        for object in &picture.objects {
            let number = vocabulary.number(object.class as u16);
            told = told.with(number.map(Meanings::of_class).unwrap_or_default());
        }
        for phrase in all.iter().filter(|phrase| phrase.means.is_empty()) {
            told = told.with(by_kind(&picture.referents[phrase.referent].kind));
        }
        words.sort_unstable();
        words.dedup();
        let said = said(picture, &all, least_area);
        Self { picture: index, things: things(picture, least_area), said, told, words }
    }

    /// Whether a word was said of the picture.
    pub(crate) fn says(&self, word: &str) -> bool {
        self.words.binary_search_by(|known| known.as_str().cmp(word)).is_ok()
    }

    /// Whether nothing that was said of the picture is related to a name or head noun.
    pub(crate) fn lacks(&self, name: &str) -> bool {
        let last = nouns::lemmas(name).pop();
        last.is_some_and(|word| !self.says(&word)) && !nouns::with_alike(nouns::meanings(name)).meets(self.told)
    }
}
