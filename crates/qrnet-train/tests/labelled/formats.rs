//! What the readers give, against boxes that were computed by hand.

use qrnet_train::data::labelled::{LabelledObject, LabelledPicture, Referent, yolo};

use crate::trees::{Trees, assert_near, draw, object, rect, write};

fn file_name(picture: &LabelledPicture) -> String {
    picture.path.file_name().expect("a name").to_string_lossy().into_owned()
}

#[test]
fn our_pack() {
    let trees = Trees::new();
    let set = trees.pack().expect("readable");
    assert_eq!((set.name.as_str(), set.complete), ("own", false));
    // Labels of described boxes are guesses: "child" and "toy" are no classes.
    assert_eq!(set.classes, ["dog", "cat"]);
    let [first, second] = set.pictures.as_slice() else { panic!("{set:?}") };
    assert_eq!(first.path, trees.at("pack/00/00000.jpg"));
    assert_eq!((first.width, first.height), (192.0, 256.0));
    assert_eq!(first.captions, ["A child with toys ."]);
    // 100 + 92.5 is half a pixel over.
    assert_eq!(first.objects, [object(0, rect(100.0, 0.0, 192.0, 50.0))]);
    let referent = |phrases: &[&str], rect, boxes, kind: &str| Referent {
        phrases: phrases.iter().map(ToString::to_string).collect(),
        rect,
        boxes,
        kind: kind.into(),
    };
    let expected = [
        referent(&["A child", "A little girl"], rect(4.5, 77.5, 56.0, 173.5), 1, "people"),
        referent(&["toys", "her things"], rect(10.0, 10.0, 150.0, 60.0), 2, "other"),
    ];
    assert_eq!(first.referents, expected);
    let cat = LabelledObject { difficult: true, ..object(1, rect(1.0, 2.0, 4.0, 6.0)) };
    assert_eq!(second.objects, [cat, object(0, rect(5.0, 6.0, 12.0, 14.0))]);
    assert!(second.captions.is_empty());
    // Without an entity, every box is a thing of its own.
    let expected = [
        referent(&["a hat"], rect(0.0, 0.0, 2.0, 2.0), 1, "expression"),
        referent(&["another hat"], rect(2.0, 0.0, 4.0, 2.0), 1, "expression"),
    ];
    assert_eq!(second.referents, expected);
}

#[test]
fn coco_instances_with_captions() {
    let trees = Trees::new();
    let set = trees.coco().expect("readable");
    assert_eq!((set.name.as_str(), set.complete), ("coco", true));
    // A class is one of the set's even where no picture shows it.
    assert_eq!(set.classes, ["person", "bottle", "toothbrush"]);
    let [first, second] = set.pictures.as_slice() else { panic!("{set:?}") };
    assert_eq!(first.path, trees.at("coco/val2017/000000397133.jpg"));
    assert_eq!((first.width, first.height), (640.0, 427.0));
    let bottle = object(1, rect(217.62, 240.54, 217.62 + 38.99, 240.54 + 57.75));
    let crowd = LabelledObject { crowd: true, ..object(0, rect(1.0, 240.0, 347.0, 426.0)) };
    assert_eq!(first.objects, [bottle, crowd]);
    assert!(first.captions.is_empty() && first.referents.is_empty());
    assert_eq!(second.objects, [object(0, rect(102.5, 118.0, 352.0, 230.0))]);
    assert_eq!(second.captions, ["A man in a kitchen.", "Somebody cooks."]);
}

#[test]
fn pascal_voc() {
    let trees = Trees::new();
    let set = trees.voc().expect("readable");
    assert_eq!((set.name.as_str(), set.complete), ("voc", true));
    // The box of a part ("head") is not the object's.
    assert_eq!(set.classes, ["chair", "person"]);
    let [first, second] = set.pictures.as_slice() else { panic!("{set:?}") };
    assert_eq!(first.path, trees.at("voc/JPEGImages/000005.jpg"));
    assert_eq!((first.width, first.height), (500.0, 375.0));
    let person = LabelledObject { difficult: true, ..object(1, rect(0.0, 0.0, 500.0, 375.0)) };
    let chair = object(0, rect(262.0, 210.0, 324.0, 339.0));
    assert_eq!(first.objects, [chair, person, object(0, rect(4.25, 243.0, 67.5, 374.0))]);
    // Only the picture that the annotation names is there.
    assert_eq!(file_name(second), "old name.png");
    assert!(second.objects.is_empty());
}

#[test]
fn yolo_folders() {
    let trees = Trees::new();
    let set = trees.yolo().expect("readable");
    assert_eq!((set.name.as_str(), set.complete), ("yolo", true));
    assert_eq!(set.classes, ["person", "traffic light"]);
    let names: Vec<_> = set.pictures.iter().map(|p| (file_name(p), p.width, p.height)).collect();
    assert_eq!(names, [("a.PNG".into(), 40.0, 20.0), ("b.jpg".into(), 100.0, 200.0), ("c.jpg".to_owned(), 8.0, 8.0)]);
    // A box, an outline of three points, and a box a pixel over the edge.
    let boxes = [
        object(1, rect(40.0, 90.0, 60.0, 110.0)),
        object(0, rect(10.0, 40.0, 30.0, 80.0)),
        object(0, rect(0.0, 0.0, 3.0, 50.0)),
    ];
    assert_near(&set.pictures[1].objects, &boxes);
    assert!(set.pictures[0].objects.is_empty() && set.pictures[2].objects.is_empty());
}

