use std::collections::BTreeMap;

use blocks::findings::{Finding, Findings};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use records::track::{LOST, Outcome, Smoothing, StreamTracker, TrackedQuery, Tracking};
use records::{FrameRef, Query};

use super::*;

/// Frames a second.
const RATE: u64 = 10;
const SECOND: Duration = Duration::from_secs(1);

fn at(frame: u64) -> Moment {
    let elapsed = Duration::from_millis(1000 / RATE * frame);
    let at = FrameRef { seq: frame, pts_ns: Some(elapsed.as_nanos() as u64), unix_ns: 0 };
    Moment { elapsed, at, frame_index: Some(frame), size: (640.0, 360.0) }
}

fn square(x: f64, y: f64) -> Rect {
    Rect { x0: x, y0: y, x1: x + 60.0, y1: y + 60.0 }
}

fn claim(presence: f32, objects: &[(u64, f64)]) -> QueryResult {
    let object = |&(id, x): &(u64, f64)| {
        let rect = square(x, 100.0);
        Object { id, rect, raw: Some(rect), score: Some(presence), measured: true, cause: None }
    };
    let objects: Vec<Object> = objects.iter().map(object).collect();
    QueryResult { measured: true, presence: Some(presence), objects, ..QueryResult::default() }
}

fn rules(confirm: Confirm, forget: Duration) -> Rules {
    Rules { confirm, forget, threshold: 0.5, all: false }
}

/// What became of things: the frame on which it was known, and what; starts with their first frame, stays left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Start { at: u64, key: u64, first: u64 },
    End { at: u64, key: u64 },
}

fn known(frame: u64, steps: &[Step]) -> Vec<Known> {
    let told = |step: &Step| match step {
        Step::Start { key, seen } => Some(Known::Start { at: frame, key: *key, first: seen[0].moment.at.seq }),
        Step::End { key } => Some(Known::End { at: frame, key: *key }),
        Step::Stay { seen, .. } => {
            assert!(!seen.is_empty());
            None
        }
    };
    steps.iter().filter_map(told).collect()
}

/// Frames on which a thing stands at the same place (`true`) or is away; whoever is there at the end is ended a frame later.
fn watch(rules: Rules, there: impl IntoIterator<Item = bool>) -> Vec<Known> {
    let (mut stays, mut all, mut end) = (Stays::new(rules), Vec::new(), 0);
    for (frame, there) in (0..).zip(there) {
        let claim = if there { claim(0.9, &[(1, 100.0)]) } else { claim(0.1, &[]) };
        all.extend(known(frame, &stays.measured(at(frame), &claim)));
        end = frame + 1;
    }
    all.extend(known(end, &stays.end()));
    all
}

fn frames(parts: &[(bool, usize)]) -> Vec<bool> {
    parts.iter().flat_map(|(there, count)| std::iter::repeat_n(*there, *count)).collect()
}

#[test]
fn it_starts_when_presence_has_held_and_with_the_first_of_those_frames() {
    for confirm in [Confirm::Frames(11), Confirm::Time(SECOND)] {
        let found = watch(rules(confirm, SECOND), frames(&[(false, 5), (true, 30), (false, 30)]));
        // Frames 5 to 34; eleven frames, or a second, are over with frame 15. A second after frame 34 it is forgotten.
        assert_eq!(found, [Known::Start { at: 15, key: 1, first: 5 }, Known::End { at: 45, key: 1 }], "{confirm:?}");
        // Of eleven frames, six are needed for a mean of a half: (6 x 0.9 + 5 x 0.1) / 11 = 0.54.
        assert_eq!(watch(rules(confirm, SECOND), frames(&[(false, 5), (true, 5), (false, 30)])), [], "{confirm:?}");
        assert_eq!(
            watch(rules(confirm, SECOND), frames(&[(false, 5), (true, 6), (false, 30)])).len(),
            2,
            "{confirm:?}"
        );
    }
    let at_once = watch(rules(Confirm::Frames(1), SECOND), frames(&[(false, 5), (true, 1), (false, 30)]));
    assert_eq!(at_once, [Known::Start { at: 5, key: 1, first: 5 }, Known::End { at: 16, key: 1 }]);
    assert_eq!(watch(rules(Confirm::Time(Duration::ZERO), SECOND), frames(&[(true, 1)])).len(), 2);
}

