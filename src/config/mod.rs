//! From arguments as typed to settings as meant: resolved, checked, and the only thing that travels on.

mod model;
mod run;
mod run_file;

pub(crate) use model::check_device;
pub use model::{device, load_model, model_variant, threshold};
pub use run::RunSettings;
pub use run_file::RunFile;
