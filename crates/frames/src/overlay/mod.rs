//! Drawing: boxes and captions as small pictures to blend over a frame.
//!
//! Each [`Tile`] is a rectangle of premultiplied BGRA that lies inside the frame, so that only the pixels under the
//! drawing are touched. Every query has a colour of its own, between black rims; boxes that stand in from an earlier frame are
//! dashed, and what is not there is said in grey.

mod blend;
mod shape;
mod tile;

use blocks::preprocess::Rect;
use clap::ValueEnum;

pub use blend::blend_rgb;
pub use shape::{Shape, shape_tiles};
pub use tile::Tile;
use tile::{LineStyle, box_tiles, caption_tile};

use crate::error::Result;

/// A part of a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Boxes.
    Boxes,
    /// Names of queries.
    Labels,
    /// Ids of things.
    Ids,
    /// Probabilities.
    Scores,
    /// Queries that are not in the picture.
    Absent,
    /// Zones and lines.
    Zones,
}

/// Which parts are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools)] // A switch each, as they are typed.
pub struct Parts {
    /// Boxes.
    pub boxes: bool,
    /// Names of queries.
    pub labels: bool,
    /// Ids of things.
    pub ids: bool,
    /// Probabilities.
    pub scores: bool,
    /// Queries that are not in the picture.
    pub absent: bool,
    /// Zones and lines.
    pub zones: bool,
}

impl Default for Parts {
    /// All but ids.
    fn default() -> Self {
        Self { boxes: true, labels: true, ids: false, scores: true, absent: true, zones: true }
    }
}

impl FromIterator<Part> for Parts {
    fn from_iter<I: IntoIterator<Item = Part>>(parts: I) -> Self {
        let mut all = Self { boxes: false, labels: false, ids: false, scores: false, absent: false, zones: false };
        for part in parts {
            match part {
                Part::Boxes => all.boxes = true,
                Part::Labels => all.labels = true,
                Part::Ids => all.ids = true,
                Part::Scores => all.scores = true,
                Part::Absent => all.absent = true,
                Part::Zones => all.zones = true,
            }
        }
        all
    }
}

/// One thing on a frame, or one query that is not there.
#[derive(Debug, Clone, PartialEq)]
pub struct Annotation {
    /// The box, in pixels of the frame; none for "not here".
    pub rect: Option<Rect>,
    /// True where the claim stands in from an earlier frame.
    pub carried: bool,
    /// Which of the queries of its stream, from 0: each has a colour.
    pub place: usize,
    /// Name of the query.
    pub query: String,
    /// Of the thing.
    pub id: Option<u64>,
    /// Probability that it is there.
    pub score: Option<f32>,
    /// False where the model's weights are as drawn from a seed.
    pub trained: bool,
}

impl Annotation {
    /// The caption's text; none where nothing of it is wanted.
    pub fn caption(&self, parts: Parts) -> Option<String> {
        let missing = self.rect.is_none();
        if missing && !parts.absent {
            return None;
        }
        let mut words = Vec::new();
        // "Not here" says nothing without what is not.
        if parts.labels || missing {
            words.push(if missing { format!("not here: {}", self.query) } else { self.query.clone() });
        }
        words.extend(self.id.filter(|_| parts.ids).map(|id| format!("#{id}")));
        words.extend(self.score.filter(|_| parts.scores).map(|score| format!("{:.0} %", 100.0 * score)));
        if words.is_empty() {
            return None;
        }
        words.extend(self.carried.then(|| "(carried)".to_owned()));
        words.extend((!self.trained).then(|| "(untrained)".to_owned()));
        Some(words.join(" "))
    }

    fn style(&self) -> LineStyle {
        match (&self.rect, self.carried) {
            (None, _) => LineStyle::Missing,
            (Some(_), true) => LineStyle::Carried(self.place),
            (Some(_), false) => LineStyle::Measured(self.place),
        }
    }
}

/// The tiles of all annotations on a frame of `width` x `height` pixels. Captions make way for each other where there is
/// room.
///
/// # Errors
/// The drawing library fails, out of memory for one.
pub fn tiles(annotations: &[Annotation], parts: Parts, width: usize, height: usize) -> Result<Vec<Tile>> {
    let (mut tiles, mut captions): (Vec<Tile>, Vec<Tile>) = (Vec::new(), Vec::new());
    for annotation in annotations {
        let style = annotation.style();
        if let Some(rect) = annotation.rect.as_ref().filter(|_| parts.boxes) {
            tiles.extend(box_tiles(rect, style, width, height));
        }
        if let Some(text) = annotation.caption(parts) {
            let mut caption = caption_tile(&text, annotation.rect.as_ref(), style, width, height)?;
            caption.make_way(&captions, height);
            captions.push(caption);
        }
    }
    tiles.extend(captions);
    Ok(tiles)
}

/// A shade over the whole frame, and words at its foot: it is not of now.
///
/// # Errors
/// The drawing library fails.
pub(crate) fn notice_tiles(text: &str, width: usize, height: usize) -> Result<Vec<Tile>> {
    /// How much of the picture's light goes, of 255.
    const SHADE: u8 = 150;
    let mut words = caption_tile(text, None, LineStyle::Missing, width, height)?;
    words.x = (width - words.width) / 2;
    words.y = height - words.height;
    let shade = [0, 0, 0, SHADE].repeat(width * height);
    Ok(vec![Tile { x: 0, y: 0, width, height, bgra: shade }, words])
}
