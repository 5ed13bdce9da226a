//! Our own format: JSON Lines, one entry a line.
//!
//! ```json
//! {"image": "frames/0001.png", "phrase": "the red kite", "box": {"x": 12, "y": 30, "w": 80.5, "h": 44}}
//! {"image": "frames/0002.png", "phrase": "the red kite", "box": null, "kind": "name", "source": "park"}
//! ```
//!
//! `image` is relative to the file's folder; `box` is in pixels, or null where what the phrase names is not in the
//! picture; `kind`, `source` and `score` (how sure a model was that wrote the line; nobody reads it) may be left out. Where
//! [`corrections`] lie beside the file, a line of theirs replaces all lines of its picture and phrase, or adds one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use blocks::preprocess::Rect;
use blocks::strict::nearest;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::listed::{Collector, Entry};
use super::{corrections, read_bytes};
use crate::error::{Error, Result};

const KEYS: [&str; 6] = ["image", "phrase", "box", "kind", "source", "score"];
const BOX_KEYS: [&str; 4] = ["x", "y", "w", "h"];

#[derive(Deserialize)]
struct Line {
    image: String,
    phrase: String,
    #[serde(rename = "box")]
    target: Option<BoxOf>,
    kind: Option<String>,
    source: Option<String>,
    #[serde(rename = "score")]
    _score: Option<f64>,
}

#[derive(Deserialize)]
struct BoxOf {
    x: f64,
    y: f64,
    w: f64,
    h: f64,
}

/// One entry for every line of `file`, as it was corrected.
///
/// # Errors
/// The file is missing or empty; a line is no JSON, has a key that is not known or that stands there twice, or lacks
/// one that is needed; something is corrected twice.
pub fn read(file: &Path) -> Result<Vec<Entry>> {
    let entries = lines(file)?;
    let Some(corrections) = corrections::of(file) else { return Ok(entries) };
    let corrected = lines(&corrections)?;
    corrections::told(&corrections, corrected.len());
    let mut numbers = BTreeMap::new();
    for (number, entry) in corrected.iter().enumerate() {
        if numbers.insert((entry.picture.clone(), entry.phrase.clone()), number).is_some() {
            let reason = format!("corrects {:?} of this picture again, expected one line for both", entry.phrase);
            return Err(Error::entry(&corrections, &entry.place, reason));
        }
    }
    let mut corrected: Vec<Option<Entry>> = corrected.into_iter().map(Some).collect();
    let mut all: Vec<Entry> = Vec::with_capacity(entries.len() + corrected.len());
    for entry in entries {
        match numbers.get(&(entry.picture.clone(), entry.phrase.clone())) {
            // In the place of the first.
            Some(number) => all.extend(corrected[*number].take()),
            None => all.push(entry),
        }
    }
    all.extend(corrected.into_iter().flatten());
    Ok(all)
}

fn lines(file: &Path) -> Result<Vec<Entry>> {
    let bytes = read_bytes(file)?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut out = Collector::new(file, bytes.len());
    let lines = bytes.strip_suffix(b"\n").unwrap_or(&bytes).split(|b| *b == b'\n');
    for (number, line) in lines.enumerate() {
        let place = format!("line {}", number + 1);
        let Line { image, phrase, target, kind, source, .. } =
            parse(line).map_err(|reason| Error::entry(file, &place, reason))?;
        let target = target.map(|BoxOf { x, y, w, h }| Rect { x0: x, y0: y, x1: x + w, y1: y + h });
        out.push(place, folder.join(image), phrase, target)?;
        if let Some(entry) = out.last() {
            entry.source = source.map(Arc::from);
            if let Some(kind) = kind {
                entry.kind = kind.into();
            }
        }
    }
    Ok(out.finish())
}

fn parse(line: &[u8]) -> Result<Line, String> {
    if line.trim_ascii().is_empty() {
        return Err("is empty, expected an object".into());
    }
    let object: Map<String, Value> = serde_json::from_slice(line).map_err(|e| one_line(&e))?;
    known(&object, &KEYS, "")?;
    if let Some(Value::Object(inner)) = object.get("box") {
        known(inner, &BOX_KEYS, "box.")?;
    }
    if let Some(lacking) = KEYS[..3].iter().find(|key| !object.contains_key(**key)) {
        return Err(format!("lacks the key `{lacking}`"));
    }
    serde_json::from_slice(line).map_err(|e| one_line(&e))
}

/// What is wrong with a line, and where in it. There is but one: its number would mislead.
pub(super) fn one_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or(&text).to_owned();
    format!("column {}: {reason}", error.column())
}

fn known(object: &Map<String, Value>, keys: &[&str], prefix: &str) -> Result<(), String> {
    let Some(unknown) = object.keys().find(|key| !keys.contains(&key.as_str())) else { return Ok(()) };
    let expected = match nearest(unknown, keys.iter().copied()) {
        Some(near) => format!("did you mean `{prefix}{near}`?"),
        None => format!("expected one of {}", keys.join(", ")),
    };
    Err(format!("unknown key `{prefix}{unknown}`; {expected}"))
}
