//! A data set as a recipe describes it: format, files, names.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::clip::{Clip, ClipLabels, Selection};
use super::video::FrameSource;
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// A labelled film: [`Clip`].
    Clip {
        /// Name in reports; without it, the film's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The film.
        clip: PathBuf,
        /// Its boxes, as a MOTChallenge table.
        labels: PathBuf,
        /// What is asked of it.
        queries: PathBuf,
        /// First and last of every stretch of frames, counted from 1; without it, all frames up to the last labelled one.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        frames: Vec<[u64; 2]>,
        /// Take every so many frames.
        #[serde(default = "one")]
        step: u64,
        /// Ask for these alone, by name; without it, for all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        referents: Vec<String>,
        /// Fill the frames between labels of one track that are at most so many frames apart.
        #[serde(default)]
        fill: u64,
        /// Share of training pictures, 0..1, out of which people are taken and into which others are put, elsewhere and in
        /// other sizes. For cameras that do not move.
        #[serde(default)]
        recast: f64,
    },
}

fn one() -> u64 {
    1
}

/// Where data sets come from.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    /// The folder that paths are relative to.
    pub base: &'a Path,
    /// Decodes films.
    pub video: &'a dyn FrameSource,
    /// Whether examples carry labels of all that their pictures show, where the data set can tell.
    pub dense: bool,
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
            Self::Clip {
                name: name(),
                clip: path(),
                labels: path(),
                queries: path(),
                frames: vec![[1, 2]],
                step: 1,
                referents: vec!["name".into()],
                fill: 0,
                recast: 0.0,
            },
        ]
    }

    /// The name in reports.
    pub fn name(&self) -> String {
        let last = |path: &Path| path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
        match self {
            Self::Refer { name, folder, .. } => name.clone().unwrap_or_else(|| last(folder)),
            Self::Index { name, layout, .. } => name.clone().unwrap_or_else(|| layout.name().to_owned()),
            Self::Clip { name, clip, .. } => name.clone().unwrap_or_else(|| last(clip)),
            Self::Mdetr { name, file, .. } | Self::Jsonl { name, file } => name.clone().unwrap_or_else(|| last(file)),
        }
    }

    /// Everything that it names is there; `base` is the recipe's folder.
    ///
    /// # Errors
    /// The first file or folder that is not.
    fn check(&self, base: &Path) -> Result<()> {
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
        Ok(())
    }

    /// Reads the data set. Pictures are opened later, one by one; films are decoded here.
    ///
    /// # Errors
    /// The data set is not where it should be, or as its reader, [`Listed::new`] and [`Clip::open`].
    pub fn open(&self, origin: Origin) -> Result<Box<dyn DataSet>> {
        let base = origin.base;
        self.check(base)?;
        let listed =
            |entries: Vec<Entry>| -> Result<Box<dyn DataSet>> { Ok(Box::new(Listed::new(&self.name(), entries)?)) };
        match self {
            Self::Refer { folder, pictures, refs, split, .. } => {
                listed(refer::read(&base.join(folder), &base.join(pictures), refs, split)?)
            }
            Self::Index { file, pictures, layout, .. } => {
                listed(index::read(&base.join(file), &base.join(pictures), *layout)?)
            }
            Self::Mdetr { file, pictures, .. } => listed(mdetr::read(&base.join(file), &base.join(pictures))?),
            Self::Jsonl { file, .. } => listed(jsonl::read(&base.join(file))?),
            Self::Clip { clip, recast, .. } => {
                let labels = self.clip_labels(base)?;
                let labels = labels.ok_or_else(|| Error::Unsupported(format!("{} is no film", self.name())))?;
                let clip = Clip::open(&self.name(), &base.join(clip), labels, origin.video)?;
                Ok(Box::new(if origin.dense { clip.with_labels().with_recast(*recast)? } else { clip }))
            }
        }
    }

    /// The labels of a film without its pictures; none of other data sets.
    ///
    /// # Errors
    /// As [`ClipLabels::read`].
    pub fn clip_labels(&self, base: &Path) -> Result<Option<ClipLabels>> {
        let Self::Clip { labels, queries, frames, step, referents, fill, recast, .. } = self else { return Ok(None) };
        if !(0.0..=1.0).contains(recast) {
            return Err(Error::Unsupported(format!(
                "{}: `recast` is {recast}, expected a share from 0 to 1",
                self.name()
            )));
        }
        let selection = Selection { stretches: frames, step: *step, referents, fill: *fill };
        ClipLabels::read(&base.join(labels), &base.join(queries), &selection).map(Some)
    }

    /// The first file or folder of the set that is not there.
    pub fn missing(&self, base: &Path) -> Option<PathBuf> {
        self.paths().into_iter().map(|(_, path, _)| base.join(path)).find(|path| !path.exists())
    }

    /// Key, path, and whether it is a folder, of everything that must be there.
    fn paths(&self) -> Vec<(&'static str, &Path, bool)> {
        match self {
            Self::Refer { folder, pictures, .. } => vec![("folder", folder, true), ("pictures", pictures, true)],
            Self::Index { file, pictures, .. } | Self::Mdetr { file, pictures, .. } => {
                vec![("file", file, false), ("pictures", pictures, true)]
            }
            Self::Jsonl { file, .. } => vec![("file", file, false)],
            Self::Clip { clip, labels, queries, .. } => {
                vec![("clip", clip, false), ("labels", labels, false), ("queries", queries, false)]
            }
        }
    }
}
