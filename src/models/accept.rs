//! Which public models can be run here.

use std::path::Path;

use grounding::{check_config, check_directory};
use hub::{Accept, Repository};

/// Models of the families that the program knows.
pub(super) struct Families<'a> {
    pub(super) repository: &'a Repository,
}

impl Accept for Families<'_> {
    fn config(&self, text: &str) -> Result<(), String> {
        match check_config(text, "config.json") {
            Ok(family) => {
                tracing::debug!("{}: {family:?}", self.repository);
                Ok(())
            }
            Err(error) => Err(format!("cannot be run here: {error}")),
        }
    }

    fn directory(&self, folder: &Path) -> Result<(), String> {
        let place = format!("{}/", folder.display());
        // The folder is where nobody will look.
        check_directory(folder).map(drop).map_err(|error| format!("cannot be run here: {error}").replace(&place, ""))
    }
}
