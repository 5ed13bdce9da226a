//! Labelled pictures as recipes describe them, and data outside the tree.

use std::path::Path;
use std::process::Command;

use qrnet_train::data::video::NoVideo;
use qrnet_train::data::{DataSet, Origin, Source};
use qrnet_train::{Error, Result};

use crate::trees::{Trees, rect};

fn source(text: &str) -> Source {
    toml::from_str(text).expect("a source")
}

fn open(source: &Source, base: &Path) -> Result<Box<dyn DataSet>> {
    source.open(Origin { base, video: &NoVideo, dense: false })
}

const SOURCES: [(&str, &str, bool); 7] = [
    ("format = 'boxes'\nfile = 'pack/labels.jsonl'", "labels", false),
    ("format = 'boxes'\nname = 'mine'\nfile = 'pack/labels.jsonl'\ncomplete = true", "mine", true),
    (
        "format = 'coco'\nannotations = 'coco/annotations/instances_val2017.json'\npictures = 'coco/val2017'\n\
         captions = 'coco/annotations/captions_val2017.json'",
        "instances_val2017",
        true,
    ),
    ("format = 'voc'\nfolder = 'voc'\nsplit = 'trainval'", "voc", true),
    ("format = 'voc'\nfolder = 'voc'\nsplit = 'trainval'\ncomplete = false", "voc", false),
    ("format = 'yolo'\nfolder = 'yolo'\nsplit = 'train'\nnames = 'yolo/data.yaml'", "yolo", true),
    ("format = 'flickr30k'\nfolder = 'flickr'\npictures = 'flickr-images'\nsplit = 'train'", "flickr", false),
];

#[test]
fn every_format_as_a_recipe_describes_it() {
    let trees = Trees::new();
    for (text, name, complete) in SOURCES {
        let source = source(text);
        let set = source.labelled(trees.root()).expect("readable").expect("labelled pictures");
        assert_eq!((set.name.as_str(), source.name().as_str(), set.complete), (name, name, complete), "{text}");
        assert_eq!(source.missing(trees.root()), None);
        let again: Source = toml::from_str(&toml::to_string(&source).expect("text")).expect("the same");
        assert_eq!(again, source);
    }
    let films = source("format = 'jsonl'\nfile = 'a.jsonl'");
    assert_eq!(films.labelled(trees.root()).expect("nothing to read").map(|_| ()), None);
    let unknown = toml::from_str::<Source>("format = 'voc'\nfolder = 'a'\nsplit = 'b'\nfile = 'c'").expect_err("a key");
    assert!(unknown.to_string().contains("unknown field `file`"), "{unknown}");
    assert_eq!(
        trees.message(open(&source(SOURCES[2].0), &trees.at("voc")).map(|_| ())),
        "ROOT/voc/coco/annotations/instances_val2017.json: no such file: the data set `instances_val2017` should have it there \
         (`annotations` in the recipe, relative to ROOT/voc)"
    );
}

#[test]
fn what_people_described_is_asked() {
    let trees = Trees::new();
    let all = |text: &str| source(&format!("{text}\nask = {{ questions = 'phrases' }}"));
    let set = open(&all(SOURCES[0].0), trees.root()).expect("a data set");
    assert_eq!(set.phrases(), ["A child", "A little girl", "toys", "her things", "a hat", "another hat"]);
    let example = set.example(2).expect("an example");
    assert_eq!((&*example.source, &*example.kind), ("labels", "other"));
    assert_eq!(example.target, Some(rect(10.0, 10.0, 150.0, 60.0)));
    let set = open(&all(SOURCES[6].0), trees.root()).expect("a data set");
    assert_eq!(set.phrases(), ["The steps", "A child", "A little girl"]);
    assert_eq!(set.example(0).expect("an example").target, Some(rect(0.0, 299.0, 375.0, 500.0)));
}

/// Where the child process finds the trees; without it, the test below starts that process.
const CHILD: &str = "LABELLED_TEST_TREES";

