//! Cameras that go and come back.

use std::time::{Duration, Instant};

use rand::RngExt;
use serde_json::Value;

use super::{AS_CAMERAS, Live, RATE, events, frames, number};
use crate::support::Scratch;
use crate::support::counter::{Counter, counter_clip};
use crate::support::relay::{self, Harm};
use crate::support::servers::{Server, free_port};

const INTERVAL: Duration = Duration::from_millis(500);
/// What a server may take beside the wait that we choose.
const GRACE: Duration = Duration::from_secs(5);
const FAST: Counter = Counter { takes: Duration::ZERO };

/// Threads and open files of this process.
fn held() -> (usize, usize) {
    let count = |folder: &str| std::fs::read_dir(folder).expect("listed").count();
    (count("/proc/self/task"), count("/proc/self/fd"))
}

/// Every frame is entered, and every gap has an end before the next one begins.
fn assert_gaps_are_told(lines: &[Value]) {
    let mut within = false;
    let mut decoded = 0;
    for line in lines {
        match line["event"].as_str() {
            Some("gap_start") => {
                assert!(!within, "a gap begins within another");
                within = true;
                let books = &line["books"];
                let kinds = ["box", "absent", "skipped", "dropped", "error"];
                let entered: u64 = kinds.iter().map(|kind| books[kind].as_u64().expect("a count")).sum();
                assert_eq!(books["decoded"].as_u64(), Some(entered), "the books of a connection close");
                decoded += entered;
                let before = frames(lines).into_iter().filter(|f| number(f, "seq") < decoded as f64).count() as u64;
                assert_eq!(before, decoded);
            }
            Some("gap_end") => {
                assert!(within);
                within = false;
                assert_eq!(line["seq"].as_u64(), Some(decoded), "the first frame after the gap");
            }
            _ => {}
        }
    }
    let times: Vec<f64> = frames(lines).iter().map(|frame| number(frame, "pts_ns")).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "time goes on over gaps");
}

#[test]
fn a_server_that_is_killed_twenty_times_is_always_found_again() {
    let scratch = Scratch::new();
    let clip = counter_clip(&scratch, RATE, 60 * RATE as usize, &AS_CAMERAS);
    let port = free_port().to_string();
    let mut camera = Some(Server::camera(&clip, &["--port", &port]));
    let address = camera.as_ref().expect("runs").address.clone();
    let interval = humantime::format_duration(INTERVAL).to_string();
    let flags = [
        "--source",
        &address,
        "--query",
        "a",
        "--reconnect-interval",
        &interval,
        "--reconnect-max-interval",
        &interval,
    ];
    let mut live = Live::start(&flags, FAST);
    live.wait_for_frames(1);
    let mut random = rand::rng();
    for turn in 0..20 {
        // At any moment: while frames come, between two, right after the first.
        live.wait_for_frames(random.random_range(1..2 * RATE as usize));
        drop(camera.take());
        let gap = live.wait_for_event("gap_start");
        assert_eq!(gap["code"], "STREAM_CONNECTION_FAILED", "{gap}");
        camera = Some(Server::camera(&clip, &["--port", &port]));
        let there = Instant::now();
        live.wait_for_event("gap_end");
        assert!(there.elapsed() < INTERVAL + GRACE, "turn {turn}: back after {:?}", there.elapsed());
    }
    let (outcome, lines) = live.end();
    let books = outcome.expect("being away is no failure");
    assert!(books.frames.closed(), "{books}");
    assert_eq!(events(&lines, "gap_end").len(), 20);
    assert_gaps_are_told(&lines);
}

#[test]
fn a_frozen_server_is_left_and_found_again() {
    let scratch = Scratch::new();
    let clip = counter_clip(&scratch, RATE, 60 * RATE as usize, &AS_CAMERAS);
    for transport in ["tcp", "udp"] {
        let camera = Server::camera(&clip, &[]);
        let flags = [
            "--source",
            &camera.address,
            "--query",
            "a",
            "--stall-timeout",
            "1s",
            "--reconnect-interval",
            "300ms",
            "--reconnect-max-interval",
            "300ms",
            "--rtsp-transport",
            transport,
        ];
        let mut live = Live::start(&flags, FAST);
        for _ in 0..2 {
            live.wait_for_frames(RATE as usize / 2);
            camera.freeze();
            let gap = live.wait_for_event("gap_start");
            assert_eq!(gap["code"], "STREAM_TIMEOUT", "{transport}: {gap}");
            // Nobody answers: neither a connection nor a request.
            let retry = live.wait_for_event("gap_retry");
            assert_eq!(retry["code"], "STREAM_TIMEOUT", "{transport}: {retry}");
            camera.thaw();
            let end = live.wait_for_event("gap_end");
            // The silence before the watchdog spoke is part of it.
            assert!(number(&end, "seconds") > 1.0, "{end}");
        }
        let (outcome, lines) = live.end();
        assert!(outcome.expect("no failure").frames.closed());
        assert_gaps_are_told(&lines);
    }
}

