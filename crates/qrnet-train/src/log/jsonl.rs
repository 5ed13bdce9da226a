//! `log.jsonl`: one JSON object a line.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use blocks::files;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::error::{Error, Result};

/// Name of the log in a run's folder.
pub const FILE: &str = "log.jsonl";

/// Keys of every line, which no scalar may take.
pub(super) const RESERVED: [&str; 3] = ["step", "samples", "kind"];

/// Which half of a run a line tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The training steps since the line before.
    Train,
    /// An evaluation.
    Eval,
}

impl Kind {
    /// `train` or `eval`, as the log spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Eval => "eval",
        }
    }
}

/// One line, read back.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "Object")]
pub struct Line {
    /// Optimiser steps done.
    pub step: u64,
    /// Examples seen.
    pub samples: u64,
    /// Which half of the run.
    pub kind: Kind,
    /// Values by name, in name order; `NaN` where the value was not finite.
    pub scalars: Vec<(String, f64)>,
}

#[derive(Deserialize)]
struct Object {
    step: u64,
    samples: u64,
    kind: Kind,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

impl From<Object> for Line {
    fn from(object: Object) -> Self {
        let number = |value: &serde_json::Value| if value.is_null() { Some(f64::NAN) } else { value.as_f64() };
        let scalars = object.rest.iter().filter_map(|(name, value)| Some((name.clone(), number(value)?))).collect();
        Self { step: object.step, samples: object.samples, kind: object.kind, scalars }
    }
}

/// Keys in the order of writing: serde's derive cannot flatten a slice of pairs.
struct Written<'a> {
    step: u64,
    samples: u64,
    kind: Kind,
    scalars: &'a [(&'a str, f64)],
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3 + self.scalars.len()))?;
        map.serialize_entry("step", &self.step)?;
        map.serialize_entry("samples", &self.samples)?;
        map.serialize_entry("kind", &self.kind)?;
        for (name, value) in self.scalars {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// The log, open for appending.
pub(super) struct Writer {
    path: PathBuf,
    file: File,
    /// Whether the file holds no line.
    pub(super) empty: bool,
}

impl Writer {
    /// Opens `path`, cuts a torn last line and drops lines whose step is at least `resume_step`.
    pub(super) fn open(path: &Path, resume_step: Option<u64>) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.map_err(Error::io("read", path))?,
        };
        let mut kept = String::with_capacity(text.len());
        for (raw, line) in parse(path, &text)? {
            if resume_step.is_none_or(|resume| line.step < resume) {
                kept.push_str(raw);
                kept.push('\n');
            }
        }
        if kept != text {
            files::write(path, &kept)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(Error::io("write", path))?;
        Ok(Self { path: path.to_path_buf(), file, empty: kept.is_empty() })
    }

    pub(super) fn append(&mut self, step: u64, samples: u64, kind: Kind, scalars: &[(&str, f64)]) -> Result<()> {
        let mut line = serde_json::to_vec(&Written { step, samples, kind, scalars })
            .map_err(|error| Error::file(&self.path, error))?;
        line.push(b'\n');
        self.empty = false;
        self.file.write_all(&line).map_err(Error::io("write", &self.path))
    }
}

/// Every line of a log; a torn last one is left out.
///
/// # Errors
/// The file cannot be read, or a line is none of ours.
pub fn read(path: &Path) -> Result<Vec<Line>> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    Ok(parse(path, &text)?.into_iter().map(|(_, line)| line).collect())
}

/// Lines as they stand, each with what it says.
fn parse<'a>(path: &Path, text: &'a str) -> Result<Vec<(&'a str, Line)>> {
    let whole = text.ends_with('\n');
    let count = text.lines().count();
    let mut lines = Vec::with_capacity(count);
    for (number, raw) in text.lines().enumerate() {
        match serde_json::from_str(raw) {
            Ok(line) => lines.push((raw, line)),
            Err(_) if number + 1 == count && !whole => {}
            Err(error) => return Err(Error::entry(path, format!("line {}", number + 1), error)),
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, resume: Option<u64>, steps: std::ops::Range<u64>) {
        let mut log = Writer::open(path, resume).expect("opens");
        for step in steps {
            log.append(step, 8 * step, Kind::Train, &[("loss", 1.0 / (step + 1) as f64), ("acc50", 0.5)])
                .expect("appends");
        }
    }

    #[test]
    fn stopped_and_resumed_equals_undisturbed() {
        let dir = tempfile::tempdir().expect("a folder");
        let (whole, broken) = (dir.path().join("whole"), dir.path().join("broken"));
        write(&whole, None, 0..10);
        write(&broken, None, 0..7);
        std::fs::OpenOptions::new()
            .append(true)
            .open(&broken)
            .and_then(|mut f| f.write_all(b"{\"step\":7,\"sam"))
            .expect("torn");
        write(&broken, Some(4), 4..10);
        let text = std::fs::read_to_string(&whole).expect("text");
        assert_eq!(text, std::fs::read_to_string(&broken).expect("text"));
        assert!(
            text.starts_with("{\"step\":0,\"samples\":0,\"kind\":\"train\",\"loss\":1.0,\"acc50\":0.5}\n"),
            "{text}"
        );
    }

    #[test]
    fn a_torn_line_goes_and_a_whole_one_without_its_end_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join(FILE);
        std::fs::write(&path, "{\"step\":1,\"samples\":8,\"kind\":\"eval\"}").expect("written");
        write(&path, None, 2..3);
        assert_eq!(read(&path).expect("reads").iter().map(|l| l.step).collect::<Vec<_>>(), [1, 2]);
        std::fs::write(&path, "{\"step\":1,\"samples\":8,\"kind\":\"eval\"}\n{\"st").expect("written");
        write(&path, None, 2..3);
        assert_eq!(read(&path).expect("reads").iter().map(|l| l.step).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn not_finite_is_null_and_strangers_are_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join(FILE);
        let mut log = Writer::open(&path, None).expect("opens");
        log.append(3, 24, Kind::Eval, &[("loss", f64::NAN), ("lr", f64::INFINITY)]).expect("appends");
        let lines = read(&path).expect("reads");
        assert!(lines[0].scalars.iter().all(|(_, value)| value.is_nan()) && lines[0].scalars.len() == 2, "{lines:?}");
        std::fs::write(&path, "{\"step\":1}\n{\"step\":2}\n").expect("written");
        let message = Writer::open(&path, None).err().expect("no line of ours").to_string();
        assert!(message.contains("line 1") && message.contains("samples"), "{message}");
    }
}
