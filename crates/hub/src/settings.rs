//! Where the hub is, where the cache is, and who asks: from the environment, by the names that Hugging Face's tools use.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use url::Url;

use crate::error::{Error, Result};

/// The hub where nothing else is said.
const HUB: &str = "https://huggingface.co";
/// The program's folder within a cache, and that of models within it.
const OWN: &str = "spotter";
const MODELS: &str = "models";

/// Who is asked, and where models are kept.
#[derive(Clone)]
pub struct Settings {
    /// The hub (`HF_ENDPOINT`).
    pub endpoint: Url,
    /// What opens private and gated repositories (`HF_TOKEN`, or the file in which Hugging Face's tools keep it). It goes to
    /// the hub alone.
    pub token: Option<String>,
    /// The folder of the cache.
    pub cache: PathBuf,
    /// Nothing is to be asked for (`HF_HUB_OFFLINE`).
    pub offline: bool,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = self.token.as_ref().map(|_| "***");
        f.debug_struct("Settings")
            .field("endpoint", &self.endpoint.as_str())
            .field("token", &token)
            .field("cache", &self.cache)
            .field("offline", &self.offline)
            .finish()
    }
}

impl Settings {
    /// As the process' environment says.
    ///
    /// # Errors
    /// `HF_ENDPOINT` is no address, or there is no place for a cache.
    pub fn from_env() -> Result<Self> {
        Self::of(&|name| std::env::var_os(name))
    }

    /// As an environment says.
    ///
    /// # Errors
    /// As [`Settings::from_env`].
    pub fn of(environment: &dyn Fn(&str) -> Option<OsString>) -> Result<Self> {
        let said = |name: &str| environment(name).filter(|value| !value.is_empty());
        let text = |name: &str| said(name).and_then(|value| value.into_string().ok());
        let home = said("HOME").map(PathBuf::from);
        let usual = said("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| home.as_ref().map(|home| home.join(".cache")));
        // systemd may name several.
        let of_service = text("CACHE_DIRECTORY")
            .and_then(|all| all.split(':').next().map(|first| PathBuf::from(first).join(MODELS)));
        let own = said("SPOTTER_HOME").map(|home| PathBuf::from(home).join(MODELS));
        let cache = own.or(of_service).or_else(|| usual.as_ref().map(|usual| usual.join(OWN).join(MODELS)));
        let cache = cache.ok_or_else(|| {
            let wanted = "SPOTTER_HOME, XDG_CACHE_HOME or HOME: one is needed to know where models are kept";
            Error::Usage(wanted.into())
        })?;
        let endpoint = endpoint(text("HF_ENDPOINT").as_deref().unwrap_or(HUB))?;
        let tokens = said("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| {
            let theirs = said("HF_HOME").map(PathBuf::from).or_else(|| Some(usual?.join("huggingface")));
            theirs.map(|theirs| theirs.join("token"))
        });
        // A token that was kept for the hub goes to nobody in clear.
        let is_hidden =
            endpoint.scheme() == "https" || endpoint.host_str().is_some_and(|host| LOOPBACK.contains(&host));
        let kept = || std::fs::read_to_string(tokens.as_deref().filter(|_| is_hidden)?).ok();
        let token = text("HF_TOKEN").or_else(kept);
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        let offline = text("HF_HUB_OFFLINE")
            .is_some_and(|value| ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str()));
        let cache =
            if cache.is_absolute() { cache } else { std::path::absolute(&cache).map_err(Error::io("find", &cache))? };
        Ok(Self { endpoint, token, cache, offline })
    }
}

/// This machine, where nobody listens on the way.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "[::1]", "localhost"];

