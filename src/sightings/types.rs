//! What a sighting is, as records have it.

pub use records::{Best, FileRef, PathPoint, PixelBox as RectJson, Sighting, SightingChange as Change};
