//! Where the files of a recipe lie.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The environment variable that names the folder of data outside the tree; paths of recipes may begin with `$` and it.
pub const DATA: &str = "SPOTTER_DATA";

/// Where `path`, the value of `key` of the data set `name`, lies: under the folder of data if it begins with
/// `$SPOTTER_DATA`, else under `base`, the recipe's folder.
///
/// # Errors
/// `SPOTTER_DATA` is needed and not set.
pub(super) fn place(base: &Path, path: &Path, name: &str, key: &str) -> Result<PathBuf> {
    within(base, path, std::env::var_os(DATA).as_deref()).ok_or_else(|| {
        Error::Unsupported(format!(
            "the data set `{name}` lies in {} (`{key}` in the recipe), and {DATA} is not set: \
             expected this environment variable to name the folder of data outside the tree",
            path.display()
        ))
    })
}

fn within(base: &Path, path: &Path, data: Option<&OsStr>) -> Option<PathBuf> {
    let mut parts = path.components();
    let first = parts.next().and_then(|part| part.as_os_str().to_str()?.strip_prefix('$'));
    if first != Some(DATA) {
        return Some(base.join(path));
    }
    let data = data.filter(|data| !data.is_empty())?;
    Some(Path::new(data).join(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_begin_at_the_recipe_or_at_the_folder_of_data() {
        let at = |path: &str, data: Option<&str>| within(Path::new("/recipes"), Path::new(path), data.map(OsStr::new));
        let data = Some("/data");
        assert_eq!(at("a/b", data), Some("/recipes/a/b".into()));
        assert_eq!(at("/a/b", data), Some("/a/b".into()));
        assert_eq!(at("$SPOTTER_DATA/a/b", data), Some("/data/a/b".into()));
        assert_eq!(at("$SPOTTER_DATA", data), Some("/data".into()));
        // Only the whole first part counts.
        assert_eq!(at("$SPOTTER_DATABASE/a", data), Some("/recipes/$SPOTTER_DATABASE/a".into()));
        assert_eq!(at("a/$SPOTTER_DATA", data), Some("/recipes/a/$SPOTTER_DATA".into()));
        assert_eq!(at("a", None), Some("/recipes/a".into()));
        assert_eq!(at("$SPOTTER_DATA/a", None), None);
        assert_eq!(at("$SPOTTER_DATA/a", Some("")), None);
    }
}
