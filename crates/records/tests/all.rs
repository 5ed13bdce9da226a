//! A query for all things that match: what is carried, held and smoothed, is so for each thing by itself.

use std::time::Duration;

use blocks::findings::{Finding, Findings};
use blocks::preprocess::Rect;
use records::track::{LOST, Object, Outcome, QueryResult, Smoothing, StreamTracker, TrackedQuery, Tracking};
use records::{Query, QueryStatus};

const DIAGONAL: f64 = 800.0;
const STRIDE: Outcome = Outcome::Skipped { cause: "stride" };

fn all() -> Tracking {
    Tracking { hysteresis: 0.1, lost: LOST, all: true, ..Tracking::plain(Some(0.5)) }
}

fn track(tracking: Tracking) -> StreamTracker {
    StreamTracker::new(vec![TrackedQuery { query: Query::of("dogs"), tracking }])
}

/// Things 50 by 50, at these left edges and with these scores.
fn findings(things: &[(f64, f32)]) -> Findings {
    let mut found: Vec<Finding> = things
        .iter()
        .map(|&(x, score)| {
            let rect = Rect { x0: x, y0: 10.0, x1: x + 50.0, y1: 60.0 };
            Finding { rect, on_canvas: [0.0; 4], score: Some(score) }
        })
        .collect();
    found.sort_by(|a, b| b.score.partial_cmp(&a.score).expect("numbers"));
    Findings { presence: found.first().and_then(|best| best.score), found }
}

fn found(things: &[(f64, f32)]) -> Outcome {
    Outcome::Measured(vec![findings(things)])
}

fn at(frame: u64) -> Duration {
    Duration::from_millis(40 * frame)
}

/// What is claimed of the only query on a frame.
fn see(track: &mut StreamTracker, outcome: &Outcome, frame: u64) -> QueryResult {
    let mut seen = track.update(outcome, at(frame), DIAGONAL);
    assert_eq!(seen.queries.len(), 1);
    seen.queries.remove(0)
}

/// Id, left edge and score of every thing, in their order; each must be measured or not for this cause.
fn things(seen: &QueryResult, measured: impl Fn(&Object) -> Option<&'static str>) -> Vec<(u64, f64, Option<f32>)> {
    for object in &seen.objects {
        let cause = measured(object);
        assert_eq!((object.measured, object.raw.is_some(), object.cause), (cause.is_none(), cause.is_none(), cause));
    }
    seen.objects.iter().map(|object| (object.id, object.rect.x0, object.score)).collect()
}

#[test]
fn skipped_frames_carry_every_thing_for_itself() {
    let mut track = track(all());
    assert_eq!(see(&mut track, &STRIDE, 0).status, QueryStatus::None, "nothing is known yet");
    let seen = see(&mut track, &found(&[(10.0, 0.7), (300.0, 0.9), (550.0, 0.6)]), 1);
    let three = [(1, 300.0, Some(0.9)), (2, 10.0, Some(0.7)), (3, 550.0, Some(0.6))];
    assert_eq!(things(&seen, |_| None), three);
    for frame in [2, 3] {
        let seen = see(&mut track, &STRIDE, frame);
        assert_eq!((seen.status, seen.measured, seen.cause), (QueryStatus::Carried, false, Some("stride")));
        assert_eq!((things(&seen, |_| Some("stride")), seen.presence), (three.to_vec(), None));
    }
    // One is gone, the others have moved on, and the second is now the best.
    see(&mut track, &found(&[(16.0, 0.95), (306.0, 0.6)]), 4);
    let seen = see(&mut track, &STRIDE, 5);
    assert_eq!(things(&seen, |_| Some("stride")), [(2, 16.0, Some(0.95)), (1, 306.0, Some(0.6))], "best first");
    assert_eq!(see(&mut track, &found(&[]), 6).status, QueryStatus::Absent);
    let seen = see(&mut track, &STRIDE, 7);
    assert_eq!((seen.status, seen.objects.len()), (QueryStatus::None, 0), "what is absent is not carried");
}

