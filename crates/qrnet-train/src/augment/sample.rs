//! An example while it is changed: picture, box and labels move together.

use std::sync::Arc;

use qrnet::config::Canvas;
use qrnet::preprocess::{Letterboxer, Picture, Rect, RgbView};

use super::words::mirrored;
use crate::data::{Example, Labels};
use crate::error::Result;

/// What changes of an example.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The picture.
    pub picture: Arc<Picture>,
    /// What is looked for, in lower case.
    pub phrase: String,
    /// Where it is, in pixels of the picture; it may reach half a pixel over the edge, as sizes are rounded.
    pub target: Option<Rect>,
    /// What every pixel belongs to, where the data set knows.
    pub labels: Option<Arc<Labels>>,
}

/// A part of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// First column.
    pub left: usize,
    /// First row.
    pub top: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Region {
    /// The part of a box inside the region, in the region's pixels; empty where nothing is inside.
    pub(super) fn keeps(&self, rect: &Rect) -> Rect {
        let (left, top) = (self.left as f64, self.top as f64);
        let moved = Rect { x0: rect.x0 - left, y0: rect.y0 - top, x1: rect.x1 - left, y1: rect.y1 - top };
        moved.clipped(self.width as f64, self.height as f64)
    }
}

impl Sample {
    /// The example as it is, its phrase in lower case.
    pub fn new(example: &Example) -> Self {
        Self {
            picture: Arc::clone(&example.picture),
            phrase: example.phrase.to_lowercase(),
            target: example.target,
            labels: example.labels.clone(),
        }
    }

    /// Makes the picture as large as fits `fill` (0 to 1) of both sides of `canvas`.
    ///
    /// # Errors
    /// The picture has no pixels.
    pub fn fit(&mut self, canvas: Canvas, fill: f64, boxer: &mut Letterboxer) -> Result<()> {
        let (width, height) = (self.picture.width as f64, self.picture.height as f64);
        let ratio = (canvas.width as f64 * fill / width).min(canvas.height as f64 * fill / height);
        self.resize(ratio, (canvas.width, canvas.height), boxer)
    }

    /// Multiplies both sides by `ratio`.
    ///
    /// # Errors
    /// The picture has no pixels.
    pub fn scale(&mut self, ratio: f64, boxer: &mut Letterboxer) -> Result<()> {
        self.resize(ratio, (usize::MAX, usize::MAX), boxer)
    }

    fn resize(&mut self, ratio: f64, most: (usize, usize), boxer: &mut Letterboxer) -> Result<()> {
        let side = |length: usize, most: usize| ((length as f64 * ratio).round_ties_even() as usize).clamp(1, most);
        let (old_width, old_height) = (self.picture.width, self.picture.height);
        let (width, height) = (side(old_width, most.0), side(old_height, most.1));
        if (width, height) != (old_width, old_height) {
            self.picture = Arc::new(boxer.resized(&self.picture.view()?, width, height)?);
            self.relabel((width, height), |x, y| {
                let nearest = |at: usize, new: usize, old: usize| (2 * at + 1) * old / (2 * new);
                nearest(y, height, old_height) * old_width + nearest(x, width, old_width)
            });
        }
        self.target = self.target.map(|r| {
            let [x0, y0, x1, y1] = [r.x0, r.y0, r.x1, r.y1].map(|edge| edge * ratio);
            Rect { x0, y0, x1, y1 }
        });
        Ok(())
    }

    /// Keeps `region`; the box becomes its part inside, which may be empty.
    ///
    /// # Panics
    /// The region leaves the picture.
    pub fn crop(&mut self, region: &Region) {
        let Region { left, top, width, height } = *region;
        let (old_width, old_height) = (self.picture.width, self.picture.height);
        assert!(
            left + width <= old_width && top + height <= old_height,
            "{region:?} leaves the picture of {old_width}x{old_height}"
        );
        let start = 3 * (top * old_width + left);
        let part = RgbView::new(width, height, 3 * old_width, self.picture.rgb.get(start..).unwrap_or_default());
        let rgb = part.map(|part| part.packed().into_owned()).unwrap_or_default();
        self.picture = Arc::new(Picture { width, height, rgb });
        self.relabel((width, height), |x, y| (top + y) * old_width + left + x);
        self.target = self.target.map(|rect| region.keeps(&rect));
    }

    /// Mirrors picture, box and labels, and exchanges left and right in the phrase; `quirks` as in [`mirrored`].
    pub fn flip(&mut self, quirks: bool) {
        let (width, height) = (self.picture.width, self.picture.height);
        for row in Arc::make_mut(&mut self.picture).rgb.chunks_exact_mut(3 * width) {
            row.as_chunks_mut::<3>().0.reverse();
        }
        self.relabel((width, height), |x, y| y * width + width - 1 - x);
        let w = width as f64;
        self.target = self.target.map(|r| Rect { x0: w - r.x1, x1: w - r.x0, ..r });
        self.phrase = mirrored(&self.phrase, quirks);
    }

    /// Every pixel of the new picture takes the label of the old pixel whose index `from` gives.
    fn relabel(&mut self, (width, height): (usize, usize), from: impl Fn(usize, usize) -> usize) {
        let Some(labels) = &self.labels else { return };
        let old = &labels.instance;
        let instance =
            (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| old[from(x, y)]).collect();
        self.labels = Some(Arc::new(Labels { instance, objects: labels.objects.clone() }));
    }
}
