use blocks::findings::Finding;

use super::*;

const DIAGONAL: f64 = 800.0;
const STRIDE: Outcome = Outcome::Skipped { cause: "stride" };

fn settings() -> Tracking {
    Tracking { hysteresis: 0.1, lost: LOST, ..Tracking::plain(Some(0.5)) }
}

fn track(tracking: Tracking) -> StreamTracker {
    StreamTracker::new(vec![TrackedQuery { query: Query::of("a dog"), tracking }])
}

fn finding(x: f64, score: f32) -> Finding {
    let rect = Rect { x0: x, y0: 10.0, x1: x + 50.0, y1: 60.0 };
    Finding { rect, on_canvas: [0.0; 4], score: Some(score) }
}

fn found(x: f64, presence: f32) -> Outcome {
    Outcome::Measured(vec![Findings { presence: Some(presence), found: vec![finding(x, presence)] }])
}

fn all_of(found: &[(f64, f32)]) -> Outcome {
    let mut found: Vec<Finding> = found.iter().map(|(x, score)| finding(*x, *score)).collect();
    found.sort_by(|a, b| b.score.partial_cmp(&a.score).expect("numbers"));
    Outcome::Measured(vec![Findings { presence: found.first().and_then(|best| best.score), found }])
}

fn at(frame: u64) -> Duration {
    Duration::from_millis(40 * frame)
}

/// What is claimed of the only query.
fn see(track: &mut StreamTracker, outcome: &Outcome, time: Duration) -> QueryResult {
    let mut seen = track.update(outcome, time, DIAGONAL);
    assert_eq!(seen.queries.len(), 1);
    seen.queries.remove(0)
}

#[test]
fn presence_has_to_fall_well_below_the_threshold_before_a_thing_is_gone() {
    let mut track = track(settings());
    let presences = [0.45, 0.5, 0.45, 0.41, 0.39, 0.45, 0.49, 0.51];
    let here = (0..).zip(presences).map(|(k, presence)| see(&mut track, &found(0.0, presence), at(k)).status);
    let here: Vec<bool> = here.map(|status| status == QueryStatus::Box).collect();
    assert_eq!(here, [false, true, true, true, false, false, false, true]);
}

#[test]
fn a_held_box_says_that_it_is_held_and_ends_in_time() {
    let mut track = track(Tracking { hold: at(2), ..settings() });
    see(&mut track, &found(7.0, 0.9), at(0));
    for frame in [1, 2] {
        let seen = see(&mut track, &found(300.0, 0.1), at(frame));
        assert_eq!((seen.status, seen.measured, seen.cause), (QueryStatus::Box, false, Some("hold")));
        let [object] = seen.objects.as_slice() else { panic!("one box") };
        assert_eq!((object.rect.x0, object.raw, object.cause, object.measured), (7.0, None, Some("hold"), false));
        assert_eq!((object.score, seen.presence), (Some(0.9), Some(0.1)));
        assert!(seen.carried());
    }
    let seen = see(&mut track, &found(300.0, 0.1), at(3));
    assert_eq!((seen.status, seen.measured, seen.cause), (QueryStatus::Absent, true, None));
    assert!(seen.objects.is_empty());
}

#[test]
fn skipped_frames_carry_the_last_box_until_it_is_gone_or_the_scene_cut() {
    let mut track = track(settings());
    assert_eq!(see(&mut track, &STRIDE, at(0)).status, QueryStatus::None);
    see(&mut track, &found(7.0, 0.9), at(1));
    let seen = see(&mut track, &STRIDE, at(2));
    assert_eq!((seen.status, seen.cause, seen.carried()), (QueryStatus::Carried, Some("stride"), true));
    track.reset();
    assert_eq!(see(&mut track, &STRIDE, at(3)).status, QueryStatus::None, "nothing crosses a cut");
    see(&mut track, &found(7.0, 0.9), at(4));
    see(&mut track, &found(7.0, 0.1), at(5));
    assert_eq!(see(&mut track, &STRIDE, at(6)).status, QueryStatus::None, "an absent thing is not carried");
}

#[test]
fn failed_frames_claim_nothing_unless_a_box_is_held() {
    let failed = Outcome::Error { cause: "decode", message: String::new() };
    let mut free = track(settings());
    see(&mut free, &found(7.0, 0.9), at(0));
    let seen = free.update(&failed, at(1), DIAGONAL);
    assert_eq!((seen.status, seen.queries[0].status), (FrameStatus::Error, QueryStatus::None));
    let mut held = track(Tracking { hold: at(1), ..settings() });
    see(&mut held, &found(7.0, 0.9), at(0));
    assert!(see(&mut held, &failed, at(1)).carried());
}

#[test]
fn a_stride_does_not_stretch_what_is_held() {
    let mut track = track(Tracking { hold: at(2), ..settings() });
    see(&mut track, &found(7.0, 0.9), at(0));
    assert!(see(&mut track, &STRIDE, at(5)).carried(), "nothing has said otherwise yet");
    track.reset();
    see(&mut track, &found(7.0, 0.9), at(0));
    assert!(see(&mut track, &found(7.0, 0.1), at(1)).carried());
    assert!(see(&mut track, &STRIDE, at(2)).carried());
    assert!(!see(&mut track, &STRIDE, at(3)).carried());
}

