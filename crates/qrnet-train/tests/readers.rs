//! The readers of data sets on files in their published layouts; `fixtures/make.py` wrote them.

use std::path::{Path, PathBuf};

use blocks::preprocess::Rect;
use proptest::prelude::*;
use qrnet_train::data::video::NoVideo;
use qrnet_train::data::{DataSet, Entry, Layout, Legibility, Listed, Origin, Source, index, jsonl, mdetr, refer};
use qrnet_train::{Error, Result};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[allow(clippy::unnecessary_wraps)] // what an entry holds
fn rect(x0: f64, y0: f64, x1: f64, y1: f64) -> Option<Rect> {
    Some(Rect { x0, y0, x1, y1 })
}

/// Picture, phrase, box and place of every entry.
fn told(entries: &[Entry]) -> Vec<(String, &str, Option<Rect>, &str)> {
    let name = |e: &Entry| e.picture.file_name().expect("a name").to_string_lossy().into_owned();
    entries.iter().map(|e| (name(e), e.phrase.as_str(), e.target, e.place.as_str())).collect()
}

fn message<T>(result: Result<T>) -> String {
    result.err().expect("an error").to_string()
}

#[track_caller]
fn assert_says<T>(result: Result<T>, parts: &[&str]) {
    let message = message(result);
    for part in parts {
        assert!(message.contains(part), "`{message}` lacks `{part}`");
    }
}

fn pictures() -> PathBuf {
    fixture("pictures")
}

/// A data set of one line of our own format.
fn of_line(line: &str) -> Result<Listed> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), line).expect("written");
    Listed::new("own", jsonl::read(file.path())?)
}

#[test]
fn refer_layout_in_three_protocols() {
    let red = rect(8.0, 10.0, 28.0, 26.0);
    for refs in ["unc", "google", "umd"] {
        let read = |split| refer::read(&fixture("refer"), &pictures(), refs, split).expect("readable");
        assert_eq!(
            told(&read("train")),
            [
                ("one.png".into(), "red box on the left", red, "ref 0, sentence 1"),
                ("one.png".into(), "man's box", red, "ref 0, sentence 2"),
            ],
            "{refs}"
        );
        let blue = rect(5.0, 6.0, 17.0, 36.0);
        assert_eq!(told(&read("testA")), [("two.png".into(), "blue thing", blue, "ref 1, sentence 1")], "{refs}");
        assert_eq!(
            told(&read("val")),
            [("two.png".into(), "the whole", rect(0.0, 0.0, 40.0, 60.0), "ref 7, sentence 1")]
        );
        let set = Listed::new("refcoco", read("train")).expect("a data set");
        let example = set.example(1).expect("an example");
        assert_eq!((example.picture.width, example.picture.height), (64, 48));
        assert_eq!((example.target, &*example.source, &*example.kind), (red, "refcoco", "expression"));
        // The box is where the picture is red.
        let at = |x: usize, y: usize| example.picture.rgb[3 * (64 * y + x)];
        assert_eq!([at(7, 10), at(8, 10), at(27, 25), at(28, 25)], [20, 220, 220, 20]);
    }
}

#[test]
fn refer_layout_with_faults() {
    let read = |folder: &str, refs, split| refer::read(&fixture(folder), &pictures(), refs, split);
    assert_says(read("refer", "unc", "tset"), &["refs(unc).p", "`tset`", "testA, train, val"]);
    assert_says(read("refer", "berkeley", "val"), &["cannot read", "refs(berkeley).p"]);
    let file = ["instances.json", "category 1", "`person`", "`horse`", "contradicts itself"];
    assert_says(read("refer/bad_category", "unc", "train"), &file);
    assert_says(
        read("refer/bad_annotation", "unc", "train"),
        &["refs(unc).p, ref 0", "annotation 11, which", "instances.json lacks"],
    );
    assert_says(read("refer/bad_image", "unc", "train"), &["ref 0", "image 1, which", "lacks"]);
    assert_says(
        read("refer/bad_contradiction", "unc", "train"),
        &["ref 0", "image 1 and annotation 11", "puts in image 2"],
    );
    assert_says(read("refer/bad_field", "unc", "train"), &["ref at position 0", "lacks the key `ann_id`"]);
    // Refs of other splits are not looked at: their faults do not matter.
    assert_eq!(read("refer/bad_field", "unc", "val").expect("readable").len(), 1);
}

