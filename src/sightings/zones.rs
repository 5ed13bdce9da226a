//! Zones and lines: where a thing is on each frame, and when it came in, left, or crossed.
//!
//! A thing is one point of its box. What it does counts once it was so for `confirm` frames in a row on which it was
//! seen, and then from the first of them on.

use std::time::Duration;

use blocks::preprocess::Rect;
use geo::{Area, Coord, GeoNum, Intersects, Kernel, LineString, Orientation, Polygon, Validation};
use records::Side;
use serde::{Deserialize, Serialize};

use super::moment::Moment;

/// Which point of a box counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Anchor {
    /// The middle of its lower edge: where things stand.
    #[default]
    Bottom,
    /// Its middle.
    Centre,
    /// The middle of its upper edge.
    Top,
}

impl Anchor {
    /// The point of `rect` in shares of its picture, which is `width` x `height` pixels.
    pub fn of(self, rect: &Rect, (width, height): (f64, f64)) -> Coord<f64> {
        let (x, middle) = rect.centre();
        let y = match self {
            Self::Bottom => rect.y1,
            Self::Centre => middle,
            Self::Top => rect.y0,
        };
        Coord { x: x / width, y: y / height }
    }
}

/// Smaller zones are none, in shares of the picture: less than a pixel of a large one.
const LEAST_AREA: f64 = 1e-7;
/// Frames that confirm, where nothing else is said.
pub const FRAMES: u32 = 3;

/// An area of the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    /// How events and queries call it.
    pub name: String,
    /// Which point of a box must be in it.
    pub anchor: Anchor,
    /// Frames that confirm, from 1.
    pub confirm: u32,
    polygon: Polygon<f64>,
}

/// A line from one point of the picture to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// How events call it.
    pub name: String,
    /// Which point of a box must cross it.
    pub anchor: Anchor,
    /// Frames that confirm, from 1.
    pub confirm: u32,
    ends: geo::Line<f64>,
}

fn checked(points: &[[f64; 2]]) -> Result<Vec<Coord<f64>>, String> {
    let is_inside = |value: &f64| (0.0..=1.0).contains(value);
    match points.iter().find(|point| !point.iter().all(is_inside)) {
        Some([x, y]) => Err(format!("the point [{x}, {y}] is outside the picture, expected shares of it from 0 to 1")),
        None => Ok(points.iter().map(|[x, y]| Coord { x: *x, y: *y }).collect()),
    }
}

impl Zone {
    /// A polygon with corners at `points`, in shares of the picture; the last one is joined to the first.
    ///
    /// # Errors
    /// In words: a corner is outside the picture, there are fewer than three, or its edges cross or touch.
    pub fn new(name: &str, points: &[[f64; 2]], anchor: Anchor, confirm: u32) -> Result<Self, String> {
        let mut corners = checked(points)?;
        corners.dedup();
        if corners.len() > 1 && corners.first() == corners.last() {
            corners.pop();
        }
        if corners.len() < 3 {
            return Err(format!("has {} corners, expected at least 3", corners.len()));
        }
        let polygon = Polygon::new(LineString::new(corners), Vec::new());
        if !polygon.is_valid() {
            return Err("crosses or touches itself, expected corners in their order around an area".into());
        }
        if polygon.unsigned_area() < LEAST_AREA {
            return Err("has no area, expected corners that are not all on one line".into());
        }
        Ok(Self { name: name.to_owned(), anchor, confirm, polygon })
    }

    /// Its corners, in shares of the picture.
    pub fn corners(&self) -> impl Iterator<Item = (f64, f64)> {
        let ring = &self.polygon.exterior().0;
        // The first one stands at the end again.
        ring[..ring.len() - 1].iter().map(|corner| (corner.x, corner.y))
    }

    /// Whether a point is in it or on its edge.
    pub fn contains(&self, point: Coord<f64>) -> bool {
        self.polygon.intersects(&point)
    }
}

impl Line {
    /// From the first of two `points` to the second, in shares of the picture.
    ///
    /// # Errors
    /// In words: a point is outside the picture, there are not two, or both are one.
    pub fn new(name: &str, points: &[[f64; 2]], anchor: Anchor, confirm: u32) -> Result<Self, String> {
        match checked(points)?[..] {
            [from, to] if from != to => {
                Ok(Self { name: name.to_owned(), anchor, confirm, ends: geo::Line::new(from, to) })
            }
            [_, _] => Err("begins where it ends, expected two different points".into()),
            _ => Err(format!("has {} points, expected 2", points.len())),
        }
    }

    /// Its ends, in shares of the picture.
    pub fn ends(&self) -> [(f64, f64); 2] {
        [self.ends.start, self.ends.end].map(|end| (end.x, end.y))
    }

