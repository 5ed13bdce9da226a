//! What is asked of real photographs, where they are at hand.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use blocks::preprocess::{Picture, Rect};
use qrnet_train::data::DataSet;
use qrnet_train::data::labelled::{LabelledObject, LabelledPicture, LabelledSet, Referent};
use qrnet_train::expressions::{Ask, Asked, Questions, questions};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::resolver::{self, Answer, Name, Shown};

/// A set of the pack, read for this test alone.
fn pack(folder: &Path, name: &str) -> LabelledSet {
    let text = std::fs::read_to_string(folder.join(name).join("labels.jsonl")).expect("labels");
    let complete = !name.starts_with("flickr");
    let mut set = LabelledSet { name: name.into(), complete, ..LabelledSet::default() };
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let number = |value: &serde_json::Value| value.as_f64().unwrap_or_default();
        let strings = |value: &serde_json::Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
        };
        let (width, height) = (number(&value["width"]), number(&value["height"]));
        let path: PathBuf = folder.join(name).join(value["image"].as_str().expect("a name"));
        let mut picture = LabelledPicture {
            path,
            width,
            height,
            captions: strings(&value["captions"]),
            licence: None,
            ..LabelledPicture::default()
        };
        let mut referents: BTreeMap<String, Referent> = BTreeMap::new();
        for found in value["boxes"].as_array().into_iter().flatten() {
            let (x, y) = (number(&found["x"]), number(&found["y"]));
            let rect = Rect { x0: x, y0: y, x1: x + number(&found["w"]), y1: y + number(&found["h"]) };
            let rect = rect.clipped(width, height);
            if let Some(entity) = found["entity"].as_str() {
                let phrases = strings(&found["phrases"]);
                let kind = found["type"].as_str().unwrap_or_default().to_owned();
                let first = Referent { phrases, rect, boxes: 0, kind };
                let all = referents.entry(entity.to_owned()).or_insert(first);
                all.boxes += 1;
                let (a, b) = (all.rect, rect);
                all.rect = Rect { x0: a.x0.min(b.x0), y0: a.y0.min(b.y0), x1: a.x1.max(b.x1), y1: a.y1.max(b.y1) };
            } else {
                let label = found["label"].as_str().expect("a label");
                let class = set.classes.iter().position(|class| class == label).unwrap_or_else(|| {
                    set.classes.push(label.to_owned());
                    set.classes.len() - 1
                });
                let difficult = found["difficult"] == 1 || found["difficult"] == true;
                let crowd = found["crowd"] == 1 || found["crowd"] == true;
                picture.objects.push(LabelledObject { class, rect, difficult, crowd });
            }
        }
        picture.referents = referents.into_values().collect();
        set.pictures.push(picture);
    }
    set
}

/// What a picture shows; colours are not told.
fn shown(set: &LabelledSet, index: usize, least: f64) -> Vec<Shown> {
    let picture = &set.pictures[index];
    let thing = |object: &LabelledObject| {
        let area = object.rect.width() * object.rect.height() / (picture.width * picture.height);
        Shown {
            class: set.classes[object.class].clone(),
            colour: "",
            x: object.rect.centre().0 / picture.width,
            y: object.rect.centre().1 / picture.height,
            area,
            doubtful: object.difficult || object.crowd || area < least,
            rect: object.rect,
        }
    };
    picture.objects.iter().map(thing).collect()
}

/// Every question in which all things are called by their class's own name means the box that it was made of, or nothing.
#[test]
fn photographs() {
    let Some(folder) = std::env::var_os("SPOTTER_DATA").map(PathBuf::from) else {
        eprintln!("SKIPPED: SPOTTER_DATA does not name a folder of labelled photographs");
        return;
    };
    for name in ["coco-val", "voc-val", "flickr-val"] {
        let set = pack(&folder, name);
        for which in [Questions::Names, Questions::Place, Questions::Absence, Questions::Synonyms, Questions::Phrases] {
            let all = questions::questions(&set, which);
            let present = all.iter().filter(|question| question.target.is_some()).count();
            eprintln!("{name}, {which:?}: {} questions, {present} present", all.len());
        }
        let pixels = |picture: &LabelledPicture| Picture::open(&picture.path).expect("a picture").rgb;
        let places: HashMap<Vec<u8>, usize> = set.pictures.iter().map(pixels).zip(0..).collect();
        let ask = Ask::default();
        let names: Vec<Name> = set.classes.iter().map(|class| (class.as_str(), class.as_str(), "")).collect();
        let asked = Asked::new(set.clone(), ask.clone(), false).expect("questions");
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut kinds, mut read): (BTreeMap<(String, bool), usize>, usize) = (BTreeMap::new(), 0);
        for draw in 0..8 * asked.len() {
            let example = asked.varied(draw % asked.len(), &mut rng).expect("an example");
            *kinds.entry((example.kind.to_string(), example.target.is_some())).or_default() += 1;
            if !set.complete || !resolver::is_understood(&example.phrase, &names) {
                continue;
            }
            read += 1;
            let index = places[&example.picture.rgb];
            let things = shown(&set, index, ask.least_area);
            match (example.target, resolver::answer(&example.phrase, &things, &names)) {
                (Some(target), Answer::One(found)) => {
                    assert!(target.overlap(&things[found].rect) > 0.99, "{} of picture {index}", example.phrase);
                }
                (None, Answer::None) => {}
                (target, answer) => panic!("{:?} of picture {index}: {target:?}, but {answer:?}", example.phrase),
            }
        }
        eprintln!("{name}: {} of {} pictures, {read} questions resolved, {kinds:?}", asked.len(), set.pictures.len());
        assert!(!set.complete || read > asked.len(), "{name}: {read} were understood");
    }
}
