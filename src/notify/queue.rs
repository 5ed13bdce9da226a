//! What waits to be told to one receiver: an SQLite file, so that it survives whatever happens to the process.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::Notice;
use crate::database::{self, Database, Refusal};
use crate::error::{Error, Result};

/// How long a run that ends may still hold a queue.
const PATIENCE: Duration = Duration::from_secs(1);
/// Ids that are remembered after their notice is gone: a notice that comes twice is told once.
const REMEMBERED: i64 = 10_000;

const QUEUE: Database = Database {
    tables: TABLES,
    layout: 1,
    patience: PATIENCE,
    // Held until the process is gone, however it goes.
    pragmas: &[("locking_mode", "EXCLUSIVE"), ("journal_mode", "WAL"), ("synchronous", "FULL")],
};

const TABLES: &str = "
CREATE TABLE notice (
  number INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order in which they came
  id TEXT NOT NULL UNIQUE,
  stream TEXT NOT NULL,
  query TEXT NOT NULL,
  kind TEXT NOT NULL,
  size INTEGER NOT NULL,                    -- bytes of event and snapshot
  event TEXT NOT NULL,                      -- JSON
  snapshot BLOB                             -- JPEG
);
CREATE TABLE past (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE);
CREATE TABLE topic (topic TEXT PRIMARY KEY); -- what a broker keeps for us
";

/// Where a queue is, and how much it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSettings {
    /// The file.
    pub path: PathBuf,
    /// Notices, at most.
    pub events: u64,
    /// Bytes of notices and snapshots, at most.
    pub bytes: u64,
}

/// A notice that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) number: i64,
    pub(super) id: String,
    pub(super) stream: String,
    pub(super) query: String,
    pub(super) kind: String,
    /// JSON.
    pub(super) event: String,
    /// JPEG.
    pub(super) snapshot: Option<Vec<u8>>,
}

/// The queue of one receiver.
pub(super) struct Queue {
    connection: Connection,
    settings: QueueSettings,
    length: u64,
    bytes: u64,
}

impl Queue {
    /// Opens a queue, or begins one. Nobody else may hold it.
    ///
    /// # Errors
    /// The file is no queue of this kind, its folder cannot be made, or another process holds it.
    pub(super) fn open(settings: &QueueSettings) -> Result<Self> {
        let path = &settings.path;
        let folder = blocks::files::parent(path);
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let connection = QUEUE.open(path).map_err(|refusal| failure(path, &refusal))?;
        let (length, bytes) = held(&connection).map_err(|error| failure(path, &error.into()))?;
        Ok(Self { connection, settings: settings.clone(), length, bytes })
    }

    /// Adds notices, all or none; those whose id is known are left out. Returns how many of the oldest fell out for them.
    ///
    /// # Errors
    /// In words: the disk is full, or fails.
    pub(super) fn push(&mut self, notices: &[Notice]) -> std::result::Result<u64, String> {
        let QueueSettings { events, bytes, .. } = self.settings;
        let before = (self.length, self.bytes);
        let pushed = database::step(&mut self.connection, |step| {
            let (mut length, mut held_bytes) = before;
            for notice in notices {
                let event = notice.line();
                let snapshot = notice.snapshot.as_deref();
                let size = event.len() + snapshot.map_or(0, <[u8]>::len);
                let added = step.execute(
                    "INSERT OR IGNORE INTO notice (id, stream, query, kind, event, snapshot, size) \
                     SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE NOT EXISTS (SELECT 1 FROM past WHERE id = ?1)",
                    params![notice.id, notice.stream, notice.query, notice.kind, event, snapshot, size as i64],
                )?;
                if added > 0 {
                    (length, held_bytes) = (length + 1, held_bytes + size as u64);
                }
            }
            let mut fell = 0;
            // The newest stays, however large it is.
            while (length > events || held_bytes > bytes) && length > 1 {
                let number = step.query_row("SELECT min(number) FROM notice", [], |row| row.get(0))?;
                let size = forget(step, number)?.unwrap_or(0);
                (length, held_bytes, fell) = (length - 1, held_bytes.saturating_sub(size), fell + 1);
            }
            Ok((length, held_bytes, fell))
        });
        let (length, held_bytes, fell) = pushed.map_err(|error| error.to_string())?;
        (self.length, self.bytes) = (length, held_bytes);
        Ok(fell)
    }

