//! Whether things keep their ids over time: HOTA (Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object
//! Tracking", IJCV 2021), IDF1 (Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera
//! Tracking", 2016), and the id switches of CLEAR MOT (Bernardin and Stiefelhagen, 2008), each as `TrackEval` counts it.

use std::collections::{BTreeMap, HashMap};

use blocks::preprocess::Rect;
use pathfinding::kuhn_munkres::kuhn_munkres;
use pathfinding::matrix::Matrix;
use serde::{Deserialize, Serialize};

/// Overlaps that HOTA is the mean over: 0.05, 0.10 and so on, up to 0.95.
const STEPS: usize = 19;
/// From one of them to the next.
const STEP: f64 = 0.05;
/// Overlap from which on a box can be a thing's, for IDF1, MOTA and id switches.
const MATCH: f64 = 0.5;
/// What a pair of before is worth beside an overlap: more than any overlap.
const GOES_ON: f64 = 1000.0;
/// Weights of pairs are whole numbers; a thousand rows of [`GOES_ON`] are still far below the largest.
const UNIT: f64 = (1u64 << 40) as f64;

/// What is on one frame of a film, and what was claimed to be: ids and boxes in pixels. On one side no id is there twice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Things {
    /// By the labels.
    pub there: Vec<(u64, Rect)>,
    /// By the answer.
    pub claimed: Vec<(u64, Rect)>,
}

/// How well things are found and told apart over time. Shares are 0..1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct IdentityFigures {
    /// Higher order tracking accuracy: the root of detection times association accuracy, as a mean over overlaps from
    /// 0.05 to 0.95.
    pub hota: f64,
    /// Detection accuracy: pairs over all boxes of both sides, a pair counted once. A mean over the same overlaps.
    pub det_a: f64,
    /// Association accuracy: for a pair, the frames on which its two ids are one, over those on which either is; the mean
    /// over pairs, and over the same overlaps.
    pub ass_a: f64,
    /// F1 of boxes with the right id, where each thing is given the one id that fits it best; at an overlap of 0.5.
    pub idf1: f64,
    /// Multiple object tracking accuracy: true boxes that were found, less false boxes, less id switches, over true boxes;
    /// at an overlap of 0.5. Negative where there are many false ones.
    pub mota: f64,
    /// How often a thing has another id than when it was found last; at an overlap of 0.5.
    pub id_switches: usize,
}

impl IdentityFigures {
    /// Over films, each a list of frames in order, whose ids have nothing to do with each other. Counts are summed over films
    /// before they become shares. None where no film has a true box.
    pub fn of(films: &[Vec<&Things>]) -> Option<Self> {
        let mut all = Counts::default();
        for film in films {
            all.add(&Film::of(film));
        }
        (all.there > 0).then(|| all.figures())
    }
}

/// What is counted of films.
#[derive(Default)]
struct Counts {
    /// Boxes of either side.
    there: usize,
    claimed: usize,
    /// Pairs at each overlap of HOTA, and the sum of their association accuracies.
    pairs: [(usize, f64); STEPS],
    /// Boxes that keep the id that fits their thing best.
    kept: usize,
    /// Pairs and id switches of CLEAR MOT.
    found: usize,
    switches: usize,
}

impl Counts {
    fn add(&mut self, film: &Film) {
        self.there += film.there.iter().sum::<usize>();
        self.claimed += film.claimed.iter().sum::<usize>();
        for (sum, pairs) in self.pairs.iter_mut().zip(film.associated()) {
            *sum = (sum.0 + pairs.0, sum.1 + pairs.1);
        }
        self.kept += film.kept();
        let (found, switches) = film.followed();
        self.found += found;
        self.switches += switches;
    }

    fn figures(&self) -> IdentityFigures {
        let (there, claimed) = (self.there as f64, self.claimed as f64);
        let (mut hota, mut det_a, mut ass_a) = (0.0, 0.0, 0.0);
        for (pairs, association) in self.pairs {
            let pairs = pairs as f64;
            let detected = pairs / (there + claimed - pairs).max(1.0);
            let associated = association / pairs.max(1.0);
            det_a += detected / STEPS as f64;
            ass_a += associated / STEPS as f64;
            hota += (detected * associated).sqrt() / STEPS as f64;
        }
        let found = self.found as f64;
        IdentityFigures {
            hota,
            det_a,
            ass_a,
            idf1: 2.0 * self.kept as f64 / (there + claimed).max(1.0),
            mota: (found - (claimed - found) - self.switches as f64) / there.max(1.0),
            id_switches: self.switches,
        }
    }
}