#[test]
fn index_files_in_both_forms() {
    let read = |name: &str, layout| index::read(&fixture("index").join(name), &pictures(), layout).expect("readable");
    let red = rect(8.0, 10.0, 28.0, 26.0);
    for name in ["unc_train.pth", "unc_val.pth"] {
        let entries = read(name, Layout::Unc);
        let phrases: Vec<&str> = entries.iter().map(|e| e.phrase.as_str()).collect();
        assert_eq!(
            phrases,
            [
                "red box on the left",
                "red, as an array",
                "red, as integers",
                "red, as f4",
                "red, as scalars",
                "red, as a tensor",
                "red, as a view",
                "red, with a stride",
            ]
        );
        assert!(
            entries.iter().all(|e| e.target == red && e.picture == pictures().join("one.png")),
            "{name}: {entries:?}"
        );
    }
    let blue = rect(5.0, 6.0, 17.0, 36.0);
    for name in ["referit_val.pth", "referit_plain.pth", "referit_python2.pth"] {
        let expected = [("one.png".into(), "red box", red, "entry 0"), ("two.png".into(), "blue", blue, "entry 1")];
        assert_eq!(told(&read(name, Layout::Referit)), expected, "{name}");
    }
    assert_eq!(
        told(&read("flickr_test.pth", Layout::Flickr)),
        [("one.png".into(), "a red box", red, "entry 0"), ("two.png".into(), "something blue", blue, "entry 1")]
    );
    // Width and height or right and bottom: the layout decides.
    assert_eq!(read("referit_val.pth", Layout::GrefUmd)[0].target, rect(8.0, 10.0, 36.0, 36.0));
}

#[test]
fn index_files_with_faults() {
    let read = |name: &str, layout| index::read(&fixture(name), &pictures(), layout);
    assert_says(read("index/bad_box.pth", Layout::Unc), &["bad_box.pth, entry 0", "[1.0, 2.0, 3.0]", "4 numbers"]);
    assert_says(read("index/bad_object.pth", Layout::Unc), &["holds a dict of 1 keys, expected a list of tuples"]);
    assert_says(
        read("index/bad_layout.pth", Layout::Unc),
        &["entry 0", "a tuple of 3, expected a tuple of 5 (layout `unc`)"],
    );
    assert_says(read("scenes.jsonl", Layout::Unc), &["scenes.jsonl", "byte"]);
    let whole = std::fs::read(fixture("index/unc_train.pth")).expect("readable");
    let cut = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(cut.path(), &whole[..whole.len() / 2]).expect("written");
    assert_says(index::read(cut.path(), &pictures(), Layout::Unc), &["damaged zip archive (cut short?)"]);
    std::fs::write(cut.path(), b"").expect("written");
    assert_says(index::read(cut.path(), &pictures(), Layout::Unc), &["is empty (0 bytes)"]);
    let older = std::fs::read(fixture("index/unc_val.pth")).expect("readable");
    std::fs::write(cut.path(), &older[..older.len() - 4]).expect("written");
    assert_says(index::read(cut.path(), &pictures(), Layout::Unc), &["storage", "is cut short"]);
    std::fs::write(cut.path(), &older[..older.len() / 2]).expect("written");
    assert_says(index::read(cut.path(), &pictures(), Layout::Unc), &["pickle at byte", "cut short?"]);
}

#[test]
fn hostile_pickles_run_nothing_and_are_named() {
    let read = |name: &str| index::read(&fixture(name), &pictures(), Layout::Unc);
    for name in ["hostile_protocol2.p", "hostile_inst.p", "hostile_obj.p"] {
        assert_says(read(name), &[name, "the pickle names `os.system`, expected data only"]);
    }
    assert_says(read("hostile_protocol4.p"), &["the pickle names `posix.system`"]);
    assert!(!Path::new("/tmp/spotter-was-here").exists(), "a pickle ran code");
    assert_says(read("hostile_bomb.p"), &["entry 0", "expected a tuple of 5"]);
    assert_says(read("hostile_depth.p"), &["entry 0", "expected a tuple of 5"]);
    assert_says(read("hostile_cycle.p"), &["entry 0", "expected a tuple of 5"]);
    assert_says(read("hostile_length.p"), &["2147483647 bytes are announced and 4 are left"]);
    assert_says(read("hostile_length8.p"), &["18446744073709551615 bytes are announced and 4 are left"]);
    // The same through the other reader of pickles.
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(fixture("refer/instances.json"), folder.path().join("instances.json")).expect("copied");
    std::fs::copy(fixture("hostile_protocol2.p"), folder.path().join("refs(unc).p")).expect("copied");
    assert_says(refer::read(folder.path(), &pictures(), "unc", "train"), &["refs(unc).p", "`os.system`"]);
}

