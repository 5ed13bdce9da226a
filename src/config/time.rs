//! Times as they are written.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::{Error, Result};

/// The longest time that any flag takes.
pub(super) const LONGEST: Duration = Duration::from_hours(24);

/// What `--flag` says, or `usual`.
pub(super) fn duration(
    flag: &str,
    text: Option<&str>,
    usual: Duration,
    range: RangeInclusive<Duration>,
) -> Result<Duration> {
    let Some(text) = text else { return Ok(usual) };
    parse(text, range).map_err(|reason| Error::Usage(format!("--{flag} {text}: {reason}")))
}

/// A time within a range.
///
/// # Errors
/// In words: it is none, or outside.
pub(crate) fn parse(text: &str, range: RangeInclusive<Duration>) -> std::result::Result<Duration, String> {
    let shown = |time: &Duration| humantime::format_duration(*time).to_string();
    let expected =
        format!("expected a time from {} to {}, such as 500ms or 2s", shown(range.start()), shown(range.end()));
    let parsed = if text == "0" { Ok(Duration::ZERO) } else { humantime::parse_duration(text) };
    let time = parsed.map_err(|e| format!("{e}; {expected}"))?;
    if range.contains(&time) { Ok(time) } else { Err(expected) }
}
