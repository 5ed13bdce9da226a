//! A figure with its standard error.

use serde::{Deserialize, Serialize};

/// A figure and how far it may be off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Its standard error; none where there are too few examples to tell.
    pub error: Option<f64>,
}

impl Estimate {
    /// Share of `right` among `count` (at least 1), with the binomial error `sqrt(p (1 - p) / n)`.
    pub(crate) fn share(right: usize, count: usize) -> Self {
        let value = right as f64 / count as f64;
        Self { value, error: Some((value * (1.0 - value) / count as f64).sqrt()) }
    }

    /// Mean of at least one value, with the error of a sample's mean, `s / sqrt(n)`; none for a single value.
    pub(crate) fn mean(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let value = values.iter().sum::<f64>() / count;
        Self { value, error: sample_variance(values).map(|variance| (variance / count).sqrt()) }
    }
}

/// Sum of squared deviations over `n - 1`; none below two values.
pub(super) fn sample_variance(values: &[f64]) -> Option<f64> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    (values.len() > 1).then(|| values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0))
}
