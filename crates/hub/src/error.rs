//! The crate's error type: every variant names the thing, its value and what was expected.

use std::path::{Path, PathBuf};

/// What can go wrong between a name and a model in the cache.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name or a setting that means nothing.
    #[error("{0}")]
    Usage(String),
    /// The hub answers, and the model cannot be had, or is none that is read here.
    #[error("{repository}: {reason}")]
    Refused {
        /// `owner/name`, with a revision where one was asked for.
        repository: String,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// Nobody answers.
    #[error("{repository}: {reason}; {remedy}")]
    Unreachable {
        /// `owner/name`, with a revision where one was asked for.
        repository: String,
        /// Who, and why.
        reason: String,
        /// What to do without a network.
        remedy: String,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The table of known models.
    #[error(transparent)]
    Table(#[from] blocks::Error),
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether the user asked for something wrong, and trying again will not help.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Usage(_) | Self::Table(_))
    }

    /// For `map_err` on file operations.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}
