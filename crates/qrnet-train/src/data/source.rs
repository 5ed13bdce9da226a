//! A data set as a recipe describes it: format, files, names.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::clip::{Clip, ClipLabels, Selection};
use super::labelled::{LabelledSet, coco, flickr30k, pack, voc, yolo};
use super::place::place;
use super::video::FrameSource;
use super::{DataSet, Entry, Layout, Listed, index, jsonl, mdetr, refer};
use crate::error::{Error, Result};
use crate::expressions::{Ask, Asked, Question, questions};

/// One data set on disk. Paths are relative to the recipe's folder, or begin with `$SPOTTER_DATA`
/// ([`DATA`](super::place::DATA)).
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
    /// Our pack of boxes, JSON Lines: [`pack::read`].
    Boxes {
        /// Name in reports; without it, the file's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The file; pictures are relative to its folder.
        file: PathBuf,
        /// Whether every object of its classes has a box, so that absence can be told.
        #[serde(default)]
        complete: bool,
        /// Only pictures under these licences, as the data set spells them; all, if none is named.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        licences: Vec<String>,
        /// What is asked of its pictures.
        #[serde(default)]
        ask: Ask,
    },
    /// COCO's instances: [`coco::read`].
    Coco {
        /// Name in reports; without it, the file's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The JSON file of instances.
        annotations: PathBuf,
        /// Folder of the pictures.
        pictures: PathBuf,
        /// The JSON file of captions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        captions: Option<PathBuf>,
        /// As in [`Source::Boxes`].
        #[serde(default = "yes")]
        complete: bool,
        /// As in [`Source::Boxes`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        licences: Vec<String>,
        /// As in [`Source::Boxes`].
        #[serde(default)]
        ask: Ask,
    },
    /// The PASCAL VOC layout: [`voc::read`].
    Voc {
        /// Name in reports; without it, the folder's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Folder of `Annotations`, `JPEGImages` and `ImageSets`.
        folder: PathBuf,
        /// Which list of `ImageSets/Main`: `train`, `val` and so on.
        split: String,
        /// As in [`Source::Boxes`].
        #[serde(default = "yes")]
        complete: bool,
        /// As in [`Source::Boxes`].
        #[serde(default)]
        ask: Ask,
    },
    /// Folders for YOLO: [`yolo::read`].
    Yolo {
        /// Name in reports; without it, the folder's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Folder of `images` and `labels`.
        folder: PathBuf,
        /// Which folder of `images`: `train`, `val` and so on.
        split: String,
        /// Names of the classes, YAML or one a line; without it, `data.yaml` or `classes.txt` of the folder.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        names: Option<PathBuf>,
        /// As in [`Source::Boxes`].
        #[serde(default = "yes")]
        complete: bool,
        /// As in [`Source::Boxes`].
        #[serde(default)]
        ask: Ask,
    },
    /// Flickr30k Entities: [`flickr30k::read`].
    Flickr30k {
        /// Name in reports; without it, the folder's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Folder of `Annotations`, `Sentences` and the lists of splits.
        folder: PathBuf,
        /// Folder of the pictures.
        pictures: PathBuf,
        /// Which list: `train`, `val` or `test`.
        split: String,
        /// As in [`Source::Boxes`].
        #[serde(default)]
        ask: Ask,
    },
}

fn one() -> u64 {
    1
}

