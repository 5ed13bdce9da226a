//! What a batch came to: a table for people, and `summary.json` for programs.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use blocks::files;
use records::Counts;
use serde::Serialize;
use serde_json::Value;

use super::ledger::{Entry, Job, State};
use super::progress::printable;
use crate::error::{Error, Result};

/// Its name in the folder of the results; for later jobs in the same folder with the beginning of their digest.
const FILE: &str = "summary";
/// Digits of it.
const DIGITS: usize = 8;
const SCHEMA: &str = "spotter.batch/1";
/// Lines of the table; beyond that, only failures are told one by one.
const LINES: usize = 40;
/// What the table says of an input whose results were there already.
const KEPT: &str = "done before";

#[derive(Serialize)]
struct Summary<'a> {
    schema: &'static str,
    query: &'a str,
    query_digest: &'a str,
    model_digest: &'a str,
    settings: &'a Value,
    inputs: Vec<InputSummary<'a>>,
    missing: Vec<Missing>,
    totals: Totals,
}

#[derive(Serialize)]
struct InputSummary<'a> {
    input: String,
    state: &'static str,
    sha256: Option<&'a str>,
    results: &'a [String],
    counts: Option<Counts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct Missing {
    input: String,
    error: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Totals {
    pub(super) done: usize,
    pub(super) failed: usize,
    pub(super) working: usize,
    pub(super) waiting: usize,
    pub(super) missing: usize,
}

impl Totals {
    fn of(entries: &[Entry], missing: usize) -> Self {
        let count = |state| entries.iter().filter(|entry| entry.state == state).count();
        Self {
            done: count(State::Done),
            failed: count(State::Failed),
            working: count(State::Working),
            waiting: count(State::Waiting),
            missing,
        }
    }
}

/// Writes the summary into `out`, by way of the folder `unfinished`: all inputs that the ledger knows for the job, whoever worked on them.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(
    (out, unfinished): (&Path, &Path),
    (job, is_first): (&Job, bool),
    entries: &[Entry],
    missing: &[(PathBuf, String)],
) -> Result<()> {
    let inputs = entries.iter().map(|entry| InputSummary {
        input: entry.path.to_string_lossy().into_owned(),
        state: entry.state.as_str(),
        sha256: entry.content.as_ref().filter(|_| entry.state == State::Done).map(|content| content.digest.as_str()),
        results: &entry.results,
        counts: entry.counts.clone(),
        error: entry.error.as_deref(),
    });
    let summary = Summary {
        schema: SCHEMA,
        query: &job.query,
        query_digest: &job.query_digest,
        model_digest: &job.model_digest,
        settings: &job.settings,
        inputs: inputs.collect(),
        missing: missing
            .iter()
            .map(|(path, error)| Missing { input: path.to_string_lossy().into_owned(), error: error.clone() })
            .collect(),
        totals: Totals::of(entries, missing.len()),
    };
    let name = if is_first { format!("{FILE}.json") } else { format!("{FILE}-{}.json", &job.digest[..DIGITS]) };
    let path = out.join(name);
    // What a killed process leaves in its own folder is cleared away.
    let mut staged = tempfile::NamedTempFile::new_in(unfinished).map_err(Error::io("create", &path))?;
    serde_json::to_writer_pretty(&mut staged, &summary).map_err(|e| Error::io("write", &path)(e.into()))?;
    files::publish(staged, &path).map_err(Error::io("write", &path))
}

/// The table, of the inputs that this process was asked for; those of `before` were done when it began, and were left alone.
pub(super) fn table(entries: &[Entry], before: &HashSet<i64>, missing: &[(PathBuf, String)]) -> String {
    let shown = printable;
    let mut rows: Vec<[String; 3]> = Vec::new();
    let is_kept = |entry: &Entry| entry.state == State::Done && before.contains(&entry.id);
    let is_bad = |entry: &&Entry| entry.state != State::Done;
    let all = entries.len() <= LINES;
    for entry in entries.iter().filter(|entry| all || is_bad(entry)) {
        let said = match entry.state {
            State::Done => entry.counts.as_ref().map_or_else(String::new, in_words),
            _ => entry.error.clone().unwrap_or_default(),
        };
        let state = if is_kept(entry) { KEPT } else { entry.state.as_str() };
        rows.push([state.to_owned(), shown(&entry.given), shown(&said)]);
    }
    rows.extend(
        missing.iter().map(|(path, reason)| ["missing".to_owned(), shown(&path.to_string_lossy()), shown(reason)]),
    );
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    let mut lines: Vec<String> =
        rows.iter().map(|[state, name, said]| format!("{state:first$}  {name:second$}  {said}")).collect();
    let Totals { done, failed, working, waiting, missing } = Totals::of(entries, missing.len());
    let others =
        [(failed, "failed"), (missing, "missing"), (working, "in the hands of another process"), (waiting, "waiting")];
    let others = others.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let kept = entries.iter().filter(|entry| is_kept(entry)).count();
    let of_them = if kept > 0 { format!(" ({kept} before)") } else { String::new() };
    lines.push([format!("{done} done{of_them}")].into_iter().chain(others).collect::<Vec<_>>().join(", "));
    lines.join("\n") + "\n"
}

/// What the counts say, in words.
fn in_words(counts: &Counts) -> String {
    let (decoded, boxed, absent) = (counts.frames.decoded, counts.boxed(), counts.absent());
    let measured = boxed + absent;
    let share =
        if measured > 0 { format!(" ({:.0} %)", 100.0 * boxed as f64 / measured as f64) } else { String::new() };
    format!("{decoded} frames, found on {boxed}{share}, not here on {absent}")
}
