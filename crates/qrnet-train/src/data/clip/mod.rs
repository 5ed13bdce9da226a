//! Labelled films: a clip, boxes of what moves in it as a MOTChallenge table, and the phrases that are asked of it.
//!
//! The table has a line `frame,track,left,top,width,height` for every box, with a header or without; MOTChallenge's
//! own ten columns without a header are read too, in which pixels count from 1 (a confidence of 0 marks a box that does
//! not count). Frames count from 1, boxes are in pixels. What is asked is TOML:
//!
//! ```toml
//! [[referent]]
//! name = "postwoman"
//! tracks = [3, 8]            # one person may carry several numbers
//! phrases = ["the woman with the bag", "the person in yellow"]
//!
//! [[referent]]
//! name = "gate"
//! box = [411, 202, 35, 43]   # left, top, width, height: a thing that does not move
//! phrases = ["the gate"]
//!
//! [[referent]]
//! name = "people"
//! all = true                 # each track is one of them; without `tracks`, each of the table
//! phrases = ["a person"]
//! ```
//!
//! A person is there in the frames in which the table has one of the tracks, and absent in every other frame. What asks for
//! all is measured from records; a question about one picture has one box.

mod asked;
mod baseline;
mod recast;
mod score;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blocks::preprocess::{Picture, Rect};
use blocks::text::tokenizer::QueryTokenizer;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use recast::Cast;

use super::video::{FrameSource, Frames};
use super::{DataSet, Example, Labels, Legibility, Moment, ObjectLabel};
use crate::error::{Error, Result};
use crate::scenes::CLASSES;
pub use asked::{Asked, Referent};
pub use baseline::Baselines;
pub use score::{Recorded, score};
pub use table::{Tracks, read_table};

/// Which frames, asked for whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection<'a> {
    /// First and last of every stretch of frames, counted from 1; all labelled frames where there are none.
    pub stretches: &'a [[u64; 2]],
    /// Every so many frames of a stretch; 0 is taken for 1.
    pub step: u64,
    /// Names of the referents; all where there are none.
    pub referents: &'a [String],
    /// Labels of one track that are at most so many frames apart have the frames between filled in along a straight line.
    pub fill: u64,
}

/// Labels of a clip, without its pictures.
#[derive(Debug, Clone)]
pub struct ClipLabels {
    /// Where the boxes are from.
    table: PathBuf,
    /// What is asked for, in the order of the file.
    referents: Vec<Referent>,
    /// All that the file knows, whether it is asked for or not.
    known: Vec<Referent>,
    tracks: Tracks,
    /// The frames, in order.
    frames: Vec<u64>,
    /// Which stretch each of them belongs to.
    stretches: Vec<u32>,
}

impl ClipLabels {
    /// Reads the table and what is asked of it.
    ///
    /// # Errors
    /// A file cannot be read, a referent or stretch is not there, or a track that is asked for has no box in the table.
    pub fn read(table: &Path, queries: &Path, selection: &Selection) -> Result<Self> {
        let mut tracks = read_table(table)?;
        if let Some(gaps) = tracks.fill(selection.fill).filter(|gaps| gaps.open > gaps.filled) {
            tracing::warn!(
                "{}: {} gaps between boxes of a track are longer than `fill` = {} (the shortest of them {} frames), {} are \
                 not: whoever has no box counts as absent",
                table.display(),
                gaps.open,
                selection.fill,
                gaps.shortest_open,
                gaps.filled
            );
        }
        let known = Asked::read(queries)?.referent;
        let mut referents = known.clone();
        if let Some(name) = selection.referents.iter().find(|name| referents.iter().all(|r| r.name != **name)) {
            let there: Vec<&str> = referents.iter().map(|referent| referent.name.as_str()).collect();
            let reason = format!("holds no referent {name:?}, expected one of {}", there.join(", "));
            return Err(Error::file(queries, reason));
        }
        if !selection.referents.is_empty() {
            referents.retain(|referent| selection.referents.contains(&referent.name));
        }
        for referent in &referents {
            let own = referent.tracks.as_deref().unwrap_or_default();
            // Labels may be the first part of a longer table; but somebody of whom there is none at all is a slip.
            if !own.is_empty() && !own.iter().any(|track| tracks.holds(*track)) {
                let reason = format!("has none of the tracks {own:?} in {}", table.display());
                return Err(Error::entry(queries, format!("referent {:?}", referent.name), reason));
            }
        }
        let last = tracks.last_frame();
        let whole = [[1, last]];
        let stretches = if selection.stretches.is_empty() { &whole } else { selection.stretches };
        if let Some(stretch) = stretches.iter().find(|[a, b]| *a == 0 || a > b || *b > last) {
            let reason = format!(
                "the recipe asks for `frames` {stretch:?}, and nothing is said of frames beyond {last}: expected stretches \
                 within [1, {last}]"
            );
            return Err(Error::file(table, reason));
        }
        let step = selection.step.max(1) as usize;
        let numbered = (0..).zip(stretches);
        let frames = numbered.flat_map(|(number, [a, b])| (*a..=*b).step_by(step).map(move |frame| (frame, number)));
        let (frames, stretch_of) = frames.collect::<BTreeMap<u64, u32>>().into_iter().unzip();
        let labels = Self { table: table.into(), referents, known, tracks, frames, stretches: stretch_of };
        let seen = |frame: u64| labels.referents.iter().any(|referent| labels.target(referent, frame).is_some());
        // Single frames are chosen, and so is what is nowhere.
        let is_long = |[a, b]: &&[u64; 2]| a < b && labels.referents.iter().any(|r| r.tracks.as_deref() != Some(&[]));
        for [a, b] in stretches.iter().filter(is_long).filter(|[a, b]| !(*a..=*b).any(seen)) {
            tracing::warn!(
                "{}: frames {a} to {b} show nothing that is asked for: all of it counts as absent",
                table.display()
            );
        }
        Ok(labels)
    }

