//! `/api/v1`: what docs/openapi.json describes.

pub(super) mod findings;
pub(super) mod health;
pub(super) mod places;
pub(super) mod queries;
pub(super) mod session;
pub(super) mod sightings;
pub(super) mod streams;
