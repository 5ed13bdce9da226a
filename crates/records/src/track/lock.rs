//! Which thing a box is, where a query asks for one: the model may answer with something else while the thing is hidden, or be of
//! two minds between two things that are alike. So what was seen a moment ago is remembered, and ids come back with their things.

use std::time::Duration;

use blocks::preprocess::Rect;

use super::Ids;
use super::motion::Motion;

/// How far a box may lie from what was foreseen of a thing to be its beyond doubt, as [`Motion::deviation`] counts.
const NEAR: f64 = 0.5;
/// Boxes in a row that lay there, from which on a thing is known.
const KNOWN: u32 = 3;
/// Things that are remembered at once.
const MOST: usize = 16;

/// A thing, as it was when it was seen last.
#[derive(Debug, Clone, Copy)]
struct Lock {
    id: u64,
    motion: Motion,
    time: Duration,
    /// Boxes in a row that lay where they were foreseen.
    foreseen: u32,
}

impl Lock {
    /// With a box that lies so far from what was foreseen; `was_lost` where it was not followed until now.
    fn update(mut self, rect: &Rect, time: Duration, deviation: f64, was_lost: bool) -> Self {
        if was_lost {
            self.motion.stop_growing();
        }
        self.motion.predict(time.saturating_sub(self.time));
        self.motion.update_covered(rect);
        self.time = time;
        self.foreseen = if deviation > NEAR { 1 } else { self.foreseen.saturating_add(1) };
        self
    }
}

/// The thing that is followed, and those that may come back.
#[derive(Debug, Default)]
pub(super) struct Locks {
    current: Option<Lock>,
    others: Vec<Lock>,
}

impl Locks {
    /// The id of what is at `rect` now. That is the thing before, if it lies near where that was foreseen; else a thing that was
    /// seen within `lost` and can be there, known ones before others and near ones before far ones; else a new one. Between
    /// two measurements that both found it (`was_there`) nobody said that it was lost, however long that took.
    pub(super) fn follow(
        &mut self,
        rect: &Rect,
        time: Duration,
        (was_there, lost): (bool, Duration),
        ids: &mut Ids,
    ) -> u64 {
        let age = |lock: &Lock| time.saturating_sub(lock.time);
        self.others.retain(|lock| age(lock) <= lost);
        let before = self.current.filter(|lock| was_there || age(lock) <= lost);
        let all = || before.iter().map(|lock| (lock, true)).chain(self.others.iter().map(|lock| (lock, false)));
        let is_known = |id: u64| all().any(|(lock, _)| lock.id == id && lock.foreseen >= KNOWN);
        let best = all()
            .filter_map(|(lock, is_current)| Some((*lock, is_current, lock.motion.deviation(rect, age(lock))?)))
            .min_by(|(a, a_current, a_off), (b, b_current, b_off)| {
                let goes_on = |is_current: bool, off: f64| is_current && off <= NEAR;
                goes_on(*b_current, *b_off)
                    .cmp(&goes_on(*a_current, *a_off))
                    .then(is_known(b.id).cmp(&is_known(a.id)))
                    .then(a_off.total_cmp(b_off))
            });
        let Some((lock, is_current, off)) = best else {
            if let Some(before) = before {
                self.remember(before);
            }
            let id = ids.next();
            self.current = Some(Lock { id, motion: Motion::new(rect), time, foreseen: 1 });
            return id;
        };
        if off <= NEAR && !is_current {
            self.others.retain(|other| other.id != lock.id);
        }
        // Where the box is a surprise, the thing may be where it was foreseen all the same.
        let may_return = |before: &Lock| if is_current { off > NEAR } else { before.id != lock.id };
        if let Some(before) = before.filter(may_return) {
            self.remember(before);
        }
        self.current = Some(lock.update(rect, time, off, !was_there || !is_current));
        lock.id
    }

    /// Of one thing, what is known best is kept.
    fn remember(&mut self, lock: Lock) {
        match self.others.iter_mut().find(|other| other.id == lock.id) {
            Some(other) if other.foreseen >= lock.foreseen => {}
            Some(other) => *other = lock,
            None => self.others.push(lock),
        }
        if self.others.len() > MOST {
            let oldest = self.others.iter().enumerate().min_by_key(|(_, lock)| lock.time).map(|(place, _)| place);
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

    /// The ids of boxes on frames one after the other; none where nothing is found.
    fn ids(boxes: impl IntoIterator<Item = Option<Rect>>) -> Vec<Option<u64>> {
        let (mut locks, mut ids, mut was_there) = (Locks::default(), Ids::default(), false);
        let follow = |(frame, rect): (u32, Option<Rect>)| {
            let id = rect.map(|rect| locks.follow(&rect, frame * FRAME, (was_there, LOST), &mut ids));
            was_there = id.is_some();
            id
        };
        (0..).zip(boxes).map(follow).collect()
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

    fn first_and_last(boxes: Vec<Option<Rect>>) -> (u64, u64) {
        let ids: Vec<u64> = ids(boxes).into_iter().flatten().collect();
        (ids[0], ids[ids.len() - 1])
    }

    #[test]
    fn a_thing_that_hides_comes_back_as_itself_whatever_is_found_meanwhile() {
        assert_eq!(first_and_last(behind_a_wall(|_| None)), (1, 1));
        let far = |_| Some(boxed(300.0, 20.0));
        assert_eq!(first_and_last(behind_a_wall(far)), (1, 1), "another thing, all the while");
        let at_times = |frame: u32| (frame % 7 > 3).then(|| boxed(300.0, 60.0));
        assert_eq!(first_and_last(behind_a_wall(at_times)), (1, 1), "another thing, at times");
        let wall = |_| Some(Rect { x0: 205.0, y0: 140.0, x1: 435.0, y1: 340.0 });
        assert_eq!(first_and_last(behind_a_wall(wall)), (1, 1), "the wall");
        let anywhere = |frame: u32| {
            let (x, y) = (f64::from(frame * 7919 % 560), f64::from(frame * 104_729 % 280));
            (frame % 6 == 0).then(|| boxed(x, y))
        };
        assert_eq!(first_and_last(behind_a_wall(anywhere)), (1, 1), "this and that");
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

    /// However often another thing is answered, no more is kept of it than that.
    #[test]
    fn memory_is_bounded() {
        let (mut locks, mut ids) = (Locks::default(), Ids::default());
        for frame in 0..1000 {
            locks.follow(&boxed(1000.0 * f64::from(frame), 0.0), frame * FRAME, (true, Duration::MAX), &mut ids);
        }
        assert_eq!((ids.next(), locks.others.len()), (1001, MOST));
    }
}
