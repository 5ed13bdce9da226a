//! Which files are meant: arguments become a list of video files, each once, in an order that is the same every time.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::error::{Error, Result};

/// A file to be grounded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Input {
    /// Where it is, without links and detours: what it is known by.
    pub(super) path: PathBuf,
    /// As it was named: what it is called by.
    pub(super) given: PathBuf,
}

/// What arguments come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct WorkList {
    /// By path.
    pub(super) inputs: Vec<Input>,
    /// What was named and is not there, with the reason.
    pub(super) missing: Vec<(PathBuf, String)>,
}

/// How the names of video files end, for searching folders.
const ENDINGS: [&str; 20] = [
    "3gp", "asf", "avi", "flv", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf", "ogg", "ogv", "ts",
    "vob", "webm", "wmv", "y4m",
];
/// More of a list on standard input is not read.
const LONGEST_LIST: u64 = 1 << 30;

impl WorkList {
    /// Expands `arguments`; `-` is the list that `standard_input` gives. Where folders are searched, the files in `out`
    /// that are called as one of `results` are none of the inputs.
    ///
    /// # Errors
    /// Standard input cannot be read, or a pattern is none.
    pub(super) fn expand(
        arguments: &[PathBuf],
        (out, results): (&Path, &HashSet<String>),
        standard_input: impl Read,
    ) -> Result<Self> {
        let mut found = Found { out, results, inputs: BTreeMap::new(), missing: Vec::new() };
        let mut standard_input = Some(standard_input);
        for argument in arguments {
            if argument.as_os_str() != "-" {
                found.argument(argument)?;
                continue;
            }
            let reader = standard_input.take();
            let reader = reader.ok_or_else(|| Error::Usage("-: standard input can be read once".into()))?;
            let mut list = Vec::new();
            reader.take(LONGEST_LIST).read_to_end(&mut list).map_err(Error::io("read", argument))?;
            let separator = if list.contains(&0) { 0 } else { b'\n' };
            for path in list.split(|byte| *byte == separator).filter(|path| !path.is_empty()) {
                // A list is no shell: its names are taken as they stand, but for what Windows puts at the end of lines.
                let own = Path::new(OsStr::from_bytes(path));
                match path.strip_suffix(b"\r").filter(|_| separator == b'\n' && !own.exists()) {
                    Some(path) => found.path(Path::new(OsStr::from_bytes(path))),
                    None => found.path(own),
                }
            }
        }
        let inputs = found.inputs.into_iter().map(|(path, given)| Input { path, given }).collect();
        Ok(Self { inputs, missing: found.missing })
    }
}

struct Found<'a> {
    out: &'a Path,
    results: &'a HashSet<String>,
    /// As given, by path.
    inputs: BTreeMap<PathBuf, PathBuf>,
    missing: Vec<(PathBuf, String)>,
}

impl Found<'_> {
    fn argument(&mut self, argument: &Path) -> Result<()> {
        let pattern = argument.to_str().filter(|text| text.contains(['*', '?', '[']) && !argument.exists());
        let Some(pattern) = pattern else {
            self.path(argument);
            return Ok(());
        };
        let fail = |e: glob::PatternError| Error::Usage(format!("{pattern}: is no valid pattern: {e}"));
        let mut any = false;
        // As shells do it: a star stands for no hidden file.
        let is_hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."));
        let asks_for_hidden = is_hidden(Path::new(pattern));
        let found = glob::glob(pattern).map_err(fail)?.filter_map(std::result::Result::ok);
        for path in found.filter(|path| asks_for_hidden || !is_hidden(path)) {
            any = true;
            self.path(&path);
        }
        if !any {
            self.missing.push((argument.to_path_buf(), "no file has such a name".into()));
        }
        Ok(())
    }

    fn path(&mut self, given: &Path) {
        if !given.is_dir() {
            self.file(given);
            return;
        }
        let hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."));
        let walk = WalkDir::new(given).follow_links(true).sort_by_file_name().into_iter();
        let mut any = false;
        for entry in walk.filter_entry(|entry| entry.depth() == 0 || !hidden(entry.path())) {
            match entry {
                Ok(entry) if entry.file_type().is_file() && is_video(entry.path()) => {
                    if !self.is_result(entry.path()) {
                        any = true;
                        self.file(entry.path());
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    let path = error.path().unwrap_or(given).to_path_buf();
                    // A link back to where the search is anyway, or to what would be none of the inputs.
                    let is_loop = error.loop_ancestor().is_some();
                    let would_be_one = path == given || (is_video(&path) && !hidden(&path));
                    // A folder that cannot be read may hold some.
                    let matters = !is_loop && (would_be_one || path.is_dir());
                    if matters {
                        self.missing.push((path, error.to_string()));
                    } else {
                        tracing::debug!("{}: {error}", path.display());
                    }
                }
            }
        }
        if !any {
            tracing::warn!("{}: holds no files that end in {}", given.display(), ENDINGS.join(", "));
        }
    }

    /// Whether a file is what an earlier batch left.
    fn is_result(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(OsStr::to_str);
        let is_there =
            path.parent().and_then(|folder| folder.canonicalize().ok()).is_some_and(|folder| folder == self.out);
        is_there && name.is_some_and(|name| self.results.contains(name))
    }

    fn file(&mut self, given: &Path) {
        match given.canonicalize() {
            Ok(path) => {
                self.inputs.entry(path).or_insert_with(|| given.to_path_buf());
            }
            Err(error) => self.missing.push((given.to_path_buf(), format!("cannot read it: {error}"))),
        }
    }
}

