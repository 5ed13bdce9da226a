//! RefCOCO, RefCOCO+ and RefCOCOg in the layout of the REFER toolkit: a folder with `refs(unc).p`, `refs(google).p` or
//! `refs(umd).p` (a pickle) beside `instances.json` (COCO's layout).

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use blocks::preprocess::Rect;
use blocks::strict::nearest;
use serde::Deserialize;

use super::listed::{Collector, Entry};
use super::pickle::{self, Fault, Id, Pickle};
use super::{read_bytes, read_json};
use crate::error::{Error, Result};

/// Every sentence of the refs in `split` is one entry, in the file's order. `refs` names who split the data set:
/// `unc`, `google` or `umd`; pictures lie under `pictures` by the name that `instances.json` gives them.
///
/// Boxes are cut to whole pixels and turned from left, top, width, height into edges, as the reference does.
///
/// # Errors
/// A file is missing, cut short or not what it should be; ids that contradict each other or name what is not there;
/// a split without refs; a pickle that asks for more than data.
pub fn read(folder: &Path, pictures: &Path, refs: &str, split: &str) -> Result<Vec<Entry>> {
    let file = folder.join(format!("refs({refs}).p"));
    let bytes = read_bytes(&file)?;
    let instances_file = folder.join("instances.json");
    let instances = Instances::new(read_json(&instances_file)?, &instances_file)?;
    let (pickle, _) = pickle::read(&bytes).map_err(|reason| Error::file(&file, reason))?;
    let list = pickle.items(pickle.root).ok_or_else(|| {
        let found = pickle.describe(pickle.root);
        Error::file(&file, format_args!("holds {found}, expected a list of refs"))
    })?;
    let mut out = Collector::new(&file, bytes.len());
    let mut splits = BTreeSet::new();
    for (position, id) in list.iter().enumerate() {
        let fail = |reason: Fault| Error::entry(&file, format_args!("ref at position {position}"), reason);
        let found = text(&pickle, *id, "split").map_err(fail)?;
        if found != split {
            splits.insert(pickle::shortened(&found).into_owned());
            continue;
        }
        let numbers = Ref::new(&pickle, *id).map_err(fail)?;
        let (name, rect) = instances
            .find(&numbers, &instances_file)
            .map_err(|reason| Error::entry(&file, format_args!("ref {}", numbers.id), reason))?;
        let picture = pictures.join(name);
        let sentences = pickle.field(*id, "sentences").map_err(fail)?;
        let sentences = pickle.items(sentences).ok_or_else(|| fail("`sentences` is no list".into()))?;
        for (n, sentence) in sentences.iter().enumerate() {
            let place = format!("ref {}, sentence {}", numbers.id, n + 1);
            let phrase = text(&pickle, *sentence, "sent").map_err(|reason| Error::entry(&file, &place, reason))?;
            out.push(place, picture.clone(), phrase, Some(rect))?;
        }
    }
    let entries = out.finish();
    if entries.is_empty() {
        let near = nearest(split, splits.iter().map(String::as_str))
            .map_or(String::new(), |s| format!("; did you mean `{s}`?"));
        let known: Vec<&str> = splits.iter().map(String::as_str).take(8).collect();
        return Err(Error::file(
            &file,
            format_args!("no sentence is in the split `{split}`, expected one of {}{near}", known.join(", ")),
        ));
    }
    Ok(entries)
}

fn text(pickle: &Pickle, dict: Id, key: &str) -> Result<String, Fault> {
    let id = pickle.field(dict, key)?;
    let wrong = || format!("`{key}` is {}, expected a text", pickle.describe(id));
    pickle.text(id).map(std::borrow::Cow::into_owned).ok_or_else(wrong)
}

/// The numbers that tie a ref to `instances.json`.
struct Ref {
    id: i64,
    annotation: i64,
    image: i64,
}

impl Ref {
    fn new(pickle: &Pickle, id: Id) -> Result<Self, Fault> {
        let number = |key: &str| {
            let value = pickle.field(id, key)?;
            pickle.int(value).ok_or_else(|| format!("`{key}` is {}, expected an integer", pickle.describe(value)))
        };
        Ok(Self { id: number("ref_id")?, annotation: number("ann_id")?, image: number("image_id")? })
    }
}

/// `instances.json`; of its keys only what is used.
#[derive(Deserialize)]
struct InstancesFile {
    images: Vec<Image>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize, PartialEq)]
struct Image {
    id: i64,
    file_name: String,
}

#[derive(Deserialize, PartialEq)]
struct Annotation {
    id: i64,
    image_id: i64,
    bbox: [f64; 4],
}

#[derive(Deserialize, PartialEq)]
struct Category {
    id: i64,
    name: String,
}

struct Instances {
    images: HashMap<i64, Image>,
    annotations: HashMap<i64, Annotation>,
}

impl Instances {
    fn new(file: InstancesFile, path: &Path) -> Result<Self> {
        let twice = |what: &str, id: i64, one: &dyn std::fmt::Display, other: &dyn std::fmt::Display| {
            let reason = format!("has both {one} and {other}, expected every id once (the file contradicts itself)");
            Error::entry(path, format_args!("{what} {id}"), reason)
        };
        index(file.categories, |c| c.id)
            .map_err(|(a, b)| twice("category", a.id, &format!("the name `{}`", a.name), &format!("`{}`", b.name)))?;
        let images = index(file.images, |i| i.id).map_err(|(a, b)| {
            twice("image", a.id, &format!("the file `{}`", a.file_name), &format!("`{}`", b.file_name))
        })?;
        let shown = |a: &Annotation| format!("the box {:?} in image {}", a.bbox, a.image_id);
        let annotations =
            index(file.annotations, |a| a.id).map_err(|(a, b)| twice("annotation", a.id, &shown(&a), &shown(&b)))?;
        Ok(Self { images, annotations })
    }

    /// Name of the picture and box of a ref.
    fn find(&self, numbers: &Ref, path: &Path) -> Result<(&str, Rect), Fault> {
        let file = path.display();
        let annotation = self.annotations.get(&numbers.annotation);
        let annotation =
            annotation.ok_or_else(|| format!("names annotation {}, which {file} lacks", numbers.annotation))?;
        let image = self.images.get(&numbers.image);
        let image = image.ok_or_else(|| format!("names image {}, which {file} lacks", numbers.image))?;
        if annotation.image_id != numbers.image {
            return Err(format!(
                "names image {} and annotation {}, which {file} puts in image {}",
                numbers.image, numbers.annotation, annotation.image_id
            ));
        }
        Ok((&image.file_name, whole_pixels(annotation.bbox)))
    }
}

/// Things by their id; two different ones with the same id come back as an error.
fn index<T: PartialEq>(things: Vec<T>, id: impl Fn(&T) -> i64) -> Result<HashMap<i64, T>, (T, T)> {
    let mut map = HashMap::with_capacity(things.len());
    for thing in things {
        match map.entry(id(&thing)) {
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(thing);
            }
            std::collections::hash_map::Entry::Occupied(taken) if *taken.get() == thing => {}
            std::collections::hash_map::Entry::Occupied(taken) => return Err((taken.remove(), thing)),
        }
    }
    Ok(map)
}

/// Left, top, width and height, each cut to a whole number, as edges.
pub(super) fn whole_pixels(bbox: [f64; 4]) -> Rect {
    let [x, y, w, h] = bbox.map(f64::trunc);
    Rect { x0: x, y0: y, x1: x + w, y1: y + h }
}
