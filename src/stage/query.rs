//! What a stream is asked.

use std::sync::Arc;
use std::time::Duration;

use grounding::CompiledQuery;
use records::track::TrackedQuery;
use records::{Change, Query};
use serde::{Deserialize, Serialize};

use crate::sightings::QuerySighting;

/// A query as it is wanted; what is left open, the run decides.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct QuerySettings {
    /// How records, metrics and commands call it.
    pub name: String,
    /// The sentence.
    pub text: String,
    /// Presence from which on it counts as there, 0..1; the run's where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f32>,
    /// How far presence may fall below the threshold, 0..1; the run's where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hysteresis: Option<f32>,
    /// How long the last box stands in for a missing one; the run's where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Duration>,
    /// Whether all that match are wanted, and not the best alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// What it wants of sightings otherwise than its stream.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub sighting: QuerySighting,
}

fn is_usual(sighting: &QuerySighting) -> bool {
    *sighting == QuerySighting::default()
}

impl QuerySettings {
    /// A sentence, called by itself.
    pub fn of(text: &str) -> Self {
        Self { name: Query::name_of(text), text: text.to_owned(), ..Self::default() }
    }
}

/// A change of the queries of a stream, in force from one moment on.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryUpdate {
    /// All its queries from then on.
    pub queries: ActiveQueries,
    /// What is new about them.
    pub changes: Vec<(Change, Arc<ActiveQuery>)>,
}

/// The queries of a stream, in the order in which they are answered.
pub type ActiveQueries = Arc<[Arc<ActiveQuery>]>;

/// A query that a stream is asked.
#[derive(Clone)]
pub struct ActiveQuery {
    /// The query, and how its measurements become claims.
    pub tracked: TrackedQuery,
    /// The sentence as the model takes it; none for models that read it themselves.
    pub compiled: Option<Arc<CompiledQuery>>,
    /// What it wants of sightings otherwise than its stream.
    pub sighting: QuerySighting,
}

/// By what is asked: a sentence is compiled to the same thing every time.
impl PartialEq for ActiveQuery {
    fn eq(&self, other: &Self) -> bool {
        (&self.tracked, &self.sighting) == (&other.tracked, &other.sighting)
    }
}

impl std::fmt::Debug for ActiveQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ActiveQuery").field("tracked", &self.tracked).finish_non_exhaustive()
    }
}

/// Copies of what `queries` ask, as a track takes them.
pub fn tracked(queries: &[Arc<ActiveQuery>]) -> Vec<TrackedQuery> {
    queries.iter().map(|active| active.tracked.clone()).collect()
}
