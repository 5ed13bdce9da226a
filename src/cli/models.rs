//! `spotter models` as typed.

use clap::Args;

/// List public models: those that have a short name, and those that are in the cache.
#[derive(Debug, Args)]
pub struct ModelsArgs {
    /// Remove a model from the cache: a name, or owner/repo with @revision where that is not main.
    #[arg(long, value_name = "NAME|OWNER/REPO[@REVISION]")]
    pub remove: Option<String>,
}
