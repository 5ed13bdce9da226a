//! What is changed at random before an example is learnt from (SPEC section 6): size, crop, colours, blur, mirror,
//! place on the canvas.

mod camera;
mod colour;
mod place;
mod sample;
mod words;

use std::sync::Arc;

use blocks::canvas::Canvas;
use blocks::preprocess::{Letterboxed, Letterboxer, Picture, Transform};
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::data::Example;
use crate::error::Result;
pub use camera::{gamma, hue, jpeg, noise, soften};
pub use colour::{blur, brightness, contrast, saturation};
pub use place::accepts;
pub use sample::{Question, Region, Sample};
pub use words::{mirrored, names_colour, names_direction};

/// The canvas that the reference's sizes are for, in pixels; on others they are scaled.
const REFERENCE_CANVAS: f64 = 640.0;
/// Standard deviations of a slight blur, in pixels of the canvas.
const SOFT: std::ops::Range<f32> = 0.3..1.2;
/// Standard deviations of noise, of 255.
const NOISE: std::ops::Range<f32> = 2.0..12.0;
/// Qualities of a JPEG.
const QUALITIES: std::ops::RangeInclusive<u8> = 25..=80;
/// Colours that are turned by more than so many degrees may be others.
const FAITHFUL: f32 = 5.0;

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
    /// Where it is not `[1, 1]`, in place of `scales`, `crop` and `zoom`: least and most that the picture is made larger
    /// than fits the canvas; the factor's logarithm is drawn evenly. A smaller picture lies anywhere on the canvas. Of
    /// a larger one a part is shown, with the whole of what the phrase names and a tenth of its size around it where the
    /// picture has that; where the phrase names a direction the whole picture stays.
    pub resize: [f64; 2],
    /// Both sides are stretched or shortened by up to this share, each by its own.
    pub stretch: f64,
    /// Four of five pictures have brightness, contrast and saturation changed by up to 40 %.
    pub jitter: bool,
    /// Colours are turned by up to so many degrees, but where a phrase names a colour.
    pub hue: f32,
    /// Values are raised to a power between 1 / (1 + this) and 1 + this.
    pub gamma: f32,
    /// Share of pictures that become black and white, but where a phrase names a colour.
    pub grey: f64,
    /// Half of the pictures are blurred.
    pub blur: bool,
    /// Share of pictures that are blurred a little, by up to 1.2 pixels.
    pub soften: f64,
    /// Share of pictures with noise, of a standard deviation of up to 12 of 255.
    pub noise: f64,
    /// Share of pictures that were once kept as a JPEG of a quality between 25 and 80.
    pub jpeg: f64,
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
        Self { scales: true, crop: true, jitter: true, flip: true, translate: true, ..Self::NONE }
    }
}

impl Augment {
    /// No change but the size: what validation and test do.
    pub const NONE: Self = Self {
        scales: false,
        crop: false,
        zoom: 1.0,
        lost: 0.0,
        resize: [1.0, 1.0],
        stretch: 0.0,
        jitter: false,
        hue: 0.0,
        gamma: 0.0,
        grey: 0.0,
        blur: false,
        soften: 0.0,
        noise: 0.0,
        jpeg: 0.0,
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
        self.apply_all(Sample::new(example), canvas, rng, boxer)
    }

