//! Not too much: what a receiver wants to hear, and how often. What is held back is counted, and told in a summary.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::Notice;
use crate::clock::{self, minute_of_day};
use crate::limits::{Cooldown, LastMinute, QuietHours};

/// What a receiver is told, and how often.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Kinds of events; all where it is empty.
    pub events: Vec<String>,
    /// Names of streams; all where it is empty.
    pub streams: Vec<String>,
    /// Names of queries; all where it is empty.
    pub queries: Vec<String>,
    /// After one sighting of a query of a stream was told of, others are not for so long.
    pub cooldown: Duration,
    /// Notices a minute, at most.
    pub per_minute: Option<u32>,
    /// When nothing is told, by this machine's clock.
    pub quiet: Vec<QuietHours>,
}

/// The moment, as limits see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Of a clock that nobody sets.
    pub(super) instant: Instant,
    /// Of the day, where this machine is.
    pub(super) minute: u32,
}

impl Now {
    pub(super) fn read() -> Self {
        let minute = minute_of_day(clock::now_unix_ns()).unwrap_or(0);
        Self { instant: Instant::now(), minute }
    }
}

/// Why a notice is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Cause {
    Cooldown,
    Quiet,
    Rate,
}

impl Cause {
    pub(super) const ALL: [Self; 3] = [Self::Cooldown, Self::Quiet, Self::Rate];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Cooldown => "cooldown",
            Self::Quiet => "quiet",
            Self::Rate => "rate",
        }
    }
}

/// What becomes of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Told,
    Held(Cause),
    /// Nobody asked for it.
    Unwanted,
}

/// What a summary is.
const SCHEMA: &str = "spotter.notify/1";
/// Sightings that are followed at once; one whose end never comes must not stay for ever.
const FOLLOWED: usize = 10_000;

/// What was told and held back lately.
pub(super) struct Limiter {
    limits: Limits,
    began: Instant,
    told: LastMinute,
    /// Of starts of sightings, by stream and query.
    started: Cooldown<(String, String)>,
    /// Sightings that go on: told of, or held back and why.
    sightings: HashMap<String, Option<Cause>>,
    held: Held,
}

/// What a summary tells.
#[derive(Default)]
struct Held {
    since: Option<SystemTime>,
    causes: BTreeMap<Cause, u64>,
    /// Notices, by stream and query.
    notices: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Limiter {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            began: Instant::now(),
            told: LastMinute::default(),
            started: Cooldown::default(),
            sightings: HashMap::new(),
            held: Held::default(),
        }
    }

    /// Decides on a notice. Who was told that something came is told that it went, whatever the hour.
    pub(super) fn admit(&mut self, notice: &Notice, now: Now) -> Admission {
        let wants = |names: &[String], name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
        let Limits { events, streams, queries, .. } = &self.limits;
        if !(wants(events, &notice.kind) && wants(streams, &notice.stream) && wants(queries, &notice.query)) {
            return Admission::Unwanted;
        }
        let ends = notice.kind == super::END;
        let id = notice.event["sighting"]["id"].as_str();
        let cause = match id.and_then(|id| self.sightings.get(id)) {
            Some(Some(cause)) => Some(*cause),
            Some(None) if ends => None,
            Some(None) => self.busy(now),
            None => self.busy(now).or_else(|| self.cools(notice, now).then_some(Cause::Cooldown)),
        };
        if let Some(id) = id {
            if ends {
                self.sightings.remove(id);
            } else {
                if self.sightings.len() >= FOLLOWED {
                    self.sightings.clear();
                }
                self.sightings.entry(id.to_owned()).or_insert(cause);
            }
        }
        let Some(cause) = cause else {
            self.tell(now);
            if notice.kind == super::START {
                let elapsed = self.elapsed(now);
                self.started.note((notice.stream.clone(), notice.query.clone()), elapsed);
            }
            return Admission::Told;
        };
        self.held.add(notice, cause);
        Admission::Held(cause)
    }

    /// A sighting that was told of before: its end will be, whatever the limits.
    pub(super) fn was_told(&mut self, notice: &Notice) {
        if let Some(id) = notice.event["sighting"]["id"].as_str() {
            self.sightings.insert(id.to_owned(), None);
        }
    }

    /// Why nothing may be told now.
    fn busy(&mut self, now: Now) -> Option<Cause> {
        if self.limits.quiet.iter().any(|quiet| quiet.contains(now.minute)) {
            return Some(Cause::Quiet);
        }
        let most = self.limits.per_minute?;
        let elapsed = self.elapsed(now);
        (self.told.count(elapsed) >= most as usize).then_some(Cause::Rate)
    }

    fn elapsed(&self, now: Now) -> Duration {
        now.instant.saturating_duration_since(self.began)
    }

    fn cools(&self, notice: &Notice, now: Now) -> bool {
        let one = (notice.stream.clone(), notice.query.clone());
        notice.kind == super::START && self.started.cools(&one, self.limits.cooldown, self.elapsed(now))
    }

    fn tell(&mut self, now: Now) {
        if self.limits.per_minute.is_some() {
            let elapsed = self.elapsed(now);
            self.told.add(elapsed);
        }
    }

    /// What was held back, once something may be told again; none where nothing was but by `cooldown`. `name` is the
    /// receiver's.
    pub(super) fn summary(&mut self, name: &str, now: Now) -> Option<Notice> {
        let is_due = self.held.causes.keys().any(|cause| *cause != Cause::Cooldown);
        if !is_due || self.busy(now).is_some() {
            return None;
        }
        self.tell(now);
        Some(std::mem::take(&mut self.held).notice(name))
    }
}

