//! A MOTChallenge table: boxes of tracks by frame. Where [`corrections`] lie beside it, their lines win.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use blocks::preprocess::Rect;
use csv::{ReaderBuilder, StringRecord, Trim};

use super::super::{corrections, read_bytes};
use crate::error::{Error, Result};

/// Boxes by frame and track.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tracks {
    boxes: BTreeMap<(u64, u64), Rect>,
    /// Of which a correction says that there is nothing.
    removed: BTreeSet<(u64, u64)>,
}

/// Gaps between two boxes of one track.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gaps {
    /// That were filled.
    pub filled: usize,
    /// That were too long for it.
    pub open: usize,
    /// Frames from box to box of the shortest of those.
    pub shortest_open: u64,
}

/// The columns that are read, by their place.
const COLUMNS: [&str; 6] = ["frame", "track", "left", "top", "width", "height"];
/// The challenge's own column of confidence, where no header names another: 0 where a box does not count.
const CONFIDENCE: usize = 6;

/// A line of a table.
struct Row {
    place: String,
    frame: u64,
    track: u64,
    /// None where the box does not count.
    rect: Option<Rect>,
}

/// Reads a table with a header or without, and the corrections beside it. A line of those replaces the box of its track on its
/// frame, or adds one; with a confidence of 0 it takes the box away.
///
/// # Errors
/// A file cannot be read, a line lacks a column or holds no number there, a box has no area or stands there twice.
pub fn read_table(path: &Path) -> Result<Tracks> {
    let mut tracks = Tracks::default();
    for Row { place, frame, track, rect } in rows(path, false)? {
        if let Some(rect) = rect
            && tracks.boxes.insert((frame, track), rect).is_some()
        {
            return Err(twice(path, place, frame, track));
        }
    }
    if let Some(corrections) = corrections::of(path) {
        let mut corrected = BTreeSet::new();
        for Row { place, frame, track, rect } in rows(&corrections, true)? {
            if !corrected.insert((frame, track)) {
                return Err(twice(&corrections, place, frame, track));
            }
            if let Some(rect) = rect {
                tracks.boxes.insert((frame, track), rect);
            } else {
                tracks.boxes.remove(&(frame, track));
                tracks.removed.insert((frame, track));
            }
        }
        corrections::told(&corrections, corrected.len());
    }
    if tracks.boxes.is_empty() {
        return Err(Error::file(path, format!("holds no boxes, expected lines of {}", COLUMNS.join(","))));
    }
    Ok(tracks)
}

fn twice(path: &Path, place: String, frame: u64, track: u64) -> Error {
    Error::entry(path, place, format!("frame {frame} has a box of track {track} already"))
}

/// The lines of a table; of `corrections` also what a line without a box is about has to be whole.
fn rows(path: &Path, corrections: bool) -> Result<Vec<Row>> {
    let bytes = read_bytes(path)?;
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(&bytes[..]);
    let (mut rows, mut has_header, mut confidence) = (Vec::new(), false, Some(CONFIDENCE));
    for (number, line) in reader.records().enumerate() {
        let line = line.map_err(|e| Error::file(path, e))?;
        let place = line.position().map_or_else(String::new, |position| format!("line {}", position.line()));
        let fail = |reason: String| Error::entry(path, &place, reason);
        if number == 0 && line.get(0).is_some_and(|first| first.parse::<f64>().is_err()) {
            header(&line).map_err(fail)?;
            has_header = true;
            let is_confidence =
                |name: &str| ["conf", "confidence"].iter().any(|known| name.eq_ignore_ascii_case(known));
            confidence = line.iter().position(is_confidence);
            continue;
        }
        if confidence.and_then(|at| line.get(at)).and_then(|text| text.parse::<f64>().ok()) == Some(0.0) {
            match named(&line) {
                Ok((frame, track)) => rows.push(Row { place, frame, track, rect: None }),
                Err(reason) if corrections => return Err(fail(reason)),
                Err(_) => {}
            }
            continue;
        }
        let (frame, track) = named(&line).map_err(fail)?;
        let mut rect = boxed(&line).map_err(fail)?;
        if !has_header && line.len() > CONFIDENCE {
            // The challenge's own files come from MATLAB: the first pixel is number one.
            rect = Rect { x0: rect.x0 - 1.0, y0: rect.y0 - 1.0, x1: rect.x1 - 1.0, y1: rect.y1 - 1.0 };
        }
        rows.push(Row { place, frame, track, rect: Some(rect) });
    }
    Ok(rows)
}

