//! A calibration's way from a model directory to a newer one of the same model.

use std::path::Path;

use blocks::error::{Error, Result};
use blocks::files;

use crate::calibration::{CALIBRATION, Calibration};
use crate::family::Family;

/// Where one lies that fits the weights beside it no more.
const ASIDE: &str = "calibration.old.json";

/// What became of a calibration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carried {
    /// It is the newer model's, too.
    Fits,
    /// The weights are others: it is kept in this file, where nothing reads it.
    Aside(&'static str),
}

/// Brings the calibration of the model directory `old` over to `new`; none where there is none.
///
/// # Errors
/// A file cannot be read or written.
pub fn carry_calibration(old: &Path, new: &Path) -> Result<Option<Carried>> {
    let copy = |from: &Path, name: &str| {
        std::fs::read(from).map_err(Error::io("copy", from)).and_then(|bytes| files::write(&new.join(name), bytes))
    };
    let aside = old.join(ASIDE);
    if aside.is_file() {
        copy(&aside, ASIDE)?;
    }
    let own = old.join(CALIBRATION);
    if !own.is_file() {
        return Ok(None);
    }
    let fits = match Family::of(new)? {
        // Its scores are probabilities as they are.
        Family::QrNet => false,
        Family::GroundingDino => Calibration::of(old, &grounding_dino::ModelDir::open(new)?.digest()?).is_ok(),
    };
    let (name, carried) = if fits { (CALIBRATION, Carried::Fits) } else { (ASIDE, Carried::Aside(ASIDE)) };
    copy(&own, name)?;
    Ok(Some(carried))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_calibration_goes_with_its_weights_or_is_kept_aside() {
        let fixtures = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../grounding-dino/tests/fixtures"));
        let (old, new) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let fill = |folder: &Path, weights: &str| {
            for name in ["config.json", "tokenizer.json", "preprocessor_config.json"] {
                std::fs::copy(fixtures.join("mm-7").join(name), folder.join(name)).expect("copied");
            }
            std::fs::copy(fixtures.join(weights).join("model.safetensors"), folder.join("model.safetensors"))
                .expect("copied");
        };
        fill(old.path(), "mm-7");
        fill(new.path(), "mm-7");
        assert_eq!(carry_calibration(old.path(), new.path()).expect("nothing to do"), None);
        let digest = grounding_dino::ModelDir::open(old.path()).and_then(|dir| dir.digest()).expect("a digest");
        let calibration = Calibration::new(&digest, 0.5, 1.0, 0.4, "ten questions");
        calibration.save(old.path()).expect("saved");
        assert_eq!(carry_calibration(old.path(), new.path()).expect("carried"), Some(Carried::Fits));
        assert_eq!(Calibration::of(new.path(), &digest).expect("fits"), Some(calibration.clone()));
        // Other weights: a model that cannot be loaded for its calibration is no update.
        let newest = tempfile::tempdir().expect("a folder");
        fill(newest.path(), "idea-12");
        assert_eq!(carry_calibration(new.path(), newest.path()).expect("carried"), Some(Carried::Aside(ASIDE)));
        assert!(!newest.path().join(CALIBRATION).exists());
        let kept = std::fs::read_to_string(newest.path().join(ASIDE)).expect("kept");
        assert!(kept.contains(&digest), "{kept}");
        // And goes on being kept.
        let last = tempfile::tempdir().expect("a folder");
        fill(last.path(), "mm-7");
        assert_eq!(carry_calibration(newest.path(), last.path()).expect("carried"), None);
        assert_eq!(std::fs::read_to_string(last.path().join(ASIDE)).expect("kept"), kept);
    }
}