    /// What is asked for.
    pub fn referents(&self) -> &[Referent] {
        &self.referents
    }

    /// The frames, in order.
    pub fn frames(&self) -> &[u64] {
        &self.frames
    }

    /// The place of frame `place` of them in a film, as `question` comes to it.
    fn moment(&self, question: u32, place: usize) -> Moment {
        Moment { question, stretch: self.stretches[place], frame: self.frames[place] }
    }

    /// Where a referent is in a frame, the first one of all that are asked for; none where it is not there.
    pub fn target(&self, referent: &Referent, frame: u64) -> Option<Rect> {
        if referent.all {
            return self.things(referent, frame).first().map(|(_, rect)| *rect);
        }
        if let Some([x, y, w, h]) = referent.still {
            return Some(Rect { x0: x, y0: y, x1: x + w, y1: y + h });
        }
        referent.tracks.iter().flatten().find_map(|track| self.tracks.at(frame, *track))
    }

    /// Everything in a frame that a referent asks for, by id: tracks where it asks for all, and else 0 for the one thing that
    /// it is, whatever its tracks are.
    pub fn things(&self, referent: &Referent, frame: u64) -> Vec<(u64, Rect)> {
        if !referent.all {
            return self.target(referent, frame).map(|rect| (0, rect)).into_iter().collect();
        }
        let is_asked_for = |track: u64| referent.tracks.as_ref().is_none_or(|tracks| tracks.contains(&track));
        self.boxes(frame).filter(|(track, _)| is_asked_for(*track)).collect()
    }

    /// All labelled boxes of a frame, by track.
    pub fn boxes(&self, frame: u64) -> impl Iterator<Item = (u64, Rect)> + '_ {
        self.tracks.of_frame(frame)
    }
}

/// A labelled film as a data set: every phrase asked of every frame, phrase by phrase, frames in order.
pub struct Clip {
    name: Arc<str>,
    labels: ClipLabels,
    frames: Frames,
    /// Referent and phrase.
    questions: Vec<(usize, usize)>,
    /// Class of every track, and of every referent that does not move; none where dense labels are not wanted.
    classes: Option<Classes>,
    /// Who can be put into pictures, and how often that is done; nobody where it never is.
    cast: Option<(Cast, f64)>,
}

struct Classes {
    tracks: BTreeMap<u64, u16>,
    still: Vec<(Rect, u16)>,
}

