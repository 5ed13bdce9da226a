//! One input: what it is made of, its results written beside their place, and put there when all of them are whole.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use blocks::files::{digest_into, hex};
use crossbeam_channel::Receiver;
use records::{Counts, Format, RecordPlace};
use sha2::{Digest, Sha256};

use super::ledger::{Content, Entry};
use crate::config::RunSettings;
use crate::error::{Error, Result};
use crate::run::ground_file;
use crate::service::Service;
use crate::sink::Target;
use crate::source::Address;
use crate::stage::Model;

/// What all inputs of a batch have in common.
pub(super) struct Common {
    /// With a stream that stands for each of the inputs.
    pub(super) template: RunSettings,
    pub(super) formats: Vec<Format>,
    pub(super) overlay: bool,
    pub(super) grounder: Arc<grounding::Grounder>,
    pub(super) queries: Vec<Arc<grounding::CompiledQuery>>,
    pub(super) threshold: Option<f32>,
    /// Stands in the records in place of an id of the run: the same for equal work.
    pub(super) run_id: Arc<str>,
    /// Folder of the results.
    pub(super) out: PathBuf,
}

/// What `path` is made of; `known` is believed where size and time are the same.
///
/// # Errors
/// It cannot be read.
pub(super) fn content(path: &Path, known: Option<&Content>) -> Result<Content> {
    let (size, modified) = looks(path)?;
    if let Some(known) = known.filter(|known| (known.size, known.modified) == (size, modified)) {
        return Ok(known.clone());
    }
    let mut hash = Sha256::new();
    digest_into(&mut hash, path).map_err(Error::io("read", path))?;
    Ok(Content { size, modified, digest: hex(&hash.finalize()) })
}

/// Size and time of a file, without opening it: whoever opens a pipe waits.
///
/// # Errors
/// It is not there, or no file.
fn looks(path: &Path) -> Result<(u64, i64)> {
    let fail = || Error::io("read", path);
    let metadata = std::fs::metadata(path).map_err(fail())?;
    if !metadata.is_file() {
        return Err(Error::Usage(format!("{}: is no file, expected a video file", path.display())));
    }
    let modified = metadata.modified().map_err(fail())?;
    let modified = match modified.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_nanos() as i64,
        Err(before) => -(before.duration().as_nanos() as i64),
    };
    Ok((metadata.len(), modified))
}

/// Refuses what is not any more what it was.
///
/// # Errors
/// Its size or its time is another one.
pub(super) fn unchanged(path: &Path, content: &Content) -> Result<()> {
    if looks(path)? == (content.size, content.modified) {
        return Ok(());
    }
    Err(Error::Usage(format!("{}: changed while it was worked on", path.display())))
}

impl Common {
    /// Names of the results of `name`, but for later parts of a video whose picture changes.
    pub(super) fn results(&self, name: &str) -> Vec<String> {
        let records = self.formats.iter().map(|format| format!("{name}.{}", format.ending()));
        records.chain(self.overlay.then(|| format!("{name}.mp4"))).collect()
    }

    /// Whether anything lies under one of the names that results of `name` would have.
    pub(super) fn lies(&self, name: &str) -> bool {
        self.results(name).iter().any(|name| self.out.join(name).symlink_metadata().is_ok())
    }

    /// How the stream of an input is called in records.
    pub(super) fn service(&self, entry: &Entry) -> Result<Service> {
        Service::start(&self.template.service, std::iter::once(entry.given.as_str()))
    }

    /// Grounds an input and puts its results in place. `folder` is for what is unfinished; nothing stays in it.
    ///
    /// # Errors
    /// The input or an output failed, the model did, or `stop` ended the work before its end.
    pub(super) fn ground(
        &self,
        (entry, content): (&Entry, &Content),
        folder: &Path,
        service: &Service,
        stop: &Receiver<()>,
    ) -> Result<(Counts, Vec<String>)> {
        std::fs::create_dir(folder).map_err(Error::io("create", folder))?;
        let _clear = Clear(folder);
        let settings = self.settings(entry, folder)?;
        let model = Model { grounder: Arc::clone(&self.grounder), queries: vec![self.queries.clone()] };
        let counts = ground_file(&settings, model, self.threshold, &self.run_id, stop.clone(), service)?;
        if is_over(stop) {
            return Err(Error::Interrupted);
        }
        unchanged(&entry.path, content)?;
        Ok((counts, self.publish(entry, folder)?))
    }

    fn settings(&self, entry: &Entry, folder: &Path) -> Result<RunSettings> {
        let mut settings = self.template.clone();
        let stream = &mut settings.streams[0];
        stream.address = Address::file(&entry.path, entry.given.clone())?;
        let path = |ending: &str| folder.join(format!("{}.{ending}", entry.name));
        stream.records = self.formats.iter().map(|f| RecordPlace::new(*f, path(f.ending()))).collect();
        if self.overlay {
            stream.output.targets = vec![Target::Mp4(path("mp4"))];
        }
        Ok(settings)
    }

    /// Writes everything in `folder` to the disk and puts it where results belong.
    fn publish(&self, entry: &Entry, folder: &Path) -> Result<Vec<String>> {
        let (expected, mut names) = (self.results(&entry.name), Vec::new());
        for file in std::fs::read_dir(folder).map_err(Error::io("read", folder))?.flatten() {
            let path = file.path();
            File::open(&path).and_then(|file| file.sync_all()).map_err(Error::io("write", &path))?;
            names.push(file.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        if let Some(lacking) = expected.iter().find(|name| !names.contains(name)) {
            // A file without a single frame has no records.
            let reason = format!("no frame came out of it, so there is no {lacking}");
            return Err(Error::Source { code: "SOURCE_EMPTY", name: entry.given.clone(), reason });
        }
        let mut published = Vec::new();
        for name in names {
            let wanted = if expected.contains(&name) { name.clone() } else { part_name(entry, &name) };
            let place = self.out.join(&wanted);
            std::fs::rename(folder.join(&name), &place).map_err(Error::io("write", &place))?;
            published.push(wanted);
        }
        // The names too must outlast a power cut.
        File::open(&self.out).and_then(|out| out.sync_all()).map_err(Error::io("write", &self.out))?;
        Ok(published)
    }
}

/// The name of a later part of a video: its number alone might be another input's name.
fn part_name(entry: &Entry, name: &str) -> String {
    let digest = hex(&Sha256::digest(entry.path.as_os_str().as_bytes()));
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, "mp4"));
    format!("{stem}-{}.{ending}", &digest[..8])
}

/// Whether somebody wants the work to end.
pub(super) fn is_over(stop: &Receiver<()>) -> bool {
    !matches!(stop.try_recv(), Err(crossbeam_channel::TryRecvError::Empty))
}

/// Removes a folder when it goes.
struct Clear<'a>(&'a Path);

impl Drop for Clear<'_> {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(self.0));
    }
}
