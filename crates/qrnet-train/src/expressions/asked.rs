//! A labelled set as a data set: a picture is an index, and every time it is asked something else.

use std::path::Path;
use std::sync::Arc;

use blocks::error::quoted;
use blocks::preprocess::{Picture, Rect};
use blocks::text::tokenizer::QueryTokenizer;
use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::absent::{self, Foreign, Missing, Weighted};
use super::grammar::Thing;
use super::known::{Known, Said};
use super::present::Sight;
use super::questions::{self, Question};
use super::settings::{Ask, Kind};
use super::vocabulary::Vocabulary;
use super::{colours, guesses, nouns, paint};
use crate::data::labelled::{LabelledPicture, LabelledSet};
use crate::data::{DataSet, Entry, Example, Guesses, Labels, Legibility};
use crate::error::{Error, Result};
use crate::scenes::grammar_words;

/// How much wider or higher a picture may be than its labels' proportions say, in pixels.
const ROUNDED: f64 = 2.0;

/// Questions about a labelled set.
pub struct Asked {
    set: LabelledSet,
    ask: Ask,
    source: Arc<str>,
    words: Vocabulary,
    dense: bool,
    known: Vec<Known>,
    showing: Vec<Vec<u32>>,
    classes: Weighted<u16>,
    foreign: Weighted<Foreign>,
    /// Where the questions are fixed: these, and no others.
    fixed: Option<Vec<Question>>,
}

/// A phrase and what it means.
struct Drawn {
    phrase: String,
    kind: Arc<str>,
    target: Option<Rect>,
}

impl Asked {
    /// Questions as `ask` says. Pictures about which there is nothing to ask are left out; none is opened here.
    ///
    /// With `dense` the examples of completely labelled sets say what every pixel belongs to: in classes as
    /// [`nouns::class_number`] numbers them, behind those of drawn scenes.
    ///
    /// # Errors
    /// Settings that [`Ask::check`] does not take, an object whose class the set does not have, or a set about which
    /// nothing can be asked.
    pub fn new(set: LabelledSet, ask: Ask, dense: bool) -> Result<Self> {
        ask.check().map_err(|e| Error::Unsupported(format!("{}: {e}", set.name)))?;
        let count = set.classes.len();
        let strange = |picture: &&LabelledPicture| picture.objects.iter().any(|object| object.class >= count);
        if let Some(picture) = set.pictures.iter().find(strange) {
            return Err(Error::file(&picture.path, format_args!("has an object of no class, expected one of {count}")));
        }
        let words = Vocabulary::new(&set, ask.hold_out);
        let known = (0..set.pictures.len()).map(|index| Known::new(&set, &words, index, ask.least_area));
        let mut asked = Self {
            source: set.name.as_str().into(),
            dense: dense && set.complete,
            known: known.collect(),
            showing: Vec::new(),
            classes: Weighted::default(),
            foreign: Weighted::default(),
            fixed: None,
            words,
            set,
            ask,
        };
        if let Some(which) = asked.ask.questions {
            asked.fixed = Some(questions::questions(&asked.set, which));
        } else {
            asked.prepare();
        }
        if asked.is_empty() {
            return Err(Error::Unsupported(format!(
                "{}: nothing can be asked of its {} pictures, expected boxes or phrases that the weights allow{}",
                asked.set.name,
                asked.set.pictures.len(),
                if asked.set.complete { "" } else { " (boxes count where the set is complete)" }
            )));
        }
        Ok(asked)
    }

    /// Leaves out pictures without a question, and gathers what is asked of other pictures.
    fn prepare(&mut self) {
        if self.ask.hold_out {
            for known in &mut self.known {
                let referents = &self.set.pictures[known.picture].referents;
                known.said.retain(|said| !nouns::says_held_out(&referents[said.referent].phrases[said.phrase]));
            }
        }
        if self.ask.unclear <= 0.0 {
            self.known.iter_mut().for_each(|known| known.said.retain(|said| said.clear));
        }
        let mut known = std::mem::take(&mut self.known);
        known.retain(|known| self.can_ask(known));
        self.known = known;
        self.showing = vec![Vec::new(); self.set.classes.len()];
        for (index, known) in self.known.iter().enumerate() {
            for class in known.things.iter().map(|thing| usize::from(thing.class)) {
                if self.showing[class].last() != Some(&(index as u32)) {
                    self.showing[class].push(index as u32);
                }
            }
        }
        self.classes = absent::classes(&self.showing, &self.known);
        self.foreign = absent::foreign(&self.set, &self.known);
    }

