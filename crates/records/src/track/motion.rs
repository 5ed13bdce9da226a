//! Where a thing will be: a Kalman filter of constant velocity over centre, aspect and height of its box, with the noise of
//! `SORT` and `ByteTrack` (Zhang et al., ECCV 2022, section 3): a twentieth of the height in place, a hundred-and-sixtieth in
//! speed a frame. A frame is taken to last [`FRAME`]; longer steps add as much noise as their frames would.

use std::time::Duration;

use blocks::preprocess::Rect;

/// What a step of the filter stands for, seconds.
const FRAME: f64 = 0.04;
/// Noise of a place, over the height.
const OF_PLACE: f64 = 1.0 / 20.0;
/// Noise of a speed, over the height, a frame.
const OF_SPEED: f64 = 1.0 / 160.0;
/// Noise of the aspect, and of its speed.
const OF_ASPECT: (f64, f64) = (1e-2, 1e-5);
/// How far what is measured may be from its aspect.
const MEASURED_ASPECT: f64 = 1e-1;
/// How far a thing may be from where it was foreseen, in its own diagonals.
const REACH: f64 = 1.0;
/// How much more a second that it was not seen, in its own diagonals.
const REACH_PER_SECOND: f64 = 2.0;
/// How many times larger or smaller it may have become.
const GROWTH: f64 = 3.0;
/// Share of a side below which something is in front of it.
const COVERED: f64 = 0.85;

/// One number with its speed a frame: mean, and covariance `[pp, pv, vv]`.
#[derive(Debug, Clone, Copy)]
struct Number {
    at: f64,
    speed: f64,
    covariance: [f64; 3],
}

impl Number {
    fn new(at: f64, place: f64, speed: f64) -> Self {
        Self { at, speed: 0.0, covariance: [place * place, 0.0, speed * speed] }
    }

    /// After `frames`, with the noise of one frame in place and speed.
    fn predict(&mut self, frames: f64, place: f64, speed: f64) {
        let [pp, pv, vv] = self.covariance;
        self.at += self.speed * frames;
        self.covariance = [
            pp + 2.0 * frames * pv + frames * frames * vv + frames * place * place,
            pv + frames * vv,
            vv + frames * speed * speed,
        ];
    }

    fn update(&mut self, measured: f64, noise: f64) {
        let [pp, pv, vv] = self.covariance;
        let whole = pp + noise * noise;
        let (gain, of_speed) = (pp / whole, pv / whole);
        let off = measured - self.at;
        self.at += gain * off;
        self.speed += of_speed * off;
        self.covariance = [(1.0 - gain) * pp, (1.0 - gain) * pv, vv - of_speed * pv];
    }
}

/// The motion of one box.
#[derive(Debug, Clone, Copy)]
pub(super) struct Motion {
    /// Centre, aspect (width over height), height.
    state: [Number; 4],
}

fn measured(rect: &Rect) -> [f64; 4] {
    let height = rect.height().max(1.0);
    [f64::midpoint(rect.x0, rect.x1), f64::midpoint(rect.y0, rect.y1), rect.width().max(1.0) / height, height]
}

fn frames(time: Duration) -> f64 {
    (time.as_secs_f64() / FRAME).max(1e-3)
}

impl Motion {
    pub(super) fn new(rect: &Rect) -> Self {
        let [x, y, aspect, height] = measured(rect);
        let of = |at| Number::new(at, 2.0 * OF_PLACE * height, 10.0 * OF_SPEED * height);
        Self { state: [of(x), of(y), Number::new(aspect, OF_ASPECT.0, OF_ASPECT.1), of(height)] }
    }

    fn height(&self) -> f64 {
        self.state[3].at.max(1.0)
    }

    pub(super) fn predict(&mut self, time: Duration) {
        let (frames, height) = (frames(time), self.height());
        for (k, number) in self.state.iter_mut().enumerate() {
            match k {
                2 => number.predict(frames, OF_ASPECT.0, OF_ASPECT.1),
                _ => number.predict(frames, OF_PLACE * height, OF_SPEED * height),
            }
        }
    }

    pub(super) fn update(&mut self, rect: &Rect) {
        self.take(measured(rect));
    }

    /// The same where something may be in front of a part of the thing.
    pub(super) fn update_covered(&mut self, rect: &Rect) {
        let ([x, y, ..], [_, _, aspect, height]) = (measured(&self.uncovered(rect)), measured(rect));
        self.take([x, y, aspect, height]);
    }

    fn take(&mut self, measured: [f64; 4]) {
        let height = self.height();
        for (k, (number, value)) in self.state.iter_mut().zip(measured).enumerate() {
            number.update(value, if k == 2 { MEASURED_ASPECT } else { OF_PLACE * height });
        }
    }

    /// Where the box is by now.
    pub(super) fn rect(&self) -> Rect {
        let [x, y, aspect, _] = self.state.map(|number| number.at);
        let height = self.height();
        let width = (aspect * height).max(1.0);
        Rect { x0: x - width / 2.0, y0: y - height / 2.0, x1: x + width / 2.0, y1: y + height / 2.0 }
    }

    /// A lost thing is taken to keep its height.
    pub(super) fn stop_growing(&mut self) {
        self.state[3].speed = 0.0;
    }

