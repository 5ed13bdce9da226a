//! A whole model: looked at before much of it is fetched, and put into the cache when all of it is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::answer::{Remote, Trouble, host};
use crate::bytes;
use crate::cache::{Cache, Found};
use crate::client::{Client, Patience, Place};
use crate::download::Download;
use crate::error::{Error, Result};
use crate::layout::{CONFIG, INDEX, OPTIONAL, TOKENIZERS, WHOLE, parts};
use crate::manifest::{Checked, FileEntry, Manifest};
use crate::retries::Retries;
use crate::settings::{Settings, remedy};
use crate::wanted::{Repository, Wanted};

/// Who knows which models can be read here.
pub trait Accept {
    /// Looks at `config.json` before the weights are fetched.
    ///
    /// # Errors
    /// What is wrong and what was expected.
    fn config(&self, text: &str) -> Result<(), String>;

    /// Looks at the whole folder before it enters the cache.
    ///
    /// # Errors
    /// What is wrong and what was expected.
    fn directory(&self, folder: &Path) -> Result<(), String>;

    /// Brings over what somebody added to the folder of a model that is about to give way to another folder.
    ///
    /// # Errors
    /// What cannot be brought over.
    fn carry(&self, old: &Path, new: &Path) -> Result<(), String>;
}

/// What happens meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// Another process fetches the same model; it is waited for.
    OtherProcess,
    /// Another process reads the files that are to be replaced; it is waited for.
    InUse,
    /// So many bytes are to come, those that are there already included.
    Plan {
        /// Of all files together.
        bytes: u64,
    },
    /// So much of a file is there.
    Position {
        /// The file.
        name: &'a str,
        /// From its beginning.
        bytes: u64,
    },
    /// Something failed that may succeed.
    Retry {
        /// What.
        reason: &'a str,
        /// When it is tried again.
        wait: Duration,
    },
}

/// A model that is in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its folder.
    pub path: PathBuf,
    /// Where it came from; none where somebody copied it there.
    pub manifest: Option<Manifest>,
    /// Whether it came just now.
    pub fresh: bool,
}

/// A hub, and the cache of what comes from it.
pub struct Hub {
    settings: Settings,
    cache: Cache,
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Hub {
    /// The hub that the settings name; `trust` says how TLS is spoken.
    ///
    /// # Errors
    /// The token cannot be sent.
    pub fn new(settings: Settings, trust: rustls::ClientConfig) -> Result<Self> {
        Self::with_patience(settings, trust, Patience::default())
    }

    /// The same, with other times than the usual ones.
    ///
    /// # Errors
    /// As [`Hub::new`].
    pub fn with_patience(settings: Settings, trust: rustls::ClientConfig, patience: Patience) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Error::io("start", Path::new("the client's loop")))?;
        let client = Client::new(&settings, trust, patience)?;
        Ok(Self { cache: Cache::new(settings.cache.clone()), settings, client, runtime })
    }

    /// The cache.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// How the hub is called.
    pub fn name(&self) -> String {
        host(&self.settings.endpoint)
    }

    /// Whether nothing is to be asked for.
    pub fn is_offline(&self) -> bool {
        self.settings.offline
    }

    /// What to do without a network: which files go where.
    pub fn remedy(&self, repository: &Repository) -> String {
        remedy(&self.settings.endpoint, repository, &self.cache.path(repository))
    }

    /// Brings a model into the cache, if it is not there; with `update` the hub is asked whether it has another one.
    ///
    /// # Errors
    /// It cannot be had, or `accept` refuses it. The cache is as it was; what came of the weights is kept aside and used next
    /// time.
    pub fn fetch(
        &self,
        wanted: &Wanted,
        update: bool,
        accept: &dyn Accept,
        watch: &mut dyn FnMut(Event<'_>),
    ) -> Result<Fetched> {
        let repository = &wanted.repository;
        let there = || match self.cache.find(repository) {
            Found::Complete { path, manifest, .. } => Some(Fetched { path, manifest, fresh: false }),
            _ => None,
        };
        if let Some(there) = there().filter(|_| !update) {
            return Ok(there);
        }
        if self.settings.offline {
            let (repository, remedy) = (repository.to_string(), self.remedy(repository));
            return Err(Error::Unreachable { repository, reason: "HF_HUB_OFFLINE is set".into(), remedy });
        }
        let _lock = self.cache.lock(repository, &mut || watch(Event::OtherProcess))?;
        let there = there();
        if let Some(there) = there.clone().filter(|_| !update) {
            return Ok(there);
        }
        let job = Job { hub: self, repository, pins: wanted.pins(), accept };
        let fetched = self.runtime.block_on(job.run(there, watch));
        if fetched.is_err() {
            self.cache.tidy(repository)?;
        }
        fetched.map_err(|trouble| self.told(trouble, repository))
    }

    fn told(&self, trouble: Trouble, repository: &Repository) -> Error {
        let name = repository.to_string();
        match trouble {
            Trouble::Here(error) => error,
            Trouble::Final(reason) | Trouble::Passing { reason, away: false, .. } => {
                Error::Refused { repository: name, reason }
            }
            Trouble::Passing { reason, away: true, .. } => {
                Error::Unreachable { repository: name, reason, remedy: self.remedy(repository) }
            }
        }
    }
}

