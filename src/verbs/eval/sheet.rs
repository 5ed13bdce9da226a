//! Contact sheets: examples with the true box in green and the answered one in yellow.

use std::path::{Path, PathBuf};

use qrnet::preprocess::Rect;
use qrnet_train::data::Example;

use crate::error::{Error, Result};
use crate::overlay::{Annotation, blend_rgb};
use crate::verbs::preview::enlarge;

/// Cells of a sheet, across and down.
const GRID: (usize, usize) = (6, 4);
/// Side of a cell in pixels.
const CELL: usize = 320;

/// An example and what was answered.
pub(super) struct Shown<'a> {
    pub(super) example: &'a Example,
    /// The answered box, in pixels of the picture.
    pub(super) rect: Rect,
    /// Overlap with the true box; none where there is none.
    pub(super) overlap: Option<f32>,
    pub(super) presence: Option<f32>,
}

impl Shown<'_> {
    /// Whether box and presence are right.
    fn right(&self) -> bool {
        let said = self.presence.is_none_or(|p| p >= 0.5);
        match self.overlap {
            Some(overlap) => said && overlap >= 0.5,
            None => !said,
        }
    }
}

/// The first hits and misses of a set.
pub(super) struct Sheets {
    folder: PathBuf,
    set: String,
    hits: Vec<Vec<u8>>,
    misses: Vec<Vec<u8>>,
}

impl Sheets {
    pub(super) fn new(folder: &Path, set: &str) -> Self {
        Self { folder: folder.to_path_buf(), set: set.to_owned(), hits: Vec::new(), misses: Vec::new() }
    }

    pub(super) fn add(&mut self, shown: &Shown) {
        let cells = if shown.right() { &mut self.hits } else { &mut self.misses };
        if cells.len() < GRID.0 * GRID.1 {
            // A drawing that fails leaves its cell out.
            cells.extend(cell(shown).ok());
        }
    }

    /// Writes `SET-hits.png` and `SET-misses.png`.
    pub(super) fn write(&self) -> Result<Vec<PathBuf>> {
        std::fs::create_dir_all(&self.folder).map_err(Error::io("create", &self.folder))?;
        [("hits", &self.hits), ("misses", &self.misses)]
            .into_iter()
            .map(|(what, cells)| {
                let path = self.folder.join(format!("{}-{what}.png", self.set));
                let (width, height) = (GRID.0 * CELL, GRID.1 * CELL);
                let mut sheet = vec![24; 3 * width * height];
                for (i, cell) in cells.iter().enumerate() {
                    let (x, y) = (i % GRID.0 * CELL, i / GRID.0 * CELL);
                    for (row, pixels) in cell.chunks_exact(3 * CELL).enumerate() {
                        sheet[3 * ((y + row) * width + x)..][..3 * CELL].copy_from_slice(pixels);
                    }
                }
                image::save_buffer(&path, &sheet, width as u32, height as u32, image::ExtendedColorType::Rgb8)
                    .map_err(|e| Error::Output { name: path.display().to_string(), reason: e.to_string() })?;
                Ok(path)
            })
            .collect()
    }
}

/// One drawing, `CELL` pixels wide and high.
fn cell(shown: &Shown) -> Result<Vec<u8>> {
    let picture = &shown.example.picture;
    let side = picture.width.max(picture.height);
    let factor = (CELL / side).max(1);
    let shrink = side.div_ceil(CELL).max(1);
    let (mut picture, scaled) = enlarge(picture, shown.example.target, factor);
    let scale = |r: &Rect| Rect {
        x0: r.x0 * factor as f64,
        y0: r.y0 * factor as f64,
        x1: r.x1 * factor as f64,
        y1: r.y1 * factor as f64,
    };
    if let Some(truth) = scaled {
        outline(&mut picture.rgb, (picture.width, picture.height), &truth);
    }
    let said = shown.presence.is_none_or(|p| p >= 0.5);
    let annotation = Annotation {
        rect: said.then(|| scale(&shown.rect).clipped(picture.width as f64, picture.height as f64)),
        query: shown.example.phrase.clone(),
        presence: shown.presence,
        trained: true,
    };
    let tiles = annotation.tiles(picture.width, picture.height)?;
    blend_rgb(&mut picture.rgb, picture.width, &tiles);
    let mut cell = vec![24; 3 * CELL * CELL];
    for y in 0..(picture.height / shrink).min(CELL) {
        for x in 0..(picture.width / shrink).min(CELL) {
            let from = 3 * (y * shrink * picture.width + x * shrink);
            cell[3 * (y * CELL + x)..][..3].copy_from_slice(&picture.rgb[from..from + 3]);
        }
    }
    Ok(cell)
}

/// The true box, two pixels wide, in green.
fn outline(rgb: &mut [u8], (width, height): (usize, usize), rect: &Rect) {
    let clamp = |v: f64, limit: usize| (v.max(0.0) as usize).min(limit.saturating_sub(2));
    let (x0, x1) = (clamp(rect.x0, width), clamp(rect.x1, width));
    let (y0, y1) = (clamp(rect.y0, height), clamp(rect.y1, height));
    let mut paint = |x: usize, y: usize| {
        if x < width && y < height {
            rgb[3 * (y * width + x)..][..3].copy_from_slice(&[40, 220, 90]);
        }
    };
    for d in 0..2 {
        (x0..x1 + 2).for_each(|x| [y0 + d, y1 + d].into_iter().for_each(|y| paint(x, y)));
        (y0..y1 + 2).for_each(|y| [x0 + d, x1 + d].into_iter().for_each(|x| paint(x, y)));
    }
}
