//! Sprite scenes: procedural pictures with known objects, and a grammar of referring expressions over them.
//!
//! Everything follows from a seed and an index: the same scene on every machine and in any order. A scene shows plain
//! coloured shapes or emoji of one art style; its queries name, colour, place, count, compare and relate them, or ask
//! for something that is not there.

mod art;
mod clutter;
mod compose;
pub mod motion;
mod names;
mod paint;
mod query;
mod rgb;

use std::path::Path;
use std::sync::Arc;

use blocks::preprocess::Picture;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::data::{DataSet, Example, Labels, ObjectLabel};
use crate::error::Result;
use art::{Sprite, Style};
use compose::{Cast, Draft};
pub(crate) use names::grammar_words;
pub use names::{CLASSES, COLOUR_COUNT, class_name, colour_name, words};
use names::{COLOURS, SHAPES};
use paint::{Background, Corner, Patch, Pose, Tint};
use query::{Drawn, Meaning, Query, Thing};

/// How often each kind of expression is planned, as weights. Queries about things that are absent take all kinds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kinds {
    /// "the dog".
    pub name: f64,
    /// "the red one", "the red circle".
    pub attribute: f64,
    /// "the left dog".
    pub position: f64,
    /// "the second dog from the left".
    pub ordinal: f64,
    /// "the big dog".
    pub size: f64,
    /// "the dog above the circle".
    pub relation: f64,
}

impl Default for Kinds {
    fn default() -> Self {
        Self { name: 0.26, attribute: 0.12, position: 0.15, ordinal: 0.16, size: 0.14, relation: 0.17 }
    }
}

/// What scenes look like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SceneSettings {
    /// Longer side of a picture, in pixels.
    pub side: usize,
    /// Share of square pictures; the others are 4:3, 3:4 or 16:9.
    pub square: f64,
    /// Width to height of those others, where they are all to be alike; neither is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aspect: Option<[usize; 2]>,
    /// Fewest and most objects.
    pub objects: [usize; 2],
    /// Smallest and largest object, as a share of the picture's scale (the root of its area).
    pub sizes: [f32; 2],
    /// Share of scenes with coloured shapes alone.
    pub shapes: f64,
    /// Emoji art sets, by the name of their folder; one a scene.
    pub styles: Vec<String>,
    /// Kinds of expressions.
    pub kinds: Kinds,
    /// Least distance that places must differ by where a query compares them, as a multiple of what is fair at all.
    pub apart: f32,
    /// Share of queries whose object is not there.
    pub absent: f64,
    /// Queries about each scene.
    pub queries: usize,
    /// How much colours of the emoji art vary, 0..1.
    pub print: f32,
    /// Share of backgrounds with the edges and colours of photographs; the others are plain or patterned.
    pub clutter: f64,
    /// Share of scenes as a moment of a film shows them: things cover each other and stand half out of the picture, the one
    /// that is asked for in front. Where the query is a name or a colour; a crowd has no second from the left.
    pub crowd: f64,
    /// Frames of films, in which one object comes and goes, instead of single scenes; for measuring.
    pub motion: bool,
}

impl Default for SceneSettings {
    fn default() -> Self {
        Self {
            side: 128,
            square: 1.0,
            aspect: None,
            objects: [2, 6],
            sizes: [0.22, 0.40],
            shapes: 1.0,
            styles: Vec::new(),
            kinds: Kinds::default(),
            apart: 1.0,
            absent: 0.22,
            queries: 1,
            print: 0.0,
            clutter: 0.0,
            crowd: 0.0,
            motion: false,
        }
    }
}

/// The art that scenes are drawn from, shared by data sets.
pub struct Art {
    shapes: Vec<Sprite>,
    styles: Vec<Style>,
}

