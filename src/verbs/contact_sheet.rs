//! Many small pictures on one.

use blocks::preprocess::Picture;

use crate::error::Result;

/// Cells of a sheet, across and down.
const GRID: (usize, usize) = (10, 5);
/// Cells of a sheet.
pub(super) const CELLS: usize = GRID.0 * GRID.1;
/// Side of a cell in pixels.
const CELL: usize = 256;
/// What is behind them.
const DARK: u8 = 24;

/// By how much a picture is scaled so that it fits into a cell; small ones by a whole number.
pub(super) fn fitting(picture: &Picture) -> f64 {
    let side = picture.width.max(picture.height).max(1);
    if side <= CELL { (CELL / side) as f64 } else { CELL as f64 / side as f64 }
}

/// Enough of a row for a full sheet, evenly: whenever there are twice as many, every other one goes.
#[derive(Default)]
pub(super) struct Spread {
    cells: Vec<Picture>,
    seen: usize,
    /// One of so many is kept, as a power of two.
    doublings: u32,
}

impl Spread {
    pub(super) fn add(&mut self, draw: impl FnOnce() -> Result<Picture>) {
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

    pub(super) fn cells(&self) -> &[Picture] {
        &self.cells
    }
}

/// Cells in rows as high as their highest.
pub(super) fn sheet(cells: &[Picture]) -> Picture {
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
