//! What results are called: by their input's name as far as a file can be called so, whatever the input is called.

use std::collections::HashMap;
use std::path::Path;

use blocks::files::hex;
use sha2::{Digest, Sha256};

use super::worklist::Input;

/// Bytes of a name; with suffix and ending it stays below what file systems take.
const LONGEST: usize = 120;
/// Hexadecimal digits of a suffix, more where fewer are taken.
const SUFFIXES: [usize; 3] = [8, 16, 64];

/// The name that an input's results should have, and the suffix that makes it its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Without ending.
    pub(super) stem: String,
    /// Whether the name alone would not do: others have it too, or it is not the input's own.
    pub(super) needs_suffix: bool,
    /// Of path and job.
    pub(super) suffix: String,
}

impl Wanted {
    /// Names that will do, the best first.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        let plain = (!self.needs_suffix).then(|| self.stem.clone());
        let suffixed = SUFFIXES.into_iter().map(|digits| format!("{}-{}", self.stem, &self.suffix[..digits]));
        plain.into_iter().chain(suffixed)
    }
}

/// Names for the inputs of a job, in their order.
pub(super) fn wanted(inputs: &[Input], job: &str) -> Vec<Wanted> {
    let stems: Vec<(String, bool)> = inputs.iter().map(|input| stem(&input.given)).collect();
    // Some file systems take capital letters for small ones.
    let mut counts: HashMap<String, usize> = HashMap::new();
    for (stem, _) in &stems {
        *counts.entry(stem.to_lowercase()).or_default() += 1;
    }
    let named = inputs.iter().zip(stems);
    named
        .map(|(input, (stem, changed))| Wanted {
            needs_suffix: changed || counts[&stem.to_lowercase()] > 1,
            suffix: suffix(&input.path, job),
            stem,
        })
        .collect()
}

fn suffix(path: &Path, job: &str) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut hash = Sha256::new();
    hash.update(job.as_bytes());
    hash.update([0]);
    hash.update(path.as_os_str().as_bytes());
    hex(&hash.finalize())
}

/// A file's name without its ending, as far as it can stand in a path, and whether it had to be changed for that.
fn stem(path: &Path) -> (String, bool) {
    let own = path.file_stem().unwrap_or_default().to_string_lossy();
    let safe = |c: char| !c.is_control() && !"/\\:*?\"<>|\u{fffd}".contains(c);
    let mut name: String = own.chars().map(|c| if safe(c) { c } else { '_' }).collect();
    // Neither hidden nor an option, nor one that some systems cut.
    if name.starts_with(['.', '-']) || name.is_empty() {
        name.insert(0, '_');
    }
    if name.ends_with(['.', ' ']) {
        name.push('_');
    }
    while name.len() > LONGEST {
        name.pop();
    }
    let changed = name != own;
    (name, changed)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use proptest::prelude::*;

    use super::*;

    fn names(paths: &[&str]) -> Vec<String> {
        let inputs: Vec<Input> = paths.iter().map(|path| Input { path: path.into(), given: path.into() }).collect();
        wanted(&inputs, "job").iter().filter_map(|wanted| wanted.names().next()).collect()
    }

    #[test]
    fn own_names_where_they_are_own_and_fit() {
        assert_eq!(names(&["/a/clip.mp4", "/a/ein zwei é.mkv"]), ["clip", "ein zwei é"]);
        let same = names(&["/a/clip.mp4", "/b/Clip.mp4", "/c/other.mp4"]);
        assert!(same[0].starts_with("clip-") && same[1].starts_with("Clip-") && same[2] == "other", "{same:?}");
        assert_ne!(same[0][5..], same[1][5..]);
        for odd in ["/a/..mp4", "/a/.hidden.mp4", "/a/two\nlines.mp4", "/a/-rf.mp4", "/a/trailing .mp4"] {
            let name = &names(&[odd])[0];
            assert!(!name.starts_with(['.', '-']) && !name.contains(['\n', '/']), "{odd:?} {name:?}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_one_that_a_file_in_the_folder_can_have(bytes in prop::collection::vec(1u8..=255, 1..300)) {
            let given = Path::new(OsStr::from_bytes(&bytes)).to_path_buf();
            for name in wanted(&[Input { path: "/x".into(), given }], "job")[0].names() {
            let path = Path::new(&name);
            prop_assert_eq!(path.components().count(), 1);
            prop_assert!(matches!(path.components().next(), Some(std::path::Component::Normal(_))));
            prop_assert!(name.len() <= LONGEST + 65 && !name.contains(char::is_control), "{:?}", name);
            }
        }
    }
}
