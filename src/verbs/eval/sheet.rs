//! Contact sheets: examples with the true box in green and the answered one in yellow.

use std::path::{Path, PathBuf};

use blocks::preprocess::{Picture, Rect};
use frames::overlay::{Annotation, Parts, blend_rgb, tiles};
use qrnet_train::evaluate::Seen;

use crate::error::{Error, Result};
use crate::verbs::contact_sheet::{Spread, fitting, sheet};
use crate::verbs::preview::{save, scaled};

/// Whether box and presence are right.
fn right(seen: &Seen) -> bool {
    match seen.overlap {
        Some(overlap) => seen.here && overlap >= 0.5,
        None => !seen.here,
    }
}

/// Hits and misses of a set, from all over it.
pub(super) struct Sheets {
    folder: PathBuf,
    set: String,
    hits: Spread,
    misses: Spread,
}

impl Sheets {
    pub(super) fn new(folder: &Path, set: &str) -> Self {
        Self { folder: folder.to_path_buf(), set: set.to_owned(), hits: Spread::default(), misses: Spread::default() }
    }

    pub(super) fn add(&mut self, seen: &Seen) {
        let spread = if right(seen) { &mut self.hits } else { &mut self.misses };
        spread.add(|| cell(seen));
    }

    /// Writes `SET-hits.png` and `SET-misses.png`.
    pub(super) fn write(&self) -> Result<Vec<PathBuf>> {
        std::fs::create_dir_all(&self.folder).map_err(Error::io("create", &self.folder))?;
        [("hits", &self.hits), ("misses", &self.misses)]
            .into_iter()
            .map(|(what, spread)| {
                let path = self.folder.join(format!("{}-{what}.png", self.set));
                save(&path, &sheet(spread.cells()))?;
                Ok(path)
            })
            .collect()
    }
}

/// One drawing.
fn cell(seen: &Seen) -> Result<Picture> {
    let scale = fitting(&seen.example.picture);
    let (mut picture, truth) = scaled(&seen.example.picture, seen.example.target, scale)?;
    let answer = seen.picture.transform.from_target(seen.answer.map(f64::from));
    let answer = Rect { x0: answer.x0 * scale, y0: answer.y0 * scale, x1: answer.x1 * scale, y1: answer.y1 * scale };
    let annotation = Annotation {
        carried: false,
        rect: seen.here.then(|| answer.clipped(picture.width as f64, picture.height as f64)),
        query: seen.example.phrase.clone(),
        score: seen.presence,
        place: 0,
        id: None,
        trained: true,
    };
    let tiles = tiles(&[annotation], Parts::default(), picture.width, picture.height)?;
    blend_rgb(&mut picture.rgb, picture.width, &tiles);
    // Above the answer, whose line is wider.
    if let Some(truth) = truth {
        outline(&mut picture, &truth);
    }
    Ok(picture)
}

/// The true box, a pixel wide, in green.
fn outline(picture: &mut Picture, rect: &Rect) {
    let Picture { width, height, ref mut rgb } = *picture;
    let clamp = |v: f64, limit: usize| (v.max(0.0) as usize).min(limit.saturating_sub(1));
    let (x0, x1) = (clamp(rect.x0, width), clamp(rect.x1, width));
    let (y0, y1) = (clamp(rect.y0, height), clamp(rect.y1, height));
    let mut paint = |x: usize, y: usize| {
        if x < width && y < height {
            rgb[3 * (y * width + x)..][..3].copy_from_slice(&[40, 220, 90]);
        }
    };
    (x0..=x1).for_each(|x| [y0, y1].into_iter().for_each(|y| paint(x, y)));
    (y0..=y1).for_each(|y| [x0, x1].into_iter().for_each(|x| paint(x, y)));
}
