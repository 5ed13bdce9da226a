//! What is changed at random before an example is learnt from (SPEC section 6): size, crop, colours, blur, mirror,
//! place on the canvas.

mod colour;
mod sample;
mod words;

use std::sync::Arc;

use qrnet::config::Canvas;
use qrnet::preprocess::{Letterboxed, Letterboxer, Picture, Rect, Transform};
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::data::Example;
use crate::error::Result;
pub use colour::{blur, brightness, contrast, saturation};
pub use sample::{Region, Sample};
pub use words::{mirrored, names_direction};

/// The canvas that the reference's sizes are for, in pixels; on others they are scaled.
const REFERENCE_CANVAS: f64 = 640.0;
/// Short sides before a crop.
const SHORT_SIDES: [f64; 3] = [400.0, 500.0, 600.0];
/// Smallest and largest side of a crop.
const CROP_SIDES: [f64; 2] = [384.0, 600.0];
/// How often a crop is drawn before the whole picture is kept.
const CROP_TRIES: usize = 20;
/// How much larger than what the phrase names a zoomed part is at least.
const ROOM_AROUND: f64 = 1.2;
/// Of what a phrase names, less than this share of its box counts as nothing.
const LEAST_SEEN: f64 = 0.15;
/// Pictures with a longer long side in short sides are never cropped: they would grow too large.
const LONGEST_TO_CROP: f64 = 8.0;

/// Which changes are made. The default is the reference's shipped scripts with their faults mended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools)] // a recipe's switches
pub struct Augment {
    /// The picture fills the canvas by a factor of 1, 0.95, .., 0.7 instead of always 1.
    pub scales: bool,
    /// Half of the pictures whose phrase names no direction are cropped.
    pub crop: bool,
    /// Above 1, in place of `crop`: a part of the picture is looked at up to so many times as large, with what the phrase
    /// names in it. For cameras, in whose pictures things are small.
    pub zoom: f64,
    /// Share of zoomed pictures that show a part without what the phrase names: it is absent there.
    pub lost: f64,
    /// Four of five pictures have brightness, contrast and saturation changed by up to 40 %.
    pub jitter: bool,
    /// Half of the pictures are blurred.
    pub blur: bool,
    /// Half of the pictures are mirrored, left and right in the phrase with them.
    pub flip: bool,
    /// The picture lies anywhere on the canvas instead of in its middle.
    pub translate: bool,
    /// As the reference does in every point, faults included. A crop is accepted by a test that compares the box's
    /// column with the crop's row (Q7), so that boxes may be cut away; directions are found and exchanged inside
    /// words, so that "bright" becomes "bleft" and "stop" names a direction (Q8).
    pub reference_quirks: bool,
}

impl Default for Augment {
    fn default() -> Self {
        Self {
            scales: true,
            crop: true,
            zoom: 1.0,
            lost: 0.0,
            jitter: true,
            blur: false,
            flip: true,
            translate: true,
            reference_quirks: false,
        }
    }
}

impl Augment {
    /// No change but the size: what validation and test do.
    pub const NONE: Self = Self {
        scales: false,
        crop: false,
        zoom: 1.0,
        lost: 0.0,
        jitter: false,
        blur: false,
        flip: false,
        translate: false,
        reference_quirks: false,
    };

    /// A changed copy of `example` that fits `canvas`. The same state of `rng` gives the same copy.
    ///
    /// # Errors
    /// The picture has no pixels.
    pub fn apply(
        &self,
        example: &Example,
        canvas: Canvas,
        rng: &mut ChaCha8Rng,
        boxer: &mut Letterboxer,
    ) -> Result<Augmented> {
        let unit = canvas.width.max(canvas.height) as f64 / REFERENCE_CANVAS;
        let mut sample = Sample::new(example);
        let directed = names_direction(&sample.phrase, self.reference_quirks);
        if self.zoom > 1.0 {
            if !directed {
                self.zoomed(&mut sample, rng);
            }
        } else if self.crop && !directed && rng.random_bool(0.5) {
            self.cropped(&mut sample, unit, rng, boxer)?;
        }
        // 640, 608, .., 448 of 640.
        let twentieths = if self.scales { 20.0 - f64::from(rng.random_range(0..7u8)) } else { 20.0 };
        sample.fit(canvas, twentieths / 20.0, boxer)?;
        if self.jitter && rng.random_bool(0.8) {
            let mut order: [fn(&mut Picture, f32); 3] = [brightness, contrast, saturation];
            order.shuffle(rng);
            for change in order {
                change(Arc::make_mut(&mut sample.picture), rng.random_range(0.6..1.4));
            }
        }
        if self.blur && rng.random_bool(0.5) {
            blur(Arc::make_mut(&mut sample.picture), unit as f32 * rng.random_range(0.1..2.0));
        }
        if self.flip && rng.random_bool(0.5) {
            sample.flip(self.reference_quirks);
        }
        let (width, height) = (sample.picture.width, sample.picture.height);
        let (spare_x, spare_y) = (canvas.width - width, canvas.height - height);
        let (left, top) = if self.translate {
            (rng.random_range(0..=spare_x), rng.random_range(0..=spare_y))
        } else {
            (spare_x / 2, spare_y / 2)
        };
        Ok(Augmented { sample, transform: Transform::pasted(width, height, left, top, canvas) })
    }

