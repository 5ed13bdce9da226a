//! Scenes in motion: objects that wander, and one that comes and goes, with the truth for every frame.

use std::sync::Arc;

use blocks::preprocess::{Picture, Rect};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::compose::Draft;
use super::paint::{self, Background, Corner, Patch};
use super::query::{self, Drawn, Meaning, Query, Thing};
use super::{Scenes, compose};
use crate::data::{DataSet, Example};
use crate::error::Result;

/// A film: every frame follows from its number.
pub struct Film {
    background: Background,
    patches: Vec<Patch>,
    /// Pixels of each object, uncovered.
    areas: Vec<usize>,
    drafts: Vec<Draft>,
    paths: Vec<Path>,
    /// What can be asked of it; the first is about the visitor.
    queries: Vec<(Query, String)>,
    style: Arc<str>,
}

/// The truth of one frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Truth {
    /// The object is there.
    Here(Rect),
    /// It is not.
    Absent,
    /// Half of it is in the picture, or the question has two answers: no fair frame to measure on.
    Unclear,
}

/// How an object moves; lengths are shares of the room it has, times are seconds.
#[derive(Debug, Clone, Copy)]
enum Path {
    /// To and fro between the edges.
    Wander { start: [f32; 2], speed: [f32; 2] },
    /// Across the picture and away, again and again.
    Visit { height: f32, period: f32, offset: f32, backwards: bool },
}

impl Path {
    fn corner(self, seconds: f32, patch: &Patch, (width, height): (usize, usize)) -> Corner {
        let room = [width as f32 - patch.width as f32, height as f32 - patch.height as f32];
        let [x, y] = match self {
            Self::Wander { start, speed } => std::array::from_fn(|axis| {
                let there = (start[axis] + speed[axis] * seconds).rem_euclid(2.0);
                room[axis] * there.min(2.0 - there)
            }),
            Self::Visit { height, period, offset, backwards } => {
                // Two thirds of the time on the way, one third away.
                let way = ((seconds / period + offset).rem_euclid(1.0) * 1.5).min(1.0);
                let way = if backwards { 1.0 - way } else { way };
                let length = width as f32 + patch.width as f32;
                [way * length - patch.width as f32, height * room[1]]
            }
        };
        (x.round() as i32, y.round() as i32)
    }
}

impl Film {
    /// Film `index` of the kind that `scenes` describes; its query is a name or a colour and a name.
    ///
    /// # Errors
    /// As [`Scenes::scene`].
    pub fn new(scenes: &Scenes, index: usize) -> Result<Self> {
        let mut rng = blocks::seeded::stream(scenes.seed, &format!("film.{index}"));
        (0..super::ATTEMPTS).find_map(|_| Self::attempt(scenes, &mut rng)).ok_or_else(|| scenes.crowded())
    }

    fn attempt(scenes: &Scenes, rng: &mut ChaCha8Rng) -> Option<Self> {
        let (width, height) = scenes.frame(rng);
        let scale = ((width * height) as f32).sqrt();
        let style = scenes.style(rng);
        let cast = scenes.cast(style);
        let count = rng.random_range(scenes.settings.objects[0]..=scenes.settings.objects[1]);
        let compose::Plan { drafts, query, .. } = cast.plan(count, false, rng);
        let only_the_visitor = drafts.iter().enumerate().all(|(i, draft)| {
            let (noun, thing) = (query.noun(), draft.thing());
            noun.matches(&thing, &Drawn) == (i == 0) && !noun.doubtful(&thing, &Drawn)
        });
        if !(matches!(query, Query::Plain(_)) && only_the_visitor) {
            return None;
        }
        let patches: Vec<Patch> =
            drafts.iter().map(|draft| scenes.patch(*draft, style, scale, rng)).collect::<Option<_>>()?;
        if patches.iter().any(|patch| patch.width >= width || patch.height >= height) {
            return None;
        }
        let paths = (0..patches.len())
            .map(|i| {
                if i == 0 {
                    Path::Visit {
                        height: rng.random(),
                        period: rng.random_range(5.0..9.0),
                        offset: rng.random_range(0.1..0.4),
                        backwards: rng.random_bool(0.5),
                    }
                } else {
                    let mut speed = || rng.random_range(0.08f32..0.3);
                    let speed = [speed(), speed()];
                    Path::Wander { start: [2.0 * rng.random::<f32>(), 2.0 * rng.random::<f32>()], speed }
                }
            })
            .collect();
        let background = Background::drawn((width, height), &patches, scenes.settings.clutter, rng);
        let style = style.filter(|_| drafts[0].colour == 0).map_or(super::PLAIN, |style| &style.name).into();
        let mut queries = vec![(query, query.phrase(&Drawn, rng))];
        queries.extend((1..drafts.len()).filter_map(|i| {
            let noun = query::noun_of(&drafts[i].thing(), true, rng);
            let fits = drafts.iter().enumerate().all(|(j, draft)| {
                let thing = draft.thing();
                noun.matches(&thing, &Drawn) == (i == j) && !noun.doubtful(&thing, &Drawn)
            });
            let query = Query::Plain(noun);
            fits.then(|| (query, query.phrase(&Drawn, rng)))
        }));
        let areas = patches.iter().map(Patch::visible).collect();
        Some(Self { background, patches, areas, drafts, paths, queries, style })
    }

