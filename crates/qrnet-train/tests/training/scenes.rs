//! Drawn scenes: the same everywhere, and every phrase means what its box shows.
//!
//! What a phrase means is read here from its words and the boxes alone, by other code than that which made it.

use std::collections::{BTreeMap, HashMap};
use std::thread;

use qrnet_train::data::{DataSet, Example};
use qrnet_train::scenes::{COLOUR_COUNT, Scene, SceneSettings, class_name, colour_name};

use crate::support::scenes;

/// All that a run with shapes alone can meet.
fn settings() -> SceneSettings {
    SceneSettings { side: 96, square: 0.6, objects: [2, 6], queries: 2, ..SceneSettings::default() }
}

fn fingerprint(example: &Example) -> (Vec<u8>, String, Option<[u64; 4]>, Vec<u8>) {
    let target = example.target.map(|r| [r.x0, r.y0, r.x1, r.y1].map(f64::to_bits));
    let labels = example.labels.as_ref().expect("labels");
    (example.picture.rgb.clone(), example.phrase.clone(), target, labels.instance.clone())
}

#[test]
fn the_same_in_any_order_and_on_any_thread() {
    const COUNT: usize = 24;
    let make = |seed| scenes(&settings(), seed, COUNT);
    let data = make(1);
    let forward: Vec<_> = data.examples(0..COUNT).expect("examples").iter().map(fingerprint).collect();
    for index in (0..COUNT).rev() {
        assert!(fingerprint(&data.example(index).expect("an example")) == forward[index], "example {index}, alone");
    }
    let data = &make(1);
    let threads: Vec<_> = thread::scope(|scope| {
        let one = |thread: usize| {
            let indices = (0..COUNT).filter(move |index| index % 3 == thread);
            move || indices.map(|i| (i, fingerprint(&data.example(i).expect("an example")))).collect::<Vec<_>>()
        };
        let handles = [0, 1, 2].map(|thread| scope.spawn(one(thread)));
        handles.into_iter().flat_map(|handle| handle.join().expect("ends")).collect()
    });
    assert!(threads.iter().all(|(index, found)| *found == forward[*index]));
    let other: Vec<_> = make(2).examples(0..COUNT).expect("examples").iter().map(fingerprint).collect();
    assert!(forward.iter().zip(&other).all(|(a, b)| a.0 != b.0), "another seed, another picture");
}

/// An object as the picture shows it.
struct Shown {
    class: &'static str,
    colour: &'static str,
    centre: [f64; 2],
    longer: f64,
}

fn shown(scene: &Scene) -> Vec<Shown> {
    let objects = scene.labels.objects.iter().zip(&scene.boxes);
    objects
        .map(|(label, r)| Shown {
            class: class_name(label.class),
            colour: colour_name(label.colour),
            centre: [0.5 * (r.x0 + r.x1), 0.5 * (r.y0 + r.y1)],
            longer: r.width().max(r.height()),
        })
        .collect()
}

/// Which objects `words` name: "red circle", "circle", "red one".
fn named(words: &[&str], objects: &[Shown]) -> Vec<usize> {
    let colours: HashMap<&str, &str> =
        (1..=COLOUR_COUNT as u16).map(|c| (colour_name(c), colour_name(c))).chain([("gray", "grey")]).collect();
    let (colour, class) = match words {
        [colour, "one" | "thing"] => (colours.get(colour), None),
        [colour, class] if colours.contains_key(colour) => (colours.get(colour), Some(*class)),
        [class] => (None, Some(*class)),
        other => (None, Some(other.first().copied().unwrap_or_default())),
    };
    let fits = |o: &Shown| colour.is_none_or(|c| o.colour == *c) && class.is_none_or(|c| o.class == c);
    (0..objects.len()).filter(|&i| fits(&objects[i])).collect()
}

fn side(word: &str) -> Option<(usize, f64)> {
    match word {
        "left" | "leftmost" => Some((0, 1.0)),
        "right" | "rightmost" => Some((0, -1.0)),
        "top" | "upper" | "topmost" | "above" => Some((1, 1.0)),
        "bottom" | "lower" | "bottommost" | "below" | "under" => Some((1, -1.0)),
        _ => None,
    }
}

