//! Which thing a box is, where a query asks for one: the model may answer with something else while the thing is hidden, or be of
//! two minds between two things that are alike. So what was seen a moment ago is remembered, and ids come back with their things.

use std::cmp::Ordering;
use std::time::Duration;

use blocks::preprocess::Rect;

use super::Ids;
use super::motion::Motion;

/// How far a box may lie from what was foreseen of a thing to be its beyond doubt, as [`Motion::deviation`] counts.
const NEAR: f64 = 0.5;
/// How far one may lie that is not claimed.
const GLIMPSED: f64 = 1.5;
/// How many times as long as a thing is remembered it may be glimpsed without being claimed.
const GLIMPSES: u32 = 2;
/// Boxes in a row that lay near, from which on a thing is known.
const KNOWN: u32 = 3;
/// Things that are remembered at once.
const MOST: usize = 16;

/// A measured frame, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(super) struct When {
    /// Its time.
    pub(super) time: Duration,
    /// Whether the thing was claimed on the measured frame before. Between two measurements that both found it nobody said that it was
    /// lost, however long that took.
    pub(super) was_there: bool,
    /// How long a thing that is not seen is remembered.
    pub(super) lost: Duration,
}

/// A thing, as it was when it was seen last.
#[derive(Debug, Clone, Copy)]
struct Lock {
    id: u64,
    motion: Motion,
    /// When it was seen last.
    time: Duration,
    /// When it was claimed last.
    claimed: Duration,
    /// Boxes in a row that lay near.
    foreseen: u32,
}

impl Lock {
    fn new(id: u64, rect: &Rect, time: Duration) -> Self {
        Self { id, motion: Motion::new(rect), time, claimed: time, foreseen: 1 }
    }

    fn age(&self, time: Duration) -> Duration {
        time.saturating_sub(self.time)
    }

    fn is_remembered(&self, When { time, lost, .. }: When) -> bool {
        self.age(time) <= lost && time.saturating_sub(self.claimed) <= lost.saturating_mul(GLIMPSES)
    }
}

/// A thing that a box may be of.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    lock: Lock,
    is_current: bool,
    is_known: bool,
    deviation: f64,
}

impl Candidate {
    fn is_near(&self) -> bool {
        self.deviation <= NEAR
    }

    /// The thing before, if the box lies near where that was foreseen; else things that it lies near before others, and known
    /// ones among them first, and the nearest of those.
    fn compare(&self, other: &Self) -> Ordering {
        let rank = |candidate: &Self| {
            let is_near = candidate.is_near();
            (candidate.is_current && is_near, is_near, candidate.is_known)
        };
        rank(other).cmp(&rank(self)).then(self.deviation.total_cmp(&other.deviation))
    }
}

/// The thing that is followed, and those that may come back.
#[derive(Debug, Default)]
pub(super) struct Locks {
    current: Option<Lock>,
    others: Vec<Lock>,
}

impl Locks {
    /// The id of what is claimed to be at `rect`: that of a thing which is remembered and can be there, else a new one.
    pub(super) fn follow(&mut self, rect: &Rect, when: When, ids: &mut Ids) -> u64 {
        self.forget(when);
        let lock = if let Some(best) = self.candidates(rect, when.time).min_by(Candidate::compare) {
            self.update(best, rect, when)
        } else {
            if let Some(before) = self.current {
                self.remember(before);
            }
            Lock::new(ids.next(), rect, when.time)
        };
        self.current = Some(Lock { claimed: when.time, ..lock });
        lock.id
    }

    /// Takes note of a box that is too unsure to be claimed: where a known thing is foreseen it is most likely that, half hidden.
    pub(super) fn glimpse(&mut self, rect: &Rect, when: When) {
        self.forget(when);
        let fitting = |candidate: &Candidate| candidate.is_known && candidate.deviation <= GLIMPSED;
        if let Some(best) = self.candidates(rect, when.time).filter(fitting).min_by(Candidate::compare) {
            self.current = Some(self.update(best, rect, when));
        }
    }

    fn forget(&mut self, when: When) {
        self.others.retain(|lock| lock.is_remembered(when));
        self.current = self.current.filter(|lock| when.was_there || lock.is_remembered(when));
    }

