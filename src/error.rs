//! The program's error type. Every variant names the thing, its value and what was expected.

use std::path::{Path, PathBuf};

/// What can end a verb.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for something wrong.
    #[error("{0}")]
    Usage(String),
    /// What is asked for names something that is not there.
    #[error("{0}")]
    Absent(String),
    /// What is asked for does not go together with what there is.
    #[error("{0}")]
    Conflict(String),
    /// The model, a query or a picture.
    #[error(transparent)]
    Model(Box<grounding::Error>),
    /// Training or evaluation.
    #[error(transparent)]
    Train(Box<qrnet_train::Error>),
    /// A public model, or the cache of such.
    #[error(transparent)]
    Hub(Box<hub::Error>),
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A pipeline description that GStreamer cannot build.
    #[error("pipeline {name}: {reason}")]
    Pipeline {
        /// File or built-in name.
        name: String,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// The source failed: never an end of stream.
    #[error("{code}: source {name}: {reason}")]
    Source {
        /// Stable code for programs.
        code: &'static str,
        /// The source, credentials removed.
        name: String,
        /// The element's own words.
        reason: String,
    },
    /// An output failed.
    #[error("output {name}: {reason}")]
    Output {
        /// The output.
        name: String,
        /// The element's own words.
        reason: String,
    },
    /// Another engine, measured beside ours.
    #[error("--peer {command}: {reason}")]
    Peer {
        /// Its command.
        command: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The ledger of a batch.
    #[error("ledger {path}: {reason}")]
    Ledger {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What is kept of sightings.
    #[error("sightings {path}: {reason}")]
    Store {
        /// The index.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The grounding worker failed.
    #[error("grounding failed: {0}")]
    Worker(String),
    /// Interrupted by the user; what was written is whole.
    #[error("interrupted")]
    Interrupted,
    /// Several pictures or files failed; each was reported.
    #[error("{failed} of {total} {what} failed")]
    Partial {
        /// How many failed.
        failed: usize,
        /// Out of how many.
        total: usize,
        /// Pictures, files.
        what: &'static str,
    },
}

impl From<grounding::Error> for Error {
    fn from(error: grounding::Error) -> Self {
        Self::Model(Box::new(error))
    }
}

impl From<hub::Error> for Error {
    fn from(error: hub::Error) -> Self {
        Self::Hub(Box::new(error))
    }
}

impl From<frames::Error> for Error {
    fn from(error: frames::Error) -> Self {
        match error {
            frames::Error::Picture(error) => Self::Model(error),
            error => Self::Output { name: "overlay".into(), reason: error.to_string() },
        }
    }
}

impl From<qrnet_train::Error> for Error {
    fn from(error: qrnet_train::Error) -> Self {
        Self::Train(Box::new(error))
    }
}

/// The program's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What happened to one picture, where the next one may do better.
    pub(crate) fn of_a_picture(&self) -> Option<&'static str> {
        let Self::Model(error) = self else { return None };
        match error.as_ref() {
            grounding::Error::Io { .. } => Some("read"),
            grounding::Error::Picture { .. } => Some("decode"),
            _ => None,
        }
    }

    /// For `map_err` on file operations.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// 2 for wrong use, 130 after Ctrl-C, 1 for everything that failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Absent(_) | Self::Conflict(_) | Self::Pipeline { .. } => 2,
            Self::Model(error) if error.is_usage() => 2,
            Self::Train(error) if error.is_usage() => 2,
            Self::Hub(error) if error.is_usage() => 2,
            Self::Interrupted => 130,
            _ => 1,
        }
    }

    /// Whether whoever read our output went away: no reason to complain.
    pub fn is_broken_pipe(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::BrokenPipe,
            Self::Model(error) => error.is_broken_pipe(),
            _ => false,
        }
    }
}
