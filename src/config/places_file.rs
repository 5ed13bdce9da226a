//! Zones and lines of a stream where they are written: read from the settings file, and written into it, comments and all.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

use super::sightings::Places;
use super::{QueryEntries, RunFile, ZoneEntry, queries};
use crate::error::{Error, Result};

/// What a place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PlaceKind {
    /// An area.
    Zone,
    /// A line with a direction.
    Line,
}

/// A zone or a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    pub(crate) kind: PlaceKind,
    pub(crate) name: String,
    /// In shares of the picture's width and height.
    pub(crate) points: Vec<[f64; 2]>,
}

/// Where the places of a stream are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacesFile {
    path: PathBuf,
    /// The number of its `[[stream]]` table, from 0; none for what stands at the top of the file.
    table: Option<usize>,
}

impl PlaceKind {
    /// The name of its tables.
    fn key(self) -> &'static str {
        match self {
            Self::Zone => "zone",
            Self::Line => "line",
        }
    }
}

impl PlacesFile {
    pub(super) fn new(path: &Path, table: Option<usize>) -> Self {
        Self { path: path.to_owned(), table }
    }

    /// The file's name, without its folder.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }

    fn text(&self) -> Result<String> {
        std::fs::read_to_string(&self.path).map_err(Error::io("read", &self.path))
    }

    /// What stands there now.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn read(&self) -> Result<Vec<Place>> {
        self.places_of(&self.text()?)
    }

    fn places_of(&self, text: &str) -> Result<Vec<Place>> {
        let file: RunFile = blocks::strict::toml(text, &self.path.display().to_string())?;
        let (zones, lines) = match self.table {
            None => (file.zone, file.line),
            Some(number) => {
                let stream = file.stream.into_iter().nth(number).ok_or_else(|| self.changed())?;
                (stream.zone, stream.line)
            }
        };
        let of_kind = |kind: PlaceKind, entries: Vec<ZoneEntry>| {
            entries.into_iter().map(move |entry| Place { kind, name: entry.name, points: entry.points })
        };
        Ok(of_kind(PlaceKind::Zone, zones).chain(of_kind(PlaceKind::Line, lines)).collect())
    }

    /// Writes these in place of what stands there; the file as it was is kept beside it, and its path is given. Nothing is written where
    /// a run could not be started with it, nor where other places stand there than those of `version`, if somebody saw them.
    ///
    /// # Errors
    /// A place cannot be, a query needs one that is gone, others stand there now, or the file cannot be written.
    pub(crate) fn write(&self, places: &[Place], version: Option<&str>) -> Result<PathBuf> {
        // Streams of one file are changed one after the other.
        static WRITING: Mutex<()> = Mutex::new(());
        let _alone = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.text()?;
        if version.is_some_and(|seen| self.places_of(&old).is_ok_and(|now| version_of(&now) != seen)) {
            let reason = "its zones and lines were changed meanwhile; look at them as they are now, and save again";
            return Err(Error::Conflict(format!("{}: {reason}", self.path.display())));
        }
        let new = self.edited(&old, places)?;
        check(&new, &self.path.display().to_string())?;
        // Whoever links to it goes on doing so.
        let path = std::fs::canonicalize(&self.path).map_err(Error::io("read", &self.path))?;
        let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string().replace(':', "-");
        let mut copy = path.clone().into_os_string();
        copy.push(format!(".{time}"));
        let copy = PathBuf::from(copy);
        // Two changes within a second: what was before both is what somebody may want back.
        if !copy.exists() {
            std::fs::copy(&path, &copy).map_err(Error::io("write", &copy))?;
        }
        let staged = tempfile::NamedTempFile::new_in(blocks::files::parent(&path)).and_then(|mut staged| {
            staged.write_all(new.as_bytes())?;
            std::fs::set_permissions(staged.path(), std::fs::metadata(&path)?.permissions())?;
            staged.as_file().sync_all()?;
            staged.persist(&path).map(drop).map_err(std::io::Error::from)
        });
        staged.map_err(Error::io("write", &path))?;
        Ok(copy)
    }

    fn fail(&self, reason: &str) -> Error {
        Error::Usage(format!("{}: {reason}", self.path.display()))
    }

    fn changed(&self) -> Error {
        self.fail("is another file than when the run began: the stream is not where it was")
    }

    /// The text with these places.
    fn edited(&self, text: &str, places: &[Place]) -> Result<String> {
        let mut document: DocumentMut = text.parse().map_err(|error| self.fail(&format!("{error}")))?;
        let table = match self.table {
            None => Some(document.as_table_mut()),
            Some(number) => {
                let streams = document.get_mut("stream").and_then(Item::as_array_of_tables_mut);
                streams.and_then(|streams| streams.get_mut(number))
            }
        };
        let table = table.ok_or_else(|| self.changed())?;
        for kind in [PlaceKind::Zone, PlaceKind::Line] {
            let wanted: Vec<&Place> = places.iter().filter(|place| place.kind == kind).collect();
            update(table, kind.key(), &wanted).map_err(|reason| self.fail(&reason))?;
        }
        Ok(document.to_string())
    }
}