fn is_video(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn folders_patterns_lists_and_links_come_to_every_file_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("a path");
        let file = |name: &str| {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(&path, name).expect("written");
            path
        };
        let (a, b, line) = (file("in/a.mp4"), file("in/deep/b.MKV"), file("in/two\nlines.avi"));
        let (odd, own) = (file("in/[odd].mp4"), file("in/out/clip.mp4"));
        file("in/notes.txt");
        file("in/.hidden.mp4");
        file("in/.cache/c.mp4");
        symlink(&a, root.join("link.mp4")).expect("linked");
        let out = own.parent().expect("a folder");
        let expand = |arguments: &[&str], list: &[u8]| {
            let arguments: Vec<PathBuf> = arguments.iter().map(|argument| root.join(argument)).collect();
            let arguments: Vec<PathBuf> =
                arguments.into_iter().map(|path| if path.ends_with("-") { "-".into() } else { path }).collect();
            let results = HashSet::from(["clip.mp4".to_owned()]);
            WorkList::expand(&arguments, (out, &results), list).expect("expands")
        };
        let paths = |list: &WorkList| list.inputs.iter().map(|input| input.path.clone()).collect::<Vec<_>>();
        let all = expand(&["in", "in/a.mp4", "link.mp4"], b"");
        assert_eq!(paths(&all), [odd.clone(), a.clone(), b.clone(), line.clone()]);
        assert_eq!(all.missing, []);
        assert_eq!(paths(&expand(&["in/*.mp4"], b"")), [odd.clone(), a.clone()]);
        assert_eq!(paths(&expand(&["in/[odd].mp4"], b"")), [odd], "a name that is there is no pattern");
        // A link is called by its own name.
        assert_eq!(expand(&["link.mp4"], b"").inputs[0].given, root.join("link.mp4"));
        let nul = [a.as_os_str().as_bytes(), line.as_os_str().as_bytes()].join(&0);
        assert_eq!(paths(&expand(&["-"], &nul)), [a.clone(), line]);
        let lines = [a.as_os_str().as_bytes(), b"", b.as_os_str().as_bytes(), b""].join(&b'\n');
        assert_eq!(paths(&expand(&["-"], &lines)), [a.clone(), b]);
        let gone = expand(&["in/none.mp4", "in/*.mov"], b"");
        assert_eq!(gone.inputs, []);
        assert_eq!(gone.missing.len(), 2, "{gone:?}");
        assert!(WorkList::expand(&["-".into(), "-".into()], (out, &HashSet::new()), &b""[..]).is_err());
        // What is named is meant, wherever it lies; lines may end as on Windows; links that lead nowhere are told if they
        // look like videos.
        assert_eq!(paths(&expand(&["in/out/clip.mp4"], b"")), std::slice::from_ref(&own));
        let dos = [a.as_os_str().as_bytes(), b"\r\n"].concat();
        assert_eq!(paths(&expand(&["-"], &dos)), std::slice::from_ref(&a));
        symlink("..", root.join("in/deep/up")).expect("linked");
        symlink("nowhere", root.join("in/deep/notes.txt")).expect("linked");
        symlink("nowhere", root.join("in/deep/.#lock.mp4")).expect("linked");
        assert_eq!(expand(&["in/deep"], b"").missing, []);
        symlink("nowhere", root.join("in/deep/gone.mp4")).expect("linked");
        assert_eq!(expand(&["in/deep"], b"").missing.len(), 1);
        assert_eq!(paths(&expand(&["in/.h*.mp4"], b"")).len(), 1);
        assert_eq!(paths(&expand(&["in/*idden.mp4"], b"")).len(), 0);
    }
}
