//! Fixed questions about a labelled set, for measuring: the same for every model.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use blocks::files;
use blocks::preprocess::Rect;
use serde_json::json;

use super::grammar::{Meaning, Noun, Query, Side};
use super::known::{Known, share};
use super::nouns::{self, HELD_OUT, Meanings};
use super::present::Sight;
pub use super::settings::Questions;
use super::vocabulary::Vocabulary;
use crate::data::labelled::{LabelledPicture, LabelledSet, around};
use crate::error::{Error, Result};

/// Least share of the picture that a thing must cover to be measured on.
const LEAST: f64 = 0.01;
/// Most things of a class among which the left one is asked for.
const FEW: usize = 3;

/// One fixed question.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Index of the picture in the set.
    pub picture: usize,
    /// What is looked for.
    pub phrase: String,
    /// Where it is, in the pixels of the labels; none where it is not there.
    pub target: Option<Rect>,
    /// `name`, `place`, `absence`, `known` and `synonym`, or what kind of thing a data set says it is.
    pub kind: Arc<str>,
    /// The class of what is looked for; of people's phrases none is known.
    pub thing: Option<Arc<str>>,
}

/// The questions of one kind, by pictures in their order.
pub fn questions(set: &LabelledSet, which: Questions) -> Vec<Question> {
    let words = Vocabulary::new(set, false);
    let mut all = Vec::new();
    for index in 0..set.pictures.len() {
        let known = Known::new(set, &words, index, 0.0);
        let boxes: Vec<Rect> = set.pictures[index].objects.iter().map(|object| object.rect).collect();
        let sight = Sight { words: &words, things: &known.things, boxes: &boxes };
        let of = Of { set, picture: &set.pictures[index], index, known: &known, sight };
        match which {
            Questions::Phrases => of.phrases(&mut all),
            Questions::Synonyms => of.synonyms(&mut all),
            _ if !set.complete => {}
            Questions::Names => of.names(&mut all),
            Questions::Place => of.places(&mut all),
            Questions::Absence => of.absence(&mut all),
        }
    }
    all
}

/// One picture of a set.
struct Of<'a> {
    set: &'a LabelledSet,
    picture: &'a LabelledPicture,
    index: usize,
    known: &'a Known,
    sight: Sight<'a>,
}