impl Art {
    /// Reads the named sets from `folder`; without names, shapes alone.
    ///
    /// # Errors
    /// A set is not there, or is no icon set.
    pub fn load(folder: &Path, styles: &[String]) -> Result<Self> {
        let styles = styles.iter().map(|name| Style::load(folder, name)).collect::<Result<_>>()?;
        Ok(Self { shapes: art::shapes()?, styles })
    }

    fn style(&self, name: &str) -> Option<&Style> {
        self.styles.iter().find(|style| style.name == name)
    }
}

/// What scenes without art are called in reports.
const PLAIN: &str = "shapes";

/// Attempts at one scene before its settings are blamed.
const ATTEMPTS: usize = 5000;

/// Scenes of one kind, counted from 0 under a seed.
pub struct Scenes {
    settings: SceneSettings,
    art: Arc<Art>,
    seed: u64,
    length: usize,
}

/// A drawn scene and its questions.
pub struct Scene {
    /// The picture.
    pub picture: Arc<Picture>,
    /// What every pixel shows.
    pub labels: Arc<Labels>,
    /// Boxes of the objects, in the order of the labels.
    pub boxes: Vec<blocks::preprocess::Rect>,
    /// Phrase, kind of expression, and the object meant.
    pub queries: Vec<(String, &'static str, Option<usize>)>,
    /// Art style, or `shapes`. An example whose object is a plain shape counts as `shapes` in any scene.
    pub style: Arc<str>,
}

impl Scenes {
    /// `length` examples; an example is one query of one scene.
    ///
    /// # Errors
    /// A style of the settings is not among the art.
    pub fn new(settings: SceneSettings, art: Arc<Art>, seed: u64, length: usize) -> Result<Self> {
        if let Some(name) = settings.styles.iter().find(|name| art.style(name).is_none()) {
            return Err(crate::Error::Unsupported(format!("art style {name:?} was not loaded")));
        }
        Ok(Self { settings, art, seed, length })
    }

    /// Scene `index`.
    ///
    /// # Errors
    /// The settings leave no room: too many objects, or too large ones.
    pub fn scene(&self, index: usize) -> Result<Scene> {
        let mut rng = blocks::seeded::stream(self.seed, &format!("scene.{index}"));
        let rng = &mut rng;
        let (width, height) = self.frame(rng);
        (0..ATTEMPTS).find_map(|_| self.attempt(width, height, rng)).ok_or_else(|| self.crowded())
    }

    fn crowded(&self) -> crate::Error {
        let SceneSettings { objects, sizes, .. } = &self.settings;
        crate::Error::Unsupported(format!(
            "{ATTEMPTS} attempts at a scene found no room: `objects` {objects:?} of `sizes` {sizes:?}, expected fewer or smaller ones"
        ))
    }

    fn frame(&self, rng: &mut ChaCha8Rng) -> (usize, usize) {
        let side = self.settings.side;
        if rng.random_bool(self.settings.square) {
            return (side, side);
        }
        let pick = rng.random_range(0..4);
        if let Some([width, height]) = self.settings.aspect {
            let longer = width.max(height);
            return (side * width / longer, side * height / longer);
        }
        match pick {
            0 => (side, side * 3 / 4),
            1 => (side * 3 / 4, side),
            _ => (side, side * 9 / 16),
        }
    }

    fn style(&self, rng: &mut ChaCha8Rng) -> Option<&Style> {
        let styles = &self.settings.styles;
        if styles.is_empty() || rng.random_bool(self.settings.shapes) {
            return None;
        }
        self.art.style(&styles[rng.random_range(0..styles.len())])
    }

    fn cast(&self, style: Option<&Style>) -> Cast {
        let emoji = style.map_or_else(Vec::new, |style| {
            (0..style.sprites.len()).filter(|&i| style.sprites[i].is_some()).map(compose::emoji_class).collect()
        });
        Cast { emoji, sizes: (self.settings.sizes[0], self.settings.sizes[1]), kinds: self.settings.kinds }
    }

