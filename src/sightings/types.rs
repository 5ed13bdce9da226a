//! What a sighting is, as records have it.

pub(super) use records::FileRef;
pub use records::{Best, PathPoint, PixelBox as RectJson, Sighting, SightingChange as Change};
