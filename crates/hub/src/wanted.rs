//! What is asked for: a repository of a hub, by its own name or by that of the table.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::table::{Known, known};

/// Where a repository's newest state is, by the hub's convention.
pub(crate) const MAIN: &str = "main";
/// What stands between owner and name in names of folders; hubs have none with it.
const BETWEEN: &str = "--";
/// Names are no longer on the hub.
const LONGEST: usize = 96;

/// A repository at a revision: `owner/name` or `owner/name@revision`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    owner: String,
    name: String,
    revision: String,
}

impl Repository {
    /// Whose it is, and what it is called.
    pub fn path(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// Branch, tag or commit.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Whose it is.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The name of its folder in the cache.
    pub fn folder(&self) -> String {
        let own = format!("{}{BETWEEN}{}", self.owner, self.name);
        if self.revision == MAIN { own } else { format!("{own}@{}", self.revision.replace('/', "%2F")) }
    }

    /// Whose folder this is.
    pub(crate) fn of_folder(folder: &str) -> Option<Self> {
        let (own, revision) = folder.split_once('@').unwrap_or((folder, MAIN));
        let (owner, name) = own.split_once(BETWEEN)?;
        format!("{owner}/{name}@{}", revision.replace("%2F", "/")).parse().ok()
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)?;
        if self.revision == MAIN { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

fn is_plain(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn is_name(text: &str) -> bool {
    let ends = |c: char| c == '-' || c == '.';
    let fits = !text.is_empty() && text.len() <= LONGEST && is_plain(text);
    fits && !text.contains(BETWEEN) && !text.contains("..") && !text.starts_with(ends) && !text.ends_with(ends)
}

fn is_revision(text: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && is_plain(part) && !part.starts_with('.');
    text.len() <= LONGEST && text.split('/').all(is_part) && !text.contains("..")
}

impl FromStr for Repository {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fail = |reason: &str| Err(Error::Usage(format!("{text}: {reason}")));
        let (path, revision) = text.split_once('@').unwrap_or((text, MAIN));
        let Some((owner, name)) = path.split_once('/').filter(|(owner, name)| is_name(owner) && is_name(name)) else {
            return fail("is no repository of a hub, expected owner/name or owner/name@revision");
        };
        if !is_revision(revision) {
            return fail("has no revision behind @, expected the name of a branch, a tag or a commit");
        }
        Ok(Self { owner: owner.into(), name: name.into(), revision: revision.into() })
    }
}

/// A model to be had, and what is known of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where it is.
    pub repository: Repository,
    /// What the table says of it.
    pub known: Option<Known>,
}

impl Wanted {
    /// A name of the table, `owner/name` or `owner/name@revision`. A revision behind a known name is taken instead of the
    /// table's, whose checksums then say nothing.
    ///
    /// # Errors
    /// It is neither.
    pub fn of(text: &str) -> Result<Self> {
        let all = known()?;
        let (name, revision) = text.split_once('@').map_or((text, None), |(name, revision)| (name, Some(revision)));
        if let Some(entry) = all.iter().find(|entry| entry.name == name) {
            let repository: Repository =
                format!("{}@{}", entry.repository, revision.unwrap_or(&entry.revision)).parse()?;
            let mut entry = entry.clone();
            if repository.revision != entry.revision {
                entry.sha256.clear();
            }
            return Ok(Self { repository, known: Some(entry) });
        }
        if !name.contains('/') {
            let names: Vec<&str> = all.iter().map(|entry| entry.name.as_str()).collect();
            let hint = blocks::strict::nearest(name, names.iter().copied())
                .map_or(String::new(), |near| format!("; did you mean {near}?"));
            let names = names.join(", ");
            return Err(Error::Usage(format!(
                "{text}: is no model that is known ({names}), nor owner/name of a hub{hint}"
            )));
        }
        let repository: Repository = text.parse()?;
        let known = all.into_iter().find(|entry| entry.is(&repository));
        Ok(Self { repository, known })
    }

    /// What files are pinned to.
    pub(crate) fn pins(&self) -> BTreeMap<String, String> {
        self.known.as_ref().map(|entry| entry.sha256.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_go_to_folders_and_back() {
        for (text, folder) in [
            ("IDEA-Research/grounding-dino-tiny", "IDEA-Research--grounding-dino-tiny"),
            ("a/b@v1.0", "a--b@v1.0"),
            ("a_b/c.d@refs/pr/3", "a_b--c.d@refs%2Fpr%2F3"),
        ] {
            let repository: Repository = text.parse().expect("a repository");
            assert_eq!((repository.to_string().as_str(), repository.folder().as_str()), (text, folder));
            assert_eq!(Repository::of_folder(folder), Some(repository));
        }
        let main: Repository = "a/b@main".parse().expect("a repository");
        assert_eq!((main.to_string(), main.folder(), main.revision()), ("a/b".into(), "a--b".into(), "main"));
    }

    #[test]
    fn nothing_leads_out_of_the_cache() {
        for text in [
            "",
            "a",
            "/",
            "a/",
            "/b",
            "a/b/c",
            "../b",
            "a/..",
            "a/.b",
            "-a/b",
            "a--b/c",
            "a/b--c",
            "a/b c",
            "a/b?x",
            "a/b#x",
            "a/b@",
            "a/b@..",
            "a/b@../c",
            "a/b@x/../y",
            "a/b@x//y",
            "a/b@/x",
            "a/b@x y",
            "a/b@.hidden",
            "ä/b",
            "a\\b/c",
        ] {
            assert!(text.parse::<Repository>().is_err(), "{text:?}");
        }
        assert!(
            ["x", ".locks", ".partial", "a--..", "..--a"].iter().all(|folder| Repository::of_folder(folder).is_none())
        );
    }

    #[test]
    fn names_of_the_table_and_of_the_hub_mean_the_same() {
        let by_name = Wanted::of("llmdet-tiny").expect("known");
        assert_eq!(by_name.repository.to_string(), "iSEE-Laboratory/llmdet_tiny");
        assert_eq!(Wanted::of("iSEE-Laboratory/llmdet_tiny").expect("a repository"), by_name);
        let earlier = Wanted::of("llmdet-tiny@v0").expect("known");
        assert_eq!(earlier.repository.to_string(), "iSEE-Laboratory/llmdet_tiny@v0");
        assert_eq!(Wanted::of("a/b").expect("a repository").known, None);
        let wrong = Wanted::of("lmdet-tiny").expect_err("misspelt");
        assert!(wrong.is_usage() && wrong.to_string().ends_with("did you mean llmdet-tiny?"), "{wrong}");
    }
}
