//! A table with a row for every sighting, written when it ends; its cells are separated by tabs. What is not there is an
//! empty cell.

use std::io;

use super::csv::row;
use super::{Encoding, Line};
use crate::number::{hundredths, ten_thousandths};
use crate::{Event, EventKind, PixelBox, Sighting};

pub(super) struct Sightings;

const COLUMNS: [&str; 21] = [
    "source",
    "query",
    "query_text",
    "id",
    "start_pts_ns",
    "last_pts_ns",
    "seconds",
    "start_unix_ns",
    "last_unix_ns",
    "cause",
    "objects",
    "zones",
    "best_seq",
    "best_frame_index",
    "best_score",
    "best_presence",
    "best_x",
    "best_y",
    "best_w",
    "best_h",
    "files",
];
const TAB: u8 = b'\t';
/// Between the parts of a cell that holds several.
const SEPARATOR: &str = ";";

fn cells(sighting: &Sighting, cause: &str) -> [String; COLUMNS.len()] {
    let number = |value: Option<u64>| value.map_or(String::new(), |value| value.to_string());
    let share = |value: Option<f32>| value.map_or(String::new(), |value| ten_thousandths(value).to_string());
    let objects: Vec<String> = sighting.objects.iter().map(u64::to_string).collect();
    let files: Vec<String> = sighting.files.iter().map(|file| file.path.display().to_string()).collect();
    let best = &sighting.best;
    let PixelBox { x, y, w, h } = best.boxed;
    [
        sighting.stream.clone(),
        sighting.query.clone(),
        sighting.text.clone(),
        sighting.id.clone(),
        number(sighting.start_pts_ns),
        number(sighting.last_pts_ns),
        hundredths(sighting.length_ns() as f64 / 1e9).to_string(),
        sighting.start_unix_ns.to_string(),
        sighting.last_unix_ns.to_string(),
        cause.to_owned(),
        objects.join(SEPARATOR),
        sighting.zones.join(SEPARATOR),
        best.seq.to_string(),
        number(best.frame_index),
        share(best.score),
        share(best.presence),
        hundredths(x).to_string(),
        hundredths(y).to_string(),
        hundredths(w).to_string(),
        hundredths(h).to_string(),
        files.join(SEPARATOR),
    ]
}

impl Encoding for Sightings {
    fn begin(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        row(out, TAB, COLUMNS.into_iter())
    }

    fn add(&mut self, line: Line, out: &mut Vec<u8>) -> io::Result<()> {
        let Line::Event(Event { kind: EventKind::SightingEnd { sighting, cause }, .. }) = line else { return Ok(()) };
        row(out, TAB, cells(sighting, cause).iter().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Best, EVENT_SCHEMA, PathPoint};

    #[test]
    fn an_ended_sighting_is_a_row_whatever_it_is_called() {
        let best = Best {
            boxed: PixelBox { x: 1.0, y: 2.126, w: 30.0, h: 40.0 },
            score: Some(0.876_54),
            presence: None,
            frame_index: Some(7),
            seq: 7,
            unix_ns: 0,
        };
        let sighting = Sighting {
            id: "run.film.1".into(),
            stream: "film".into(),
            query: "a \"red\"\tcar".into(),
            text: "a red car".into(),
            objects: vec![3, 5],
            start_pts_ns: Some(200_000_000),
            start_unix_ns: 200_000_000,
            last_pts_ns: Some(1_450_000_000),
            last_unix_ns: 1_450_000_000,
            best,
            zones: vec!["drive".into(), "door".into()],
            path: vec![PathPoint { pts_ns: None, x: 0.5, y: 0.5 }],
            files: Vec::new(),
        };
        let (mut table, mut text) = (Sightings, Vec::new());
        table.begin(&mut text).expect("written");
        for kind in [
            EventKind::SightingStart { sighting: &sighting },
            EventKind::SightingEnd { sighting: &sighting, cause: "gone" },
        ] {
            let event = Event { schema: EVENT_SCHEMA, run_id: "run", source: "film", kind: &kind };
            table.add(Line::Event(&event), &mut text).expect("written");
        }
        let mut reader = ::csv::ReaderBuilder::new().delimiter(TAB).from_reader(text.as_slice());
        let rows: Vec<::csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
        assert_eq!(rows.len(), 1, "the end alone");
        let cell = |name: &str| &rows[0][COLUMNS.iter().position(|column| *column == name).expect("a column")];
        assert_eq!([cell("query"), cell("seconds"), cell("cause")], ["a \"red\"\tcar", "1.25", "gone"]);
        assert_eq!([cell("objects"), cell("zones"), cell("best_score")], ["3;5", "drive;door", "0.8765"]);
        assert_eq!([cell("best_y"), cell("best_presence"), cell("files")], ["2.13", "", ""]);
    }
}
