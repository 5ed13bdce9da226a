//! Bad input: one message each, word for word.

use qrnet_train::data::labelled::{coco, flickr30k, pack, voc, yolo};

use crate::trees::{CAPTIONS, COCO, FLICKR, PACK, Read, SENTENCES, Trees, VOC, write};

/// A file of a data set with one text in place of another, and the message about it.
struct Broken<'a> {
    trees: &'a Trees,
    name: &'a str,
    text: &'a str,
    read: Read,
}

impl Broken<'_> {
    #[track_caller]
    fn says(&self, from: &str, to: &str, expected: &str) {
        assert!(self.text.contains(from), "{from}");
        self.holds(&self.text.replacen(from, to, 1), expected);
    }

    /// The whole file.
    #[track_caller]
    fn holds(&self, text: &str, expected: &str) {
        write(self.trees.root(), self.name, text);
        assert_eq!(self.trees.message((self.read)(self.trees)), expected);
        write(self.trees.root(), self.name, self.text);
    }
}

#[test]
fn our_pack() {
    let trees = Trees::new();
    let broken = Broken { trees: &trees, name: "pack/labels.jsonl", text: PACK, read: Trees::pack };
    broken.holds("", "ROOT/pack/labels.jsonl: is empty (0 bytes), expected entries");
    broken.says("}]}\n{", "}]}\n\n{", "ROOT/pack/labels.jsonl, line 2: is empty, expected an object");
    broken.says("\"width\": 192, ", "", "ROOT/pack/labels.jsonl, line 1: column 684: missing field `width`");
    broken.says(
        "\"width\": 192",
        "\"width\": 0",
        "ROOT/pack/labels.jsonl, line 1: the picture's size is 0x256, expected pixels",
    );
    broken.says(", \"h\": 96", "", "ROOT/pack/labels.jsonl, line 1: column 234: missing field `h`");
    broken.says(
        "\"h\": 96",
        "\"h\": \"96\"",
        r#"ROOT/pack/labels.jsonl, line 1: column 244: invalid type: string "96", expected f64"#,
    );
    broken.says("\"width\": 192,", "\"width\": 192 ", "ROOT/pack/labels.jsonl, line 1: column 41: expected `,` or `}`");
    broken.says(
        "[\"A child\", \"A little girl\", \"a child\"]",
        "[]",
        "ROOT/pack/labels.jsonl, line 1: box 1: `phrases` is empty, expected what people called it",
    );
    broken.says(
        "[\"toys\"]",
        "[\"toys\", \" \"]",
        r#"ROOT/pack/labels.jsonl, line 1: box 2: a phrase is " ", expected words"#,
    );
    broken.says(
        "\"entity\": \"18\"",
        "\"entity\": [18]",
        "ROOT/pack/labels.jsonl, line 1: box 1: `entity` is [18], expected a text or a number",
    );
    broken.says(
        "\"label\": \"dog\", ",
        "",
        "ROOT/pack/labels.jsonl, line 1: box 3: has neither `label` nor `phrases`, expected one of them",
    );
    broken.says(
        "\"difficult\": 1",
        "\"difficult\": 2",
        "ROOT/pack/labels.jsonl, line 2: box 1: `difficult` is 2, expected 0, 1, false or true",
    );
    broken.says("\"x\": 100, \"y\": 0, \"w\": 92.5", "\"x\": 100, \"y\": 0, \"w\": 96.3", "ROOT/pack/labels.jsonl, line 1: box 3: the box (100, 0)-(196.3, 50) leaves the picture ROOT/pack/00/00000.jpg of 192x256 pixels, expected it inside (up to 2 px and 1 % over)");
    broken.says("\"x\": 1, \"y\": 2", "\"x\": 1, \"y\": -2.51", "ROOT/pack/labels.jsonl, line 2: box 1: the box (1, -2.51)-(4, 1.49) leaves the picture ROOT/pack/00/00001.jpg of 100x50 pixels, expected it inside (up to 2 px and 1 % over)");
    let message = trees.message(pack::read("own", &trees.at("nowhere.jsonl"), true));
    assert_eq!(message, "cannot read ROOT/nowhere.jsonl: No such file or directory (os error 2)");
}

