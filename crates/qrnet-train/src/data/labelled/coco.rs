//! COCO's instances (`instances_train2017.json` and whatever else is written that way), with its captions if wanted.

use std::collections::HashMap;
use std::path::Path;

use blocks::preprocess::Rect;
use serde::Deserialize;
use serde_json::Value;

use super::super::{parse_json, read_bytes};
use super::fit::{Boxes, size};
use super::pack::flag;
use super::text::folder;
use super::{LabelledObject, LabelledPicture, LabelledSet};
use crate::error::{Error, Result};

/// Of the file's keys only what is used.
#[derive(Deserialize)]
struct File {
    images: Option<Vec<Image>>,
    annotations: Option<Vec<Annotation>>,
    categories: Option<Vec<Category>>,
    #[serde(default)]
    licenses: Vec<Licence>,
}

#[derive(Deserialize)]
struct Licence {
    id: i64,
    name: String,
}

#[derive(Deserialize)]
struct Image {
    id: i64,
    file_name: String,
    width: f64,
    height: f64,
    license: Option<i64>,
}

#[derive(Deserialize)]
struct Annotation {
    id: Option<i64>,
    image_id: i64,
    category_id: i64,
    bbox: [f64; 4],
    #[serde(default)]
    iscrowd: Value,
}

#[derive(Deserialize)]
struct Category {
    id: i64,
    name: String,
}

#[derive(Deserialize)]
struct CaptionFile {
    annotations: Vec<Caption>,
}

#[derive(Deserialize)]
struct Caption {
    image_id: i64,
    caption: String,
}

/// The pictures that `annotations` lists, which lie under `pictures`, with their boxes; sentences come from `captions`.
/// Boxes are left, top, width and height, and keep their fractions.
///
/// # Errors
/// A file or the folder is missing, a file is cut short or not of this layout; an id twice; an annotation of a picture or class that the file
/// lacks; a category without a name; a box that leaves its picture; captions of which none is of these pictures.
pub fn read(
    name: &str,
    annotations: &Path,
    pictures: &Path,
    captions: Option<&Path>,
    complete: bool,
) -> Result<LabelledSet> {
    const EXPECTED: &str = "expected COCO's instances: `images`, `annotations` and `categories`";
    let file = annotations;
    folder(pictures, "COCO's pictures")?;
    let bytes = object(file, EXPECTED)?;
    let File { images, annotations, categories, licenses: licences } = parse_json(file, &bytes)?;
    let lacking = |key: &str| Error::file(file, format_args!("lacks the key `{key}`, {EXPECTED}"));
    let images = images.ok_or_else(|| lacking("images"))?;
    let annotations = annotations.ok_or_else(|| lacking("annotations"))?;
    let categories = categories.ok_or_else(|| lacking("categories"))?;
    if images.is_empty() {
        return Err(Error::file(file, "`images` is empty, expected pictures"));
    }
    let places = by_id(file, "image", images.iter().map(|image| image.id))?;
    let classes = by_id(file, "category", categories.iter().map(|category| category.id))?;
    if let Some(nameless) = categories.iter().find(|category| category.name.trim().is_empty()) {
        let reason = "has no name, expected one for every category";
        return Err(Error::entry(file, format_args!("category {}", nameless.id), reason));
    }
    let mut set = LabelledSet {
        name: name.to_owned(),
        classes: categories.into_iter().map(|category| category.name).collect(),
        complete,
        pictures: Vec::with_capacity(images.len()),
    };
    for image in images {
        let (width, height) = size(image.width, image.height)
            .map_err(|reason| Error::entry(file, format_args!("image {}", image.id), reason))?;
        let path = pictures.join(&image.file_name);
        let licence = image.license.and_then(|id| licences.iter().find(|licence| licence.id == id));
        let licence = licence.map(|licence| licence.name.clone());
        set.pictures.push(LabelledPicture { path, width, height, licence, ..Default::default() });
    }
    let mut boxes = Boxes::of(name);
    for (position, annotation) in annotations.iter().enumerate() {
        let fail = |reason: String| match annotation.id {
            Some(id) => Error::entry(file, format_args!("annotation {id}"), reason),
            None => Error::entry(file, format_args!("annotation at position {position}"), reason),
        };
        let lacks = |what: &str, id: i64| fail(format!("names {what} {id}, which the file lacks"));
        let class = *classes.get(&annotation.category_id).ok_or_else(|| lacks("category", annotation.category_id))?;
        let place = places.get(&annotation.image_id).ok_or_else(|| lacks("image", annotation.image_id))?;
        let crowd = flag(&annotation.iscrowd, "iscrowd").map_err(fail)?;
        let picture = &mut set.pictures[*place];
        let [x, y, w, h] = annotation.bbox;
        let rect = Rect { x0: x, y0: y, x1: x + w, y1: y + h };
        if let Some(rect) = boxes.fit(rect, &picture.path, (picture.width, picture.height)).map_err(fail)? {
            picture.objects.push(LabelledObject { class, rect, difficult: false, crowd });
        }
    }
    boxes.finish();
    if let Some(captions) = captions {
        add_captions(&mut set, captions, &places)?;
    }
    Ok(set)
}

/// Sentences of pictures that the set has not are left out: a part of a data set goes with the captions of all of it.
fn add_captions(set: &mut LabelledSet, file: &Path, places: &HashMap<i64, usize>) -> Result<()> {
    let bytes = object(file, "expected COCO's captions: `annotations` with `image_id` and `caption`")?;
    let CaptionFile { annotations } = parse_json(file, &bytes)?;
    let mut used = false;
    for Caption { image_id, caption } in annotations {
        if let Some(place) = places.get(&image_id) {
            set.pictures[*place].captions.push(caption.trim().to_owned());
            used = true;
        }
    }
    if used {
        return Ok(());
    }
    let count = set.pictures.len();
    Err(Error::file(file, format_args!("no caption is of one of the {count} pictures, expected captions of them")))
}

/// The content of a file that should hold an object: of a list, serde would tell in words of Rust's types.
fn object(file: &Path, expected: &str) -> Result<Vec<u8>> {
    let bytes = read_bytes(file)?;
    match bytes.trim_ascii_start().first() {
        Some(b'{') => Ok(bytes),
        _ => Err(Error::file(file, format_args!("is no JSON object, {expected}"))),
    }
}

/// Positions by id.
fn by_id(file: &Path, what: &str, ids: impl Iterator<Item = i64>) -> Result<HashMap<i64, usize>> {
    let mut places = HashMap::new();
    for (position, id) in ids.enumerate() {
        if places.insert(id, position).is_some() {
            return Err(Error::entry(file, format_args!("{what} {id}"), "stands there twice, expected every id once"));
        }
    }
    Ok(places)
}