    /// The one that waits longest.
    ///
    /// # Errors
    /// In words: the file cannot be read.
    pub(super) fn first(&self) -> std::result::Result<Option<Waiting>, String> {
        if self.length == 0 {
            return Ok(None);
        }
        let sql = "SELECT number, id, stream, query, kind, event, snapshot FROM notice ORDER BY number LIMIT 1";
        let read = |row: &rusqlite::Row| {
            Ok(Waiting {
                number: row.get(0)?,
                id: row.get(1)?,
                stream: row.get(2)?,
                query: row.get(3)?,
                kind: row.get(4)?,
                event: row.get(5)?,
                snapshot: row.get(6)?,
            })
        };
        self.connection.query_row(sql, [], read).optional().map_err(|error| error.to_string())
    }

    /// Takes a notice out: it was told, or given up. Does nothing where it fell out before.
    ///
    /// # Errors
    /// In words: the disk is full, or fails. It is then told again.
    pub(super) fn remove(&mut self, number: i64) -> std::result::Result<(), String> {
        let removed = database::step(&mut self.connection, |step| forget(step, number));
        if let Some(size) = removed.map_err(|error| error.to_string())? {
            (self.length, self.bytes) = (self.length.saturating_sub(1), self.bytes.saturating_sub(size));
        }
        Ok(())
    }

    /// Whether a notice with this id waits, or was told not long ago.
    pub(super) fn knows(&self, id: &str) -> bool {
        let sql = "SELECT EXISTS (SELECT 1 FROM notice WHERE id = ?1 UNION ALL SELECT 1 FROM past WHERE id = ?1)";
        self.connection.query_row(sql, [id], |row| row.get(0)).unwrap_or(false)
    }

    /// Notices that wait.
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// Topics that a broker keeps for us, also of earlier runs.
    ///
    /// # Errors
    /// In words: the file cannot be read.
    pub(super) fn topics(&self) -> std::result::Result<BTreeSet<String>, String> {
        let read = || -> rusqlite::Result<BTreeSet<String>> {
            self.connection.prepare("SELECT topic FROM topic")?.query_map([], |row| row.get(0))?.collect()
        };
        read().map_err(|error| error.to_string())
    }

    /// Notes that a broker keeps a topic for us, or no more.
    ///
    /// # Errors
    /// In words: the disk is full, or fails.
    pub(super) fn note_topic(&mut self, topic: &str, kept: bool) -> std::result::Result<(), String> {
        let sql =
            if kept { "INSERT OR IGNORE INTO topic (topic) VALUES (?)" } else { "DELETE FROM topic WHERE topic = ?" };
        self.connection.execute(sql, [topic]).map(drop).map_err(|error| error.to_string())
    }
}

/// Notices and their bytes.
fn held(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let read = |row: &rusqlite::Row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64));
    connection.query_row("SELECT count(*), coalesce(sum(size), 0) FROM notice", [], read)
}

/// Takes a notice out and remembers its id. Returns its size, where it is there.
fn forget(step: &Transaction, number: i64) -> rusqlite::Result<Option<u64>> {
    step.execute("INSERT OR IGNORE INTO past (id) SELECT id FROM notice WHERE number = ?", [number])?;
    let sql = "DELETE FROM notice WHERE number = ? RETURNING size";
    let size: Option<i64> = step.query_row(sql, [number], |row| row.get(0)).optional()?;
    step.execute("DELETE FROM past WHERE number <= (SELECT max(number) FROM past) - ?", [REMEMBERED])?;
    Ok(size.map(|size| size as u64))
}