#[test]
fn every_lost_thing_is_held_for_its_own_time() {
    let mut track = track(Tracking { hold: at(3), ..all() });
    for frame in [0, 1] {
        see(&mut track, &found(&[(10.0, 0.9), (200.0, 0.8), (400.0, 0.7)]), frame);
    }
    let held =
        |seen: &QueryResult, of: &[u64]| things(seen, |object: &Object| of.contains(&object.id).then_some("hold"));
    let (first, second, third) = ((1, 10.0, Some(0.9)), (2, 200.0, Some(0.8)), (3, 400.0, Some(0.7)));
    // The second is lost with frame 2, the third with frame 4.
    for frame in [2, 3] {
        let seen = see(&mut track, &found(&[(10.0, 0.9), (400.0, 0.7)]), frame);
        assert_eq!(held(&seen, &[2]), [first, third, second], "frame {frame}");
        assert_eq!((seen.status, seen.measured, seen.cause), (QueryStatus::Box, true, None));
    }
    let seen = see(&mut track, &found(&[(10.0, 0.9)]), 4);
    assert_eq!(held(&seen, &[2, 3]), [first, second, third]);
    let seen = see(&mut track, &found(&[(10.0, 0.9)]), 5);
    assert_eq!(held(&seen, &[3]), [first, third], "three frames after frame 1, and no longer");
    // Now the first is lost as well: nothing of what is claimed was measured.
    let seen = see(&mut track, &found(&[]), 6);
    assert_eq!(held(&seen, &[1, 3]), [first, third]);
    assert_eq!((seen.status, seen.measured, seen.cause), (QueryStatus::Box, false, Some("hold")));
    assert!(seen.carried());
    assert_eq!(held(&see(&mut track, &found(&[]), 8), &[1]), [first]);
    let seen = see(&mut track, &found(&[]), 9);
    assert_eq!((seen.status, seen.measured, seen.cause), (QueryStatus::Absent, true, None));
    // All come back within `lost`, each under its own id.
    let seen = see(&mut track, &found(&[(10.0, 0.9), (200.0, 0.8), (400.0, 0.7)]), 20);
    assert_eq!(things(&seen, |_| None), [first, second, third]);
}

#[test]
fn a_stride_keeps_what_is_held_beside_what_was_seen() {
    let mut track = track(Tracking { hold: at(4), ..all() });
    for frame in [0, 1] {
        see(&mut track, &found(&[(10.0, 0.9), (200.0, 0.8)]), frame);
    }
    let (first, second) = ((1, 10.0, Some(0.9)), (2, 200.0, Some(0.8)));
    see(&mut track, &found(&[(10.0, 0.9)]), 2);
    assert_eq!(things(&see(&mut track, &STRIDE, 3), |_| Some("stride")), [first, second]);
    let seen = see(&mut track, &found(&[(10.0, 0.9)]), 4);
    assert_eq!(things(&seen, |object| (object.id == 2).then_some("hold")), [first, second]);
    assert_eq!(things(&see(&mut track, &STRIDE, 5), |_| Some("stride")), [first, second]);
    assert_eq!(things(&see(&mut track, &STRIDE, 6), |_| Some("stride")), [first], "a stride stretches nothing");
}

#[test]
fn what_is_held_for_longer_than_it_is_looked_for_is_held_all_the_same() {
    let mut track = track(Tracking { hold: at(5), lost: Duration::ZERO, ..all() });
    for frame in [0, 1] {
        see(&mut track, &found(&[(10.0, 0.9), (200.0, 0.8)]), frame);
    }
    for frame in 2..=6 {
        let seen = see(&mut track, &found(&[(10.0, 0.9)]), frame);
        let held = things(&seen, |object| (object.id == 2).then_some("hold"));
        assert_eq!(held, [(1, 10.0, Some(0.9)), (2, 200.0, Some(0.8))], "frame {frame}");
    }
    assert_eq!(see(&mut track, &found(&[(10.0, 0.9)]), 7).objects.len(), 1);
}

