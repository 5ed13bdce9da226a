//! The ledger: what was done to which input, in an SQLite file beside the results. Several processes may share it.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use records::Counts;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction, params};
use serde_json::{Value, json};

use super::names::Wanted;
use super::worklist::Input;
use crate::database::{self, Database};
use crate::error::{Error, Result};

/// Its name in the folder of the results.
pub(super) const FILE: &str = "ledger.sqlite";
/// How long another process may hold it.
const PATIENCE: Duration = Duration::from_mins(1);

const LEDGER: Database = Database {
    tables: TABLES,
    layout: 2,
    patience: PATIENCE,
    // What is said to be done is on the disk, whatever happens to the machine.
    pragmas: &[("synchronous", "FULL"), ("foreign_keys", "ON")],
};

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS job (
  id INTEGER PRIMARY KEY,
  digest TEXT NOT NULL UNIQUE,   -- of all that decides what results look like
  query TEXT NOT NULL,
  query_digest TEXT NOT NULL,    -- of the sentence
  model_digest TEXT NOT NULL,
  settings TEXT NOT NULL         -- JSON
);
CREATE TABLE IF NOT EXISTS work (
  id INTEGER PRIMARY KEY,
  job INTEGER NOT NULL REFERENCES job,
  path BLOB NOT NULL,            -- the input
  given TEXT NOT NULL,           -- as it was named first
  name TEXT NOT NULL,            -- of its results, without ending
  key TEXT NOT NULL UNIQUE,      -- the same in small letters: some file systems take both for one
  size INTEGER, modified INTEGER, content TEXT, -- what it was when it was worked on: bytes, ns, SHA-256
  state TEXT NOT NULL CHECK (state IN ('waiting', 'working', 'done', 'failed')),
  owner TEXT,                    -- the process that works on it
  attempts INTEGER NOT NULL DEFAULT 0,
  counts TEXT,                    -- JSON
  results TEXT,                  -- JSON: names of files
  error TEXT,
  UNIQUE (job, path)
);
CREATE TABLE IF NOT EXISTS event (
  id INTEGER PRIMARY KEY,
  at TEXT NOT NULL,
  work INTEGER NOT NULL REFERENCES work,
  owner TEXT NOT NULL,
  what TEXT NOT NULL,            -- listed, begun, abandoned, stopped, done, failed, changed, lost
  detail TEXT
);
CREATE INDEX IF NOT EXISTS work_by_state ON work (job, state);
";

/// What everything of a job has in common.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) digest: String,
    pub(super) query: String,
    pub(super) query_digest: String,
    pub(super) model_digest: String,
    pub(super) settings: Value,
}

/// What became of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Working,
    Done,
    Failed,
}

impl State {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Working => "working",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    fn read(text: &str) -> Self {
        match text {
            "working" => Self::Working,
            "done" => Self::Done,
            "failed" => Self::Failed,
            _ => Self::Waiting,
        }
    }
}

/// What an input is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) size: u64,
    /// Nanoseconds since 1970.
    pub(super) modified: i64,
    pub(super) digest: String,
}

/// A line of the ledger.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) id: i64,
    pub(super) path: PathBuf,
    pub(super) given: String,
    pub(super) name: String,
    pub(super) content: Option<Content>,
    pub(super) state: State,
    pub(super) owner: Option<String>,
    pub(super) counts: Option<Counts>,
    /// Names of files that are its.
    pub(super) results: Vec<String>,
    pub(super) error: Option<String>,
}

pub(super) struct Ledger {
    connection: Connection,
    path: PathBuf,
    job: i64,
    owner: String,
}

impl Ledger {
    /// Opens the ledger in the folder `out`, or begins one, for `job` and the process `owner`.
    ///
    /// # Errors
    /// The file is no ledger of this kind, or another process holds it.
    pub(super) fn open(out: &Path, job: &Job, owner: &str) -> Result<Self> {
        let path = out.join(FILE);
        let fail = failure(&path);
        let opened = LEDGER.open(&path);
        let connection = opened.map_err(|error| Error::Ledger { path: path.clone(), reason: error.to_string() })?;
        let Job { digest, query, query_digest, model_digest, settings } = job;
        let number = (|| -> rusqlite::Result<i64> {
            connection.execute(
                "INSERT OR IGNORE INTO job (digest, query, query_digest, model_digest, settings) VALUES (?, ?, ?, ?, ?)",
                params![digest, query, query_digest, model_digest, settings.to_string()],
            )?;
            connection.query_row("SELECT id FROM job WHERE digest = ?", [digest], |row| row.get(0))
        })();
        Ok(Self { job: number.map_err(fail)?, connection, path, owner: owner.to_owned() })
    }