#[test]
fn it_lasts_over_gaps_and_no_longer() {
    let rules = rules(Confirm::Time(SECOND), 3 * SECOND);
    for gap in [1, 10, 29] {
        // From the last frame before a gap to the first behind it is one frame more than the gap has.
        let found = watch(rules, frames(&[(true, 20), (false, gap), (true, 20), (false, 60)]));
        assert_eq!(found.len(), 2, "a gap of {gap} frames: {found:?}");
        assert_eq!(found[0], Known::Start { at: 10, key: 1, first: 0 });
    }
    for gap in [30, 31, 45, 100] {
        let found = watch(rules, frames(&[(true, 20), (false, gap), (true, 20), (false, 60)]));
        let back = 20 + gap as u64;
        let starts: Vec<u64> = found
            .iter()
            .filter_map(|known| match known {
                Known::Start { first, .. } => Some(*first),
                Known::End { .. } => None,
            })
            .collect();
        assert_eq!((starts, found.len()), (vec![0, back], 4), "a gap of {gap} frames: {found:?}");
    }
    // What comes back in time and does not stay, prolongs nothing.
    let found = watch(rules, frames(&[(true, 20), (false, 20), (true, 3), (false, 100)]));
    let Known::End { at: ended, .. } = found[1] else { panic!("{found:?}") };
    assert!((50..=54).contains(&ended), "as soon as it cannot be confirmed any more: {ended}");
}

#[test]
fn a_source_that_says_nothing_for_long_ends_it() {
    let mut stays = Stays::new(rules(Confirm::Time(SECOND), 5 * SECOND));
    for frame in 0..20 {
        stays.measured(at(frame), &claim(0.9, &[(1, 100.0)]));
    }
    let seconds = |seconds: u64| Duration::from_secs(seconds);
    assert_eq!((stays.passed(seconds(2)), stays.passed(seconds(6))), (vec![], vec![]), "not yet");
    assert_eq!(stays.passed(seconds(7)), [Step::End { key: 1 }]);
    assert_eq!(stays.passed(seconds(700)), [], "once");
    // The next frame comes after ten minutes: nobody asked in between.
    for frame in 8000..8020 {
        stays.measured(at(frame), &claim(0.9, &[(1, 100.0)]));
    }
    let steps = stays.measured(at(20_000), &claim(0.9, &[(1, 100.0)]));
    assert_eq!(steps, [Step::End { key: 2 }], "two frames an age apart hold nothing");
}

#[test]
fn ids_may_change_where_things_do_not() {
    let rules = rules(Confirm::Frames(5), 5 * SECOND);
    let mut stays = Stays::new(rules);
    // The tracker gives another id after a gap, and after every box that jumped.
    let mut steps = Vec::new();
    for frame in 0..60 {
        let id = if frame < 20 { 1 } else { 2 + frame / 10 };
        let there = !(20..40).contains(&frame);
        let claim = if there { claim(0.9, &[(id, 100.0 + frame as f64)]) } else { claim(0.1, &[]) };
        steps.extend(stays.measured(at(frame), &claim));
    }
    assert_eq!(known(0, &steps), [Known::Start { at: 0, key: 1, first: 0 }]);
    let ids: Vec<u64> = steps
        .iter()
        .flat_map(|step| match step {
            Step::Start { seen, .. } | Step::Stay { seen, .. } => seen.as_slice(),
            Step::End { .. } => &[],
        })
        .map(|seen| seen.object)
        .collect();
    assert_eq!((ids[0], ids[ids.len() - 1], ids.len()), (1, 7, 40), "each frame once: {ids:?}");
    // Far away and with another id it is another thing.
    for frame in 60..70 {
        steps.extend(stays.measured(at(frame), &claim(0.9, &[(99, 560.0)])));
    }
    assert_eq!(known(0, &steps).len(), 2, "{steps:?}");
}

