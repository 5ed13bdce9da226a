//! Whether a model can be run here: by its `config.json` alone, while the rest is elsewhere, and by all that is in a
//! directory.

use std::path::Path;

use blocks::checkpoint::TensorFile;
use blocks::error::{Error, Result};
use grounding_dino::config::Class;
use serde_json::Value;

use crate::family::Family;

/// The key under which Hugging Face's `transformers` writes its classes.
const CLASSES: &str = "architectures";

/// Looks at the text of a `config.json`; `file` is named in errors.
///
/// # Errors
/// It is no JSON, of another architecture, or holds sizes that no model of its family has.
pub fn check_config(text: &str, file: &str) -> Result<Family> {
    let syntax = |e: serde_json::Error| Error::ConfigSyntax { file: file.to_owned(), reason: e.to_string() };
    let config: Value = serde_json::from_str(text).map_err(syntax)?;
    let known = Class::ALL.map(Class::architecture);
    let is_known = |class: &Value| class.as_str().is_some_and(|class| known.contains(&class));
    if let Some(classes) = config.get(CLASSES)
        && !classes.as_array().is_some_and(|classes| classes.iter().any(is_known))
    {
        let (key, value, expected) = (CLASSES.to_owned(), classes.to_string(), known.join(" or "));
        return Err(Error::Config { file: file.to_owned(), key, value, expected });
    }
    let family = Family::of_config(&config, Path::new(file))?;
    match family {
        Family::QrNet => qrnet::Config::from_json(text, file).map(drop)?,
        Family::GroundingDino => grounding_dino::Config::from_json(text, file).map(drop)?,
    }
    Ok(family)
}

/// Looks at a model directory: sizes, names and shapes of all tensors, tokenizer. No weights are read.
///
/// # Errors
/// Something is missing, damaged or contradicts something else.
pub fn check_directory(dir: &Path) -> Result<Family> {
    let family = Family::of(dir)?;
    match family {
        Family::QrNet => {
            let dir = qrnet::ModelDir::open(dir)?;
            qrnet::weights::check(&TensorFile::open(&dir.weights())?, dir.config(), |_| true)?;
            dir.load_tokenizer()?;
        }
        Family::GroundingDino => {
            let dir = grounding_dino::ModelDir::open(dir)?;
            let weights = grounding_dino::Weights::open(dir.path())?;
            for part in [grounding_dino::Part::Text, grounding_dino::Part::Frame] {
                weights.check(dir.config(), part)?;
            }
            dir.load_tokenizer()?;
        }
    }
    Ok(family)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn fixture(name: &str) -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../grounding-dino/tests/fixtures")).join(name)
    }

    #[test]
    fn a_configuration_alone_says_what_can_be_run() {
        let small = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/spotter-tiny/config.json"));
        for (path, family) in [
            (fixture("mm-7/config.json"), Family::GroundingDino),
            (fixture("idea-12/config.json"), Family::GroundingDino),
            (small, Family::QrNet),
        ] {
            let text = std::fs::read_to_string(&path).expect("read");
            assert_eq!(check_config(&text, "config.json").ok(), Some(family), "{}", path.display());
        }
        let mm = std::fs::read_to_string(fixture("mm-7/config.json")).expect("read");
        let other = |from: &str, to: &str| {
            assert!(mm.contains(from), "{from}");
            check_config(&mm.replacen(from, to, 1), "config.json").expect_err("not this").to_string()
        };
        let said = other("MMGroundingDinoForObjectDetection", "BertModel");
        assert!(said.contains("config.json: `architectures` is") && said.contains("BertModel"), "{said}");
        assert!(said.contains("expected GroundingDinoForObjectDetection or MMGrounding"), "{said}");
        let said = other("\"model_type\": \"mm-grounding-dino\"", "\"model_type\": \"owlvit\"");
        assert!(said.contains("`model_type` is \"owlvit\", expected qrnet or grounding-dino"), "{said}");
        assert!(check_config("<html>", "config.json").expect_err("no JSON").to_string().starts_with("config.json: "));
        assert!(check_config("{}", "config.json").is_err());
    }

    #[test]
    fn a_directory_is_looked_at_whole() {
        assert_eq!(check_directory(&fixture("mm-7")).ok(), Some(Family::GroundingDino));
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"] {
            std::fs::copy(fixture("mm-7").join(name), folder.path().join(name)).expect("copied");
        }
        assert!(check_directory(folder.path()).is_ok());
        // The weights of another model of the same family.
        std::fs::copy(fixture("idea-12/model.safetensors"), folder.path().join("model.safetensors")).expect("copied");
        let said = check_directory(folder.path()).expect_err("they do not fit").to_string();
        assert!(said.contains("model.safetensors"), "{said}");
    }
}
