//! Many files: a list of work, a ledger of what is done, and results that appear whole or not at all.
//!
//! An input is taken by one process at a time. Its results are written in a folder of that process, brought to the disk,
//! renamed to their names, and entered as done, in this order: whatever ends the process in between, the next one does
//! the input again, and equal work gives equal bytes.

mod ledger;
mod names;
mod owner;
mod progress;
mod summary;
mod work;
mod worklist;

use std::collections::HashSet;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use blocks::files::hex;
use crossbeam_channel::Receiver;
use records::{Counts, Format};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::cli::{BatchArgs, ComputeArg, RunArgs};
use crate::config::{RunSettings, load_model, threshold};
use crate::error::{Error, Result};
use crate::source::Deinterlace;
use ledger::{Content, Entry, Finish, Job, Ledger, State};
use progress::ProgressDisplay;

use owner::Owner;
use work::{Common, content, is_over};
use worklist::WorkList;

/// Version of what results look like: with another one, work that is done counts as not done.
const RESULTS: u32 = 2;

/// Grounds what `args` name, until all is done or `stop` is disconnected or gives something. Returns the summary as text.
///
/// # Errors
/// Nothing could be begun, the model or the folder of the results failed, somebody stopped it, or inputs failed: they are
/// told in the summary, which `tell` has got by then.
pub(crate) fn run(args: &BatchArgs, plan: Plan, stop: &Receiver<()>, tell: impl FnOnce(&str)) -> Result<()> {
    let Plan { out, list } = plan;
    let template = template(args)?;
    let mut grounder = load_model(template.model.as_deref(), &template.device, template.precision, false)?;
    let threshold = threshold(template.threshold, &grounder)?;
    let compile = |text: &String| Ok(Arc::new(grounder.compile(text)?));
    let queries = args.query.iter().map(compile).collect::<Result<Vec<_>>>()?;
    grounder.drop_text();
    crate::heap::settle();
    let job = job(args, &template, grounder.digest(), threshold);
    let common = Common {
        template,
        formats: formats(args),
        overlay: args.overlay,
        grounder: Arc::new(grounder),
        queries,
        threshold,
        run_id: job.digest[..16].into(),
        out,
    };
    let owner = Owner::new(&common.out)?;
    let mut ledger = Ledger::open(&common.out, &job, &owner.id)?;
    let names = names::wanted(&list.inputs, &job.digest);
    let numbers = ledger.list(&list.inputs, &names, |name| common.lies(name))?;
    let numbered = numbers.into_iter().zip(&list.inputs).enumerate();
    let mine = numbered.filter(|(place, _)| args.shard.is_none_or(|shard| shard.takes(*place)));
    let (mine, bytes): (Vec<i64>, Vec<u64>) = mine.map(|(_, (number, input))| (number, size(&input.path))).unzip();
    let known = ledger.entries()?;
    let before = known.iter().filter(|entry| entry.state == State::Done).map(|entry| entry.id).collect();
    let batch = Batch {
        common,
        owner,
        ledger: Mutex::new(ledger),
        progress: ProgressDisplay::new(mine.len(), bytes.iter().sum()),
        retry_failed: args.retry_failed,
        stop,
        next: AtomicUsize::new(0),
        before: Mutex::new(before),
        broken: Mutex::new(None),
        troubled: Mutex::new(list.missing),
    };
    batch.work(&mine, usize::from(args.jobs))?;
    batch.wait_for_others(&mine);
    let Batch { common, ledger, progress, before, broken, owner, troubled, .. } = batch;
    drop(progress);
    let ledger = ledger.into_inner().unwrap_or_else(PoisonError::into_inner);
    let troubled = troubled.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (entries, is_first) = (ledger.entries()?, ledger.is_first_job()?);
    let ids: HashSet<i64> = mine.iter().copied().collect();
    let asked: Vec<Entry> = entries.iter().filter(|entry| ids.contains(&entry.id)).cloned().collect();
    let before = before.into_inner().unwrap_or_else(PoisonError::into_inner);
    tell(&summary::table(&asked, &before, &troubled));
    let summed = summary::write((&common.out, &owner.folder), (&job, is_first), &entries, &troubled);
    drop((ledger, owner));
    if let Some(error) = broken.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    summed?;
    if is_over(stop) {
        return Err(Error::Interrupted);
    }
    let failed = asked.iter().filter(|entry| entry.state != State::Done).count() + troubled.len();
    match failed {
        0 => Ok(()),
        failed => Err(Error::Partial { failed, total: asked.len() + troubled.len(), what: "files" }),
    }
}

