//! Not too much: which sightings are told, and what was held back.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use records::HeldBack;

use super::moment::Moment;
use super::settings::SightingSettings;
use crate::clock::minute_of_day;
use crate::limits::{Cooldown, LastMinute, QuietHours};

/// Why something is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    Cooldown,
    QuietHours,
    PerMinute,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Cooldown => "cooldown",
            Self::QuietHours => "quiet_hours",
            Self::PerMinute => "per_minute",
        }
    }
}

/// What was held back since it was last told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) from_unix_ns: i64,
    pub(super) to_unix_ns: i64,
    pub(super) held: Vec<HeldBack>,
}

/// The limits of one stream.
#[derive(Debug)]
pub(super) struct Limits {
    quiet_hours: Vec<QuietHours>,
    per_minute: Option<NonZeroU32>,
    told: LastMinute,
    /// Of queries, by name.
    last: Cooldown<String>,
    /// Sightings and events, by query and reason.
    held: BTreeMap<(String, Reason), (u64, u64)>,
    /// When the first of them was held back, and when the last.
    span: Option<(Moment, Moment)>,
}

impl Limits {
    /// Films have no time of day: `live` says that quiet hours count.
    pub(super) fn new(settings: &SightingSettings, live: bool) -> Self {
        Self {
            quiet_hours: if live { settings.quiet_hours.clone() } else { Vec::new() },
            per_minute: settings.per_minute,
            told: LastMinute::default(),
            last: Cooldown::default(),
            held: BTreeMap::new(),
            span: None,
        }
    }

    /// Whether a sighting that starts now is told.
    pub(super) fn admits(&mut self, query: &str, cooldown: Duration, now: Moment) -> bool {
        let reason = if self.last.cools(query, cooldown, now.elapsed) {
            Reason::Cooldown
        } else if self.is_quiet(now.at.unix_ns) {
            Reason::QuietHours
        } else if self.is_full(now.elapsed) {
            Reason::PerMinute
        } else {
            self.note(query, now);
            return true;
        };
        self.hold(query, reason, now).0 += 1;
        false
    }

    /// Whether another event of a sighting that was told is told too.
    pub(super) fn admits_event(&mut self, query: &str, now: Moment) -> bool {
        if self.is_full(now.elapsed) {
            self.hold(query, Reason::PerMinute, now).1 += 1;
            return false;
        }
        self.told.add(now.elapsed);
        true
    }

    /// A sighting is told of, at its start or its end.
    pub(super) fn note(&mut self, query: &str, now: Moment) {
        self.told.add(now.elapsed);
        self.last.note(query.to_owned(), now.elapsed);
    }

    /// What was held back, a minute after the first of it, or `anyway`.
    pub(super) fn summary(&mut self, now: Duration, anyway: bool) -> Option<Summary> {
        let (from, to) =
            self.span.filter(|(from, _)| anyway || now.saturating_sub(from.elapsed) >= LastMinute::LENGTH)?;
        self.span = None;
        let held = std::mem::take(&mut self.held).into_iter().map(|((query, reason), (sightings, events))| HeldBack {
            query,
            reason: reason.as_str(),
            sightings,
            events,
        });
        Some(Summary { from_unix_ns: from.at.unix_ns, to_unix_ns: to.at.unix_ns, held: held.collect() })
    }

    fn hold(&mut self, query: &str, reason: Reason, now: Moment) -> &mut (u64, u64) {
        let (_, last) = self.span.get_or_insert((now, now));
        *last = now;
        self.held.entry((query.to_owned(), reason)).or_default()
    }

    fn is_full(&mut self, now: Duration) -> bool {
        let told = self.told.count(now);
        self.per_minute.is_some_and(|most| told >= most.get() as usize)
    }

    fn is_quiet(&self, unix_ns: i64) -> bool {
        if self.quiet_hours.is_empty() {
            return false;
        }
        let minute = minute_of_day(unix_ns);
        minute.is_some_and(|minute| self.quiet_hours.iter().any(|hours| hours.contains(minute)))
    }
}

#[cfg(test)]
mod tests {
    use gstreamer::glib;
    use records::FrameRef;

    use super::*;

    fn at(seconds: u64) -> Moment {
        let at = FrameRef { seq: seconds, pts_ns: None, unix_ns: seconds as i64 * 1_000_000_000 };
        Moment { elapsed: Duration::from_secs(seconds), at, frame_index: None, size: (1.0, 1.0) }
    }

    fn limits(settings: &SightingSettings) -> Limits {
        Limits::new(settings, true)
    }

    const FIVE_MINUTES: Duration = Duration::from_mins(5);

    #[test]
    fn a_query_cools_down_after_each_of_its_sightings_and_no_other_does() {
        let mut limits = limits(&SightingSettings::default());
        assert!(limits.admits("car", FIVE_MINUTES, at(0)));
        assert!(!limits.admits("car", FIVE_MINUTES, at(299)) && limits.admits("dog", FIVE_MINUTES, at(299)));
        limits.note("car", at(280));
        assert!(!limits.admits("car", FIVE_MINUTES, at(579)), "counted from its end");
        assert!(limits.admits("car", FIVE_MINUTES, at(580)));
        assert_eq!(limits.summary(Duration::from_mins(5), false), None, "not yet");
        let summary = limits.summary(Duration::from_secs(580), false).expect("something was held back");
        assert_eq!((summary.from_unix_ns, summary.to_unix_ns), (299_000_000_000, 579_000_000_000));
        let held = HeldBack { query: "car".into(), reason: "cooldown", sightings: 2, events: 0 };
        assert_eq!(summary.held, [held]);
        assert_eq!(limits.summary(Duration::MAX, true), None, "told once");
    }

    #[test]
    fn so_many_events_a_minute_and_no_more() {
        let settings = SightingSettings { per_minute: NonZeroU32::new(3), ..SightingSettings::default() };
        let mut limits = limits(&settings);
        assert!(limits.admits("a", Duration::ZERO, at(0)) && limits.admits_event("a", at(1)));
        limits.note("a", at(2));
        assert!(!limits.admits("a", Duration::ZERO, at(3)) && !limits.admits_event("b", at(59)));
        assert!(limits.admits("b", Duration::ZERO, at(60)), "the first of them is a minute old");
        let summary = limits.summary(Duration::ZERO, true).expect("something was held back");
        let held =
            |query: &str, sightings, events| HeldBack { query: query.into(), reason: "per_minute", sightings, events };
        assert_eq!(summary.held, [held("a", 1, 0), held("b", 0, 1)]);
    }

    #[test]
    fn quiet_hours_are_of_this_machine_and_for_live_sources_alone() {
        let here = |seconds: i64| {
            let local = glib::DateTime::from_unix_local(seconds).expect("a time");
            format!("{:02}:{:02}", local.hour(), local.minute())
        };
        let night = format!("{}-{}", here(36_000), here(36_000 + 3600)).parse().expect("valid");
        let settings = SightingSettings { quiet_hours: vec![night], ..SightingSettings::default() };
        let mut live = limits(&settings);
        assert!(!live.admits("a", Duration::ZERO, at(36_060)) && live.admits("a", Duration::ZERO, at(39_660)));
        assert!(Limits::new(&settings, false).admits("a", Duration::ZERO, at(36_060)));
    }
}