#[test]
fn yolo_names_in_every_form() {
    let trees = Trees::new();
    let root = trees.at("yolo");
    let classes = |names: Option<&str>| {
        let names = names.map(|names| root.join(names));
        yolo::read("yolo", &root, "train", names.as_deref(), true).expect("readable").classes
    };
    for yaml in [
        "names: [person, traffic light]",
        "nc: 2\nnames: ['person', \"traffic light\"]",
        "names:\n- person\n- traffic light\n",
        "names: {1: traffic light, 0: person}",
        "names:\n  '0': person\n  '1': traffic light\n",
    ] {
        write(&root, "data.yaml", yaml);
        assert_eq!(classes(None), ["person", "traffic light"], "{yaml}");
    }
    // What other readers of YAML take for numbers and for "false".
    write(&root, "data.yaml", "names: [7, no]");
    assert_eq!(classes(None), ["7", "no"]);
    write(&root, "obj.names", "person\ntraffic light\n\n");
    assert_eq!(classes(Some("obj.names")), ["person", "traffic light"]);
    std::fs::remove_file(root.join("data.yaml")).expect("removed");
    write(&root, "classes.txt", "cat\ndog");
    assert_eq!(classes(None), ["cat", "dog"]);
}

#[test]
fn yolo_poses_turned_pictures_and_the_other_layout() {
    let trees = Trees::new();
    let root = trees.at("other");
    write(&root, "data.yaml", "kpt_shape: [2, 2]\nnames: [person]\n");
    draw(&root, "valid/images/a.jpg", 40, 20);
    write(&root, "valid/labels/a.txt", "0 0.5 0.5 0.5 0.5 0.9 0.9 0.95 0.95\n");
    let read = || yolo::read("other", &root, "valid", None, true).expect("readable");
    let set = read();
    assert_eq!((set.pictures[0].width, set.pictures[0].height), (40.0, 20.0));
    assert_near(&set.pictures[0].objects, &[object(0, rect(10.0, 5.0, 30.0, 15.0))]);
    // The camera noted a quarter turn (EXIF orientation 6): the picture that is opened is 20 wide.
    let file = root.join("valid/images/a.jpg");
    let mut bytes = std::fs::read(&file).expect("readable");
    let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    bytes.splice(2..2, exif.iter().copied());
    std::fs::write(&file, bytes).expect("written");
    let set = read();
    let opened = blocks::preprocess::Picture::open(&file).expect("a picture");
    assert_eq!((opened.width, opened.height), (20, 40));
    assert_eq!((set.pictures[0].width, set.pictures[0].height), (20.0, 40.0));
    assert_near(&set.pictures[0].objects, &[object(0, rect(5.0, 10.0, 15.0, 30.0))]);
}

#[test]
fn flickr30k_entities() {
    let trees = Trees::new();
    let set = trees.flickr().expect("readable");
    assert_eq!((set.name.as_str(), set.complete), ("flickr", false));
    assert!(set.classes.is_empty());
    let [picture] = set.pictures.as_slice() else { panic!("{set:?}") };
    assert_eq!(picture.path, trees.at("flickr-images/1000268201.jpg"));
    assert_eq!((picture.width, picture.height), (375.0, 500.0));
    let captions =
        ["The steps and A child in a wooden cabin at dusk .", "A little girl climbs the steps .", "a child plays ."];
    assert_eq!(picture.captions, captions);
    // The second box is of both; the scene has none, and nobody speaks of 99.
    let steps = Referent {
        phrases: vec!["The steps".into()],
        rect: rect(0.0, 299.0, 375.0, 500.0),
        boxes: 2,
        kind: "other".into(),
    };
    let child = Referent {
        phrases: vec!["A child".into(), "A little girl".into()],
        rect: rect(0.0, 151.0, 115.0, 480.0),
        boxes: 2,
        kind: "people".into(),
    };
    assert_eq!(picture.referents, [steps, child]);
    assert!(picture.objects.is_empty());
}

#[test]
fn pictures_of_some_licences_alone() {
    let trees = Trees::new();
    let named = |licence: &str| vec![licence.to_owned()];
    let coco = trees.coco().expect("read").licensed(&named("Attribution License")).expect("one is left");
    assert_eq!(coco.pictures.len(), 1);
    assert!(coco.pictures[0].path.ends_with("000000397133.jpg"));
    let pack = trees.pack().expect("read").licensed(&named("CC BY 4.0")).expect("one is left");
    assert_eq!((pack.pictures.len(), pack.pictures[0].objects.len()), (1, 2));
    assert_eq!(trees.pack().expect("read").licensed(&[]).expect("whole").pictures.len(), 2);
    let message = trees.pack().expect("read").licensed(&named("CC0")).expect_err("none is left").to_string();
    assert_eq!(message, r#"own: `licences` holds "CC0", which none of its 2 pictures has; there are {"CC BY 4.0"}"#);
}
