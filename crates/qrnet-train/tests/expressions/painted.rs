//! Pictures of flat boxes on disk, and what they show.

use std::path::Path;

use blocks::preprocess::Rect;
use qrnet_train::data::Example;
use qrnet_train::data::labelled::{LabelledObject, LabelledPicture, LabelledSet};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::resolver::Shown;

pub(crate) const CLASSES: [&str; 12] = [
    "person",
    "dog",
    "cat",
    "car",
    "truck",
    "motorbike",
    "bicycle",
    "chair",
    "sofa",
    "teddy bear",
    "bear",
    "tvmonitor",
];
/// Colours that nobody takes for each other.
const PAINTS: [(&str, [u8; 3]); 6] = [
    ("red", [205, 30, 40]),
    ("green", [45, 150, 60]),
    ("blue", [30, 80, 205]),
    ("yellow", [242, 218, 40]),
    ("white", [248, 248, 246]),
    ("black", [14, 14, 16]),
];

/// A set of pictures painted on disk, and the colour of every object.
pub(crate) struct Painted {
    _folder: tempfile::TempDir,
    pub(crate) set: LabelledSet,
    pub(crate) colours: Vec<Vec<&'static str>>,
}

pub(crate) fn save(path: &Path, width: usize, height: usize, rgb: Vec<u8>) {
    let image = image::RgbImage::from_raw(width as u32, height as u32, rgb).expect("pixels");
    image.save(path).expect("saved");
}

/// The colour of more than half of the middle of a box; empty where none is.
fn paint_of(rgb: &[u8], width: usize, rect: &Rect) -> &'static str {
    let inner = |from: f64, to: f64| (from + 0.2 * (to - from)) as usize..(to - 0.2 * (to - from)).ceil() as usize;
    let pixels: Vec<&[u8]> = inner(rect.y0, rect.y1)
        .flat_map(|y| inner(rect.x0, rect.x1).map(move |x| &rgb[3 * (y * width + x)..3 * (y * width + x) + 3]))
        .collect();
    let most =
        |(_, paint): &&(&str, [u8; 3])| 2 * pixels.iter().filter(|pixel| **pixel == paint).count() > pixels.len();
    PAINTS.iter().find(most).map_or("", |(name, _)| name)
}

/// Random boxes of random classes, flat colours on grey; what overlaps hides what was drawn before.
pub(crate) fn painted(count: usize, seed: u64) -> Painted {
    let folder = tempfile::tempdir().expect("a folder");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut set = LabelledSet {
        name: "painted".into(),
        classes: CLASSES.map(str::to_owned).to_vec(),
        complete: true,
        pictures: Vec::new(),
    };
    let mut colours = Vec::new();
    for index in 0..count {
        let (width, height) = (rng.random_range(60..120), rng.random_range(60..120));
        let mut rgb = vec![150; 3 * width * height];
        // Something that is no shade of grey, so that the picture counts as coloured.
        rgb.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&[190, 165, 120]));
        let few: Vec<usize> = (0..rng.random_range(1..4)).map(|_| rng.random_range(0..CLASSES.len())).collect();
        let mut objects: Vec<LabelledObject> = Vec::new();
        for _ in 0..rng.random_range(1..7) {
            let (w, h) = (rng.random_range(3..width / 2), rng.random_range(3..height / 2));
            let (x, y) = (rng.random_range(0..width - w), rng.random_range(0..height - h));
            let rect = Rect { x0: x as f64, y0: y as f64, x1: (x + w) as f64, y1: (y + h) as f64 };
            let (_, paint) = *PAINTS.choose(&mut rng).expect("colours");
            for row in y..y + h {
                for pixel in rgb[3 * (row * width + x)..3 * (row * width + x + w)].chunks_exact_mut(3) {
                    pixel.copy_from_slice(&paint);
                }
            }
            objects.push(LabelledObject {
                class: *few.choose(&mut rng).expect("classes"),
                rect,
                difficult: rng.random_bool(0.08),
                crowd: rng.random_bool(0.04),
            });
        }
        // The last pixel tells which picture it is.
        let last = rgb.len() - 3;
        rgb[last..].copy_from_slice(&[(index >> 8) as u8, index as u8, 99]);
        let own = objects.iter().map(|object| paint_of(&rgb, width, &object.rect)).collect();
        let path = folder.path().join(format!("{index}.png"));
        save(&path, width, height, rgb);
        let captions = if rng.random_bool(0.3) { vec!["A kitty near some lorries .".to_owned()] } else { Vec::new() };
        set.pictures.push(LabelledPicture {
            path,
            width: width as f64,
            height: height as f64,
            objects,
            referents: Vec::new(),
            captions,
            licence: None,
        });
        colours.push(own);
    }
    Painted { _folder: folder, set, colours }
}

/// What a picture shows.
pub(crate) fn shown(painted: &Painted, index: usize, least: f64) -> Vec<Shown> {
    let picture = &painted.set.pictures[index];
    let objects = picture.objects.iter().zip(&painted.colours[index]);
    objects
        .map(|(object, colour)| {
            let area = object.rect.width() * object.rect.height() / (picture.width * picture.height);
            Shown {
                class: CLASSES[object.class].to_owned(),
                colour,
                x: object.rect.centre().0 / picture.width,
                y: object.rect.centre().1 / picture.height,
                area,
                doubtful: object.difficult || object.crowd || area < least,
                rect: object.rect,
            }
        })
        .collect()
}

/// Which picture of the set an example shows.
pub(crate) fn index_of(example: &Example) -> usize {
    let last = &example.picture.rgb[example.picture.rgb.len() - 3..];
    usize::from(last[0]) << 8 | usize::from(last[1])
}
