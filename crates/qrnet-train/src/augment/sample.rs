//! An example while it is changed: picture, box and labels move together.

use std::sync::Arc;

use blocks::canvas::Canvas;
use blocks::preprocess::{Letterboxer, Picture, Rect, RgbView};

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
    /// What else is asked of the same picture; none in the place of a question whose thing a crop cut away.
    pub others: Vec<Option<Question>>,
}

/// A further question about a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// What is looked for, in lower case.
    pub phrase: String,
    /// Where it is, as [`Sample::target`].
    pub target: Option<Rect>,
}

/// A crop that leaves less of the thing that another question asks for, as a share of its box, takes the question away.
const LEAST_LEFT: f64 = 0.8;

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
            others: Vec::new(),
        }
    }

    /// The example as it is, with what `others` ask of the same picture.
    pub fn with_others(example: &Example, others: &[Example]) -> Self {
        let question = |other: &Example| Question { phrase: other.phrase.to_lowercase(), target: other.target };
        Self { others: others.iter().map(|other| Some(question(other))).collect(), ..Self::new(example) }
    }

    /// What every question asks for, in lower case.
    pub(super) fn phrases(&self) -> impl Iterator<Item = &str> {
        let others = self.others.iter().flatten().map(|other| other.phrase.as_str());
        std::iter::once(self.phrase.as_str()).chain(others)
    }

    /// Its labels no longer say which colours things have.
    pub(super) fn forget_colours(&mut self) {
        if let Some(labels) = &mut self.labels {
            Arc::make_mut(labels).objects.iter_mut().for_each(|object| object.colour = 0);
        }
    }

    /// Moves the boxes of all questions.
    fn retarget(&mut self, moved: impl Fn(&Rect) -> Rect) {
        let others = self.others.iter_mut().flatten().map(|other| &mut other.target);
        for target in std::iter::once(&mut self.target).chain(others) {
            *target = target.as_ref().map(&moved);
        }
    }

    /// Makes the picture as large as fits `fill` (0 to 1) of both sides of `canvas`.
    ///
    /// # Errors
    /// The picture has no pixels.
    pub fn fit(&mut self, canvas: Canvas, fill: f64, boxer: &mut Letterboxer) -> Result<()> {
        self.fit_stretched(canvas, fill, (1.0, 1.0), boxer)
    }

    /// As [`Sample::fit`], for a picture that is stretched across and down by the two factors of `stretch`.
    ///
    /// # Errors
    /// The picture has no pixels.
    pub fn fit_stretched(
        &mut self,
        canvas: Canvas,
        fill: f64,
        stretch: (f64, f64),
        boxer: &mut Letterboxer,
    ) -> Result<()> {
        let (width, height) = (self.picture.width as f64 * stretch.0, self.picture.height as f64 * stretch.1);
        let ratio = (canvas.width as f64 * fill / width).min(canvas.height as f64 * fill / height);
        self.resize((ratio * stretch.0, ratio * stretch.1), (canvas.width, canvas.height), boxer)
    }

    /// Multiplies both sides by `ratio`.
    ///
    /// # Errors
    /// The picture has no pixels.
    pub fn scale(&mut self, ratio: f64, boxer: &mut Letterboxer) -> Result<()> {
        self.resize((ratio, ratio), (usize::MAX, usize::MAX), boxer)
    }

    fn resize(&mut self, ratio: (f64, f64), most: (usize, usize), boxer: &mut Letterboxer) -> Result<()> {
        let side = |length: usize, ratio: f64, most: usize| {
            ((length as f64 * ratio).round_ties_even() as usize).clamp(1, most)
        };
        let (old_width, old_height) = (self.picture.width, self.picture.height);
        let (width, height) = (side(old_width, ratio.0, most.0), side(old_height, ratio.1, most.1));
        if (width, height) != (old_width, old_height) {
            self.picture = Arc::new(boxer.resized(&self.picture.view()?, width, height)?);
            self.relabel((width, height), |x, y| {
                let nearest = |at: usize, new: usize, old: usize| (2 * at + 1) * old / (2 * new);
                nearest(y, height, old_height) * old_width + nearest(x, width, old_width)
            });
        }
        let (across, down) = ratio;
        self.retarget(|r| Rect { x0: r.x0 * across, y0: r.y0 * down, x1: r.x1 * across, y1: r.y1 * down });
        Ok(())
    }

    /// Keeps `region`; the box becomes its part inside, which may be empty. Other questions whose box loses more than a
    /// fifth of its area are taken away.
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
        let area = |rect: &Rect| rect.width() * rect.height();
        for other in &mut self.others {
            let cut = |rect: &Rect| area(&region.keeps(rect)) < LEAST_LEFT * area(rect);
            if other.as_ref().and_then(|other| other.target.as_ref()).is_some_and(cut) {
                *other = None;
            }
        }
        self.retarget(|rect| region.keeps(rect));
    }

    /// Mirrors picture, box and labels, and exchanges left and right in the phrase; `quirks` as in [`mirrored`].
    pub fn flip(&mut self, quirks: bool) {
        let (width, height) = (self.picture.width, self.picture.height);
        for row in Arc::make_mut(&mut self.picture).rgb.chunks_exact_mut(3 * width) {
            row.as_chunks_mut::<3>().0.reverse();
        }
        self.relabel((width, height), |x, y| y * width + width - 1 - x);
        let w = width as f64;
        self.retarget(|r| Rect { x0: w - r.x1, x1: w - r.x0, ..*r });
        self.phrase = mirrored(&self.phrase, quirks);
        for other in self.others.iter_mut().flatten() {
            other.phrase = mirrored(&other.phrase, quirks);
        }
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