#[test]
fn all_that_match_are_told_apart() {
    let mut stays = Stays::new(Rules { all: true, ..rules(Confirm::Frames(5), SECOND) });
    let mut all = Vec::new();
    for frame in 0..60 {
        let mut objects = vec![(1, 10.0), (2, 300.0)];
        if frame >= 30 {
            objects.remove(0);
        }
        all.extend(known(frame, &stays.measured(at(frame), &claim(0.8, &objects))));
    }
    all.extend(known(60, &stays.end()));
    let expected = [
        Known::Start { at: 4, key: 1, first: 0 },
        Known::Start { at: 4, key: 2, first: 0 },
        // Frame 29 was its last one.
        Known::End { at: 40, key: 1 },
        Known::End { at: 60, key: 2 },
    ];
    assert_eq!(all, expected);
}

/// Stays of a day, with their first and last frames.
struct Day {
    frames: u64,
    stays: Vec<(u64, u64)>,
}

impl Day {
    /// Stays of 3 to 30 times `confirm` frames, with gaps that are longer than is forgotten and confirmed.
    fn new(random: &mut StdRng, frames: u64, confirm: u64, forget: u64) -> Self {
        let mut stays = Vec::new();
        let mut from = 10 * confirm;
        while from + 40 * confirm < frames {
            let length = random.random_range(3 * confirm + 1..30 * confirm);
            stays.push((from, from + length - 1));
            from += length + forget + 3 * confirm + random.random_range(0..frames / 50);
        }
        Self { frames, stays }
    }
}

/// What was told of a day.
#[derive(Debug, Default)]
struct Report {
    /// Of the stays: told once, not at all, more than once.
    once: usize,
    never: usize,
    twice: usize,
    /// Told although nothing was there.
    wrong: usize,
}

/// Frames whose presence says the opposite: of what is there it misses it, else it finds something somewhere. As in a stream:
/// through its tracker, which loses ids then.
fn flapping(random: &mut StdRng, day: &Day, confirm: u32, noise: f64) -> Report {
    let tracking = Tracking {
        threshold: Some(0.5),
        hysteresis: 0.1,
        smoothing: Smoothing::Off,
        hold: Duration::ZERO,
        lost: LOST,
        all: false,
    };
    let mut tracker = StreamTracker::new(vec![TrackedQuery { query: Query::of("it"), tracking }]);
    let mut stays = Stays::new(rules(Confirm::Frames(confirm), 5 * SECOND));
    let mut spans: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let mut ended = 0;
    let mut real = day.stays.iter().peekable();
    for frame in 0..day.frames {
        while real.next_if(|(_, last)| *last < frame).is_some() {}
        let stay = real.peek().filter(|(first, _)| *first <= frame);
        let presence = if stay.is_some() == random.random_bool(1.0 - noise) { 0.8 } else { 0.2 };
        let rect = match stay {
            // It walks through the picture.
            Some((first, last)) => square(500.0 * (frame - first) as f64 / (last - first) as f64, 150.0),
            None => square(random.random_range(0.0..580.0), random.random_range(0.0..300.0)),
        };
        let found = vec![Finding { rect, on_canvas: [0.0; 4], score: Some(presence) }];
        let outcome = Outcome::Measured(vec![Findings { presence: Some(presence), found }]);
        let result = tracker.update(&outcome, at(frame).elapsed, 734.0);
        for step in stays.measured(at(frame), &result.queries[0]) {
            match step {
                Step::Start { key, seen } => {
                    spans.insert(key, (seen[0].moment.at.seq, seen[seen.len() - 1].moment.at.seq));
                }
                Step::Stay { key, seen } => {
                    spans.get_mut(&key).expect("began").1 = seen[seen.len() - 1].moment.at.seq;
                }
                Step::End { .. } => ended += 1,
            }
        }
    }
    assert_eq!(ended + stays.end().len(), spans.len(), "every start has one end");
    let mut report = Report::default();
    let touches = |span: (u64, u64), stay: (u64, u64)| span.0 <= stay.1 && span.1 >= stay.0;
    for stay in &day.stays {
        match spans.values().filter(|span| touches(**span, *stay)).count() {
            0 => report.never += 1,
            1 => report.once += 1,
            _ => report.twice += 1,
        }
    }
    report.wrong = spans.values().filter(|span| !day.stays.iter().any(|stay| touches(**span, *stay))).count();
    report
}

