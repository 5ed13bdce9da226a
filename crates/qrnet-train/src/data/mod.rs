//! Data sets: one iterator of (picture, phrase, box or absent), whatever it is read from.

use std::sync::Arc;

use qrnet::preprocess::{Picture, Rect};

use crate::error::Result;

/// One example.
#[derive(Debug, Clone)]
pub struct Example {
    /// The whole picture.
    pub picture: Arc<Picture>,
    /// What is looked for.
    pub phrase: String,
    /// Where it is, in pixels of the picture; none where it is not in the picture.
    pub target: Option<Rect>,
    /// Where the example comes from: the data set's name, or the art style of a drawn scene.
    pub source: Arc<str>,
    /// What kind of expression the phrase is: `name`, `position`, `relation` and so on; the data set says.
    pub kind: Arc<str>,
    /// What every pixel belongs to, where the data set knows.
    pub labels: Option<Arc<Labels>>,
}

/// What every pixel of a picture shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// For every pixel, row-major: 0 for the background, else one more than an index into `objects`.
    pub instance: Vec<u8>,
    /// The objects.
    pub objects: Vec<ObjectLabel>,
}

/// Class and colour of one object, as numbers that the data set gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectLabel {
    /// Class, from 1; 0 stands for the background.
    pub class: u16,
    /// Colour, from 1; 0 where the object has none to name.
    pub colour: u16,
}

/// A data set of a known length, readable in any order and from several threads.
pub trait DataSet: Send + Sync {
    /// Examples.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The example at `index` below [`DataSet::len`].
    ///
    /// # Errors
    /// Its picture cannot be read, or its box is not in the picture.
    fn example(&self, index: usize) -> Result<Example>;
}
