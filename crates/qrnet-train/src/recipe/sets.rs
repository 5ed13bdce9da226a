//! What is measured on, alone: a file of evaluation sets needs nothing that training needs.

use std::path::{Path, PathBuf};

use blocks::strict::{self, Strict};
use serde::{Deserialize, Serialize};

use super::{EvalSet, Recipe};
use crate::error::{Error, Result};

/// A file of evaluation sets.
///
/// ```toml
/// name = "gate"
///
/// [[eval]]
/// name = "people"
/// [[eval.lists]]
/// format = "jsonl"
/// name = "people"
/// file = "people.jsonl"
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Sets {
    name: String,
    /// Drawn scenes follow from it.
    #[serde(default = "one")]
    seed: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    art: Option<PathBuf>,
    eval: Vec<EvalSet>,
}

fn one() -> u64 {
    1
}

impl Strict for Sets {
    fn example() -> Self {
        let Recipe { name, seed, art, eval, .. } = Recipe::example();
        Self { name, seed, art, eval }
    }
}

impl Recipe {
    /// Reads a recipe, or a file that holds evaluation sets alone, `name` and, where scenes are drawn, `seed` and `art`. Of
    /// such a file everything else has no meaning.
    ///
    /// # Errors
    /// As [`Recipe::from_file`].
    pub fn to_measure(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let file = path.display().to_string();
        // Whoever means a recipe has phases or steps; what else lacks is told then.
        let of_training = ["phase", "steps", "optimiser", "model"];
        let is_recipe = toml::from_str::<toml::Table>(&text).map_or(true, |table| {
            of_training.iter().any(|key| table.contains_key(*key)) || !table.contains_key("eval")
        });
        if is_recipe {
            return Self::from_toml(&text, &file);
        }
        let Sets { name, seed, art, eval } = strict::toml(&text, &file)?;
        let recipe = Self { name, seed, art, eval, phase: Vec::new(), ..Self::example() };
        recipe.check_sets(&file)?;
        Ok(recipe)
    }
}