    /// Plans, places and draws a scene; none where the objects found no place that makes the query fair.
    fn attempt(&self, width: usize, height: usize, rng: &mut ChaCha8Rng) -> Option<Scene> {
        let settings = &self.settings;
        let style = self.style(rng);
        let cast = self.cast(style);
        let count = rng.random_range(settings.objects[0]..=settings.objects[1]);
        let mut plan = cast.plan(count, rng.random_bool(settings.absent), rng);
        let crowd = settings.crowd > 0.0 && matches!(plan.query, Query::Plain(_)) && rng.random_bool(settings.crowd);
        if crowd {
            // What is drawn last is in front.
            plan.drafts.rotate_left(1);
        }
        let scale = ((width * height) as f32).sqrt();
        let patches: Vec<Patch> =
            plan.drafts.iter().map(|draft| self.patch(*draft, style, scale, rng)).collect::<Option<_>>()?;
        let (corners, things) = place_fairly(&plan, &patches, (width, height), (settings.apart, crowd), rng)?;
        let background = Background::drawn((width, height), &patches, settings.clutter, rng);
        let placed: Vec<(&Patch, Corner)> = patches.iter().zip(corners.iter().copied()).collect();
        let (picture, instance) = paint::draw(&background, &placed);
        let objects = plan.drafts.iter().map(|d| ObjectLabel { class: d.class, colour: d.colour }).collect();
        let boxes = placed.iter().map(|(patch, corner)| paint::rect(patch, *corner, width, height)).collect();
        let mut asked = vec![plan.query];
        while asked.len() < settings.queries {
            let absent = rng.random_bool(settings.absent);
            let another = if crowd { None } else { cast.ask(&things, absent, rng) };
            asked.push(another.unwrap_or(plan.query));
        }
        let queries = asked.into_iter().map(|query| say(query, &things, rng)).collect();
        Some(Scene {
            picture: Arc::new(picture),
            labels: Arc::new(Labels { instance, objects }),
            boxes,
            queries,
            style: style.map_or(PLAIN, |style| &style.name).into(),
        })
    }