#[test]
fn failed_frames_claim_what_is_held_and_nothing_else() {
    let failed = Outcome::Error { cause: "decode", message: String::new() };
    for (hold, kept) in [(Duration::ZERO, 0), (at(2), 2)] {
        let mut track = track(Tracking { hold, ..all() });
        for frame in [0, 1] {
            see(&mut track, &found(&[(10.0, 0.9), (200.0, 0.8)]), frame);
        }
        let seen = see(&mut track, &failed, 2);
        let expected = [(1, 10.0, Some(0.9)), (2, 200.0, Some(0.8))];
        assert_eq!(things(&seen, |_| Some("decode")), expected[..kept]);
        assert_eq!(seen.status, if kept > 0 { QueryStatus::Carried } else { QueryStatus::None });
        assert_eq!(see(&mut track, &failed, 4).status, QueryStatus::None, "no longer than it may");
    }
}

#[test]
fn a_thing_that_was_seen_once_is_not_held() {
    let mut track = track(Tracking { hold: at(5), ..all() });
    see(&mut track, &found(&[(10.0, 0.9)]), 0);
    see(&mut track, &found(&[(10.0, 0.9), (200.0, 0.8)]), 1);
    let seen = see(&mut track, &found(&[(10.0, 0.9)]), 2);
    assert_eq!(things(&seen, |_| None), [(1, 10.0, Some(0.9))]);
    let seen = see(&mut track, &found(&[(10.0, 0.9), (200.0, 0.8)]), 3);
    assert_eq!(things(&seen, |_| None), [(1, 10.0, Some(0.9)), (3, 200.0, Some(0.8))], "and comes back as another");
}

/// A one-euro filter a thing, worked out by hand: cut-off 1.2 Hz and 14 Hz more for every diagonal (800 pixels) a second,
/// speeds smoothed with 1 Hz. At 40 ms a step of 10 pixels moves the box by 3.4316, one of 6 by 1.8162; the second thing's
/// next step takes 80 ms, since it was not seen on the frame between.
#[test]
fn every_thing_is_smoothed_by_itself() {
    let mut track = track(Tracking { smoothing: Smoothing::OneEuro, hold: at(2), ..all() });
    let mut measured = |things: &[(f64, f32)], frame: u64| see(&mut track, &found(things), frame).objects;
    let assert_at = |object: &Object, (id, x): (u64, f64), raw: Option<f64>| {
        assert!(object.id == id && (object.rect.x0 - x).abs() < 1e-3, "{object:?} is not {id} at {x}");
        assert!((object.rect.width() - 50.0).abs() < 1e-9, "{object:?}");
        assert_eq!(object.raw.map(|raw| raw.x0), raw);
    };
    let first = measured(&[(100.0, 0.9), (300.0, 0.8)], 0);
    assert_at(&first[0], (1, 100.0), Some(100.0));
    assert_at(&first[1], (2, 300.0), Some(300.0));
    // The other one is the better one now: filters belong to things, not to places in the list.
    let second = measured(&[(110.0, 0.8), (294.0, 0.9)], 1);
    assert_at(&second[0], (2, 298.1838), Some(294.0));
    assert_at(&second[1], (1, 103.4316), Some(110.0));
    let third = measured(&[(116.0, 0.9)], 2);
    assert_at(&third[0], (1, 108.8412), Some(116.0));
    assert_at(&third[1], (2, 298.1838), None);
    let fourth = measured(&[(290.0, 0.9)], 3);
    assert_at(&fourth[0], (2, 293.9335), Some(290.0));
    assert_at(&fourth[1], (1, 108.8412), None);
}

#[test]
fn queries_for_one_and_for_all_share_no_id() {
    let one = TrackedQuery { query: Query::of("the dog"), tracking: Tracking { all: false, ..all() } };
    let mut track = StreamTracker::new(vec![one, TrackedQuery { query: Query::of("dogs"), tracking: all() }]);
    for frame in 0..3 {
        let outcome = Outcome::Measured(vec![findings(&[(10.0, 0.9)]), findings(&[(10.0, 0.9), (200.0, 0.8)])]);
        let seen = track.update(&outcome, at(frame), DIAGONAL);
        let ids: Vec<Vec<u64>> =
            seen.queries.iter().map(|query| query.objects.iter().map(|object| object.id).collect()).collect();
        assert_eq!(ids, [vec![1], vec![2, 3]], "frame {frame}");
    }
}