    /// How far `rect` lies from where the thing is foreseen after `gap`: the distance of their middles in their diagonals, and the
    /// logarithm of how many times larger or smaller it is. `None` where the thing cannot be there.
    pub(super) fn deviation(&self, rect: &Rect, gap: Duration) -> Option<f64> {
        let mut later = *self;
        // What goes behind something seems to shrink, and would be nothing after a second.
        later.stop_growing();
        later.predict(gap);
        let there = later.rect();
        let diagonal = |rect: &Rect| rect.width().hypot(rect.height()).max(1.0);
        let (own, other) = (diagonal(&there), diagonal(rect));
        let middle = |rect: &Rect| (f64::midpoint(rect.x0, rect.x1), f64::midpoint(rect.y0, rect.y1));
        let ((ax, ay), (bx, by)) = (middle(&there), middle(rect));
        let distance = (ax - bx).hypot(ay - by) / f64::midpoint(own, other);
        let growth = (own / other).max(other / own);
        let is_possible = distance <= REACH + REACH_PER_SECOND * gap.as_secs_f64() && growth <= GROWTH;
        is_possible.then(|| distance + growth.ln())
    }

    /// `rect` as it would be if nothing were in front of the thing. Where a side is much shorter than foreseen, something covers one of
    /// its ends: that one stands still while the thing goes on, and the middle goes at half its speed. The end that is nearer to
    /// where it was foreseen is believed.
    fn uncovered(&self, rect: &Rect) -> Rect {
        let whole = self.rect();
        let side = |(from, to): (f64, f64), (wanted_from, wanted_to): (f64, f64)| {
            let length = wanted_to - wanted_from;
            if to - from >= COVERED * length {
                (from, to)
            } else if (from - wanted_from).abs() <= (to - wanted_to).abs() {
                (from, from + length)
            } else {
                (to - length, to)
            }
        };
        let (x0, x1) = side((rect.x0, rect.x1), (whole.x0, whole.x1));
        let (y0, y1) = side((rect.y0, rect.y1), (whole.y0, whole.y1));
        Rect { x0, y0, x1, y1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f64) -> Rect {
        Rect { x0: x, y0: 100.0, x1: x + 40.0, y1: 180.0 }
    }

    #[test]
    fn speed_is_learned_and_carries_through_a_gap() {
        let frame = Duration::from_millis(40);
        let mut motion = Motion::new(&at(0.0));
        for step in 1..40 {
            motion.predict(frame);
            motion.update(&at(5.0 * f64::from(step)));
        }
        motion.predict(10 * frame);
        let foreseen = motion.rect();
        assert!((foreseen.x0 - (195.0 + 50.0)).abs() < 5.0, "{foreseen:?}");
        assert!((foreseen.height() - 80.0).abs() < 2.0 && (foreseen.width() - 40.0).abs() < 2.0, "{foreseen:?}");
    }

    /// Its front end stands still at the edge of what covers it.
    #[test]
    fn what_goes_behind_something_keeps_its_speed() {
        let frame = Duration::from_millis(40);
        let mut motions = [Motion::new(&at(0.0)); 2];
        let [plain, covered] = &mut motions;
        for step in 1..37 {
            let seen = at(5.0 * f64::from(step));
            let seen = Rect { x1: seen.x1.min(190.0), ..seen };
            for motion in [&mut *plain, &mut *covered] {
                motion.predict(frame);
            }
            plain.update(&seen);
            covered.update_covered(&seen);
        }
        let [plain, covered] = motions.map(|motion| motion.state[0].speed);
        assert!((covered - 5.0).abs() < 0.75 && plain < 4.0, "{covered} and {plain} of 5 pixels a frame");
        // What is smaller for good is followed all the same.
        let mut turned = Motion::new(&at(0.0));
        for _ in 0..100 {
            turned.predict(frame);
            turned.update_covered(&Rect { x0: 10.0, x1: 30.0, ..at(0.0) });
        }
        let rect = turned.rect();
        assert!((rect.x0 - 10.0).abs() < 1.0 && (rect.x1 - 30.0).abs() < 1.0, "{rect:?}");
    }

    #[test]
    fn a_far_jump_is_another_thing() {
        let motion = Motion::new(&at(0.0));
        let frame = Duration::from_millis(40);
        assert!(motion.deviation(&at(50.0), frame).is_some());
        assert_eq!(motion.deviation(&at(400.0), frame), None);
        assert!(motion.deviation(&at(250.0), Duration::from_secs(1)).is_some(), "what was away may have gone far");
        let mut hiding = Motion::new(&at(0.0));
        for step in 1..10 {
            hiding.predict(frame);
            hiding.update(&Rect { x1: 40.0 - 4.0 * f64::from(step), y1: 180.0 - 5.0 * f64::from(step), ..at(0.0) });
        }
        let after = hiding.deviation(&at(100.0), Duration::from_secs(1));
        assert!(after.is_some(), "what went behind something comes out whole");
        let huge = Rect { x0: 0.0, y0: 0.0, x1: 400.0, y1: 300.0 };
        assert_eq!(motion.deviation(&huge, frame), None, "nothing grows that fast");
    }
}
