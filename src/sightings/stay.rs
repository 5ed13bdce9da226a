//! When a thing is there: presence that flaps, boxes that jump, ids that change.
//!
//! Presence is held where, over the last `confirm` of a thing, its mean is at the threshold or above, beginning with a
//! frame on which the thing was seen. A stay starts when presence is held for the first time, with the first of those
//! frames. It ends when there is a gap longer than `forget` from the last frame on which it was held to the first of
//! those over which it would be held again.
//!
//! A thing is followed by its id. Where the tracker gives it another one, it is the same thing as long as its box is near
//! where it was.

use std::collections::VecDeque;
use std::time::Duration;

use blocks::preprocess::Rect;
use records::track::{Object, QueryResult};

use super::moment::Moment;
use super::settings::Confirm;

/// How the stays of one query are told apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rules {
    /// How long presence must be held.
    pub(super) confirm: Confirm,
    /// The longest gap.
    pub(super) forget: Duration,
    /// Mean presence from which on it is held, 0..1.
    pub(super) threshold: f32,
    /// Whether all that match are asked for: then each thing has a score of its own, else the picture's presence is that of the
    /// only one.
    pub(super) all: bool,
}

/// A thing on a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Seen {
    /// The frame.
    pub(super) moment: Moment,
    /// Its id.
    pub(super) object: u64,
    /// Its box, pixels.
    pub(super) rect: Rect,
    /// Probability that it is what is looked for, 0..1.
    pub(super) score: Option<f32>,
    /// Probability that such a thing is in the picture, 0..1.
    pub(super) presence: Option<f32>,
}

/// What became of a thing.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// It is there, and was seen on these frames, at least one.
    Start {
        /// What it is called here; never used twice.
        key: u64,
        /// Oldest first.
        seen: Vec<Seen>,
    },
    /// It still is, and was seen on these frames too.
    Stay {
        /// Which.
        key: u64,
        /// Oldest first, at least one.
        seen: Vec<Seen>,
    },
    /// It is there no more.
    End {
        /// Which.
        key: u64,
    },
}

/// All things of one query.
#[derive(Debug, Clone)]
pub(super) struct Stays {
    rules: Rules,
    things: Vec<Thing>,
    keys: u64,
}

/// Things that are followed at once, at most; the one that was not seen for longest is forgotten first, and open ones last.
const MOST_THINGS: usize = 64;
/// Ids of a thing that are remembered.
const MOST_IDS: usize = 16;
/// A box of another id is of the same thing where its middle lies no farther than so many of its diagonals away.
const NEAR: f64 = 1.0;
/// And so many more for every second that it was not seen.
const NEAR_PER_SECOND: f64 = 0.5;
/// What sums of probabilities may lack by rounding.
const ROUNDING: f64 = 1e-6;

/// A thing that is there, or may be.
#[derive(Debug, Clone)]
struct Thing {
    key: u64,
    ids: VecDeque<u64>,
    window: Window,
    /// Where it was seen last, whether that counts or not.
    latest: Seen,
    /// The last frame on which it was held; none until it is open.
    held: Option<Seen>,
}

/// A measured frame, as a thing sees it.
#[derive(Debug, Clone, Copy)]
struct Sample {
    elapsed: Duration,
    presence: f32,
    seen: Option<Seen>,
}

/// The shortest row of frames up to now that is long enough to confirm, or all that there are.
#[derive(Debug, Clone)]
struct Window {
    confirm: Confirm,
    samples: VecDeque<Sample>,
    sum: f64,
}

impl Window {
    fn new(confirm: Confirm) -> Self {
        Self { confirm, samples: VecDeque::new(), sum: 0.0 }
    }

    fn push(&mut self, sample: Sample) {
        self.sum += f64::from(sample.presence);
        self.samples.push_back(sample);
        while self.is_long_enough(1) {
            self.sum -= self.samples.pop_front().map_or(0.0, |first| f64::from(first.presence));
        }
    }