/// A film, by places of ids.
struct Film {
    frames: Vec<Frame>,
    /// On how many frames each true id is, and each claimed one.
    there: Vec<usize>,
    claimed: Vec<usize>,
}

/// A frame: places of its ids, and the overlap of each true box with each claimed one.
struct Frame {
    there: Vec<usize>,
    claimed: Vec<usize>,
    overlaps: Vec<Vec<f64>>,
}

/// Places of ids, in the order in which they come, and on how many frames each is.
#[derive(Default)]
struct Places {
    by_id: HashMap<u64, usize>,
    frames: Vec<usize>,
}

impl Places {
    fn of(&mut self, boxes: &[(u64, Rect)]) -> Vec<usize> {
        let place = |(id, _): &(u64, Rect)| {
            let next = self.by_id.len();
            let place = *self.by_id.entry(*id).or_insert(next);
            self.frames.resize(self.by_id.len(), 0);
            self.frames[place] += 1;
            place
        };
        boxes.iter().map(place).collect()
    }
}

impl Frame {
    /// Boxes of both sides and their overlap, pair by pair.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize, f64)> + '_ {
        let rows = self.overlaps.iter().enumerate();
        rows.flat_map(|(row, overlaps)| overlaps.iter().enumerate().map(move |(column, o)| (row, column, *o)))
    }
}

impl Film {
    fn of(frames: &[&Things]) -> Self {
        let (mut there, mut claimed) = (Places::default(), Places::default());
        let frames = frames.iter().map(|things| {
            let row = |truth: &Rect| things.claimed.iter().map(|(_, claim)| truth.overlap(claim)).collect::<Vec<f64>>();
            Frame {
                overlaps: things.there.iter().map(|(_, truth)| row(truth)).collect(),
                there: there.of(&things.there),
                claimed: claimed.of(&things.claimed),
            }
        });
        let frames = frames.collect();
        Self { frames, there: there.frames, claimed: claimed.frames }
    }

    /// HOTA's pairs, by overlap, with the sum of their association accuracies.
    fn associated(&self) -> [(usize, f64); STEPS] {
        // How far two ids are one in all: a frame gives each pair the share that it has in the overlaps of its two boxes.
        let mut shared: BTreeMap<(usize, usize), f64> = BTreeMap::new();
        for frame in &self.frames {
            let rows: Vec<f64> = frame.overlaps.iter().map(|row| row.iter().sum::<f64>()).collect();
            let mut columns = vec![0.0; frame.claimed.len()];
            for (_, column, overlap) in frame.pairs() {
                columns[column] += overlap;
            }
            for (row, column, overlap) in frame.pairs() {
                let either = rows[row] + columns[column] - overlap;
                if either > f64::EPSILON {
                    *shared.entry((frame.there[row], frame.claimed[column])).or_default() += overlap / either;
                }
            }
        }
        let mut pairs: Vec<((usize, usize), f64)> = Vec::new();
        for frame in &self.frames {
            let ids = |row: usize, column: usize| (frame.there[row], frame.claimed[column]);
            let weight = |row: usize, column: usize| {
                let both = shared.get(&ids(row, column)).copied().unwrap_or(0.0);
                let alignment = both / (self.either(ids(row, column)) - both);
                (alignment * frame.overlaps[row][column] * UNIT) as i64
            };
            let chosen = assign(frame.there.len(), frame.claimed.len(), weight).into_iter();
            pairs.extend(chosen.map(|(row, column)| (ids(row, column), frame.overlaps[row][column])));
        }
        std::array::from_fn(|step| {
            let least = STEP + step as f64 * STEP - f64::EPSILON;
            let mut counts: BTreeMap<(usize, usize), usize> = BTreeMap::new();
            for (ids, _) in pairs.iter().filter(|(_, overlap)| *overlap >= least) {
                *counts.entry(*ids).or_default() += 1;
            }
            let associated = |(ids, count): (&(usize, usize), &usize)| {
                let both = *count as f64;
                both * both / (self.either(*ids) - both)
            };
            (counts.values().sum(), counts.iter().map(associated).sum())
        })
    }

    /// On how many frames two ids are, one and the other counted.
    fn either(&self, (there, claimed): (usize, usize)) -> f64 {
        (self.there[there] + self.claimed[claimed]) as f64
    }

