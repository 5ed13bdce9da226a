//! A cache in a folder of its own, and a model of which only the shape matters.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hub::{Accept, Cache, Error, Fetched, Found, Hub, Patience, Repository, Settings, Wanted};

use crate::server::{HubServer, REPOSITORY};

pub(crate) const TOKEN: &str = "hf_t0ken";
pub(crate) const WEIGHTS: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// Bytes that differ from place to place.
pub(crate) fn weights(length: usize, seed: u8) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(seed);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A hub with a model in it.
pub(crate) fn server() -> HubServer {
    HubServer::start(&[
        ("config.json", br#"{"model_type": "right"}"#, false),
        ("tokenizer.json", br#"{"tokens": []}"#, false),
        ("vocab.txt", b"a", false),
        ("preprocessor_config.json", b"{}", false),
        ("README.md", b"# A model", false),
        ("pytorch_model.bin", b"in another format", true),
        (WEIGHTS, &weights(300_000, 1), true),
    ])
}

/// Takes models of one type, as the program takes those of its families.
#[derive(Default)]
pub(crate) struct Right {
    /// How often it was shown whole folders.
    pub(crate) folders: AtomicUsize,
    /// What it says of them.
    pub(crate) complaint: Option<String>,
}

impl Accept for Right {
    fn config(&self, text: &str) -> Result<(), String> {
        if text.contains("\"right\"") { Ok(()) } else { Err(format!("config.json: {text} is of another architecture")) }
    }

    fn directory(&self, folder: &Path) -> Result<(), String> {
        assert!(folder.join("config.json").is_file() && folder.join("tokenizer.json").is_file());
        self.folders.fetch_add(1, Ordering::Relaxed);
        self.complaint.clone().map_or(Ok(()), Err)
    }

    fn carry(&self, old: &Path, new: &Path) -> Result<(), String> {
        let own = old.join(OWN);
        if own.exists() { std::fs::copy(own, new.join(OWN)).map(drop).map_err(|e| e.to_string()) } else { Ok(()) }
    }
}

/// A file that somebody adds to a model.
pub(crate) const OWN: &str = "own.json";

/// A machine's cache.
pub(crate) struct Machine {
    folder: tempfile::TempDir,
    pub(crate) settings: Settings,
    pub(crate) patience: Patience,
}

pub(crate) fn trust() -> rustls::ClientConfig {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let versions = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    versions.expect("TLS").with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
}

/// Waits that are over at once, and long enough for any answer.
pub(crate) fn patience() -> Patience {
    Patience {
        connect: Duration::from_mins(1),
        silence: Duration::from_mins(1),
        first_wait: Duration::ZERO,
        longest_wait: Duration::from_secs(90),
        attempts: 3,
    }
}

impl Machine {
    pub(crate) fn new(hub: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let environment = |name: &str| match name {
            "HF_ENDPOINT" => Some(hub.into()),
            "HF_TOKEN" => Some(TOKEN.into()),
            "SPOTTER_HOME" => Some(folder.path().into()),
            _ => None,
        };
        let settings = Settings::of(&environment).expect("valid");
        Self { folder, settings, patience: patience() }
    }

    pub(crate) fn hub(&self) -> Hub {
        Hub::with_patience(self.settings.clone(), trust(), self.patience).expect("a client")
    }

    pub(crate) fn cache(&self) -> Cache {
        Cache::new(self.settings.cache.clone())
    }

    pub(crate) fn home(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn fetch(&self) -> Result<Fetched, Error> {
        self.fetch_as(&wanted(), &Right::default())
    }

    pub(crate) fn fetch_as(&self, wanted: &Wanted, accept: &dyn Accept) -> Result<Fetched, Error> {
        self.hub().fetch(wanted, false, accept, &mut |_| {})
    }

    /// What is said of a model that cannot be had; nothing of it is to be seen then.
    pub(crate) fn refused(&self, wanted: &Wanted) -> String {
        let error = self.fetch_as(wanted, &Right::default()).expect_err("it cannot be had").to_string();
        self.expect_nothing();
        assert!(!error.contains('\n'), "one line: {error}");
        assert!(!error.contains("Signature") && !error.contains(TOKEN), "no secret: {error}");
        error
    }

    /// No model stands in the cache, nor half of one.
    pub(crate) fn expect_nothing(&self) {
        let entries = std::fs::read_dir(&self.settings.cache).map(|all| all.flatten().collect::<Vec<_>>());
        for entry in entries.unwrap_or_default() {
            assert!(entry.file_name().to_string_lossy().starts_with('.'), "{entry:?}");
        }
        let found = self.cache().find(&wanted().repository);
        assert!(matches!(found, Found::Absent | Found::Partial { .. }), "{found:?}");
    }

    /// Another revision is here, and not this one.
    pub(crate) fn expect_nothing_of_main(&self) {
        assert_eq!(self.cache().find(&repository()), Found::Absent);
    }

    /// Where weights are kept that did not come whole.
    pub(crate) fn part(&self) -> PathBuf {
        let staging = self.settings.cache.join(".partial/lab--model").join(crate::server::COMMIT);
        staging.join(format!("{WEIGHTS}.part"))
    }
}

pub(crate) fn wanted() -> Wanted {
    Wanted { repository: repository(), known: None }
}

pub(crate) fn repository() -> Repository {
    REPOSITORY.parse().expect("a repository")
}

/// The same, pinned to a checksum.
pub(crate) fn pinned(sum: &str) -> Wanted {
    let mut known = hub::known().expect("a table").remove(0);
    known.sha256.insert(WEIGHTS.into(), sum.into());
    Wanted { known: Some(known), ..wanted() }
}
