//! The PASCAL VOC layout: a folder with `Annotations/ID.xml`, `JPEGImages/ID.jpg` and `ImageSets/Main/SPLIT.txt`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::fit::{Boxes, Classes};
use super::text::{annotation, bndbox, child, folder, ids, needed, read as read_text, size, word, wrong};
use super::{LabelledObject, LabelledPicture, LabelledSet};
use crate::error::{Error, Result};

/// The pictures of one split. Coordinates count from 1 and include the last pixel, so a box of `xmin` to `xmax` reaches
/// from `xmin - 1` to `xmax`.
///
/// # Errors
/// A file or folder is missing or empty; no such split, where those that there are are named; malformed XML; no `size`;
/// an object without name or box; a box that leaves its picture.
pub fn read(name: &str, root: &Path, split: &str, complete: bool) -> Result<LabelledSet> {
    let (annotations, images) = (root.join("Annotations"), root.join("JPEGImages"));
    folder(&annotations, "VOC's annotations")?;
    folder(&images, "VOC's pictures")?;
    let lists = root.join("ImageSets/Main");
    folder(&lists, "VOC's splits")?;
    let list = lists.join(format!("{split}.txt"));
    if !list.is_file() {
        return Err(unknown(&lists, split));
    }
    let (mut boxes, mut classes, mut pictures) = (Boxes::of(name), Classes::default(), Vec::new());
    for id in ids(&list)? {
        pictures.push(picture(&annotations.join(format!("{id}.xml")), &images, &id, &mut boxes, &mut classes)?);
    }
    boxes.finish();
    Ok(LabelledSet { name: name.to_owned(), classes: classes.names(), complete, pictures })
}

/// No such split; those that there are are named. What VOC says of single classes (`cat_train.txt`) is none.
fn unknown(lists: &Path, split: &str) -> Error {
    let names = |entries: std::fs::ReadDir| -> BTreeSet<String> {
        let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let texts = files.filter(|file| file.extension().is_some_and(|ending| ending == "txt"));
        texts.filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect()
    };
    let all = std::fs::read_dir(lists).map(names).unwrap_or_default();
    let of_class = |name: &str| name.rsplit_once('_').is_some_and(|(_, of)| all.contains(of));
    let splits: Vec<&str> = all.iter().map(String::as_str).filter(|name| !of_class(name)).collect();
    let expected =
        if splits.is_empty() { format!("{split}.txt there") } else { format!("one of {}", splits.join(", ")) };
    Error::file(lists, format_args!("has no split {split:?}, expected {expected}"))
}

fn picture(file: &Path, images: &Path, id: &str, boxes: &mut Boxes, classes: &mut Classes) -> Result<LabelledPicture> {
    let text = read_text(file)?;
    let document = annotation(file, &text)?;
    let root = document.root_element();
    let (width, height) = size(file, root)?;
    let path = path(images, id, child(root, "filename").and_then(|node| node.text()));
    let mut picture = LabelledPicture { path, width, height, ..Default::default() };
    for object in root.children().filter(|node| node.has_tag_name("object")) {
        let class = classes.number(word(file, needed(file, object, "name")?)?);
        let difficult = match child(object, "difficult").map(|node| (node, node.text().map_or("", str::trim))) {
            None | Some((_, "0")) => false,
            Some((_, "1")) => true,
            Some((node, other)) => {
                return Err(wrong(file, node, format_args!("<difficult> is {other:?}, expected 0 or 1")));
            }
        };
        let node = needed(file, object, "bndbox")?;
        let rect = bndbox(file, node)?;
        let fitted = boxes.fit(rect, &picture.path, (width, height)).map_err(|reason| wrong(file, node, reason))?;
        if let Some(rect) = fitted {
            picture.objects.push(LabelledObject { class, rect, difficult, crowd: false });
        }
    }
    Ok(picture)
}

/// `ID.jpg`, or the picture that the annotation names where only that is there: converters leave old names in.
fn path(images: &Path, id: &str, named: Option<&str>) -> PathBuf {
    let usual = images.join(format!("{id}.jpg"));
    if usual.is_file() {
        return usual;
    }
    named.map(|named| images.join(named.trim())).filter(|path| path.is_file()).unwrap_or(usual)
}
