//! Servers that are not ours: what stands in the records is what the pictures show.

use std::time::Duration;

use super::{AS_CAMERAS, FRAME_NS, Live, RATE, assert_counters_and_times_agree, events, frames, number, sure};
use crate::support::Scratch;
use crate::support::counter::{Counter, counter_clip, counter_of, counters};
use crate::support::servers::Server;

/// Long enough for a server's first report, which comes after five seconds.
const FRAMES: usize = 8 * RATE as usize;

/// Grounds what a server sends until it has reported its clock; the video that comes out shows the records' counters.
fn follow(server: &Server, flags: &[&str]) -> Vec<serde_json::Value> {
    let scratch = Scratch::new();
    let video = scratch.file("out.mkv");
    let out = format!("mkv:{video}");
    let common = ["--source", &server.address, "--query", "the counter", "--out", &out, "--mode", "freshest"];
    let mut live = Live::start(&[&common, flags].concat(), Counter { takes: Duration::from_millis(5) });
    live.wait_for_event("clock");
    live.wait_for_frames(RATE as usize);
    let (outcome, lines) = live.end();
    let books = outcome.expect("no failure");
    assert!(books.frames.closed() && books.frames.error == 0, "{books}");
    assert_counters_and_times_agree(&lines);
    assert!(events(&lines, "gap_start").is_empty());
    let forwarded = frames(&lines).into_iter().filter(|frame| frame["status"] != "dropped");
    let said: Vec<usize> = forwarded.map(counter_of).collect();
    assert_eq!(counters(&video), said, "the pictures that left are those of the records");
    lines
}

/// Once reports have come, capture times count as the pictures do, by the server's clock, which is this machine's.
fn assert_captured_by_the_servers_clock(lines: &[serde_json::Value]) {
    const WITHIN_NS: f64 = 50e6;
    let of_server: Vec<_> = sure(lines).into_iter().filter(|frame| frame["clock"] == "rtcp").collect();
    assert!(of_server.len() > RATE as usize / 2);
    let begin = |frame: &&serde_json::Value| number(frame, "capture_unix_ns") - counter_of(frame) as f64 * FRAME_NS;
    let begins: Vec<f64> = of_server.iter().map(begin).collect();
    for at in &begins {
        assert!((at - begins[0]).abs() < WITHIN_NS, "the clip began {} ms later", (at - begins[0]) / 1e6);
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos() as f64;
    let last = number(of_server.last().expect("some"), "capture_unix_ns");
    assert!(last < now && now - last < 5e9, "captured {} s ago", (now - last) / 1e9);
}

#[test]
fn vlc_sends_over_udp_after_refusing_tcp() {
    let scratch = Scratch::new();
    let clip = counter_clip(&scratch, RATE, 30 * RATE as usize, &AS_CAMERAS);
    let server = Server::vlc(&scratch, &clip);
    assert_captured_by_the_servers_clock(&follow(&server, &[]));
}

#[test]
fn another_server_sends_over_tcp_and_refuses_udp() {
    let scratch = Scratch::new();
    counter_clip(&scratch, RATE, FRAMES + 10 * RATE as usize, &AS_CAMERAS);
    let Some(server) = Server::aio(scratch.path(), "counter.mp4") else { return };
    assert_captured_by_the_servers_clock(&follow(&server, &["--rtsp-transport", "tcp"]));
    let flags = ["--source", &server.address, "--query", "a", "--rtsp-transport", "udp", "--reconnect-attempts", "1"];
    let (outcome, _) = Live::start(&flags, Counter { takes: Duration::ZERO }).end_by_itself();
    let error = outcome.expect_err("refused").to_string();
    assert!(error.starts_with("STREAM_CONNECTION_FAILED") && error.contains("461"), "{error}");
}
