//! How `SQLite` files of the program's own are opened, and changed.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// A kind of file.
pub(crate) struct Database {
    /// What makes the tables of a new one.
    pub(crate) tables: &'static str,
    /// Counts the layouts of the tables.
    pub(crate) layout: i64,
    /// How long another process may hold it.
    pub(crate) patience: Duration,
    /// Names and values.
    pub(crate) pragmas: &'static [(&'static str, &'static str)],
}

/// Why a file is not taken.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is no database, or cannot be read or written.
    Sqlite(rusqlite::Error),
    /// Its tables are laid out otherwise.
    Layout { found: i64, expected: i64 },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(error) => error.fmt(f),
            Self::Layout { found, expected } => {
                write!(f, "has layout {found}, expected {expected}: it was written by another version")
            }
        }
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Database {
    /// Opens a file of this kind, or begins one.
    ///
    /// # Errors
    /// The file is none of this kind, or cannot be written.
    pub(crate) fn open(&self, path: &Path) -> Result<Connection, Refusal> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(self.patience)?;
        for (name, value) in self.pragmas {
            connection.pragma_update(None, name, value)?;
        }
        let expected = self.layout;
        let found = step(&mut connection, |step| {
            let found: i64 = step.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if found == 0 {
                step.execute_batch(self.tables)?;
                step.pragma_update(None, "user_version", expected)?;
            }
            Ok(if found == 0 { expected } else { found })
        })?;
        if found == expected { Ok(connection) } else { Err(Refusal::Layout { found, expected }) }
    }
}

/// Runs `change` as one step that happens whole or not at all.
///
/// # Errors
/// The file cannot be written; nothing is changed.
pub(crate) fn step<T>(
    connection: &mut Connection,
    change: impl FnOnce(&Transaction) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let step = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let value = change(&step)?;
    step.commit()?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Database = Database {
        tables: "CREATE TABLE word (text TEXT)",
        layout: 2,
        patience: Duration::from_secs(1),
        pragmas: &[("foreign_keys", "ON"), ("journal_mode", "WAL")],
    };

    #[test]
    fn a_file_is_begun_once_and_others_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("words.sqlite");
        for _ in 0..2 {
            let mut connection = KIND.open(&path).expect("opened");
            step(&mut connection, |step| step.execute("INSERT INTO word VALUES ('a')", [])).expect("written");
            let keys: i64 = connection.pragma_query_value(None, "foreign_keys", |row| row.get(0)).expect("told");
            assert_eq!(keys, 1);
        }
        let mut connection = KIND.open(&path).expect("opened");
        let fails =
            step(&mut connection, |step| step.execute("INSERT INTO word VALUES ('b')", []).and(step.execute("x", [])));
        assert!(fails.is_err());
        let count: i64 = connection.query_row("SELECT count(*) FROM word", [], |row| row.get(0)).expect("counted");
        assert_eq!(count, 2, "a step happens whole or not at all");
        drop(connection);
        let said = Database { layout: 3, ..KIND }.open(&path).expect_err("refused").to_string();
        assert_eq!(said, "has layout 2, expected 3: it was written by another version");
        std::fs::write(&path, "no database, whatever its name is").expect("written");
        assert!(matches!(KIND.open(&path), Err(Refusal::Sqlite(_))));
    }
}
