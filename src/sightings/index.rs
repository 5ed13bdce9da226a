//! Sightings that were kept, by whatever keeps them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use records::Sighting;
use serde::Deserialize;

use super::store::{self, Keep, Store};
use crate::error::{Error, Result};

/// Which sightings are meant; all where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this query, by its name.
    pub query: Option<String>,
    /// Of this stream.
    pub stream: Option<String>,
    /// That were in this zone.
    pub zone: Option<String>,
    /// That were there at this time or later, ns since 1970.
    pub since_unix_ns: Option<i64>,
    /// That were there before this time, ns since 1970.
    pub until_unix_ns: Option<i64>,
    /// Those alone of which nobody knows that they ended.
    pub open: bool,
    /// So many at most, the newest of them.
    pub most: Option<u32>,
}

impl Filter {
    /// Whether it means this one, however many there are.
    fn takes(&self, Kept { sighting, cause }: &Kept) -> bool {
        let is = |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
        is(&self.query, &sighting.query)
            && is(&self.stream, &sighting.stream)
            && self.zone.as_ref().is_none_or(|zone| sighting.zones.contains(zone))
            && self.since_unix_ns.is_none_or(|since| sighting.last_unix_ns >= since)
            && self.until_unix_ns.is_none_or(|until| sighting.start_unix_ns < until)
            && (!self.open || cause.is_none())
    }
}

/// A sighting, and how it ended, where that is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// All that is known of it.
    pub sighting: Sighting,
    /// As in [`records::SightingChange::End`]; none while it is open, or where nobody knows.
    pub cause: Option<String>,
}

/// Where sightings are looked up.
pub trait Index {
    /// Those that `filter` means, in the order in which they began.
    ///
    /// # Errors
    /// What keeps them cannot be read.
    fn list(&self, filter: &Filter) -> Result<Vec<Kept>>;

    /// The one with this id.
    ///
    /// # Errors
    /// What keeps them cannot be read.
    fn get(&self, id: &str) -> Result<Option<Kept>>;
}

/// The records of a run.
pub struct Recorded {
    /// By id, with the number of the line on which each is first told of.
    all: BTreeMap<String, (usize, Kept)>,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    event: String,
    sighting: Option<Sighting>,
    cause: Option<String>,
}

impl Recorded {
    /// Reads records as JSON Lines; lines about other things are passed over.
    ///
    /// # Errors
    /// The file cannot be read, or a line is no JSON object. A last line without an end may still be written.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("read", path))?;
        let mut reader = BufReader::new(file);
        let (mut all, mut text) = (BTreeMap::<String, (usize, Kept)>::new(), Vec::new());
        for number in 1.. {
            text.clear();
            if reader.read_until(b'\n', &mut text).map_err(Error::io("read", path))? == 0 {
                break;
            }
            // Most lines are of frames.
            if !text.starts_with(b"{") || !contains(&text, b"\"event\":\"sighting_") {
                if number == 1 && !text.trim_ascii_start().starts_with(b"{") {
                    let reason = "line 1 is no JSON object, expected records as JSON Lines";
                    return Err(Error::Usage(format!("{}: {reason}", path.display())));
                }
                continue;
            }
            let line = match serde_json::from_slice::<Line>(&text) {
                Ok(line) => line,
                Err(_) if !text.ends_with(b"\n") => break,
                Err(error) => return Err(Error::Usage(format!("{}, line {number}: {error}", path.display()))),
            };
            let Some(sighting) = line.sighting.filter(|_| line.event.starts_with("sighting_")) else { continue };
            let first = all.get(&sighting.id).map_or(number, |(first, _)| *first);
            all.insert(sighting.id.clone(), (first, Kept { sighting, cause: line.cause }));
        }
        Ok(Self { all })
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

impl Index for Recorded {
    fn list(&self, filter: &Filter) -> Result<Vec<Kept>> {
        let mut meant: Vec<&(usize, Kept)> = self.all.values().filter(|(_, kept)| filter.takes(kept)).collect();
        meant.sort_by_key(|(first, kept)| (kept.sighting.start_unix_ns, *first));
        let older = filter.most.map_or(0, |most| meant.len().saturating_sub(most as usize));
        Ok(meant.into_iter().skip(older).map(|(_, kept)| kept.clone()).collect())
    }

    fn get(&self, id: &str) -> Result<Option<Kept>> {
        Ok(self.all.get(id).map(|(_, kept)| kept.clone()))
    }
}

impl Index for Store {
    fn list(&self, filter: &Filter) -> Result<Vec<Kept>> {
        Self::list(self, filter)
    }