impl Clip {
    /// Decodes the frames that the labels name.
    ///
    /// # Errors
    /// As [`Frames::read`]; or a box lies outside the picture, or a referent asks for all.
    pub fn open(name: &str, clip: &Path, labels: ClipLabels, source: &dyn FrameSource) -> Result<Self> {
        if let Some(referent) = labels.referents.iter().find(|referent| referent.all) {
            return Err(Error::Unsupported(format!(
                "{name}: referent {:?} asks for `all`, and a question about one picture has one box: expected `referents` \
                 without it, or records of the film",
                referent.name
            )));
        }
        let frames = Frames::read(source, clip, &labels.frames.iter().copied().collect())?;
        let questions = labels.referents.iter().enumerate();
        let questions = questions.flat_map(|(i, referent)| (0..referent.phrases.len()).map(move |p| (i, p))).collect();
        let (width, height) = frames.size();
        let size = format!("{width}x{height}");
        for referent in &labels.referents {
            if let Some([x, y, w, h]) = referent.still
                && !(x >= -1.0 && y >= -1.0 && x + w <= width as f64 + 1.0 && y + h <= height as f64 + 1.0)
            {
                let reason = format!("`box` of referent {:?} reaches beyond the picture, {size}", referent.name);
                return Err(Error::file(clip, reason));
            }
            let outside = |frame: &&u64| {
                let rect = labels.target(referent, **frame).map(|rect| rect.clipped(width as f64, height as f64));
                rect.is_some_and(|rect| rect.width() < 1.0 || rect.height() < 1.0)
            };
            if let Some(frame) = labels.frames.iter().find(outside) {
                let reason = format!(
                    "the box of {:?}, or what is filled in between two, lies outside the picture, {size}",
                    referent.name
                );
                return Err(Error::entry(&labels.table, format!("frame {frame}"), reason));
            }
        }
        Ok(Self { name: name.into(), labels, frames, questions, classes: None, cast: None })
    }

    /// The same with labels of everything that the table knows in every picture, for losses that learn from all of it.
    /// Each referent of the file is a class, asked for or not, and so is each other track: the same one in every data set of
    /// these files.
    #[must_use]
    pub fn with_labels(mut self) -> Self {
        let class = |number: usize| (number % CLASSES + 1) as u16;
        let (mut tracks, mut still) = (BTreeMap::new(), Vec::new());
        // Whoever is one of all may have a class of their own.
        for (i, referent) in self.labels.known.iter().enumerate().filter(|(_, referent)| !referent.all) {
            tracks.extend(referent.tracks.iter().flatten().map(|track| (*track, class(i))));
            if referent.still.is_some() {
                still.extend(self.labels.target(referent, 0).map(|rect| (rect, class(i))));
            }
        }
        let first = self.labels.known.len();
        let others: Vec<u64> = self.labels.tracks.all().filter(|track| !tracks.contains_key(track)).collect();
        tracks.extend(others.into_iter().enumerate().map(|(i, track)| (track, class(first + i))));
        self.classes = Some(Classes { tracks, still });
        self
    }

    /// The same with a share of pictures that have another cast, where examples are varied.
    ///
    /// # Errors
    /// A frame cannot be read.
    pub fn with_recast(mut self, share: f64) -> Result<Self> {
        if share > 0.0 {
            self.cast = Some((Cast::new(&self.labels, &self.frames)?, share));
        }
        Ok(self)
    }

    /// What every pixel of a frame shows, as far as boxes tell.
    fn dense(&self, frame: u64) -> Option<Labels> {
        self.dense_of(&from_back_to_front(self.labels.boxes(frame)))
    }

    /// The same for people from back to front.
    fn dense_of(&self, people: &[(u64, Rect)]) -> Option<Labels> {
        let classes = self.classes.as_ref()?;
        let (width, height) = self.frames.size();
        let moving = people.iter().map(|(track, rect)| (*rect, classes.tracks[track]));
        let mut boxes: Vec<(Rect, u16)> = classes.still.iter().copied().chain(moving).collect();
        boxes.truncate(usize::from(u8::MAX));
        let mut instance = vec![0; width * height];
        for (number, (rect, _)) in boxes.iter().enumerate() {
            let rect = rect.clipped(width as f64, height as f64);
            let (x0, x1) = (rect.x0.round() as usize, rect.x1.round() as usize);
            for y in rect.y0.round() as usize..rect.y1.round() as usize {
                instance[y * width + x0..y * width + x1].fill(number as u8 + 1);
            }
        }
        let objects = boxes.iter().map(|(_, class)| ObjectLabel { class: *class, colour: 0 }).collect();
        Some(Labels { instance, objects })
    }
}

/// Who stands lower in the picture stands in front.
fn from_back_to_front(people: impl Iterator<Item = (u64, Rect)>) -> Vec<(u64, Rect)> {
    let mut people: Vec<(u64, Rect)> = people.collect();
    people.sort_by(|a, b| a.1.y1.total_cmp(&b.1.y1));
    people
}

impl DataSet for Clip {
    fn len(&self) -> usize {
        self.questions.len() * self.labels.frames.len()
    }