/// Files by their names.
type Remotes = Vec<(String, Remote)>;

/// One model on its way.
struct Job<'a> {
    hub: &'a Hub,
    repository: &'a Repository,
    pins: BTreeMap<String, String>,
    accept: &'a dyn Accept,
}

impl Job<'_> {
    fn cache(&self) -> &Cache {
        &self.hub.cache
    }

    async fn run(&self, there: Option<Fetched>, watch: &mut dyn FnMut(Event<'_>)) -> Result<Fetched, Trouble> {
        let revision = self.repository.revision();
        let config = self.look(revision, CONFIG, watch).await?;
        let config = config.ok_or_else(|| {
            let wanted = "has no config.json, expected a model as Hugging Face's library writes it";
            Trouble::Final(wanted.into())
        })?;
        let newest =
            |there: &Fetched| there.manifest.as_ref().is_some_and(|m| m.commit.is_some() && m.commit == config.commit);
        if let Some(there) = there.filter(newest) {
            return Ok(there);
        }
        // All files are of the commit that the first one was of.
        let commit = config.commit.clone();
        let at = commit.clone().unwrap_or_else(|| revision.to_owned());
        let staging = self.cache().staging(self.repository, &at.replace('/', "%2F"))?;
        let mut files = vec![self.download(&at, (CONFIG, &config), &staging, watch).await?];
        self.accept.config(&read(&staging.join(CONFIG))?).map_err(Trouble::Final)?;
        let (mut rest, weights) = self.survey(&at, &staging, &mut files, watch).await?;
        rest.extend(weights);
        let size = |remote: &Remote| remote.size.unwrap_or_default();
        let coming = rest.iter().map(|(_, remote)| size(remote)).fold(0u64, u64::saturating_add);
        let total = files.iter().map(|file| file.bytes).fold(coming, u64::saturating_add);
        self.check_space(coming, &staging)?;
        watch(Event::Plan { bytes: total });
        for file in &files {
            watch(Event::Position { name: &file.name, bytes: file.bytes });
        }
        for (name, remote) in &rest {
            files.push(self.download(&at, (name, remote), &staging, watch).await?);
        }
        if let Err(reason) = self.accept.directory(&staging) {
            self.cache().drop_partial(self.repository)?;
            return Err(Trouble::Final(reason));
        }
        let hub = self.hub.settings.endpoint.as_str().trim_end_matches('/').to_owned();
        let manifest = Manifest::new(hub, self.repository, commit, files);
        sweep(&staging, &manifest)?;
        manifest.write(&staging)?;
        // Whoever reads the old one may be about to write beside it.
        let alone = self.cache().alone(self.repository, &mut || watch(Event::InUse))?;
        let old = self.cache().path(self.repository);
        if old.is_dir() {
            self.accept.carry(&old, &staging).map_err(Trouble::Final)?;
        }
        let path = self.cache().place(&staging, self.repository, &alone)?;
        Ok(Fetched { path, manifest: Some(manifest), fresh: true })
    }

    /// Which files there are beside `config.json`: small ones, and weights. An index of weights is fetched at once.
    async fn survey(
        &self,
        at: &str,
        staging: &Path,
        files: &mut Vec<FileEntry>,
        watch: &mut dyn FnMut(Event<'_>),
    ) -> Result<(Remotes, Remotes), Trouble> {
        let mut weights = Vec::new();
        if let Some(remote) = self.look(at, WHOLE, watch).await? {
            weights.push((WHOLE.to_owned(), remote));
        } else if let Some(index) = self.look(at, INDEX, watch).await? {
            files.push(self.download(at, (INDEX, &index), staging, watch).await?);
            for part in parts(&read(&staging.join(INDEX))?).map_err(Trouble::Final)? {
                let remote = self.look(at, &part, watch).await?;
                let lacking =
                    || Trouble::Final(format!("lacks {part}, which {INDEX} names: its weights are not whole"));
                weights.push((part.clone(), remote.ok_or_else(lacking)?));
            }
        } else {
            let wanted = format!("has neither {WHOLE} nor {INDEX}: weights in other formats are not read");
            return Err(Trouble::Final(wanted));
        }
        let mut rest = Vec::new();
        for name in TOKENIZERS {
            if let Some(remote) = self.look(at, name, watch).await? {
                rest.push((name.to_owned(), remote));
                break;
            }
        }
        if rest.is_empty() {
            return Err(Trouble::Final(format!("has neither {}", TOKENIZERS.join(" nor "))));
        }
        for name in OPTIONAL {
            rest.extend(self.look(at, name, watch).await?.map(|remote| (name.to_owned(), remote)));
        }
        Ok((rest, weights))
    }

    fn place<'b>(&'b self, commit: &'b str, file: &'b str) -> Place<'b> {
        Place { repository: self.repository, commit, file }
    }

    async fn look(&self, at: &str, file: &str, watch: &mut dyn FnMut(Event<'_>)) -> Result<Option<Remote>, Trouble> {
        let mut retries = Retries::new(self.hub.client.patience);
        loop {
            match self.hub.client.look(self.place(at, file)).await {
                Ok(remote) => return Ok(remote),
                Err(trouble) => retries.wait(trouble, watch).await?,
            }
        }
    }

    async fn download(
        &self,
        at: &str,
        (file, remote): (&str, &Remote),
        folder: &Path,
        watch: &mut dyn FnMut(Event<'_>),
    ) -> Result<FileEntry, Trouble> {
        let (pin, own) = (self.pins.get(file).map(String::as_str), remote.sha256.as_deref());
        if let (Some(pin), Some(own)) = (pin, own)
            && pin != own
        {
            return Err(Trouble::Final(format!(
                "{file} is not the one that is known: the hub says SHA-256 {own}, the table of known models {pin}"
            )));
        }
        let expected = pin.map(|pin| (pin, Checked::Table)).or(own.map(|own| (own, Checked::Hub)));
        Download { client: &self.hub.client, place: self.place(at, file), remote, expected, folder }.run(watch).await
    }

    fn check_space(&self, coming: u64, staging: &Path) -> Result<(), Trouble> {
        let lengths = std::fs::read_dir(staging).map_err(Error::io("read", staging))?.flatten();
        let there: u64 = lengths.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum();
        let (needed, free) = (coming.saturating_sub(there), self.cache().free()?);
        if needed <= free {
            return Ok(());
        }
        let (needed, free, root) = (bytes(needed), bytes(free), self.cache().root().display());
        Err(Trouble::Final(format!(
            "needs {needed} in {root}, where {free} are free; SPOTTER_HOME names another place"
        )))
    }
}

fn read(path: &Path) -> Result<String, Trouble> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    String::from_utf8(bytes).map_err(|_| Trouble::Final(format!("{name} is no text")))
}

/// Removes what is of no use any more: files that an earlier attempt took and this one did not.
fn sweep(staging: &Path, manifest: &Manifest) -> Result<()> {
    for entry in std::fs::read_dir(staging).map_err(Error::io("read", staging))?.flatten() {
        let name = entry.file_name();
        if !manifest.files.iter().any(|file| name == file.name.as_str()) {
            std::fs::remove_file(entry.path()).map_err(Error::io("remove", &entry.path()))?;
        }
    }
    Ok(())
}
