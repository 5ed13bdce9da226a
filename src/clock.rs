//! The wall clock of this machine.

use std::time::{SystemTime, UNIX_EPOCH};

use gstreamer::glib;

/// Nanoseconds since 1970; 0 before.
pub(crate) fn unix_ns(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Now, in the same way.
pub(crate) fn now_unix_ns() -> i64 {
    unix_ns(SystemTime::now())
}

/// Minutes since midnight where this machine is, at a moment in nanoseconds since 1970.
pub(crate) fn minute_of_day(unix_ns: i64) -> Option<u32> {
    let local = glib::DateTime::from_unix_local(unix_ns.div_euclid(1_000_000_000)).ok()?;
    u32::try_from(60 * local.hour() + local.minute()).ok()
}
