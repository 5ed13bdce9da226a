//! The crate's error type: every variant names the thing, its value and what was expected.

use std::path::{Path, PathBuf};

/// A tensor that a model reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// The file's name for it.
    pub name: String,
    /// Shape that the configuration implies.
    pub shape: Vec<usize>,
}

/// What can go wrong between a file on disk and a box.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried: "read", "write", "create".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A configuration value that no model can be built from.
    #[error("{file}: `{key}` is {value}, expected {expected}")]
    Config {
        /// The file, or where else the configuration came from.
        file: String,
        /// Dotted path of the key.
        key: String,
        /// The value found.
        value: String,
        /// What a valid value looks like.
        expected: String,
    },
    /// A configuration file that is not well-formed, or holds a key nobody reads.
    #[error("{file}: {reason}")]
    ConfigSyntax {
        /// The file.
        file: String,
        /// Position, key and the nearest valid key where there is one.
        reason: String,
    },
    /// A checkpoint, safetensors or tokenizer file that cannot be used.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// Tensors that the model needs and the file does not hold.
    #[error("{path}: {} missing, first `{}` with shape {:?}", plural(missing.len(), "tensor"), missing[0].name, missing[0].shape)]
    MissingTensors {
        /// The file.
        path: PathBuf,
        /// Names and expected shapes; never empty.
        missing: Vec<TensorSpec>,
    },
    /// A tensor whose shape contradicts the configuration.
    #[error("{path}: tensor `{name}` has shape {found:?}, the configuration expects {expected:?}")]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape that the configuration implies.
        expected: Vec<usize>,
    },
    /// A query that cannot be compiled.
    #[error("query {}: {reason}", quoted(query))]
    Query {
        /// The text as given.
        query: String,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// A compiled query that belongs to another model.
    #[error(
        "{path}: compiled for model {found}, but this model is {expected}; compile the query again with this model"
    )]
    ForeignQuery {
        /// The `query.safetensors` file.
        path: PathBuf,
        /// Digest stored with the query.
        found: String,
        /// Digest of the model in use.
        expected: String,
    },
    /// A picture that cannot be decoded or is too small to ground.
    #[error("picture {path}: {reason}")]
    Picture {
        /// The file.
        path: PathBuf,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// Something was asked of a model that was loaded without the part it needs.
    #[error("{0}")]
    Unsupported(String),
    /// The model computes something that is no number.
    #[error("the model's features are no numbers (NaN or infinite): its weights are damaged")]
    NotFinite,
    /// A tensor operation failed: a device error, or a bug in this crate.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// For `map_err` on what the operating system refused: `action` is "read", "write" or "create".
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// Whether whoever read what was written went away.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// A file that cannot be used.
    pub fn file(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::File { path: path.to_path_buf(), reason: reason.to_string() }
    }

    /// A query of the model `found`, in a file or in memory, asked of the model `expected`.
    pub fn foreign_query(path: Option<&Path>, found: &str, expected: &str) -> Self {
        let path = path.unwrap_or(Path::new("(in memory)")).to_path_buf();
        Self::ForeignQuery { path, found: found.to_owned(), expected: expected.to_owned() }
    }

    /// True where the caller asked for something wrong (exit code 2), false where something failed (exit code 1).
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Config { .. }
                | Self::ConfigSyntax { .. }
                | Self::Query { .. }
                | Self::ForeignQuery { .. }
                | Self::Unsupported(_)
        )
    }
}

/// A sentence as messages quote it: no more of it than one looks at.
pub fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sentences_are_cut_between_letters() {
        assert_eq!(quoted("a \"red\" car"), r#""a \"red\" car""#);
        let whole = "ü".repeat(80);
        assert_eq!(quoted(&whole), format!("\"{whole}\""));
        assert_eq!(quoted(&format!("{whole}ü")), format!("\"{whole}\"…"));
        let error = Error::Query { query: "x".repeat(5000), reason: "is too long".into() };
        assert_eq!(error.to_string(), format!("query \"{}\"…: is too long", "x".repeat(80)));
    }
}
