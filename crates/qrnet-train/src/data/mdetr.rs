//! The annotations that MDETR published (`finetune_refcoco_train.json` and its like): COCO's layout, in which every
//! image is one phrase with its own copy of the picture's data.

use std::collections::HashMap;
use std::path::Path;

use blocks::preprocess::Rect;
use serde::Deserialize;

use super::listed::{Collector, Entry};
use super::{parse_json, read_bytes};
use crate::error::{Error, Result};

/// Of the file's keys only what is used.
#[derive(Deserialize)]
struct File {
    images: Vec<Image>,
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Image {
    id: i64,
    file_name: String,
    caption: String,
    width: f64,
    height: f64,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: i64,
    bbox: [f64; 4],
}

/// One entry for every image of `file`, in its order; pictures lie under `pictures`. Boxes keep their fractions.
///
/// # Errors
/// The file is missing, cut short or not of this layout; an id twice; an annotation of no image; an image with no or
/// several annotations, as a phrase names one box.
pub fn read(file: &Path, pictures: &Path) -> Result<Vec<Entry>> {
    let bytes = read_bytes(file)?;
    let File { images, annotations } = parse_json(file, &bytes)?;
    let mut boxes: HashMap<i64, Vec<[f64; 4]>> = images.iter().map(|image| (image.id, Vec::new())).collect();
    if boxes.len() < images.len() {
        let mut seen = std::collections::HashSet::new();
        let twice = images.iter().find(|image| !seen.insert(image.id)).map_or(0, |image| image.id);
        return Err(Error::entry(file, format_args!("image {twice}"), "stands there twice, expected every id once"));
    }
    for (position, annotation) in annotations.iter().enumerate() {
        let image = boxes.get_mut(&annotation.image_id).ok_or_else(|| {
            let reason = format!("names image {}, which the file lacks", annotation.image_id);
            Error::entry(file, format_args!("annotation at position {position}"), reason)
        })?;
        image.push(annotation.bbox);
    }
    let mut out = Collector::new(file, bytes.len());
    for image in images {
        let place = format!("image {}", image.id);
        let found = boxes.get(&image.id).map_or(&[][..], Vec::as_slice);
        let [[x, y, w, h]] = found else {
            let reason = format!("has {} annotations, expected one: a phrase names one box", found.len());
            return Err(Error::entry(file, place, reason));
        };
        if *x >= image.width || *y >= image.height {
            let reason =
                format!("the box starts at ({x}, {y}), expected a place in {}x{} pixels", image.width, image.height);
            return Err(Error::entry(file, place, reason));
        }
        let rect = Rect { x0: *x, y0: *y, x1: x + w, y1: y + h };
        out.push(place, pictures.join(&image.file_name), image.caption, Some(rect))?;
    }
    let entries = out.finish();
    if entries.is_empty() {
        return Err(Error::file(file, "`images` is empty, expected entries"));
    }
    Ok(entries)
}
