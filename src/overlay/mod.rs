//! Drawing: a box and a caption as small pictures to blend over a frame.
//!
//! Each [`Tile`] is a rectangle of premultiplied BGRA that lies inside the frame, so that only the pixels under the
//! drawing are touched. Measured boxes are yellow between black rims, carried ones dashed and
//! pale blue, a missing object is said in grey.

mod composition;
mod tile;

use blocks::preprocess::Rect;

pub use composition::{attach_tiles, blend_rgb};
pub use tile::{Line, Tile, caption_tile, frame_tiles};

use crate::error::Result;

/// What to draw on one frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Annotation {
    /// The box, in pixels of the frame; none for "not here".
    pub rect: Option<Rect>,
    /// True where the claim stands in from an earlier frame.
    pub carried: bool,
    /// The sentence.
    pub query: String,
    /// Probability that the object is there.
    pub presence: Option<f32>,
    /// False where the model's weights are as drawn from a seed.
    pub trained: bool,
}

impl Annotation {
    /// The caption's text.
    pub fn caption(&self) -> String {
        let presence = self.presence.map(|p| format!(" {:.0} %", 100.0 * p)).unwrap_or_default();
        let prefix = if self.rect.is_some() { "" } else { "not here: " };
        let carried = if self.carried { " (carried)" } else { "" };
        let suffix = if self.trained { "" } else { " (untrained)" };
        format!("{prefix}{}{presence}{carried}{suffix}", self.query)
    }

    fn line(&self) -> Line {
        match (&self.rect, self.carried) {
            (None, _) => Line::Missing,
            (Some(_), true) => Line::Carried,
            (Some(_), false) => Line::Measured,
        }
    }

    /// The tiles of this annotation on a frame of `width` x `height` pixels.
    ///
    /// # Errors
    /// The drawing library fails, out of memory for one.
    pub fn tiles(&self, width: usize, height: usize) -> Result<Vec<Tile>> {
        let caption = caption_tile(&self.caption(), self.rect.as_ref(), self.line(), width, height)?;
        let mut tiles = self.rect.as_ref().map_or_else(Vec::new, |rect| frame_tiles(rect, self.line(), width, height));
        tiles.push(caption);
        Ok(tiles)
    }
}

/// A shade over the whole frame, and words at its foot: it is not of now.
///
/// # Errors
/// The drawing library fails.
pub fn notice_tiles(text: &str, width: usize, height: usize) -> Result<Vec<Tile>> {
    /// How much of the picture's light goes, of 255.
    const SHADE: u8 = 150;
    let mut words = caption_tile(text, None, Line::Missing, width, height)?;
    words.x = (width - words.width) / 2;
    words.y = height - words.height;
    let shade = [0, 0, 0, SHADE].repeat(width * height);
    Ok(vec![Tile { x: 0, y: 0, width, height, bgra: shade }, words])
}
