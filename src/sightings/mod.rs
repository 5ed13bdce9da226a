//! Sightings: stays of things, and what is kept of them.

mod clip;
mod container;
mod cues;
mod decode_order;
mod part;
mod recorder;
pub mod snapshot;
mod store;
mod types;
mod writer;

pub use clip::Clips;
pub use container::Container;
pub use recorder::{ClipSettings, Finished};
pub use store::{Filter, Keep, Removed, Store, Stored, day_folder};
pub use types::{Best, Change, FileRef, PathPoint, RectJson, Sighting};
