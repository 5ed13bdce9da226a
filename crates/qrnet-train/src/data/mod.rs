//! Data sets: one iterator of (picture, phrase, box or absent), whatever it is read from.

pub mod clip;
pub mod corrections;
mod guesses;
pub mod index;
pub mod jsonl;
pub mod labelled;
pub mod listed;
pub mod mdetr;
mod pickle;
pub mod place;
pub mod refer;
pub mod source;
mod torch;
pub mod video;

use std::path::Path;
use std::sync::Arc;

use blocks::preprocess::{Picture, Rect};
use blocks::text::tokenizer::QueryTokenizer;
use rand_chacha::ChaCha8Rng;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
pub use guesses::Guesses;
pub use index::Layout;
pub use listed::{Entry, Listed};
pub use source::{Origin, Source};

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
    /// Where in a film the picture stands; none for single pictures.
    pub moment: Option<Moment>,
}

/// A frame of a film, as one question goes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Counts the questions that a data set asks of its film.
    pub question: u32,
    /// Counts the stretches of frames that are taken from it.
    pub stretch: u32,
    /// Counted from 1.
    pub frame: u64,
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

/// What a vocabulary makes of a data set's phrases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Legibility {
    /// Phrases that were read.
    pub read: usize,
    /// Phrases that are longer than the model reads; their ends are cut off.
    pub cut: usize,
    /// Phrases with words or characters that the vocabulary lacks.
    pub unknown: usize,
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

    /// The example at `index` as training should see it this time, where the data set has ways to vary it.
    ///
    /// # Errors
    /// As [`DataSet::example`].
    fn varied(&self, index: usize, _rng: &mut ChaCha8Rng) -> Result<Example> {
        self.example(index)
    }

    /// Several questions about the example at `index`, each varied by a generator of its own. Those that show the same
    /// picture share it. Data sets that ask many things of one picture read it once; by itself this is as often
    /// [`DataSet::varied`].
    ///
    /// # Errors
    /// As [`DataSet::example`].
    fn varied_group(&self, index: usize, rngs: &mut [ChaCha8Rng]) -> Result<Vec<Example>> {
        let mut group: Vec<Example> = Vec::with_capacity(rngs.len());
        for rng in rngs {
            let mut example = self.varied(index, rng)?;
            let same = |other: &&Example| {
                let (a, b) = (&other.picture, &example.picture);
                (a.width, a.height) == (b.width, b.height) && a.rgb == b.rgb
            };
            if let Some(first) = group.first().filter(same) {
                example.picture = Arc::clone(&first.picture);
            }
            group.push(example);
        }
        Ok(group)
    }

    /// Reads every phrase once, so that a run does not end over one of them on its second day.
    ///
    /// # Errors
    /// A phrase holds nothing that the vocabulary knows; its entry is named.
    fn legibility(&self, _tokenizer: &QueryTokenizer) -> Result<Legibility> {
        Ok(Legibility::default())
    }

    /// Every phrase that is asked, where the data set knows them beforehand.
    fn phrases(&self) -> Vec<&str> {
        Vec::new()
    }

    /// The class of the thing that example `index` asks for, where the data set knows.
    fn thing(&self, _index: usize) -> Option<Arc<str>> {
        None
    }

    /// What its questions are worth without a model, where the data set knows the boxes of all that is labelled.
    fn guesses(&self) -> Option<Guesses> {
        None
    }

    /// Neighbouring examples; faster than one by one where they share a picture.
    ///
    /// # Errors
    /// As [`DataSet::example`].
    fn examples(&self, range: std::ops::Range<usize>) -> Result<Vec<Example>> {
        range.map(|index| self.example(index)).collect()
    }
}

/// Largest list of entries that is read, in bytes; the largest published one has a tenth of it.
const LARGEST_LIST: u64 = 1 << 30;

/// The content of a file that lists entries.
fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let size = std::fs::metadata(path).map_err(Error::io("read", path))?.len();
    if size > LARGEST_LIST {
        return Err(Error::file(path, format_args!("holds {size} bytes, expected at most {LARGEST_LIST}")));
    }
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    if bytes.is_empty() {
        return Err(Error::file(path, "is empty (0 bytes), expected entries"));
    }
    Ok(bytes)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    parse_json(path, &read_bytes(path)?)
}

fn parse_json<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| {
        let cut = if e.is_eof() { " (cut short?)" } else { "" };
        Error::file(path, format_args!("{e}{cut}"))
    })
}