/// What is to be worked on, and where results go.
pub(crate) struct Plan {
    out: PathBuf,
    list: WorkList,
}

impl Plan {
    /// Expands the inputs. Standard input is read here, where a list is wanted from it.
    ///
    /// # Errors
    /// The folder of the results cannot be made, no input is named, or standard input cannot be read.
    pub(crate) fn of(args: &BatchArgs) -> Result<Self> {
        let out = folder(&args.out)?;
        let results = ledger::known_results(&out)?;
        let list = WorkList::expand(&args.inputs, (&out, &results), std::io::stdin())?;
        if list.inputs.is_empty() && list.missing.is_empty() {
            return Err(Error::Usage("no video file is among the inputs".into()));
        }
        Ok(Self { out, list })
    }
}

/// The folder of the results, made where its parent is there.
fn folder(out: &Path) -> Result<PathBuf> {
    match std::fs::create_dir(out) {
        Ok(()) => {}
        // Also by another process, just now.
        Err(_) if out.is_dir() => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Usage(format!("--out {}: its folder does not exist", out.display())));
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let reason = "is no folder, expected one for the results";
            return Err(Error::Usage(format!("--out {}: {reason}", out.display())));
        }
        Err(error) => return Err(Error::io("create", out)(error)),
    }
    out.canonicalize().map_err(Error::io("read", out))
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn formats(args: &BatchArgs) -> Vec<Format> {
    let mut formats = args.format.clone();
    formats.sort();
    formats.dedup();
    formats
}

/// Settings of a run, checked as those of `run`; its source stands for all inputs.
fn template(args: &BatchArgs) -> Result<RunSettings> {
    let mut sighting = args.sighting.clone();
    sighting.sightings |= args.format.contains(&Format::Sightings);
    let mut settings = RunSettings::resolve(RunArgs {
        source: vec!["test:".into()],
        query: args.query.iter().map(|text| text.as_str().into()).collect(),
        model: args.model.clone(),
        device: args.device.clone(),
        precision: args.precision,
        threads: args.threads,
        decoding: args.decoding.clone(),
        measuring: args.measuring.clone(),
        sighting,
        reproducible: true,
        ..RunArgs::default()
    })?;
    if let Some(sightings) = &mut settings.streams[0].sightings {
        // What is left undone is done again, from the beginning.
        sightings.dir = None;
        if let Some(archive) = &mut sightings.archive
            && archive.keep.days.take().is_some()
        {
            tracing::warn!("[sightings] keep.days is for run: what is seen in films of a batch has no date");
        }
    }
    Ok(settings)
}

/// The number as somebody would type it.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

/// All that decides what results look like.
fn job(args: &BatchArgs, template: &RunSettings, model: &str, threshold: Option<f32>) -> Job {
    let mut settings = json!({
        "formats": formats(args).iter().map(|format| format.kind()).collect::<Vec<_>>(),
        "overlay": args.overlay,
        "stride": template.sampling.stride,
        "max_fps": template.sampling.max_fps,
        "static_gate": template.gate,
        "threshold": threshold,
        "hysteresis": decimal(template.streams[0].hysteresis.of(threshold)),
        "smooth": template.smoothing,
        "hold_ms": template.hold.as_millis() as u64,
        "lost_ms": template.lost.as_millis() as u64,
        "results": RESULTS,
    });
    if let Some(precision) = args.precision.filter(|precision| *precision != ComputeArg::F32) {
        settings["precision"] = json!(precision);
    }
    let source = &template.streams[0].source;
    if source.deinterlace != Deinterlace::Auto {
        settings["deinterlace"] = json!(source.deinterlace);
    }
    if source.video_track != NonZeroU32::MIN {
        settings["video_track"] = json!(source.video_track);
    }
    if let Some(sightings) = &template.streams[0].sightings {
        settings["sightings"] = sightings.to_json();
    }
    let digest = |parts: &[&str]| {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        hex(&hash.finalize())
    };
    let queries: Vec<&str> = args.query.iter().map(String::as_str).collect();
    Job {
        digest: digest(&[&queries[..], &[model, &settings.to_string()]].concat()),
        query_digest: digest(&queries),
        query: queries.join("; "),
        model_digest: model.to_owned(),
        settings,
    }
}

