//! Folders for YOLO: `images/SPLIT/NAME.jpg` beside `labels/SPLIT/NAME.txt`, as Ultralytics reads them (or
//! `SPLIT/images` beside `SPLIT/labels`), and the names of the classes.

use std::path::{Path, PathBuf};

use blocks::preprocess::Rect;

use super::fit::Boxes;
use super::names::{Names, find};
use super::text::{folder, utf8};
use super::{LabelledObject, LabelledPicture, LabelledSet};
use crate::error::{Error, Result};

/// Endings of pictures that can be opened.
const PICTURES: [&str; 5] = ["jpg", "jpeg", "png", "bmp", "webp"];

/// How far a share may leave 0..1: what rounding to a few decimals does.
const SLACK: f64 = 1e-3;

/// The pictures of one split, by name. Classes come from `names`: a YAML file, or a text file with one a line; without
/// it, from `data.yaml` or `classes.txt` in the folder. Pictures are opened as far as their size.
///
/// A line is `class x y w h`, the middle and the size as shares of the picture; or `class x1 y1 x2 y2 ..`, an outline, of
/// which the box around it is taken; or, where the YAML has `kpt_shape`, a box followed by the points of a pose. A picture
/// without a label file, or with an empty one, shows none of the classes.
///
/// # Errors
/// A file or folder is missing; no picture, or none with a label file; no names; a class without a name; numbers that
/// are none, too few or outside 0..1; a picture that cannot be read.
pub fn read(name: &str, root: &Path, split: &str, names: Option<&Path>, complete: bool) -> Result<LabelledSet> {
    let (images, labels) = folders(root, split)?;
    let names_file = names.map_or_else(|| find(root), |names| Ok(names.to_path_buf()))?;
    let names = Names::read(&names_file)?;
    let (mut boxes, mut pictures, mut labelled) = (Boxes::of(name), Vec::new(), 0);
    for path in listed(&images)? {
        let (width, height) = size(&path)?;
        let file = labels.join(path.file_stem().unwrap_or_default()).with_added_extension("txt");
        let mut picture = LabelledPicture { path, width, height, ..Default::default() };
        if file.is_file() {
            labelled += 1;
            // An empty file is how a picture without objects is marked.
            let text = utf8(&file, std::fs::read(&file).map_err(Error::io("read", &file))?)?;
            for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                object(line, &names, &names_file, &mut picture, &mut boxes)
                    .map_err(|reason| Error::entry(&file, format_args!("line {}", number + 1), reason))?;
            }
        }
        pictures.push(picture);
    }
    if labelled == 0 {
        let count = pictures.len();
        return Err(Error::file(
            &labels,
            format_args!("no picture of {count} has a label file there, expected NAME.txt"),
        ));
    }
    boxes.finish();
    Ok(LabelledSet { name: name.to_owned(), classes: names.names, complete, pictures })
}

/// Where pictures and labels lie.
fn folders(root: &Path, split: &str) -> Result<(PathBuf, PathBuf)> {
    let other = root.join(split).join("images");
    if !root.join("images").join(split).is_dir() && other.is_dir() {
        let labels = root.join(split).join("labels");
        folder(&labels, "YOLO's label files")?;
        return Ok((other, labels));
    }
    let (images, labels) = (root.join("images").join(split), root.join("labels").join(split));
    folder(&images, "YOLO's pictures")?;
    folder(&labels, "YOLO's label files")?;
    Ok((images, labels))
}

/// The pictures in a folder, by name.
fn listed(images: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(images).map_err(Error::io("read", images))? {
        let path = entry.map_err(Error::io("read", images))?.path();
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if PICTURES.iter().any(|known| known.eq_ignore_ascii_case(ending)) {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(Error::file(images, format_args!("holds no picture, expected {}", PICTURES.join(", "))));
    }
    found.sort();
    Ok(found)
}

/// Width and height of a picture as it will be opened, from its header: turned as the camera noted.
fn size(path: &Path) -> Result<(f64, f64)> {
    use image::ImageDecoder;
    use image::metadata::Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    let reader = image::ImageReader::open(path).map_err(Error::io("read", path))?;
    let reader = reader.with_guessed_format().map_err(Error::io("read", path))?;
    let header = || -> image::ImageResult<_> {
        let mut decoder = reader.into_decoder()?;
        Ok((decoder.dimensions(), decoder.orientation()?))
    };
    let ((width, height), orientation) =
        header().map_err(|e| Error::file(path, format_args!("cannot be read as a picture: {e}")))?;
    let (width, height) = (f64::from(width), f64::from(height));
    let turned = matches!(orientation, Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH);
    Ok(if turned { (height, width) } else { (width, height) })
}

/// Adds what one line says.
fn object(
    line: &str,
    names: &Names,
    names_file: &Path,
    picture: &mut LabelledPicture,
    boxes: &mut Boxes,
) -> Result<(), String> {
    let numbers: Vec<f64> = line
        .split_whitespace()
        .map(|word| word.parse::<f64>().ok().filter(|n| n.is_finite()).ok_or(word))
        .collect::<Result<_, _>>()
        .map_err(|word| format!("{word:?} is no number, expected a class and shares of the picture"))?;
    let [class, shares @ ..] = numbers.as_slice() else { return Ok(()) };
    if class.fract() != 0.0 || *class < 0.0 {
        return Err(format!("the class is {class}, expected a whole number from 0"));
    }
    let class = *class as usize;
    let count = names.names.len();
    if class >= count {
        let file = names_file.display();
        return Err(format!("the class is {class}, expected one below {count}: {file} names {count}"));
    }
    let shares = if names.pose { shares.get(..4).unwrap_or(shares) } else { shares };
    if let Some(outside) = shares.iter().find(|share| !(-SLACK..=1.0 + SLACK).contains(*share)) {
        return Err(format!("holds {outside}, expected shares of the picture from 0 to 1"));
    }
    let rect = match shares {
        [x, y, w, h] => Rect { x0: x - w / 2.0, y0: y - h / 2.0, x1: x + w / 2.0, y1: y + h / 2.0 },
        outline if outline.len() >= 6 && outline.len().is_multiple_of(2) => {
            let side = |from: usize, start: f64, pick: fn(f64, f64) -> f64| {
                outline[from..].iter().step_by(2).copied().fold(start, pick)
            };
            let (low, high) = (f64::INFINITY, f64::NEG_INFINITY);
            Rect {
                x0: side(0, low, f64::min),
                y0: side(1, low, f64::min),
                x1: side(0, high, f64::max),
                y1: side(1, high, f64::max),
            }
        }
        _ => {
            let count = numbers.len();
            return Err(format!(
                "holds {count} numbers, expected 5 (class x y w h) or 7, 9, .. (class and an outline)"
            ));
        }
    };
    let (width, height) = (picture.width, picture.height);
    let rect = Rect { x0: rect.x0 * width, y0: rect.y0 * height, x1: rect.x1 * width, y1: rect.y1 * height };
    if let Some(rect) = boxes.fit(rect, &picture.path, (width, height))? {
        picture.objects.push(LabelledObject { class, rect, difficult: false, crowd: false });
    }
    Ok(())
}
