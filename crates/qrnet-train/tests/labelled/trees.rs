//! One small data set of every format, and what tests share. Layouts as published; pictures are made.

use std::path::{Path, PathBuf};

use blocks::preprocess::Rect;
use qrnet_train::Result;
use qrnet_train::data::labelled::{LabelledObject, LabelledSet, coco, flickr30k, pack, voc, yolo};

pub(crate) const PACK: &str = r#"{"image": "00/00000.jpg", "width": 192, "height": 256, "boxes": [{"label": "child", "type": "people", "phrase": "A child", "phrases": ["A child", "A little girl", "a child"], "entity": "18", "group": 1, "x": 4.5, "y": 77.5, "w": 51.5, "h": 96}, {"label": "toy", "type": "other", "phrases": ["toys"], "entity": "20", "group": 2, "x": 10, "y": 20, "w": 30, "h": 40}, {"label": "dog", "x": 100, "y": 0, "w": 92.5, "h": 50}, {"label": "toy", "type": "other", "phrases": ["Toys", "her things"], "entity": "20", "group": 2, "x": 100, "y": 10, "w": 50, "h": 20}], "origin": "1000268201_693b08cb0e.jpg", "captions": ["A child with toys ."], "scene_phrases": [{"phrase": "a wooden cabin", "type": "scene"}]}
{"image": "00/00001.jpg", "width": 100, "height": 50, "boxes": [{"label": "cat", "difficult": 1, "x": 1, "y": 2, "w": 3, "h": 4}, {"label": "dog", "x": 5, "y": 6, "w": 7, "h": 8, "difficult": false}, {"phrase": "a hat", "x": 0, "y": 0, "w": 2, "h": 2}, {"phrase": "another hat", "x": 2, "y": 0, "w": 2, "h": 2}], "licence": "CC BY 4.0"}
"#;

pub(crate) const COCO: &str = r#"{"info": {"year": 2017}, "licenses": [{"url": "http://x/by-nc-sa", "id": 1, "name": "Attribution-NonCommercial-ShareAlike License"}, {"url": "http://x/by", "id": 4, "name": "Attribution License"}],
"images": [{"id": 397133, "file_name": "000000397133.jpg", "height": 427, "width": 640, "license": 4},
 {"id": 37777, "file_name": "000000037777.jpg", "height": 230, "width": 352, "license": 1}],
"annotations": [{"segmentation": [[1, 2, 3, 4, 5, 6]], "area": 120.5, "iscrowd": 0, "image_id": 397133, "bbox": [217.62, 240.54, 38.99, 57.75], "category_id": 44, "id": 82445},
 {"segmentation": {"counts": [0], "size": [427, 640]}, "area": 9, "iscrowd": 1, "image_id": 397133, "bbox": [1, 240, 346, 186], "category_id": 1, "id": 82446},
 {"segmentation": [], "area": 9, "image_id": 37777, "bbox": [102.5, 118, 249.5, 112], "category_id": 1, "id": 82447}],
"categories": [{"supercategory": "person", "id": 1, "name": "person"}, {"supercategory": "kitchen", "id": 44, "name": "bottle"}, {"supercategory": "indoor", "id": 90, "name": "toothbrush"}]}
"#;

pub(crate) const CAPTIONS: &str = r#"{"images": [], "annotations": [
{"image_id": 37777, "id": 1, "caption": "A man in a kitchen. "}, {"image_id": 5, "id": 2, "caption": "Another picture."},
{"image_id": 37777, "id": 3, "caption": "Somebody cooks."}]}
"#;

pub(crate) const VOC: &str = "<annotation>
	<folder>VOC2007</folder>
	<filename>000005.jpg</filename>
	<source><database>The VOC2007 Database</database></source>
	<size>
		<width>500</width>
		<height>375</height>
		<depth>3</depth>
	</size>
	<segmented>0</segmented>
	<object>
		<name>chair</name>
		<pose>Rear</pose>
		<truncated>0</truncated>
		<difficult>0</difficult>
		<bndbox>
			<xmin>263</xmin>
			<ymin>211</ymin>
			<xmax>324</xmax>
			<ymax>339</ymax>
		</bndbox>
	</object>
	<object>
		<name>person</name>
		<difficult>1</difficult>
		<part>
			<name>head</name>
			<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>
		</part>
		<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>500</xmax><ymax>375</ymax></bndbox>
	</object>
	<object>
		<name>chair</name>
		<bndbox><xmax>67.5</xmax><xmin>5.25</xmin><ymax>374</ymax><ymin>244</ymin></bndbox>
	</object>
</annotation>
";

const OTHER_VOC: &str =
    "<annotation><filename>old name.png</filename><size><width>10</width><height>20</height></size></annotation>";

