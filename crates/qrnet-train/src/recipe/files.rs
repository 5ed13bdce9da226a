//! The files that a recipe names beside its data sets.

use std::path::{Path, PathBuf};

use super::Recipe;
use crate::error::{Error, Result};

/// What a path holds that lies where a script puts what does not ship, and the script.
const FETCHED: [(&str, &str); 2] =
    [("media/photographs/", "scripts/fetch-photograph-weights.sh"), ("media/art", "scripts/fetch-art.sh")];

/// What brings a file or folder that is not there, where a script of ours does.
pub fn brought_by(path: &Path) -> Option<&'static str> {
    let path = path.to_string_lossy();
    FETCHED.iter().find(|(place, _)| path.contains(place)).map(|(_, script)| *script)
}

/// Sees that what the value of `key` names is there.
///
/// # Errors
/// It is not.
pub(crate) fn there(key: &str, path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let hint = brought_by(path).map_or_else(String::new, |script| format!("; {script} brings it"));
    Err(Error::file(path, format_args!("no such file or folder (`{key}` in the recipe){hint}")))
}

impl Recipe {
    /// Keys, and the files or folders that their values name, beside the data sets; `base` is the recipe's folder.
    pub fn files(&self, base: &Path) -> Vec<(&'static str, PathBuf)> {
        let words = (self.tokenizer != "words").then_some(Path::new(&self.tokenizer));
        let named = [
            ("tokenizer", words),
            ("init.backbone", self.init.backbone.as_deref()),
            ("init.text", self.init.text.as_deref()),
            ("init.model", self.init.model.as_deref()),
            ("art", self.art.as_deref()),
        ];
        named.into_iter().filter_map(|(key, path)| Some((key, base.join(path?)))).collect()
    }

    /// Sees that what weights start from is there.
    ///
    /// # Errors
    /// The first file that is not.
    pub(crate) fn check_start(&self, base: &Path) -> Result<()> {
        let mut start = self.files(base).into_iter().filter(|(key, _)| key.starts_with("init."));
        start.try_for_each(|(key, path)| there(key, &path))
    }

    /// What is wrong with a file, and which key names that file.
    pub(crate) fn named(&self, source: qrnet::Error, base: &Path) -> Error {
        let (qrnet::Error::Io { path, .. }
        | qrnet::Error::File { path, .. }
        | qrnet::Error::MissingTensors { path, .. }
        | qrnet::Error::Shape { path, .. }) = &source
        else {
            return source.into();
        };
        match self.files(base).into_iter().find(|(_, own)| path.starts_with(own)) {
            Some((key, _)) => Error::Named { key, source: Box::new(source) },
            None => source.into(),
        }
    }
}
