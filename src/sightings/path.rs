//! Where a thing went, in few points.

use geo::{Coord, LineString, SimplifyIdx};
use records::PathPoint;

/// Points are so far apart, in shares of the picture.
const STEP: f64 = 0.01;
/// More points than this are thinned.
const MOST: usize = 64;
/// How far the thinned path may lie beside the whole one, in shares of the picture; doubles where that leaves too many.
const TOLERANCE: f64 = 0.005;

/// A path that grows.
#[derive(Debug, Clone, Default)]
pub(super) struct Path {
    kept: Vec<PathPoint>,
    /// The newest, where it is not kept.
    last: Option<PathPoint>,
}

impl Path {
    pub(super) fn push(&mut self, point: PathPoint) {
        let apart = |a: &PathPoint| (a.x - point.x).hypot(a.y - point.y);
        if self.kept.last().is_some_and(|kept| apart(kept) < STEP) {
            self.last = Some(point);
            return;
        }
        self.kept.push(point);
        self.last = None;
        let mut tolerance = TOLERANCE;
        while self.kept.len() > MOST {
            self.thin(tolerance);
            tolerance *= 2.0;
        }
    }

    /// The Ramer–Douglas–Peucker algorithm.
    fn thin(&mut self, tolerance: f64) {
        let line = LineString::new(self.kept.iter().map(|point| Coord { x: point.x, y: point.y }).collect());
        self.kept = line.simplify_idx(tolerance).into_iter().map(|place| self.kept[place]).collect();
    }

    /// Its points, the newest last.
    pub(super) fn points(&self) -> Vec<PathPoint> {
        self.kept.iter().chain(&self.last).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_way_has_few_points_and_keeps_its_ends_and_corners() {
        let mut path = Path::default();
        let at = |step: u32| {
            let way = f64::from(step) / 1000.0;
            // Right along the top, then down.
            let (x, y) = if way < 0.5 { (0.1 + 1.6 * way, 0.1) } else { (0.9, 0.1 + 1.6 * (way - 0.5)) };
            PathPoint { pts_ns: Some(u64::from(step)), x, y }
        };
        (0..=1000).for_each(|step| path.push(at(step)));
        let points = path.points();
        assert!((3..=MOST + 1).contains(&points.len()), "{}", points.len());
        assert_eq!((points[0], points[points.len() - 1]), (at(0), at(1000)));
        let nearest = |to: PathPoint| points.iter().map(|p| (p.x - to.x).hypot(p.y - to.y)).fold(1.0, f64::min);
        assert!(nearest(at(500)) < 2.0 * STEP, "{points:?}");
        assert!(points.is_sorted_by_key(|point| point.pts_ns));
    }

    #[test]
    fn what_stands_still_is_two_points_and_what_wanders_for_ever_is_not_many() {
        let mut path = Path::default();
        (0..100).for_each(|step| path.push(PathPoint { pts_ns: Some(step), x: 0.5, y: 0.5 }));
        assert_eq!(path.points().iter().map(|point| point.pts_ns).collect::<Vec<_>>(), [Some(0), Some(99)]);
        for step in 0..10_000_u32 {
            let angle = f64::from(step) * 0.7;
            path.push(PathPoint { pts_ns: None, x: 0.5 + 0.4 * angle.sin(), y: 0.5 + 0.4 * (1.3 * angle).cos() });
        }
        assert!(path.points().len() <= MOST + 1);
    }
}
