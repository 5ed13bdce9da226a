//! From arguments as typed to settings as meant: resolved, checked, and the only thing that travels on.

mod archive;
mod model;
mod outputs;
mod page;
mod places_file;
mod queries;
mod reload;
mod run;
mod run_file;
mod sightings;
mod streams;
mod time;

use crate::error::Error;

pub use archive::{ClipsEntry, KeepEntry};
pub(crate) use model::{check_device, chosen, chosen_or_fetched};
pub use model::{device, load_compiler, load_model, model_variant, threshold};
pub use page::{PageEntry, PageTable};
pub use places_file::PlacesFile;
pub(crate) use places_file::{Place, version_of};
pub use queries::{QueryEntries, QueryEntry};
pub use reload::{Origin, ReloadedQueries};
pub(crate) use run::place_of_control;
pub use run::{Hysteresis, RunSettings, StreamSettings};
pub use run_file::RunFile;
pub use sightings::{FramesOrTime, LineEntry, SightingsEntry, ZoneEntry};
pub use streams::StreamEntry;
pub(crate) use streams::is_streams_file;
pub(crate) use time::parse as parse_time;

fn missing(flag: &str, example: &str) -> Error {
    Error::Usage(format!("--{flag} is missing, as in --{flag} {example}"))
}