#[test]
fn a_day_of_presence_that_flaps() {
    const CONFIRM: u32 = 100;
    const DAY: u64 = 24 * 3600 * RATE;
    let mut random = StdRng::seed_from_u64(23);
    let day = Day::new(&mut random, DAY, u64::from(CONFIRM), 5 * RATE);
    assert!(day.stays.len() > 50, "{}", day.stays.len());
    for noise in [0.1, 0.25] {
        let report = flapping(&mut random, &day, CONFIRM, noise);
        let Report { once, never, twice, wrong } = report;
        assert_eq!((once, never, twice), (day.stays.len(), 0, 0), "noise {noise}: {report:?}");
        assert!(wrong <= 1, "noise {noise}: {report:?}");
    }
    let report = flapping(&mut random, &day, CONFIRM, 0.4);
    println!("of {} stays at 40 % noise: {report:?}", day.stays.len());
    assert!(report.once + report.twice > day.stays.len() / 2, "{report:?}");
}

proptest! {
    /// Whatever is seen: every start has one end, none is open twice, and a frame is of a stay once.
    #[test]
    fn every_start_has_one_end(
        frames in prop::collection::vec((any::<bool>(), 0_u64..4, 0.0..580.0_f64, 1_u64..30), 1..200),
        confirm in 1_u32..8,
        forget in 0_u64..30,
        all in any::<bool>(),
    ) {
        let rules = Rules { all, ..rules(Confirm::Frames(confirm), Duration::from_millis(100 * forget)) };
        let (mut stays, mut frame) = (Stays::new(rules), 0);
        let mut open: BTreeMap<u64, u64> = BTreeMap::new();
        let mut over: Vec<u64> = Vec::new();
        let mut steps = Vec::new();
        for (there, id, x, step) in frames {
            frame += if step > 25 { step * 10 } else { 1 };
            let objects: Vec<(u64, f64)> = if all { vec![(id, x), (id + 1, 580.0 - x)] } else { vec![(id, x)] };
            let claim = if there { claim(0.9, &objects) } else { claim(0.2, &[]) };
            steps.extend(stays.measured(at(frame), &claim));
        }
        steps.extend(stays.end());
        for step in steps {
            match step {
                Step::Start { key, seen } => {
                    prop_assert!(!over.contains(&key) && !open.contains_key(&key));
                    prop_assert!(seen.is_sorted_by(|a, b| a.moment.at.seq < b.moment.at.seq));
                    open.insert(key, seen[seen.len() - 1].moment.at.seq);
                }
                Step::Stay { key, seen } => {
                    let last = open.get_mut(&key).expect("is open");
                    for seen in seen {
                        prop_assert!(seen.moment.at.seq > *last);
                        *last = seen.moment.at.seq;
                    }
                }
                Step::End { key } => {
                    prop_assert!(open.remove(&key).is_some());
                    over.push(key);
                }
            }
        }
        prop_assert!(open.is_empty());
    }
}
