//! Capture times are the camera's, however late its frames come.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::{AS_CAMERAS, FRAME_NS, Live, RATE, assert_counters_and_times_agree, events, frames, number};
use crate::support::counter::{Counter, counter_clip, counter_of};
use crate::support::relay::{self, Harm};
use crate::support::servers::Server;
use crate::support::{Scratch, clock_of, command, json_lines, tool};

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

/// This machine's clock is set back an hour while a camera is watched. What its records say of times is the camera's, and
/// nothing is lost.
#[test]
fn a_clock_that_is_set_back_changes_no_record() {
    const MINUTE: f64 = 60e9;
    let scratch = Scratch::new();
    let film = scratch.file("grey.mp4");
    let grey = ["-v", "error", "-f", "lavfi", "-i", "color=gray:size=160x120:rate=25:duration=60", "-c:v", "libx264"];
    tool("ffmpeg", &[&grey[..], &["-pix_fmt", "yuv420p"], &AS_CAMERAS, &[&film]].concat());
    let camera = Server::camera(&film, &[]);
    let (clock, video) = (scratch.write("clock", b"+0"), format!("mkv:{}", scratch.file("{time}.mkv")));
    // Whatever the model says of a grey picture, it says of all of them.
    let flags =
        ["--query", "a", "--threshold", "0", "--sightings", "--confirm", "5", "--out", "jsonl:-", "--out", &video];
    let mut run = command(&[&["--log-format", "json", "run", "--source", &camera.address], &flags[..]].concat());
    run.envs(clock_of(&clock)).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = run.spawn().expect("starts");
    let mut coming = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let mut lines: Vec<Value> = Vec::new();
    let mut read_until = |what: &str, mut is_it: Box<dyn FnMut(&Value) -> bool>| {
        let line = coming.find_map(|line| {
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e} in {line}"));
            lines.push(line);
            lines.last().filter(|line| is_it(line)).cloned()
        });
        line.unwrap_or_else(|| panic!("no {what} until the end; {:?}", lines.last()))
    };
    let many = |mut left: u32| -> Box<dyn FnMut(&Value) -> bool> {
        Box::new(move |line| {
            left -= u32::from(line["schema"] == "spotter.frame/2" && left > 0);
            left == 0
        })
    };
    read_until("report of the camera's clock", Box::new(|line| line["event"] == "clock"));
    let last = read_until("frame", many(RATE));
    std::fs::write(&clock, "-1h").expect("written");
    read_until("frame after the clock was set", many(3 * RATE));
    tool("kill", &["-TERM", &child.id().to_string()]);
    read_until("end", Box::new(|line| line["event"] == "end"));
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("read");
    assert!(child.wait().expect("ends").success(), "{said}");

    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as f64;
    let is_now = |time: f64| (time - now).abs() < 10.0 * MINUTE;
    let asked = json_lines(&said)
        .into_iter()
        .find(|line| line["message"].as_str().is_some_and(|said| said.starts_with("asked to stop")));
    let asked = asked.unwrap_or_else(|| panic!("it was asked to stop: {said}"));
    let asked = humantime::parse_rfc3339(asked["timestamp"].as_str().expect("a time")).expect("a time");
    let asked = asked.duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as f64;
    assert!(is_now(asked + 60.0 * MINUTE), "its clock was set back: {said}");

    assert!(events(&lines, "gap_start").is_empty() && events(&lines, "clock").len() == 1, "the stream goes on");
    let all = frames(&lines);
    let after = all.iter().position(|frame| frame["seq"] == last["seq"]).expect("a frame");
    assert!(all.len() >= after + 3 * RATE as usize && all[after]["clock"] == "rtcp");
    for (place, pair) in all.windows(2).enumerate() {
        let passed = |key: &str| number(pair[1], key) - number(pair[0], key);
        assert_eq!(pair[1]["seq"].as_u64(), pair[0]["seq"].as_u64().map(|seq| seq + 1));
        assert!(passed("pts_ns") > 0.0 && passed("pts_ns") < 25.0 * FRAME_NS, "{}", pair[1]);
        assert!(is_now(number(pair[0], "capture_unix_ns")), "{}", pair[0]);
        // What passed by the camera's clock is what passed.
        let both = place > after || (pair[0]["clock"] == "rtcp" && pair[1]["clock"] == "rtcp");
        let off = (passed("capture_unix_ns") - passed("pts_ns")).abs();
        assert!(!both || off < 2.0 * FRAME_NS, "{off} ns between {} and {}", pair[0], pair[1]);
    }

    let (starts, ends) = (events(&lines, "sighting_start"), events(&lines, "sighting_end"));
    assert_eq!((starts.len(), ends.len()), (1, 1), "one stay, of one grey picture");
    let stay = &ends[0]["sighting"];
    let length = |clock: &str| number(stay, &format!("last_{clock}")) - number(stay, &format!("start_{clock}"));
    assert!(
        number(stay, "start_pts_ns") < number(&last, "pts_ns") && number(stay, "last_pts_ns") > number(&last, "pts_ns")
    );
    assert!(["start_unix_ns", "last_unix_ns"].iter().all(|key| is_now(number(stay, key))), "{stay}");
    // Until the camera reported its clock, frames had the time at which they came.
    assert!((length("unix_ns") - length("pts_ns")).abs() < MINUTE, "{stay}");
    let videos = scratch.names().into_iter().filter(|name| name.contains(".mkv"));
    assert_eq!(videos.count(), 1, "{:?}", scratch.names());
}