    /// Whether it is, without its first `left_out` frames.
    fn is_long_enough(&self, left_out: usize) -> bool {
        let (Some(first), Some(last)) = (self.samples.get(left_out), self.samples.back()) else { return false };
        match self.confirm {
            Confirm::Frames(count) => self.samples.len() - left_out >= count as usize,
            Confirm::Time(time) => last.elapsed.saturating_sub(first.elapsed) >= time,
        }
    }

    /// The first frame, where presence is held over all of them.
    fn held(&self, threshold: f32) -> Option<Seen> {
        let first = self.samples.front()?.seen?;
        let mean = self.sum / self.samples.len() as f64;
        (self.is_long_enough(0) && mean + ROUNDING >= f64::from(threshold)).then_some(first)
    }

    fn seen(&self) -> impl Iterator<Item = Seen> {
        self.samples.iter().filter_map(|sample| sample.seen)
    }
}

impl Thing {
    fn new(key: u64, seen: Seen, rules: &Rules) -> Self {
        Self { key, ids: VecDeque::from([seen.object]), window: Window::new(rules.confirm), latest: seen, held: None }
    }

    /// How far a box of another id is from where it should be, as a share of how far it may be; none where it is too far.
    fn distance(&self, rect: &Rect, moment: &Moment) -> Option<f64> {
        let scale = (moment.size.0 / self.latest.moment.size.0, moment.size.1 / self.latest.moment.size.1);
        let (there, here) = (self.latest.rect.centre(), rect.centre());
        let apart = (there.0 * scale.0 - here.0).hypot(there.1 * scale.1 - here.1);
        let own = (self.latest.rect.width() * scale.0).hypot(self.latest.rect.height() * scale.1);
        let gap = moment.elapsed.saturating_sub(self.latest.moment.elapsed).as_secs_f64();
        let reach = own.max(rect.width().hypot(rect.height())) * (NEAR + NEAR_PER_SECOND * gap);
        (apart <= reach).then(|| apart / reach.max(f64::MIN_POSITIVE))
    }

    fn see(&mut self, seen: Seen) {
        self.latest = seen;
        if !self.ids.contains(&seen.object) {
            self.ids.push_back(seen.object);
            if self.ids.len() > MOST_IDS {
                self.ids.pop_front();
            }
        }
    }

    /// Whether nothing that comes at `now` or later can be the same stay.
    fn is_over(&self, now: Duration, forget: Duration) -> bool {
        let Some(held) = &self.held else { return now.saturating_sub(self.latest.moment.elapsed) > forget };
        let deadline = held.moment.elapsed + forget;
        if now <= deadline {
            return false;
        }
        // What came back in time may still be confirmed, while frames come.
        let in_time = |seen: &Seen| seen.moment.elapsed > held.moment.elapsed && seen.moment.elapsed <= deadline;
        let waits = self.window.samples.back().is_some_and(|last| now <= last.elapsed + forget);
        !(waits && self.window.seen().any(|seen| in_time(&seen)))
    }
}