#[test]
fn coco_instances() {
    let trees = Trees::new();
    let name = "coco/annotations/instances_val2017.json";
    let broken = Broken { trees: &trees, name, text: COCO, read: Trees::coco };
    broken.holds("", "ROOT/coco/annotations/instances_val2017.json: is empty (0 bytes), expected entries");
    broken.holds(
        &COCO[..500],
        "ROOT/coco/annotations/instances_val2017.json: EOF while parsing a string at line 4 column 106 (cut short?)",
    );
    broken.holds(
        CAPTIONS,
        "ROOT/coco/annotations/instances_val2017.json: missing field `category_id` at line 2 column 63",
    );
    broken.holds(
        "{\"images\": [], \"annotations\": [], \"categories\": []}",
        "ROOT/coco/annotations/instances_val2017.json: `images` is empty, expected pictures",
    );
    for held in ["[]", "3", " \n"] {
        broken.holds(held, "ROOT/coco/annotations/instances_val2017.json: is no JSON object, expected COCO's instances: `images`, `annotations` and `categories`");
    }
    broken.says("\"categories\"", "\"kategories\"", "ROOT/coco/annotations/instances_val2017.json: lacks the key `categories`, expected COCO's instances: `images`, `annotations` and `categories`");
    broken.says("\"images\"", "\"imags\"", "ROOT/coco/annotations/instances_val2017.json: lacks the key `images`, expected COCO's instances: `images`, `annotations` and `categories`");
    broken.says(
        "\"category_id\": 44",
        "\"category_id\": 45",
        "ROOT/coco/annotations/instances_val2017.json, annotation 82445: names category 45, which the file lacks",
    );
    broken.says(
        "\"image_id\": 397133",
        "\"image_id\": 4",
        "ROOT/coco/annotations/instances_val2017.json, annotation 82445: names image 4, which the file lacks",
    );
    broken.says(
        ", \"id\": 82447",
        ", \"image_id\": 5",
        "ROOT/coco/annotations/instances_val2017.json: duplicate field `image_id` at line 6 column 114",
    );
    broken.says(
        "\"id\": 37777",
        "\"id\": 397133",
        "ROOT/coco/annotations/instances_val2017.json, image 397133: stands there twice, expected every id once",
    );
    broken.says(
        "\"id\": 90",
        "\"id\": 44",
        "ROOT/coco/annotations/instances_val2017.json, category 44: stands there twice, expected every id once",
    );
    for blank in ["", " "] {
        broken.says(
            "\"name\": \"bottle\"",
            &format!("\"name\": \"{blank}\""),
            "ROOT/coco/annotations/instances_val2017.json, category 44: has no name, expected one for every category",
        );
    }
    broken.says("\"iscrowd\": 1", "\"iscrowd\": \"yes\"", r#"ROOT/coco/annotations/instances_val2017.json, annotation 82446: `iscrowd` is "yes", expected 0, 1, false or true"#);
    broken.says(
        "\"width\": 640",
        "\"width\": -640",
        "ROOT/coco/annotations/instances_val2017.json, image 397133: the picture's size is -640x427, expected pixels",
    );
    broken.says("[217.62, 240.54, 38.99, 57.75]", "[217.62, 240.54, 38.99]", "ROOT/coco/annotations/instances_val2017.json: invalid length 3, expected an array of length 4 at line 4 column 135");
    broken.says("[217.62, 240.54, 38.99, 57.75]", "[640, 240.54, 38.99, 57.75]", "ROOT/coco/annotations/instances_val2017.json, annotation 82445: the box (640, 240.54)-(678.99, 298.29) leaves the picture ROOT/coco/val2017/000000397133.jpg of 640x427 pixels, expected it inside (up to 2 px and 1 % over)");
    let captions = "coco/annotations/captions_val2017.json";
    let broken = Broken { trees: &trees, name: captions, text: CAPTIONS, read: Trees::coco };
    broken.holds("[]", "ROOT/coco/annotations/captions_val2017.json: is no JSON object, expected COCO's captions: `annotations` with `image_id` and `caption`");
    broken.holds("{\"annotations\": [{\"image_id\": 1, \"caption\": \"a\"}]}", "ROOT/coco/annotations/captions_val2017.json: no caption is of one of the 2 pictures, expected captions of them");
    broken.says(
        "\"caption\"",
        "\"kaption\"",
        "ROOT/coco/annotations/captions_val2017.json: missing field `caption` at line 2 column 63",
    );
    let message = trees.message(coco::read("coco", &trees.at(name), &trees.at("coco/train2017"), None, true));
    assert_eq!(message, "ROOT/coco/train2017: no such folder, expected COCO's pictures there");
}

#[test]
fn pascal_voc() {
    let trees = Trees::new();
    let broken = Broken { trees: &trees, name: "voc/Annotations/000005.xml", text: VOC, read: Trees::voc };
    broken.holds("", "ROOT/voc/Annotations/000005.xml: is empty (0 bytes), expected entries");
    broken.says("</part>", "</prat>", "ROOT/voc/Annotations/000005.xml: expected 'part' tag, not 'prat' at 29:3");
    broken
        .holds(&VOC[..400], "ROOT/voc/Annotations/000005.xml: the root node was opened but never closed (cut short?)");
    broken.holds("<html></html>", "ROOT/voc/Annotations/000005.xml: holds <html>, expected <annotation>");
    broken.holds(
        &VOC.replace("size>", "dimensions>"),
        "ROOT/voc/Annotations/000005.xml, line 1: <annotation> lacks <size>",
    );
    broken.says("<width>500</width>", "", "ROOT/voc/Annotations/000005.xml, line 5: <size> lacks <width>");
    broken.says(
        "<width>500",
        "<width>0",
        "ROOT/voc/Annotations/000005.xml, line 5: the picture's size is 0x375, expected pixels",
    );
    broken.says(
        "<width>500",
        "<width>wide",
        r#"ROOT/voc/Annotations/000005.xml, line 6: <width> is "wide", expected a number"#,
    );
    broken.says("<name>chair</name>", "", "ROOT/voc/Annotations/000005.xml, line 11: <object> lacks <name>");
    broken.says(
        "<name>chair</name>",
        "<name> </name>",
        "ROOT/voc/Annotations/000005.xml, line 12: <name> is empty, expected text",
    );
    broken.says(
        "<difficult>1",
        "<difficult>maybe",
        r#"ROOT/voc/Annotations/000005.xml, line 25: <difficult> is "maybe", expected 0 or 1"#,
    );
    broken.says(
        "<bndbox><xmax>67.5</xmax><xmin>5.25</xmin><ymax>374</ymax><ymin>244</ymin></bndbox>",
        "",
        "ROOT/voc/Annotations/000005.xml, line 32: <object> lacks <bndbox>",
    );
    broken.says("<ymax>339", "<ymax>", r#"ROOT/voc/Annotations/000005.xml, line 20: <ymax> is "", expected a number"#);
    broken.says("<xmax>324", "<xmax>-90", "ROOT/voc/Annotations/000005.xml, line 16: the box (262, 210)-(-90, 339) has swapped corners or a negative size, and leaves the picture ROOT/voc/JPEGImages/000005.jpg of 500x375 pixels, expected it inside (up to 2 px and 1 % over)");
    broken.says("<ymax>339", "<ymax>381", "ROOT/voc/Annotations/000005.xml, line 16: the box (262, 210)-(324, 381) leaves the picture ROOT/voc/JPEGImages/000005.jpg of 500x375 pixels, expected it inside (up to 2 px and 1 % over)");
    let list = "voc/ImageSets/Main/trainval.txt";
    let broken = Broken { trees: &trees, name: list, text: "000005\n", read: Trees::voc };
    broken.holds("", "ROOT/voc/ImageSets/Main/trainval.txt: is empty (0 bytes), expected entries");
    broken.holds("\n \n", "ROOT/voc/ImageSets/Main/trainval.txt: holds no id, expected one a line");
    broken.holds(
        "000005\n000007 -1\n",
        r#"ROOT/voc/ImageSets/Main/trainval.txt, line 2: is "000007 -1", expected one id"#,
    );
    broken.holds("000006\n", "cannot read ROOT/voc/Annotations/000006.xml: No such file or directory (os error 2)");
    let read = |folder: &str, split: &str| trees.message(voc::read("voc", &trees.at(folder), split, true));
    // What is said of single classes is no split.
    write(trees.root(), "voc/ImageSets/Main/chair_trainval.txt", "000005  1\n");
    write(trees.root(), "voc/ImageSets/Main/val.txt", "000007\n");
    assert_eq!(read("voc", "tset"), r#"ROOT/voc/ImageSets/Main: has no split "tset", expected one of trainval, val"#);
    assert_eq!(read("coco", "train"), "ROOT/coco/Annotations: no such folder, expected VOC's annotations there");
    std::fs::remove_dir_all(trees.at("voc/JPEGImages")).expect("removed");
    assert_eq!(read("voc", "trainval"), "ROOT/voc/JPEGImages: no such folder, expected VOC's pictures there");
}

#[test]
fn yolo_labels() {
    let trees = Trees::new();
    let text = "1 0.5 0.5 0.2 0.1\n";
    let broken = Broken { trees: &trees, name: "yolo/labels/train/b.txt", text, read: Trees::yolo };
    broken.says(
        "1 0.5",
        "2 0.5",
        "ROOT/yolo/labels/train/b.txt, line 1: the class is 2, expected one below 2: ROOT/yolo/data.yaml names 2",
    );
    broken.says(
        "1 0.5",
        "1.5 0.5",
        "ROOT/yolo/labels/train/b.txt, line 1: the class is 1.5, expected a whole number from 0",
    );
    broken.says(
        "1 0.5",
        "-1 0.5",
        "ROOT/yolo/labels/train/b.txt, line 1: the class is -1, expected a whole number from 0",
    );
    broken.says(
        "1 0.5",
        "person 0.5",
        r#"ROOT/yolo/labels/train/b.txt, line 1: "person" is no number, expected a class and shares of the picture"#,
    );
    broken.says(
        "0.1\n",
        "1.1\n",
        "ROOT/yolo/labels/train/b.txt, line 1: holds 1.1, expected shares of the picture from 0 to 1",
    );
    broken.says(
        "0.5 0.2",
        "50 0.2",
        "ROOT/yolo/labels/train/b.txt, line 1: holds 50, expected shares of the picture from 0 to 1",
    );
    broken.says(
        "0.2",
        "nan",
        r#"ROOT/yolo/labels/train/b.txt, line 1: "nan" is no number, expected a class and shares of the picture"#,
    );
    broken.says(" 0.1\n", "\n", "ROOT/yolo/labels/train/b.txt, line 1: holds 4 numbers, expected 5 (class x y w h) or 7, 9, .. (class and an outline)");
    broken.says("0.1\n", "0.1 0.9\n", "ROOT/yolo/labels/train/b.txt, line 1: holds 6 numbers, expected 5 (class x y w h) or 7, 9, .. (class and an outline)");
    broken.says("0.5 0.5", "0.99 0.5", "ROOT/yolo/labels/train/b.txt, line 1: the box (89, 90)-(109, 110) leaves the picture ROOT/yolo/images/train/b.jpg of 100x200 pixels, expected it inside (up to 2 px and 1 % over)");
    let yaml = "names: [person, traffic light]";
    let broken = Broken { trees: &trees, name: "yolo/data.yaml", text: yaml, read: Trees::yolo };
    broken.holds("", "ROOT/yolo/data.yaml: is empty (0 bytes), expected entries");
    broken.holds(
        "train: images/train\n",
        "ROOT/yolo/data.yaml: lacks the key `names`, expected the names of the classes",
    );
    broken.holds("names: []", "ROOT/yolo/data.yaml: `names` is empty, expected the names of the classes");
    broken.holds("names: person", r#"ROOT/yolo/data.yaml: invalid type: string "person", expected a list of names, or names by number at line 1, column 1"#);
    broken.holds("names: [person", "ROOT/yolo/data.yaml: unclosed bracket '[' at line 1, column 8");
    broken.holds(
        "names: {0: person, 2: traffic light}",
        "ROOT/yolo/data.yaml: `names` lacks class 1, expected a name for every class from 0 at line 1, column 8",
    );
    broken.holds(
        "names: {person: 0}",
        r#"ROOT/yolo/data.yaml: `names` has the key "person", expected numbers of classes at line 1, column 8"#,
    );
    broken.holds("names: [person, '']", "ROOT/yolo/data.yaml: class 1 has no name, expected one for every class");
    broken
        .holds("nc: 3\nnames: [person, dog]", "ROOT/yolo/data.yaml: `nc` is 3 and there are 2 names, expected as many");
    let read = |folder: &str, split: &str| trees.message(yolo::read("yolo", &trees.at(folder), split, None, true));
    assert_eq!(read("yolo", "val"), "ROOT/yolo/images/val: no such folder, expected YOLO's pictures there");
    assert_eq!(read("nowhere", "train"), "ROOT/nowhere/images/train: no such folder, expected YOLO's pictures there");
    std::fs::create_dir_all(trees.at("yolo/images/val")).expect("made");
    assert_eq!(read("yolo", "val"), "ROOT/yolo/labels/val: no such folder, expected YOLO's label files there");
    std::fs::create_dir_all(trees.at("yolo/labels/val")).expect("made");
    assert_eq!(read("yolo", "val"), "ROOT/yolo/images/val: holds no picture, expected jpg, jpeg, png, bmp, webp");
    write(trees.root(), "yolo/images/val/a.jpg", "no picture");
    assert_eq!(
        read("yolo", "val"),
        "ROOT/yolo/images/val/a.jpg: cannot be read as a picture: Format error decoding Jpeg: Error parsing image. Illegal start bytes:6E6F"
    );
    std::fs::copy(trees.at("yolo/images/train/c.jpg"), trees.at("yolo/images/val/a.jpg")).expect("copied");
    assert_eq!(read("yolo", "val"), "ROOT/yolo/labels/val: no picture of 1 has a label file there, expected NAME.txt");
    std::fs::remove_file(trees.at("yolo/data.yaml")).expect("removed");
    assert_eq!(
        read("yolo", "train"),
        "ROOT/yolo: has no names of classes, expected data.yaml or classes.txt there or `names` in the recipe"
    );
    write(trees.root(), "yolo/classes.txt", "\n \n");
    let blank = "ROOT/yolo/classes.txt: holds no name, expected the names of the classes, one a line";
    assert_eq!(read("yolo", "train"), blank);
}

#[test]
fn flickr30k_entities() {
    let trees = Trees::new();
    let name = "flickr/Sentences/1000268201.txt";
    let broken = Broken { trees: &trees, name, text: SENTENCES, read: Trees::flickr };
    broken.holds("", "ROOT/flickr/Sentences/1000268201.txt: is empty (0 bytes), expected entries");
    broken.says(" climbs [", " climbs ", r#"ROOT/flickr/Sentences/1000268201.txt, line 2: a bracket does not begin in "A little girl climbs /EN#20/other the st", expected [/EN#ID/TYPE WORDS]"#);
    broken.says("A child]", "A child", r#"ROOT/flickr/Sentences/1000268201.txt, line 1: a bracket does not end in "[/EN#18/people A child in [/EN#21/scene ", expected [/EN#ID/TYPE WORDS]"#);
    broken.says("the steps]", "the steps", r#"ROOT/flickr/Sentences/1000268201.txt, line 2: a bracket does not end in "[/EN#20/other the steps .", expected [/EN#ID/TYPE WORDS]"#);
    broken.says("A little girl]", "]", r#"ROOT/flickr/Sentences/1000268201.txt, line 2: there are no words in "[/EN#18/people/other ] climbs [/EN#20/ot", expected [/EN#ID/TYPE WORDS]"#);
    broken.says("#18/people/other", "#18", r#"ROOT/flickr/Sentences/1000268201.txt, line 2: there is no type in "[/EN#18 A little girl] climbs [/EN#20/ot", expected [/EN#ID/TYPE WORDS]"#);
    let name = "flickr/Annotations/1000268201.xml";
    let broken = Broken { trees: &trees, name, text: FLICKR, read: Trees::flickr };
    broken.says(
        "<scene>1</scene>\n\t\t<nobndbox>0</nobndbox>",
        "",
        "ROOT/flickr/Annotations/1000268201.xml, line 21: <object> lacks <bndbox>, <scene> or <nobndbox>",
    );
    broken.says("<name>99</name>", "", "ROOT/flickr/Annotations/1000268201.xml, line 26: <object> lacks <name>");
    broken.says("<xmax>375</xmax>", "", "ROOT/flickr/Annotations/1000268201.xml, line 19: <bndbox> lacks <xmax>");
    broken.says("<xmax>375</xmax>", "<xmax>381</xmax>", "ROOT/flickr/Annotations/1000268201.xml, line 19: the box (199, 299)-(381, 500) leaves the picture ROOT/flickr-images/1000268201.jpg of 375x500 pixels, expected it inside (up to 2 px and 1 % over)");
    broken.says("<height>500</height>", "", "ROOT/flickr/Annotations/1000268201.xml, line 3: <size> lacks <height>");
    let read = |pictures: &str, split: &str| {
        trees.message(flickr30k::read("flickr", &trees.at("flickr"), &trees.at(pictures), split))
    };
    assert_eq!(read("flickr-images", "val"), "cannot read ROOT/flickr/val.txt: No such file or directory (os error 2)");
    assert_eq!(read("images", "train"), "ROOT/images: no such folder, expected Flickr30k's pictures there");
    std::fs::remove_file(trees.at(name)).expect("removed");
    assert_eq!(
        read("flickr-images", "train"),
        "cannot read ROOT/flickr/Annotations/1000268201.xml: No such file or directory (os error 2)"
    );
    std::fs::remove_dir_all(trees.at("flickr/Sentences")).expect("removed");
    assert_eq!(
        read("flickr-images", "train"),
        "ROOT/flickr/Sentences: no such folder, expected Flickr30k Entities' sentences there"
    );
}
