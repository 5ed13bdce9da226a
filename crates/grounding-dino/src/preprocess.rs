//! How large pictures go in: as `preprocessor_config.json` of the checkpoint says.

use std::path::Path;

use blocks::canvas::Canvas;
use blocks::error::{Error, Result};
use blocks::preprocess::{MEAN, Rotation, STD, Transform};
use serde::Deserialize;

const FILE: &str = "preprocessor_config.json";
/// Where newer versions of the library write the same, under [`NESTED`].
const JOINT_FILE: &str = "processor_config.json";
const NESTED: &str = "image_processor";

/// The shortest side is brought to one length, unless the longest would then exceed another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizing {
    /// Pixels.
    pub shortest: usize,
    /// Pixels.
    pub longest: usize,
}

impl Default for Sizing {
    fn default() -> Self {
        Self { shortest: 800, longest: 1333 }
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct Written {
    size: Option<WrittenSize>,
    max_size: usize,
    do_resize: bool,
    do_rescale: bool,
    do_normalize: bool,
    rescale_factor: f64,
    resample: u32,
    image_mean: Vec<f32>,
    image_std: Vec<f32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenSize {
    Shortest(usize),
    Both { shortest_edge: usize, longest_edge: usize },
    Other(serde_json::Value),
}

impl Default for Written {
    fn default() -> Self {
        Self {
            size: None,
            max_size: Sizing::default().longest,
            do_resize: true,
            do_rescale: true,
            do_normalize: true,
            rescale_factor: 1.0 / 255.0,
            resample: BILINEAR,
            image_mean: MEAN.to_vec(),
            image_std: STD.to_vec(),
        }
    }
}

/// Pillow's number for it.
const BILINEAR: u32 = 2;
/// Longer sides are no model's.
const MOST_PIXELS: usize = 1 << 14;

impl Sizing {
    /// Reads a model directory; what it leaves out has the library's defaults.
    ///
    /// # Errors
    /// The file is no JSON, or asks for what is not built here: other colours, another filter, fixed sizes.
    pub fn of(dir: &Path) -> Result<Self> {
        let (path, joint) = (dir.join(FILE), dir.join(JOINT_FILE));
        let read = |path: &Path| -> Result<serde_json::Value> {
            let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
            serde_json::from_slice(&bytes).map_err(|e| Error::file(path, e))
        };
        let (path, value) = if path.is_file() {
            let value = read(&path)?;
            (path, value)
        } else if joint.is_file() {
            let value = read(&joint)?[NESTED].take();
            if value.is_null() {
                return Ok(Self::default());
            }
            (joint, value)
        } else {
            return Ok(Self::default());
        };
        let written: Written = serde_json::from_value(value).map_err(|e| Error::file(&path, e))?;
        written.sizing(&path.display().to_string())
    }

    /// Width and height that a picture of `width` x `height` goes in with.
    pub fn target(self, width: usize, height: usize) -> (usize, usize) {
        let (shorter, longer) = (width.min(height) as f64, width.max(height) as f64);
        let limit = self.longest as f64;
        // The longest side decides where it would exceed its limit; the fraction counts for the other side alone.
        let (short, exact) = if longer / shorter * self.shortest as f64 > limit {
            let exact = limit * shorter / longer;
            (exact.round_ties_even() as usize, exact)
        } else {
            (self.shortest, self.shortest as f64)
        };
        let (w, h) = if width.min(height) == short {
            (width, height)
        } else if width < height {
            (short, (exact * height as f64 / width as f64) as usize)
        } else {
            ((exact * width as f64 / height as f64) as usize, short)
        };
        // Where the library would leave no pixels.
        (w.max(1), h.max(1))
    }

    /// Where an upright picture of `width` x `height` goes: resized, without padding.
    ///
    /// # Panics
    /// Width or height is 0.
    pub fn place(self, width: usize, height: usize) -> Transform {
        assert!(width > 0 && height > 0, "a picture has pixels");
        let (w, h) = self.target(width, height);
        Transform {
            source: (width, height),
            rotation: Rotation::None,
            crop: (0, 0),
            grounded: (width, height),
            scale: w as f64 / width as f64,
            resized: (w, h),
            left: 0,
            top: 0,
            canvas: Canvas { width: w, height: h },
        }
    }

    /// Canvases that pictures fit into as [`Sizing::target`] would have them, but for a pixel: wide, then high ones.
    pub fn canvases(self) -> Vec<Canvas> {
        let Self { shortest, longest } = self;
        let wide = Canvas { width: longest.max(shortest), height: shortest.min(longest) };
        let high = Canvas { width: wide.height, height: wide.width };
        if wide == high { vec![wide] } else { vec![wide, high] }
    }
}

impl Written {
    fn sizing(self, file: &str) -> Result<Sizing> {
        let fail = |key: &str, value: String, expected: &str| {
            Err(Error::Config { file: file.to_owned(), key: key.to_owned(), value, expected: expected.to_owned() })
        };
        for (key, value) in
            [("do_resize", self.do_resize), ("do_rescale", self.do_rescale), ("do_normalize", self.do_normalize)]
        {
            if !value {
                return fail(key, "false".into(), "true: nothing else is built here");
            }
        }
        if self.resample != BILINEAR {
            return fail("resample", self.resample.to_string(), "2, bilinear: nothing else is built here");
        }
        if (self.rescale_factor * 255.0 - 1.0).abs() > 1e-6 {
            return fail("rescale_factor", self.rescale_factor.to_string(), "1/255");
        }
        let close = |found: &[f32], known: &[f32]| {
            found.len() == known.len() && found.iter().zip(known).all(|(a, b)| (a - b).abs() < 1e-6)
        };
        for (key, found, known) in [("image_mean", &self.image_mean, MEAN), ("image_std", &self.image_std, STD)] {
            if !close(found, &known) {
                return fail(key, format!("{found:?}"), "ImageNet's: nothing else is built here");
            }
        }
        let sizing = match self.size {
            None => Sizing::default(),
            Some(WrittenSize::Shortest(shortest)) => Sizing { shortest, longest: self.max_size },
            Some(WrittenSize::Both { shortest_edge: shortest, longest_edge: longest }) => Sizing { shortest, longest },
            Some(WrittenSize::Other(other)) => {
                return fail("size", other.to_string(), "shortest_edge and longest_edge");
            }
        };
        for (key, side) in [("size.shortest_edge", sizing.shortest), ("size.longest_edge", sizing.longest)] {
            if !(1..=MOST_PIXELS).contains(&side) {
                return fail(key, side.to_string(), "from 1 to 16384 pixels");
            }
        }
        Ok(sizing)
    }
}
