//! Contact sheets of labels: what they look like all over, and where the model was least sure.

use std::path::Path;

use blocks::preprocess::{Picture, Rect};
use frames::overlay::{Annotation, Parts, blend_rgb, tiles};

use super::{Asked, Found};
use crate::error::Result;
use crate::verbs::contact_sheet::{CELLS, Spread, fitting, sheet};
use crate::verbs::preview::{save, scaled};

/// What is drawn: ids too, by which corrections name a box.
const PARTS: Parts = Parts { boxes: true, labels: true, ids: true, scores: true, absent: true, zones: false };

/// Cells of two sheets.
pub(super) struct Sheets {
    spread: Spread,
    unsure: Unsure,
    threshold: Option<f32>,
}

/// The pictures whose presence is nearest to the threshold, in the order in which they came.
#[derive(Default)]
struct Unsure {
    /// How far away it is, and its drawing.
    cells: Vec<(f32, Picture)>,
}

impl Unsure {
    fn add(&mut self, distance: f32, draw: impl FnOnce() -> Result<Picture>) {
        let farthest = (0..self.cells.len()).max_by(|&a, &b| self.cells[a].0.total_cmp(&self.cells[b].0));
        let farthest = farthest.filter(|_| self.cells.len() == CELLS);
        if farthest.is_some_and(|place| self.cells[place].0 <= distance) {
            return;
        }
        // A drawing that fails leaves its cell out.
        let Ok(cell) = draw() else { return };
        if let Some(place) = farthest {
            self.cells.remove(place);
        }
        self.cells.push((distance, cell));
    }
}

impl Sheets {
    pub(super) fn new(threshold: Option<f32>) -> Self {
        Self { spread: Spread::default(), unsure: Unsure::default(), threshold }
    }

    /// A labelled picture; `title` stands before every caption, and `presence` is by question.
    pub(super) fn add(
        &mut self,
        picture: &Picture,
        title: &str,
        asked: &[Asked],
        found: &[Found],
        presence: &[Option<f32>],
        trained: bool,
    ) {
        let draw = || cell(picture, title, asked, found, presence, trained);
        self.spread.add(draw);
        let distance = |presence: &f32| self.threshold.map(|threshold| (presence - threshold).abs());
        let nearest = presence.iter().flatten().filter_map(distance).min_by(f32::total_cmp);
        if let Some(distance) = nearest {
            self.unsure.add(distance, draw);
        }
    }

    /// Writes both; without a threshold nothing is unsure, and the second is one dark row.
    pub(super) fn write(self, all: &Path, unsure: &Path) -> Result<()> {
        save(all, &sheet(self.spread.cells()))?;
        let cells: Vec<Picture> = self.unsure.cells.into_iter().map(|(_, cell)| cell).collect();
        save(unsure, &sheet(&cells))
    }
}

fn cell(
    picture: &Picture,
    title: &str,
    asked: &[Asked],
    found: &[Found],
    presence: &[Option<f32>],
    trained: bool,
) -> Result<Picture> {
    let scale = fitting(picture);
    let (mut drawn, _) = scaled(picture, None, scale)?;
    let annotation = |place: usize, rect: Option<&Rect>, id, score| {
        let rect = rect.map(|r| Rect { x0: r.x0 * scale, y0: r.y0 * scale, x1: r.x1 * scale, y1: r.y1 * scale });
        let query = format!("{title}{}", asked[place].name);
        Annotation { rect, carried: false, place, query, id, score, trained }
    };
    let boxes = found.iter().map(|found| annotation(found.place, Some(&found.rect), found.track, found.score));
    let missing = (0..asked.len()).filter(|place| found.iter().all(|found| found.place != *place));
    let missing = missing.map(|place| annotation(place, None, None, presence.get(place).copied().flatten()));
    let all: Vec<Annotation> = boxes.chain(missing).collect();
    let tiles = tiles(&all, PARTS, drawn.width, drawn.height)?;
    blend_rgb(&mut drawn.rgb, drawn.width, &tiles);
    Ok(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_to_the_threshold_are_kept() {
        let mut unsure = Unsure::default();
        // Distances fall from 1 to 0 and rise again.
        for number in 0..201usize {
            let distance = (number as f32 - 100.0).abs() / 100.0;
            unsure.add(distance, || Ok(Picture { width: number, height: 0, rgb: Vec::new() }));
        }
        let kept: Vec<usize> = unsure.cells.iter().map(|(_, cell)| cell.width).collect();
        assert_eq!(kept.len(), CELLS);
        assert!(kept.iter().all(|number| number.abs_diff(100) <= CELLS / 2) && kept.is_sorted(), "{kept:?}");
    }
}