/// The object that a phrase means; none where nothing fits.
fn meant(phrase: &str, objects: &[Shown]) -> Option<usize> {
    let bare = phrase.replace(['.', ',', '!', '?'], " ");
    let words: Vec<&str> = bare.split_whitespace().filter(|w| !["that", "is"].contains(w)).collect();
    let words = words.strip_prefix(&["the"]).or(words.strip_prefix(&["a"])).unwrap_or(&words);
    let by = |(axis, sign): (usize, f64), i: usize| sign * objects[i].centre[axis];
    let along = |place: (usize, f64), mut found: Vec<usize>| {
        found.sort_by(|&a, &b| by(place, a).total_cmp(&by(place, b)));
        found
    };
    // "X left of the Y", "X above the Y"
    if let Some(the) = words.iter().rposition(|w| *w == "the")
        && let Some((at, place)) = words[..the].iter().enumerate().find_map(|(i, w)| Some((i, side(w)?)))
        && !words[..the].contains(&"from")
        && !matches!(words[the - 1], "on" | "at")
    {
        let noun: Vec<&str> = words[..at].iter().copied().filter(|w| *w != "to" && *w != "the").collect();
        let [anchor] = named(&words[the + 1..], objects)[..] else { return None };
        let found = named(&noun, objects);
        let found: Vec<usize> =
            found.into_iter().filter(|&i| i != anchor && by(place, i) < by(place, anchor)).collect();
        assert!(found.len() < 2, "{phrase}: several");
        return found.first().copied();
    }
    let ordinal = ["first", "second", "third", "fourth"].iter().position(|w| words.first() == Some(w));
    if let (Some(n), Some(from)) = (ordinal, words.iter().position(|w| *w == "from")) {
        let place = side(words.last().expect("words")).expect("a side");
        return along(place, named(&words[1..from], objects)).get(n).copied();
    }
    if let Some(on) = words.iter().position(|w| *w == "on" || *w == "at") {
        let place = side(words.last().expect("words")).expect("a side");
        return along(place, named(&words[..on], objects)).first().copied();
    }
    if let Some(place) = side(words[0]) {
        return along(place, named(&words[1..], objects)).first().copied();
    }
    let big = ["big", "bigger", "biggest", "large", "largest"].contains(&words[0]);
    if big || ["small", "smaller", "smallest"].contains(&words[0]) {
        let rank = |i: &usize| if big { -objects[*i].longer } else { objects[*i].longer };
        return named(&words[1..], objects).into_iter().min_by(|a, b| rank(a).total_cmp(&rank(b)));
    }
    let found = named(words, objects);
    assert!(found.len() < 2, "{phrase}: several");
    found.first().copied()
}

#[test]
fn every_phrase_means_its_target_and_absent_ones_mean_nothing() {
    const COUNT: usize = 1200;
    let data = scenes(&settings(), 11, COUNT);
    let mut kinds: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    for index in 0..COUNT {
        let scene = data.scene(index).expect("a scene");
        let objects = shown(&scene);
        for (phrase, kind, target) in &scene.queries {
            assert_eq!(meant(phrase, &objects), *target, "scene {index}: {phrase:?} ({kind})");
            *kinds.entry((kind, target.is_some())).or_default() += 1;
        }
    }
    // All kinds of expressions occur, each with and without its object, of which about a fifth are without.
    assert_eq!(kinds.len(), 2 * 6, "{kinds:?}");
    let absent: usize = kinds.iter().filter(|((_, present), _)| !present).map(|(_, count)| count).sum();
    let share = absent as f64 / (2 * COUNT) as f64;
    assert!((share - settings().absent).abs() < 0.05, "{share} are absent");
}

#[test]
fn boxes_lie_where_the_labelled_pixels_are() {
    let data = scenes(&settings(), 12, 600);
    for index in 0..300 {
        let scene = data.scene(index).expect("a scene");
        let (width, height) = (scene.picture.width, scene.picture.height);
        assert_eq!((scene.labels.instance.len(), scene.picture.rgb.len()), (width * height, 3 * width * height));
        for (object, rect) in scene.boxes.iter().enumerate() {
            let pixels: Vec<(f64, f64)> = (0..width * height)
                .filter(|&at| usize::from(scene.labels.instance[at]) == object + 1)
                .map(|at| ((at % width) as f64, (at / width) as f64))
                .collect();
            assert!(!pixels.is_empty(), "scene {index}: object {object} is seen");
            let [mut x0, mut y0, mut x1, mut y1] = [f64::MAX, f64::MAX, 0.0, 0.0];
            for (x, y) in pixels {
                (x0, y0, x1, y1) = (x0.min(x), y0.min(y), (x + 1.0).max(x1), (y + 1.0).max(y1));
            }
            let inside = x0 >= rect.x0 && y0 >= rect.y0 && x1 <= rect.x1 && y1 <= rect.y1;
            assert!(inside, "scene {index}: pixels ({x0}, {y0})-({x1}, {y1}) of the box {rect:?}");
            // Another object may cover a little of it, and edges are soft.
            let share = (x1 - x0) * (y1 - y0) / (rect.width() * rect.height());
            assert!(share > 0.7, "scene {index}: pixels fill {share} of the box {rect:?}");
        }
        for query in 0..scene.queries.len() {
            let (example, target) = (scene.example(query), scene.queries[query].2);
            assert_eq!(example.target.is_some(), target.is_some());
            assert!(target.is_none_or(|t| example.target.as_ref() == Some(&scene.boxes[t])));
        }
    }
}

#[test]
fn pictures_that_are_not_square_have_the_shape_that_is_asked_for() {
    for (aspect, size) in [([16, 9], (96, 54)), ([2, 1], (96, 48)), ([3, 4], (72, 96))] {
        let settings = SceneSettings { square: 0.0, aspect: Some(aspect), ..settings() };
        for example in scenes(&settings, 1, 6).examples(0..6).expect("examples") {
            assert_eq!((example.picture.width, example.picture.height), size);
        }
    }
    let settings = SceneSettings { square: 1.0, aspect: Some([2, 1]), ..settings() };
    let example = scenes(&settings, 1, 1).example(0).expect("an example");
    assert_eq!((example.picture.width, example.picture.height), (96, 96), "square ones stay square");
}