    fn candidates(&self, rect: &Rect, time: Duration) -> impl Iterator<Item = Candidate> {
        let all = || self.current.iter().map(|lock| (lock, true)).chain(self.others.iter().map(|lock| (lock, false)));
        all().filter_map(move |(lock, is_current)| {
            let is_known = all().any(|(other, _)| other.id == lock.id && other.foreseen >= KNOWN);
            let deviation = lock.motion.deviation(rect, lock.age(time))?;
            Some(Candidate { lock: *lock, is_current, is_known, deviation })
        })
    }

    /// The thing with a box that is taken for its. What it gives way to is remembered.
    fn update(&mut self, best: Candidate, rect: &Rect, When { time, was_there, .. }: When) -> Lock {
        let mut lock = best.lock;
        if best.is_near() && !best.is_current {
            self.others.retain(|other| other.id != lock.id);
        }
        // Where the box is a surprise, the thing may be where it was foreseen all the same.
        let may_return = |before: &Lock| if best.is_current { !best.is_near() } else { before.id != lock.id };
        if let Some(before) = self.current.filter(may_return) {
            self.remember(before);
        }
        if !was_there || !best.is_current {
            lock.motion.stop_growing();
        }
        lock.motion.predict(lock.age(time));
        lock.motion.update_covered(rect);
        lock.time = time;
        lock.foreseen = if best.is_near() { lock.foreseen.saturating_add(1) } else { 1 };
        lock
    }

