//! Which is which: recorded boxes of generated films, with jitter, misses and false ones, through the tracks.

use std::time::Duration;

use blocks::findings::{Finding, Findings};
use blocks::preprocess::Rect;
use records::Query;
use records::track::{LOST, Outcome, StreamTracker, TrackedQuery, Tracking};

/// Films of each kind.
const FILMS: u64 = 25;
/// Frames of a film, 25 a second.
const FRAMES: u64 = 150;
/// Frames for which a thing is hidden.
const HIDDEN: u64 = 25;

/// Numbers from 0 to 1, the same for every run (the constants are those of PCG's multiplier and increment).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn around(&mut self, spread: f64) -> f64 {
        spread * (self.next() + self.next() + self.next() - 1.5)
    }
}

/// A thing that goes straight on.
struct Thing {
    at: (f64, f64),
    speed: (f64, f64),
    size: (f64, f64),
}

impl Thing {
    fn rect(&self, frame: u64) -> Rect {
        let (x, y) = (self.at.0 + self.speed.0 * frame as f64, self.at.1 + self.speed.1 * frame as f64);
        Rect { x0: x, y0: y, x1: x + self.size.0, y1: y + self.size.1 }
    }
}

fn finding(rect: Rect, score: f64) -> Finding {
    Finding { rect, on_canvas: [0.0; 4], score: Some(score as f32) }
}

/// As a detector gives it: trembling, one in twenty missed, weaker at times.
fn detected(rect: Rect, random: &mut Random) -> Option<Finding> {
    let (dx, dy) = (random.around(2.0), random.around(2.0));
    let found = Rect { x0: rect.x0 + dx, y0: rect.y0 + dy, x1: rect.x1 + dx + random.around(2.0), y1: rect.y1 + dy };
    let score = 0.55 + 0.4 * random.next() - if random.next() < 0.1 { 0.25 } else { 0.0 };
    (random.next() > 0.05).then(|| finding(found, score))
}

fn overlap(a: &Rect, b: &Rect) -> f64 {
    let both = (a.x1.min(b.x1) - a.x0.max(b.x0)).max(0.0) * (a.y1.min(b.y1) - a.y0.max(b.y0)).max(0.0);
    both / (a.width() * a.height() + b.width() * b.height() - both)
}

fn track() -> StreamTracker {
    let tracking = Tracking { hysteresis: 0.3, lost: LOST, all: true, ..Tracking::plain(Some(0.5)) };
    StreamTracker::new(vec![TrackedQuery { query: Query::of("a person"), tracking }])
}

/// The id at every frame of the thing that is at `truth` there, of the things that `see` detects.
fn follow(things: &[Thing], hidden: impl Fn(usize, u64) -> bool, seed: u64) -> Vec<Vec<Option<u64>>> {
    let (mut random, mut track) = (Random(seed), track());
    let mut ids = vec![Vec::new(); things.len()];
    for frame in 0..FRAMES {
        let seen = |random: &mut Random, (number, thing): (usize, &Thing)| {
            if hidden(number, frame) { None } else { detected(thing.rect(frame), random) }
        };
        let mut found: Vec<Finding> = things.iter().enumerate().filter_map(|thing| seen(&mut random, thing)).collect();
        if random.next() < 0.1 {
            let (x, y) = (900.0 * random.next(), 400.0 * random.next());
            found.push(finding(Rect { x0: x, y0: y, x1: x + 40.0, y1: y + 90.0 }, 0.3 + 0.4 * random.next()));
        }
        found.sort_by(|a, b| b.score.partial_cmp(&a.score).expect("numbers"));
        let outcome = Outcome::Measured(vec![Findings { presence: found.first().and_then(|best| best.score), found }]);
        let seen = track.update(&outcome, Duration::from_millis(40 * frame), 1100.0);
        for (number, (thing, ids)) in things.iter().zip(&mut ids).enumerate() {
            let rect = thing.rect(frame);
            let best = seen.queries[0]
                .objects
                .iter()
                .filter(|object| !hidden(number, frame) && overlap(&object.rect, &rect) > 0.5)
                .max_by(|a, b| overlap(&a.rect, &rect).total_cmp(&overlap(&b.rect, &rect)));
            ids.push(best.map(|object| object.id));
        }
    }
    ids
}

/// The id that a thing has most often in a stretch of frames.
fn usual(ids: &[Option<u64>]) -> Option<u64> {
    let mut known: Vec<u64> = ids.iter().flatten().copied().collect();
    known.sort_unstable();
    let counts = known.chunk_by(|a, b| a == b).map(|same| (same.len(), same[0]));
    counts.max().map(|(_, id)| id)
}

#[test]
fn two_alike_things_that_cross_keep_their_ids() {
    let kept = (0..FILMS).filter(|seed| {
        let mut random = Random(1000 + seed);
        let (speed, rise) = (4.0 + 4.0 * random.next(), random.around(30.0));
        let size = (40.0 + 20.0 * random.next(), 90.0 + 30.0 * random.next());
        let way = speed * FRAMES as f64;
        let left = Thing { at: (50.0, 200.0), speed: (speed, 0.0), size };
        let right = Thing { at: (50.0 + way, 200.0 + rise), speed: (-speed, 0.0), size };
        let ids = follow(&[left, right], |_, _| false, *seed);
        ids.iter().all(|ids| usual(&ids[..50]).is_some() && usual(&ids[..50]) == usual(&ids[100..]))
    });
    let kept = kept.count() as u64;
    assert!(kept * 10 >= FILMS * 9, "{kept} of {FILMS}");
}

#[test]
fn a_thing_that_is_hidden_for_a_second_keeps_its_id() {
    let kept = (0..FILMS).filter(|seed| {
        let mut random = Random(2000 + seed);
        let at = (50.0 + 100.0 * random.next(), 100.0 + 200.0 * random.next());
        let speed = (1.0 + 3.0 * random.next(), random.around(1.0));
        let thing = Thing { at, speed, size: (50.0, 110.0) };
        let other = Thing { at: (700.0, 50.0), speed: (random.around(1.0), 1.0), size: (45.0, 100.0) };
        let ids = follow(&[thing, other], |number, frame| number == 0 && (60..60 + HIDDEN).contains(&frame), *seed);
        let (before, after) = (usual(&ids[0][..60]), usual(&ids[0][60 + HIDDEN as usize..]));
        before.is_some() && before == after
    });
    let kept = kept.count() as u64;
    assert!(kept * 10 >= FILMS * 9, "{kept} of {FILMS}");
}
