//! A data set as a list of entries: what every reader gives, and the checks that all of them share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use blocks::preprocess::{Picture, Rect};
use blocks::text::tokenizer::QueryTokenizer;

use super::{DataSet, Example, Legibility};
use crate::error::{Error, Result};

/// What [`Entry::kind`] is where a data set says nothing about its phrases.
pub const ANY_KIND: &str = "expression";

/// How far a box may leave its picture, in pixels: published boxes are rounded.
pub const TOLERANCE: f64 = 1.0;

/// One line, sentence or tuple of a data set's file.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The picture's file.
    pub picture: PathBuf,
    /// What is looked for.
    pub phrase: String,
    /// Where it is, in pixels of the picture; none where it is not in the picture.
    pub target: Option<Rect>,
    /// What kind of expression the phrase is; [`ANY_KIND`] where the data set does not say.
    pub kind: Arc<str>,
    /// Where the entry comes from, in place of the data set's name.
    pub source: Option<Arc<str>>,
    /// The file that lists the entry.
    pub file: Arc<Path>,
    /// Which entry of that file it is: "line 7", "ref 12, sentence 3".
    pub place: String,
}

impl Entry {
    fn fail(&self, reason: impl std::fmt::Display) -> Error {
        Error::entry(&self.file, &self.place, reason)
    }

    /// Checks what can be told without the picture.
    fn check(&self) -> Result<()> {
        if self.phrase.trim().is_empty() {
            return Err(self.fail(format_args!("the phrase is {:?}, expected words", self.phrase)));
        }
        let Some(rect) = self.target else { return Ok(()) };
        if ![rect.x0, rect.y0, rect.x1, rect.y1].into_iter().all(f64::is_finite) {
            return Err(self.fail(format_args!("the box is {}, expected finite numbers", edges(&rect))));
        }
        if rect.width() <= 0.0 || rect.height() <= 0.0 {
            return Err(self.fail(format_args!("the box {} has no area, expected a box of pixels", edges(&rect))));
        }
        Ok(())
    }

    /// The box inside a picture of `width` x `height`.
    fn target_in(&self, width: usize, height: usize) -> Result<Option<Rect>> {
        let Some(rect) = self.target else { return Ok(None) };
        let (w, h) = (width as f64, height as f64);
        let clipped = rect.clipped(w, h);
        let beyond = (-rect.x0).max(-rect.y0).max(rect.x1 - w).max(rect.y1 - h);
        if beyond > TOLERANCE || clipped.width() <= 0.0 || clipped.height() <= 0.0 {
            return Err(self.fail(format_args!(
                "the box {} leaves the picture {} of {width}x{height} pixels, expected it inside (up to {TOLERANCE} px over)",
                edges(&rect),
                self.picture.display()
            )));
        }
        Ok(Some(clipped))
    }

    /// The entry with its picture; `source` is the data set's name.
    ///
    /// # Errors
    /// Its box leaves the picture.
    pub(crate) fn example(&self, picture: Arc<Picture>, source: &Arc<str>) -> Result<Example> {
        Ok(Example {
            target: self.target_in(picture.width, picture.height)?,
            picture,
            phrase: self.phrase.clone(),
            source: Arc::clone(self.source.as_ref().unwrap_or(source)),
            kind: Arc::clone(&self.kind),
            labels: None,
            moment: None,
        })
    }
}

/// A box for a message: `(x0, y0)-(x1, y1)`.
pub(super) fn edges(rect: &Rect) -> String {
    format!("({}, {})-({}, {})", rect.x0, rect.y0, rect.x1, rect.y1)
}

/// A [`DataSet`] that opens the pictures of a list of entries.
#[derive(Debug, Clone)]
pub struct Listed {
    source: Arc<str>,
    entries: Vec<Entry>,
}

impl Listed {
    /// A data set named `source`. Pictures are not opened here.
    ///
    /// # Errors
    /// An entry with an empty phrase, or with a box without area or with numbers that are not finite.
    pub fn new(source: &str, entries: Vec<Entry>) -> Result<Self> {
        entries.iter().try_for_each(Entry::check)?;
        Ok(Self { source: source.into(), entries })
    }

    /// The entries, in the order of their file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

impl DataSet for Listed {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn legibility(&self, tokenizer: &QueryTokenizer) -> Result<Legibility> {
        let mut found = Legibility::default();
        for entry in &self.entries {
            let encoded = tokenizer.encode(&entry.phrase).map_err(|e| entry.fail(e))?;
            found.read += 1;
            found.cut += usize::from(encoded.cut.is_some());
            found.unknown += usize::from(!encoded.unknown.is_empty());
        }
        Ok(found)
    }

    fn phrases(&self) -> Vec<&str> {
        self.entries.iter().map(|entry| entry.phrase.as_str()).collect()
    }

    fn example(&self, index: usize) -> Result<Example> {
        let entry = self.entries.get(index).ok_or_else(|| {
            Error::Unsupported(format!("example {index} of `{}`, expected one below {}", self.source, self.len()))
        })?;
        let picture = Picture::open(&entry.picture).map_err(|e| entry.fail(e))?;
        entry.example(Arc::new(picture), &self.source)
    }
}

/// Collects the entries of one file. Repeated references cost few bytes in a pickle, so what they add up to is bounded.
pub(super) struct Collector {
    file: Arc<Path>,
    kind: Arc<str>,
    /// Bytes of names and phrases that may still come.
    left: usize,
    entries: Vec<Entry>,
}

impl Collector {
    /// For a file of `size` bytes.
    pub(super) fn new(file: &Path, size: usize) -> Self {
        let left = size.saturating_mul(64).saturating_add(1 << 20);
        Self { file: file.into(), kind: ANY_KIND.into(), left, entries: Vec::new() }
    }

    pub(super) fn push(&mut self, place: String, picture: PathBuf, phrase: String, target: Option<Rect>) -> Result<()> {
        let size = place.len() + picture.as_os_str().len() + phrase.len();
        let Some(left) = self.left.checked_sub(size) else {
            return Err(Error::entry(
                &self.file,
                place,
                "the entries so far are over 64 times as large as their file, expected a list without such repetition",
            ));
        };
        self.left = left;
        let (file, kind) = (Arc::clone(&self.file), Arc::clone(&self.kind));
        self.entries.push(Entry { picture, phrase, target, kind, source: None, file, place });
        Ok(())
    }

    /// The entry that was pushed last.
    pub(super) fn last(&mut self) -> Option<&mut Entry> {
        self.entries.last_mut()
    }

    pub(super) fn finish(self) -> Vec<Entry> {
        self.entries
    }
}