    /// Whether something that the picture shows can be asked, whatever its colours are.
    fn can_ask(&self, known: &Known) -> bool {
        let boxes: Vec<Rect> = self.set.pictures[known.picture].objects.iter().map(|object| object.rect).collect();
        let sight = Sight { words: &self.words, things: &known.things, boxes: &boxes };
        let weighed = self.ask.weights();
        let colours_alone = weighed.iter().all(|(kind, weight)| *weight <= 0.0 || *kind == Kind::Attribute);
        weighed.into_iter().any(|(kind, weight)| match kind {
            Kind::Phrase => weight > 0.0 && !known.said.is_empty(),
            Kind::Attribute => false,
            _ => (weight > 0.0 || colours_alone) && self.set.complete && !sight.queries(kind).is_empty(),
        })
    }

    /// Opens a picture; its boxes in its own pixels come with it.
    fn open(&self, index: usize) -> Result<(Picture, Vec<Rect>, [f64; 2])> {
        let labelled = &self.set.pictures[index];
        let picture = Picture::open(&labelled.path)?;
        let scale = scale(labelled, &picture)?;
        let boxes = labelled.objects.iter().map(|object| scaled(&object.rect, scale)).collect();
        Ok((picture, boxes, scale))
    }

    /// The things of a picture, with the colours of those that have one worth a word.
    fn coloured(&self, known: &Known, picture: &Picture, boxes: &[Rect]) -> Vec<Thing> {
        let mut things = known.things.clone();
        let wanted = self.ask.attributes > 0.0 || self.dense;
        if wanted && self.set.complete && colours::shows_colours(picture) {
            for (index, thing) in things.iter_mut().enumerate() {
                if self.words.number(thing.class).is_some_and(nouns::has_colour) && !thing.doubtful {
                    thing.colour = colours::measured(picture, boxes, index);
                }
            }
        }
        things
    }

    fn draw(&self, known: &Known, things: &[Thing], boxes: &[Rect], rng: &mut ChaCha8Rng) -> Option<Drawn> {
        let sight = Sight { words: &self.words, things, boxes };
        let absent = rng.random_bool(self.ask.absent);
        let mut kinds: Vec<(Kind, f64)> = self.ask.weights().into_iter().filter(|(_, weight)| *weight > 0.0).collect();
        while let Ok(&(kind, _)) = kinds.choose_weighted(rng, |(_, weight)| *weight) {
            if let Some(drawn) = self.of_kind(kind, absent, known, sight, rng) {
                return Some(drawn);
            }
            kinds.retain(|(other, _)| *other != kind);
        }
        // Colours were asked for alone, and there is none.
        let others = [Kind::Name, Kind::Place, Kind::Size, Kind::Ordinal, Kind::Relation];
        others.into_iter().find_map(|kind| self.of_kind(kind, absent, known, sight, rng))
    }

    /// A question of a kind, if something that is there can be asked so: what is absent is asked for in no other words,
    /// so that the words do not tell.
    fn of_kind(&self, kind: Kind, absent: bool, known: &Known, sight: Sight, rng: &mut ChaCha8Rng) -> Option<Drawn> {
        if kind == Kind::Phrase {
            return self.phrase(absent, known, rng);
        }
        let queries = if self.set.complete { sight.queries(kind) } else { Vec::new() };
        let (query, found) = sight.one_of(&queries, rng)?;
        let missing = if absent { self.missing().query(kind, sight, known, rng) } else { None };
        let target = missing.is_none().then(|| self.set.pictures[known.picture].objects[found].rect);
        let query = missing.unwrap_or(query);
        Some(Drawn { phrase: query.phrase(&self.words, rng), kind: query.kind().into(), target })
    }

