//! `spotter train --preview`: training examples as pictures that one can look at.

use std::path::Path;

use qrnet::preprocess::Picture;
use qrnet_train::feed::Feed;
use qrnet_train::trainer::Setup;

use crate::error::{Error, Result};
use crate::overlay::{Annotation, blend_rgb};

/// Pictures smaller than this are drawn larger, so that captions can be read.
const READABLE: usize = 384;

/// Draws `count` examples, spread over the whole run, before augmentation and letterbox: `preview-0000.png` and so on.
///
/// # Errors
/// An example cannot be read, or a picture cannot be written.
pub(super) fn draw(setup: &Setup, out: &Path, count: usize) -> Result<()> {
    let feed = Feed::new(&setup.recipe, &setup.base, &setup.art)?;
    std::fs::create_dir_all(out).map_err(Error::io("create", out))?;
    let total = setup.recipe.steps * setup.recipe.step_examples() as u64;
    for i in 0..count {
        let position = i as u64 * total / count.max(1) as u64;
        let example = feed.example(position)?;
        let factor = READABLE.div_ceil(example.picture.width.max(example.picture.height)).max(1);
        let (picture, rect) = enlarge(&example.picture, example.target, factor);
        let annotation = Annotation {
            rect,
            query: format!("{} ({}, {})", example.phrase, example.kind, example.source),
            presence: None,
            trained: true,
        };
        let Picture { width, height, mut rgb } = picture;
        blend_rgb(&mut rgb, width, &annotation.tiles(width, height)?);
        let path = out.join(format!("preview-{i:04}.png"));
        image::save_buffer(&path, &rgb, width as u32, height as u32, image::ExtendedColorType::Rgb8)
            .map_err(|e| Error::Output { name: path.display().to_string(), reason: e.to_string() })?;
    }
    tracing::info!("{}: {count} pictures", out.display());
    Ok(())
}

type Target = Option<qrnet::preprocess::Rect>;

pub(super) fn enlarge(picture: &Picture, target: Target, factor: usize) -> (Picture, Target) {
    let (width, height) = (picture.width * factor, picture.height * factor);
    let pixel = |x: usize, y: usize| {
        let at = 3 * ((y / factor) * picture.width + x / factor);
        [picture.rgb[at], picture.rgb[at + 1], picture.rgb[at + 2]]
    };
    let rgb = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect();
    let scale = factor as f64;
    let target = target.map(|r| qrnet::preprocess::Rect {
        x0: r.x0 * scale,
        y0: r.y0 * scale,
        x1: r.x1 * scale,
        y1: r.y1 * scale,
    });
    (Picture { width, height, rgb }, target)
}