    /// Boxes that have the id of their thing, where each thing is given one id, so that these are most.
    fn kept(&self) -> usize {
        let mut near: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for frame in &self.frames {
            for (row, column, _) in frame.pairs().filter(|(_, _, overlap)| *overlap >= MATCH) {
                *near.entry((frame.there[row], frame.claimed[column])).or_default() += 1;
            }
        }
        let count = |there: usize, claimed: usize| near.get(&(there, claimed)).copied().unwrap_or(0);
        let chosen = assign(self.there.len(), self.claimed.len(), |there, claimed| count(there, claimed) as i64);
        chosen.into_iter().map(|(there, claimed)| count(there, claimed)).sum()
    }

    /// Pairs and id switches of CLEAR MOT: pairs of the frame before go on where they can.
    fn followed(&self) -> (usize, usize) {
        let (mut found, mut switches) = (0, 0);
        // By thing: the id that it was found with last, ever, and on the frame before that had boxes on both sides.
        let mut last: Vec<Option<usize>> = vec![None; self.there.len()];
        let mut before = last.clone();
        for frame in self.frames.iter().filter(|frame| !frame.there.is_empty() && !frame.claimed.is_empty()) {
            let near = |row: usize, column: usize| {
                Some(frame.overlaps[row][column]).filter(|overlap| *overlap >= MATCH - f64::EPSILON)
            };
            let weight = |row: usize, column: usize| {
                let goes_on = before[frame.there[row]] == Some(frame.claimed[column]);
                let worth = |overlap: f64| ((overlap + if goes_on { GOES_ON } else { 0.0 }) * UNIT) as i64;
                near(row, column).map_or(0, worth)
            };
            let mut now = vec![None; self.there.len()];
            for (row, column) in assign(frame.there.len(), frame.claimed.len(), weight) {
                if near(row, column).is_some() {
                    let (thing, id) = (frame.there[row], frame.claimed[column]);
                    switches += usize::from(last[thing].is_some_and(|last| last != id));
                    (last[thing], now[thing]) = (Some(id), Some(id));
                    found += 1;
                }
            }
            before = now;
        }
        (found, switches)
    }
}

