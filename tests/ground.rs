//! `spotter ground`: records, drawings, saved queries.

use crate::support::{Scratch, model, model_with_presence, picture, spotter};

#[test]
fn every_picture_gets_a_record_and_a_drawing() {
    let scratch = Scratch::new();
    let (a, b) = (picture(&scratch, "a.png", (200, 100)), picture(&scratch, "b.png", (61, 97)));
    let folder = scratch.file("drawn");
    let ran = spotter(&["ground", &a, &b, "--query", "red", "--model", &model(), "--out", &folder]).expect_success();
    let lines = ran.lines();
    assert_eq!(lines.len(), 2);
    for (i, (line, (width, height))) in lines.iter().zip([(200, 100), (61, 97)]).enumerate() {
        assert_eq!((line["schema"].as_str(), line["seq"].as_u64()), (Some("spotter.frame/2"), Some(i as u64)));
        assert_eq!(
            (line["resolution"]["width"].as_u64(), line["resolution"]["height"].as_u64()),
            (Some(width), Some(height))
        );
        assert_eq!((line["status"].as_str(), line["measured"].as_bool()), (Some("box"), Some(true)));
        for absent in ["presence", "cause"] {
            assert!(line.get(absent).is_none(), "{absent} makes no sense here");
        }
    }
    for (source, name) in [(&a, "drawn/a.png"), (&b, "drawn/b.png")] {
        let (before, after) =
            (image::open(source).expect("a picture"), image::open(scratch.file(name)).expect("a drawing"));
        assert_eq!((before.width(), before.height()), (after.width(), after.height()));
        assert_ne!(before.into_rgb8(), after.into_rgb8(), "something is drawn");
    }
}

#[test]
fn a_saved_query_gives_the_same_boxes_without_text_weights() {
    let scratch = Scratch::new();
    let (picture, query) = (picture(&scratch, "a.png", (120, 90)), scratch.file("query.safetensors"));
    let typed = spotter(&["ground", &picture, "--query", "the red one", "--model", &model(), "--save-query", &query])
        .expect_success();
    let saved = spotter(&["ground", &picture, "--compiled-query", &query, "--model", &model()]).expect_success();
    assert_eq!(typed.lines()[0]["box"], saved.lines()[0]["box"]);
    assert_eq!(saved.lines()[0]["query"], "the red one");
    let nowhere = scratch.file("none/query.safetensors");
    let lost = spotter(&["ground", &picture, "--query", "a", "--model", &model(), "--save-query", &nowhere]);
    assert_eq!((lost.code, lost.stdout.as_str()), (Some(1), ""));
    assert!(lost.stderr.contains("none is not there"), "{}", lost.stderr);
    let other = spotter(&["ground", &picture, "--compiled-query", &query, "--model", &model_with_presence()]);
    assert_eq!((other.code, other.stdout.as_str()), (Some(2), ""));
    assert!(other.stderr.contains("compile the query again with this model"), "{}", other.stderr);
}

#[test]
fn one_bad_picture_does_not_stop_the_others() {
    let scratch = Scratch::new();
    let good = picture(&scratch, "good.png", (80, 60));
    let whole = std::fs::read(&good).expect("read");
    let cut = scratch.write("cut.png", &whole[..whole.len() / 2]);
    let ran = spotter(&["ground", &cut, &good, "--query", "a", "--model", &model()]);
    assert_eq!(ran.code, Some(1));
    let lines = ran.lines();
    assert_eq!((lines[0]["status"].as_str(), lines[0]["cause"].as_str()), (Some("error"), Some("decode")));
    assert_eq!(lines[1]["status"], "box");
    assert!(
        ran.stderr.contains("cut.png: cannot be decoded") && ran.stderr.contains("1 of 2 pictures failed"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_it_came_to_is_said_on_a_line() {
    let scratch = Scratch::new();
    let pictures = ["a.png", "b.png"].map(|name| picture(&scratch, name, (80, 60)));
    let [a, b] = pictures.each_ref().map(String::as_str);
    let model = model_with_presence();
    // Of the untrained model only warnings come before; the time is another one each time.
    let said = |more: &[&str]| {
        let ran = spotter(&[&["ground", a, b, "--model", &model], more].concat());
        let line = ran.stderr.lines().find(|line| line.contains(" box, "))?.to_owned();
        let (counts, took) = line.trim_start().strip_prefix("INFO ")?.rsplit_once("; ")?;
        assert!(took.strip_suffix(" s").is_some_and(|seconds| seconds.parse::<f64>().is_ok()), "{line}");
        Some(counts.to_owned())
    };
    let at = |threshold| said(&["--query", "red", "--threshold", threshold]);
    assert_eq!(at("0").as_deref(), Some("2 pictures: 2 box, 0 absent"));
    assert_eq!(at("1").as_deref(), Some("2 pictures: 0 box, 2 absent"));
    let both = said(&["--query", "red", "--query", "green", "--threshold", "0"]);
    assert_eq!(both.as_deref(), Some("2 pictures: red: 2 box, 0 absent; green: 2 box, 0 absent"));
    assert_eq!(said(&["-q", "--query", "red"]), None);
    std::fs::write(b, b"no picture").expect("written");
    assert_eq!(at("0").as_deref(), Some("1 picture: 1 box, 0 absent; 1 failed"));
}

#[test]
fn a_camera_picture_is_turned_upright_first() {
    let scratch = Scratch::new();
    let jpeg = scratch.file("turned.jpg");
    image::open(picture(&scratch, "a.png", (120, 80))).expect("a picture").into_rgb8().save(&jpeg).expect("saved");
    // An APP1 segment whose Exif block holds one entry: orientation 6, to be shown turned clockwise.
    let exif: &[u8] = b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let mut bytes = std::fs::read(&jpeg).expect("read");
    bytes.splice(2..2, exif.iter().copied());
    std::fs::write(&jpeg, bytes).expect("written");
    let ran = spotter(&["ground", &jpeg, "--query", "a", "--model", &model()]).expect_success();
    assert_eq!(ran.lines()[0]["resolution"]["width"], 80);
}

#[test]
fn a_claimed_box_has_an_area_in_pictures_of_a_few_columns() {
    let scratch = Scratch::new();
    for size in [(3, 3000), (3000, 3), (1, 64)] {
        let thin = picture(&scratch, &format!("{}x{}.png", size.0, size.1), size);
        let line =
            spotter(&["ground", &thin, "--query", "red", "--model", &model()]).expect_success().lines()[0].clone();
        assert_eq!(line["status"], "box", "{line}");
        for side in ["w", "h"] {
            assert!(line["box"][side].as_f64().expect("a number") >= 0.5, "{side} of {line}");
        }
    }
}
