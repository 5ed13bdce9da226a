//! The table of known models, `crates/hub/models.toml`.

use std::collections::BTreeMap;

use blocks::strict::{ANY, Strict, toml};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::layout::is_checksum;
use crate::wanted::Repository;

const FILE: &str = "crates/hub/models.toml";
const TEXT: &str = include_str!("../models.toml");

/// A model that has a short name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The short name.
    pub name: String,
    /// `owner/name` on the hub.
    pub repository: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// What it is good at.
    pub good_at: String,
    /// The licence of its weights.
    pub licence: String,
    /// Millions of parameters, as published.
    pub parameters: u64,
    /// Millions of bytes of its weights, about.
    pub megabytes: u64,
    /// SHA-256 of files, by their names, where somebody knows it.
    pub sha256: BTreeMap<String, String>,
}

impl Known {
    /// Whether this is the model's place.
    pub fn is(&self, repository: &Repository) -> bool {
        self.repository == repository.path() && self.revision == repository.revision()
    }
}

#[derive(Serialize, Deserialize)]
struct Table {
    model: Vec<Known>,
}

impl Strict for Table {
    fn example() -> Self {
        let text = String::new;
        let entry = Known {
            name: text(),
            repository: text(),
            revision: text(),
            good_at: text(),
            licence: text(),
            parameters: 0,
            megabytes: 0,
            sha256: BTreeMap::from([(ANY.to_owned(), text())]),
        };
        Self { model: vec![entry] }
    }
}

/// All models that have a short name, in the table's order.
///
/// # Errors
/// The table in the program is wrong.
pub fn known() -> Result<Vec<Known>> {
    read(TEXT)
}

fn read(text: &str) -> Result<Vec<Known>> {
    let Table { model: all } = toml(text, FILE)?;
    for (place, entry) in all.iter().enumerate() {
        let fail = |reason: String| Err(Error::Usage(format!("{FILE}: {}: {reason}", entry.name)));
        if entry.name.contains(['/', '@']) || entry.name.is_empty() {
            return fail("is no short name, expected one without / and @".into());
        }
        if all[..place].iter().any(|earlier| earlier.name == entry.name) {
            return fail("stands there twice".into());
        }
        format!("{}@{}", entry.repository, entry.revision).parse::<Repository>()?;
        if let Some((file, sum)) = entry.sha256.iter().find(|(_, sum)| !is_checksum(sum)) {
            return fail(format!("sha256 of {file} is {sum:?}, expected 64 digits of 0-9 and a-f"));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_well_formed_and_invents_no_checksum() {
        let all = known().expect("well-formed");
        assert!(all.iter().any(|entry| entry.name == "llmdet-tiny"));
        for entry in &all {
            // f32, rounded to millions.
            assert!(entry.megabytes.abs_diff(4 * entry.parameters) <= 4, "{}", entry.name);
            assert_eq!(entry.sha256.len(), 0, "{}: say in the file where it is known from", entry.name);
        }
    }

    #[test]
    fn what_is_wrong_with_a_table_is_said() {
        let entry = "[[model]]\nname = \"a\"\nrepository = \"a/b\"\nrevision = \"main\"\ngood_at = \"\"\nlicence = \"\"\n\
                     parameters = 1\nmegabytes = 4\n";
        let sum = "0".repeat(64);
        let pinned = read(&format!("{entry}sha256 = {{ \"model.safetensors\" = \"{sum}\" }}\n")).expect("well-formed");
        assert_eq!(pinned[0].sha256.get("model.safetensors"), Some(&sum));
        for (text, said) in [
            (format!("{entry}sha256 = {{ \"x\" = \"12\" }}\n"), "sha256 of x is \"12\", expected 64 digits"),
            (format!("{entry}sha256 = {{}}\nlicense = \"\"\n"), "did you mean `model.licence`?"),
            (format!("{entry}sha256 = {{}}\n{entry}sha256 = {{}}\n"), "a: stands there twice"),
            (format!("{entry}sha256 = {{}}\n").replace("a/b", "ab"), "ab@main: is no repository of a hub"),
            (entry.to_owned(), "sha256"),
        ] {
            let error = read(&text).expect_err("wrong").to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