struct Batch<'a> {
    common: Common,
    owner: Owner,
    ledger: Mutex<Ledger>,
    progress: ProgressDisplay,
    retry_failed: bool,
    stop: &'a Receiver<()>,
    /// Place of the next input that nobody here has looked at.
    next: AtomicUsize,
    /// Inputs that were done before this process began, and that it has not done anew.
    before: Mutex<HashSet<i64>>,
    /// What ended all work before its end.
    broken: Mutex<Option<Error>>,
    /// Inputs of which nothing can be said in the ledger, with the reason.
    troubled: Mutex<Vec<(PathBuf, String)>>,
}

impl Batch<'_> {
    /// Goes through the inputs with so many threads.
    fn work(&self, numbers: &[i64], jobs: usize) -> Result<()> {
        std::thread::scope(|scope| {
            for _ in 0..jobs.min(numbers.len().max(1)) {
                let worker = std::thread::Builder::new().name("batch".into());
                let worker = worker.spawn_scoped(scope, || {
                    while !is_over(self.stop) && !self.is_broken() {
                        let Some(number) = numbers.get(self.next.fetch_add(1, Ordering::Relaxed)) else { return };
                        if let Err(error) = self.input(*number) {
                            self.break_off(error);
                        }
                    }
                });
                worker.map_err(|e| Error::Worker(e.to_string()))?;
            }
            Ok(())
        })
    }

    /// Waits for inputs that other processes work on, and takes over what they leave.
    fn wait_for_others(&self, numbers: &[i64]) {
        const TICK: Duration = Duration::from_millis(500);
        let mut left = numbers.to_vec();
        let mut told = false;
        while !is_over(self.stop) && !self.is_broken() {
            let is_open = |entry: Entry| matches!(entry.state, State::Working | State::Waiting);
            left.retain(|number| self.ledger().entry(*number).is_ok_and(is_open));
            if left.is_empty() {
                return;
            }
            if !told {
                tracing::info!("waiting for another process, which works on {} of the files", left.len());
                told = true;
            }
            for number in &left {
                if let Err(error) = self.input(*number) {
                    self.break_off(error);
                }
            }
            // Only the time matters: what there is to hear is asked for above.
            let _ = self.stop.recv_timeout(TICK);
        }
    }

    fn break_off(&self, error: Error) {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn is_broken(&self) -> bool {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what is to be done about an input.
    ///
    /// # Errors
    /// What is no fault of the input: all work ends.
    fn input(&self, number: i64) -> Result<()> {
        let entry = self.ledger().entry(number)?;
        let bytes = size(&entry.path);
        let is_elsewhere =
            entry.owner.as_deref().is_some_and(|owner| owner != self.owner.id && self.owner.is_alive(owner));
        if entry.state == State::Working && is_elsewhere {
            return Ok(());
        }
        let seen = content(&entry.path, entry.content.as_ref());
        if let (State::Done, Err(error)) = (entry.state, &seen) {
            // It was done; whether it still is what it was cannot be told.
            let reason = error.to_string();
            self.progress.end(number, &entry.given, bytes, Err(&reason));
            self.troubled.lock().unwrap_or_else(PoisonError::into_inner).push((entry.path, reason));
            return Ok(());
        }
        // Whatever cannot be read is entered as failed, like what cannot be decoded.
        let content = match &seen {
            Ok(content) => content.clone(),
            Err(_) => Content { size: bytes, modified: 0, digest: String::new() },
        };
        let is_same = entry.content.as_ref().is_some_and(|before| before.digest == content.digest);
        if is_same && self.is_settled(&entry) {
            if entry.content.as_ref() != Some(&content) {
                self.ledger().touch(number, &content)?;
            }
            match (entry.state, &entry.error) {
                (State::Failed, Some(error)) => {
                    let reason = format!("failed before (--retry-failed tries again): {error}");
                    self.progress.end(number, &entry.given, bytes, Err(&reason));
                }
                _ => self.progress.end(number, &entry.given, bytes, Ok(None)),
            }
            return Ok(());
        }
        if !self.ledger().begin(&entry, &content)? {
            // Somebody else was quicker; it is looked at again in the end.
            return Ok(());
        }
        self.before.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        if !is_same {
            // Of what the input was before.
            self.remove(&entry.results, &[]);
        }
        let outcome = match seen.and_then(|content| self.ground(&entry, &content)) {
            Ok((counts, results)) => {
                self.remove(&entry.results, &results);
                self.progress.end(number, &entry.given, bytes, Ok(Some(&counts)));
                Finish::Done { counts, results }
            }
            Err(Error::Interrupted) => Finish::Stopped,
            Err(error) if self.is_own_fault(&error) => {
                self.ledger().finish(number, &Finish::Stopped)?;
                return Err(error);
            }
            Err(error) => {
                // Where it was written until then is of no interest, and another place every time.
                let folder = self.owner.folder.join(entry.id.to_string());
                let error = error.to_string().replace(&format!("{}/", folder.display()), "");
                self.progress.end(number, &entry.given, bytes, Err(&error));
                Finish::Failed(error)
            }
        };
        self.ledger().finish(number, &outcome)
    }

    /// Whether nothing is to be done about an input that is what it was.
    fn is_settled(&self, entry: &Entry) -> bool {
        match entry.state {
            State::Done => entry.results.iter().all(|name| self.common.out.join(name).is_file()),
            State::Failed => !self.retry_failed,
            State::Waiting | State::Working => false,
        }
    }

    /// Removes results of an input but for those to `keep`.
    fn remove(&self, old: &[String], keep: &[String]) {
        for name in old.iter().filter(|name| !keep.contains(name)) {
            drop(std::fs::remove_file(self.common.out.join(name)));
        }
    }

    fn ground(&self, entry: &Entry, content: &Content) -> Result<(Counts, Vec<String>)> {
        let service = self.common.service(entry)?;
        self.progress.begin(entry.id, (&entry.given, content.size), service.run_status.stream(0));
        let folder = self.owner.folder.join(entry.id.to_string());
        self.common.ground((entry, content), &folder, &service, self.stop)
    }

    /// Whether a failure will meet every input: the model's, or that of the place of the results.
    fn is_own_fault(&self, error: &Error) -> bool {
        use std::io::ErrorKind::{DirectoryNotEmpty, InvalidFilename, IsADirectory};
        match error {
            Error::Worker(_) | Error::Ledger { .. } | Error::Store { .. } | Error::Pipeline { .. } => true,
            // What lies under the name of one result is in nobody else's way.
            Error::Io { path, source, .. } => {
                let is_of_a_name = [DirectoryNotEmpty, InvalidFilename, IsADirectory].contains(&source.kind());
                path.starts_with(&self.common.out) && !is_of_a_name
            }
            // An encoder or the disk behind it.
            Error::Output { .. } => !self.can_write(),
            _ => false,
        }
    }

    /// Whether there is room for results.
    fn can_write(&self) -> bool {
        const SOME: usize = 1 << 20;
        let probe = tempfile::NamedTempFile::new_in(&self.owner.folder);
        probe
            .and_then(|mut probe| {
                probe.write_all(&vec![0; SOME])?;
                probe.as_file().sync_all()
            })
            .is_ok()
    }
}