    /// On which side a point is; none on the line or on what it leads on to.
    pub fn side(&self, point: Coord<f64>) -> Option<Side> {
        // The picture's y goes down: what turns to the left on paper turns to the right here.
        match <f64 as GeoNum>::Ker::orient2d(self.ends.start, self.ends.end, point) {
            Orientation::CounterClockwise => Some(Side::Right),
            Orientation::Clockwise => Some(Side::Left),
            Orientation::Collinear => None,
        }
    }
}

/// What something did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Move {
    /// It is in a zone, counted from 0, since `at`.
    Enter {
        /// Which.
        zone: usize,
        /// The first frame.
        at: Moment,
    },
    /// It is in a zone no more.
    Leave {
        /// Which.
        zone: usize,
        /// The first frame without it.
        at: Moment,
        /// How long it was in.
        dwell: Duration,
    },
    /// It crossed a line, counted from 0.
    Cross {
        /// Which.
        line: usize,
        /// The first frame on the other side.
        at: Moment,
        /// Which side that is.
        to: Side,
    },
}

/// Where one thing is, in all zones and beside all lines.
#[derive(Debug, Clone)]
pub(super) struct Visits {
    zones: Vec<ZoneVisit>,
    lines: Vec<LineVisit>,
}

#[derive(Debug, Clone)]
struct ZoneVisit {
    /// The first frame of it, while it is in.
    since: Option<Moment>,
    other: Streak<Moment>,
}

#[derive(Debug, Clone)]
struct LineVisit {
    /// Where it is, and the last point on that side.
    side: Option<(Side, Coord<f64>)>,
    other: Streak<(Moment, Coord<f64>)>,
}

/// Frames in a row that say otherwise than before.
#[derive(Debug, Clone)]
struct Streak<T> {
    first: Option<T>,
    length: u32,
}

impl<T: Copy> Streak<T> {
    const NONE: Self = Self { first: None, length: 0 };

    /// One more; gives the first of them once there are `enough`.
    fn next(&mut self, frame: T, enough: u32) -> Option<T> {
        let first = *self.first.get_or_insert(frame);
        self.length += 1;
        if self.length < enough {
            return None;
        }
        *self = Self::NONE;
        Some(first)
    }
}

impl Visits {
    /// Of a thing that was nowhere yet.
    pub(super) fn new(zones: &[Zone], lines: &[Line]) -> Self {
        Self {
            zones: zones.iter().map(|_| ZoneVisit { since: None, other: Streak::NONE }).collect(),
            lines: lines.iter().map(|_| LineVisit { side: None, other: Streak::NONE }).collect(),
        }
    }

    /// It is at `rect` now, in pixels. The zones and lines are always the same.
    pub(super) fn see(&mut self, (zones, lines): (&[Zone], &[Line]), at: Moment, rect: &Rect) -> Vec<Move> {
        let size = at.size;
        let mut moves = Vec::new();
        for (number, (visit, zone)) in self.zones.iter_mut().zip(zones).enumerate() {
            if zone.contains(zone.anchor.of(rect, size)) == visit.since.is_some() {
                visit.other = Streak::NONE;
                continue;
            }
            let Some(first) = visit.other.next(at, zone.confirm) else { continue };
            moves.push(if let Some(since) = visit.since.take() {
                Move::Leave { zone: number, at: first, dwell: first.elapsed.saturating_sub(since.elapsed) }
            } else {
                visit.since = Some(first);
                Move::Enter { zone: number, at: first }
            });
        }
        for (number, (visit, line)) in self.lines.iter_mut().zip(lines).enumerate() {
            let point = line.anchor.of(rect, size);
            let Some(side) = line.side(point) else { continue };
            let Some((before, from)) = visit.side else {
                visit.side = Some((side, point));
                continue;
            };
            if side == before {
                visit.side = Some((side, point));
                visit.other = Streak::NONE;
                continue;
            }
            let Some((first, there)) = visit.other.next((at, point), line.confirm) else { continue };
            visit.side = Some((side, point));
            // Who goes around an end of the line changes sides too.
            if line.ends.intersects(&geo::Line::new(from, there)) {
                moves.push(Move::Cross { line: number, at: first, to: side });
            }
        }
        moves
    }

    /// It is there no more; `last` was its last frame. It leaves where it is in.
    pub(super) fn end(&mut self, last: Moment) -> Vec<Move> {
        let zones = self.zones.iter_mut().enumerate();
        let leave = |(zone, visit): (usize, &mut ZoneVisit)| {
            let dwell = last.elapsed.saturating_sub(visit.since.take()?.elapsed);
            Some(Move::Leave { zone, at: last, dwell })
        };
        zones.filter_map(leave).collect()
    }
}

#[cfg(test)]
mod tests;
