//! COCO's layout of a data set: images are frames, annotations boxes with the ids of their tracks, categories queries. Images are written as they
//! come; annotations wait in a file of their own until the end, since COCO wants each list in one piece.

use std::io::{self, Seek, Write};

use serde_json::json;
use tempfile::SpooledTempFile;

use super::{Encoding, Line};
use crate::number::{hundredths, ten_thousandths};
use crate::{ObjectRecord, PixelBox};

/// Annotations that stay in memory, in bytes.
const IN_MEMORY: usize = 1 << 20;

pub(super) struct Coco {
    images: u64,
    boxes: u64,
    annotations: SpooledTempFile,
    /// Names of queries, in the order in which they came.
    categories: Vec<String>,
}

impl Default for Coco {
    fn default() -> Self {
        Self { images: 0, boxes: 0, annotations: SpooledTempFile::new(IN_MEMORY), categories: Vec::new() }
    }
}

impl Coco {
    fn category(&mut self, query: &str) -> usize {
        let known = self.categories.iter().position(|category| category == query);
        known.unwrap_or_else(|| {
            self.categories.push(query.to_owned());
            self.categories.len() - 1
        }) + 1
    }

    fn annotate(&mut self, object: &ObjectRecord) -> io::Result<()> {
        let PixelBox { x, y, w, h } = object.boxed;
        let [x, y, w, h] = [x, y, w, h].map(hundredths);
        let category = self.category(object.query);
        self.boxes += 1;
        let mut annotation = json!({
            "id": self.boxes, "image_id": self.images, "category_id": category, "bbox": [x, y, w, h],
            "area": hundredths(w * h), "iscrowd": 0, "track_id": object.id, "measured": object.measured,
        });
        if let Some(score) = object.score {
            annotation["score"] = ten_thousandths(score).into();
        }
        if self.boxes > 1 {
            self.annotations.write_all(b",\n")?;
        }
        serde_json::to_writer(&mut self.annotations, &annotation)?;
        Ok(())
    }
}

impl Encoding for Coco {
    fn begin(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        out.write_all(
            b"{\"info\": {\"description\": \"frames grounded by spotter\"}, \"licenses\": [],\n\"images\": [\n",
        )
    }

    fn add(&mut self, line: Line, out: &mut Vec<u8>) -> io::Result<()> {
        let Line::Frame(record) = line else { return Ok(()) };
        // What was dropped was not looked at, and is no picture that a reader could miss a box on.
        let Some(resolution) = record.resolution else { return Ok(()) };
        for query in &record.queries {
            self.category(query.name);
        }
        self.images += 1;
        let index = record.frame_index.unwrap_or(record.seq);
        // As `--out frames:` names them.
        let name = record.file.as_deref().map_or_else(|| format!("{index:08}.png"), str::to_owned);
        let image = json!({
            "id": self.images, "file_name": name, "width": resolution.width, "height": resolution.height,
            "source": record.source, "frame_index": index, "pts_ns": record.pts_ns, "status": record.status,
        });
        if self.images > 1 {
            out.extend(b",\n");
        }
        serde_json::to_writer(&mut *out, &image)?;
        record.objects.iter().try_for_each(|object| self.annotate(object))
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let categories: Vec<_> =
            (1..).zip(&self.categories).map(|(id, name)| json!({"id": id, "name": name})).collect();
        out.write_all(b"\n],\n\"annotations\": [\n")?;
        self.annotations.rewind()?;
        io::copy(&mut self.annotations, out)?;
        write!(out, "\n],\n\"categories\": {}}}\n", serde_json::to_string(&categories)?)
    }
}
