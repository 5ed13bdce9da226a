//! The crate's error type: every variant names the thing, its value and what was expected.

use std::path::{Path, PathBuf};

/// What can end a training run or an evaluation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One entry of a data set.
    #[error("{path}, {entry}: {reason}")]
    Entry {
        /// The file that lists the entry.
        path: PathBuf,
        /// Which entry: "line 7", "ref 12, sentence 3".
        entry: String,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// A recipe's value that no training can be made from.
    #[error("{recipe}: `{key}` is {value}, expected {expected}")]
    Recipe {
        /// The recipe's file.
        recipe: String,
        /// Dotted path of the key.
        key: String,
        /// The value found.
        value: String,
        /// What a valid value looks like.
        expected: String,
    },
    /// A file that a recipe names.
    #[error("`{key}` in the recipe: {source}")]
    Named {
        /// Dotted path of the key that names it.
        key: &'static str,
        /// What is wrong with the file.
        source: Box<qrnet::Error>,
    },
    /// The loss or its gradient is no number.
    #[error("step {step}: the {what} is {value}; the batch was saved as {batch}")]
    NotFinite {
        /// Counted from 0.
        step: u64,
        /// What is no number.
        what: &'static str,
        /// What it is instead.
        value: f64,
        /// Where the batch lies.
        batch: PathBuf,
    },
    /// Something was asked that these parts cannot do.
    #[error("{0}")]
    Unsupported(String),
    /// The model, a picture, a tokenizer, or a file of any kind.
    #[error(transparent)]
    Model(#[from] qrnet::Error),
    /// A tensor operation failed: a device error, or a bug in this crate.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let from = qrnet::Error::io(action, path);
        move |source| from(source).into()
    }

    pub(crate) fn file(path: &Path, reason: impl std::fmt::Display) -> Self {
        qrnet::Error::file(path, reason).into()
    }

    pub(crate) fn entry(path: &Path, entry: impl std::fmt::Display, reason: impl std::fmt::Display) -> Self {
        Self::Entry { path: path.to_path_buf(), entry: entry.to_string(), reason: reason.to_string() }
    }

    /// True where the caller asked for something wrong (exit code 2), false where something failed (exit code 1).
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Recipe { .. } | Self::Unsupported(_) => true,
            Self::Model(error) => error.is_usage(),
            Self::Named { source, .. } => source.is_usage(),
            _ => false,
        }
    }
}
