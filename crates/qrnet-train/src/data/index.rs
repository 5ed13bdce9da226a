//! The reference's index files: `<data set>_<split>.pth`, what `torch.save` writes for a list of tuples.

use std::path::Path;

use blocks::preprocess::Rect;
use serde::{Deserialize, Serialize};

use super::listed::{Collector, Entry};
use super::pickle::{Fault, Id};
use super::refer::whole_pixels;
use super::{read_bytes, torch};
use crate::error::{Error, Result};

/// Which data set an index file belongs to, by the reference's names: its tuples differ (SPEC section 6).
///
/// Flickr: (picture, box, phrase); all others: (picture, mask, box, phrase, attributes), of which mask and attributes
/// are not read. Boxes are edges in ReferIt and Flickr, and left, top, width, height in the RefCOCO family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// ReferIt.
    #[serde(rename = "referit")]
    Referit,
    /// Flickr30K Entities.
    #[serde(rename = "flickr")]
    Flickr,
    /// RefCOCO.
    #[serde(rename = "unc")]
    Unc,
    /// RefCOCO+.
    #[serde(rename = "unc+")]
    UncPlus,
    /// RefCOCOg, split by google.
    #[serde(rename = "gref")]
    Gref,
    /// RefCOCOg, split by umd.
    #[serde(rename = "gref_umd")]
    GrefUmd,
}

impl Layout {
    /// The reference's name of the data set.
    pub fn name(self) -> &'static str {
        match self {
            Self::Referit => "referit",
            Self::Flickr => "flickr",
            Self::Unc => "unc",
            Self::UncPlus => "unc+",
            Self::Gref => "gref",
            Self::GrefUmd => "gref_umd",
        }
    }

    /// Length of a tuple, and where picture, box and phrase stand in it.
    fn tuple(self) -> (usize, [usize; 3]) {
        if self == Self::Flickr { (3, [0, 1, 2]) } else { (5, [0, 2, 3]) }
    }

    /// Four numbers, cut to whole pixels, as a box.
    fn rect(self, numbers: [f64; 4]) -> Rect {
        match self {
            Self::Referit | Self::Flickr => {
                let [x0, y0, x1, y1] = numbers.map(f64::trunc);
                Rect { x0, y0, x1, y1 }
            }
            _ => whole_pixels(numbers),
        }
    }
}

/// One entry for every tuple of `file`, in its order; pictures lie under `pictures`.
///
/// # Errors
/// The file is missing, cut short, not what `torch.save` writes, of another layout, or asks for more than data.
pub fn read(file: &Path, pictures: &Path, layout: Layout) -> Result<Vec<Entry>> {
    let bytes = read_bytes(file)?;
    let saved = torch::read(&bytes).map_err(|reason| Error::file(file, reason))?;
    let pickle = &saved.pickle;
    let list = pickle.items(pickle.root).ok_or_else(|| {
        Error::file(file, format_args!("holds {}, expected a list of tuples", pickle.describe(pickle.root)))
    })?;
    let (length, places) = layout.tuple();
    let mut out = Collector::new(file, bytes.len());
    for (position, id) in list.iter().enumerate() {
        let place = format!("entry {position}");
        let parts = |id: Id| -> Result<_, Fault> {
            let wrong =
                || format!("is {}, expected a tuple of {length} (layout `{}`)", pickle.describe(id), layout.name());
            let items = pickle.items(id).filter(|items| items.len() == length).ok_or_else(wrong)?;
            let [name, numbers, phrase] = places.map(|p| items[p]);
            let text = |id: Id, what: &str| {
                let wrong = || format!("the {what} is {}, expected a text", pickle.describe(id));
                pickle.text(id).ok_or_else(wrong)
            };
            let found = saved.numbers(numbers).map_err(|reason| format!("the box {reason}"))?;
            let numbers = <[f64; 4]>::try_from(found.as_slice())
                .map_err(|_| format!("the box is {found:?}, expected 4 numbers"))?;
            Ok((pictures.join(&*text(name, "picture's name")?), text(phrase, "phrase")?.into_owned(), numbers))
        };
        let (picture, phrase, numbers) = parts(*id).map_err(|reason| Error::entry(file, &place, reason))?;
        out.push(place, picture, phrase, Some(layout.rect(numbers)))?;
    }
    let entries = out.finish();
    if entries.is_empty() {
        return Err(Error::file(file, "holds an empty list, expected tuples"));
    }
    Ok(entries)
}
