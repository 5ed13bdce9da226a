//! A data set as a recipe describes it: format, files, names.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{DataSet, Entry, Layout, Listed, index, jsonl, mdetr, refer};
use crate::error::{Error, Result};

/// One data set on disk. Paths are relative to the recipe's folder.
///
/// ```toml
/// format = "refer"
/// name = "refcoco"            # in reports; may be left out
/// folder = "data/refcoco"     # holds instances.json and refs(unc).p
/// pictures = "data/train2014"
/// refs = "unc"                # unc, google or umd
/// split = "train"
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "format", rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// The REFER toolkit's layout: [`refer::read`].
    Refer {
        /// Name in reports; without it, the folder's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Folder of `instances.json` and `refs(..).p`.
        folder: PathBuf,
        /// Folder of the pictures.
        pictures: PathBuf,
        /// Who split it: `unc`, `google` or `umd`.
        refs: String,
        /// `train`, `val`, `testA` and so on.
        split: String,
    },
    /// The reference's index files: [`index::read`].
    Index {
        /// Name in reports; without it, the layout's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// `<data set>_<split>.pth`.
        file: PathBuf,
        /// Folder of the pictures.
        pictures: PathBuf,
        /// Which data set it is.
        layout: Layout,
    },
    /// MDETR's annotations: [`mdetr::read`].
    Mdetr {
        /// Name in reports; without it, the file's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The JSON file.
        file: PathBuf,
        /// Folder of the pictures.
        pictures: PathBuf,
    },
    /// JSON Lines: [`jsonl::read`].
    Jsonl {
        /// Name in reports; without it, the file's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The file; pictures are relative to its folder.
        file: PathBuf,
    },
}

impl Source {
    /// One of every format with all keys set, for strict reading of recipes.
    pub fn examples() -> Vec<Self> {
        let path = || PathBuf::from("data");
        let name = || Some("name".to_owned());
        vec![
            Self::Refer { name: name(), folder: path(), pictures: path(), refs: "unc".into(), split: "train".into() },
            Self::Index { name: name(), file: path(), pictures: path(), layout: Layout::Unc },
            Self::Mdetr { name: name(), file: path(), pictures: path() },
            Self::Jsonl { name: name(), file: path() },
        ]
    }

    /// The name in reports.
    pub fn name(&self) -> String {
        let last = |path: &Path| path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
        match self {
            Self::Refer { name, folder, .. } => name.clone().unwrap_or_else(|| last(folder)),
            Self::Index { name, layout, .. } => name.clone().unwrap_or_else(|| layout.name().to_owned()),
            Self::Mdetr { name, file, .. } | Self::Jsonl { name, file } => name.clone().unwrap_or_else(|| last(file)),
        }
    }

    /// Reads the entries; `base` is the recipe's folder.
    ///
    /// # Errors
    /// The data set is not where it should be, or as its reader.
    pub fn entries(&self, base: &Path) -> Result<Vec<Entry>> {
        for (key, path, folder) in self.paths() {
            let path = base.join(path);
            if !(if folder { path.is_dir() } else { path.is_file() }) {
                let what = if folder { "folder" } else { "file" };
                return Err(Error::file(
                    &path,
                    format_args!(
                        "no such {what}: the data set `{}` should have it there (`{key}` in the recipe, relative to {})",
                        self.name(),
                        base.display()
                    ),
                ));
            }
        }
        match self {
            Self::Refer { folder, pictures, refs, split, .. } => {
                refer::read(&base.join(folder), &base.join(pictures), refs, split)
            }
            Self::Index { file, pictures, layout, .. } => index::read(&base.join(file), &base.join(pictures), *layout),
            Self::Mdetr { file, pictures, .. } => mdetr::read(&base.join(file), &base.join(pictures)),
            Self::Jsonl { file, .. } => jsonl::read(&base.join(file)),
        }
    }

    /// Reads the data set; `base` is the recipe's folder. Pictures are opened later, one by one.
    ///
    /// # Errors
    /// As [`Source::entries`] and [`Listed::new`].
    pub fn open(&self, base: &Path) -> Result<Box<dyn DataSet>> {
        Ok(Box::new(Listed::new(&self.name(), self.entries(base)?)?))
    }

    /// Key, path, and whether it is a folder, of everything that must be there.
    fn paths(&self) -> Vec<(&'static str, &Path, bool)> {
        match self {
            Self::Refer { folder, pictures, .. } => vec![("folder", folder, true), ("pictures", pictures, true)],
            Self::Index { file, pictures, .. } | Self::Mdetr { file, pictures, .. } => {
                vec![("file", file, false), ("pictures", pictures, true)]
            }
            Self::Jsonl { file, .. } => vec![("file", file, false)],
        }
    }
}