#[test]
fn data_outside_the_tree() {
    let films = "format = 'clip'\nclip = '$SPOTTER_DATA/a.mkv'\nlabels = 'a.txt'\nqueries = '$SPOTTER_DATA/q.toml'";
    let (pack, films) = (source("format = 'boxes'\nfile = '$SPOTTER_DATA/pack/labels.jsonl'"), source(films));
    let base = Path::new("/recipes");
    match (std::env::var_os(CHILD), std::env::var_os("SPOTTER_DATA")) {
        (None, _) => {
            let trees = Trees::new();
            for data in [None, Some(trees.root())] {
                let mut child = Command::new(std::env::current_exe().expect("this test"));
                child.args(["--exact", "sources::data_outside_the_tree"]).env(CHILD, trees.root());
                match data {
                    Some(data) => child.env("SPOTTER_DATA", data),
                    None => child.env_remove("SPOTTER_DATA"),
                };
                let output = child.output().expect("started");
                let said = String::from_utf8_lossy(&output.stdout);
                assert!(output.status.success() && said.contains("1 passed"), "{said}");
            }
        }
        (Some(_), None) => {
            let message = |error: Error| {
                assert!(error.is_usage());
                error.to_string()
            };
            let expected = |name: &str, path: &str, key: &str| {
                format!(
                    "the data set `{name}` lies in $SPOTTER_DATA/{path} (`{key}` in the recipe), and SPOTTER_DATA is not \
                     set: expected this environment variable to name the folder of data outside the tree"
                )
            };
            let file = expected("labels", "pack/labels.jsonl", "file");
            assert_eq!(message(open(&pack, base).map(|_| ()).expect_err("no data")), file);
            assert_eq!(message(pack.labelled(base).map(|_| ()).expect_err("no data")), file);
            assert_eq!(pack.missing(base), Some("$SPOTTER_DATA/pack/labels.jsonl".into()));
            assert_eq!(message(films.film(base).expect_err("no data")), expected("a", "a.mkv", "clip"));
            assert_eq!(
                message(films.clip_labels(base).map(|_| ()).expect_err("no data")),
                expected("a", "q.toml", "queries")
            );
        }
        (Some(root), Some(_)) => {
            assert_eq!(open(&pack, base).expect("a data set").len(), 1, "one picture");
            assert_eq!(pack.missing(base), None);
            assert_eq!(films.film(base).expect("a place"), Some(Path::new(&root).join("a.mkv")));
            assert_eq!(films.missing(base), Some(Path::new(&root).join("a.mkv")));
        }
    }
}

/// Set; pictures, objects, difficult ones, classes, things, boxes of things, phrases, captions.
const REAL: [(&str, [usize; 8]); 7] = [
    ("coco-train", [2659, 22603, 0, 80, 0, 0, 0, 11585]),
    ("coco-val", [200, 1829, 0, 73, 0, 0, 0, 1001]),
    ("flickr-train", [7555, 0, 0, 0, 36901, 54125, 76406, 37775]),
    ("flickr-val", [247, 0, 0, 0, 1232, 1842, 2528, 1235]),
    ("highway-train", [800, 1682, 0, 5, 0, 0, 0, 0]),
    ("voc-train", [4767, 13691, 2590, 20, 0, 0, 0, 0]),
    ("voc-val", [300, 873, 182, 20, 0, 0, 0, 0]),
];

#[test]
fn the_pack_of_photographs() {
    let Some(data) = std::env::var_os("SPOTTER_DATA") else {
        eprintln!("skipped: SPOTTER_DATA, which names the folder of photographs/, is not set");
        return;
    };
    for (name, expected) in REAL {
        let file = Path::new(&data).join("photographs").join(name).join("labels.jsonl");
        if !file.is_file() {
            eprintln!("skipped: {} is not there", file.display());
            continue;
        }
        let source = source(&format!("format = 'boxes'\nfile = '$SPOTTER_DATA/photographs/{name}/labels.jsonl'"));
        let set = source.labelled(Path::new("")).expect("readable").expect("labelled pictures");
        let mut found = [set.pictures.len(), 0, 0, set.classes.len(), 0, 0, 0, 0];
        for picture in &set.pictures {
            found[1] += picture.objects.len();
            found[2] += picture.objects.iter().filter(|object| object.difficult).count();
            found[4] += picture.referents.len();
            for referent in &picture.referents {
                found[5] += referent.boxes;
                found[6] += referent.phrases.len();
            }
            found[7] += picture.captions.len();
        }
        assert_eq!(found, expected, "{name}");
        // Sizes are those of the pictures.
        for picture in set.pictures.iter().step_by(97) {
            let size = image::image_dimensions(&picture.path).expect("a picture");
            assert_eq!(
                (f64::from(size.0), f64::from(size.1)),
                (picture.width, picture.height),
                "{}",
                picture.path.display()
            );
        }
    }
}
