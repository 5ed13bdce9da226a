//! Public models by their names: in the cache of this machine, or fetched into it where the user wants that.

mod accept;
mod progress;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use hub::{Cache, Fetched, Found, Held, Hub, Repository, Settings, Wanted};

use crate::error::{Error, Result};
use crate::notify::tls;
use crate::secrets;
use accept::Families;
use progress::Display;

/// Whether nobody is to be asked before a model is fetched.
static CONSENT: AtomicBool = AtomicBool::new(false);

/// Whether the user said beforehand that a model that is not here is to be fetched (`--yes`).
pub(crate) fn consent(yes: bool) {
    CONSENT.store(yes, Ordering::Relaxed);
}

/// The hub and the cache that the environment names. The token is hidden from then on.
///
/// # Errors
/// The environment names no hub or no place.
pub(crate) fn open() -> Result<Hub> {
    let settings = Settings::from_env()?;
    if let Some(token) = &settings.token {
        secrets::hide(token);
    }
    Ok(Hub::new(settings, tls::client(None)?)?)
}

/// Brings a model into the cache, where it is not there; with `update` the hub is asked for a newer one. Says how it goes.
///
/// # Errors
/// It cannot be had, or is none that can be run here.
pub(crate) fn fetch(hub: &Hub, wanted: &Wanted, update: bool) -> Result<Fetched> {
    let mut display = Display::new(&wanted.repository);
    let accept = Families { repository: &wanted.repository };
    let fetched = hub.fetch(wanted, update, &accept, &mut |event| display.show(event));
    drop(display);
    let fetched = fetched?;
    if fetched.fresh {
        warn_of_unchecked(&fetched);
    }
    Ok(fetched)
}

/// Weights that nothing but their length speaks for are told of.
fn warn_of_unchecked(fetched: &Fetched) {
    let files = fetched.manifest.iter().flat_map(|manifest| &manifest.files);
    for file in files.filter(|file| file.checked == hub::Checked::Length && file.name.ends_with(".safetensors")) {
        tracing::warn!(
            "{}: the hub names no checksum, so only its length was checked (SHA-256 {})",
            file.name,
            file.sha256
        );
    }
}

/// The model directory of that name: the folder itself, or that of a public model in the cache.
///
/// # Errors
/// It is a public model that is not in the cache.
pub(crate) fn find(named: &Path) -> Result<PathBuf> {
    resolve(named, |hub, asked| Err(asked.refusal(hub)))
}

/// The same. A model that is not in the cache is fetched where the user said so beforehand (`--yes`) or says so now, on a
/// terminal; never unasked.
///
/// # Errors
/// It is a public model that is not in the cache, and nobody wants it, or it cannot be had.
pub(crate) fn find_or_fetch(named: &Path) -> Result<PathBuf> {
    resolve(named, |hub, asked| {
        if CONSENT.load(Ordering::Relaxed) || ask(hub, asked)? {
            return Ok(fetch(hub, &asked.wanted, false)?.path);
        }
        Err(asked.refusal(hub))
    })
}

/// A public model that is not in the cache.
struct Asked {
    /// As it was typed.
    text: String,
    wanted: Wanted,
    /// What is wrong with what the cache has.
    state: String,
}

impl Asked {
    fn about(&self) -> String {
        self.wanted.known.as_ref().map_or(String::new(), |known| {
            format!(" (about {}, {})", hub::bytes(known.megabytes * 1_000_000), known.licence)
        })
    }

    fn refusal(&self, hub: &Hub) -> Error {
        let Self { text, state, .. } = self;
        let about = self.about();
        let remedy = hub.remedy(&self.wanted.repository);
        Error::Usage(format!("{text}: {state}; `spotter fetch {text}` fetches it{about}, or {remedy}"))
    }
}

/// Keeps a model directory as it is while it is read, where it is one of the cache: an update that came between two of its files
/// would give half of either.
pub(crate) fn hold(folder: &Path) -> Option<Held> {
    Cache::new(Settings::from_env().ok()?.cache).hold(folder)
}

