//! What is kept of sightings: clips of files, the store, and whole runs.

mod archive;
mod clips;
pub(crate) mod live;
mod store;
