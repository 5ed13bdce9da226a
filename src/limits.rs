//! Not too much: hours in which nothing is told, so many a minute, and none for a while after one. Whoever counts gives the time, as
//! what went by since it began: stream time, or that of a clock that nobody sets.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

/// A part of the day by this machine's clock, in minutes since midnight. It may go over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct QuietHours {
    from: u32,
    to: u32,
}

impl QuietHours {
    /// Whether it is quiet so many minutes after midnight.
    pub fn contains(self, minute: u32) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

impl FromStr for QuietHours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let minutes = |time: &str| {
            let (hour, minute) = time.trim().split_once(':')?;
            let digits = |text: &str, most: u32| {
                let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
                text.parse().ok().filter(|number: &u32| is_number && *number < most)
            };
            Some(60 * digits(hour, 24)? + digits(minute, 60)?)
        };
        let both = text.split_once('-').and_then(|(from, to)| Some((minutes(from)?, minutes(to)?)));
        match both {
            Some((from, to)) if from != to => Ok(Self { from, to }),
            _ => Err("expected two times of day, as in 22:00-06:30".into()),
        }
    }
}

/// When something was told in the last minute.
#[derive(Debug, Default)]
pub(crate) struct LastMinute(VecDeque<Duration>);

impl LastMinute {
    /// How long that is.
    pub(crate) const LENGTH: Duration = Duration::from_mins(1);

    pub(crate) fn add(&mut self, now: Duration) {
        self.0.push_back(now);
    }

    /// How often it was.
    pub(crate) fn count(&mut self, now: Duration) -> usize {
        while self.0.front().is_some_and(|told| now.saturating_sub(*told) >= Self::LENGTH) {
            self.0.pop_front();
        }
        self.0.len()
    }
}

/// When something was told last of each of several.
#[derive(Debug)]
pub(crate) struct Cooldown<K>(HashMap<K, Duration>);

impl<K> Default for Cooldown<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq> Cooldown<K> {
    pub(crate) fn note(&mut self, one: K, now: Duration) {
        self.0.insert(one, now);
    }

    /// Whether less than `length` went by since then.
    pub(crate) fn cools<Q: Hash + Eq + ?Sized>(&self, one: &Q, length: Duration, now: Duration) -> bool
    where
        K: Borrow<Q>,
    {
        self.0.get(one).is_some_and(|last| now.saturating_sub(*last) < length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_hours_may_go_over_midnight() {
        let night: QuietHours = "22:00-07:30".parse().expect("valid");
        let noon: QuietHours = "12:00 - 13:00".parse().expect("valid");
        for (minute, at_night, at_noon) in [
            (0, true, false),
            (449, true, false),
            (450, false, false),
            (720, false, true),
            (780, false, false),
            (1320, true, false),
        ] {
            assert_eq!((night.contains(minute), noon.contains(minute)), (at_night, at_noon), "{minute}");
        }
        assert_eq!("7:05-8:00".parse(), Ok(QuietHours { from: 425, to: 480 }));
        for wrong in
            ["", "22:00", "22-7", "24:00-07:00", "22:60-07:00", "+7:00-8:00", "07:00-07:00", "a:b-c:d", ":1-2:0"]
        {
            assert!(wrong.parse::<QuietHours>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_minute_and_a_cooldown_end() {
        let at = Duration::from_secs;
        let mut told = LastMinute::default();
        for second in [0, 1, 30] {
            told.add(at(second));
        }
        assert_eq!([59, 60, 61, 100].map(|second| told.count(at(second))), [3, 2, 1, 0]);
        let mut last: Cooldown<String> = Cooldown::default();
        assert!(!last.cools("car", at(10), at(0)));
        last.note("car".into(), at(5));
        assert_eq!([5, 14, 15].map(|second| last.cools("car", at(10), at(second))), [true, true, false]);
        assert!(!last.cools("dog", at(10), at(6)));
    }
}