#[test]
fn repeated_references_do_not_multiply_memory() {
    // One entry with a phrase of 60 000 bytes, named again and again at two bytes each.
    let mut bytes = b"\x80\x02]((U\x01aN(K\x01K\x01K\x02K\x02tX\x60\xea\x00\x00".to_vec();
    bytes.extend(std::iter::repeat_n(b'a', 60_000));
    bytes.extend(b"Ntq\x01");
    bytes.extend(b"h\x01".repeat(60_000));
    bytes.extend(b"e.");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("written");
    assert_says(index::read(file.path(), &pictures(), Layout::Referit), &["64 times as large as their file"]);
}

#[test]
fn mdetr_annotations() {
    let entries = mdetr::read(&fixture("mdetr.json"), &pictures()).expect("readable");
    assert_eq!(
        told(&entries),
        [
            ("one.png".into(), "red box", rect(8.73, 10.99, 8.73 + 20.51, 10.99 + 16.4), "image 0"),
            ("two.png".into(), "blue thing", rect(5.0, 6.5, 5.0 + 12.9, 36.75), "image 1"),
        ]
    );
    let text = std::fs::read_to_string(fixture("mdetr.json")).expect("readable");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        std::fs::write(file.path(), text.replace(from, to)).expect("written");
        mdetr::read(file.path(), &pictures())
    };
    assert_says(changed("\"image_id\": 1", "\"image_id\": 9"), &["annotation at position 1", "image 9"]);
    assert_says(changed("\"image_id\": 1", "\"image_id\": 0"), &["image 0", "has 2 annotations, expected one"]);
    assert_says(changed("\"id\": 1, \"original_id\": 1,", "\"id\": 0, \"original_id\": 1,"), &["image 0", "twice"]);
    assert_says(changed("[8.73", "[80.5"), &["image 0", "(80.5, 10.99)", "64x48"]);
    assert_says(
        changed("\"caption\": \"red box\"", "\"kaption\": \"red box\""),
        &["missing field `caption`", "line 1"],
    );
    std::fs::write(file.path(), &text[..200]).expect("written");
    assert_says(mdetr::read(file.path(), &pictures()), &["line 1", "cut short?"]);
}

#[test]
fn our_own_lines() {
    let entries = jsonl::read(&fixture("scenes.jsonl")).expect("readable");
    assert_eq!(
        told(&entries),
        [
            ("one.png".into(), "the red box", rect(8.0, 10.0, 28.5, 26.0), "line 1"),
            ("two.png".into(), "a kite", None, "line 2"),
        ]
    );
    let set = Listed::new("scenes", entries).expect("a data set");
    assert_eq!(set.len(), 2);
    let kinds: Vec<_> = (0..2)
        .map(|i| set.example(i).expect("an example"))
        .map(|e| (e.source.to_string(), e.kind.to_string()))
        .collect();
    assert_eq!(kinds, [("scenes".into(), "expression".into()), ("park".to_owned(), "absent".to_owned())]);
    assert_says(set.example(2), &["example 2 of `scenes`, expected one below 2"]);
}

