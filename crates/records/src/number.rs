//! Numbers as they stand in records: with fixed decimals, so that equal work gives equal bytes.

use serde::Serializer;

/// Pixels as they stand in records.
pub(crate) fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// A probability as it stands in records, with four decimals.
pub fn ten_thousandths(value: f32) -> f64 {
    (f64::from(value) * 1e4).round() / 1e4
}

fn rounded<S: Serializer>(value: f64, unit: f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((value * unit).round() / unit)
}

// `serialize_with` hands over references.
#[expect(clippy::trivially_copy_pass_by_ref)]
pub(crate) fn pixels<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    rounded(*value, 100.0, serializer)
}

#[expect(clippy::trivially_copy_pass_by_ref)]
pub(crate) fn shares<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    rounded(*value, 1e5, serializer)
}

#[expect(clippy::trivially_copy_pass_by_ref)]
pub(crate) fn milliseconds<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    rounded(*value, 100.0, serializer)
}

#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref)]
pub(crate) fn probability<S: Serializer>(value: &Option<f32>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => rounded(f64::from(*value), 1e4, serializer),
        None => serializer.serialize_none(),
    }
}