    fn get(&self, id: &str) -> Result<Option<Kept>> {
        Self::get(self, id)
    }
}

/// What keeps sightings at `path`: a file of records, or the folder of a store.
///
/// # Errors
/// Nothing there keeps any.
pub fn open(path: &Path) -> Result<Box<dyn Index>> {
    if path.is_dir() {
        if !path.join(store::INDEX).is_file() {
            let reason =
                format!("has no {}, expected a folder that keeps sightings, or records as JSON Lines", store::INDEX);
            return Err(Error::Usage(format!("{}: {reason}", path.display())));
        }
        // Looking deletes nothing.
        return Ok(Box::new(Store::open(path, Keep::default())?));
    }
    Ok(Box::new(Recorded::read(path)?))
}

#[cfg(test)]
mod tests {
    use records::{Best, PixelBox};

    use super::*;

    fn sighting(id: &str, start: i64, zone: Option<&str>) -> Sighting {
        let boxed = PixelBox { x: 1.0, y: 2.0, w: 3.0, h: 4.0 };
        let best = Best { boxed, score: Some(0.5), presence: None, frame_index: Some(1), seq: 1, unix_ns: start };
        Sighting {
            id: id.into(),
            stream: "gate".into(),
            query: "a car".into(),
            text: "a car".into(),
            objects: vec![1],
            start_pts_ns: None,
            start_unix_ns: start,
            last_pts_ns: None,
            last_unix_ns: start + 10,
            best,
            zones: zone.map(str::to_owned).into_iter().collect(),
            path: Vec::new(),
            files: Vec::new(),
        }
    }

    #[test]
    fn records_are_an_index_of_what_they_tell() {
        let scratch = tempfile::tempdir().expect("a folder");
        let path = scratch.path().join("found.jsonl");
        let line = |event: &str, sighting: &Sighting, cause: &str| {
            serde_json::json!({"schema": "spotter.event/1", "event": event, "sighting": sighting, "cause": cause})
                .to_string()
        };
        let (a, b) = (sighting("a", 100, Some("drive")), sighting("b", 50, None));
        let lines = [
            "{\"schema\":\"spotter.frame/2\"}".to_owned(),
            line("sighting_start", &a, "").replace(",\"cause\":\"\"", "").replace("\"cause\":\"\",", ""),
            line("sighting_start", &b, "").replace(",\"cause\":\"\"", "").replace("\"cause\":\"\",", ""),
            "{\"event\":\"zone_enter\",\"sighting_id\":\"a\"}".to_owned(),
            line("sighting_end", &a, "gone"),
            "{\"event\":\"sighting_end\",\"sigh".to_owned(),
        ];
        std::fs::write(&path, lines.join("\n")).expect("written");
        let index = open(&path).expect("read");
        let ids = |filter: &Filter| -> Vec<String> {
            index.list(filter).expect("listed").into_iter().map(|kept| kept.sighting.id).collect()
        };
        assert_eq!(ids(&Filter::default()), ["b", "a"], "in the order of their starts");
        assert_eq!(index.get("a").expect("read").expect("there").cause.as_deref(), Some("gone"));
        assert_eq!(index.get("b").expect("read").expect("there").cause, None, "it is open");
        assert_eq!(index.get("c").expect("read"), None);
        let in_zone = Filter { zone: Some("drive".into()), ..Filter::default() };
        let since = Filter { since_unix_ns: Some(61), ..Filter::default() };
        let until = Filter { until_unix_ns: Some(100), ..Filter::default() };
        let other = Filter { stream: Some("yard".into()), ..Filter::default() };
        assert_eq!([ids(&in_zone), ids(&since), ids(&until), ids(&other)], [vec!["a"], vec!["a"], vec!["b"], vec![]]);
        let lasting = Filter { open: true, ..Filter::default() };
        let newest = Filter { most: Some(1), ..Filter::default() };
        assert_eq!([ids(&lasting), ids(&newest)], [["b"], ["a"]]);
        std::fs::write(&path, "no records").expect("written");
        assert!(open(&path).err().expect("refused").to_string().contains("no JSON object"));
        let refused = open(scratch.path()).err().expect("refused").to_string();
        assert!(refused.contains("has no sightings.sqlite"), "{refused}");
        let mut store = Store::open(scratch.path(), Keep::default()).expect("opened");
        store.end(&a, "gone").expect("kept");
        store.put(&b).expect("kept");
        let kept = open(scratch.path()).expect("read").list(&in_zone).expect("listed");
        assert_eq!(kept, [Kept { sighting: a, cause: Some("gone".into()) }]);
    }
}
