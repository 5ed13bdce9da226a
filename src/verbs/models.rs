//! `spotter models`: which public models there are, and what of them is in the cache.

use std::io::Write;
use std::path::Path;

use hub::{Cache, Found, Known, Listed, Repository, Wanted};

use crate::cli::ModelsArgs;
use crate::error::{Error, Result};
use crate::models;

/// Digits of a commit that are enough to know it by.
const DIGITS: usize = 12;

/// # Errors
/// The cache cannot be read or changed, or what is to be removed is not in it.
pub(super) fn run(args: &ModelsArgs) -> Result<()> {
    let hub = models::open()?;
    if let Some(name) = &args.remove {
        return remove(name, hub.cache());
    }
    let text = listing(&hub::known()?, &hub.cache().list()?, hub.cache());
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(Error::io("write", Path::new("-")))
}

fn remove(name: &str, cache: &Cache) -> Result<()> {
    let repository = Wanted::of(name)?.repository;
    if cache.remove(&repository)? {
        tracing::info!("{name}: removed");
        return Ok(());
    }
    let root = cache.root().display();
    Err(Error::Usage(format!("--remove {name}: is not in {root}; `spotter models` lists what is")))
}

fn listing(known: &[Known], listed: &[Listed], cache: &Cache) -> String {
    let mut lines = vec![format!("cache  {}", cache.root().display())];
    let place = |entry: &Known| format!("{}@{}", entry.repository, entry.revision).parse::<Repository>().ok();
    for entry in known {
        let found = place(entry).map_or(Found::Absent, |repository| cache.find(&repository));
        let size = hub::bytes(entry.megabytes * 1_000_000);
        lines.extend([
            String::new(),
            format!("{}  {} {}, {size}, {}", entry.name, entry.repository, entry.revision, entry.licence),
            format!("    {}", entry.good_at),
            format!("    {}", state(&found)),
        ]);
    }
    let of_nobody = |listed: &&Listed| !known.iter().any(|entry| entry.is(&listed.repository));
    for Listed { repository, found } in listed.iter().filter(of_nobody) {
        let name = format!("{}  {}", repository.path(), repository.revision());
        lines.extend([String::new(), name, format!("    {}", state(found))]);
    }
    lines.join("\n") + "\n"
}

fn state(found: &Found) -> String {
    match found {
        Found::Absent => "not in the cache".to_owned(),
        Found::Partial { bytes } => format!("incomplete: {} came, `spotter fetch` goes on", hub::bytes(*bytes)),
        Found::Broken { path, lacks } => format!("incomplete: {} lacks {}", path.display(), lacks.join(" and ")),
        Found::Complete { path, manifest, bytes } => {
            let commit = manifest.as_ref().map(|manifest| manifest.commit.as_deref().unwrap_or("commit unknown"));
            let origin = commit.map_or("copied there", |commit| commit.get(..DIGITS).unwrap_or(commit));
            format!("complete: {}, {}, {origin}", path.display(), hub::bytes(*bytes))
        }
    }
}
