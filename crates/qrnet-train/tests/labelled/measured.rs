//! The whole way of an evaluation, from files in the layout of each format to figures, against ones computed by hand.

use std::path::Path;

use blocks::canvas::Canvas;
use blocks::preprocess::{Letterboxed, Rect};
use qrnet_train::Result;
use qrnet_train::data::video::NoVideo;
use qrnet_train::data::{Origin, Source};
use qrnet_train::evaluate::{Answer, Answers, evaluate};

use crate::trees::{draw, rect, write};

/// A picture of 200x100 pixels shows a dog (20, 10)-(60, 50), a bus (100, 20)-(180, 80) and a bottle (80, 60)-(100, 100):
/// here in COCO's left, top, width and height.
const COCO: &str = r#"{"images": [{"id": 1, "file_name": "1.jpg", "width": 200, "height": 100}],
"annotations": [{"id": 1, "image_id": 1, "category_id": 18, "bbox": [20, 10, 40, 40]},
 {"id": 2, "image_id": 1, "category_id": 6, "bbox": [100, 20, 80, 60]},
 {"id": 3, "image_id": 1, "category_id": 44, "bbox": [80, 60, 20, 40]}],
"categories": [{"id": 6, "name": "bus"}, {"id": 18, "name": "dog"}, {"id": 44, "name": "bottle"}]}
"#;

/// In VOC's pixels, which count from 1 and include the last.
const VOC: &str = "<annotation><size><width>200</width><height>100</height></size>
<object><name>dog</name><bndbox><xmin>21</xmin><ymin>11</ymin><xmax>60</xmax><ymax>50</ymax></bndbox></object>
<object><name>bus</name><bndbox><xmin>101</xmin><ymin>21</ymin><xmax>180</xmax><ymax>80</ymax></bndbox></object>
<object><name>bottle</name><bndbox><xmin>81</xmin><ymin>61</ymin><xmax>100</xmax><ymax>100</ymax></bndbox></object>
</annotation>
";

/// In YOLO's shares: class, middle, size.
const YOLO: &str = "0 0.2 0.3 0.2 0.4\n1 0.7 0.5 0.4 0.6\n2 0.45 0.8 0.1 0.4\n";

/// In boxes of Flickr30k Entities: the dog has two, (20, 10)-(40, 50) and (30, 20)-(60, 50), and is asked for with the box around
/// both.
const FLICKR: &str = "<annotation><size><width>200</width><height>100</height></size>
<object><name>1</name><bndbox><xmin>21</xmin><ymin>11</ymin><xmax>40</xmax><ymax>50</ymax></bndbox></object>
<object><name>1</name><bndbox><xmin>31</xmin><ymin>21</ymin><xmax>60</xmax><ymax>50</ymax></bndbox></object>
<object><name>2</name><bndbox><xmin>101</xmin><ymin>21</ymin><xmax>180</xmax><ymax>80</ymax></bndbox></object>
<object><name>3</name><bndbox><xmin>81</xmin><ymin>61</ymin><xmax>100</xmax><ymax>100</ymax></bndbox></object>
</annotation>
";

const SENTENCES: &str =
    "[/EN#1/animals A brown dog] waits for [/EN#2/vehicles a bus] beside [/EN#3/other an empty bottle] .\n";

/// What is said of each thing, in pixels of the picture, and how probable it is called.
///
/// The dog is 10 pixels too far to the right: 30 · 40 of 50 · 40 pixels are common, 0.6. The bus is where it is, but denied.
/// Of the bottle 9 of 20 columns are found, 0.45.
static SAID: [(&str, [f64; 4], f32); 3] = [
    ("dog", [30.0, 10.0, 70.0, 50.0], 0.9),
    ("bus", [100.0, 20.0, 180.0, 80.0], 0.2),
    ("bottle", [80.0, 60.0, 89.0, 100.0], 0.9),
];

/// Says that, whatever it sees.
struct Said;

impl Answers for Said {
    fn canvases(&self) -> Vec<Canvas> {
        vec![Canvas { width: 64, height: 64 }]
    }

    fn answers(&self, pictures: &[Letterboxed], phrases: &[&str]) -> Result<Vec<Answer>> {
        let answer = |(phrase, picture): (&&str, &Letterboxed)| {
            let said = SAID.iter().find(|(thing, ..)| phrase.contains(thing));
            let (_, [x0, y0, x1, y1], presence) = *said.unwrap_or_else(|| panic!("{phrase:?} was not to be asked"));
            let target = picture.transform.to_target(&rect(x0, y0, x1, y1));
            (target.map(|side| side as f32), Some(presence))
        };
        Ok(phrases.iter().zip(pictures).map(answer).collect())
    }

    fn claims_from(&self) -> Option<f32> {
        Some(0.5)
    }
}

fn files(root: &Path) {
    write(root, "coco.json", COCO);
    draw(root, "coco/1.jpg", 200, 100);
    write(root, "voc/Annotations/1.xml", VOC);
    write(root, "voc/ImageSets/Main/val.txt", "1\n");
    draw(root, "voc/JPEGImages/1.jpg", 200, 100);
    write(root, "yolo/data.yaml", "names: [dog, bus, bottle]\n");
    write(root, "yolo/labels/val/1.txt", YOLO);
    draw(root, "yolo/images/val/1.jpg", 200, 100);
    write(root, "flickr/val.txt", "1\n");
    write(root, "flickr/Annotations/1.xml", FLICKR);
    write(root, "flickr/Sentences/1.txt", SENTENCES);
    draw(root, "flickr-images/1.jpg", 200, 100);
}

#[test]
fn figures_of_every_format_are_those_computed_by_hand() {
    let folder = tempfile::tempdir().expect("a folder");
    files(folder.path());
    for text in [
        "format = 'coco'\nannotations = 'coco.json'\npictures = 'coco'\nask = { questions = 'names' }",
        "format = 'voc'\nfolder = 'voc'\nsplit = 'val'\nask = { questions = 'names' }",
        "format = 'yolo'\nfolder = 'yolo'\nsplit = 'val'\nask = { questions = 'names' }",
        "format = 'flickr30k'\nfolder = 'flickr'\npictures = 'flickr-images'\nsplit = 'val'\nask = { questions = 'phrases' }",
    ] {
        let source: Source = toml::from_str(text).expect("a source");
        let data = source.open(Origin { base: folder.path(), video: &NoVideo, dense: false }).expect("a data set");
        let mut seen: Vec<(String, Option<Rect>)> = Vec::new();
        let tally = evaluate(&Said, data.as_ref(), usize::MAX, |asked| {
            seen.push((asked.example.phrase.clone(), asked.example.target));
        });
        let all = tally.expect("measured").summary().all;
        assert_eq!((all.examples, all.present, seen.len()), (3, 3, 3), "{text}: {seen:?}");
        let near = |found: Option<f64>, expected: f64| found.is_some_and(|found| (found - expected).abs() < 1e-5);
        for (iou, expected) in [(0.3, 1.0), (0.5, 2.0 / 3.0), (0.7, 1.0 / 3.0), (0.9, 1.0 / 3.0)] {
            let found = all.accuracy_at(iou).map(|share| share.value);
            assert!(near(found, expected), "{text}: Acc@{iou} is {found:?}, by hand {expected}: {seen:?}");
        }
        let mean = all.mean_iou.map(|mean| mean.value);
        assert!(near(mean, (0.6 + 1.0 + 0.45) / 3.0), "{text}: {mean:?}");
        // Only the dog is found and claimed.
        let right = all.right.map(|right| right.value);
        assert!(near(right, 1.0 / 3.0), "{text}: {right:?}");
    }
}
