//! Our own format: JSON Lines, one entry a line.
//!
//! ```json
//! {"image": "frames/0001.png", "phrase": "the red kite", "box": {"x": 12, "y": 30, "w": 80.5, "h": 44}}
//! {"image": "frames/0002.png", "phrase": "the red kite", "box": null, "kind": "name", "source": "park"}
//! ```
//!
//! `image` is relative to the file's folder; `box` is in pixels, or null where what the phrase names is not in the
//! picture; `kind` and `source` may be left out.

use std::path::Path;
use std::sync::Arc;

use blocks::preprocess::Rect;
use blocks::strict::nearest;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::listed::{Collector, Entry};
use super::read_bytes;
use crate::error::{Error, Result};

const KEYS: [&str; 5] = ["image", "phrase", "box", "kind", "source"];
const BOX_KEYS: [&str; 4] = ["x", "y", "w", "h"];

#[derive(Deserialize)]
struct Line {
    image: String,
    phrase: String,
    #[serde(rename = "box")]
    target: Option<BoxOf>,
    kind: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct BoxOf {
    x: f64,
    y: f64,
    w: f64,
    h: f64,
}

/// One entry for every line of `file`.
///
/// # Errors
/// The file is missing or empty; a line is no JSON, has a key that is not known or that stands there twice, or lacks
/// one that is needed.
pub fn read(file: &Path) -> Result<Vec<Entry>> {
    let bytes = read_bytes(file)?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut out = Collector::new(file, bytes.len());
    let lines = bytes.strip_suffix(b"\n").unwrap_or(&bytes).split(|b| *b == b'\n');
    for (number, line) in lines.enumerate() {
        let place = format!("line {}", number + 1);
        let Line { image, phrase, target, kind, source } =
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