/// Tells places from others.
pub(crate) fn version_of(places: &[Place]) -> String {
    const DIGITS: usize = 16;
    let text = serde_json::to_string(places).unwrap_or_default();
    blocks::files::hex(&Sha256::digest(text.as_bytes())).chars().take(DIGITS).collect()
}

/// Brings the tables of one kind up to date; those that stay keep all that is written about them beside their points.
fn update(table: &mut Table, key: &str, wanted: &[&Place]) -> std::result::Result<(), String> {
    if table.get(key).is_none() {
        if wanted.is_empty() {
            return Ok(());
        }
        table.insert(key, Item::ArrayOfTables(ArrayOfTables::new()));
    }
    let Some(tables) = table.get_mut(key).and_then(Item::as_array_of_tables_mut) else {
        return Err(format!("{key} is a list in one line, expected [[{key}]] tables"));
    };
    let name_of = |table: &Table| table.get("name").and_then(Item::as_str).map(str::to_owned);
    tables.retain(|table| name_of(table).is_some_and(|name| wanted.iter().any(|place| place.name == name)));
    for place in wanted {
        let points = points(&place.points);
        let known = tables.iter_mut().find(|table| name_of(table).as_deref() == Some(place.name.as_str()));
        if let Some(known) = known {
            replace(known, points);
            continue;
        }
        let mut new = Table::new();
        new.decor_mut().set_prefix("\n");
        new.insert("name", value(&place.name));
        new.insert("points", value(points));
        tables.push(new);
    }
    if tables.is_empty() {
        table.remove(key);
    }
    Ok(())
}

/// Other points, with the comment that stands behind them.
fn replace(table: &mut Table, points: Array) {
    let before = table.get("points").and_then(Item::as_value);
    let numbers = |value: &toml_edit::Value| value.to_string().split_whitespace().collect::<String>();
    let new: toml_edit::Value = points.into();
    if before.is_some_and(|before| numbers(&before.clone().decorated("", "")) == numbers(&new)) {
        return;
    }
    let decor = before.map(|before| before.decor().clone());
    let mut new = new;
    if let Some(decor) = decor {
        *new.decor_mut() = decor;
    }
    table.insert("points", Item::Value(new));
}

/// Points as they are written: a ten thousandth of a picture is less than a pixel.
fn points(points: &[[f64; 2]]) -> Array {
    let pair = |[x, y]: &[f64; 2]| {
        let rounded = |share: f64| (share * 1e4).round() / 1e4;
        Array::from_iter([rounded(*x), rounded(*y)])
    };
    points.iter().map(pair).collect()
}

