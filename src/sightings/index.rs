//! Sightings that were kept, by whatever keeps them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use records::Sighting;
use serde::Deserialize;

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
}

impl Filter {
    /// Whether it means this one.
    pub fn takes(&self, sighting: &Sighting) -> bool {
        let is = |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
        is(&self.query, &sighting.query)
            && is(&self.stream, &sighting.stream)
            && self.zone.as_ref().is_none_or(|zone| sighting.zones.contains(zone))
            && self.since_unix_ns.is_none_or(|since| sighting.last_unix_ns >= since)
            && self.until_unix_ns.is_none_or(|until| sighting.start_unix_ns < until)
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
    path: PathBuf,
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
        Ok(Self { path: path.to_path_buf(), all })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

impl Index for Recorded {
    fn list(&self, filter: &Filter) -> Result<Vec<Kept>> {
        let mut meant: Vec<&(usize, Kept)> =
            self.all.values().filter(|(_, kept)| filter.takes(&kept.sighting)).collect();
        meant.sort_by_key(|(first, kept)| (kept.sighting.start_unix_ns, *first));
        Ok(meant.into_iter().map(|(_, kept)| kept.clone()).collect())
    }

    fn get(&self, id: &str) -> Result<Option<Kept>> {
        Ok(self.all.get(id).map(|(_, kept)| kept.clone()))
    }
}

/// What keeps sightings at `path`: a file of records.
///
/// # Errors
/// Nothing there keeps any.
pub fn open(path: &Path) -> Result<Box<dyn Index>> {
    if path.is_dir() {
        let reason = "is a folder, expected records of a run as JSON Lines";
        return Err(Error::Usage(format!("{}: {reason}", path.display())));
    }
    Ok(Box::new(Recorded::read(path)?))
}