#[test]
fn a_way_that_is_cut_stalled_or_spoilt_mends() {
    let scratch = Scratch::new();
    let clip = counter_clip(&scratch, RATE, 60 * RATE as usize, &AS_CAMERAS);
    let camera = Server::camera(&clip, &[]);
    let (address, lever) = relay::tcp(&camera.address, Harm::None);
    let flags = [
        "--source",
        &address,
        "--query",
        "a",
        "--stall-timeout",
        "1500ms",
        "--reconnect-interval",
        "200ms",
        "--reconnect-max-interval",
        "200ms",
    ];
    let mut live = Live::start(&flags, FAST);
    for (harm, code) in [(Harm::Cut, "STREAM_CONNECTION_FAILED"), (Harm::Stall, "STREAM_TIMEOUT")] {
        live.wait_for_frames(RATE as usize / 2);
        lever.set(harm);
        assert_eq!(live.wait_for_event("gap_start")["code"], code);
        live.wait_for_event("gap_retry");
        lever.set(Harm::None);
        live.wait_for_event("gap_end");
    }
    // Frames of noise are no reason to end, and neither is what `rtspsrc` makes of noise between packets.
    live.wait_for_frames(5);
    lever.set(Harm::Garble(5_000));
    live.wait_for("trouble", |line| line["event"] == "gap_start" || line["event"] == "decode_error");
    lever.set(Harm::None);
    live.wait_for_frames(3 * RATE as usize);
    let (outcome, lines) = live.end();
    match outcome {
        Ok(books) => assert!(books.frames.closed(), "{books}"),
        Err(error) => assert!(error.to_string().contains("frames failed"), "{error}"),
    }
    assert_gaps_are_told(&lines);
}

#[test]
fn lost_and_spoilt_datagrams_cost_pictures_and_nothing_else() {
    let scratch = Scratch::new();
    let clip = counter_clip(&scratch, RATE, 60 * RATE as usize, &AS_CAMERAS);
    let camera = Server::camera(&clip, &[]);
    let (address, lever) = relay::udp(&camera.address, Harm::None);
    let flags = ["--source", &address, "--query", "a", "--rtsp-transport", "udp", "--stall-timeout", "5s"];
    let mut live = Live::start(&flags, FAST);
    live.wait_for_frames(RATE as usize);
    for harm in [Harm::Lose(5), Harm::Garble(5)] {
        lever.set(harm);
        live.wait_for_event("decode_error");
        live.wait_for_frames(RATE as usize);
        lever.set(Harm::None);
        live.wait_for_frames(2 * RATE as usize);
    }
    let (outcome, lines) = live.end();
    if let Err(error) = outcome {
        assert!(error.to_string().contains("frames failed"), "{error}");
    }
    assert!(events(&lines, "gap_start").is_empty(), "the camera was there all the time");
    let books = &events(&lines, "end")[0]["books"];
    assert_eq!(books["decoded"].as_u64(), Some(frames(&lines).len() as u64));
}

/// Frames that are shown in another order than they are sent, joined anywhere.
#[test]
fn reordered_frames_have_rising_times_over_gaps() {
    let scratch = Scratch::new();
    let clip = counter_clip(&scratch, RATE, 60 * RATE as usize, &["-bf", "3", "-g", "25"]);
    let camera = Server::camera(&clip, &[]);
    let (address, lever) = relay::tcp(&camera.address, Harm::None);
    let flags = ["--source", &address, "--query", "a", "--reconnect-interval", "100ms", "--max-fps", "20"];
    let mut live = Live::start(&flags, FAST);
    for _ in 0..3 {
        live.wait_for_frames(2 * RATE as usize);
        lever.set(Harm::Cut);
        live.wait_for_event("gap_start");
        lever.set(Harm::None);
        live.wait_for_event("gap_end");
    }
    let (outcome, lines) = live.end();
    let books = outcome.expect("no failure");
    assert!(books.frames.closed() && books.frames.error == 0, "{books}");
    assert_gaps_are_told(&lines);
    // Once a connection has the camera's clock it keeps it, also for frames whose own time the decoder lost.
    let changes = events(&lines, "clock").len();
    assert!(changes <= 2 * 4, "{changes} changes of clock in four connections");
}

/// What a gap takes hold of it lets go.
#[test]
fn gaps_leave_no_threads_and_no_files() {
    const NAME: &str = "rtsp::gaps::gaps_leave_no_threads_and_no_files";
    // Other tests run beside this one: it counts in a process of its own.
    if std::env::var_os("SPOTTER_TEST_ALONE").is_none() {
        let this = std::env::current_exe().expect("known");
        let mut alone = std::process::Command::new(this);
        alone.args(["--exact", NAME, "--nocapture"]).env("SPOTTER_TEST_ALONE", "1");
        let output = alone.output().expect("starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let scratch = Scratch::new();
    let clip = counter_clip(&scratch, RATE, 60 * RATE as usize, &AS_CAMERAS);
    let camera = Server::camera(&clip, &[]);
    let (address, lever) = relay::tcp(&camera.address, Harm::None);
    let flags =
        ["--source", &address, "--query", "a", "--reconnect-interval", "50ms", "--reconnect-max-interval", "50ms"];
    let mut live = Live::start(&flags, FAST);
    let mut counts = Vec::new();
    for _ in 0..15 {
        live.wait_for_frames(RATE as usize);
        counts.push(held());
        lever.set(Harm::Cut);
        live.wait_for_event("gap_start");
        live.wait_for_event("gap_retry");
        lever.set(Harm::None);
        live.wait_for_event("gap_end");
    }
    drop(live.end());
    // The first connections start what all share.
    let most = |counts: &[(usize, usize)]| {
        (counts.iter().map(|c| c.0).max().expect("some"), counts.iter().map(|c| c.1).max().expect("some"))
    };
    let (early, late) = (most(&counts[2..8]), most(&counts[9..]));
    assert!(late.0 <= early.0 + 2 && late.1 <= early.1 + 2, "threads and files grow: {counts:?}");
}
