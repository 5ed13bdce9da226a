//! Contact sheets: examples with the true box in green and the answered one in yellow.

use std::path::{Path, PathBuf};

use blocks::preprocess::{Picture, Rect};
use frames::overlay::{Annotation, Parts, blend_rgb, tiles};
use qrnet_train::evaluate::Seen;

use crate::error::{Error, Result};
use crate::verbs::preview::{save, scaled};

/// Cells of a sheet, across and down.
const GRID: (usize, usize) = (10, 5);
/// Cells of a sheet.
const CELLS: usize = GRID.0 * GRID.1;
/// Side of a cell in pixels.
const CELL: usize = 256;
/// What is behind them.
const DARK: u8 = 24;

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

/// Enough of a row for a full sheet, evenly: whenever there are twice as many, every other one goes.
#[derive(Default)]
struct Spread {
    cells: Vec<Picture>,
    seen: usize,
    /// One of so many is kept, as a power of two.
    doublings: u32,
}

impl Spread {
    fn add(&mut self, draw: impl FnOnce() -> Result<Picture>) {
        let number = self.seen;
        self.seen += 1;
        if !number.is_multiple_of(1 << self.doublings) {
            return;
        }
        if self.cells.len() == 2 * CELLS {
            self.doublings += 1;
            let mut place = 0;
            self.cells.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            if !number.is_multiple_of(1 << self.doublings) {
                return;
            }
        }
        // A drawing that fails leaves its cell out.
        self.cells.extend(draw().ok());
    }
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
            .map(|(what, Spread { cells, .. })| {
                let path = self.folder.join(format!("{}-{what}.png", self.set));
                let sheet = sheet(cells);
                save(&path, &sheet)?;
                Ok(path)
            })
            .collect()
    }
}

/// Cells in rows as high as their highest.
fn sheet(cells: &[Picture]) -> Picture {
    let count = cells.len().min(CELLS);
    let cells: Vec<&Picture> = (0..count).map(|i| &cells[i * cells.len() / count]).collect();
    let rows: Vec<&[&Picture]> = cells.chunks(GRID.0).collect();
    let heights: Vec<usize> = rows.iter().map(|row| row.iter().map(|cell| cell.height).max().unwrap_or(0)).collect();
    // A set without misses has a sheet too, of one dark row.
    let (width, height) = (GRID.0 * CELL, heights.iter().sum::<usize>().max(1));
    let mut sheet = Picture { width, height, rgb: vec![DARK; 3 * width * height] };
    let mut top = 0;
    for (row, height) in rows.into_iter().zip(heights) {
        for (column, cell) in row.iter().enumerate() {
            for (y, pixels) in cell.rgb.chunks_exact(3 * cell.width).enumerate() {
                sheet.rgb[3 * ((top + y) * width + column * CELL)..][..pixels.len()].copy_from_slice(pixels);
            }
        }
        top += height;
    }
    sheet
}

/// One drawing, at most `CELL` pixels wide and high.
fn cell(seen: &Seen) -> Result<Picture> {
    let side = seen.example.picture.width.max(seen.example.picture.height);
    let scale = if side <= CELL { (CELL / side) as f64 } else { CELL as f64 / side as f64 };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_as_high_as_their_cells() {
        let cell = |height: usize| Picture { width: 4, height, rgb: vec![200; 12 * height] };
        let cells: Vec<Picture> = [2, 5, 3, 1, 1, 1, 1, 1, 1, 1, 7].into_iter().map(cell).collect();
        let sheet = sheet(&cells);
        assert_eq!((sheet.width, sheet.height, sheet.rgb.len()), (10 * CELL, 12, 3 * 10 * CELL * 12));
        let bright = |x: usize, y: usize| sheet.rgb[3 * (y * sheet.width + x)] == 200;
        assert!(bright(CELL + 3, 4) && !bright(3, 4) && bright(3, 5) && bright(3, 11) && !bright(CELL, 5));
        assert_eq!(super::sheet(&[]).height, 1);
    }

    #[test]
    fn cells_come_from_all_over_a_set() {
        let mut spread = Spread::default();
        for number in 0..1000usize {
            spread.add(|| Ok(Picture { width: number, height: 0, rgb: Vec::new() }));
        }
        let kept: Vec<usize> = spread.cells.iter().map(|cell| cell.width).collect();
        assert_eq!(kept, (0..63).map(|i| 16 * i).collect::<Vec<_>>());
    }

    #[test]
    fn a_sheet_holds_fifty_of_more() {
        let cell = |shade: u8| Picture { width: 1, height: 1, rgb: vec![shade; 3] };
        let cells: Vec<Picture> = (0..100).map(|i| cell(100 + i)).collect();
        let sheet = sheet(&cells);
        let shade = |i: usize| sheet.rgb[3 * (i / 10 * sheet.width + i % 10 * CELL)];
        assert_eq!((sheet.height, shade(0), shade(1), shade(49)), (5, 100, 102, 198));
    }
}
