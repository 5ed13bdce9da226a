//! Many files: a list of work, a ledger of what is done, and results that appear whole or not at all.
//!
//! An input is taken by one process at a time. Its results are written in a folder of that process, brought to the disk,
//! renamed to their names, and entered as done, in this order: whatever ends the process in between, the next one does
//! the input again, and equal work gives equal bytes.

mod board;
mod ledger;
mod names;
mod owner;
mod summary;
mod work;
mod worklist;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Receiver;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::cli::{BatchArgs, RunArgs};
use crate::config::{RunSettings, load_model, threshold};
use crate::error::{Error, Result};
use board::Board;
use ledger::{Content, Entry, Finish, Job, Ledger, State};
use names::hex;
use owner::Owner;
use work::{Common, content, is_over};
use worklist::WorkList;

/// Version of what results look like: with another one, work that is done counts as not done.
const RESULTS: u32 = 1;

/// Grounds what `args` name, until all is done or `stop` is disconnected or gives something. Returns the summary as text.
///
/// # Errors
/// Nothing could be begun, the model or the folder of the results failed, somebody stopped it, or inputs failed: they are
/// told in the summary, which `tell` has got by then.
pub(crate) fn run(args: &BatchArgs, stop: &Receiver<()>, tell: impl FnOnce(&str)) -> Result<()> {
    let out = folder(&args.out)?;
    let list = WorkList::expand(&args.inputs, &out, std::io::stdin())?;
    if list.inputs.is_empty() && list.missing.is_empty() {
        return Err(Error::Usage("no video file is among the inputs".into()));
    }
    let template = template(args)?;
    let mut grounder = load_model(template.model.as_deref(), &template.device, false)?;
    let threshold = threshold(template.threshold, &grounder)?;
    let query = Arc::new(grounder.compile(&args.query)?);
    grounder.drop_text();
    let job = job(args, &template, grounder.digest(), threshold);
    let common = Common {
        template,
        formats: formats(args),
        overlay: args.overlay,
        grounder: Arc::new(grounder),
        query,
        threshold,
        run_id: job.digest[..16].into(),
        out,
    };
    let owner = Owner::new(&common.out)?;
    let mut ledger = Ledger::open(&common.out, &job, &owner.id)?;
    let numbers = ledger.list(&list.inputs, &names::wanted(&list.inputs, &job.digest))?;
    let mine: Vec<i64> = match args.shard {
        None => numbers,
        Some(shard) => numbers.into_iter().enumerate().filter(|(i, _)| shard.takes(*i)).map(|(_, n)| n).collect(),
    };
    let bytes = list.inputs.iter().map(|input| size(&input.path)).sum();
    let batch = Batch {
        common,
        owner,
        ledger: Mutex::new(ledger),
        board: Board::new(mine.len(), bytes),
        retry_failed: args.retry_failed,
        stop,
        next: AtomicUsize::new(0),
        broken: Mutex::new(None),
    };
    batch.work(&mine, usize::from(args.jobs))?;
    let Batch { common, ledger, board, broken, owner, .. } = batch;
    drop(board);
    let ledger = ledger.into_inner().unwrap_or_else(PoisonError::into_inner);
    let entries = ledger.entries()?;
    summary::write(&common.out, &job, &entries, &list.missing)?;
    let asked: Vec<Entry> = entries.into_iter().filter(|entry| mine.contains(&entry.id)).collect();
    tell(&summary::table(&asked, &list.missing));
    drop((ledger, owner));
    if let Some(error) = broken.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    if is_over(stop) {
        return Err(Error::Interrupted);
    }
    let failed = asked.iter().filter(|entry| entry.state == State::Failed).count() + list.missing.len();
    match failed {
        0 => Ok(()),
        failed => Err(Error::Partial { failed, total: asked.len() + list.missing.len(), what: "files" }),
    }
}

/// The folder of the results, made where its parent is there.
fn folder(out: &Path) -> Result<std::path::PathBuf> {
    if !out.is_dir() {
        std::fs::create_dir(out).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::Usage(format!("--out {}: its folder does not exist", out.display())),
            std::io::ErrorKind::AlreadyExists => {
                Error::Usage(format!("--out {}: is no folder, expected one for the results", out.display()))
            }
            _ => Error::io("create", out)(error),
        })?;
    }
    out.canonicalize().map_err(Error::io("read", out))
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn formats(args: &BatchArgs) -> Vec<crate::record::Format> {
    let mut formats = args.format.clone();
    formats.sort();
    formats.dedup();
    formats
}