fn failure(path: &Path, refusal: &Refusal) -> Error {
    let reason = match refusal {
        Refusal::Sqlite(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
            "another run holds it; give each a queue of its own (queue = \"FILE\")".into()
        }
        refusal => refusal.to_string(),
    };
    Error::Usage(format!("queue {}: {reason}", path.display()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(folder: &Path, events: u64, bytes: u64) -> QueueSettings {
        QueueSettings { path: folder.join("deep/queue.sqlite"), events, bytes }
    }

    fn notice(id: &str, size: usize) -> Notice {
        Notice {
            id: id.into(),
            stream: "gate".into(),
            query: "a car".into(),
            kind: "sighting_start".into(),
            event: json!({ "id": id }),
            snapshot: Some(vec![7; size].into()),
        }
    }

    fn drain(queue: &mut Queue) -> Vec<String> {
        let mut ids = Vec::new();
        while let Some(waiting) = queue.first().expect("read") {
            queue.remove(waiting.number).expect("written");
            ids.push(waiting.id);
        }
        ids
    }

    #[test]
    fn what_waits_survives_and_keeps_its_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(folder.path(), 100, 1 << 20);
        let mut queue = Queue::open(&settings).expect("opened");
        assert_eq!(queue.push(&[notice("b", 3), notice("a", 0)]), Ok(0));
        drop(queue);
        let mut queue = Queue::open(&settings).expect("opened again");
        assert_eq!((queue.len(), queue.push(&[notice("c", 1)])), (2, Ok(0)));
        let first = queue.first().expect("read").expect("is there");
        assert_eq!((first.snapshot, first.event.as_str()), (Some(vec![7; 3]), "{\"id\":\"b\"}"));
        assert_eq!(drain(&mut queue), ["b", "a", "c"]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn what_comes_twice_waits_once_also_after_it_was_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(folder.path(), 100, 1 << 20);
        let mut queue = Queue::open(&settings).expect("opened");
        queue.push(&[notice("a", 0), notice("a", 0)]).expect("written");
        assert_eq!(drain(&mut queue), ["a"]);
        drop(queue);
        let mut queue = Queue::open(&settings).expect("opened again");
        queue.push(&[notice("a", 0), notice("b", 0)]).expect("written");
        assert_eq!(drain(&mut queue), ["b"]);
    }

    #[test]
    fn the_oldest_fall_out_of_a_full_queue() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut queue = Queue::open(&settings(folder.path(), 3, 1000)).expect("opened");
        let four: Vec<Notice> = ["a", "b", "c", "d"].map(|id| notice(id, 0)).into();
        assert_eq!(queue.push(&four), Ok(1));
        assert_eq!(queue.push(&[notice("large", 975)]), Ok(2), "one by number, one by size");
        let larger = notice("larger than all", 5000);
        assert_eq!(queue.push(&[larger]), Ok(2));
        assert_eq!(drain(&mut queue), ["larger than all"]);
    }

    #[test]
    fn two_runs_do_not_share_a_queue_and_other_files_are_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(folder.path(), 3, 1000);
        let first = Queue::open(&settings).expect("opened");
        let told = Queue::open(&settings).err().expect("refused").to_string();
        assert!(told.contains("another run holds it"), "{told}");
        drop(first);
        std::fs::write(&settings.path, "no database, whatever its name is").expect("written");
        let told = Queue::open(&settings).err().expect("refused").to_string();
        assert!(told.contains("not a database"), "{told}");
    }

    #[test]
    fn topics_are_remembered() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(folder.path(), 3, 1000);
        let mut queue = Queue::open(&settings).expect("opened");
        for topic in ["a", "b", "a"] {
            queue.note_topic(topic, true).expect("written");
        }
        queue.note_topic("b", false).expect("written");
        drop(queue);
        let queue = Queue::open(&settings).expect("opened again");
        assert_eq!(queue.topics().expect("read"), BTreeSet::from(["a".to_owned()]));
    }
}
