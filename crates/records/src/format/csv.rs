//! A table for pandas, spreadsheets and databases. What is not there is an empty cell.

use std::io;

use super::{Encoding, Line};
use crate::{PixelBox, hundredths};

pub(super) struct Csv;

const COLUMNS: [&str; 14] = [
    "source",
    "seq",
    "frame_index",
    "pts_ns",
    "capture_unix_ns",
    "query",
    "query_rev",
    "status",
    "measured",
    "cause",
    "x",
    "y",
    "w",
    "h",
];
const PRESENCE: &str = "presence";
/// Bytes of a usual row.
const ROW: usize = 256;

fn row<'a>(out: &mut Vec<u8>, cells: impl Iterator<Item = &'a str>) -> io::Result<()> {
    // What is written goes to memory: a buffer of its own need not be large.
    let mut writer = ::csv::WriterBuilder::new().buffer_capacity(ROW).from_writer(out);
    writer.write_record(cells)?;
    writer.flush()
}

impl Encoding for Csv {
    fn begin(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        row(out, COLUMNS.into_iter().chain([PRESENCE]))
    }

    fn add(&mut self, line: Line, out: &mut Vec<u8>) -> io::Result<()> {
        let Line::Frame(record) = line else { return Ok(()) };
        let number = |value: Option<u64>| value.map_or(String::new(), |value| value.to_string());
        let edge = |edge: fn(&PixelBox) -> f64| {
            record.boxed.as_ref().map_or(String::new(), |b| hundredths(edge(b)).to_string())
        };
        let cells = [
            record.source.to_owned(),
            record.seq.to_string(),
            number(record.frame_index),
            number(record.pts_ns),
            number(record.capture_unix_ns),
            record.query.to_owned(),
            record.query_rev.to_string(),
            record.status.as_str().to_owned(),
            record.measured.to_string(),
            record.cause.unwrap_or_default().to_owned(),
            edge(|b| b.x),
            edge(|b| b.y),
            edge(|b| b.w),
            edge(|b| b.h),
            record.presence.map_or(String::new(), |p| ((f64::from(p) * 1e4).round() / 1e4).to_string()),
        ];
        row(out, cells.iter().map(String::as_str))
    }
}
