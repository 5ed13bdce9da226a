//! One-euro filter (Casiez, Roussel, Vogel, CHI 2012) on a box's centre and size.
//!
//! A low-pass filter whose cut-off rises with speed: jitter of a still box goes, lag of a moving one stays small. Lengths
//! are taken over the picture's diagonal, so that one setting serves every resolution.

use std::f64::consts::TAU;
use std::time::Duration;

use blocks::preprocess::Rect;

/// Cut-off of a box that stands still, Hz.
const CUTOFF: f64 = 1.2;
/// How much the cut-off rises per diagonal a second, Hz.
const RISE: f64 = 14.0;
/// Cut-off of the speed's own filter, Hz.
const SPEED_CUTOFF: f64 = 1.0;
/// A box that had no successor for so long starts anew.
const GAP: Duration = Duration::from_secs(1);

/// Filters of centre and size.
#[derive(Debug, Default)]
pub(super) struct BoxFilter {
    state: Option<(Duration, [Value; 4])>,
}

/// One filtered number: where it is, and how fast it moves in units a second.
#[derive(Debug, Clone, Copy, Default)]
struct Value {
    at: f64,
    speed: f64,
}

/// The weight of the newest sample in an exponential average with this cut-off.
fn weight(cutoff: f64, seconds: f64) -> f64 {
    let r = TAU * cutoff * seconds;
    r / (r + 1.0)
}

impl Value {
    fn next(self, sample: f64, seconds: f64) -> Self {
        let speed = (sample - self.at) / seconds;
        let speed = self.speed + weight(SPEED_CUTOFF, seconds) * (speed - self.speed);
        let at = self.at + weight(CUTOFF + RISE * speed.abs(), seconds) * (sample - self.at);
        Self { at, speed }
    }
}

impl BoxFilter {
    /// The smoothed box for a measured one at `time`. A jump to a place that the last box does not touch is no jitter:
    /// the filter starts anew there.
    pub(super) fn next(&mut self, raw: Rect, time: Duration, diagonal: f64) -> Rect {
        let samples = [f64::midpoint(raw.x0, raw.x1), f64::midpoint(raw.y0, raw.y1), raw.width(), raw.height()]
            .map(|v| v / diagonal);
        let usable = self.state.filter(|(then, values)| {
            let gap = time.saturating_sub(*then);
            !gap.is_zero() && gap < GAP && touch(&rect(values, diagonal), &raw)
        });
        let values = match usable {
            Some((then, mut values)) => {
                let seconds = time.saturating_sub(then).as_secs_f64();
                for (value, sample) in values.iter_mut().zip(samples) {
                    *value = value.next(sample, seconds);
                }
                values
            }
            None => samples.map(|at| Value { at, speed: 0.0 }),
        };
        self.state = Some((time, values));
        // A fresh start is the measurement itself, to the last bit.
        if usable.is_some() { rect(&values, diagonal) } else { raw }
    }
}

fn rect(values: &[Value; 4], diagonal: f64) -> Rect {
    let [cx, cy, w, h] = values.map(|v| v.at * diagonal);
    Rect { x0: cx - w / 2.0, y0: cy - h / 2.0, x1: cx + w / 2.0, y1: cy + h / 2.0 }
}

fn touch(a: &Rect, b: &Rect) -> bool {
    a.x0 < b.x1 && b.x0 < a.x1 && a.y0 < b.y1 && b.y0 < a.y1
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIAGONAL: f64 = 800.0;

    fn boxed(x: f64) -> Rect {
        Rect { x0: x, y0: 100.0, x1: x + 80.0, y1: 180.0 }
    }

    fn smoothed(places: impl Iterator<Item = f64>) -> Vec<f64> {
        let mut filter = BoxFilter::default();
        let frame = |k: usize| Duration::from_millis(40 * k as u64);
        places.enumerate().map(|(k, x)| filter.next(boxed(x), frame(k), DIAGONAL).x0).collect()
    }

    #[test]
    fn a_trembling_box_comes_to_rest() {
        let jitter = |k: usize| f64::from(u32::try_from(k * 7919 % 13).expect("small")) - 6.0;
        let out = smoothed((0..100).map(|k| 200.0 + jitter(k)));
        let step = |values: &[f64]| values.windows(2).map(|w| (w[1] - w[0]).abs()).sum::<f64>() / values.len() as f64;
        let raw: Vec<f64> = (0..100).map(|k| 200.0 + jitter(k)).collect();
        assert!(step(&out) < step(&raw) / 2.5, "{} of {}", step(&out), step(&raw));
        assert!(out[50..].iter().all(|x| (x - 200.0).abs() < 4.0));
    }

    #[test]
    fn a_moving_box_hardly_lags() {
        // A quarter of the picture a second.
        let speed = 0.25 * DIAGONAL / 25.0;
        let out = smoothed((0..50).map(|k| 100.0 + speed * f64::from(k)));
        let lag = 100.0 + speed * 49.0 - out[49];
        assert!(lag > 0.0 && lag < 2.0 * speed, "lags {lag}, moves {speed} a frame");
    }

    #[test]
    fn a_jump_is_taken_at_once() {
        let out = smoothed([100.0, 100.0, 400.0, 400.0].into_iter());
        assert!((out[2] - 400.0).abs() < 1e-9);
    }
}
