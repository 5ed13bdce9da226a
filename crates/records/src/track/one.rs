//! One thing at a time: the best answer of a model to one query.

use std::time::Duration;

use blocks::findings::Findings;
use blocks::preprocess::Rect;

use super::lock::{Locks, When};
use super::smooth::BoxFilter;
use super::{HOLD, Ids, Moment, Object, QueryResult, Smoothing, Tracking, carried};
use crate::QueryStatus;

/// Share of the threshold from which on a box that is not claimed may still be the thing that was, as of one that is half hidden.
const GLIMPSE: f32 = 0.5;

/// The memory of a query for one thing.
pub(super) struct One {
    settings: Tracking,
    there: bool,
    last: Option<Last>,
    filter: BoxFilter,
    locks: Locks,
}

/// What was last seen.
#[derive(Debug, Clone, Copy)]
struct Last {
    id: u64,
    rect: Rect,
    score: Option<f32>,
    time: Duration,
}

impl One {
    pub(super) fn new(settings: Tracking) -> Self {
        Self { settings, there: false, last: None, filter: BoxFilter::default(), locks: Locks::default() }
    }

    pub(super) fn measured(&mut self, findings: &Findings, moment: Moment, ids: &mut Ids) -> QueryResult {
        let Moment { time, diagonal } = moment;
        let presence = findings.presence;
        let enough = self.settings.threshold.zip(presence).is_none_or(|(threshold, presence)| {
            presence >= if self.there { threshold - self.settings.hysteresis } else { threshold }
        });
        let best = findings.best().filter(|_| enough);
        let was_there = std::mem::replace(&mut self.there, best.is_some());
        let when = When { time, was_there, lost: self.settings.lost };
        let Some(best) = best else {
            let unsure = self.settings.threshold.zip(presence);
            let is_glimpse = unsure.is_some_and(|(threshold, presence)| presence >= GLIMPSE * threshold);
            if let Some(glimpsed) = findings.best().filter(|_| is_glimpse) {
                self.locks.glimpse(&glimpsed.rect, when);
            }
            return self.absent(presence, time);
        };
        let rect = match self.settings.smoothing {
            Smoothing::Off => best.rect,
            Smoothing::OneEuro => self.filter.next(best.rect, time, diagonal),
        };
        let id = self.locks.follow(&best.rect, when, ids);
        self.last = Some(Last { id, rect, score: best.score, time });
        let object = Object { id, rect, raw: Some(best.rect), score: best.score, measured: true, cause: None };
        QueryResult { status: QueryStatus::Box, measured: true, presence, cause: None, objects: vec![object] }
    }

    fn absent(&mut self, presence: Option<f32>, time: Duration) -> QueryResult {
        if let Some(object) = self.held(time) {
            let object = Object { cause: Some(HOLD), ..object };
            let (measured, cause) = (false, Some(HOLD));
            return QueryResult { status: QueryStatus::Box, measured, presence, cause, objects: vec![object] };
        }
        self.last = None;
        self.filter = BoxFilter::default();
        QueryResult { status: QueryStatus::Absent, measured: true, presence, cause: None, objects: Vec::new() }
    }

    pub(super) fn skipped(&self, cause: &'static str, time: Duration) -> QueryResult {
        // Between two measurements the last one stands, whatever `hold` says: that is what a stride means. Where it
        // said "not here", an earlier box stands in no longer than it may.
        let object = if self.there { self.last.map(Object::from) } else { self.held(time) };
        carried(object.into_iter().collect(), cause)
    }

    pub(super) fn failed(&self, cause: &'static str, time: Duration) -> QueryResult {
        carried(self.held(time).into_iter().collect(), cause)
    }

    /// The last box, while it may stand in.
    fn held(&self, time: Duration) -> Option<Object> {
        let last = self.last.filter(|_| !self.settings.hold.is_zero())?;
        (time.checked_sub(last.time)? <= self.settings.hold).then(|| last.into())
    }
}

impl From<Last> for Object {
    fn from(Last { id, rect, score, .. }: Last) -> Self {
        Self { id, rect, raw: None, score, measured: false, cause: None }
    }
}
