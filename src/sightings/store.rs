//! Where sightings are kept: an index in `SQLite`, and the files that belong to them in a folder for each day. What is too old or
//! too much is deleted, the oldest first.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, Row, ToSql, Transaction, params};

use super::index::{Filter, Kept};
use super::types::{FileRef, Sighting};
use crate::database::{self, Database};
use crate::error::{Error, Result};

/// Its name in the folder.
pub(super) const INDEX: &str = "sightings.sqlite";
/// How long another process may hold it.
const PATIENCE: Duration = Duration::from_mins(1);
/// What was staged so long ago and never finished is nobody's.
const STALE: Duration = Duration::from_hours(24);

const STORE: Database = Database {
    tables: TABLES,
    layout: 1,
    patience: PATIENCE,
    // Readers do not hold up the stream.
    pragmas: &[("journal_mode", "WAL"), ("synchronous", "NORMAL"), ("foreign_keys", "ON")],
};

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS sighting (
  id TEXT PRIMARY KEY,
  stream TEXT NOT NULL,
  query TEXT NOT NULL,
  start_unix_ns INTEGER NOT NULL,
  last_unix_ns INTEGER NOT NULL,
  cause TEXT,                    -- why it ended; NULL while it lasts
  whole TEXT NOT NULL            -- JSON, without its files
);
CREATE TABLE IF NOT EXISTS zone (
  sighting TEXT NOT NULL REFERENCES sighting ON DELETE CASCADE,
  name TEXT NOT NULL,
  UNIQUE (sighting, name)
);
CREATE TABLE IF NOT EXISTS file (
  id INTEGER PRIMARY KEY,
  sighting TEXT NOT NULL REFERENCES sighting ON DELETE CASCADE,
  kind TEXT NOT NULL,
  path TEXT NOT NULL UNIQUE,     -- within the folder, where it is there
  bytes INTEGER NOT NULL,
  start_pts_ns INTEGER, end_pts_ns INTEGER
);
CREATE INDEX IF NOT EXISTS sighting_by_time ON sighting (start_unix_ns);
CREATE INDEX IF NOT EXISTS file_by_sighting ON file (sighting);
";

/// How much is kept; none for no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// Days since a sighting began.
    pub days: Option<u32>,
    /// Bytes of all files together.
    pub bytes: Option<u64>,
}

/// What was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Id of the sighting.
    pub sighting: String,
    /// Its files.
    pub files: Vec<PathBuf>,
    /// Bytes that they took.
    pub bytes: u64,
    /// `days` or `bytes`: which limit it was.
    pub limit: &'static str,
}

/// Sightings and their files in one folder. Several processes may share it.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    folder: PathBuf,
    index: PathBuf,
    keep: Keep,
}

/// The folder of a day within another one: `2026-11-30`, by Greenwich.
pub fn day_folder(folder: &Path, unix_ns: i64) -> PathBuf {
    let time = UNIX_EPOCH + Duration::from_nanos(u64::try_from(unix_ns).unwrap_or(0));
    let text = humantime::format_rfc3339_seconds(time).to_string();
    folder.join(text.split('T').next().unwrap_or(&text))
}

