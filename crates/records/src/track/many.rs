//! All things that match: `ByteTrack` (Zhang et al., "`ByteTrack`: Multi-Object Tracking by Associating Every Detection
//! Box", ECCV 2022, algorithm 1). Boxes above the threshold are matched with all tracks by overlap; what is left of the tracks that
//! were seen a moment ago is matched with weaker boxes, down to the threshold less its hysteresis; strong boxes that are
//! left begin tracks. Tracks that are not seen keep their id for `lost`.

use std::time::Duration;

use blocks::findings::{Finding, Findings};
use blocks::preprocess::Rect;
use pathfinding::kuhn_munkres::kuhn_munkres;
use pathfinding::matrix::Matrix;

use super::motion::Motion;
use super::smooth::BoxFilter;
use super::{HOLD, Ids, Moment, Object, QueryResult, Smoothing, Tracking, carried};
use crate::QueryStatus;

/// Least overlap of a strong box with the track that it goes on with.
const STRONG_OVERLAP: f64 = 0.2;
/// Least overlap of a weak one.
const WEAK_OVERLAP: f64 = 0.5;
/// Least overlap with a track of a single box.
const YOUNG_OVERLAP: f64 = 0.3;
/// The threshold of a model that gives no scores: all its boxes are strong.
const UNSCORED: f32 = 0.5;

/// The memory of a query for all things that match.
pub(super) struct Many {
    settings: Tracking,
    tracks: Vec<One>,
    /// Of the last measured frame.
    time: Duration,
}

/// One track.
struct One {
    id: u64,
    motion: Motion,
    filter: BoxFilter,
    /// As shown last.
    rect: Rect,
    score: Option<f32>,
    /// When it was seen last.
    time: Duration,
    /// Boxes so far.
    boxes: u64,
}

impl One {
    fn object(&self, raw: Option<Rect>) -> Object {
        let (measured, cause) = (raw.is_some(), None);
        Object { id: self.id, rect: self.rect, raw, score: self.score, measured, cause }
    }

    fn update(&mut self, finding: &Finding, Moment { time, diagonal }: Moment, smoothing: Smoothing) {
        self.rect = match smoothing {
            Smoothing::Off => finding.rect,
            Smoothing::OneEuro => self.filter.next(finding.rect, time, diagonal),
        };
        self.motion.update(&finding.rect);
        self.score = finding.score;
        self.time = time;
        self.boxes += 1;
    }
}

impl Many {
    pub(super) fn new(settings: Tracking) -> Self {
        Self { settings, tracks: Vec::new(), time: Duration::ZERO }
    }

    pub(super) fn measured(&mut self, findings: &Findings, moment: Moment, ids: &mut Ids) -> QueryResult {
        let Moment { time, .. } = moment;
        let (gap, before) = (time.saturating_sub(self.time), self.time);
        self.time = time;
        let strong_from = self.settings.threshold.unwrap_or(UNSCORED);
        let weak_from = strong_from - self.settings.hysteresis;
        let score = |finding: &Finding| finding.score.unwrap_or(1.0);
        let of = |range: &dyn Fn(f32) -> bool| -> Vec<&Finding> {
            findings.found.iter().filter(|finding| range(score(finding))).collect()
        };
        let (strong, weak) =
            (of(&|score| score >= strong_from), of(&|score| score < strong_from && score >= weak_from));
        // What is still shown is still followed.
        let lost = self.settings.lost.max(self.settings.hold);
        self.tracks.retain(|track| time.saturating_sub(track.time) <= lost || track.time == before);
        for track in &mut self.tracks {
            if track.time < before {
                track.motion.stop_growing();
            }
            track.motion.predict(gap);
        }
        let mut seen: Vec<(usize, &Finding)> = Vec::new();
        let mut free: Vec<&Finding> = strong;
        // Established tracks first, lost ones among them.
        let established: Vec<usize> = (0..self.tracks.len()).filter(|&i| self.tracks[i].boxes > 1).collect();
        let rest = self.assign(&established, &mut free, STRONG_OVERLAP, true, &mut seen);
        let recent: Vec<usize> = rest.into_iter().filter(|&i| self.tracks[i].time == before).collect();
        let mut weak = weak;
        self.assign(&recent, &mut weak, WEAK_OVERLAP, false, &mut seen);
        let young: Vec<usize> = (0..self.tracks.len()).filter(|&i| self.tracks[i].boxes == 1).collect();
        let never: Vec<usize> = self.assign(&young, &mut free, YOUNG_OVERLAP, true, &mut seen);
        let smoothing = self.settings.smoothing;
        for (place, finding) in &seen {
            self.tracks[*place].update(finding, moment, smoothing);
        }
        for finding in free {
            let (id, motion) = (ids.next(), Motion::new(&finding.rect));
            let mut filter = BoxFilter::default();
            let rect = match smoothing {
                Smoothing::Off => finding.rect,
                Smoothing::OneEuro => filter.next(finding.rect, time, moment.diagonal),
            };
            seen.push((self.tracks.len(), finding));
            self.tracks.push(One { id, motion, filter, rect, score: finding.score, time, boxes: 1 });
        }
        seen.sort_by(|(_, a), (_, b)| score(b).total_cmp(&score(a)));
        let mut objects: Vec<Object> =
            seen.iter().map(|(place, finding)| self.tracks[*place].object(Some(finding.rect))).collect();
        let any = !objects.is_empty();
        objects.extend(self.held(time));
        // A single box that nothing followed was nothing.
        let ended: Vec<u64> = never.iter().map(|&place| self.tracks[place].id).collect();
        self.tracks.retain(|track| !ended.contains(&track.id));
        let presence = findings.presence.or_else(|| findings.best().and_then(|best| best.score));
        let status = if objects.is_empty() { QueryStatus::Absent } else { QueryStatus::Box };
        let measured = any || objects.is_empty();
        QueryResult { status, measured, presence, cause: (!measured).then_some(HOLD), objects }
    }