impl Of<'_> {
    fn question(&self, phrase: String, target: Option<Rect>, kind: &str) -> Question {
        Question { picture: self.index, phrase, target, kind: kind.into(), thing: None }
    }

    /// A question about something of a class.
    fn about(&self, class: u16, phrase: String, target: Option<Rect>, kind: &str) -> Question {
        let thing = self.set.classes.get(usize::from(class)).map(|name| name.as_str().into());
        Question { thing, ..self.question(phrase, target, kind) }
    }

    fn large(&self, thing: usize) -> bool {
        share(self.picture, &self.sight.boxes[thing]) > LEAST
    }

    /// The only thing that a name is said of, where it is large enough.
    fn only(&self, name: u16) -> Option<Rect> {
        match self.sight.resolve(Query::Plain(Noun::Class(name))) {
            Meaning::One(found) if self.large(found) => Some(self.sight.boxes[found]),
            _ => None,
        }
    }

    fn names(&self, all: &mut Vec<Question>) {
        for (class, name) in self.sight.classes() {
            if let Some(rect) = self.only(name) {
                all.push(self.about(class, format!("the {}", self.sight.words.text(name)), Some(rect), "name"));
            }
        }
    }

    fn places(&self, all: &mut Vec<Question>) {
        for (class, name) in self.sight.classes() {
            let noun = Noun::Class(name);
            let things = self.sight.things.iter().enumerate();
            let same: Vec<usize> = things.filter(|(_, t)| noun.matches(t, self.sight.words)).map(|(i, _)| i).collect();
            if !(2..=FEW).contains(&same.len()) || !same.iter().all(|&thing| self.large(thing)) {
                continue;
            }
            for (side, place) in [(Side::Left, "left"), (Side::Right, "right")] {
                if let Meaning::One(found) = self.sight.resolve(Query::Side(noun, side)) {
                    let phrase = format!("the {} on the {place}", self.sight.words.text(name));
                    all.push(self.about(class, phrase, Some(self.sight.boxes[found]), "place"));
                }
            }
        }
    }

    fn absence(&self, all: &mut Vec<Question>) {
        for class in 0..self.sight.words.classes() {
            let Some(&name) = self.sight.words.names_of(class).first() else { continue };
            let objects = || self.picture.objects.iter().filter(|object| object.class == usize::from(class));
            let target = objects().map(|object| object.rect).reduce(|all, rect| around(&all, &rect));
            let unclear = target.is_some() && objects().all(|object| object.difficult || object.crowd);
            let number = self.sight.words.number(class).map(Meanings::of_class).unwrap_or_default();
            let said = nouns::lemmas(self.sight.words.text(name)).pop();
            let proved = || {
                let none = self.sight.resolve(Query::Plain(Noun::Class(name))) == Meaning::None;
                none && !number.meets(self.known.told) && said.as_ref().is_some_and(|word| !self.known.says(word))
            };
            if !unclear && (target.is_some() || proved()) {
                let phrase = format!("the {}", self.sight.words.text(name));
                all.push(self.about(class, phrase, target, "absence"));
            }
        }
    }

    fn synonyms(&self, all: &mut Vec<Question>) {
        let mut pair = |known: String, synonym: String, rect: Rect| {
            all.push(self.question(known, Some(rect), "known"));
            all.push(self.question(synonym, Some(rect), "synonym"));
        };
        for (held, known) in HELD_OUT {
            if let Some(name) = self.sight.words.find(known).filter(|_| self.set.complete) {
                let both = self.sight.words.find(held).is_none_or(|other| self.only(other).is_some());
                if let Some(rect) = self.only(name).filter(|_| both) {
                    pair(format!("the {known}"), format!("the {held}"), rect);
                }
            }
            // One phrase of a referent is enough.
            let mut asked = HashSet::new();
            for said in self.known.said.iter().filter(|said| said.clear) {
                let referent = &self.picture.referents[said.referent];
                let text = &referent.phrases[said.phrase];
                let head = nouns::head_noun(text).filter(|head| head.eq_ignore_ascii_case(known));
                if let Some(head) = head
                    && asked.insert(said.referent)
                {
                    pair(text.clone(), in_place(text, head, held), referent.rect);
                }
            }
        }
    }

    fn phrases(&self, all: &mut Vec<Question>) {
        for referent in &self.picture.referents {
            for phrase in &referent.phrases {
                all.push(self.question(phrase.clone(), Some(referent.rect), &referent.kind));
            }
        }
    }
}

/// `text` with `word` in place of its part `head`, which may stand inside other words as well.
fn in_place(text: &str, head: &str, word: &str) -> String {
    let start = (head.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    let mut text = text.to_owned();
    if text.get(start..start + head.len()) == Some(head) {
        text.replace_range(start..start + head.len(), word);
    }
    text
}

/// Writes questions as JSON Lines, as [`jsonl::read`](crate::data::jsonl::read) takes them: pictures are named relative to
/// the file's folder where they lie below it, else by their whole path. Boxes are in the pixels of the labels.
///
/// # Errors
/// The file cannot be written; none is left then.
pub fn write(set: &LabelledSet, questions: &[Question], file: &Path) -> Result<()> {
    let whole = |path: &Path| std::path::absolute(path).map_err(Error::io("find", path));
    let own = whole(file)?;
    let folder = files::parent(&own);
    let mut text = String::new();
    for question in questions {
        let picture = whole(&set.pictures[question.picture].path)?;
        let target = question.target.map(|r| json!({"x": r.x0, "y": r.y0, "w": r.width(), "h": r.height()}));
        let line = json!({
            "image": picture.strip_prefix(folder).unwrap_or(&picture),
            "phrase": question.phrase,
            "box": target,
            "kind": &*question.kind,
            "source": set.name,
        });
        text.push_str(&line.to_string());
        text.push('\n');
    }
    Ok(files::write(file, text)?)
}
