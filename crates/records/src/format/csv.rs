//! A table for pandas, spreadsheets and databases: a row for every object, and for every query of a frame that has none.
//! What is not there is an empty cell.

use std::io;

use super::{Encoding, Line};
use crate::number::{hundredths, ten_thousandths};
use crate::{FrameRecord, ObjectRecord, PixelBox, QueryRecord};

pub(super) struct Csv;

const COLUMNS: [&str; 19] = [
    "source",
    "seq",
    "frame_index",
    "pts_ns",
    "capture_unix_ns",
    "frame_status",
    "query",
    "query_text",
    "query_rev",
    "status",
    "presence",
    "measured",
    "cause",
    "id",
    "x",
    "y",
    "w",
    "h",
    "score",
];
const COMMA: u8 = b',';
/// Bytes of a usual row.
const ROW: usize = 256;

/// Writes one row, with `delimiter` between its cells.
pub(super) fn row<'a>(out: &mut Vec<u8>, delimiter: u8, cells: impl Iterator<Item = &'a str>) -> io::Result<()> {
    // What is written goes to memory: a buffer of its own need not be large.
    let mut writer = ::csv::WriterBuilder::new().delimiter(delimiter).buffer_capacity(ROW).from_writer(out);
    writer.write_record(cells)?;
    writer.flush()
}

fn cells(record: &FrameRecord, query: &QueryRecord, object: Option<&ObjectRecord>) -> [String; COLUMNS.len()] {
    let number = |value: Option<u64>| value.map_or(String::new(), |value| value.to_string());
    let share = |value: Option<f32>| value.map_or(String::new(), |value| ten_thousandths(value).to_string());
    let edge =
        |edge: fn(&PixelBox) -> f64| object.map_or(String::new(), |object| hundredths(edge(&object.boxed)).to_string());
    [
        record.source.to_owned(),
        record.seq.to_string(),
        number(record.frame_index),
        number(record.pts_ns),
        number(record.capture_unix_ns),
        record.status.as_str().to_owned(),
        query.name.to_owned(),
        query.text.to_owned(),
        query.rev.to_string(),
        query.status.as_str().to_owned(),
        share(query.presence),
        object.map_or(query.measured, |object| object.measured).to_string(),
        object.map_or(query.cause, |object| object.cause).unwrap_or_default().to_owned(),
        number(object.map(|object| object.id)),
        edge(|b| b.x),
        edge(|b| b.y),
        edge(|b| b.w),
        edge(|b| b.h),
        share(object.and_then(|object| object.score)),
    ]
}

impl Encoding for Csv {
    fn begin(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        row(out, COMMA, COLUMNS.into_iter())
    }

    fn add(&mut self, line: Line, out: &mut Vec<u8>) -> io::Result<()> {
        let Line::Frame(record) = line else { return Ok(()) };
        for query in &record.queries {
            let mut own = record.objects.iter().filter(|object| object.query == query.name).peekable();
            if own.peek().is_none() {
                row(out, COMMA, cells(record, query, None).iter().map(String::as_str))?;
            }
            for object in own {
                row(out, COMMA, cells(record, query, Some(object)).iter().map(String::as_str))?;
            }
        }
        Ok(())
    }
}
