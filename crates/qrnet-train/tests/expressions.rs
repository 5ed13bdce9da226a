//! Questions about labelled pictures: what they mean is read here from their words and the boxes alone, by other code than
//! that which made them.

mod resolver;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use qrnet::preprocess::Rect;
use qrnet_train::batch::UNLABELLED;
use qrnet_train::data::labelled::{LabelledObject, LabelledPicture, LabelledSet, Referent};
use qrnet_train::data::{DataSet, Example, jsonl};
use qrnet_train::expressions::{Ask, Asked, Questions, nouns, questions};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use resolver::{Answer, Shown};

const CLASSES: [&str; 12] = [
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
struct Painted {
    _folder: tempfile::TempDir,
    set: LabelledSet,
    colours: Vec<Vec<&'static str>>,
}

fn save(path: &Path, width: usize, height: usize, rgb: Vec<u8>) {
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
fn painted(count: usize, seed: u64) -> Painted {
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
        });
        colours.push(own);
    }
    Painted { _folder: folder, set, colours }
}

/// What a picture shows.
fn shown(painted: &Painted, index: usize, least: f64) -> Vec<Shown> {
    let picture = &painted.set.pictures[index];
    let objects = picture.objects.iter().zip(&painted.colours[index]);
    objects
        .map(|(object, colour)| {
            let area = object.rect.width() * object.rect.height() / (picture.width * picture.height);
            Shown {
                class: CLASSES[object.class],
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
fn index_of(example: &Example) -> usize {
    let last = &example.picture.rgb[example.picture.rgb.len() - 3..];
    usize::from(last[0]) << 8 | usize::from(last[1])
}

fn weights(ask: Ask, [names, attributes, places, ordinals, sizes, relations]: [f64; 6]) -> Ask {
    Ask { phrases: 0.0, names, attributes, places, ordinals, sizes, relations, ..ask }
}

#[test]
fn every_question_has_one_answer() {
    let painted = painted(2000, 1);
    let ask = Ask { absent: 0.3, ..weights(Ask::default(), [1.0; 6]) };
    let asked = Asked::new(painted.set.clone(), ask.clone(), false).expect("questions");
    assert!(asked.len() > 1000, "{}", asked.len());
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut kinds: BTreeMap<(String, bool), usize> = BTreeMap::new();
    for number in 0..asked.len() {
        let example = asked.varied(number, &mut rng).expect("an example");
        let index = index_of(&example);
        let things = shown(&painted, index, ask.least_area);
        let answer = resolver::answer(&example.phrase, &things);
        match (example.target, answer) {
            (Some(target), Answer::One(found)) => assert_eq!(target, things[found].rect, "{}", example.phrase),
            (None, Answer::None) => {}
            (target, answer) => panic!("{:?} of picture {index}: {target:?}, but {answer:?}", example.phrase),
        }
        let subject = resolver::subject(&example.phrase);
        let there = resolver::named(&subject, None, &things).is_none_or(|found| !found.is_empty());
        if !there && !painted.set.pictures[index].captions.is_empty() {
            let told = |word| nouns::related(&subject, word);
            assert!(!told("cat") && !told("truck"), "{} of picture {index}", example.phrase);
        }
        *kinds.entry((example.kind.to_string(), example.target.is_some())).or_default() += 1;
    }
    for kind in ["name", "attribute", "position", "ordinal", "size", "relation"] {
        for present in [true, false] {
            let count = kinds.get(&(kind.to_owned(), present)).copied().unwrap_or_default();
            assert!(count > 15, "{kind}, {present}: {count} of {kinds:?}");
        }
    }
    let absent: usize = kinds.iter().filter(|((_, present), _)| !present).map(|(_, count)| count).sum();
    let share = absent as f64 / asked.len() as f64;
    assert!((0.25..0.35).contains(&share), "{share}");
}

#[test]
fn the_seed_decides() {
    let painted = painted(60, 2);
    let ask = |seed| weights(Ask { seed, ..Ask::default() }, [1.0; 6]);
    let of = |seed| -> Vec<(String, Option<Rect>)> {
        let asked = Asked::new(painted.set.clone(), ask(seed), false).expect("questions");
        let one = |i| asked.example(i).expect("an example");
        (0..asked.len()).rev().map(|i| (one(i).phrase, one(i).target)).collect()
    };
    assert_eq!(of(3), of(3));
    assert_ne!(of(3), of(4));
}

#[test]
fn held_out_words_are_never_said() {
    let mut painted = painted(400, 3);
    for picture in painted.set.pictures.iter_mut().step_by(2) {
        let said = |phrases: &[&str], x: f64| Referent {
            phrases: phrases.iter().map(|phrase| (*phrase).to_owned()).collect(),
            rect: Rect { x0: x, y0: 0.0, x1: x + 20.0, y1: 30.0 },
            boxes: 1,
            kind: "people".into(),
        };
        picture.referents = vec![said(&["a little kid", "a child in red"], 0.0), said(&["two ladies"], 30.0)];
    }
    let all = |hold_out: bool| {
        let ask = Ask { hold_out, absent: 0.4, ..Ask::default() };
        let asked = Asked::new(painted.set.clone(), ask, false).expect("questions");
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let examples: Vec<Example> =
            (0..3 * asked.len()).map(|i| asked.varied(i % asked.len(), &mut rng).expect("an example")).collect();
        let mut phrases: Vec<String> = examples.into_iter().map(|example| example.phrase).collect();
        phrases.extend(asked.phrases().into_iter().map(str::to_owned));
        phrases
    };
    assert!(all(true).iter().all(|phrase| !nouns::says_held_out(phrase)));
    let said: HashSet<&str> = HashSet::from(["kid", "ladies", "bike", "sofa"]);
    let free = all(false);
    for word in said {
        assert!(free.iter().any(|phrase| phrase.contains(word)), "{word}");
    }
}

fn people_set() -> (tempfile::TempDir, LabelledSet) {
    let folder = tempfile::tempdir().expect("a folder");
    let referent = |phrases: &[&str], kind: &str, x: f64| Referent {
        phrases: phrases.iter().map(|phrase| (*phrase).to_owned()).collect(),
        rect: Rect { x0: x, y0: 5.0, x1: x + 20.0, y1: 40.0 },
        boxes: 1,
        kind: kind.into(),
    };
    let stories: Vec<(Vec<Referent>, Vec<&str>)> = vec![
        (
            vec![
                referent(&["a man", "a man in a red shirt"], "people", 0.0),
                referent(&["another man", "a man"], "people", 30.0),
            ],
            vec!["Two men stand about ."],
        ),
        (
            vec![referent(&["a woman"], "people", 0.0), referent(&["her brown dog"], "animals", 40.0)],
            vec!["A woman walks ."],
        ),
        (vec![referent(&["a black cat"], "animals", 10.0)], vec!["A cat sleeps on a couch ."]),
        (vec![referent(&["a yellow car"], "vehicles", 10.0)], vec!["A car on a street ."]),
        (vec![referent(&["a boy"], "people", 10.0)], vec!["A boy with his puppies ."]),
    ];
    let mut set = LabelledSet { name: "told".into(), ..LabelledSet::default() };
    for (index, (referents, captions)) in stories.into_iter().enumerate() {
        let path = folder.path().join(format!("{index}.png"));
        save(&path, 64, 48, vec![index as u8; 3 * 64 * 48]);
        let captions = captions.into_iter().map(str::to_owned).collect();
        set.pictures.push(LabelledPicture {
            path,
            width: 64.0,
            height: 48.0,
            objects: Vec::new(),
            referents,
            captions,
        });
    }
    (folder, set)
}

#[test]
fn people_are_taken_at_their_word() {
    let (_folder, set) = people_set();
    let asked = Asked::new(set, Ask { absent: 0.5, ..Ask::default() }, true).expect("questions");
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut said: BTreeMap<u8, BTreeMap<String, bool>> = BTreeMap::new();
    for draw in 0..1500 {
        let example = asked.varied(draw % asked.len(), &mut rng).expect("an example");
        assert!(example.labels.is_none(), "an incomplete set");
        let present = example.target.is_some();
        let before = said.entry(example.picture.rgb[0]).or_default().insert(example.phrase.clone(), present);
        assert!(before.is_none_or(|before| before == present), "{}", example.phrase);
    }
    let of = |picture: u8, present: bool| -> Vec<&str> {
        said[&picture].iter().filter(|(_, p)| **p == present).map(|(phrase, _)| phrase.as_str()).collect()
    };
    // One of two men who is called no more than that is either of them.
    assert_eq!(of(0, true), ["a man in a red shirt"]);
    assert_eq!(of(0, false), ["a black cat", "a woman", "a yellow car"]);
    // "A boy" may be the man of another picture; somebody's dog is asked for where it is.
    assert_eq!(of(1, true), ["a woman", "her brown dog"]);
    assert_eq!(of(1, false), ["a black cat", "a boy", "a man in a red shirt", "a yellow car"]);
    assert_eq!(of(4, false), ["a black cat", "a woman", "a yellow car"]);
}

#[test]
fn labels_are_painted_from_boxes() {
    let mut painted = painted(1, 7);
    let picture = &mut painted.set.pictures[0];
    let rect = |x0: f64, x1: f64| Rect { x0, y0: 0.0, x1, y1: 40.0 };
    let object = |class, rect, crowd| LabelledObject { class, rect, difficult: false, crowd };
    picture.objects =
        vec![object(1, rect(4.0, 14.0), false), object(0, rect(0.0, 30.0), false), object(3, rect(40.0, 50.0), true)];
    painted.colours[0] = vec!["red"; 3];
    let asked = Asked::new(painted.set, Ask::default(), true).expect("questions");
    let example = asked.example(0).expect("an example");
    let labels = example.labels.expect("labels");
    let class = |x: usize| match labels.instance[5 * example.picture.width + x] {
        0 => 0,
        instance => labels.objects[usize::from(instance) - 1].class,
    };
    let [person, dog] = ["person", "dog"].map(|name| nouns::class_number(name).expect("a number"));
    assert_eq!([2, 6, 20, 35, 45, 55].map(class), [person, dog, person, 0, UNLABELLED, 0]);
}

#[test]
fn fixed_questions_come_back_from_their_file() {
    let painted = painted(300, 8);
    let mut counts = Vec::new();
    for which in [Questions::Names, Questions::Place, Questions::Absence, Questions::Synonyms] {
        let all = questions::questions(&painted.set, which);
        counts.push(all.len());
        let folder = painted.set.pictures[0].path.parent().expect("a folder");
        let file = folder.join("questions.jsonl");
        questions::write(&painted.set, &all, &file).expect("written");
        let entries = jsonl::read(&file).expect("entries");
        let asked = Asked::new(painted.set.clone(), Ask { questions: Some(which), ..Ask::default() }, false);
        let asked = asked.expect("questions");
        assert_eq!(asked.len(), entries.len());
        let examples = asked.examples(0..asked.len().min(50)).expect("examples");
        for ((entry, question), example) in entries.iter().zip(&all).zip(&examples) {
            assert_eq!(entry.phrase, question.phrase);
            assert_eq!((&*entry.kind, entry.target.is_some()), (&*question.kind, question.target.is_some()));
            assert_eq!(entry.picture, painted.set.pictures[question.picture].path);
            assert_eq!((&example.phrase, example.target), (&question.phrase, question.target));
        }
        for question in &all {
            let things = shown(&painted, question.picture, 0.0);
            let answer = resolver::answer(&question.phrase, &things);
            match (which, question.target) {
                (Questions::Names | Questions::Place | Questions::Synonyms, Some(target)) => {
                    let Answer::One(found) = answer else { panic!("{}: {answer:?}", question.phrase) };
                    assert_eq!(things[found].rect, target);
                    assert!(things[found].area > 0.01);
                }
                (Questions::Absence, None) => assert_eq!(answer, Answer::None, "{}", question.phrase),
                (Questions::Absence, Some(_)) => assert_ne!(answer, Answer::None, "{}", question.phrase),
                (_, target) => panic!("{}: {target:?}", question.phrase),
            }
        }
        if which == Questions::Synonyms {
            for pair in all.chunks(2) {
                assert_eq!((&*pair[0].kind, &*pair[1].kind), ("known", "synonym"));
                assert_eq!(pair[0].target, pair[1].target);
            }
        }
    }
    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
}

#[test]
fn what_cannot_be_asked_is_said() {
    let painted = painted(5, 9);
    let reason = |set: LabelledSet, ask: Ask| match Asked::new(set, ask, false) {
        Ok(_) => panic!("was taken"),
        Err(error) => error.to_string(),
    };
    let shares = reason(painted.set.clone(), Ask { absent: 1.5, ..Ask::default() });
    assert_eq!(shares, "painted: `absent` is 1.5, expected a share from 0 to 1");
    let weights = reason(painted.set.clone(), Ask { names: -1.0, ..Ask::default() });
    assert_eq!(weights, "painted: `names` is -1, expected a weight from 0");
    let incomplete = reason(LabelledSet { complete: false, ..painted.set.clone() }, Ask::default());
    assert!(incomplete.contains("nothing can be asked of its 5 pictures"), "{incomplete}");
    let text = "names = 1.0\nnaems = 2.0";
    assert!(toml::from_str::<Ask>(text).is_err(), "an unknown key");
    assert_eq!(toml::from_str::<Ask>("questions = \"place\"").expect("settings").questions, Some(Questions::Place));
    let written = toml::to_string(&Ask::example()).expect("written");
    assert_eq!(toml::from_str::<Ask>(&written).expect("read"), Ask::example());
}

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

#[test]
fn photographs() {
    let Some(folder) = std::env::var_os("SPOTTER_DATA").map(PathBuf::from) else {
        eprintln!("skipped: SPOTTER_DATA does not name a folder of labelled photographs");
        return;
    };
    for name in ["coco-val", "voc-val", "flickr-val"] {
        let set = pack(&folder, name);
        for which in [Questions::Names, Questions::Place, Questions::Absence, Questions::Synonyms, Questions::Phrases] {
            let all = questions::questions(&set, which);
            let present = all.iter().filter(|question| question.target.is_some()).count();
            eprintln!("{name}, {which:?}: {} questions, {present} present", all.len());
        }
        let asked = Asked::new(set.clone(), Ask::default(), true).expect("questions");
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut kinds: BTreeMap<(String, bool), usize> = BTreeMap::new();
        let mut lines = String::new();
        for draw in 0..4 * asked.len() {
            let example = asked.varied(draw % asked.len(), &mut rng).expect("an example");
            *kinds.entry((example.kind.to_string(), example.target.is_some())).or_default() += 1;
            let rect = example.target.map(|r| [r.x0, r.y0, r.x1, r.y1].map(f64::round));
            lines.push_str(&format!("{}\t{}\t{}\t{rect:?}\n", draw % asked.len(), example.kind, example.phrase));
            if let Some(out) = std::env::var_os("SPOTTER_DUMP") {
                let path = PathBuf::from(out).join(format!("{name}-{draw}.png"));
                if draw < 60 {
                    let (w, h) = (example.picture.width, example.picture.height);
                    save(&path, w, h, example.picture.rgb.clone());
                }
            }
        }
        eprintln!("{name}: {} of {} pictures, {kinds:#?}", asked.len(), set.pictures.len());
        if let Some(out) = std::env::var_os("SPOTTER_DUMP") {
            std::fs::write(PathBuf::from(out).join(format!("{name}.tsv")), lines).expect("written");
        }
    }
}
