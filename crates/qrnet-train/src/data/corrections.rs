//! What somebody corrected of labels, in a file beside them: `street.corrections.csv` for `street.csv`. It is read with them, and
//! wins over them; whoever labels anew leaves it alone.

use std::path::{Path, PathBuf};

/// What stands in its name before the ending.
const NAME: &str = "corrections";

/// Where corrections of the labels in `file` lie.
pub fn beside(file: &Path) -> PathBuf {
    let mut name = file.file_stem().unwrap_or_default().to_os_string();
    name.push(format!(".{NAME}"));
    if let Some(ending) = file.extension() {
        name.push(".");
        name.push(ending);
    }
    file.with_file_name(name)
}

/// The corrections of the labels in `file`, where there are any.
pub(super) fn of(file: &Path) -> Option<PathBuf> {
    Some(beside(file)).filter(|path| path.is_file())
}

/// Says that they were read.
pub(super) fn told(file: &Path, count: usize) {
    tracing::info!("{}: {count} corrections", file.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_neighbours() {
        for (file, expected) in [
            ("a/street.csv", "a/street.corrections.csv"),
            ("street.v2.jsonl", "street.v2.corrections.jsonl"),
            ("labels", "labels.corrections"),
        ] {
            assert_eq!(beside(Path::new(file)), Path::new(expected));
        }
    }
}
