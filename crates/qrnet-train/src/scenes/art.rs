//! Vector art turned into sprites: emoji sets in Iconify's layout, and the plain shapes.

use std::path::Path;

use rayon::prelude::*;
use resvg::{tiny_skia, usvg};
use serde::Deserialize;

use super::names::{EMOJI, SHAPES};
use crate::error::{Error, Result};

/// Pixels along the longer side of a sprite as rasterised.
const RASTER: f32 = 112.0;
/// Halvings kept beside the full size.
const LEVELS: usize = 3;

/// One picture of an object, cropped to what is visible, premultiplied RGBA in 0..1, at several sizes.
#[derive(Debug, Clone)]
pub(super) struct Sprite {
    pub(super) levels: Vec<Level>,
}

/// One size of a sprite.
#[derive(Debug, Clone)]
pub(super) struct Level {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) rgba: Vec<[f32; 4]>,
}

/// An art style: what it can draw.
pub(super) struct Style {
    pub(super) name: String,
    /// By emoji class, in the order of `EMOJI`; none where the set lacks it.
    pub(super) sprites: Vec<Option<Sprite>>,
}

/// Iconify's `icons.json`, as far as it is read.
#[derive(Deserialize)]
struct Icons {
    #[serde(rename = "icons")]
    drawn: std::collections::HashMap<String, Icon>,
    #[serde(default)]
    aliases: std::collections::HashMap<String, Alias>,
    #[serde(default)]
    width: Option<f32>,
    #[serde(default)]
    height: Option<f32>,
}

#[derive(Deserialize)]
struct Icon {
    body: String,
    #[serde(default)]
    left: f32,
    #[serde(default)]
    top: f32,
    width: Option<f32>,
    height: Option<f32>,
}

#[derive(Deserialize)]
struct Alias {
    parent: String,
}

impl Style {
    /// Reads the set `name` from `folder/name/icons.json`.
    ///
    /// # Errors
    /// The file is missing or is no icon set, or holds none of the classes.
    pub(super) fn load(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(name).join("icons.json");
        let bytes = std::fs::read(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => {
                Error::file(&path, "is not there; `scripts/fetch-art.sh` fetches the art that the recipe names")
            }
            _ => Error::io("read", &path)(source),
        })?;
        let icons: Icons =
            serde_json::from_slice(&bytes).map_err(|e| Error::file(&path, format!("is no icon set: {e}")))?;
        let size = (icons.width.unwrap_or(16.0), icons.height.unwrap_or(16.0));
        let sprites: Vec<Option<Sprite>> = EMOJI
            .par_iter()
            .map(|names| {
                let alias = icons.aliases.get(names[0]).map_or(names[0], |alias| alias.parent.as_str());
                let Some(icon) = icons.drawn.get(names[0]).or_else(|| icons.drawn.get(alias)) else {
                    return Ok(None);
                };
                let (w, h) = (icon.width.unwrap_or(size.0), icon.height.unwrap_or(size.1));
                let frame = (icon.left, icon.top, w, h);
                Sprite::render(&icon.body, frame).map(Some).map_err(|reason| Error::entry(&path, names[0], reason))
            })
            .collect::<Result<_>>()?;
        if sprites.iter().all(Option::is_none) {
            return Err(Error::file(&path, "holds none of the emoji classes, such as `dog`"));
        }
        Ok(Self { name: name.to_owned(), sprites })
    }
}

/// The plain shapes, white, in the order of `SHAPES`.
pub(super) fn shapes() -> Result<Vec<Sprite>> {
    SHAPES
        .iter()
        .map(|shape| {
            let body = format!(r##"<g fill="#fff">{}</g>"##, shape.svg);
            Sprite::render(&body, (0.0, 0.0, 100.0, 100.0))
                .map_err(|e| Error::Unsupported(format!("{}: {e}", shape.name)))
        })
        .collect()
}

impl Sprite {
    /// Rasterises what stands inside an `<svg>` element with this view box (left, top, width, height).
    fn render(body: &str, (left, top, width, height): (f32, f32, f32, f32)) -> Result<Self, String> {
        let svg = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{width}" height="{height}" viewBox="{left} {top} {width} {height}">{body}</svg>"#
        );
        let tree = usvg::Tree::from_str(&svg, &usvg::Options::default()).map_err(|e| e.to_string())?;
        let scale = RASTER / width.max(height);
        let (w, h) = ((width * scale).ceil().max(1.0), (height * scale).ceil().max(1.0));
        let mut pixmap = tiny_skia::Pixmap::new(w as u32, h as u32).ok_or("has no size")?;
        resvg::render(&tree, tiny_skia::Transform::from_scale(scale, scale), &mut pixmap.as_mut());
        let full = Level::cropped(pixmap.data(), w as usize, h as usize).ok_or("shows nothing")?;
        let mut levels = vec![full];
        for _ in 0..LEVELS {
            let next = levels[levels.len() - 1].halved();
            levels.push(next);
        }
        Ok(Self { levels })
    }
}

impl Level {
    /// What is more than faintly visible of premultiplied RGBA bytes; none where nothing is.
    fn cropped(rgba: &[u8], width: usize, height: usize) -> Option<Self> {
        const VISIBLE: u8 = 40;
        let seen = |x: usize, y: usize| rgba[4 * (y * width + x) + 3] > VISIBLE;
        let columns: Vec<usize> = (0..width).filter(|&x| (0..height).any(|y| seen(x, y))).collect();
        let rows: Vec<usize> = (0..height).filter(|&y| (0..width).any(|x| seen(x, y))).collect();
        let (x0, x1, y0, y1) = (*columns.first()?, *columns.last()?, *rows.first()?, *rows.last()?);
        let pixel = |x: usize, y: usize| std::array::from_fn(|c| f32::from(rgba[4 * (y * width + x) + c]) / 255.0);
        let pixels = (y0..=y1).flat_map(|y| (x0..=x1).map(move |x| pixel(x, y))).collect();
        Some(Self { width: x1 + 1 - x0, height: y1 + 1 - y0, rgba: pixels })
    }

    fn halved(&self) -> Self {
        let (width, height) = (self.width.div_ceil(2), self.height.div_ceil(2));
        let mean = |x: usize, y: usize| {
            let mut sum = [0.0; 4];
            for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                let (sx, sy) = ((2 * x + dx).min(self.width - 1), (2 * y + dy).min(self.height - 1));
                let pixel = self.rgba[sy * self.width + sx];
                sum.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += 0.25 * value);
            }
            sum
        };
        let rgba = (0..height).flat_map(|y| (0..width).map(move |x| mean(x, y))).collect();
        Self { width, height, rgba }
    }

    /// Bilinear sample at continuous coordinates; transparent outside.
    pub(super) fn sample(&self, x: f32, y: f32) -> [f32; 4] {
        let (x, y) = (x - 0.5, y - 0.5);
        let (x0, y0) = (x.floor(), y.floor());
        let (fx, fy) = (x - x0, y - y0);
        let mut sum = [0.0; 4];
        for (dx, dy, weight) in
            [(0, 0, (1.0 - fx) * (1.0 - fy)), (1, 0, fx * (1.0 - fy)), (0, 1, (1.0 - fx) * fy), (1, 1, fx * fy)]
        {
            let (sx, sy) = (x0 as i32 + dx, y0 as i32 + dy);
            if sx >= 0 && sy >= 0 && (sx as usize) < self.width && (sy as usize) < self.height {
                let pixel = self.rgba[sy as usize * self.width + sx as usize];
                sum.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += weight * value);
            }
        }
        sum
    }
}
