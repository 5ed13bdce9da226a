//! What `gvametaconvert` of Intel's DL Streamer writes with `add-empty-results`: an object a line and frame.

use std::io;

use serde::Serialize;

use super::{Encoding, Line};
use crate::{FrameRecord, probability};

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
    /// Edges are rounded, then subtracted.
    fn of(record: &FrameRecord<'a>) -> Option<Self> {
        let (pixels, norm) = (record.boxed?, record.box_norm?);
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
        let (label, label_id) = (record.query, record.query_rev);
        let detection = Detection { bounding_box: corners, confidence: record.presence, label, label_id };
        Some(Self { detection, h, region_id: record.seq + 1, roi_type: label, w, x, y })
    }
}

impl Encoding for Dls {
    fn add(&mut self, line: Line, out: &mut Vec<u8>) -> io::Result<()> {
        let Line::Frame(record) = line else { return Ok(()) };
        let frame = Frame {
            objects: Object::of(record).into_iter().collect(),
            resolution: record.resolution.map(|r| Size { height: r.height, width: r.width }),
            source: record.source,
            timestamp: record.pts_ns,
        };
        serde_json::to_writer(&mut *out, &frame)?;
        out.push(b'\n');
        Ok(())
    }
}