impl Store {
    /// Opens what is kept in `folder`, or begins it.
    ///
    /// # Errors
    /// The folder cannot be made, the index is of another version, or another process holds it.
    pub fn open(folder: &Path, keep: Keep) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        // As it stands in the paths of files, whatever the working directory is later.
        let folder = std::fs::canonicalize(folder).map_err(Error::io("read", folder))?;
        let index = folder.join(INDEX);
        match STORE.open(&index) {
            Ok(connection) => Ok(Self { connection, folder, index, keep }),
            Err(error) => Err(Error::Store { path: index, reason: error.to_string() }),
        }
    }

    /// Where files of a sighting go that began at this moment, ns since 1970.
    pub fn day(&self, unix_ns: i64) -> PathBuf {
        day_folder(&self.folder, unix_ns)
    }

    fn change<T>(&mut self, change: impl FnOnce(&Transaction) -> rusqlite::Result<T>) -> Result<T> {
        database::step(&mut self.connection, change).map_err(failure(&self.index))
    }

    /// Keeps a sighting that begins. Where work that was done before is done again, it has the same id: what was kept under it goes, with
    /// its files.
    ///
    /// # Errors
    /// The index cannot be written, or an old file cannot be deleted.
    pub fn begin(&mut self, sighting: &Sighting) -> Result<()> {
        if self.get(&sighting.id)?.is_some() {
            self.remove(sighting.id.clone(), "again")?;
        }
        self.write(sighting, None)
    }

    /// Keeps a sighting that lasts, in place of what is known of it. Its files come by [`Store::add_file`].
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn put(&mut self, sighting: &Sighting) -> Result<()> {
        self.write(sighting, None)
    }

    /// The same of one that is over.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn end(&mut self, sighting: &Sighting, cause: &str) -> Result<()> {
        self.write(sighting, Some(cause))
    }

    fn write(&mut self, sighting: &Sighting, cause: Option<&str>) -> Result<()> {
        let Sighting { id, stream, query, start_unix_ns, last_unix_ns, zones, .. } = sighting;
        let whole = serde_json::to_string(&Sighting { files: Vec::new(), ..sighting.clone() });
        let whole = whole.map_err(|error| self.fail(error.to_string()))?;
        self.change(|step| {
            step.execute(
                "INSERT INTO sighting (id, stream, query, start_unix_ns, last_unix_ns, cause, whole) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO UPDATE SET \
                 start_unix_ns = ?4, last_unix_ns = ?5, cause = coalesce(?6, cause), whole = ?7",
                params![id, stream, query, start_unix_ns, last_unix_ns, cause, whole],
            )?;
            for zone in zones {
                step.execute("INSERT OR IGNORE INTO zone (sighting, name) VALUES (?, ?)", params![id, zone])?;
            }
            Ok(())
        })
    }

    /// Notes a file that belongs to a sighting, in place of what is known of it.
    ///
    /// # Errors
    /// There is no such sighting, or the index cannot be written.
    pub fn add_file(&mut self, id: &str, file: &FileRef) -> Result<()> {
        let place = std::fs::canonicalize(&file.path).unwrap_or_else(|_| file.path.clone());
        let ours = place.strip_prefix(&self.folder).ok();
        // What lies elsewhere is somebody else's to delete.
        let bytes = ours.and(std::fs::metadata(&place).ok()).map_or(0, |metadata| metadata.len());
        let path = ours.unwrap_or(&place);
        let path = path.to_str().ok_or_else(|| self.fail(format!("{}: is no UTF-8 path", path.display())))?.to_owned();
        let time = |time: Option<u64>| time.and_then(|time| i64::try_from(time).ok());
        let (start, end, bytes) = (time(file.start_pts_ns), time(file.end_pts_ns), bytes as i64);
        self.change(|step| {
            let sql = "INSERT OR REPLACE INTO file (sighting, kind, path, bytes, start_pts_ns, end_pts_ns) \
                       VALUES (?, ?, ?, ?, ?, ?)";
            step.execute(sql, params![id, file.kind, path, bytes, start, end]).map(drop)
        })
    }

    /// Sightings, the oldest first.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Kept>> {
        let mut sql = "SELECT whole, cause FROM sighting WHERE 1".to_owned();
        let mut values: Vec<&dyn ToSql> = Vec::new();
        let Filter { stream, query, zone, since_unix_ns, until_unix_ns, open, most } = filter;
        let conditions: [(&str, Option<&dyn ToSql>); 5] = [
            ("stream = ?", stream.as_ref().map(|value| value as &dyn ToSql)),
            ("query = ?", query.as_ref().map(|value| value as &dyn ToSql)),
            ("id IN (SELECT sighting FROM zone WHERE name = ?)", zone.as_ref().map(|value| value as &dyn ToSql)),
            ("last_unix_ns >= ?", since_unix_ns.as_ref().map(|value| value as &dyn ToSql)),
            ("start_unix_ns < ?", until_unix_ns.as_ref().map(|value| value as &dyn ToSql)),
        ];
        for (condition, value) in conditions {
            if let Some(value) = value {
                sql.push_str(" AND ");
                sql.push_str(condition);
                values.push(value);
            }
        }
        if *open {
            sql.push_str(" AND cause IS NULL");
        }
        sql.push_str(" ORDER BY start_unix_ns DESC, id DESC");
        let most = most.map_or(-1, i64::from);
        sql.push_str(" LIMIT ?");
        values.push(&most);
        let read_all = || -> rusqlite::Result<Vec<(String, Option<String>)>> {
            let mut query = self.connection.prepare(&sql)?;
            query.query_map(values.as_slice(), |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let rows = read_all().map_err(failure(&self.index))?;
        rows.into_iter().rev().map(|(whole, cause)| self.stored(&whole, cause)).collect()
    }

    /// A sighting; none where there is none of that id.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn get(&self, id: &str) -> Result<Option<Kept>> {
        let sql = "SELECT whole, cause FROM sighting WHERE id = ?";
        let row = self.connection.query_row(sql, [id], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)));
        let row = row.optional().map_err(failure(&self.index))?;
        row.map(|(whole, cause)| self.stored(&whole, cause)).transpose()
    }

    fn stored(&self, whole: &str, cause: Option<String>) -> Result<Kept> {
        let mut sighting: Sighting = serde_json::from_str(whole).map_err(|error| self.fail(error.to_string()))?;
        sighting.files =
            self.files(&sighting.id).map_err(failure(&self.index))?.into_iter().map(|file| file.0).collect();
        Ok(Kept { sighting, cause })
    }

    /// Files of a sighting, and their bytes.
    fn files(&self, id: &str) -> rusqlite::Result<Vec<(FileRef, u64)>> {
        let sql = "SELECT kind, path, start_pts_ns, end_pts_ns, bytes FROM file WHERE sighting = ? ORDER BY id";
        let read = |row: &Row| -> rusqlite::Result<(FileRef, u64)> {
            let time = |at: usize| row.get::<_, Option<i64>>(at).map(|time| time.map(|time| time as u64));
            let path = self.folder.join(row.get::<_, String>(1)?);
            let file = FileRef { kind: row.get(0)?, path, start_pts_ns: time(2)?, end_pts_ns: time(3)? };
            Ok((file, row.get::<_, i64>(4)? as u64))
        };
        self.connection.prepare(sql)?.query_map([id], read)?.collect()
    }

    /// Bytes of all files.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn bytes(&self) -> Result<u64> {
        let sum = self.connection.query_row("SELECT coalesce(sum(bytes), 0) FROM file", [], |row| row.get::<_, i64>(0));
        sum.map(|sum| sum as u64).map_err(failure(&self.index))
    }

    /// Deletes what is too old, and the oldest of what is too much; returns what that was, the oldest first. Sightings that last are
    /// left alone, and so are files outside of the folder.
    ///
    /// # Errors
    /// A file cannot be deleted, or the index cannot be written. What was deleted until then is known to be.
    pub fn sweep(&mut self) -> Result<Vec<Removed>> {
        let mut removed = Vec::new();
        let now = crate::clock::now_unix_ns();
        let oldest = self.keep.days.map(|days| now - i64::from(days) * 86_400_000_000_000);
        let mut left = self.bytes()?;
        let sql = "SELECT id, start_unix_ns FROM sighting WHERE cause IS NOT NULL ORDER BY start_unix_ns, id";
        let read_all = || -> rusqlite::Result<Vec<(String, i64)>> {
            self.connection.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        for (id, start) in read_all().map_err(failure(&self.index))? {
            let limit = match (oldest, self.keep.bytes) {
                (Some(oldest), _) if start < oldest => "days",
                (_, Some(bytes)) if left > bytes => "bytes",
                _ => break,
            };
            let one = self.remove(id, limit)?;
            left = left.saturating_sub(one.bytes);
            removed.push(one);
        }
        self.tidy();
        Ok(removed)
    }

    fn remove(&mut self, id: String, limit: &'static str) -> Result<Removed> {
        let files = self.files(&id).map_err(failure(&self.index))?;
        let (mut paths, mut bytes) = (Vec::new(), 0);
        for (file, size) in files.into_iter().filter(|(file, _)| file.path.starts_with(&self.folder)) {
            match std::fs::remove_file(&file.path) {
                Ok(()) => paths.push(file.path),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("delete", &file.path)(error)),
            }
            bytes += size;
        }
        self.change(|step| step.execute("DELETE FROM sighting WHERE id = ?", [&id]).map(drop))?;
        Ok(Removed { sighting: id, files: paths, bytes, limit })
    }

    /// Takes away folders of days without files, and what was staged and never finished.
    fn tidy(&self) {
        let folders = std::fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        for folder in folders.filter(|path| path.is_dir() && is_day(path)) {
            for file in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let name = file.file_name().to_string_lossy().into_owned();
                let age =
                    file.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|at| at.elapsed().ok());
                if name.starts_with('.')
                    && file.path().extension().is_some_and(|ending| ending == "part")
                    && age.is_some_and(|age| age > STALE)
                {
                    drop(std::fs::remove_file(file.path()));
                }
            }
            // Refused where something is in it.
            drop(std::fs::remove_dir(&folder));
        }
    }

    fn fail(&self, reason: String) -> Error {
        Error::Store { path: self.index.clone(), reason }
    }
}

/// Whether a folder is called like a day.
fn is_day(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.len() == 10
        && name.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

fn failure(path: &Path) -> impl Fn(rusqlite::Error) -> Error + use<> {
    let path = path.to_path_buf();
    move |error| Error::Store { path: path.clone(), reason: error.to_string() }
}