#[test]
fn smoothing_keeps_the_measured_box_beside_its_own() {
    let mut track = track(Tracking { smoothing: Smoothing::OneEuro, ..settings() });
    see(&mut track, &found(100.0, 0.9), at(0));
    let seen = see(&mut track, &found(110.0, 0.9), at(1));
    assert_eq!(seen.objects[0].raw.map(|r| r.x0), Some(110.0));
    let x = seen.objects[0].rect.x0;
    assert!(x > 100.0 && x < 110.0, "{x}");
}

#[test]
fn without_a_presence_head_every_frame_has_its_box() {
    let rect = Rect { x0: 1.0, y0: 2.0, x1: 3.0, y1: 4.0 };
    let found = vec![Finding { rect, on_canvas: [0.0; 4], score: None }];
    let outcome = Outcome::Measured(vec![Findings { presence: None, found }]);
    assert_eq!(see(&mut track(Tracking::plain(None)), &outcome, at(0)).status, QueryStatus::Box);
}

#[test]
fn an_id_lasts_as_long_as_it_can_be_the_same_thing() {
    let mut track = track(settings());
    let mut id = |x: f64, presence: f32, frame: u64| {
        see(&mut track, &found(x, presence), at(frame)).objects.first().map(|object| object.id)
    };
    let steady: Vec<_> = (0..20).map(|k| id(6.0 * k as f64, 0.9, k)).collect();
    assert!(steady.iter().all(|id| *id == Some(1)), "{steady:?}");
    assert_eq!(id(700.0, 0.9, 20), Some(2), "a far jump is another thing");
    assert_eq!(id(700.0, 0.1, 21), None);
    assert_eq!(id(710.0, 0.9, 30), Some(2), "it was away for a moment");
    assert_eq!(id(710.0, 0.1, 31), None);
    assert_eq!(id(710.0, 0.9, 31 + 75), Some(3), "for longer than it is looked for");
    track.reset();
    assert_eq!(see(&mut track, &found(710.0, 0.9), at(107)).objects[0].id, 4, "no id crosses a cut, none comes twice");
}

#[test]
fn what_stays_asked_is_remembered_when_queries_change() {
    let asked = |text: &str| TrackedQuery { query: Query::of(text), tracking: settings() };
    let mut track = StreamTracker::new(vec![asked("a dog")]);
    let id = see(&mut track, &found(7.0, 0.9), at(0)).objects[0].id;
    track.set_queries(vec![asked("a cat"), asked("a dog")]);
    let findings = |x| Findings { presence: Some(0.9), found: vec![finding(x, 0.9)] };
    let seen = track.update(&Outcome::Measured(vec![findings(300.0), findings(9.0)]), at(1), DIAGONAL);
    assert_eq!(seen.queries[1].objects[0].id, id);
    assert_ne!(seen.queries[0].objects[0].id, id);
    let mut other = asked("a dog");
    other.query.rev = 2;
    track.set_queries(vec![other]);
    assert_eq!(see(&mut track, &STRIDE, at(2)).status, QueryStatus::None, "another revision starts anew");
}

/// Two things pass each other, one of them hidden for ten frames; scores are weak where they are close.
#[test]
fn things_that_cross_and_hide_keep_their_ids() {
    let mut track = track(Tracking { all: true, hysteresis: 0.3, ..settings() });
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for k in 0..60u64 {
        let (a, b) = (8.0 * k as f64, 600.0 - 8.0 * k as f64);
        let hidden = (20..30).contains(&k);
        let weak = if (a - b).abs() < 60.0 { 0.3 } else { 0.9 };
        let things: Vec<(f64, f32)> = if hidden { vec![(a, 0.9)] } else { vec![(a, 0.9), (b, weak)] };
        let seen = see(&mut track, &all_of(&things), at(k));
        let of = |x: f64| seen.objects.iter().find(|object| (object.rect.x0 - x).abs() < 1e-9).map(|object| object.id);
        left.extend(of(a));
        right.extend(of(b).filter(|_| !hidden && (a - b).abs() > 1.0));
    }
    let same = |ids: &[u64]| ids.windows(2).all(|pair| pair[0] == pair[1]);
    assert!(same(&left) && left.len() == 60, "{left:?}");
    assert!(same(&right) && right.len() > 40, "{right:?}");
    assert_ne!(left[0], right[0]);
}

#[test]
fn weak_boxes_begin_no_track() {
    let mut track = track(Tracking { all: true, hysteresis: 0.3, ..settings() });
    let seen = see(&mut track, &all_of(&[(100.0, 0.3)]), at(0));
    assert_eq!((seen.status, seen.presence), (QueryStatus::Absent, Some(0.3)));
    see(&mut track, &all_of(&[(100.0, 0.9)]), at(1));
    assert_eq!(see(&mut track, &all_of(&[(100.0, 0.9)]), at(2)).objects.len(), 1);
    assert_eq!(see(&mut track, &all_of(&[(101.0, 0.3)]), at(3)).objects.len(), 1, "but go on with one");
}