    /// Of one thing, what is known best is kept.
    fn remember(&mut self, lock: Lock) {
        match self.others.iter_mut().find(|other| other.id == lock.id) {
            Some(other) if other.foreseen >= lock.foreseen => {}
            Some(other) => *other = lock,
            None => self.others.push(lock),
        }
        if self.others.len() > MOST {
            // What is hidden is the oldest of those that are known: what was seen once or twice goes before it.
            let rank = |lock: &Lock| (lock.foreseen >= KNOWN, lock.time);
            let oldest = self.others.iter().enumerate().min_by_key(|(_, lock)| rank(lock)).map(|(place, _)| place);
            if let Some(place) = oldest {
                self.others.remove(place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::LOST;

    const FRAME: Duration = Duration::from_millis(40);

    fn boxed(x: f64, y: f64) -> Rect {
        Rect { x0: x, y0: y, x1: x + 80.0, y1: y + 80.0 }
    }

    /// What is answered on a frame.
    enum Answer {
        Claimed(Rect),
        Unsure(Rect),
        Nothing,
    }

    /// The ids of what is claimed on frames one after the other.
    fn ids_of(answers: impl IntoIterator<Item = Answer>) -> Vec<Option<u64>> {
        let (mut locks, mut ids, mut was_there) = (Locks::default(), Ids::default(), false);
        let follow = |(frame, answer): (u32, Answer)| {
            let when = When { time: frame * FRAME, was_there, lost: LOST };
            let id = match answer {
                Answer::Claimed(rect) => Some(locks.follow(&rect, when, &mut ids)),
                Answer::Unsure(rect) => {
                    locks.glimpse(&rect, when);
                    None
                }
                Answer::Nothing => None,
            };
            was_there = id.is_some();
            id
        };
        (0..).zip(answers).map(follow).collect()
    }

    /// The same of boxes; none where nothing is found.
    fn ids(boxes: impl IntoIterator<Item = Option<Rect>>) -> Vec<Option<u64>> {
        ids_of(boxes.into_iter().map(|rect| rect.map_or(Answer::Nothing, Answer::Claimed)))
    }

    /// A thing goes behind a wall of 230 pixels, from the left to the right, at six pixels a frame; what is to be seen of it.
    /// `instead` is what is found while it is hidden.
    fn behind_a_wall(instead: impl Fn(u32) -> Option<Rect>) -> Vec<Option<Rect>> {
        const WALL: (f64, f64) = (205.0, 435.0);
        let seen = |frame: u32| {
            let whole = boxed(6.0 * f64::from(frame), 200.0);
            let left = Rect { x1: whole.x1.min(WALL.0), ..whole };
            let right = Rect { x0: whole.x0.max(WALL.1), ..whole };
            [left, right].into_iter().find(|rect| rect.width() > 25.0).or_else(|| instead(frame))
        };
        (0..100).map(seen).collect()
    }

    fn first_and_last(ids: Vec<Option<u64>>) -> (u64, u64) {
        let ids: Vec<u64> = ids.into_iter().flatten().collect();
        (ids[0], ids[ids.len() - 1])
    }

    #[test]
    fn a_thing_that_hides_comes_back_as_itself_whatever_is_found_meanwhile() {
        assert_eq!(first_and_last(ids(behind_a_wall(|_| None))), (1, 1));
        let far = |_| Some(boxed(300.0, 20.0));
        assert_eq!(first_and_last(ids(behind_a_wall(far))), (1, 1), "another thing, all the while");
        let at_times = |frame: u32| (frame % 7 > 3).then(|| boxed(300.0, 60.0));
        assert_eq!(first_and_last(ids(behind_a_wall(at_times))), (1, 1), "another thing, at times");
        let wall = |_| Some(Rect { x0: 205.0, y0: 140.0, x1: 435.0, y1: 340.0 });
        assert_eq!(first_and_last(ids(behind_a_wall(wall))), (1, 1), "the wall");
        let anywhere = |frame: u32| {
            let (x, y) = (f64::from(frame * 7919 % 560), f64::from(frame * 104_729 % 280));
            frame.is_multiple_of(6).then(|| boxed(x, y))
        };
        assert_eq!(first_and_last(ids(behind_a_wall(anywhere))), (1, 1), "this and that");
    }

    #[test]
    fn two_things_that_are_found_by_turns_have_an_id_each() {
        let turns = (0..60u32).map(|frame| {
            let way = 3.0 * f64::from(frame);
            Some(if frame / 5 % 2 == 0 { boxed(way, 20.0) } else { boxed(500.0 - way, 300.0) })
        });
        let ids = ids(turns);
        for (frame, id) in ids.iter().enumerate() {
            assert_eq!(*id, Some(1 + (frame / 5 % 2) as u64), "{ids:?}");
        }
    }

    #[test]
    fn what_is_away_for_longer_is_forgotten_and_what_is_new_has_a_new_id() {
        let stays = |frames: std::ops::Range<u32>, x: f64| frames.map(move |_| Some(boxed(x, 100.0)));
        let away = LOST.as_millis() as u32 / 40 + 1;
        let found: Vec<_> = stays(0..10, 0.0).chain(stays(0..away, 500.0)).chain(stays(0..3, 0.0)).collect();
        let ids: Vec<u64> = ids(found).into_iter().flatten().collect();
        assert_eq!((ids[0], ids[10], ids[ids.len() - 1]), (1, 2, 3), "{ids:?}");
    }

    /// Half of it is behind something for longer than a thing is remembered that nobody sees.
    #[test]
    fn what_is_glimpsed_is_remembered() {
        let seconds = |count: u32| 25 * count;
        let answers = |unsure: bool, away: u32| -> Vec<Answer> {
            let unsure = move |frame: u32| {
                if unsure { Answer::Unsure(boxed(2.0 * f64::from(frame), 100.0)) } else { Answer::Nothing }
            };
            let claimed = |frame: u32| Answer::Claimed(boxed(2.0 * f64::from(frame), 100.0));
            let gone = move |frame: u32| if frame.is_multiple_of(10) { unsure(frame) } else { Answer::Nothing };
            (0..20).map(claimed).chain((20..20 + away).map(gone)).chain((20 + away..40 + away).map(claimed)).collect()
        };
        assert_eq!(first_and_last(ids_of(answers(true, seconds(3)))), (1, 1));
        assert_eq!(first_and_last(ids_of(answers(false, seconds(3)))), (1, 2));
        assert_eq!(first_and_last(ids_of(answers(true, seconds(5)))), (1, 2), "nobody is sure of it for ever");
        let elsewhere = (0..80u32).map(|frame| match frame {
            0..10 | 70.. => Answer::Claimed(boxed(0.0, 100.0)),
            _ => Answer::Unsure(boxed(400.0, 100.0)),
        });
        assert_eq!(first_and_last(ids_of(elsewhere)), (1, 2), "another place says nothing of it");
    }

    /// However often another thing is answered, no more is kept of it than that.
    #[test]
    fn memory_is_bounded() {
        let (mut locks, mut ids) = (Locks::default(), Ids::default());
        for frame in 0..1000 {
            let when = When { time: frame * FRAME, was_there: true, lost: Duration::MAX };
            locks.follow(&boxed(1000.0 * f64::from(frame), 0.0), when, &mut ids);
        }
        assert_eq!((ids.next(), locks.others.len()), (1001, MOST));
    }
}