    /// People's own words.
    fn phrase(&self, absent: bool, known: &Known, rng: &mut ChaCha8Rng) -> Option<Drawn> {
        let unclear = self.ask.unclear > 0.0 && rng.random_bool(self.ask.unclear);
        let mut said: Vec<&Said> = known.said.iter().filter(|said| unclear || said.clear).collect();
        if said.is_empty() {
            said = known.said.iter().collect();
        }
        // A referent first: one that was described often is asked for no more often.
        let mut referents: Vec<usize> = said.iter().map(|said| said.referent).collect();
        referents.dedup();
        let referent = *referents.choose(rng)?;
        let said: Vec<usize> = said.iter().filter(|s| s.referent == referent).map(|s| s.phrase).collect();
        let missing = self.missing();
        if absent && let Some((phrase, kind)) = missing.phrase(known, rng) {
            return Some(Drawn { phrase: phrase.to_owned(), kind: kind.into(), target: None });
        }
        let found = &self.set.pictures[known.picture].referents[referent];
        let phrase = found.phrases[*said.choose(rng)?].clone();
        Some(Drawn { phrase, kind: found.kind.as_str().into(), target: Some(found.rect) })
    }

    fn missing(&self) -> Missing<'_> {
        let Self { set, ask, known: all, showing, classes, foreign, .. } = self;
        Missing { set, ask, all, showing, classes, foreign }
    }

    /// A random question about picture number `index` of those that are asked.
    fn ask_with(&self, index: usize, rng: &mut ChaCha8Rng) -> Result<Example> {
        let mut asked = self.ask_often(index, std::slice::from_mut(rng))?;
        asked.pop().ok_or_else(|| self.beyond(index))
    }

    /// A question of one picture for every generator; the picture is read once.
    fn ask_often(&self, index: usize, rngs: &mut [ChaCha8Rng]) -> Result<Vec<Example>> {
        let known = self.known.get(index).ok_or_else(|| self.beyond(index))?;
        let (picture, boxes, scale) = self.open(known.picture)?;
        let path = &self.set.pictures[known.picture].path;
        let picture = Arc::new(picture);
        let things = self.coloured(known, &picture, &boxes);
        let labels = self.labels(known, &things, &picture, &boxes);
        let ask = |rng: &mut ChaCha8Rng| {
            let drawn = self.draw(known, &things, &boxes, rng);
            let drawn = drawn.ok_or_else(|| Error::file(path, "leaves nothing to ask, expected things or phrases"))?;
            let example = self.example_of(known.picture, drawn, Arc::clone(&picture), scale)?;
            Ok(Example { labels: labels.clone(), ..example })
        };
        rngs.iter_mut().map(ask).collect()
    }

    /// What every pixel of a picture belongs to, for losses that want it.
    fn labels(&self, known: &Known, things: &[Thing], picture: &Picture, boxes: &[Rect]) -> Option<Arc<Labels>> {
        let objects = &self.set.pictures[known.picture].objects;
        let size = (picture.width, picture.height);
        self.dense.then(|| Arc::new(paint::labels((objects, things), boxes, &self.words, size)))
    }

    fn beyond(&self, index: usize) -> Error {
        Error::Unsupported(format!("example {index} of `{}`, expected one below {}", self.source, self.len()))
    }

    fn example_of(&self, index: usize, drawn: Drawn, picture: Arc<Picture>, scale: [f64; 2]) -> Result<Example> {
        let labelled = &self.set.pictures[index];
        let entry = Entry {
            picture: labelled.path.clone(),
            phrase: drawn.phrase,
            target: drawn.target.map(|rect| scaled(&rect, scale)),
            kind: drawn.kind,
            source: None,
            file: Arc::from(Path::new(&*self.source)),
            place: format!("picture {index}"),
        };
        entry.example(picture, &self.source)
    }

    fn fixed_example(&self, fixed: &[Question], index: usize, last: &mut Option<Opened>) -> Result<Example> {
        let question = fixed.get(index).ok_or_else(|| self.beyond(index))?;
        let opened = match last.take() {
            Some(opened) if opened.index == question.picture => opened,
            _ => {
                let (picture, boxes, scale) = self.open(question.picture)?;
                Opened { index: question.picture, picture: Arc::new(picture), boxes, scale }
            }
        };
        let drawn =
            Drawn { phrase: question.phrase.clone(), kind: Arc::clone(&question.kind), target: question.target };
        let example = self.example_of(question.picture, drawn, Arc::clone(&opened.picture), opened.scale);
        let known = self.known.get(question.picture).ok_or_else(|| self.beyond(index))?;
        let things = self.coloured(known, &opened.picture, &opened.boxes);
        let labels = self.labels(known, &things, &opened.picture, &opened.boxes);
        *last = Some(opened);
        Ok(Example { labels, ..example? })
    }
}

