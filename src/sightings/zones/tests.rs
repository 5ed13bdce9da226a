//! Against what was worked out by hand, on a picture of 100 x 100 pixels at ten frames a second.

use proptest::prelude::*;
use records::FrameRef;

use super::*;

/// Frame `number`.
fn at(number: u64) -> Moment {
    let at = FrameRef { seq: number, pts_ns: Some(number * 100_000_000), unix_ns: 0 };
    Moment { elapsed: Duration::from_millis(100 * number), at, frame_index: Some(number), size: (100.0, 100.0) }
}

/// A box of 10 x 20 pixels that stands on this point.
fn standing(x: f64, y: f64) -> Rect {
    Rect { x0: x - 5.0, y0: y - 20.0, x1: x + 5.0, y1: y }
}

/// The middle of the picture, in shares.
const MIDDLE: [[f64; 2]; 4] = [[0.4, 0.4], [0.6, 0.4], [0.6, 0.6], [0.4, 0.6]];

fn zone(confirm: u32) -> Zone {
    Zone::new("middle", &MIDDLE, Anchor::Bottom, confirm).expect("valid")
}

/// From left to right through the middle.
fn line(confirm: u32) -> Line {
    Line::new("gate", &[[0.2, 0.5], [0.8, 0.5]], Anchor::Bottom, confirm).expect("valid")
}

/// What a thing does that stands at these points, a frame each.
fn walk(zones: &[Zone], lines: &[Line], points: impl IntoIterator<Item = (f64, f64)>) -> Vec<Move> {
    let mut visits = Visits::new(zones, lines);
    let (mut moves, mut last) = (Vec::new(), at(0));
    for (number, (x, y)) in (0..).zip(points) {
        last = at(number);
        moves.extend(visits.see((zones, lines), last, &standing(x, y)));
    }
    moves.extend(visits.end(last));
    moves
}

#[test]
fn enter_leave_and_dwell_by_hand() {
    // From x = 30 on, five pixels a frame: inside from 40 (frame 2) to 60 (frame 6), outside from 65 (frame 7) on.
    let through = || (0..12).map(|step| (30.0 + 5.0 * f64::from(step), 50.0));
    for confirm in [1, 2, 3, 5] {
        let expected =
            [Move::Enter { zone: 0, at: at(2) }, Move::Leave { zone: 0, at: at(7), dwell: Duration::from_millis(500) }];
        assert_eq!(walk(&[zone(confirm)], &[], through()), expected, "confirmed by {confirm}, told of the first");
    }
    assert_eq!(walk(&[zone(6)], &[], through()), [], "inside on five frames alone");
}

#[test]
fn a_box_that_trembles_on_the_edge_comes_in_once() {
    let trembling = || (0..40).map(|step| (if step % 2 == 0 { 39.0 } else { 41.0 }, 50.0));
    assert_eq!(walk(&[zone(3)], &[], trembling()), []);
    assert_eq!(walk(&[zone(1)], &[], trembling()).len(), 40, "each frame counts where one confirms: 20 in, 20 out");
    let settles = trembling().chain((0..5).map(|_| (50.0, 50.0)));
    // The last of the trembling frames, 39, is inside already.
    let expected =
        [Move::Enter { zone: 0, at: at(39) }, Move::Leave { zone: 0, at: at(44), dwell: Duration::from_millis(500) }];
    assert_eq!(walk(&[zone(3)], &[], settles), expected, "who is there at the end leaves with its last frame");
}

#[test]
fn the_point_that_counts_is_where_things_stand() {
    let rect = standing(50.0, 70.0);
    for (anchor, y, inside) in [(Anchor::Bottom, 0.7, false), (Anchor::Centre, 0.6, true), (Anchor::Top, 0.5, true)] {
        let point = anchor.of(&rect, (100.0, 100.0));
        assert_eq!((point.x, point.y), (0.5, y));
        assert_eq!(Zone::new("middle", &MIDDLE, anchor, 1).expect("valid").contains(point), inside, "{anchor:?}");
    }
    let twice = Anchor::Bottom.of(&rect, (200.0, 100.0));
    assert_eq!((twice.x, twice.y), (0.25, 0.7), "in shares of the picture");
}