/// A header names the columns in the order in which they are read.
fn header(line: &StringRecord) -> Result<(), String> {
    let known: [&[&str]; 6] = [
        &["frame"],
        &["track", "id"],
        &["left", "bb_left", "x"],
        &["top", "bb_top", "y"],
        &["width", "bb_width", "w"],
        &["height", "bb_height", "h"],
    ];
    let fits = known
        .iter()
        .enumerate()
        .all(|(i, names)| line.get(i).is_some_and(|name| names.iter().any(|known| name.eq_ignore_ascii_case(known))));
    let found: Vec<&str> = line.iter().collect();
    if fits { Ok(()) } else { Err(format!("the columns are {}, expected {}", found.join(","), COLUMNS.join(","))) }
}

/// The number in column `i`.
fn column(line: &StringRecord, i: usize) -> Result<f64, String> {
    let text = line.get(i).ok_or_else(|| format!("has {} columns, expected {}", line.len(), COLUMNS.join(",")))?;
    let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
    value.ok_or_else(|| format!("`{}` is {text:?}, expected a number", COLUMNS[i]))
}

/// Frame and track.
fn named(line: &StringRecord) -> Result<(u64, u64), String> {
    let count = |i: usize, least: f64| -> Result<u64, String> {
        let value = column(line, i)?;
        let whole = value.fract() == 0.0 && (least..1e9).contains(&value);
        if whole {
            Ok(value as u64)
        } else {
            Err(format!("`{}` is {value}, expected a whole number from {least}", COLUMNS[i]))
        }
    };
    Ok((count(0, 1.0)?, count(1, 0.0)?))
}

fn boxed(line: &StringRecord) -> Result<Rect, String> {
    let [left, top, width, height] = [column(line, 2)?, column(line, 3)?, column(line, 4)?, column(line, 5)?];
    if width <= 0.0 || height <= 0.0 {
        return Err(format!("the box is {width} wide and {height} high, expected an area"));
    }
    Ok(Rect { x0: left, y0: top, x1: left + width, y1: top + height })
}

impl Tracks {
    /// The box of a track in a frame.
    pub fn at(&self, frame: u64, track: u64) -> Option<Rect> {
        self.boxes.get(&(frame, track)).copied()
    }

