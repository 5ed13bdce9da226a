//! What `gvametaconvert` of Intel's DL Streamer writes with `add-empty-results`: a line for every frame, with its objects.

use std::io;

use serde::Serialize;

use super::{Encoding, Line};
use crate::number::probability;
use crate::{FrameRecord, ObjectRecord};

pub(super) struct Dls;

#[derive(Serialize)]
struct Frame<'a> {
    objects: Vec<Object<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<Size>,
    source: &'a str,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<u64>,
}

#[derive(Serialize)]
struct Size {
    height: usize,
    width: usize,
}

#[derive(Serialize)]
struct Object<'a> {
    detection: Detection<'a>,
    /// Whole pixels.
    h: u64,
    id: u64,
    region_id: u64,
    roi_type: &'a str,
    w: u64,
    x: u64,
    y: u64,
}

#[derive(Serialize)]
struct Detection<'a> {
    bounding_box: Corners,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "probability")]
    confidence: Option<f32>,
    label: &'a str,
    label_id: u32,
}

/// Over width and height of the picture.
#[derive(Serialize)]
struct Corners {
    x_max: f64,
    x_min: f64,
    y_max: f64,
    y_min: f64,
}

impl<'a> Object<'a> {
    /// Edges are rounded, then subtracted. `region_id` counts the objects of a frame, `id` is that of its track.
    fn of(record: &FrameRecord<'a>, number: u64, object: &ObjectRecord<'a>) -> Option<Self> {
        let (pixels, norm) = (object.boxed, object.box_norm?);
        let edges = |from: f64, length: f64| {
            let (first, last) = (from.round().max(0.0) as u64, (from + length).round().max(0.0) as u64);
            (first, last - first)
        };
        let ((x, w), (y, h)) = (edges(pixels.x, pixels.w), edges(pixels.y, pixels.h));
        let digits = |value: f64| (value * 1e5).round() / 1e5;
        let corners = Corners {
            x_max: digits(norm.x + norm.w),
            x_min: digits(norm.x),
            y_max: digits(norm.y + norm.h),
            y_min: digits(norm.y),
        };
        let place = record.queries.iter().position(|query| query.name == object.query)?;
        let (label, label_id) = (object.query, u32::try_from(place + 1).ok()?);
        let detection = Detection { bounding_box: corners, confidence: object.score, label, label_id };
        Some(Self { detection, h, id: object.id, region_id: number, roi_type: label, w, x, y })
    }
}

impl Encoding for Dls {
    fn add(&mut self, line: Line, out: &mut Vec<u8>) -> io::Result<()> {
        let Line::Frame(record) = line else { return Ok(()) };
        let frame = Frame {
            objects: (1..)
                .zip(&record.objects)
                .filter_map(|(number, object)| Object::of(record, number, object))
                .collect(),
            resolution: record.resolution.map(|r| Size { height: r.height, width: r.width }),
            source: record.source,
            timestamp: record.pts_ns,
        };
        serde_json::to_writer(&mut *out, &frame)?;
        out.push(b'\n');
        Ok(())
    }
}