/// Sees that a run can be started with these places.
fn check(text: &str, name: &str) -> Result<()> {
    let file: RunFile = blocks::strict::toml(text, name)?;
    let common = Places::of(&file.zone, &file.line)?;
    let all = file.query.map(QueryEntries::list).unwrap_or_default();
    let needs = |places: &Places, entries: &[super::QueryEntry]| {
        if entries.is_empty() { Ok(()) } else { places.check_queries(&queries::resolve(entries)?) }
    };
    if file.stream.is_empty() {
        needs(&common, &all)?;
    }
    for stream in file.stream {
        let places = common.with(&stream.zone, &stream.line, "")?;
        let own = stream.query.map(QueryEntries::list);
        needs(&places, own.as_deref().unwrap_or(&all))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# The gate.\nsource = \"clip.mp4\"  # for now\n\n[[query]]\ntext = \"a car\"\nrequired_zones = [\"drive\"]\n\n\
                        # Where cars stand.\n[[zone]]\nname = \"drive\"\nanchor = \"centre\"  # not the wheels\n\
                        points = [[0.1, 0.5], [0.5, 0.5], [0.4, 0.9]] # drawn by hand\n\n[[line]]\nname = \"way out\"\n\
                        points = [[0.0, 0.5], [1.0, 0.5]]\n";

    fn place(kind: PlaceKind, name: &str, points: &[[f64; 2]]) -> Place {
        Place { kind, name: name.into(), points: points.to_vec() }
    }

    fn file(text: &str, table: Option<usize>) -> (tempfile::TempDir, PlacesFile) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run.toml");
        std::fs::write(&path, text).expect("written");
        (folder, PlacesFile::new(&path, table))
    }

    const TRIANGLE: [[f64; 2]; 3] = [[0.2, 0.2], [0.8, 0.2], [0.123_456, 1.0]];

    #[test]
    fn comments_and_other_keys_stay() {
        let (_folder, file) = file(TEXT, None);
        let places = [place(PlaceKind::Zone, "drive", &TRIANGLE), place(PlaceKind::Zone, "lawn", &TRIANGLE)];
        let copy = file.write(&places, None).expect("written");
        assert_eq!(std::fs::read_to_string(copy).expect("kept"), TEXT);
        let text = file.text().expect("read");
        let points = "points = [[0.2, 0.2], [0.8, 0.2], [0.1235, 1.0]]";
        let (front, _) = TEXT.split_once("points").expect("points");
        let wanted = format!("{front}{points} # drawn by hand\n\n[[zone]]\nname = \"lawn\"\n{points}\n");
        assert_eq!(text, wanted, "the line is gone, the zone is another one, and one is new");
        let rounded = [[0.2, 0.2], [0.8, 0.2], [0.1235, 1.0]];
        let read = file.read().expect("read");
        assert_eq!(read, [place(PlaceKind::Zone, "drive", &rounded), place(PlaceKind::Zone, "lawn", &rounded)]);
    }

    #[test]
    fn what_stays_the_same_is_not_touched() {
        let (_folder, file) = file(TEXT, None);
        let places = file.read().expect("read");
        assert_eq!(places.len(), 2);
        file.write(&places, None).expect("written");
        assert_eq!(file.text().expect("read"), TEXT);
    }

    #[test]
    fn a_stream_has_places_of_its_own() {
        let streams =
            "[[stream]]\nid = \"gate\"\nsource = \"a.mp4\"\n\n[[stream]]\nid = \"yard\"\nsource = \"b.mp4\"\n";
        let (_folder, file) = file(streams, Some(0));
        file.write(&[place(PlaceKind::Line, "door", &[[0.5, 0.0], [0.5, 1.0]])], None).expect("written");
        let text = file.text().expect("read");
        let gate = "[[stream.line]]\nname = \"door\"\npoints = [[0.5, 0.0], [0.5, 1.0]]\n";
        assert!(text.find(gate) < text.find("id = \"yard\"") && text.contains(gate), "{text}");
        let other = PlacesFile { table: Some(1), ..file.clone() };
        assert_eq!((file.read().expect("read").len(), other.read().expect("read").len()), (1, 0));
        let gone = PlacesFile { table: Some(2), ..file };
        assert!(
            gone.write(&[], None).expect_err("refused").to_string().contains("is another file than when the run began")
        );
    }

    #[test]
    fn what_others_changed_meanwhile_is_not_written_over() {
        let (_folder, file) = file(TEXT, None);
        let seen = version_of(&file.read().expect("read"));
        // By hand, and not the places.
        let text = TEXT.replace("for now", "for good");
        std::fs::write(&file.path, &text).expect("written");
        let mut places = file.read().expect("read");
        places[0].points = TRIANGLE.to_vec();
        file.write(&places, Some(&seen)).expect("written: it goes together");
        assert!(file.text().expect("read").contains("for good"));
        let text = text.replace("[0.5, 0.5]", "[0.6, 0.6]");
        std::fs::write(&file.path, &text).expect("written");
        let refused = file.write(&places, Some(&seen)).expect_err("refused");
        assert!(matches!(&refused, Error::Conflict(reason) if reason.contains("changed meanwhile")), "{refused}");
        assert_eq!(file.text().expect("read"), text);
        file.write(&places, Some(&version_of(&file.read().expect("read")))).expect("written: they were looked at");
    }

    #[test]
    fn what_no_run_could_start_with_is_not_written() {
        let (folder, file) = file(TEXT, None);
        for (places, reason) in [
            (vec![place(PlaceKind::Zone, "drive", &[[0.1, 0.1], [0.2, 0.2]])], "zone \"drive\""),
            (vec![place(PlaceKind::Zone, "", &TRIANGLE)], "its name"),
            (
                vec![
                    place(PlaceKind::Zone, "drive", &TRIANGLE),
                    place(PlaceKind::Line, "drive", &[[0.0, 0.0], [1.0, 1.0]]),
                ],
                "the same name",
            ),
            (vec![place(PlaceKind::Zone, "lawn", &TRIANGLE)], "no zone is called \"drive\""),
        ] {
            let refused = file.write(&places, None).expect_err("refused").to_string();
            assert!(refused.contains(reason), "{refused}");
        }
        assert_eq!(file.text().expect("read"), TEXT);
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 1, "nothing is left behind");
    }
}
