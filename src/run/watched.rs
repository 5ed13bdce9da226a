//! Sightings of the streams of a run.

use std::sync::Arc;

use crate::config::{RunSettings, StreamSettings};
use crate::error::Result;
use crate::sightings::{Origin, Sightings, WatchedQuery};
use crate::sink::file_name;
use crate::stage::{ActiveQueries, ActiveQuery};

/// What streams are asked, as sightings take it.
pub(super) fn watched(queries: &ActiveQueries) -> Vec<WatchedQuery> {
    let watched =
        |active: &Arc<ActiveQuery>| WatchedQuery { tracked: active.tracked.clone(), own: active.sighting.clone() };
    queries.iter().map(watched).collect()
}

/// The sightings of each stream, where somebody wants them.
///
/// # Errors
/// A journal cannot be written, or another run keeps it.
pub(super) fn sightings(
    settings: &RunSettings,
    queries: &[ActiveQueries],
    run_id: &Arc<str>,
) -> Result<Vec<Option<Sightings>>> {
    let of_stream = |(stream, queries): (&StreamSettings, &ActiveQueries)| {
        let Some(wanted) = &stream.sightings else { return Ok(None) };
        let name = &stream.address.name;
        let origin = Origin { run_id: run_id.to_string(), stream: name.clone(), file_name: file_name(name) };
        Sightings::new(wanted, origin, watched(queries), stream.address.is_live()).map(Some)
    };
    settings.streams.iter().zip(queries).map(of_stream).collect()
}