fn yes() -> bool {
    true
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
            Self::Boxes {
                name: name(),
                file: path(),
                complete: true,
                licences: vec!["licence".into()],
                ask: Ask::example(),
            },
            Self::Coco {
                name: name(),
                annotations: path(),
                pictures: path(),
                captions: Some(path()),
                complete: true,
                licences: vec!["licence".into()],
                ask: Ask::example(),
            },
            Self::Voc { name: name(), folder: path(), split: "train".into(), complete: true, ask: Ask::example() },
            Self::Yolo {
                name: name(),
                folder: path(),
                split: "train".into(),
                names: Some(path()),
                complete: true,
                ask: Ask::example(),
            },
            Self::Flickr30k {
                name: name(),
                folder: path(),
                pictures: path(),
                split: "train".into(),
                ask: Ask::example(),
            },
        ]
    }

    /// The name in reports.
    pub fn name(&self) -> String {
        let last = |path: &Path| path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
        match self {
            Self::Refer { name, folder, .. }
            | Self::Voc { name, folder, .. }
            | Self::Yolo { name, folder, .. }
            | Self::Flickr30k { name, folder, .. } => name.clone().unwrap_or_else(|| last(folder)),
            Self::Index { name, layout, .. } => name.clone().unwrap_or_else(|| layout.name().to_owned()),
            Self::Clip { name, clip, .. } => name.clone().unwrap_or_else(|| last(clip)),
            Self::Mdetr { name, file, .. }
            | Self::Jsonl { name, file }
            | Self::Boxes { name, file, .. }
            | Self::Coco { name, annotations: file, .. } => name.clone().unwrap_or_else(|| last(file)),
        }
    }

    /// Where the file or folder of a key lies.
    fn place(&self, base: &Path, key: &str, path: &Path) -> Result<PathBuf> {
        place(base, path, &self.name(), key)
    }

    /// Everything that it names is there; `base` is the recipe's folder.
    ///
    /// # Errors
    /// The first file or folder that is not.
    fn check(&self, base: &Path) -> Result<()> {
        for (key, path, folder) in self.paths() {
            let path = self.place(base, key, path)?;
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
        let at = |key, path| self.place(base, key, path);
        match self {
            Self::Refer { folder, pictures, refs, split, .. } => {
                listed(refer::read(&at("folder", folder)?, &at("pictures", pictures)?, refs, split)?)
            }
            Self::Index { file, pictures, layout, .. } => {
                listed(index::read(&at("file", file)?, &at("pictures", pictures)?, *layout)?)
            }
            Self::Mdetr { file, pictures, .. } => listed(mdetr::read(&at("file", file)?, &at("pictures", pictures)?)?),
            Self::Jsonl { file, .. } => listed(jsonl::read(&at("file", file)?)?),
            Self::Clip { clip, recast, .. } => {
                let labels = self.clip_labels(base)?;
                let labels = labels.ok_or_else(|| Error::Unsupported(format!("{} is no film", self.name())))?;
                let clip = Clip::open(&self.name(), &at("clip", clip)?, labels, origin.video)?;
                Ok(Box::new(if origin.dense { clip.with_labels().with_recast(*recast)? } else { clip }))
            }
            Self::Boxes { ask, .. }
            | Self::Coco { ask, .. }
            | Self::Voc { ask, .. }
            | Self::Yolo { ask, .. }
            | Self::Flickr30k { ask, .. } => {
                let set = self.labelled(base)?;
                let set = set.ok_or_else(|| Error::Unsupported(format!("{} has no labelled pictures", self.name())))?;
                Ok(Box::new(Asked::new(set, ask.clone(), origin.dense)?))
            }
        }
    }

    /// Whether it holds labelled pictures, out of which questions are made.
    pub fn is_labelled(&self) -> bool {
        matches!(
            self,
            Self::Boxes { .. } | Self::Coco { .. } | Self::Voc { .. } | Self::Yolo { .. } | Self::Flickr30k { .. }
        )
    }

    /// Pictures with boxes, before anything is asked of them; none of formats whose entries are questions already.
    ///
    /// # Errors
    /// The data set is not where it should be, or as its reader.
    pub fn labelled(&self, base: &Path) -> Result<Option<LabelledSet>> {
        let name = self.name();
        let at = |key, path: &PathBuf| self.place(base, key, path);
        let set = match self {
            Self::Boxes { file, complete, licences, .. } => {
                pack::read(&name, &at("file", file)?, *complete)?.licensed(licences)?
            }
            Self::Coco { annotations, pictures, captions, complete, licences, .. } => {
                let captions = captions.as_ref().map(|file| at("captions", file)).transpose()?;
                let (annotations, pictures) = (at("annotations", annotations)?, at("pictures", pictures)?);
                coco::read(&name, &annotations, &pictures, captions.as_deref(), *complete)?.licensed(licences)?
            }
            Self::Voc { folder, split, complete, .. } => voc::read(&name, &at("folder", folder)?, split, *complete)?,
            Self::Yolo { folder, split, names, complete, .. } => {
                let names = names.as_ref().map(|file| at("names", file)).transpose()?;
                yolo::read(&name, &at("folder", folder)?, split, names.as_deref(), *complete)?
            }
            Self::Flickr30k { folder, pictures, split, .. } => {
                flickr30k::read(&name, &at("folder", folder)?, &at("pictures", pictures)?, split)?
            }
            Self::Refer { .. } | Self::Index { .. } | Self::Mdetr { .. } | Self::Jsonl { .. } | Self::Clip { .. } => {
                return Ok(None);
            }
        };
        Ok(Some(set))
    }

    /// Labelled pictures and the fixed questions that are asked of them; none where a recipe asks no fixed ones.
    ///
    /// # Errors
    /// As [`Source::labelled`].
    pub fn fixed_questions(&self, base: &Path) -> Result<Option<(LabelledSet, Vec<Question>)>> {
        let (Self::Boxes { ask, .. }
        | Self::Coco { ask, .. }
        | Self::Voc { ask, .. }
        | Self::Yolo { ask, .. }
        | Self::Flickr30k { ask, .. }) = self
        else {
            return Ok(None);
        };
        let Some(which) = ask.questions else { return Ok(None) };
        self.check(base)?;
        Ok(self.labelled(base)?.map(|set| {
            let all = questions::questions(&set, which);
            (set, all)
        }))
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
        let (labels, queries) = (self.place(base, "labels", labels)?, self.place(base, "queries", queries)?);
        ClipLabels::read(&labels, &queries, &selection).map(Some)
    }

    /// Where the film lies; none for other data sets.
    ///
    /// # Errors
    /// It is in the folder of data, and [`DATA`](super::place::DATA) is not set.
    pub fn film(&self, base: &Path) -> Result<Option<PathBuf>> {
        let Self::Clip { clip, .. } = self else { return Ok(None) };
        self.place(base, "clip", clip).map(Some)
    }

    /// The first file or folder of the set that is not there; as the recipe has it where nothing says where that is.
    pub fn missing(&self, base: &Path) -> Option<PathBuf> {
        let place = |(key, path, _): (_, &Path, _)| self.place(base, key, path).unwrap_or_else(|_| path.to_path_buf());
        self.paths().into_iter().map(place).find(|path| !path.exists())
    }

    /// Key, path, and whether it is a folder, of everything that must be there.
    fn paths(&self) -> Vec<(&'static str, &Path, bool)> {
        match self {
            Self::Refer { folder, pictures, .. } | Self::Flickr30k { folder, pictures, .. } => {
                vec![("folder", folder, true), ("pictures", pictures, true)]
            }
            Self::Index { file, pictures, .. } | Self::Mdetr { file, pictures, .. } => {
                vec![("file", file, false), ("pictures", pictures, true)]
            }
            Self::Jsonl { file, .. } | Self::Boxes { file, .. } => vec![("file", file, false)],
            Self::Voc { folder, .. } => vec![("folder", folder, true)],
            Self::Yolo { folder, names, .. } => {
                let names = names.iter().map(|names| ("names", names.as_path(), false));
                std::iter::once(("folder", folder.as_path(), true)).chain(names).collect()
            }
            Self::Coco { annotations, pictures, captions, .. } => {
                let mut all = vec![("annotations", annotations.as_path(), false), ("pictures", pictures, true)];
                all.extend(captions.iter().map(|captions| ("captions", captions.as_path(), false)));
                all
            }
            Self::Clip { clip, labels, queries, .. } => {
                vec![("clip", clip, false), ("labels", labels, false), ("queries", queries, false)]
            }
        }
    }
}