fn resolve(named: &Path, otherwise: impl FnOnce(&Hub, &Asked) -> Result<PathBuf>) -> Result<PathBuf> {
    let Some((text, wanted)) = public(named)? else { return Ok(named.to_path_buf()) };
    let hub = open()?;
    let state = match hub.cache().find(&wanted.repository) {
        Found::Complete { path, .. } => {
            tracing::debug!("{text}: {}", path.display());
            return Ok(path);
        }
        Found::Broken { path, lacks } => format!("{} lacks {}", path.display(), lacks.join(" and ")),
        Found::Partial { bytes } => format!("is no folder, and only a part of it came yet ({})", hub::bytes(bytes)),
        Found::Absent => "is no folder, and not in the cache".to_owned(),
    };
    otherwise(&hub, &Asked { text: text.to_owned(), wanted, state })
}

/// Which public model is meant, if one is: what is there is meant by its path, and so is what looks like one.
fn public(named: &Path) -> Result<Option<(&str, Wanted)>> {
    let Some(text) = named.to_str().filter(|_| !named.exists()) else { return Ok(None) };
    let name = text.split('@').next().unwrap_or_default();
    if text.contains('/') {
        let repository = text.parse::<Repository>().ok();
        // A misspelt folder among others, as in models/mien.
        let Some(repository) = repository.filter(|found| !Path::new(found.owner()).is_dir()) else { return Ok(None) };
        return Ok(Some((text, Wanted::of(&repository.to_string())?)));
    }
    let known = hub::known()?;
    let names = || known.iter().map(|entry| entry.name.as_str());
    if names().any(|known| known == name) {
        return Ok(Some((text, Wanted::of(text)?)));
    }
    match blocks::strict::nearest(name, names()) {
        Some(near) => Err(Error::Usage(format!(
            "{text}: is neither a folder nor a model that is known (`spotter models` lists those); did you mean {near}?"
        ))),
        None => Ok(None),
    }
}

/// Asks on a terminal; without one the answer is no.
fn ask(hub: &Hub, asked: &Asked) -> Result<bool> {
    let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
    if hub.is_offline() || !stdin.is_terminal() || !stderr.is_terminal() {
        return Ok(false);
    }
    let (text, state, about, from) = (&asked.text, &asked.state, asked.about(), hub.name());
    let question = format!("{text}: {state}. Fetch {} from {from}{about}? [y/N] ", asked.wanted.repository);
    let terminal = Path::new("the terminal");
    stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush()).map_err(Error::io("write", terminal))?;
    let mut answer = String::new();
    stdin.read_line(&mut answer).map_err(Error::io("read", terminal))?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(text: &str) -> Option<String> {
        public(Path::new(text)).expect("no complaint").map(|(_, wanted)| wanted.repository.to_string())
    }

    #[test]
    fn names_of_public_models_and_of_folders_are_told_apart() {
        assert_eq!(meant("llmdet-tiny").as_deref(), Some("iSEE-Laboratory/llmdet_tiny"));
        assert_eq!(meant("llmdet-tiny@v1").as_deref(), Some("iSEE-Laboratory/llmdet_tiny@v1"));
        assert_eq!(meant("somebody/something@main").as_deref(), Some("somebody/something"));
        for path in [
            ".",
            "/",
            "models/spotter-tiny",
            // The folder beside it is there, so this one is misspelt.
            "models/nothing",
            "./somebody/something",
            "../somebody/something",
            "/somebody/something",
            "somebody/something/else",
            "something-of-my-own-that-is-not-there",
        ] {
            assert_eq!(meant(path), None, "{path}");
        }
        let said = public(Path::new("lmdet-tiny")).expect_err("misspelt").to_string();
        assert!(said.starts_with("lmdet-tiny: is neither") && said.ends_with("did you mean llmdet-tiny?"), "{said}");
    }
}
