//! Pictures with boxes and names, whatever layout they are read from.
//!
//! A reader gives a [`LabelledSet`]; what is asked of it is decided elsewhere. Pictures stay on disk until they are asked
//! about.

pub mod coco;
mod fit;
pub mod flickr30k;
mod names;
pub mod pack;
mod text;
pub mod voc;
pub mod yolo;

use std::collections::BTreeSet;
use std::path::PathBuf;

use blocks::preprocess::Rect;

use crate::error::{Error, Result};

/// The smallest box around both.
pub(crate) fn around(one: &Rect, other: &Rect) -> Rect {
    Rect { x0: one.x0.min(other.x0), y0: one.y0.min(other.y0), x1: one.x1.max(other.x1), y1: one.y1.max(other.y1) }
}

/// A data set of labelled pictures.
#[derive(Debug, Clone, Default)]
pub struct LabelledSet {
    /// Name in reports.
    pub name: String,
    /// Names of the classes, as the data set spells them.
    pub classes: Vec<String>,
    /// Whether every object of these classes has a box in every picture, so that absence can be told from the boxes.
    pub complete: bool,
    /// The pictures.
    pub pictures: Vec<LabelledPicture>,
}

impl LabelledSet {
    /// The set without pictures of other licences than `licences`, as the data set spells them; whole if none is named.
    ///
    /// # Errors
    /// A licence that no picture has; those that there are are named.
    pub fn licensed(mut self, licences: &[String]) -> Result<Self> {
        if licences.is_empty() {
            return Ok(self);
        }
        let there: BTreeSet<&str> = self.pictures.iter().filter_map(|p| p.licence.as_deref()).collect();
        if let Some(licence) = licences.iter().find(|licence| !there.contains(licence.as_str())) {
            return Err(Error::Unsupported(format!(
                "{}: `licences` holds {licence:?}, which none of its {} pictures has; there are {there:?}",
                self.name,
                self.pictures.len()
            )));
        }
        self.pictures.retain(|picture| picture.licence.as_ref().is_some_and(|own| licences.contains(own)));
        Ok(self)
    }
}

/// One picture and what is known of it.
#[derive(Debug, Clone, Default)]
pub struct LabelledPicture {
    /// The file.
    pub path: PathBuf,
    /// Width of the picture, in the pixels that boxes are measured in.
    pub width: f64,
    /// Its height.
    pub height: f64,
    /// Boxes with a class.
    pub objects: Vec<LabelledObject>,
    /// Things that people described in their own words.
    pub referents: Vec<Referent>,
    /// Whole sentences about the picture.
    pub captions: Vec<String>,
    /// Under which licence its owner shows it, where the data set says so.
    pub licence: Option<String>,
}

/// An object with a class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelledObject {
    /// Index into [`LabelledSet::classes`].
    pub class: usize,
    /// Its box, clipped to the picture, with an area above 0.
    pub rect: Rect,
    /// Hard to make out, as its data set says: never asked for, and no proof of absence.
    pub difficult: bool,
    /// One box around many objects: likewise.
    pub crowd: bool,
}

/// A thing, or several as one, in people's own words.
#[derive(Debug, Clone, PartialEq)]
pub struct Referent {
    /// What people called it; at least one phrase.
    pub phrases: Vec<String>,
    /// Around all of its boxes.
    pub rect: Rect,
    /// How many boxes that are.
    pub boxes: usize,
    /// What kind of thing it is, as the data set says: `people`, `animals`, `scene`.
    pub kind: String,
}