/// Settings of a run, checked as those of `run`; its source stands for all inputs.
fn template(args: &BatchArgs) -> Result<RunSettings> {
    RunSettings::resolve(RunArgs {
        source: vec!["test:".into()],
        query: Some(args.query.clone()),
        model: args.model.clone(),
        device: args.device.clone(),
        threads: args.threads,
        stride: args.stride,
        max_fps: args.max_fps,
        threshold: args.threshold,
        hysteresis: args.hysteresis,
        smooth: args.smooth,
        hold: args.hold.clone(),
        reproducible: true,
        ..RunArgs::default()
    })
}

/// All that decides what results look like.
fn job(args: &BatchArgs, template: &RunSettings, model: &str, threshold: Option<f32>) -> Job {
    let settings = json!({
        "formats": formats(args).iter().map(|format| format.kind()).collect::<Vec<_>>(),
        "overlay": args.overlay,
        "stride": template.sampling.stride,
        "max_fps": template.sampling.max_fps,
        "threshold": threshold,
        "hysteresis": template.streams[0].hysteresis,
        "smooth": template.smoothing,
        "hold_ms": template.hold.as_millis() as u64,
        "results": RESULTS,
    });
    let settings = settings.to_string();
    let digest = |parts: &[&str]| {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        hex(&hash.finalize())
    };
    Job {
        digest: digest(&[&args.query, model, &settings]),
        query: args.query.clone(),
        query_digest: digest(&[&args.query]),
        model_digest: model.to_owned(),
        settings,
    }
}

struct Batch<'a> {
    common: Common,
    owner: Owner,
    ledger: Mutex<Ledger>,
    board: Board,
    retry_failed: bool,
    stop: &'a Receiver<()>,
    /// Place of the next input that nobody here has looked at.
    next: AtomicUsize,
    /// What ended all work before its end.
    broken: Mutex<Option<Error>>,
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
                            self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        }
                    }
                });
                worker.map_err(|e| Error::Worker(e.to_string()))?;
            }
            Ok(())
        })
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
        let skipped = || self.board.end(number, &entry.given, bytes, Ok(None));
        let is_elsewhere = entry.owner.as_deref().is_some_and(|owner| self.owner.is_alive(owner));
        if entry.state == State::Working && is_elsewhere {
            skipped();
            return Ok(());
        }
        // Whatever cannot be read is entered as failed, like what cannot be decoded.
        let seen = content(&entry.path, entry.content.as_ref());
        let content = match &seen {
            Ok(content) => content.clone(),
            Err(_) => Content { size: bytes, modified: 0, digest: String::new() },
        };
        if let Some(before) = entry.content.as_ref().filter(|before| before.digest == content.digest) {
            let is_there = entry.results.iter().all(|name| self.common.out.join(name).is_file());
            let settled = match entry.state {
                State::Done => is_there,
                State::Failed => !self.retry_failed,
                _ => false,
            };
            if settled {
                if *before != content {
                    self.ledger().touch(number, &content)?;
                }
                match (entry.state, &entry.error) {
                    (State::Failed, Some(error)) => {
                        let reason = format!("failed before (--retry-failed tries again): {error}");
                        self.board.end(number, &entry.given, bytes, Err(&reason));
                    }
                    _ => skipped(),
                }
                return Ok(());
            }
        }
        if !self.ledger().begin(&entry, &content)? {
            skipped();
            return Ok(());
        }
        let worked = seen.and_then(|_| self.ground(&entry));
        match worked {
            Ok((books, results)) => {
                let json = serde_json::to_string(&books).unwrap_or_default();
                self.ledger().finish(number, &Finish::Done { books: json, results })?;
                self.board.end(number, &entry.given, bytes, Ok(Some(&books)));
                Ok(())
            }
            Err(Error::Interrupted) => self.ledger().finish(number, &Finish::Stopped),
            Err(error) if self.is_own_fault(&error) => {
                self.ledger().finish(number, &Finish::Stopped)?;
                Err(error)
            }
            Err(error) => {
                let reason = error.to_string();
                self.ledger().finish(number, &Finish::Failed(reason.clone()))?;
                self.board.end(number, &entry.given, bytes, Err(&reason));
                Ok(())
            }
        }
    }

    fn ground(&self, entry: &Entry) -> Result<(crate::record::Books, Vec<String>)> {
        let service = self.common.service(entry)?;
        self.board.begin(entry.id, &entry.given, service.seen.status(0));
        let folder = self.owner.folder.join(entry.id.to_string());
        self.common.ground(entry, &folder, &service, self.stop)
    }

    /// Whether a failure will meet every input: the model's, or that of the place of the results.
    fn is_own_fault(&self, error: &Error) -> bool {
        match error {
            Error::Worker(_) | Error::Ledger { .. } | Error::Pipeline { .. } => true,
            Error::Io { path, .. } => path.starts_with(&self.common.out),
            _ => false,
        }
    }
}