#[test]
fn crossings_by_hand_have_a_direction() {
    let down = |x: f64| (0..8).map(move |step| (x, 30.0 + 6.0 * f64::from(step)));
    // 30, 36, 42, 48 are above; 54 (frame 4) is below, at the right hand of who walks from left to right.
    let to_right = [Move::Cross { line: 0, at: at(4), to: Side::Right }];
    for confirm in [1, 3, 4] {
        assert_eq!(walk(&[], &[line(confirm)], down(50.0)), to_right);
    }
    assert_eq!(walk(&[], &[line(5)], down(50.0)), [], "below on four frames alone");
    assert_eq!(walk(&[], &[line(2)], down(90.0)), [], "around its end");
    let up = down(50.0).collect::<Vec<_>>().into_iter().rev();
    assert_eq!(walk(&[], &[line(3)], up.clone()), [Move::Cross { line: 0, at: at(4), to: Side::Left }]);
    let there_and_back = walk(&[], &[line(2)], down(50.0).chain(up));
    assert_eq!(there_and_back.len(), 2, "{there_and_back:?}");
    // Onto the line and back is no crossing; through it with a frame on it is one.
    let touching = [40.0, 45.0, 50.0, 50.0, 45.0, 40.0].map(|y| (50.0, y));
    assert_eq!(walk(&[], &[line(1)], touching), []);
    let through = [40.0, 50.0, 60.0, 65.0].map(|y| (50.0, y));
    assert_eq!(walk(&[], &[line(1)], through), [Move::Cross { line: 0, at: at(2), to: Side::Right }]);
    // In one step.
    assert_eq!(walk(&[], &[line(1)], [(30.0, 10.0), (70.0, 90.0)]).len(), 1);
}

#[test]
fn who_goes_around_a_line_and_through_it_crosses_once() {
    let path = [(90.0, 30.0), (90.0, 45.0), (90.0, 55.0), (70.0, 60.0), (50.0, 55.0), (50.0, 45.0), (50.0, 30.0)];
    assert_eq!(walk(&[], &[line(1)], path), [Move::Cross { line: 0, at: at(5), to: Side::Left }]);
}

#[test]
fn shapes_that_are_none_are_refused_and_told_why() {
    let zone = |points: &[[f64; 2]]| Zone::new("z", points, Anchor::Bottom, 3).map(drop).expect_err("wrong");
    assert_eq!(zone(&[[0.1, 0.1], [0.9, 0.9]]), "has 2 corners, expected at least 3");
    assert_eq!(zone(&[[0.1, 0.1], [0.9, 0.9], [0.9, 0.9], [0.1, 0.1]]), "has 2 corners, expected at least 3");
    let outside = "the point [1.2, 0.5] is outside the picture, expected shares of it from 0 to 1";
    assert_eq!(zone(&[[0.1, 0.1], [1.2, 0.5], [0.5, 0.9]]), outside);
    assert!(zone(&[[0.1, 0.1], [f64::NAN, 0.5], [0.5, 0.9]]).contains("outside the picture"));
    let bow = [[0.1, 0.1], [0.9, 0.9], [0.9, 0.1], [0.1, 0.9]];
    assert!(zone(&bow).starts_with("crosses or touches itself"), "{}", zone(&bow));
    for flat in [&[[0.1, 0.1], [0.5, 0.5], [0.9, 0.9]][..], &[[0.1, 0.1], [0.9, 0.1], [0.5, 0.1], [0.7, 0.1]]] {
        // Which of both is said, does not matter.
        let said = zone(flat);
        assert!(said.contains("no area") || said.contains("itself"), "{said}");
    }
    let closed = [&MIDDLE[..], &MIDDLE[..1]].concat();
    assert_eq!(Zone::new("z", &closed, Anchor::Bottom, 3).expect("valid").corners().count(), 4);
    let line = |points: &[[f64; 2]]| Line::new("l", points, Anchor::Bottom, 3).map(drop).expect_err("wrong");
    assert_eq!(line(&[[0.1, 0.1]]), "has 1 points, expected 2");
    assert_eq!(line(&[[0.1, 0.1], [0.1, 0.1]]), "begins where it ends, expected two different points");
    assert!(line(&[[0.1, 0.1], [0.1, -0.1]]).contains("outside the picture"));
}

proptest! {
    /// However something wanders: it enters and leaves in turns, dwells as long as that took, and is at every crossing on
    /// the side where the one before left it.
    #[test]
    fn moves_alternate(
        points in prop::collection::vec((0.0..100.0, 0.0..100.0), 1..120),
        confirm in 1_u32..5,
    ) {
        // A line across the whole picture cannot be gone around.
        let across = Line::new("l", &[[0.0, 0.5], [1.0, 0.5]], Anchor::Bottom, confirm).expect("valid");
        let moves = walk(&[zone(confirm)], &[across], points);
        let (mut inside, mut side) = (None, None);
        for step in moves {
            match step {
                Move::Enter { at, .. } => {
                    prop_assert!(inside.replace(at).is_none());
                }
                Move::Leave { at, dwell, .. } => {
                    let since: Moment = inside.take().expect("is in");
                    prop_assert_eq!(dwell, at.elapsed.saturating_sub(since.elapsed));
                }
                Move::Cross { to, .. } => prop_assert_ne!(side.replace(to), Some(to)),
            }
        }
        prop_assert!(inside.is_none(), "whoever entered has left in the end");
    }
}