#[test]
fn corrections_of_our_own_lines_win() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, lines: &[&str]| {
        std::fs::write(folder.path().join(name), lines.join("\n") + "\n").expect("written");
    };
    let here = |x: u32| format!(r#""box": {{"x": {x}, "y": 2, "w": 3, "h": 4}}"#);
    let line =
        |image: &str, phrase: &str, rest: &str| format!(r#"{{"image": "{image}", "phrase": "{phrase}", {rest}}}"#);
    let all = [
        line("one.png", "a dog", &format!("{}, \"score\": 0.4", here(1))),
        line("one.png", "a cat", r#""box": null, "score": 0.02"#),
        line("two.png", "a dog", &here(5)),
    ];
    write("labels.jsonl", &all.each_ref().map(String::as_str));
    let read = || jsonl::read(&folder.path().join("labels.jsonl"));
    let shown = || -> Vec<(String, Option<f64>)> {
        let shown = |entry: Entry| {
            let name = entry.picture.file_name().expect("a name").to_string_lossy().into_owned();
            (format!("{name}: {}", entry.phrase), entry.target.map(|rect| rect.x0))
        };
        read().expect("readable").into_iter().map(shown).collect()
    };
    let before = [
        ("one.png: a dog".to_owned(), Some(1.0)),
        ("one.png: a cat".into(), None),
        ("two.png: a dog".into(), Some(5.0)),
    ];
    assert_eq!(shown(), before);
    let corrected = [line("one.png", "a dog", r#""box": null"#), line("two.png", "a cat", &here(7))];
    write("labels.corrections.jsonl", &corrected.each_ref().map(String::as_str));
    let after = [
        ("one.png: a dog".to_owned(), None),
        ("one.png: a cat".into(), None),
        ("two.png: a dog".into(), Some(5.0)),
        ("two.png: a cat".into(), Some(7.0)),
    ];
    assert_eq!(shown(), after);
    write("labels.corrections.jsonl", &[corrected[0].as_str(), corrected[0].as_str()]);
    assert_says(read(), &["labels.corrections.jsonl, line 2", "corrects \"a dog\" of this picture again"]);
    write("labels.corrections.jsonl", &[r#"{"image": "one.png"}"#]);
    assert_says(read(), &["labels.corrections.jsonl, line 1", "lacks the key `phrase`"]);
}

#[test]
fn our_own_lines_with_faults() {
    let image = r#""image": "pictures/one.png""#;
    for (line, parts) in [
        (r#""phrase": "a", "bax": null"#, &["line 1", "unknown key `bax`; did you mean `box`?"][..]),
        (
            r#""phrase": "a", "box": {"x": 1, "y": 2, "w": 3, "hh": 4}"#,
            &["unknown key `box.hh`; did you mean `box.h`?"],
        ),
        (
            r#""phrase": "a", "segmentation": [], "box": null"#,
            &["unknown key `segmentation`; expected one of image, phrase"],
        ),
        (r#""phrase": "a""#, &["line 1", "lacks the key `box`"]),
        (r#""phrase": "a", "box": {"x": 1, "y": 2, "w": 3}"#, &["missing field `h`"]),
        (r#""phrase": "a", "box": [1, 2, 3, "four"]"#, &["line 1", "column", "expected f64"]),
        (r#""phrase": "a", "box": null, "phrase": "b""#, &["duplicate field `phrase`"]),
        (r#""phrase": "a", "box": nul"#, &["line 1: column 56"]),
    ] {
        assert_says(of_line(&format!("{{{image}, {line}}}")), parts);
    }
    assert_says(of_line("{\"image\": \"a\", \"phrase\": \"b\", \"box\": null}\n\n\n"), &["line 2: is empty"]);
    assert_says(of_line("\"a\""), &["line 1", "expected a map"]);
    assert_says(of_line(""), &["is empty (0 bytes)"]);
}

#[test]
fn boxes_and_pictures_that_do_not_fit() {
    let line = |image: &str, phrase: &str, target: &str| {
        let image = fixture(image);
        of_line(&format!(r#"{{"image": "{}", "phrase": "{phrase}", "box": {target}}}"#, image.display()))
    };
    let example = |image: &str, phrase: &str, target: &str| line(image, phrase, target).and_then(|set| set.example(0));
    let one = "pictures/one.png";
    assert_says(line(one, "  ", "null"), &["line 1", "the phrase is \"  \", expected words"]);
    assert_says(
        line(one, "a", r#"{"x": 1, "y": 2, "w": 0, "h": 4}"#),
        &["line 1", "the box (1, 2)-(1, 6) has no area"],
    );
    assert_says(line(one, "a", r#"{"x": 1, "y": 2, "w": 5, "h": -4}"#), &["(1, 2)-(6, -2) has no area"]);
    assert_says(
        example("pictures/three.png", "a", "null"),
        &["line 1", "cannot read", "pictures/three.png", "No such file"],
    );
    assert_says(example("scenes.jsonl", "a", "null"), &["line 1", "scenes.jsonl", "expected PNG, JPEG"]);
    assert_says(
        example(one, "a", r#"{"x": 100, "y": 2, "w": 5, "h": 4}"#),
        &["line 1", "(100, 2)-(105, 6) leaves the picture", "one.png of 64x48 pixels", "expected it inside"],
    );
    assert_says(example(one, "a", r#"{"x": 60, "y": 2, "w": 5.5, "h": 4}"#), &["(60, 2)-(65.5, 6) leaves"]);
    assert_says(example(one, "a", r#"{"x": 64, "y": 2, "w": 1, "h": 4}"#), &["(64, 2)-(65, 6) leaves"]);
    let clipped = example(one, "a", r#"{"x": -0.5, "y": 40, "w": 65.4, "h": 9}"#).expect("rounded over the edge");
    assert_eq!(clipped.target, rect(0.0, 40.0, 64.0, 48.0));
}

#[test]
fn sources_as_a_recipe_describes_them() {
    let read = |text: &str| toml::from_str::<Source>(text).expect("a source");
    let refer = read("format = 'refer'\nfolder = 'refer'\npictures = 'pictures'\nrefs = 'unc'\nsplit = 'train'");
    let index = read("format = 'index'\nfile = 'index/unc_val.pth'\npictures = 'pictures'\nlayout = 'unc'");
    let mdetr = read("format = 'mdetr'\nfile = 'mdetr.json'\npictures = 'pictures'");
    let jsonl = read("format = 'jsonl'\nname = 'own'\nfile = 'scenes.jsonl'");
    let base = fixture("");
    let at = |base| Origin { base, video: &NoVideo, dense: false };
    let nowhere = at(Path::new("/nowhere"));
    for (source, length, name) in [(&refer, 2, "refer"), (&index, 8, "unc"), (&mdetr, 2, "mdetr"), (&jsonl, 2, "own")] {
        let set = source.open(at(&base)).expect("readable");
        assert_eq!(set.len(), length);
        assert_eq!(&*set.example(0).expect("an example").source, name);
        let again: Source = toml::from_str(&toml::to_string(source).expect("text")).expect("the same");
        assert_eq!(&again, source);
    }
    assert_says(
        refer.open(nowhere).map(|_| ()),
        &["/nowhere/refer", "no such folder", "data set `refer`", "`folder` in the recipe, relative to /nowhere"],
    );
    assert_says(jsonl.open(nowhere).map(|_| ()), &["/nowhere/scenes.jsonl", "no such file", "`own`"]);
    let unknown =
        toml::from_str::<Source>("format = 'jsonl'\nfile = 'a'\nrefs = 'unc'").expect_err("a key of another format");
    assert!(unknown.to_string().contains("unknown field `refs`"), "{unknown}");
    assert_eq!(Source::examples().len(), 10);
}

/// Cases of each property; more with `PROPTEST_CASES`.
fn cases(standard: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    ProptestConfig { cases: asked.unwrap_or(standard), ..ProptestConfig::default() }
}

/// Every reader on the same bytes; results do not matter, coming back does.
fn read_all(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("refs(unc).p");
    std::fs::write(&file, bytes).expect("written");
    std::fs::copy(fixture("refer/instances.json"), folder.path().join("instances.json")).expect("copied");
    let quiet = |result: Result<Vec<Entry>>| match result {
        Ok(entries) => drop(Listed::new("any", entries)),
        Err(Error::Model(qrnet::Error::File { .. }) | Error::Entry { .. }) => {}
        Err(other) => panic!("{other}"),
    };
    quiet(refer::read(folder.path(), &pictures(), "unc", "train"));
    for layout in [Layout::Unc, Layout::Flickr] {
        quiet(index::read(&file, &pictures(), layout));
    }
    quiet(mdetr::read(&file, &pictures()));
    quiet(jsonl::read(&file));
}

const SEEDS: [&str; 11] = [
    "refer/refs(unc).p",
    "refer/refs(google).p",
    "refer/refs(umd).p",
    "index/unc_train.pth",
    "index/unc_val.pth",
    "index/referit_plain.pth",
    "index/flickr_test.pth",
    "mdetr.json",
    "scenes.jsonl",
    "hostile_bomb.p",
    "hostile_obj.p",
];

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 1..200), protocol in any::<bool>()) {
        let mut bytes = bytes;
        if protocol {
            bytes.splice(0..0, *b"\x80\x02](");
        }
        read_all(&bytes);
    }

    #[test]
    fn damaged_files_never_panic(
        seed in 0..SEEDS.len(),
        cut in proptest::option::of(any::<prop::sample::Index>()),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let mut bytes = std::fs::read(fixture(SEEDS[seed])).expect("readable");
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()).max(1));
        }
        read_all(&bytes);
    }
}

#[test]
fn phrases_are_read_before_a_run_and_bad_ones_are_named() {
    use blocks::text::tokenizer::QueryTokenizer;
    let words = ["the", "red", "box", "blue"];
    let tokenizer = QueryTokenizer::words(words.into_iter(), 5, 8).expect("words");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("list.jsonl");
    let line = |phrase: &str| format!("{{\"image\": \"one.png\", \"phrase\": \"{phrase}\", \"box\": null}}\n");
    std::fs::write(&file, line("the red box") + &line("the blue red box") + &line("the green box")).expect("written");
    let open = || Listed::new("list", jsonl::read(&file).expect("entries")).expect("a list");
    assert_eq!(open().legibility(&tokenizer).expect("readable"), Legibility { read: 3, cut: 1, unknown: 1 });
    std::fs::write(&file, line("the red box") + &line("猫")).expect("written");
    let message = open().legibility(&tokenizer).expect_err("unreadable").to_string();
    assert!(message.contains("list.jsonl, line 2: query \"猫\""), "{message}");
}
