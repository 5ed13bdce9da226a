//! `spotter fetch`: a public model comes into the cache.

use std::io::Write;
use std::path::Path;

use hub::Wanted;

use crate::cli::FetchArgs;
use crate::error::{Error, Result};
use crate::models;

/// # Errors
/// The name means nothing, or the model cannot be had or run here.
pub(super) fn run(args: &FetchArgs) -> Result<()> {
    let wanted = Wanted::of(&args.model)?;
    let hub = models::open()?;
    let fetched = models::fetch(&hub, &wanted, args.update)?;
    let commit = fetched.manifest.as_ref().and_then(|manifest| manifest.commit.as_deref());
    let commit = commit.map_or(String::new(), |commit| format!(" (commit {commit})"));
    match (fetched.fresh, args.update) {
        (true, _) => tracing::info!("{}: fetched{commit}", args.model),
        (false, true) => tracing::info!("{}: the newest one is in the cache{commit}", args.model),
        (false, false) => tracing::info!("{}: is in the cache{commit}; --update asks for a newer one", args.model),
    }
    let text = format!("{}\n", fetched.path.display());
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(Error::io("write", Path::new("-")))
}