    fn legibility(&self, tokenizer: &QueryTokenizer) -> Result<Legibility> {
        let mut found = Legibility::default();
        for phrase in self.labels.referents.iter().flat_map(|referent| &referent.phrases) {
            let encoded = tokenizer.encode(phrase)?;
            let examples = self.labels.frames.len();
            found.read += examples;
            found.cut += examples * usize::from(encoded.cut.is_some());
            found.unknown += examples * usize::from(!encoded.unknown.is_empty());
        }
        Ok(found)
    }

    fn phrases(&self) -> Vec<&str> {
        self.labels.referents.iter().flat_map(|referent| &referent.phrases).map(String::as_str).collect()
    }

    fn example(&self, index: usize) -> Result<Example> {
        let (question, moment) = self.asked(index);
        let target = self.labels.target(&self.labels.referents[self.questions[question].0], moment.frame);
        let labels = self.dense(moment.frame).map(Arc::new);
        Ok(self.made(moment, Arc::new(self.frames.picture(moment.frame)?), target, labels))
    }

    fn varied(&self, index: usize, rng: &mut ChaCha8Rng) -> Result<Example> {
        Ok(self.shown(index, rng)?.0)
    }

    /// Further questions are drawn from all; of a picture with another cast, those about what is in view.
    fn varied_group(&self, index: usize, rngs: &mut [ChaCha8Rng]) -> Result<Vec<Example>> {
        let Some((first, others)) = rngs.split_first_mut() else { return Ok(Vec::new()) };
        let (example, people) = self.shown(index, first)?;
        let (_, moment) = self.asked(index);
        let there: Vec<(u64, Rect)> = self.labels.boxes(moment.frame).collect();
        let mut group = vec![example];
        for rng in others {
            let drawn = (0..recast::TRIES).find_map(|_| {
                let question = rng.random_range(0..self.questions.len());
                let referent = &self.labels.referents[self.questions[question].0];
                let mine = |track: &u64| referent.tracks.iter().flatten().any(|own| own == track);
                let place = people.iter().rposition(|(track, _)| mine(track));
                let target = match referent.still {
                    Some(_) => self.labels.target(referent, moment.frame),
                    None => place.map(|place| people[place].1),
                };
                let in_front = &people[place.map_or(0, |place| place + 1)..];
                let entered = in_front.iter().filter(|person| !there.contains(person));
                let covers = |rect: &Rect| entered.map(|(_, other)| recast::shared(rect, other)).sum::<f64>();
                let in_view = target.is_none_or(|rect| covers(&rect) <= recast::COVERED);
                in_view.then_some((question, target))
            });
            let example = &group[0];
            group.push(match drawn {
                None => example.clone(),
                Some((question, target)) => {
                    let moment = Moment { question: question as u32, ..moment };
                    self.made(moment, Arc::clone(&example.picture), target, example.labels.clone())
                }
            });
        }
        Ok(group)
    }
}

impl Clip {
    /// An example, in some pictures with another cast, and everybody in it from back to front.
    fn shown(&self, index: usize, rng: &mut ChaCha8Rng) -> Result<(Example, Vec<(u64, Rect)>)> {
        let (question, moment) = self.asked(index);
        let Some((cast, _)) = self.cast.as_ref().filter(|(_, share)| rng.random_bool(*share)) else {
            return Ok((self.example(index)?, from_back_to_front(self.labels.boxes(moment.frame))));
        };
        let (frame, referent) = (moment.frame, &self.labels.referents[self.questions[question].0]);
        let wanted = referent.tracks.iter().flatten().copied().collect();
        let target = self.labels.target(referent, frame);
        let scene = cast.recast((&self.labels, &self.frames), frame, &wanted, target, rng)?;
        let labels = self.dense_of(&scene.people).map(Arc::new);
        Ok((self.made(moment, Arc::new(scene.picture), scene.target, labels), scene.people))
    }

    /// Question and frame of an example.
    fn asked(&self, index: usize) -> (usize, Moment) {
        let count = self.labels.frames.len();
        (index / count, self.labels.moment((index / count) as u32, index % count))
    }

    fn made(
        &self,
        moment: Moment,
        picture: Arc<Picture>,
        target: Option<Rect>,
        labels: Option<Arc<Labels>>,
    ) -> Example {
        let (referent, phrase) = self.questions[moment.question as usize];
        let referent = &self.labels.referents[referent];
        let (width, height) = (picture.width as f64, picture.height as f64);
        Example {
            target: target.map(|rect| rect.clipped(width, height)),
            picture,
            phrase: referent.phrases[phrase].clone(),
            source: Arc::clone(&self.name),
            kind: referent.name.as_str().into(),
            labels,
            moment: Some(moment),
        }
    }
}
