//! Capture times are the camera's, however late its frames come.

use std::time::Duration;

use super::{AS_CAMERAS, FRAME_NS, Live, RATE, assert_counters_and_times_agree, events, frames, number};
use crate::support::Scratch;
use crate::support::counter::{Counter, counter_clip, counter_of};
use crate::support::relay::{self, Harm};
use crate::support::servers::Server;

/// What the way from the camera takes.
const LATE: Duration = Duration::from_millis(400);

#[test]
fn a_slow_way_does_not_make_frames_younger() {
    let scratch = Scratch::new();
    let clip = counter_clip(&scratch, RATE, 20 * RATE as usize, &AS_CAMERAS);
    let camera = Server::camera(&clip, &[]);
    let (address, _lever) = relay::tcp(&camera.address, Harm::Delay(LATE));
    let mut live = Live::start(&["--source", &address, "--query", "a"], Counter { takes: Duration::ZERO });
    live.wait_for_event("clock");
    live.wait_for_frames(2 * RATE as usize);
    let (outcome, lines) = live.end();
    assert!(outcome.expect("no failure").frames.closed());
    assert_counters_and_times_agree(&lines);
    let said = camera.lines.recv().expect("says when its clip began");
    let began: f64 = said.strip_prefix("began at ").and_then(|ns| ns.parse().ok()).expect("a time");
    let all = frames(&lines);
    let late_by = |frame: &serde_json::Value| {
        (number(frame, "capture_unix_ns") - began - counter_of(frame) as f64 * FRAME_NS) / 1e6
    };
    let measured = all.iter().filter(|frame| frame["measured"] == true);
    let (by_camera, by_arrival): (Vec<_>, Vec<_>) = measured.partition(|frame| frame["clock"] == "rtcp");
    assert!(by_camera.len() > RATE as usize && by_arrival.len() > 5);
    for frame in by_camera {
        assert!(late_by(frame).abs() < 50.0, "off by {:.0} ms: {frame}", late_by(frame));
    }
    // Until the first report there is nothing better than arrival, and it shows.
    let arrived = late_by(by_arrival[by_arrival.len() / 2]);
    assert!(arrived > 0.8 * LATE.as_secs_f64() * 1e3, "{arrived:.0} ms");
    let change = &events(&lines, "clock")[0];
    assert_eq!((&change["from"], &change["to"]), (&"arrival".into(), &"rtcp".into()));
    assert_eq!(events(&lines, "clock").len(), 1, "the clock changes once");
}

/// Times of frames that are sent in another order than they are shown come from the camera, to the millisecond.
#[test]
fn frames_that_come_out_of_order_are_evenly_spaced() {
    const MS: f64 = 1e6;
    let scratch = Scratch::new();
    let clip = counter_clip(&scratch, RATE, 20 * RATE as usize, &["-bf", "3", "-g", "25"]);
    let camera = Server::camera(&clip, &[]);
    let mut live = Live::start(&["--source", &camera.address, "--query", "a"], Counter { takes: Duration::ZERO });
    live.wait_for_frames(4 * RATE as usize);
    let (outcome, lines) = live.end();
    assert!(outcome.expect("no failure").frames.closed());
    let measured: Vec<_> = frames(&lines).into_iter().filter(|frame| frame["measured"] == true).collect();
    assert!(measured.len() > 2 * RATE as usize, "{} frames", measured.len());
    for pair in measured.windows(2) {
        let counted = (counter_of(pair[1]) as f64 - counter_of(pair[0]) as f64) * FRAME_NS;
        let passed = number(pair[1], "pts_ns") - number(pair[0], "pts_ns");
        assert!(counted > 0.0 && (passed - counted).abs() < MS, "{} ms in place of {}", passed / MS, counted / MS);
    }
}