/// Rows and columns in pairs, as many as there are of the fewer, so that the sum of their weights, which are not negative, is
/// largest.
fn assign(rows: usize, columns: usize, weight: impl Fn(usize, usize) -> i64) -> Vec<(usize, usize)> {
    if rows == 0 || columns == 0 {
        return Vec::new();
    }
    // Every row of a matrix gets a column, so there may be no more of them.
    let is_tall = rows > columns;
    let (short, long) = if is_tall { (columns, rows) } else { (rows, columns) };
    let pair = |a: usize, b: usize| if is_tall { (b, a) } else { (a, b) };
    let weights = Matrix::from_fn(short, long, |(a, b)| {
        let (row, column) = pair(a, b);
        weight(row, column)
    });
    kuhn_munkres(&weights).1.into_iter().enumerate().map(|(a, b)| pair(a, b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A box of 20 x 10 pixels at the left, and one that is nowhere near it.
    const HERE: Rect = Rect { x0: 10.0, y0: 10.0, x1: 30.0, y1: 20.0 };
    const THERE: Rect = Rect { x0: 100.0, y0: 10.0, x1: 120.0, y1: 40.0 };
    /// The left half of the first.
    const HALF: Rect = Rect { x1: 20.0, ..HERE };

    fn frame(there: &[(u64, Rect)], claimed: &[(u64, Rect)]) -> Things {
        Things { there: there.to_vec(), claimed: claimed.to_vec() }
    }

    fn of(films: &[&[Things]]) -> Option<IdentityFigures> {
        let films: Vec<Vec<&Things>> = films.iter().map(|film| film.iter().collect()).collect();
        IdentityFigures::of(&films)
    }

    /// HOTA, `DetA`, `AssA`, IDF1, MOTA, and id switches.
    fn check(film: &[Things], expected: [f64; 5], id_switches: usize) {
        let found = of(&[film]).expect("true boxes");
        let IdentityFigures { hota, det_a, ass_a, idf1, mota, .. } = found;
        let near = |(a, b): (f64, f64)| (a - b).abs() < 1e-12;
        assert!([hota, det_a, ass_a, idf1, mota].into_iter().zip(expected).all(near), "{found:?} is not {expected:?}");
        assert_eq!(found.id_switches, id_switches, "{found:?}");
    }

    #[test]
    fn the_ends_of_the_scale() {
        let both = [(1, HERE), (2, THERE)];
        check(&[frame(&both, &[(7, THERE), (9, HERE)]), frame(&both, &[(9, HERE), (7, THERE)])], [1.0; 5], 0);
        check(&[frame(&both, &[]), frame(&[], &[])], [0.0; 5], 0);
        // Boxes beside all things: as many false as missed.
        check(&[frame(&[(1, HERE)], &[(1, THERE)])], [0.0, 0.0, 0.0, 0.0, -1.0], 0);
        assert_eq!(of(&[&[frame(&[], &[(1, HERE)])]]), None, "nothing is there");
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn a_box_of_half_the_size_counts_at_half_of_the_overlaps() {
        let film = [frame(&[(1, HERE)], &[(1, HALF)]), frame(&[(1, HERE)], &[(1, HALF)])];
        // Two pairs at the ten overlaps up to 0.5, and none above.
        let share = 10.0 / 19.0;
        check(&film, [share, share, share, 1.0, 1.0], 0);
    }

    #[test]
    fn a_thing_that_gets_another_id() {
        let (thing, before, after) = ([(1, HERE)], [(1, HALF)], [(2, HERE)]);
        let film = [&before, &before, &before, &after, &after].map(|claimed| frame(&thing, claimed));
        // Up to 0.5 all five boxes are pairs: 3 * 3/5 and 2 * 2/5 over five. Above there are two, of eight boxes.
        let (low, high) = (10.0 / 19.0, 9.0 / 19.0);
        let (ass_low, ass_high) = (13.0 / 25.0, 2.0 / 5.0);
        let hota = low * f64::sqrt(ass_low) + high * f64::sqrt(0.25 * ass_high);
        // The first id is worth three boxes of five on either side; five are found, and there is a switch.
        check(&film, [hota, low + 0.25 * high, low * ass_low + high * ass_high, 0.6, 0.8], 1);
    }

    #[test]
    fn things_that_swap_their_ids() {
        let things = [(1, HERE), (2, THERE)];
        let film = [[1, 2], [1, 2], [2, 1], [2, 1]].map(|[a, b]| frame(&things, &[(a, HERE), (b, THERE)]));
        // Each of four pairs of ids is one on two of the six frames on which either is.
        check(&film, [f64::sqrt(1.0 / 3.0), 1.0, 1.0 / 3.0, 0.5, 0.75], 2);
    }

    #[test]
    fn a_pair_goes_on_while_it_can() {
        let thing = [(1, HERE)];
        let aside = Rect { x0: 14.0, x1: 34.0, ..HERE };
        let found = |film: &[Things]| {
            let found = of(&[film]).expect("true boxes");
            (found.id_switches, found.mota)
        };
        // A new id fits better on the second frame; the old one, at 2/3, still fits, and the new one is false.
        let start = [frame(&thing, &[(1, HERE)]), frame(&thing, &[(2, HERE), (1, aside)])];
        let near = |(switches, mota): (usize, f64), expected: (usize, f64)| {
            assert!(switches == expected.0 && (mota - expected.1).abs() < 1e-12, "{switches}, {mota}, {expected:?}");
        };
        near(found(&start), (0, 0.5));
        // Frames without a box do not end it, and a thing that comes back with another id has switched.
        let gone = [frame(&thing, &[]), frame(&[], &[(3, THERE)])];
        let back = |id: u64| [frame(&thing, &[(id, HERE)])];
        near(found(&[&start[..], &gone, &back(1)].concat()), (0, 0.25));
        near(found(&[&start[..], &gone, &back(2)].concat()), (1, 0.0));
    }

    #[test]
    fn films_are_summed_and_their_ids_are_their_own() {
        let found =
            of(&[&[frame(&[(1, HERE)], &[(1, HERE)])], &[frame(&[(1, HERE)], &[(2, HERE)]), frame(&[], &[(2, HERE)])]]);
        let found = found.expect("true boxes");
        // Two pairs of three boxes: one of a single frame, one whose id is on two.
        let (det_a, ass_a) = (2.0 / 3.0, 0.75);
        let expected = [f64::sqrt(det_a * ass_a), det_a, ass_a, 4.0 / 5.0, 0.5];
        let figures = [found.hota, found.det_a, found.ass_a, found.idf1, found.mota];
        assert!(figures.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?} is not {expected:?}");
        assert_eq!(found.id_switches, 0);
    }
}
