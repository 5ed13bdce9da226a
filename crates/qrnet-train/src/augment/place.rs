//! How much of a picture is shown, and how large: crops that keep what the phrase names.

use blocks::canvas::Canvas;
use blocks::preprocess::{Letterboxer, Rect};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{Augment, Region, Sample};
use crate::error::Result;

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
/// Room that [`Augment::resize`] keeps on every side of what a phrase names, as a share of its own side.
const MARGIN: f64 = 0.1;

impl Augment {
    /// A region of the picture's own shape, smaller by a factor drawn between 1 and `zoom`.
    pub(super) fn zoomed(self, sample: &mut Sample, rng: &mut ChaCha8Rng) {
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
    pub(super) fn cropped(
        self,
        sample: &mut Sample,
        unit: f64,
        rng: &mut ChaCha8Rng,
        boxer: &mut Letterboxer,
    ) -> Result<()> {
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

    /// Draws how large the picture is on `canvas`, in fits of the whole picture once it is stretched, and crops what is
    /// larger; gives the share of the canvas to fill. `whole` for pictures that are never cropped.
    pub(super) fn resized(
        self,
        sample: &mut Sample,
        (canvas, stretch): (Canvas, (f64, f64)),
        whole: bool,
        rng: &mut ChaCha8Rng,
    ) -> f64 {
        let [least, most] = self.resize;
        let factor = least * (most / least).powf(rng.random::<f64>());
        if factor <= 1.0 || whole {
            return factor.min(1.0);
        }
        let (width, height) = (sample.picture.width, sample.picture.height);
        // The canvas in pixels of the picture, where the whole picture fits it.
        let fit =
            (canvas.width as f64 / (width as f64 * stretch.0)).min(canvas.height as f64 / (height as f64 * stretch.1));
        let seen = (canvas.width as f64 / (fit * stretch.0), canvas.height as f64 / (fit * stretch.1));
        let kept = sample.target.map(|target| {
            let (x, y) = (MARGIN * target.width(), MARGIN * target.height());
            Rect { x0: target.x0 - x, y0: target.y0 - y, x1: target.x1 + x, y1: target.y1 + y }
                .clipped(width as f64, height as f64)
        });
        let factor = kept.map_or(factor, |kept| factor.min(seen.0 / kept.width()).min(seen.1 / kept.height()).max(1.0));
        let mut along = |length: usize, seen: f64, kept: Option<(f64, f64)>| {
            let (from, to) = kept.map_or((length, 0), |(from, to)| (from.floor() as usize, to.ceil() as usize));
            let side = ((seen / factor).round() as usize).max(to.saturating_sub(from)).clamp(1, length);
            let last = length - side;
            (rng.random_range(to.saturating_sub(side)..=from.min(last)), side)
        };
        let (left, w) = along(width, seen.0, kept.map(|kept| (kept.x0, kept.x1)));
        let (top, h) = along(height, seen.1, kept.map(|kept| (kept.y0, kept.y1)));
        sample.crop(&Region { left, top, width: w, height: h });
        1.0
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
