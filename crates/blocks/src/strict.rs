//! Strict reading of our own TOML: an unknown key is an error that names file, line, key and the nearest valid key.

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// A key of [`Strict::example`] that stands for any: its table holds names that the file gives.
pub const ANY: &str = "*";

/// A type read strictly: it knows every key that it takes.
pub trait Strict: Serialize + DeserializeOwned {
    /// A value with every optional key set; its serialised keys are the valid ones.
    fn example() -> Self;
}

/// Reads `text` as a `T`; `file` is named in errors.
///
/// # Errors
/// Not TOML, a key that `T` does not have, or a missing or ill-typed one.
pub fn toml<T: Strict>(text: &str, file: &str) -> Result<T> {
    let fail = |reason: String| Error::ConfigSyntax { file: file.to_owned(), reason };
    let given = table(text, file)?;
    let example = toml::Table::try_from(T::example()).map_err(|e| fail(e.to_string()))?;
    let (mut known, mut found) = (BTreeSet::new(), Vec::new());
    keys(&example, "", &mut |path| {
        known.insert(path);
    });
    keys(&given, "", &mut |path| found.push(path));
    let open: Vec<&str> = known.iter().filter_map(|path| path.strip_suffix(ANY)).collect();
    let is_known = |path: &String| known.contains(path) || open.iter().any(|table| path.starts_with(table));
    if let Some(path) = found.into_iter().find(|path| !is_known(path)) {
        return Err(fail(unknown_key(text, &path, &known)));
    }
    toml::from_str(text).map_err(|e| syntax(text, file, &e))
}

/// Reads `text` whatever its keys are; `file` is named in errors.
///
/// # Errors
/// Not TOML.
pub fn table(text: &str, file: &str) -> Result<toml::Table> {
    toml::from_str(text).map_err(|e| syntax(text, file, &e))
}

fn syntax(text: &str, file: &str, error: &toml::de::Error) -> Error {
    let line = error.span().map_or(String::new(), |span| format!("line {}: ", line_of(text, span.start)));
    Error::ConfigSyntax { file: file.to_owned(), reason: format!("{line}{}", error.message()) }
}

/// Calls `visit` with the dotted path of every key, outer ones first.
fn keys(table: &toml::Table, prefix: &str, visit: &mut dyn FnMut(String)) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        visit(path.clone());
        match value {
            toml::Value::Table(inner) => keys(inner, &path, visit),
            toml::Value::Array(items) => {
                for inner in items.iter().filter_map(toml::Value::as_table) {
                    keys(inner, &path, visit);
                }
            }
            _ => {}
        }
    }
}

fn unknown_key(text: &str, path: &str, known: &BTreeSet<String>) -> String {
    let key = path.rsplit('.').next().unwrap_or(path);
    let line = line_of_key(text, key).map_or(String::new(), |n| format!("line {n}: "));
    let hint =
        nearest(path, known.iter().map(String::as_str)).map_or(String::new(), |k| format!("; did you mean `{k}`?"));
    format!("{line}unknown key `{path}`{hint}")
}

/// The one of `known` closest to `word`, if any is close.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.chars().count().max(word.chars().count()).div_ceil(2))
        .min()
        .map(|(_, candidate)| candidate)
}

fn line_of(text: &str, offset: usize) -> usize {
    text[..offset.min(text.len())].matches('\n').count() + 1
}

fn line_of_key(text: &str, key: &str) -> Option<usize> {
    let names = |line: &str| line.split('=').next().is_some_and(|left| left.trim() == key);
    let opens = |line: &str| {
        line.trim().trim_matches(['[', ']']).rsplit('.').next() == Some(key) && line.trim().starts_with('[')
    };
    text.lines().position(|line| names(line) || opens(line)).map(|n| n + 1)
}
