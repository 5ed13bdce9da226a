//! `spotter train --preview`: training examples as pictures that one can look at.

use std::path::Path;

use blocks::preprocess::{Picture, Rect};
use frames::overlay::{Annotation, Parts, blend_rgb, tiles};
use image::RgbImage;
use image::imageops::{self, FilterType};
use qrnet_train::feed::Feed;
use qrnet_train::trainer::Setup;

use crate::error::{Error, Result};

/// Pictures smaller than this are drawn larger, so that captions can be read.
const READABLE: usize = 384;

/// Draws `count` examples, spread over the whole run, before augmentation and letterbox: `preview-0000.png` and so on.
///
/// # Errors
/// An example cannot be read, or a picture cannot be written.
pub(super) fn draw(setup: &Setup, out: &Path, count: usize) -> Result<()> {
    let feed = Feed::new(&setup.recipe, setup.origin(true), &setup.art)?;
    std::fs::create_dir_all(out).map_err(Error::io("create", out))?;
    let total = setup.recipe.steps * setup.recipe.step_examples() as u64;
    for i in 0..count {
        let position = i as u64 * total / count.max(1) as u64;
        let example = feed.example(position)?;
        let scale = READABLE.div_ceil(example.picture.width.max(example.picture.height)).max(1);
        let (mut picture, rect) = scaled(&example.picture, example.target, scale as f64)?;
        let annotation = Annotation {
            carried: false,
            rect,
            query: format!("{} ({}, {})", example.phrase, example.kind, example.source),
            score: None,
            place: 0,
            id: None,
            trained: true,
        };
        let tiles = tiles(&[annotation], Parts::default(), picture.width, picture.height)?;
        blend_rgb(&mut picture.rgb, picture.width, &tiles);
        save(&out.join(format!("preview-{i:04}.png")), &picture)?;
    }
    tracing::info!("{}: {count} pictures", out.display());
    Ok(())
}

/// A picture `scale` times as large, and a box on it. Pixels stay visible where it grows.
pub(super) fn scaled(picture: &Picture, target: Option<Rect>, scale: f64) -> Result<(Picture, Option<Rect>)> {
    let side = |length: usize| ((length as f64 * scale).round() as u32).max(1);
    let (width, height) = (side(picture.width), side(picture.height));
    let whole = RgbImage::from_raw(picture.width as u32, picture.height as u32, picture.rgb.clone())
        .ok_or_else(|| Error::Worker("a picture whose pixels do not fill it".into()))?;
    let filter = if scale < 1.0 { FilterType::Triangle } else { FilterType::Nearest };
    let rgb = imageops::resize(&whole, width, height, filter).into_raw();
    let target = target.map(|r| Rect { x0: r.x0 * scale, y0: r.y0 * scale, x1: r.x1 * scale, y1: r.y1 * scale });
    Ok((Picture { width: width as usize, height: height as usize, rgb }, target))
}

/// Writes RGB rows as a PNG.
pub(super) fn save(path: &Path, picture: &Picture) -> Result<()> {
    let (width, height) = (picture.width as u32, picture.height as u32);
    image::save_buffer(path, &picture.rgb, width, height, image::ExtendedColorType::Rgb8)
        .map_err(|e| Error::Output { name: path.display().to_string(), reason: e.to_string() })
}