    /// As [`Augment::apply`], for a picture of which several things are asked: it is changed once, by what all questions
    /// allow. The first one's box decides on a crop.
    ///
    /// # Errors
    /// As [`Augment::apply`].
    pub fn apply_all(
        &self,
        mut sample: Sample,
        canvas: Canvas,
        rng: &mut ChaCha8Rng,
        boxer: &mut Letterboxer,
    ) -> Result<Augmented> {
        let unit = canvas.width.max(canvas.height) as f64 / REFERENCE_CANVAS;
        let directed = sample.phrases().any(|phrase| names_direction(phrase, self.reference_quirks));
        let coloured = sample.phrases().any(names_colour);
        let mut stretch = (1.0, 1.0);
        if self.stretch > 0.0 {
            let mut side = || 1.0 + self.stretch * rng.random_range(-1.0..1.0);
            stretch = (side(), side());
        }
        let resize = self.resizes();
        let fill = if resize {
            self.resized(&mut sample, (canvas, stretch), directed, rng)
        } else {
            if self.zoom > 1.0 {
                if !directed {
                    self.zoomed(&mut sample, rng);
                }
            } else if self.crop && !directed && rng.random_bool(0.5) {
                self.cropped(&mut sample, unit, rng, boxer)?;
            }
            // 640, 608, .., 448 of 640.
            let twentieths = if self.scales { 20.0 - f64::from(rng.random_range(0..7u8)) } else { 20.0 };
            twentieths / 20.0
        };
        sample.fit_stretched(canvas, fill, stretch, boxer)?;
        self.recoloured(&mut sample, coloured, unit, rng)?;
        if self.flip && rng.random_bool(0.5) {
            sample.flip(self.reference_quirks);
        }
        let (width, height) = (sample.picture.width, sample.picture.height);
        let (spare_x, spare_y) = (canvas.width - width, canvas.height - height);
        let (left, top) = if self.translate || (resize && fill < 1.0) {
            (rng.random_range(0..=spare_x), rng.random_range(0..=spare_y))
        } else {
            (spare_x / 2, spare_y / 2)
        };
        Ok(Augmented { sample, transform: Transform::pasted(width, height, left, top, canvas) })
    }

    /// Whether [`Augment::resize`] says anything.
    pub(crate) fn resizes(self) -> bool {
        self.resize.iter().any(|factor| (factor - 1.0).abs() > f64::EPSILON)
    }

    /// Colours and sharpness. Where a phrase is about colours (`coloured`) they are neither turned nor taken away.
    fn recoloured(self, sample: &mut Sample, coloured: bool, unit: f64, rng: &mut ChaCha8Rng) -> Result<()> {
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
        if self.hue > 0.0 && !coloured {
            let degrees = self.hue * rng.random_range(-1.0..1.0);
            hue(Arc::make_mut(&mut sample.picture), degrees);
            // Of the colours that are told, the nearest lie some ten degrees apart.
            if f32::abs(degrees) > FAITHFUL {
                sample.forget_colours();
            }
        }
        if self.gamma > 0.0 {
            let by = (1.0 + self.gamma).powf(rng.random_range(-1.0..1.0));
            gamma(Arc::make_mut(&mut sample.picture), by);
        }
        let mut drawn = |share: f64| share > 0.0 && rng.random_bool(share);
        if !coloured && drawn(self.grey) {
            saturation(Arc::make_mut(&mut sample.picture), 0.0);
            sample.forget_colours();
        }
        let (softer, noisy, kept) = (drawn(self.soften), drawn(self.noise), drawn(self.jpeg));
        if softer {
            soften(Arc::make_mut(&mut sample.picture), rng.random_range(SOFT));
        }
        if noisy {
            let sigma = rng.random_range(NOISE);
            noise(Arc::make_mut(&mut sample.picture), sigma, rng);
        }
        if kept {
            jpeg(Arc::make_mut(&mut sample.picture), rng.random_range(QUALITIES))?;
        }
        Ok(())
    }
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

    /// Phrase and target of every question, as [`Augmented::target`]. A question whose thing was cut away is the first
    /// one once more.
    pub fn questions(&self) -> impl Iterator<Item = (&str, Option<[f64; 4]>)> {
        let first = (self.sample.phrase.as_str(), self.target());
        let others = self.sample.others.iter().map(move |other| match other {
            Some(Question { phrase, target }) => {
                (phrase.as_str(), target.as_ref().map(|rect| self.transform.to_target(rect)))
            }
            None => first,
        });
        std::iter::once(first).chain(others)
    }
}