pub(crate) const FLICKR: &str = "<annotation>
	<filename>1000268201.jpg</filename>
	<size>
		<width>375</width>
		<height>500</height>
		<depth>3</depth>
	</size>
	<object>
		<name>18</name>
		<bndbox><xmin>8</xmin><ymin>152</ymin><xmax>108</xmax><ymax>340</ymax></bndbox>
	</object>
	<object>
		<name>20</name>
		<name>18</name>
		<bndbox><xmin>1</xmin><ymin>319</ymin><xmax>115</xmax><ymax>480</ymax></bndbox>
	</object>
	<object>
		<name>20</name>
		<bndbox><xmin>200</xmin><ymin>300</ymin><xmax>375</xmax><ymax>500</ymax></bndbox>
	</object>
	<object>
		<name>21</name>
		<scene>1</scene>
		<nobndbox>0</nobndbox>
	</object>
	<object>
		<name>99</name>
		<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>
	</object>
</annotation>
";

pub(crate) const SENTENCES: &str = "[/EN#20/other/scene The steps] and [/EN#18/people A child] in [/EN#21/scene a wooden cabin] at [/EN#0/notvisual dusk] .
[/EN#18/people/other A little girl] climbs [/EN#20/other the steps] .
[/EN#18/people a child] plays .
";

pub(crate) fn write(root: &Path, name: &str, text: impl AsRef<[u8]>) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, text).expect("written");
}

pub(crate) fn draw(root: &Path, name: &str, width: u32, height: u32) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    image::RgbImage::new(width, height).save(path).expect("written");
}

/// A reader of one of the trees.
pub(crate) type Read = fn(&Trees) -> Result<LabelledSet>;

/// A data set of every format.
pub(crate) struct Trees(tempfile::TempDir);

impl Trees {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        write(root, "pack/labels.jsonl", PACK);
        draw(root, "pack/00/00000.jpg", 192, 256);
        draw(root, "pack/00/00001.jpg", 100, 50);

        write(root, "coco/annotations/instances_val2017.json", COCO);
        write(root, "coco/annotations/captions_val2017.json", CAPTIONS);
        std::fs::create_dir_all(root.join("coco/val2017")).expect("made");

        write(root, "voc/Annotations/000005.xml", VOC);
        write(root, "voc/Annotations/000007.xml", OTHER_VOC);
        write(root, "voc/ImageSets/Main/trainval.txt", "000005\n000007 \n");
        draw(root, "voc/JPEGImages/old name.png", 10, 20);

        write(
            root,
            "yolo/data.yaml",
            "path: ../yolo  # root\ntrain: images/train\nnames:\n  0: person\n  1: traffic light\n",
        );
        draw(root, "yolo/images/train/b.jpg", 100, 200);
        draw(root, "yolo/images/train/a.PNG", 40, 20);
        draw(root, "yolo/images/train/c.jpg", 8, 8);
        write(root, "yolo/images/train/a.txt", "not a picture");
        write(
            root,
            "yolo/labels/train/b.txt",
            "1 0.5 0.5 0.2 0.1\n\n0 0.1 0.2 0.3 0.2 0.25 0.4\n0 0.01 0.125 0.04 0.25\n",
        );
        write(root, "yolo/labels/train/c.txt", "");

        write(root, "flickr/train.txt", "1000268201\n");
        write(root, "flickr/Annotations/1000268201.xml", FLICKR);
        write(root, "flickr/Sentences/1000268201.txt", SENTENCES);
        draw(root, "flickr-images/1000268201.jpg", 375, 500);
        Self(folder)
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(crate) fn pack(&self) -> Result<LabelledSet> {
        pack::read("own", &self.at("pack/labels.jsonl"), false)
    }

    pub(crate) fn coco(&self) -> Result<LabelledSet> {
        let captions = self.at("coco/annotations/captions_val2017.json");
        let file = self.at("coco/annotations/instances_val2017.json");
        coco::read("coco", &file, &self.at("coco/val2017"), Some(&captions), true)
    }

    pub(crate) fn voc(&self) -> Result<LabelledSet> {
        voc::read("voc", &self.at("voc"), "trainval", true)
    }

    pub(crate) fn yolo(&self) -> Result<LabelledSet> {
        yolo::read("yolo", &self.at("yolo"), "train", None, true)
    }

    pub(crate) fn flickr(&self) -> Result<LabelledSet> {
        flickr30k::read("flickr", &self.at("flickr"), &self.at("flickr-images"), "train")
    }

    /// The message about a set, with the folder as `ROOT`.
    #[track_caller]
    pub(crate) fn message<T>(&self, result: Result<T>) -> String {
        let text = result.err().expect("an error").to_string();
        text.replace(&self.root().display().to_string(), "ROOT")
    }
}

pub(crate) fn rect(x0: f64, y0: f64, x1: f64, y1: f64) -> Rect {
    Rect { x0, y0, x1, y1 }
}

pub(crate) fn object(class: usize, rect: Rect) -> LabelledObject {
    LabelledObject { class, rect, difficult: false, crowd: false }
}

/// Equal up to the last digits of shares.
#[track_caller]
pub(crate) fn assert_near(found: &[LabelledObject], expected: &[LabelledObject]) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (one, other) in found.iter().zip(expected) {
        let (a, b) = (one.rect, other.rect);
        let far = [a.x0 - b.x0, a.y0 - b.y0, a.x1 - b.x1, a.y1 - b.y1].into_iter().any(|d| d.abs() > 1e-9);
        assert!(!far && one.class == other.class, "{one:?}, expected {other:?}");
    }
}
