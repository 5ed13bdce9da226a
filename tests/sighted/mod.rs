//! What is kept of sightings: clips of files, and the store.

mod clips;
mod store;