    /// All boxes of a frame, by track.
    pub fn of_frame(&self, frame: u64) -> impl Iterator<Item = (u64, Rect)> + '_ {
        self.boxes.range((frame, 0)..=(frame, u64::MAX)).map(|((_, track), rect)| (*track, *rect))
    }

    /// Every track once, in order.
    pub fn all(&self) -> impl Iterator<Item = u64> + use<> {
        let tracks: std::collections::BTreeSet<u64> = self.boxes.keys().map(|(_, track)| *track).collect();
        tracks.into_iter()
    }

    /// Whether a track has any box.
    pub fn holds(&self, track: u64) -> bool {
        self.boxes.keys().any(|(_, known)| *known == track)
    }

    /// The last frame with a box; 0 without any.
    pub fn last_frame(&self) -> u64 {
        self.boxes.last_key_value().map_or(0, |((frame, _), _)| *frame)
    }

    /// Fills the frames between two boxes of one track that are at most `most` frames apart, along a straight line, unless a
    /// correction says that there is nothing between. Tells of the gaps that there were; none where nothing was to be filled.
    pub fn fill(&mut self, most: u64) -> Option<Gaps> {
        let mut gaps = Gaps { shortest_open: u64::MAX, ..Gaps::default() };
        let mut last: BTreeMap<u64, (u64, Rect)> = BTreeMap::new();
        let mut between = Vec::new();
        for (&(frame, track), &rect) in &self.boxes {
            let Some((before, from)) = last.insert(track, (frame, rect)) else { continue };
            if self.removed.iter().any(|(at, of)| *of == track && (before..frame).contains(at)) {
                continue;
            }
            if frame - before > most.max(1) {
                gaps.open += 1;
                gaps.shortest_open = gaps.shortest_open.min(frame - before);
            } else {
                gaps.filled += usize::from(frame - before > 1);
                between.extend((before + 1..frame).map(|at| {
                    let part = (at - before) as f64 / (frame - before) as f64;
                    let along = |a: f64, b: f64| a + part * (b - a);
                    let [x0, y0] = [along(from.x0, rect.x0), along(from.y0, rect.y0)];
                    let [x1, y1] = [along(from.x1, rect.x1), along(from.y1, rect.y1)];
                    ((at, track), Rect { x0, y0, x1, y1 })
                }));
            }
        }
        self.boxes.extend(between);
        (most > 0).then_some(gaps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_as_they_are_filled() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("gt.csv");
        // Track 1 has gaps of 2 and 6 frames and neighbours, track 2 one of 9.
        let rows = [(1, 1), (3, 1), (4, 1), (10, 1), (1, 2), (10, 2)].map(|(f, t)| format!("{f},{t},1,1,5,5\n"));
        std::fs::write(&path, rows.concat()).expect("written");
        for (fill, expected) in [
            (0, None),
            (2, Some(Gaps { filled: 1, open: 2, shortest_open: 6 })),
            (6, Some(Gaps { filled: 2, open: 1, shortest_open: 9 })),
            (9, Some(Gaps { filled: 3, open: 0, shortest_open: u64::MAX })),
        ] {
            let mut tracks = read_table(&path).expect("read");
            assert_eq!(tracks.fill(fill), expected, "fill = {fill}");
        }
    }
    #[test]
    fn corrections_win() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("film.csv");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        write(
            "film.csv",
            "frame,track,left,top,width,height,confidence\n1,1,1,1,5,5,0.9\n2,1,2,1,5,5,0.4\n3,1,3,1,5,5,0.8\n",
        );
        assert_eq!(read_table(&path).expect("read").of_frame(2).count(), 1);
        // Another place on the first frame, nothing on the second, somebody else on the third; the header is as short as it may be.
        write(
            "film.corrections.csv",
            "frame,track,left,top,width,height,confidence\n1,1,7,1,5,5,1\n2,1,,,,,0\n3,2,9,9,5,5,1\n",
        );
        let mut tracks = read_table(&path).expect("read");
        assert_eq!(tracks.at(1, 1).map(|rect| rect.x0), Some(7.0));
        assert_eq!((tracks.at(2, 1), tracks.of_frame(3).count()), (None, 2));
        tracks.fill(9);
        assert_eq!(tracks.at(2, 1), None, "what was taken away is not filled in");
        for (corrections, expected) in [
            ("1,1,7,1,5,5\n1,1,8,1,5,5\n", "film.corrections.csv, line 2: frame 1 has a box of track 1 already"),
            ("1,x,7,1,5,5,0\n", "film.corrections.csv, line 1: `track` is \"x\", expected a number"),
            ("1,1,7,1\n", "film.corrections.csv, line 1: has 4 columns"),
        ] {
            write("film.corrections.csv", corrections);
            let found = read_table(&path).expect_err("refused").to_string();
            assert!(found.contains(expected), "{found}");
        }
    }
}
