//! Which family a model directory belongs to.

use std::path::Path;

use blocks::error::{Error, Result};
use blocks::text::tokenizer::QueryTokenizer;

/// File in a model directory that says so.
const CONFIG: &str = "config.json";
/// Its key, as in the directories of Hugging Face's `transformers`.
const KEY: &str = "model_type";

/// A family of models that share an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Query-modulated Refinement Network (CVPR 2022): one box a sentence.
    QrNet,
    /// Grounding DINO (ECCV 2024), MM-Grounding-DINO and `LLMDet`: all boxes that match a sentence, with scores.
    GroundingDino,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::QrNet, Self::GroundingDino];

    /// As `model_type` in `config.json` names its members.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::QrNet => &["qrnet"],
            Self::GroundingDino => &["grounding-dino", "mm-grounding-dino"],
        }
    }

    /// The family of a model directory. One that names none is QRNet's, as all were before there were others.
    ///
    /// # Errors
    /// There is no readable `config.json`, or it names another family.
    pub fn of(dir: &Path) -> Result<Self> {
        let path = dir.join(CONFIG);
        // What is wrong with the directory itself, the family's own reader says better.
        let Ok(bytes) = std::fs::read(&path) else { return Ok(Self::QrNet) };
        let config: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| Error::file(&path, e))?;
        Self::of_config(&config, &path)
    }

    /// The family that a configuration names; `path` is named in errors.
    ///
    /// # Errors
    /// It names another one.
    pub(crate) fn of_config(config: &serde_json::Value, path: &Path) -> Result<Self> {
        let Some(named) = config.get(KEY) else { return Ok(Self::QrNet) };
        let known =
            Self::ALL.into_iter().find(|family| named.as_str().is_some_and(|name| family.names().contains(&name)));
        known.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().flat_map(|family| family.names()).copied().collect();
            Error::file(path, format!("`{KEY}` is {named}, expected {}", names.join(" or ")))
        })
    }
}

/// The tokenizer of a model directory of any family.
///
/// # Errors
/// The directory is no model's, or its vocabulary cannot be read.
pub fn load_tokenizer(dir: &Path) -> Result<QueryTokenizer> {
    match Family::of(dir)? {
        Family::QrNet => qrnet::ModelDir::open(dir)?.load_tokenizer(),
        Family::GroundingDino => grounding_dino::ModelDir::open(dir)?.load_tokenizer(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_names_its_family_or_is_qrnet() {
        let folder = tempfile::tempdir().expect("a folder");
        let of = |config: &str| {
            std::fs::write(folder.path().join(CONFIG), config).expect("written");
            Family::of(folder.path()).map_err(|e| e.to_string())
        };
        assert_eq!(of(r#"{"presence": true}"#), Ok(Family::QrNet));
        assert_eq!(of(r#"{"model_type": "qrnet"}"#), Ok(Family::QrNet));
        assert_eq!(of(r#"{"model_type": "grounding-dino"}"#), Ok(Family::GroundingDino));
        assert_eq!(of(r#"{"model_type": "mm-grounding-dino"}"#), Ok(Family::GroundingDino));
        let foreign = of(r#"{"model_type": "bert"}"#).expect_err("nothing that looks at pictures");
        assert!(
            foreign.contains("config.json") && foreign.contains("\"bert\", expected qrnet or grounding-dino or"),
            "{foreign}"
        );
        assert!(of("{").is_err());
        assert_eq!(
            Family::of(&folder.path().join("nowhere")).ok(),
            Some(Family::QrNet),
            "its reader says what is wrong"
        );
    }
}