    /// Runs `change` as one step that happens whole or not at all.
    fn change<T>(&mut self, change: impl FnOnce(&Transaction, i64, &str) -> rusqlite::Result<T>) -> Result<T> {
        let (job, owner) = (self.job, self.owner.as_str());
        let changed = database::step(&mut self.connection, |step| change(step, job, owner));
        changed.map_err(failure(&self.path))
    }

    /// Lists inputs that are not listed yet, and gives each a name of its own, one that no other line has and under which
    /// nothing `lies` there yet. Returns the numbers of all of them.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub(super) fn list(&mut self, inputs: &[Input], names: &[Wanted], lies: impl Fn(&str) -> bool) -> Result<Vec<i64>> {
        self.change(|step, job, owner| {
            let taken = |key: &str| step.query_row("SELECT 1 FROM work WHERE key = ?", [key], |_| Ok(())).optional();
            let listed = |input: &Input| {
                let path = input.path.as_os_str().as_bytes();
                step.query_row("SELECT id FROM work WHERE job = ? AND path = ?", params![job, path], |row| row.get(0))
                    .optional()
            };
            let mut numbers = Vec::with_capacity(inputs.len());
            for (input, wanted) in inputs.iter().zip(names) {
                if let Some(number) = listed(input)? {
                    numbers.push(number);
                    continue;
                }
                let mut name = None;
                for one in wanted.names() {
                    if taken(&one.to_lowercase())?.is_none() && !lies(&one) {
                        name = Some(one);
                        break;
                    }
                }
                let name = name.unwrap_or_else(|| format!("{}-{}", wanted.stem, wanted.suffix));
                let path = input.path.as_os_str().as_bytes();
                step.execute(
                    "INSERT INTO work (job, path, given, name, key, state) VALUES (?, ?, ?, ?, ?, 'waiting')",
                    params![job, path, input.given.to_string_lossy(), name, name.to_lowercase()],
                )?;
                let number = step.last_insert_rowid();
                note(step, number, owner, "listed", None)?;
                numbers.push(number);
            }
            Ok(numbers)
        })
    }

    /// Whether this is the first job of the folder.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub(super) fn is_first_job(&self) -> Result<bool> {
        let first = self.connection.query_row("SELECT min(id) FROM job", [], |row| row.get::<_, i64>(0));
        first.map(|first| first == self.job).map_err(failure(&self.path))
    }

    /// A line.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub(super) fn entry(&self, number: i64) -> Result<Entry> {
        let found = self.connection.query_row(&format!("{SELECT} WHERE id = ?"), [number], read);
        found.map_err(failure(&self.path))
    }

    /// All lines of the job, by path.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub(super) fn entries(&self) -> Result<Vec<Entry>> {
        let read_all = || -> rusqlite::Result<Vec<Entry>> {
            let mut query = self.connection.prepare(&format!("{SELECT} WHERE job = ? ORDER BY path"))?;
            query.query_map([self.job], read)?.collect()
        };
        read_all().map_err(failure(&self.path))
    }

    /// Takes an input that looks as `seen`; false where somebody else was quicker. Results of another content are its no
    /// more.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub(super) fn begin(&mut self, seen: &Entry, content: &Content) -> Result<bool> {
        self.change(|step, _, owner| {
            let taken = step.execute(
                "UPDATE work SET state = 'working', owner = ?1, size = ?2, modified = ?3, \
                 results = iif(content IS ?4, results, NULL), content = ?4, error = NULL, counts = NULL, \
                 attempts = attempts + 1 \
                 WHERE id = ?5 AND state = ?6 AND owner IS ?7",
                params![
                    owner,
                    content.size as i64,
                    content.modified,
                    content.digest,
                    seen.id,
                    seen.state.as_str(),
                    seen.owner
                ],
            )?;
            if taken == 0 {
                return Ok(false);
            }
            match (seen.state, &seen.owner, &seen.content) {
                (State::Working, Some(other), _) => {
                    note(step, seen.id, other, "abandoned", Some("its process is gone"))?;
                }
                (State::Done, _, Some(before)) if before.digest == content.digest => {
                    note(step, seen.id, owner, "lost", Some("a result is not there any more"))?;
                }
                (State::Done | State::Failed, _, Some(before)) if before.digest != content.digest => {
                    note(step, seen.id, owner, "changed", Some("the input is another one now"))?;
                }
                _ => {}
            }
            note(step, seen.id, owner, "begun", None)?;
            Ok(true)
        })
    }

    /// Enters what the work on an input came to.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub(super) fn finish(&mut self, number: i64, outcome: &Finish) -> Result<()> {
        self.change(|step, _, owner| {
            let (state, what, counts, results, error) = match outcome {
                Finish::Done { counts, results } => ("done", "done", Some(json!(counts)), Some(json!(results)), None),
                Finish::Failed(error) => ("failed", "failed", None, None, Some(error.as_str())),
                Finish::Stopped => ("waiting", "stopped", None, None, None),
            };
            let [counts, results] = [counts, results].map(|value| value.map(|value| value.to_string()));
            step.execute(
                "UPDATE work SET state = ?, owner = NULL, counts = ?, results = coalesce(?, results), error = ? \
                 WHERE id = ? AND owner = ?",
                params![state, counts, results, error, number, owner],
            )?;
            note(step, number, owner, what, error)
        })
    }

    /// Enters that an input has not changed, though its time has: its content need not be read again.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub(super) fn touch(&mut self, number: i64, content: &Content) -> Result<()> {
        self.change(|step, _, _| {
            let sql = "UPDATE work SET size = ?, modified = ? WHERE id = ? AND content = ?";
            step.execute(sql, params![content.size as i64, content.modified, number, content.digest]).map(drop)
        })
    }
}

