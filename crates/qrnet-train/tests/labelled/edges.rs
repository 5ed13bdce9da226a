//! Boxes at the edge of their pictures and without area; damaged files.

use std::path::Path;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use qrnet_train::Error;
use qrnet_train::data::labelled::LabelledSet;

use crate::trees::{Read, Trees, object, rect, write};

/// Keeps the messages of warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().expect("no panic").push(text.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn boxes_over_the_edge_are_cut_and_those_without_area_left_out() {
    let trees = Trees::new();
    let read = |boxes: &str| {
        let line = format!("{{\"image\": \"a.jpg\", \"width\": 200, \"height\": 100, \"boxes\": [{boxes}]}}");
        write(trees.root(), "pack/labels.jsonl", line);
        let warnings = Warnings::default();
        let set = tracing::subscriber::with_default(warnings.clone(), || trees.pack()).expect("readable");
        let said = warnings.0.lock().expect("no panic").clone();
        (set, said)
    };
    let of = |x: f64, y: f64, w: f64, h: f64| {
        format!("{{\"label\": \"cat\", \"x\": {x}, \"y\": {y}, \"w\": {w}, \"h\": {h}}}")
    };
    // 2 px and 1 %: 4 to the sides, 3 up and down.
    let (set, said) = read(&of(-4.0, -3.0, 208.0, 106.0));
    assert_eq!(set.pictures[0].objects, [object(0, rect(0.0, 0.0, 200.0, 100.0))]);
    assert!(said.is_empty(), "{said:?}");
    let all = [of(1.0, 1.0, 0.0, 5.0), of(201.0, 5.0, 2.0, 5.0), of(5.0, 5.0, -3.0, 5.0), of(1.0, 1.0, 1.0, 1.0)];
    let (set, said) = read(&all.join(", "));
    assert_eq!(set.pictures[0].objects, [object(0, rect(1.0, 1.0, 2.0, 2.0))]);
    // One that ends before it begins is more than flat.
    let turned = format!(
        "own: 1 box with swapped corners or a negative size was left out: (5, 5)-(2, 10) of {}",
        trees.at("pack/a.jpg").display()
    );
    assert_eq!(said, ["own: 2 boxes without an area were left out", turned.as_str()]);
    let (_, said) = read(&[&all[2], &all[2], &all[3]].map(String::as_str).join(", "));
    let turned = turned.replace("1 box", "2 boxes").replace("was left out:", "were left out, the first");
    assert_eq!(said, [turned]);
    let (set, said) = read(&all[0]);
    // The class is known all the same.
    assert_eq!((set.pictures[0].objects.len(), set.classes.as_slice()), (0, &["cat".to_owned()][..]));
    assert_eq!(said, ["own: 1 box without an area was left out"]);
    // A described thing of which no box has an area is no thing.
    let (set, _) = read("{\"phrases\": [\"a cat\"], \"x\": 1, \"y\": 1, \"w\": 0, \"h\": 1}");
    assert!(set.pictures[0].referents.is_empty());
}

/// Files whose damage is tried, and who reads them.
const SEEDS: [(&str, Read); 9] = [
    ("pack/labels.jsonl", Trees::pack),
    ("coco/annotations/instances_val2017.json", Trees::coco),
    ("coco/annotations/captions_val2017.json", Trees::coco),
    ("voc/Annotations/000005.xml", Trees::voc),
    ("voc/ImageSets/Main/trainval.txt", Trees::voc),
    ("yolo/data.yaml", Trees::yolo),
    ("yolo/labels/train/b.txt", Trees::yolo),
    ("flickr/Annotations/1000268201.xml", Trees::flickr),
    ("flickr/Sentences/1000268201.txt", Trees::flickr),
];

/// Cases of each property; more with `PROPTEST_CASES`.
fn cases(standard: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    ProptestConfig { cases: asked.unwrap_or(standard), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn damaged_files_never_panic(
        seed in 0..SEEDS.len(),
        cut in proptest::option::of(any::<prop::sample::Index>()),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let trees = Trees::new();
        let (name, read) = SEEDS[seed];
        let mut bytes = std::fs::read(trees.at(name)).expect("readable");
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        write(trees.root(), name, &bytes);
        match read(&trees) {
            Ok(set) => sound(&set),
            Err(Error::Model(qrnet::Error::File { .. } | qrnet::Error::Io { .. }) | Error::Entry { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

/// What holds of every set.
fn sound(set: &LabelledSet) {
    for picture in &set.pictures {
        assert!(picture.width >= 1.0 && picture.height >= 1.0 && picture.path != Path::new(""));
        let objects = picture.objects.iter().map(|object| object.rect);
        for rect in objects.chain(picture.referents.iter().map(|referent| referent.rect)) {
            assert!(rect.x0 >= 0.0 && rect.y0 >= 0.0 && rect.x1 <= picture.width && rect.y1 <= picture.height);
            assert!(rect.width() > 0.0 && rect.height() > 0.0);
        }
        assert!(picture.objects.iter().all(|object| object.class < set.classes.len()));
        assert!(picture.referents.iter().all(|referent| referent.boxes > 0 && !referent.phrases.is_empty()));
    }
}