    fn patch(&self, draft: Draft, style: Option<&Style>, scale: f32, rng: &mut ChaCha8Rng) -> Option<Patch> {
        const TURN: f32 = 0.2;
        let class = usize::from(draft.class) - 1;
        let angle = TURN * (2.0 * rng.random::<f32>() - 1.0);
        let size = draft.size * scale;
        if let Some(sprite) = self.art.shapes.get(class) {
            let (_, rgb) = COLOURS[usize::from(draft.colour) - 1];
            let rgb = rgb.map(|v| (f32::from(v) / 255.0 + 0.14 * (rng.random::<f32>() - 0.5)).clamp(0.0, 1.0));
            return Some(Patch::new(sprite, Pose { size, angle, flip: false, tint: Tint::colour(rgb) }));
        }
        let sprite = style?.sprites[class - SHAPES.len()].as_ref()?;
        let tint = if self.settings.print > 0.0 { Tint::print(self.settings.print, rng) } else { Tint::NONE };
        Some(Patch::new(sprite, Pose { size, angle, flip: rng.random_bool(0.5), tint }))
    }
}

fn say(query: Query, things: &[Thing], rng: &mut ChaCha8Rng) -> (String, &'static str, Option<usize>) {
    let target = match query::resolve(query, things, 1.0) {
        Meaning::One(index) => Some(index),
        _ => None,
    };
    (query.phrase(&Drawn, rng), query.kind(), target)
}

/// Places for all patches under which the plan's query means what it should.
fn place_fairly(
    plan: &compose::Plan,
    patches: &[Patch],
    (width, height): (usize, usize),
    (apart, crowd): (f32, bool),
    rng: &mut ChaCha8Rng,
) -> Option<(Vec<Corner>, Vec<Thing>)> {
    const TRIES: usize = 12;
    let scale = ((width * height) as f32).sqrt();
    (0..TRIES).find_map(|_| {
        let corners = if crowd { gather(patches, width, height, rng) } else { place(patches, width, height, rng)? };
        let things: Vec<Thing> = plan
            .drafts
            .iter()
            .zip(patches.iter().zip(&corners))
            .map(|(draft, (patch, (x, y)))| Thing {
                class: draft.class,
                colour: draft.colour,
                cx: (*x as f32 + 0.5 * patch.width as f32) / scale,
                cy: (*y as f32 + 0.5 * patch.height as f32) / scale,
                size: draft.size,
                doubtful: false,
            })
            .collect();
        let fair = match query::resolve(plan.query, &things, apart) {
            Meaning::One(_) => plan.present,
            Meaning::None => !plan.present,
            Meaning::Ambiguous => false,
        };
        fair.then_some((corners, things))
    })
}

/// Random places, up to two fifths out of the picture, whatever else is there.
fn gather(patches: &[Patch], width: usize, height: usize, rng: &mut ChaCha8Rng) -> Vec<Corner> {
    const OUT: f32 = 0.4;
    // Seldom over two edges at once, as few things in a film are: then more than three fifths would be gone.
    let mut along = |length: usize, side: usize, out: f32| {
        let (length, side) = (length as f32, side as f32);
        (-out * side + rng.random::<f32>() * (length - side + 2.0 * out * side)).round() as i32
    };
    patches.iter().map(|patch| (along(width, patch.width, OUT), along(height, patch.height, 0.0))).collect()
}

/// Random places where patches hardly cover each other.
fn place(patches: &[Patch], width: usize, height: usize, rng: &mut ChaCha8Rng) -> Option<Vec<Corner>> {
    const TRIES: usize = 40;
    const COVERED: f64 = 0.06;
    let mut taken = Vec::new();
    let mut corners = Vec::new();
    for patch in patches {
        if patch.width > width || patch.height > height {
            return None;
        }
        let free = (0..TRIES).find_map(|_| {
            let corner = (
                rng.random_range(0..=(width - patch.width) as i32),
                rng.random_range(0..=(height - patch.height) as i32),
            );
            let rect = paint::rect(patch, corner, width, height);
            let crowded = taken.iter().any(|other: &blocks::preprocess::Rect| {
                let smaller = (rect.width() * rect.height()).min(other.width() * other.height());
                rect.intersection(other) > COVERED * smaller
            });
            (!crowded).then_some((corner, rect))
        });
        let (corner, rect) = free?;
        taken.push(rect);
        corners.push(corner);
    }
    Some(corners)
}

impl DataSet for Scenes {
    fn len(&self) -> usize {
        self.length
    }

    fn example(&self, index: usize) -> Result<Example> {
        let queries = self.settings.queries.max(1);
        Ok(self.scene(index / queries)?.example(index % queries))
    }

    fn examples(&self, range: std::ops::Range<usize>) -> Result<Vec<Example>> {
        let queries = self.settings.queries.max(1);
        let mut last: Option<(usize, Scene)> = None;
        let mut examples = Vec::with_capacity(range.len());
        for index in range {
            let (number, query) = (index / queries, index % queries);
            let scene = match last.take() {
                Some((drawn, scene)) if drawn == number => scene,
                _ => self.scene(number)?,
            };
            examples.push(scene.example(query));
            last = Some((number, scene));
        }
        Ok(examples)
    }
}

impl Scene {
    /// Question `query` as an example.
    pub fn example(&self, query: usize) -> Example {
        let (phrase, kind, target) = &self.queries[query];
        Example {
            picture: Arc::clone(&self.picture),
            phrase: phrase.clone(),
            target: target.map(|index| self.boxes[index]),
            source: match target {
                Some(index) if self.labels.objects[*index].colour > 0 => Arc::from(PLAIN),
                _ => Arc::clone(&self.style),
            },
            kind: Arc::from(*kind),
            labels: Some(Arc::clone(&self.labels)),
            moment: None,
        }
    }
}
