//! Which public models can be run here.

use std::path::Path;

use grounding::{Carried, carry_calibration, check_config, check_directory};
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

    fn carry(&self, old: &Path, new: &Path) -> Result<(), String> {
        match carry_calibration(old, new) {
            Ok(Some(Carried::Fits) | None) => Ok(()),
            Ok(Some(Carried::Aside(name))) => {
                let of = self.repository;
                tracing::warn!(
                    "{of}: its weights are others now, and its calibration fits them no more: `spotter calibrate` makes a new \
                     one; the old one is kept as {name}"
                );
                Ok(())
            }
            Err(error) => Err(format!("its calibration cannot be kept: {error}")),
        }
    }
}
