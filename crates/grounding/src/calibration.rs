//! What makes a score a probability: `calibration.json` beside a model whose own scores are none. A score's logit divided by a
//! temperature, and an offset (Platt 1999; Guo et al. 2017 with a bias).

use std::path::Path;

use blocks::error::{Error, Result};
use blocks::files;
use blocks::findings::Findings;
use serde::{Deserialize, Serialize};

/// Its file in a model directory.
pub const CALIBRATION: &str = "calibration.json";

/// How scores of one model become probabilities, and from which on it claims a thing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Digest of the model.
    model: String,
    /// Divides a logit; above 0.
    temperature: f64,
    /// Is added to it then.
    offset: f64,
    /// Probability from which on a thing is claimed, 0..1.
    threshold: f32,
    /// What it was fitted on, and how well it does, in words.
    #[serde(default)]
    measured: String,
}

impl Calibration {
    /// Of the model with digest `model`; `measured` says in words what it was fitted on.
    pub fn new(model: &str, temperature: f64, offset: f64, threshold: f32, measured: &str) -> Self {
        Self { model: model.to_owned(), temperature, offset, threshold, measured: measured.to_owned() }
    }

    /// Reads that of a model directory; none where there is none.
    ///
    /// # Errors
    /// The file is damaged, holds numbers that are none of a calibration, or belongs to another model than that with digest
    /// `model`.
    pub fn of(dir: &Path, model: &str) -> Result<Option<Self>> {
        let path = dir.join(CALIBRATION);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(Error::io("read", &path))?,
        };
        let own: Self = serde_json::from_slice(&bytes).map_err(|e| Error::file(&path, e))?;
        let fail = |key: &str, value: String, expected: &str| {
            let (file, key, expected) = (path.display().to_string(), key.to_owned(), expected.to_owned());
            Err(Error::Config { file, key, value, expected })
        };
        if !(own.temperature > 0.0 && own.temperature.is_finite()) {
            return fail("temperature", own.temperature.to_string(), "above 0");
        }
        if !own.offset.is_finite() {
            return fail("offset", own.offset.to_string(), "a number");
        }
        if !(0.0..=1.0).contains(&own.threshold) {
            return fail("threshold", own.threshold.to_string(), "a probability from 0 to 1");
        }
        if own.model != model {
            let reason = format!(
                "was made for model {}, but this model is {model}; calibrate it anew, or remove this file",
                own.model
            );
            return Err(Error::file(&path, reason));
        }
        Ok(Some(own))
    }

    /// Writes it into a model directory, in full or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let path = dir.join(CALIBRATION);
        let json = serde_json::to_string_pretty(self).map_err(|e| Error::file(&path, e))?;
        files::write(&path, json + "\n")
    }

    /// The same for a model with another digest: the same weights in another element type.
    #[must_use]
    pub fn for_model(&self, model: &str) -> Self {
        Self { model: model.to_owned(), ..self.clone() }
    }

    /// Probability from which on a thing is claimed.
    pub fn threshold(&self) -> f32 {
        self.threshold
    }

    /// The probability that a score, 0..1, stands for.
    pub fn probability(&self, score: f32) -> f32 {
        let logit = logit(score) / self.temperature + self.offset;
        (1.0 / (1.0 + (-logit).exp())) as f32
    }

    /// Turns scores into probabilities; their order stays.
    pub(crate) fn apply(&self, findings: &mut Findings) {
        let probability = |score: f32| self.probability(score);
        findings.presence = findings.presence.map(probability);
        for finding in &mut findings.found {
            finding.score = finding.score.map(probability);
        }
    }
}

/// Of a score as f32 has it: neither 0 nor 1 is beyond all bounds.
pub fn logit(score: f32) -> f64 {
    let p = f64::from(score).clamp(1e-9, 1.0 - 1e-7);
    (p / (1.0 - p)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_become_probabilities_in_the_same_order() {
        let calibration = Calibration::new("a", 0.5, 1.5, 0.4, "ten questions");
        // ln(0.25 / 0.75) is -1.0986: twice that and 1.5 is -0.6972, whose sigmoid is 0.3324.
        assert!((calibration.probability(0.25) - 0.3324).abs() < 1e-4);
        let shown: Vec<f32> = [0.0, 0.1, 0.5, 0.9, 1.0].map(|score| calibration.probability(score)).to_vec();
        assert!(shown.is_sorted_by(|a, b| a < b) && shown.iter().all(|p| (0.0..=1.0).contains(p)), "{shown:?}");
    }

    #[test]
    fn one_belongs_to_one_model() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        assert_eq!(Calibration::of(path, "a").ok(), Some(None));
        let calibration = Calibration::new("a", 1.25, -0.5, 0.4, "ten questions");
        calibration.save(path).expect("written");
        assert_eq!(Calibration::of(path, "a").ok(), Some(Some(calibration.clone())));
        let of = |model: &str| Calibration::of(path, model).expect_err("refused").to_string();
        assert!(of("b").contains("was made for model a, but this model is b"), "{}", of("b"));
        calibration.for_model("b").save(path).expect("written");
        assert!(Calibration::of(path, "b").is_ok());
        let text = std::fs::read_to_string(path.join(CALIBRATION)).expect("read");
        for (from, to, expected) in [
            ("1.25", "0.0", "`temperature` is 0, expected above 0"),
            ("0.4", "1.5", "`threshold` is 1.5, expected a probability"),
            ("\"offset\"", "\"ofset\"", "calibration.json: unknown field `ofset`"),
        ] {
            assert!(text.contains(from), "{text}");
            std::fs::write(path.join(CALIBRATION), text.replacen(from, to, 1)).expect("written");
            assert!(of("b").contains(expected), "{}", of("b"));
        }
    }
}
