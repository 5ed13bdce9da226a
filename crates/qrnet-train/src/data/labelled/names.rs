//! Names of classes for YOLO: `names` of a `data.yaml`, or a text file with one a line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::text::read as read_text;
use crate::error::{Error, Result};

/// What is looked for in the folder where the recipe names no file.
const USUAL: [&str; 2] = ["data.yaml", "classes.txt"];

/// The classes.
pub(super) struct Names {
    /// By number.
    pub(super) names: Vec<String>,
    /// Whether boxes are followed by the points of a pose.
    pub(super) pose: bool,
}

/// The file of names in a folder.
///
/// # Errors
/// There is none.
pub(super) fn find(root: &Path) -> Result<PathBuf> {
    let found = USUAL.iter().map(|name| root.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let usual = USUAL.join(" or ");
        Error::file(root, format_args!("has no names of classes, expected {usual} there or `names` in the recipe"))
    })
}

impl Names {
    /// # Errors
    /// The file is missing or empty, malformed, or lacks a name.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let text = read_text(file)?;
        let ending = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let found = if ["yaml", "yml"].iter().any(|yaml| yaml.eq_ignore_ascii_case(ending)) {
            Self::from_yaml(&text).map_err(|reason| Error::file(file, reason))?
        } else {
            // Empty lines at the end are no names.
            let names: Vec<String> = text.trim_end().lines().map(|line| line.trim().to_owned()).collect();
            if names.is_empty() {
                return Err(Error::file(file, "holds no name, expected the names of the classes, one a line"));
            }
            Self { names, pose: false }
        };
        if let Some(nameless) = found.names.iter().position(|name| name.trim().is_empty()) {
            return Err(Error::file(file, format_args!("class {nameless} has no name, expected one for every class")));
        }
        Ok(found)
    }

    fn from_yaml(text: &str) -> Result<Self, String> {
        // Excerpts of the file would make several lines of the message.
        let options = serde_saphyr::options! { with_snippet: false };
        let file: YamlFile = serde_saphyr::from_str_with_options(text, options).map_err(|e| e.to_string())?;
        let Some(List(names)) = file.names else {
            return Err("lacks the key `names`, expected the names of the classes".into());
        };
        if names.is_empty() {
            return Err("`names` is empty, expected the names of the classes".into());
        }
        if let Some(count) = file.nc.filter(|count| *count != names.len()) {
            return Err(format!("`nc` is {count} and there are {} names, expected as many", names.len()));
        }
        Ok(Self { names, pose: file.kpt_shape.is_some() })
    }
}

/// Of the file's keys only what is used.
#[derive(Deserialize)]
struct YamlFile {
    names: Option<List>,
    nc: Option<usize>,
    kpt_shape: Option<Vec<usize>>,
}

/// A list of names, or a map of names by number.
struct List(Vec<String>);

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = List;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a list of names, or names by number")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(List(names))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<List, A::Error> {
                let mut names: BTreeMap<usize, String> = BTreeMap::new();
                while let Some((key, name)) = map.next_entry::<String, _>()? {
                    let number = key.parse().map_err(|_| {
                        A::Error::custom(format_args!("`names` has the key {key:?}, expected numbers of classes"))
                    })?;
                    names.insert(number, name);
                }
                if let Some((expected, _)) = names.keys().enumerate().find(|(expected, number)| expected != *number) {
                    return Err(A::Error::custom(format_args!(
                        "`names` lacks class {expected}, expected a name for every class from 0"
                    )));
                }
                Ok(List(names.into_values().collect()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