/// What the work on an input came to.
#[derive(Debug)]
pub(super) enum Finish {
    Done {
        counts: Counts,
        /// Names of files.
        results: Vec<String>,
    },
    /// The reason. Results that were there before stay.
    Failed(String),
    /// Somebody wanted the batch to end. Results that were there before stay.
    Stopped,
}

const SELECT: &str =
    "SELECT id, path, given, name, size, modified, content, state, owner, counts, results, error FROM work";

fn read(row: &Row) -> rusqlite::Result<Entry> {
    let path: Vec<u8> = row.get(1)?;
    let content = match (row.get::<_, Option<i64>>(4)?, row.get(5)?, row.get(6)?) {
        (Some(size), Some(modified), Some(digest)) => Some(Content { size: size as u64, modified, digest }),
        _ => None,
    };
    let state: String = row.get(7)?;
    let counts: Option<String> = row.get(9)?;
    Ok(Entry {
        id: row.get(0)?,
        path: PathBuf::from(std::ffi::OsStr::from_bytes(&path)),
        given: row.get(2)?,
        name: row.get(3)?,
        content,
        state: State::read(&state),
        owner: row.get(8)?,
        counts: counts.and_then(|text| serde_json::from_str(&text).ok()),
        results: names(row.get(10)?),
        error: row.get(11)?,
    })
}

fn note(step: &Transaction, work: i64, owner: &str, what: &str, detail: Option<&str>) -> rusqlite::Result<()> {
    let at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let sql = "INSERT INTO event (at, work, owner, what, detail) VALUES (?, ?, ?, ?, ?)";
    step.execute(sql, params![at, work, owner, what, detail]).map(drop)
}

/// Names of files, as a cell holds them.
fn names(json: Option<String>) -> Vec<String> {
    json.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// Names of all files in the folder `out` that are results, or will be: of any job.
///
/// # Errors
/// There is a ledger, and it cannot be read.
pub(super) fn known_results(out: &Path) -> Result<HashSet<String>> {
    let path = out.join(FILE);
    if !path.is_file() {
        return Ok(HashSet::new());
    }
    let read_all = || -> rusqlite::Result<HashSet<String>> {
        // What a killed process left half done is taken back, and that is writing.
        let ledger = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        ledger.busy_timeout(PATIENCE)?;
        if ledger.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? == 0 {
            return Ok(HashSet::new());
        }
        // What was killed before it could say so may have put its video there. Where a job makes none, a video of that name
        // is somebody else's, and may be its input.
        let sql = "SELECT name, results, settings ->> 'overlay' FROM work JOIN job ON job.id = work.job";
        let mut query = ledger.prepare(sql)?;
        let rows = query.query_map([], |row| {
            let mut names = names(row.get(1)?);
            if row.get(2)? {
                names.push(row.get::<_, String>(0)? + ".mp4");
            }
            Ok(names)
        })?;
        Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().flatten().collect())
    };
    read_all().map_err(failure(&path))
}

fn failure(path: &Path) -> impl Fn(rusqlite::Error) -> Error + use<> {
    let path = path.to_path_buf();
    move |error| Error::Ledger { path: path.clone(), reason: error.to_string() }
}
