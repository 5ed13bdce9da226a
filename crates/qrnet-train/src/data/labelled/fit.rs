//! What all readers share: boxes put into their pictures, classes by name, phrases of one thing.

use std::collections::HashMap;
use std::path::Path;

use blocks::preprocess::Rect;

use super::super::listed::edges;

/// How far a box may leave its picture before that is an error: so many pixels, and this share of the picture's side.
/// Published boxes are rounded, and some were drawn at another size.
const OVER: (f64, f64) = (2.0, 0.01);

/// Puts the boxes of one set into their pictures, and counts those that have no area there.
pub(super) struct Boxes<'a> {
    set: &'a str,
    flat: usize,
    /// Those that end before they begin, and the first of them with its picture.
    turned: usize,
    first_turned: String,
}

impl<'a> Boxes<'a> {
    /// For the set of this name.
    pub(super) fn of(set: &'a str) -> Self {
        Self { set, flat: 0, turned: 0, first_turned: String::new() }
    }

    /// The box inside its picture of width and height; none where it has no area there.
    ///
    /// # Errors
    /// Numbers that are not finite, or a box that leaves its picture by more than rounding does.
    pub(super) fn fit(&mut self, rect: Rect, picture: &Path, size: (f64, f64)) -> Result<Option<Rect>, String> {
        let Rect { x0, y0, x1, y1 } = rect;
        if ![x0, y0, x1, y1].into_iter().all(f64::is_finite) {
            return Err(format!("the box is {}, expected finite numbers", edges(&rect)));
        }
        let (width, height) = size;
        let turned = x1 < x0 || y1 < y0;
        let shown = || edges(&Rect { x0: round(x0), y0: round(y0), x1: round(x1), y1: round(y1) });
        let leaves = |low: f64, high: f64, side: f64| -low.min(high) > over(side) || low.max(high) - side > over(side);
        if leaves(x0, x1, width) || leaves(y0, y1, height) {
            let how = if turned { "has swapped corners or a negative size, and leaves" } else { "leaves" };
            return Err(format!(
                "the box {} {how} the picture {} of {width}x{height} pixels, expected it inside (up to {} px and {} % over)",
                shown(),
                picture.display(),
                OVER.0,
                100.0 * OVER.1,
            ));
        }
        if turned {
            if self.turned == 0 {
                self.first_turned = format!("{} of {}", shown(), picture.display());
            }
            self.turned += 1;
            return Ok(None);
        }
        let clipped = rect.clipped(width, height);
        if clipped.width() <= 0.0 || clipped.height() <= 0.0 {
            self.flat += 1;
            return Ok(None);
        }
        Ok(Some(clipped))
    }

    /// Says how many boxes were left out.
    pub(super) fn finish(self) {
        match self.flat {
            0 => {}
            1 => tracing::warn!("{}: 1 box without an area was left out", self.set),
            flat => tracing::warn!("{}: {flat} boxes without an area were left out", self.set),
        }
        let what = "with swapped corners or a negative size";
        match self.turned {
            0 => {}
            1 => tracing::warn!("{}: 1 box {what} was left out: {}", self.set, self.first_turned),
            turned => {
                tracing::warn!("{}: {turned} boxes {what} were left out, the first {}", self.set, self.first_turned);
            }
        }
    }
}

fn over(side: f64) -> f64 {
    OVER.0 + OVER.1 * side
}

/// To hundredths, for messages.
fn round(value: f64) -> f64 {
    (100.0 * value).round() / 100.0
}

/// Width and height of a picture.
///
/// # Errors
/// One of them is no number of pixels.
pub(super) fn size(width: f64, height: f64) -> Result<(f64, f64), String> {
    let fine = |side: f64| side.is_finite() && side >= 1.0;
    if fine(width) && fine(height) {
        return Ok((width, height));
    }
    Err(format!("the picture's size is {width}x{height}, expected pixels"))
}

/// Adds a phrase, unless it is there in some spelling of capitals.
pub(super) fn add_phrase(phrases: &mut Vec<String>, phrase: &str) {
    let lower = phrase.to_lowercase();
    if phrases.iter().all(|known| known.to_lowercase() != lower) {
        phrases.push(phrase.to_owned());
    }
}

/// Names of classes in the order in which they are met.
#[derive(Default)]
pub(super) struct Classes {
    names: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl Classes {
    /// The number of a class.
    pub(super) fn number(&mut self, name: &str) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len();
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// All names, by number.
    pub(super) fn names(self) -> Vec<String> {
        self.names
    }
}
