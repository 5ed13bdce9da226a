//! A Hugging Face directory of a BERT-family encoder: its sizes, and whether our text tower computes what it does.

use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::text::BertConfig;

const CONFIG: &str = "config.json";

/// What shapes of tensors do not tell. A key that is left out has the library's default, which is ours.
#[derive(Deserialize)]
struct Unseen {
    model_type: Option<String>,
    hidden_act: Option<String>,
    position_embedding_type: Option<String>,
    num_attention_heads: Option<usize>,
    layer_norm_eps: Option<f64>,
}

/// Sizes of the encoder in `dir`, from its `config.json`: trainable, with the default dropout.
///
/// # Errors
/// There is no such file, it lacks a size, or the encoder is of another kind (no BERT, an activation other than GELU,
/// positions other than absolute).
pub fn sizes(dir: &Path) -> Result<BertConfig> {
    let config: BertConfig = read(&dir.join(CONFIG))?;
    check(dir, &config)?;
    Ok(config)
}

/// Sees that an encoder fits a text tower of `config` in what shapes do not tell. A weights file alone, or a directory
/// without `config.json`, is taken as it is.
///
/// # Errors
/// It does not fit, or its `config.json` cannot be read.
pub fn check(dir: &Path, config: &BertConfig) -> Result<()> {
    let path = dir.join(CONFIG);
    if !path.is_file() {
        return Ok(());
    }
    let found: Unseen = read(&path)?;
    let fail = |key: &str, value: String, expected: String| {
        Err(Error::Config { file: path.display().to_string(), key: key.to_owned(), value, expected })
    };
    for (key, value, ours) in [
        ("model_type", found.model_type, "bert"),
        ("hidden_act", found.hidden_act, "gelu"),
        ("position_embedding_type", found.position_embedding_type, "absolute"),
    ] {
        if let Some(value) = value.filter(|value| value != ours) {
            return fail(key, value, format!("{ours}: the text tower knows nothing else"));
        }
    }
    let heads = config.num_attention_heads;
    if let Some(value) = found.num_attention_heads.filter(|value| *value != heads) {
        return fail("num_attention_heads", value.to_string(), format!("{heads}, the model's"));
    }
    let eps = config.layer_norm_eps;
    if let Some(value) = found.layer_norm_eps.filter(|value| (value - eps).abs() > 1e-6 * eps) {
        return fail("layer_norm_eps", value.to_string(), format!("{eps}, the model's"));
    }
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let syntax = |e: serde_json::Error| Error::ConfigSyntax { file: path.display().to_string(), reason: e.to_string() };
    serde_json::from_str(&text).map_err(syntax)
}
