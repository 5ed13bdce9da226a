//! Queries as they are written: on the command line, and in settings files as a sentence or as tables.

use std::str::FromStr;
use std::time::Duration;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::missing;
use super::sightings::{self, FramesOrTime};
use super::time::{LONGEST, duration};
use crate::error::{Error, Result};
use crate::service::check_all;
use crate::sightings::QuerySighting;
use crate::stage::QuerySettings;

/// One query of a `[[query]]` or `[[stream.query]]` table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryEntry {
    /// How records, metrics and commands call it; by its sentence where it is not said.
    #[serde(default)]
    pub name: Option<String>,
    /// The sentence.
    pub text: String,
    /// As `--threshold`, for this query.
    #[serde(default)]
    pub threshold: Option<f32>,
    /// As `--hysteresis`, for this query.
    #[serde(default)]
    pub hysteresis: Option<f32>,
    /// As `--hold`, for this query.
    #[serde(default)]
    pub hold: Option<String>,
    /// Whether all that match are wanted, and not the best alone.
    #[serde(default)]
    pub all: Option<bool>,
    /// As `--confirm`, for this query.
    #[serde(default)]
    pub confirm: Option<FramesOrTime>,
    /// As `--forget`, for this query.
    #[serde(default)]
    pub forget: Option<String>,
    /// As `cooldown` of `[sightings]`, for this query.
    #[serde(default)]
    pub cooldown: Option<String>,
    /// Only sightings that were in one of these zones are told.
    #[serde(default)]
    pub required_zones: Vec<String>,
}

impl QueryEntry {
    /// With every key set.
    pub(super) fn example() -> Self {
        Self {
            name: Some(String::new()),
            text: String::new(),
            threshold: Some(0.5),
            hysteresis: Some(0.1),
            hold: Some(String::new()),
            all: Some(true),
            confirm: Some(FramesOrTime::Frames(1)),
            forget: Some(String::new()),
            cooldown: Some(String::new()),
            required_zones: vec![String::new()],
        }
    }

    fn resolve(&self) -> Result<QuerySettings> {
        let Self { name, text, threshold, hysteresis, hold, all, .. } = self;
        let own = QuerySettings::of(text);
        let time = |flag: &str, text: &Option<String>| {
            let range = Duration::ZERO..=LONGEST;
            text.as_deref().map(|text| duration(flag, Some(text), Duration::ZERO, range)).transpose()
        };
        let hold = time("hold", hold)?;
        Ok(QuerySettings {
            name: name.clone().unwrap_or(own.name),
            text: own.text,
            threshold: *threshold,
            hysteresis: *hysteresis,
            hold,
            all: all.unwrap_or(false),
            sighting: QuerySighting {
                confirm: self.confirm.as_ref().map(sightings::confirm).transpose()?,
                forget: time("forget", &self.forget)?,
                cooldown: time("cooldown", &self.cooldown)?,
                required_zones: self.required_zones.clone(),
            },
        })
    }
}

impl From<&str> for QueryEntry {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }
}

impl FromStr for QueryEntry {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(text.into())
    }
}

/// `query = "…"`, or `[[query]]` tables.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum QueryEntries {
    /// A sentence.
    Text(String),
    /// Tables.
    Tables(Vec<QueryEntry>),
}

impl QueryEntries {
    /// One by one.
    pub fn list(self) -> Vec<QueryEntry> {
        match self {
            Self::Text(text) => vec![text.as_str().into()],
            Self::Tables(entries) => entries,
        }
    }
}

impl<'de> Deserialize<'de> for QueryEntries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = QueryEntries;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a sentence, or [[query]] tables with text = \"…\"")
            }

            fn visit_str<E>(self, text: &str) -> std::result::Result<Self::Value, E> {
                Ok(QueryEntries::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = seq.next_element()? {
                    entries.push(entry);
                }
                Ok(QueryEntries::Tables(entries))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// The queries of one stream.
///
/// # Errors
/// There are none, or they cannot be asked side by side.
pub(super) fn resolve(entries: &[QueryEntry]) -> Result<Vec<QuerySettings>> {
    if entries.is_empty() {
        return Err(missing("query", "\"a person\""));
    }
    let queries = entries.iter().map(QueryEntry::resolve).collect::<Result<Vec<_>>>()?;
    check_all(&queries).map_err(|reason| Error::Usage(format!("--query: {reason}")))?;
    Ok(queries)
}