    /// Sentences that each describe one object: the first the visitor, the others what is there all the time.
    pub fn phrases(&self) -> impl Iterator<Item = &str> {
        self.queries.iter().map(|(_, phrase)| phrase.as_str())
    }

    /// The picture at `seconds` from the start, and the truth about it for every phrase. The visitor passes in front of the
    /// others.
    pub fn frame(&self, seconds: f32) -> (Picture, Vec<Truth>) {
        self.frame_on(&self.background, seconds)
    }

    /// The same in front of another picture, which has to be as large.
    ///
    /// # Errors
    /// It is not.
    pub fn frame_over(&self, behind: &Picture, seconds: f32) -> Result<(Picture, Vec<Truth>)> {
        let (wanted, found) = (self.size(), (behind.width, behind.height));
        if wanted != found {
            return Err(crate::Error::Unsupported(format!("a picture of {found:?} behind a film of {wanted:?}")));
        }
        Ok(self.frame_on(&Background::of(behind), seconds))
    }

    /// Width and height.
    pub fn size(&self) -> (usize, usize) {
        (self.background.width, self.background.height)
    }

    fn frame_on(&self, background: &Background, seconds: f32) -> (Picture, Vec<Truth>) {
        let size = self.size();
        let corners: Vec<Corner> =
            self.paths.iter().zip(&self.patches).map(|(path, patch)| path.corner(seconds, patch, size)).collect();
        // Back to front: the first is drawn last.
        let placed: Vec<(&Patch, Corner)> = self.patches.iter().zip(corners.iter().copied()).rev().collect();
        let (picture, instance) = paint::draw(background, &placed);
        let count = placed.len();
        let mut shown = vec![0; count];
        for label in instance.into_iter().filter(|label| *label > 0) {
            shown[count - usize::from(label)] += 1;
        }
        let truths = self.queries.iter().map(|(query, _)| self.truth(*query, &corners, &shown, size)).collect();
        (picture, truths)
    }

    /// `shown` counts the pixels that are seen of every object.
    fn truth(&self, query: Query, corners: &[Corner], shown: &[usize], (width, height): (usize, usize)) -> Truth {
        const MOSTLY: f64 = 0.6;
        const HARDLY: f64 = 0.05;
        let scale = ((width * height) as f32).sqrt();
        let mut things = Vec::new();
        let mut boxes = Vec::new();
        for (i, ((draft, patch), corner)) in self.drafts.iter().zip(&self.patches).zip(corners).enumerate() {
            let rect = paint::rect(patch, *corner, width, height);
            let seen = rect.width() * rect.height() / (patch.width * patch.height) as f64;
            if seen < HARDLY {
                continue;
            }
            let covered = (shown[i] as f64) < MOSTLY * seen * self.areas[i] as f64;
            if (seen < MOSTLY || covered) && query.noun().matches(&draft.thing(), &Drawn) {
                return Truth::Unclear;
            }
            things.push(Thing {
                cx: (rect.x0 + rect.x1) as f32 / 2.0 / scale,
                cy: (rect.y0 + rect.y1) as f32 / 2.0 / scale,
                ..draft.thing()
            });
            boxes.push(rect);
        }
        match query::resolve(query, &things, 1.0) {
            Meaning::One(index) => Truth::Here(boxes[index]),
            Meaning::None => Truth::Absent,
            Meaning::Ambiguous => Truth::Unclear,
        }
    }
}

/// Frames of many films as a data set, for measuring on motion. Unclear frames are passed over.
pub struct Films {
    scenes: Scenes,
    length: usize,
}

/// Frames taken of each film, and the time between them.
const FRAMES: usize = 40;
const STEP_SECONDS: f32 = 0.2;

impl Films {
    /// `length` frames of films of the kind that `scenes` describes.
    pub fn new(scenes: Scenes, length: usize) -> Self {
        Self { scenes, length }
    }
}

impl DataSet for Films {
    fn len(&self) -> usize {
        self.length
    }

    fn example(&self, index: usize) -> Result<Example> {
        Ok(Film::new(&self.scenes, index / FRAMES)?.example(index % FRAMES))
    }

    fn examples(&self, range: std::ops::Range<usize>) -> Result<Vec<Example>> {
        let mut last: Option<(usize, Film)> = None;
        let mut examples = Vec::with_capacity(range.len());
        for index in range {
            let number = index / FRAMES;
            let film = match last.take() {
                Some((made, film)) if made == number => film,
                _ => Film::new(&self.scenes, number)?,
            };
            examples.push(film.example(index % FRAMES));
            last = Some((number, film));
        }
        Ok(examples)
    }
}

impl Film {
    /// Frame `number` of those that are measured, or the next one that is clear.
    fn example(&self, number: usize) -> Example {
        const NEXT: f32 = 0.05;
        let mut seconds = number as f32 * STEP_SECONDS;
        let (picture, target) = loop {
            let (picture, truths) = self.frame(seconds);
            match truths[0] {
                Truth::Here(rect) => break (picture, Some(rect)),
                Truth::Absent => break (picture, None),
                Truth::Unclear => seconds += NEXT,
            }
        };
        Example {
            picture: Arc::new(picture),
            phrase: self.queries[0].1.clone(),
            target,
            source: Arc::clone(&self.style),
            kind: Arc::from(if target.is_some() { "in the picture" } else { "gone" }),
            labels: None,
            moment: None,
        }
    }
}