    /// Matches boxes with some of the tracks, as many as overlap enough, so that overlaps are largest in all. Takes those
    /// boxes out of `free`; returns the tracks that are left.
    fn assign<'a>(
        &self,
        places: &[usize],
        free: &mut Vec<&'a Finding>,
        least: f64,
        by_score: bool,
        seen: &mut Vec<(usize, &'a Finding)>,
    ) -> Vec<usize> {
        /// Weights are whole numbers.
        const UNIT: f64 = 1e6;
        let side = places.len().max(free.len());
        if places.is_empty() || free.is_empty() {
            return places.to_vec();
        }
        let weights = Matrix::from_fn(side, side, |(row, column)| {
            let (Some(&place), Some(finding)) = (places.get(row), free.get(column)) else { return 0 };
            let overlap = overlap(&self.tracks[place].motion.rect(), &finding.rect);
            let overlap = if by_score { overlap * f64::from(finding.score.unwrap_or(1.0)) } else { overlap };
            (overlap * UNIT) as i64
        });
        let (_, columns) = kuhn_munkres(&weights);
        let (mut rest, mut taken) = (Vec::new(), vec![false; free.len()]);
        for (&place, &column) in places.iter().zip(&columns) {
            let finding = free.get(column).copied();
            let near = finding.filter(|f| overlap(&self.tracks[place].motion.rect(), &f.rect) >= least);
            match near {
                Some(finding) => {
                    taken[column] = true;
                    seen.push((place, finding));
                }
                None => rest.push(place),
            }
        }
        let mut place = 0..;
        free.retain(|_| place.next().is_some_and(|place| !taken[place]));
        rest
    }

    /// Whether the box of a thing that was not found on the frame at `time` may stand in there.
    fn holds(&self, track: &One, time: Duration) -> bool {
        let (hold, gap) = (self.settings.hold, time.saturating_sub(track.time));
        !hold.is_zero() && !gap.is_zero() && gap <= hold && track.boxes > 1
    }

    /// Boxes of things that were not found on the frame at `time`, while they may stand in.
    fn held(&self, time: Duration) -> Vec<Object> {
        let held = self.tracks.iter().filter(|track| self.holds(track, time));
        held.map(|track| Object { cause: Some(HOLD), ..track.object(None) }).collect()
    }

    /// As for one thing: what the last measurement found stands, and what it missed no longer than it may.
    pub(super) fn skipped(&self, cause: &'static str, time: Duration) -> QueryResult {
        let stands = self.tracks.iter().filter(|track| track.time == self.time || self.holds(track, time));
        let mut objects: Vec<Object> = stands.map(|track| track.object(None)).collect();
        let score = |object: &Object| object.score.unwrap_or(1.0);
        objects.sort_by(|a, b| score(b).total_cmp(&score(a)));
        carried(objects, cause)
    }

    pub(super) fn failed(&self, cause: &'static str, time: Duration) -> QueryResult {
        carried(self.held(time), cause)
    }
}

/// Area that both have over area that either has, 0..1.
fn overlap(a: &Rect, b: &Rect) -> f64 {
    let width = (a.x1.min(b.x1) - a.x0.max(b.x0)).max(0.0);
    let height = (a.y1.min(b.y1) - a.y0.max(b.y0)).max(0.0);
    let both = width * height;
    let either = a.width() * a.height() + b.width() * b.height() - both;
    if either > 0.0 { both / either } else { 0.0 }
}