/// A picture that neighbouring questions share.
struct Opened {
    index: usize,
    picture: Arc<Picture>,
    boxes: Vec<Rect>,
    scale: [f64; 2],
}

/// Pixels of the file to those that boxes are measured in, along both axes.
fn scale(labelled: &LabelledPicture, picture: &Picture) -> Result<[f64; 2]> {
    let (w, h) = (picture.width as f64, picture.height as f64);
    let scale = [w / labelled.width, h / labelled.height];
    let [x, y] = scale;
    if (labelled.height * x - h).abs() > ROUNDED && (labelled.width * y - w).abs() > ROUNDED {
        return Err(Error::file(
            &labelled.path,
            format_args!("is {w}x{h} pixels, expected the proportions of {}x{}", labelled.width, labelled.height),
        ));
    }
    Ok(scale)
}

fn scaled(rect: &Rect, [x, y]: [f64; 2]) -> Rect {
    Rect { x0: rect.x0 * x, y0: rect.y0 * y, x1: rect.x1 * x, y1: rect.y1 * y }
}

impl DataSet for Asked {
    fn len(&self) -> usize {
        self.fixed.as_ref().map_or(self.known.len(), Vec::len)
    }

    fn example(&self, index: usize) -> Result<Example> {
        if let Some(fixed) = &self.fixed {
            return self.fixed_example(fixed, index, &mut None);
        }
        self.ask_with(index, &mut blocks::seeded::stream(self.ask.seed, &format!("ask.{}.{index}", self.source)))
    }

    fn varied(&self, index: usize, rng: &mut ChaCha8Rng) -> Result<Example> {
        if self.fixed.is_some() { self.example(index) } else { self.ask_with(index, rng) }
    }

    fn varied_group(&self, index: usize, rngs: &mut [ChaCha8Rng]) -> Result<Vec<Example>> {
        if self.fixed.is_some() {
            let example = self.example(index)?;
            return Ok(vec![example; rngs.len()]);
        }
        self.ask_often(index, rngs)
    }

    fn thing(&self, index: usize) -> Option<Arc<str>> {
        self.fixed.as_ref()?.get(index)?.thing.clone()
    }

    fn guesses(&self) -> Option<Guesses> {
        self.fixed.as_ref().map(|fixed| guesses::guesses(&self.set, fixed))
    }

    fn legibility(&self, tokenizer: &QueryTokenizer) -> Result<Legibility> {
        let mut found = Legibility::default();
        for phrase in self.phrases() {
            let encoded = tokenizer
                .encode(phrase)
                .map_err(|e| Error::entry(Path::new(&*self.source), format_args!("phrase {}", quoted(phrase)), e))?;
            found.read += 1;
            found.cut += usize::from(encoded.cut.is_some());
            found.unknown += usize::from(!encoded.unknown.is_empty());
        }
        Ok(found)
    }

    /// People's phrases, and the names and words of the grammar; of fixed questions, these.
    fn phrases(&self) -> Vec<&str> {
        if let Some(fixed) = &self.fixed {
            return fixed.iter().map(|question| question.phrase.as_str()).collect();
        }
        let said = self.known.iter().flat_map(|known| {
            let referents = &self.set.pictures[known.picture].referents;
            known.said.iter().map(|said| referents[said.referent].phrases[said.phrase].as_str())
        });
        if !self.set.complete {
            return said.collect();
        }
        said.chain(self.words.texts()).chain(grammar_words()).collect()
    }

    fn examples(&self, range: std::ops::Range<usize>) -> Result<Vec<Example>> {
        let mut last = None;
        match &self.fixed {
            Some(fixed) => range.map(|index| self.fixed_example(fixed, index, &mut last)).collect(),
            None => range.map(|index| self.example(index)).collect(),
        }
    }
}
