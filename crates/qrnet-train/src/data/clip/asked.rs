//! What is asked of a film.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use blocks::strict::{self, Strict};
use serde::{Deserialize, Serialize};

use super::super::read_bytes;
use crate::error::{Error, Result};

/// What `queries.toml` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// What is asked for.
    pub referent: Vec<Referent>,
}

/// One person or thing, and what it is called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Referent {
    /// Its name in reports.
    pub name: String,
    /// Its tracks in the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracks: Option<Vec<u64>>,
    /// Whether each track is a thing by itself, and all are asked for; without `tracks`, all of the table.
    #[serde(default)]
    pub all: bool,
    /// Left, top, width and height of a thing that does not move.
    #[serde(default, rename = "box", skip_serializing_if = "Option::is_none")]
    pub still: Option<[f64; 4]>,
    /// Ways to ask for it.
    pub phrases: Vec<String>,
}

impl Strict for Asked {
    fn example() -> Self {
        let phrases = vec!["phrase".to_owned()];
        let name = "name".to_owned();
        let referent = Referent { name, tracks: Some(vec![1]), all: true, still: Some([0.0; 4]), phrases };
        Self { referent: vec![referent] }
    }
}

impl Asked {
    /// Reads `queries.toml`.
    ///
    /// # Errors
    /// It cannot be read, holds an unknown key, or a referent without phrases, or one with neither or both of `tracks`
    /// and `box`; `all` may do without `tracks`, and does not go with `box`.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = read_bytes(path)?;
        let text = str::from_utf8(&bytes).map_err(|e| Error::file(path, e))?;
        let asked: Self = strict::toml(text, &path.display().to_string())?;
        if asked.referent.is_empty() {
            return Err(Error::file(path, "asks for nothing, expected at least one [[referent]]"));
        }
        let (mut names, mut askers) = (BTreeSet::new(), BTreeMap::new());
        for referent in &asked.referent {
            let fail = |reason: &str| Err(Error::entry(path, format!("referent {:?}", referent.name), reason));
            if !names.insert(&referent.name) {
                return fail("stands there twice, expected every name once");
            }
            if referent.phrases.is_empty() || referent.phrases.iter().any(|phrase| phrase.trim().is_empty()) {
                return fail("has no phrase, or an empty one; expected words that describe it");
            }
            for phrase in &referent.phrases {
                if let Some(other) = askers.insert(phrase.trim().to_lowercase(), &referent.name) {
                    return fail(&format!("asks {phrase:?} as {other:?} does, expected every phrase once"));
                }
            }
            match (&referent.tracks, referent.still) {
                (_, Some(_)) if referent.all => return fail("has both `all` and `box`, and a `box` is one thing"),
                (Some(_), None) => {}
                (None, None) if referent.all => {}
                (None, Some([x, y, w, h])) if [x, y].iter().all(|v| v.is_finite()) && w > 0.0 && h > 0.0 => {}
                (None, Some(_)) => return fail("`box` has no area, expected [left, top, width, height] in pixels"),
                _ => return fail("has both or neither of `tracks` and `box`, expected one of them"),
            }
        }
        Ok(asked)
    }
}