impl Held {
    fn add(&mut self, notice: &Notice, cause: Cause) {
        self.since.get_or_insert_with(SystemTime::now);
        *self.causes.entry(cause).or_default() += 1;
        let queries = self.notices.entry(notice.stream.clone()).or_default();
        *queries.entry(notice.query.clone()).or_default() += 1;
    }

    fn notice(self, name: &str) -> Notice {
        let id = format!("{}-held-{:016x}", records::run_id(), rand::random::<u64>());
        let causes: serde_json::Map<String, Value> =
            self.causes.iter().map(|(cause, count)| (cause.as_str().to_owned(), (*count).into())).collect();
        let event = json!({
            "schema": SCHEMA, "event": super::HELD_BACK, "notify": name,
            "since_unix_ns": self.since.map(clock::unix_ns), "until_unix_ns": clock::now_unix_ns(),
            "count": self.causes.values().sum::<u64>(), "causes": causes, "notices": self.notices,
        });
        Notice { id, stream: String::new(), query: String::new(), kind: super::HELD_BACK.into(), event, snapshot: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(kind: &str, sighting: &str) -> Notice {
        Notice {
            id: format!("{sighting} {kind}"),
            stream: "gate".into(),
            query: "a car".into(),
            kind: kind.into(),
            event: json!({ "sighting": { "id": sighting } }),
            snapshot: None,
        }
    }

    struct Clock {
        began: Instant,
        limiter: Limiter,
    }

    impl Clock {
        fn new(limits: Limits) -> Self {
            Self { began: Instant::now(), limiter: Limiter::new(limits) }
        }

        fn at(&self, seconds: u64, minute: u32) -> Now {
            Now { instant: self.began + Duration::from_secs(seconds), minute }
        }

        fn admit(&mut self, seconds: u64, minute: u32, kind: &str, sighting: &str) -> Admission {
            let now = self.at(seconds, minute);
            self.limiter.admit(&notice(kind, sighting), now)
        }
    }

    const HELD: fn(Cause) -> Admission = Admission::Held;

    #[test]
    fn only_what_is_wanted() {
        let limits = Limits { events: vec![super::super::START.into()], ..Limits::default() };
        let mut clock = Clock::new(limits);
        assert_eq!(clock.admit(0, 0, "sighting_start", "a"), Admission::Told);
        assert_eq!(clock.admit(1, 0, "sighting_end", "a"), Admission::Unwanted);
        let mut clock = Clock::new(Limits { queries: vec!["a dog".into()], ..Limits::default() });
        assert_eq!(clock.admit(0, 0, "sighting_start", "a"), Admission::Unwanted);
    }

    #[test]
    fn a_cooldown_holds_back_whole_sightings() {
        let mut clock = Clock::new(Limits { cooldown: Duration::from_secs(30), ..Limits::default() });
        assert_eq!(clock.admit(0, 0, "sighting_start", "a"), Admission::Told);
        assert_eq!(clock.admit(10, 0, "sighting_start", "b"), HELD(Cause::Cooldown));
        assert_eq!(clock.admit(11, 0, "sighting_end", "a"), Admission::Told);
        assert_eq!(clock.admit(40, 0, "sighting_update", "b"), HELD(Cause::Cooldown));
        assert_eq!(clock.admit(41, 0, "sighting_end", "b"), HELD(Cause::Cooldown));
        assert_eq!(clock.admit(42, 0, "sighting_start", "c"), Admission::Told);
        let now = clock.at(43, 0);
        assert!(clock.limiter.summary("house", now).is_none(), "somebody asked for it");
    }

    #[test]
    fn what_was_told_before_a_restart_takes_no_place_and_ends() {
        let mut clock = Clock::new(Limits { cooldown: Duration::from_secs(30), ..Limits::default() });
        for id in ["a", "b"] {
            clock.limiter.was_told(&notice("sighting_start", id));
        }
        assert_eq!(clock.admit(0, 0, "sighting_start", "c"), Admission::Told, "nothing cools");
        for id in ["a", "b"] {
            assert_eq!(clock.admit(1, 0, "sighting_end", id), Admission::Told, "{id}");
        }
    }

    #[test]
    fn at_most_so_many_a_minute_with_a_summary() {
        let mut clock = Clock::new(Limits { per_minute: Some(2), ..Limits::default() });
        assert_eq!(clock.admit(0, 0, "sighting_start", "a"), Admission::Told);
        assert_eq!(clock.admit(1, 0, "sighting_start", "b"), Admission::Told);
        assert_eq!(clock.admit(2, 0, "sighting_start", "c"), HELD(Cause::Rate));
        assert_eq!(clock.admit(3, 0, "sighting_end", "a"), Admission::Told, "who knows of it knows its end");
        let now = clock.at(59, 0);
        assert!(clock.limiter.summary("house", now).is_none());
        let now = clock.at(62, 0);
        let told = clock.limiter.summary("house", now).expect("due");
        assert_eq!((told.kind.as_str(), &told.event["count"]), ("held_back", &json!(1)));
        assert_eq!(told.event["causes"], json!({ "rate": 1 }));
        assert_eq!(told.event["notices"], json!({ "gate": { "a car": 1 } }));
        assert!(clock.limiter.summary("house", now).is_none(), "once");
        assert_eq!(clock.admit(62, 0, "sighting_end", "c"), HELD(Cause::Rate), "nobody knows of its start");
    }

    #[test]
    fn quiet_hours_over_midnight() {
        let quiet = "22:00-06:30".parse().expect("understood");
        let mut clock = Clock::new(Limits { quiet: vec![quiet], ..Limits::default() });
        let (evening, night, morning) = (21 * 60 + 59, 3 * 60, 6 * 60 + 30);
        assert_eq!(clock.admit(0, evening, "sighting_start", "a"), Admission::Told);
        assert_eq!(clock.admit(120, 22 * 60, "sighting_start", "b"), HELD(Cause::Quiet));
        assert_eq!(clock.admit(130, 22 * 60, "sighting_update", "a"), HELD(Cause::Quiet));
        assert_eq!(clock.admit(140, night, "sighting_end", "a"), Admission::Told);
        let now = clock.at(150, night);
        assert!(clock.limiter.summary("house", now).is_none());
        let now = clock.at(30_000, morning);
        assert_eq!(clock.limiter.summary("house", now).expect("due").event["causes"], json!({ "quiet": 2 }));
        // The clock is set back an hour, into the quiet: nothing else changes.
        assert_eq!(clock.admit(30_001, morning - 60, "sighting_start", "d"), HELD(Cause::Quiet));
        assert_eq!(clock.admit(30_002, morning, "sighting_start", "e"), Admission::Told);
    }
}