impl Stays {
    /// Of a query of which nothing was seen yet.
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, things: Vec::new(), keys: 0 }
    }

    /// Takes note of a measured frame.
    pub(super) fn measured(&mut self, moment: Moment, claim: &QueryResult) -> Vec<Step> {
        let mut steps = self.passed(moment.elapsed);
        let objects: Vec<&Object> = claim.objects.iter().filter(|object| object.measured).collect();
        let mut seen: Vec<Option<Seen>> = vec![None; self.things.len()];
        let as_seen = |object: &Object| Seen {
            moment,
            object: object.id,
            rect: object.rect,
            score: object.score,
            presence: claim.presence,
        };
        let mut strange = Vec::new();
        for object in &objects {
            let known = (0..self.things.len())
                .find(|&place| seen[place].is_none() && self.things[place].ids.back() == Some(&object.id))
                .or_else(|| {
                    (0..self.things.len())
                        .find(|&place| seen[place].is_none() && self.things[place].ids.contains(&object.id))
                });
            match known {
                Some(place) => seen[place] = Some(as_seen(object)),
                None => strange.push(*object),
            }
        }
        for object in strange {
            // Those that are open first, then the nearest.
            let near = (0..self.things.len()).filter(|&place| seen[place].is_none()).filter_map(|place| {
                let thing = &self.things[place];
                Some((thing.held.is_none(), thing.distance(&object.rect, &moment)?, place))
            });
            if let Some((_, _, place)) = near.min_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))) {
                seen[place] = Some(as_seen(object));
            } else {
                self.keys += 1;
                self.things.push(Thing::new(self.keys, as_seen(object), &self.rules));
                seen.push(Some(as_seen(object)));
            }
        }
        // What is not in the picture is as far from it as the picture says; what another thing is taken for is not there.
        let elsewhere = if objects.is_empty() { claim.presence.unwrap_or(0.0) } else { 0.0 };
        for (thing, seen) in self.things.iter_mut().zip(seen) {
            let presence = match &seen {
                Some(seen) if self.rules.all => seen.score.or(seen.presence).unwrap_or(1.0),
                Some(seen) => seen.presence.or(seen.score).unwrap_or(1.0),
                None => elsewhere,
            };
            if let Some(seen) = seen {
                thing.see(seen);
            }
            thing.window.push(Sample { elapsed: moment.elapsed, presence, seen });
        }
        self.confirm(&mut steps);
        self.forget_some();
        steps
    }

    /// Takes note of time that went by.
    pub(super) fn passed(&mut self, now: Duration) -> Vec<Step> {
        let (over, things): (Vec<Thing>, Vec<Thing>) =
            std::mem::take(&mut self.things).into_iter().partition(|thing| thing.is_over(now, self.rules.forget));
        self.things = things;
        over.into_iter().filter(|thing| thing.held.is_some()).map(|thing| Step::End { key: thing.key }).collect()
    }

    /// Nothing is there any more; gives what was.
    pub(super) fn end(&mut self) -> Vec<Step> {
        let things = std::mem::take(&mut self.things).into_iter().filter(|thing| thing.held.is_some());
        things.map(|thing| Step::End { key: thing.key }).collect()
    }

    fn confirm(&mut self, steps: &mut Vec<Step>) {
        let Rules { forget, threshold, .. } = self.rules;
        for thing in &mut self.things {
            let Some(first) = thing.window.held(threshold) else { continue };
            let before = thing.held.filter(|held| first.moment.elapsed <= held.moment.elapsed + forget);
            if thing.held.is_some() && before.is_none() {
                // It is there again, after too long a gap.
                steps.push(Step::End { key: thing.key });
                self.keys += 1;
                thing.key = self.keys;
            }
            let is_new = |seen: &Seen| before.is_none_or(|held| seen.moment.at.seq > held.moment.at.seq);
            let seen: Vec<Seen> = thing.window.seen().filter(is_new).collect();
            thing.held = seen.last().copied().or(before);
            let key = thing.key;
            match before {
                None => steps.push(Step::Start { key, seen }),
                Some(_) if seen.is_empty() => {}
                Some(_) => steps.push(Step::Stay { key, seen }),
            }
        }
    }

    /// Things that were seen by mistake are many where pictures are noisy.
    fn forget_some(&mut self) {
        self.things.retain(|thing| thing.held.is_some() || thing.window.seen().next().is_some());
        while self.things.len() > MOST_THINGS {
            let candidates = (0..self.things.len()).filter(|&place| self.things[place].held.is_none());
            let Some(oldest) = candidates.min_by_key(|&place| self.things[place].latest.moment.elapsed) else { break };
            self.things.remove(oldest);
        }
    }
}

#[cfg(test)]
mod tests;