fn endpoint(text: &str) -> Result<Url> {
    let fail = |reason: &str| Error::Usage(format!("HF_ENDPOINT {reason}, expected an address such as {HUB}"));
    let url = Url::parse(text.trim().trim_end_matches('/')).map_err(|e| fail(&format!("{text:?} is none ({e})")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(fail("holds a login, which belongs in HF_TOKEN"));
    }
    let is_web = ["http", "https"].contains(&url.scheme()) && url.host_str().is_some();
    if !is_web || url.query().is_some() || url.fragment().is_some() {
        return Err(fail(&format!("is {text:?}")));
    }
    Ok(url)
}

/// What to do without a network.
pub(crate) fn remedy(endpoint: &Url, repository: &crate::Repository, place: &Path) -> String {
    let from = address(endpoint, &repository.path());
    let at = if repository.revision() == crate::wanted::MAIN {
        String::new()
    } else {
        format!(" at {}", repository.revision())
    };
    format!(
        "without a network, copy config.json, model.safetensors (or model.safetensors.index.json and its parts), tokenizer.json \
         or vocab.txt, and preprocessor_config.json of {from}{at} into {}",
        place.display()
    )
}

/// An address on the hub.
pub(crate) fn address(endpoint: &Url, path: &str) -> String {
    format!("{}/{path}", endpoint.as_str().trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(set: &[(&str, &str)]) -> Result<Settings> {
        Settings::of(&|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value)))
    }

    #[test]
    fn the_cache_has_its_place() {
        let cache = |set: &[(&str, &str)]| of(set).expect("valid").cache.display().to_string();
        assert_eq!(cache(&[("HOME", "/h")]), "/h/.cache/spotter/models");
        assert_eq!(cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]), "/c/spotter/models");
        let service = [("HOME", "/h"), ("XDG_CACHE_HOME", "/c"), ("CACHE_DIRECTORY", "/var/cache/spotter:/x")];
        assert_eq!(cache(&service), "/var/cache/spotter/models");
        assert_eq!(cache(&[&service[..], &[("SPOTTER_HOME", "/s")]].concat()), "/s/models");
        assert!(cache(&[("SPOTTER_HOME", "s")]).starts_with('/'), "wherever it is used from");
        assert!(of(&[]).is_err_and(|error| error.is_usage()));
    }

    #[test]
    fn the_hub_is_an_address() {
        let hub = |text: &str| of(&[("HOME", "/h"), ("HF_ENDPOINT", text)]);
        let is = |text: &str| address(&hub(text).expect("valid").endpoint, "a/b");
        assert_eq!(is(""), "https://huggingface.co/a/b");
        assert_eq!(is("http://127.0.0.1:8080/"), "http://127.0.0.1:8080/a/b");
        assert_eq!(is("https://mirror.example/api/hf//"), "https://mirror.example/api/hf/a/b");
        for wrong in ["hub", "ftp://hub", "https://", "https://hub?x=1", "file:///x"] {
            let error = hub(wrong).expect_err("no address").to_string();
            assert!(error.starts_with("HF_ENDPOINT ") && error.contains("expected an address"), "{error}");
        }
        let login = hub("https://me:secret@hub").expect_err("a login").to_string();
        assert!(!login.contains("secret"), "{login}");
    }

    #[test]
    fn the_token_is_where_others_keep_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::create_dir_all(folder.path().join("cache/huggingface")).expect("made");
        std::fs::write(path("cache/huggingface/token"), "usual\n").expect("written");
        std::fs::write(path("token"), " theirs\n").expect("written");
        std::fs::write(path("named"), "named").expect("written");
        let (home, cache, named) = (path(""), path("cache"), path("named"));
        let token = |set: &[(&str, &str)]| {
            let all = [&[("HOME", "/nowhere"), ("XDG_CACHE_HOME", cache.as_str())][..], set].concat();
            of(&all).expect("valid").token
        };
        assert_eq!(token(&[]).as_deref(), Some("usual"));
        assert_eq!(token(&[("HF_HOME", &home)]).as_deref(), Some("theirs"));
        assert_eq!(token(&[("HF_HOME", &home), ("HF_TOKEN_PATH", &named)]).as_deref(), Some("named"));
        assert_eq!(token(&[("HF_HOME", &home), ("HF_TOKEN", " mine ")]).as_deref(), Some("mine"));
        assert_eq!(token(&[("HF_HOME", "/nowhere")]), None);
        assert_eq!(token(&[("HF_ENDPOINT", "http://hub.example")]), None, "in clear");
        assert_eq!(token(&[("HF_ENDPOINT", "http://[::1]:8080")]).as_deref(), Some("usual"));
        let named = token(&[("HF_ENDPOINT", "http://hub.example"), ("HF_TOKEN", "mine")]);
        assert_eq!(named.as_deref(), Some("mine"), "whoever names it wants it");
        let settings = of(&[("HOME", "/h"), ("HF_TOKEN", "hf_secret")]).expect("valid");
        assert!(!format!("{settings:?}").contains("hf_secret"));
    }

    #[test]
    fn offline_is_said() {
        let offline = |value: &str| of(&[("HOME", "/h"), ("HF_HUB_OFFLINE", value)]).expect("valid").offline;
        assert_eq!(["1", "true", "ON", "0", ""].map(offline), [true, true, true, false, false]);
    }
}
