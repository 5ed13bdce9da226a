//! Which files make a model, as Hugging Face's library lays them out.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;

/// Sizes; says which architecture it is.
pub(crate) const CONFIG: &str = "config.json";
/// All weights in one file.
pub(crate) const WHOLE: &str = "model.safetensors";
/// Which of several files holds which tensor.
pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// The tokenizer, or where there is none its vocabulary.
pub(crate) const TOKENIZERS: [&str; 2] = ["tokenizer.json", "vocab.txt"];
/// What a model may have beside: how large pictures go in, and its card.
pub(crate) const OPTIONAL: [&str; 3] = ["preprocessor_config.json", "processor_config.json", "README.md"];

/// More parts are no model's.
const MOST_PARTS: usize = 200;

#[derive(Deserialize)]
struct Index {
    weight_map: std::collections::BTreeMap<String, String>,
}

/// The files that an index names, sorted.
///
/// # Errors
/// It is no index, or names what cannot be files beside it.
pub(crate) fn parts(index: &str) -> Result<Vec<String>, String> {
    let Index { weight_map } = serde_json::from_str(index).map_err(|e| format!("{INDEX} is no index ({e})"))?;
    let names: BTreeSet<String> = weight_map.into_values().collect();
    if names.is_empty() || names.len() > MOST_PARTS {
        return Err(format!("{INDEX} names {} files, expected 1 to {MOST_PARTS}", names.len()));
    }
    if let Some(odd) = names.iter().find(|name| !is_part(name)) {
        return Err(format!("{INDEX} names the file {odd:?}, expected names of .safetensors files beside it"));
    }
    Ok(names.into_iter().collect())
}

fn is_part(name: &str) -> bool {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    plain && name.len() < 128 && !name.starts_with('.') && name.ends_with(".safetensors")
}

/// What a folder lacks to be a model.
pub(crate) fn lacking(folder: &Path) -> Vec<String> {
    let there = |name: &str| folder.join(name).is_file();
    let mut lacks = Vec::new();
    if !there(CONFIG) {
        lacks.push(CONFIG.to_owned());
    }
    if !there(WHOLE) {
        match std::fs::read_to_string(folder.join(INDEX)).ok().and_then(|text| parts(&text).ok()) {
            Some(parts) => lacks.extend(parts.into_iter().filter(|part| !there(part))),
            None => lacks.push(format!("{WHOLE} (or {INDEX} and its parts)")),
        }
    }
    if !TOKENIZERS.iter().any(|name| there(name)) {
        lacks.push(TOKENIZERS.join(" or "));
    }
    lacks
}

/// Whether a text is a SHA-256 as it is written.
pub(crate) fn is_checksum(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_names_files_beside_it() {
        let of = |json: &str| parts(json);
        assert_eq!(
            of(r#"{"weight_map": {"a": "m-2.safetensors", "b": "m-1.safetensors", "c": "m-2.safetensors"}}"#),
            Ok(vec!["m-1.safetensors".to_owned(), "m-2.safetensors".to_owned()])
        );
        for wrong in [
            "<html>",
            "{}",
            r#"{"weight_map": {}}"#,
            r#"{"weight_map": {"a": "../m.safetensors"}}"#,
            r#"{"weight_map": {"a": "/etc/passwd"}}"#,
            r#"{"weight_map": {"a": "m.bin"}}"#,
            r#"{"weight_map": {"a": ".safetensors"}}"#,
        ] {
            assert!(of(wrong).is_err_and(|reason| reason.starts_with(INDEX)), "{wrong}");
        }
    }

    #[test]
    fn what_a_folder_lacks_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        assert_eq!(lacking(folder.path()).len(), 3);
        put(CONFIG, "{}");
        put("vocab.txt", "a");
        put(INDEX, r#"{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}"#);
        put("m-1.safetensors", "");
        assert_eq!(lacking(folder.path()), ["m-2.safetensors"]);
        put("m-2.safetensors", "");
        assert!(lacking(folder.path()).is_empty());
    }
}