    /// A region of the picture's own shape, smaller by a factor drawn between 1 and `zoom`.
    fn zoomed(self, sample: &mut Sample, rng: &mut ChaCha8Rng) {
        let (width, height) = (sample.picture.width as f64, sample.picture.height as f64);
        let mut factor = self.zoom.powf(rng.random::<f64>());
        if let Some(target) = &sample.target {
            // Whole, with some of what is around it.
            factor = factor.min((width / target.width()).min(height / target.height()) / ROOM_AROUND).max(1.0);
        }
        let side = |length: f64| ((length / factor) as usize).max(1);
        let (w, h) = (side(width), side(height));
        let mut anywhere = |length: f64, side: usize| rng.random_range(0..=length as usize - side);
        let lost = sample.target.and_then(|target| {
            let mut drawn = (0..CROP_TRIES).map(|_| Region {
                left: anywhere(width, w),
                top: anywhere(height, h),
                width: w,
                height: h,
            });
            let area = |rect: &Rect| rect.width() * rect.height();
            drawn.find(|region| area(&region.keeps(&target)) < LEAST_SEEN * area(&target))
        });
        if let Some(region) = lost.filter(|_| rng.random_bool(self.lost)) {
            sample.crop(&region);
            sample.target = None;
            return;
        }
        let (x, y) = sample.target.map_or(((width, 0.0), (height, 0.0)), |t| ((t.x0, t.x1), (t.y0, t.y1)));
        let mut around = |(from, to): (f64, f64), length: f64, side: usize| {
            let last = length as usize - side;
            let least = (to.ceil() as usize).saturating_sub(side).min(last);
            rng.random_range(least..=(from as usize).clamp(least, last))
        };
        sample.crop(&Region { left: around(x, width, w), top: around(y, height, h), width: w, height: h });
    }

    /// Short side to one of three sizes, then a random region of it if one is acceptable.
    fn cropped(self, sample: &mut Sample, unit: f64, rng: &mut ChaCha8Rng, boxer: &mut Letterboxer) -> Result<()> {
        let (width, height) = (sample.picture.width as f64, sample.picture.height as f64);
        if width.max(height) > LONGEST_TO_CROP * width.min(height) {
            return Ok(());
        }
        let short = SHORT_SIDES[rng.random_range(0..SHORT_SIDES.len())] * unit;
        sample.scale(short / width.min(height), boxer)?;
        let (width, height) = (sample.picture.width, sample.picture.height);
        let [least, most] = CROP_SIDES.map(|side| ((side * unit).round() as usize).max(1));
        for _ in 0..CROP_TRIES {
            let [w, h] = [width, height].map(|length| {
                let most = most.min(length);
                rng.random_range(least.min(most)..=most)
            });
            let (left, top) = (rng.random_range(0..=width - w), rng.random_range(0..=height - h));
            let region = Region { left, top, width: w, height: h };
            if accepts(&region, sample.target.as_ref(), self.reference_quirks) {
                sample.crop(&region);
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Whether a crop to `region` keeps what the phrase names; anything does where it is not in the picture.
///
/// The box's centre must lie inside the region, and a pixel of the box in both directions. With `quirks` the reference's
/// test stands instead: centre column beyond the region's top row, centre row beyond its left column (Q7).
pub fn accepts(region: &Region, target: Option<&Rect>, quirks: bool) -> bool {
    let Some(target) = target else { return true };
    let (x, y) = target.centre();
    let (left, top) = (region.left as f64, region.top as f64);
    let (width, height) = (region.width as f64, region.height as f64);
    if quirks {
        return x > top && y > left;
    }
    let kept = region.keeps(target);
    let inside = x > left && x < left + width && y > top && y < top + height;
    inside && kept.width() >= 1.0 && kept.height() >= 1.0
}

/// A changed example and where it lies on the canvas.
#[derive(Debug, Clone)]
pub struct Augmented {
    /// Picture at the size it has on the canvas, phrase, box and labels in its pixels.
    pub sample: Sample,
    /// Where the picture lies; its scale is 1.
    pub transform: Transform,
}

impl Augmented {
    /// The picture as the model takes it, in memory that was used before.
    ///
    /// # Errors
    /// As [`Letterboxer::place`].
    pub fn letterbox(&self, boxer: &mut Letterboxer, pixels: Vec<f32>) -> Result<Letterboxed> {
        Ok(boxer.place(&self.sample.picture.view()?, self.transform, pixels)?)
    }

    /// `(cx, cy, w, h)` in 0..1 of the canvas, what the model should say; none where there is nothing to find.
    pub fn target(&self) -> Option<[f64; 4]> {
        self.sample.target.as_ref().map(|rect| self.transform.to_target(rect))
    }
}
