//! Pictures and boxes as a player sees them, behind a camera that is not ours.

use std::process::{Command, Stdio};
use std::time::Duration;

use crossbeam_channel::bounded;
use spotter::run::stream_until;

use crate::rtsp::{AS_CAMERAS, RATE};
use crate::support::counter::{STEPS, Stepping, counter_clip, counters_and_boxes};
use crate::support::servers::{Server, free_port};
use crate::support::{Scratch, run_settings};

/// Of every saved frame, its counter and which counter its box is of.
type Frames = Vec<(usize, Option<usize>)>;

/// Saves so many seconds of what is served while the stream runs. On a machine that is too busy, packets of the camera are
/// late and left out, its pictures are guessed, and their counters with them: the records say so, and it is tried again.
fn saved(takes: Duration, flags: &[&str], seconds: u32) -> Option<Frames> {
    const ATTEMPTS: usize = 4;
    for _ in 0..ATTEMPTS {
        let (frames, whole) = attempt(Stepping { takes }, flags, seconds)?;
        if whole {
            return Some(frames);
        }
    }
    panic!("{ATTEMPTS} times the camera's pictures were damaged on their way in");
}

/// What was saved, and whether the camera's pictures were whole.
fn attempt(model: Stepping, flags: &[&str], seconds: u32) -> Option<(Frames, bool)> {
    let scratch = Scratch::new();
    counter_clip(&scratch, RATE, 40 * RATE as usize, &AS_CAMERAS);
    let camera = Server::aio(scratch.path(), "counter.mp4")?;
    let out = format!("rtsp://127.0.0.1:{}/found", free_port());
    let records = format!("jsonl:{}", scratch.file("out.jsonl"));
    let common = ["--source", &camera.address, "--rtsp-transport", "tcp", "--query", "a", "--out", &out];
    let settings = run_settings(&[&common, flags, &["--out", &records]].concat());
    let (stop, stopped) = bounded(0);
    let run = std::thread::spawn(move || stream_until(&settings, Box::new(model), None, true, stopped));
    let video = scratch.file("saved.mkv");
    super::until("stream", super::PATIENCE, || {
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-y", "-v", "error", "-rtsp_transport", "tcp", "-i", &out, "-t", &seconds.to_string()]);
        ffmpeg.args(["-c", "copy", &video]).stdin(Stdio::null()).stderr(Stdio::null());
        ffmpeg.status().expect("starts").success().then_some(())
    });
    drop(stop);
    let books = run.join().expect("no panic").expect("no failure");
    assert!(books.frames.closed(), "{books}");
    let whole = books.frames.error == 0 && !scratch.read("out.jsonl").contains("\"decode_error\"");
    Some((counters_and_boxes(&video), whole))
}

#[test]
fn in_exact_mode_every_frame_has_its_own_box() {
    // Slower than the camera: frames are left out.
    let Some(frames) = saved(Duration::from_millis(60), &[], 6) else { return };
    assert!(frames.len() > 40, "{} frames", frames.len());
    for (counter, boxed) in &frames {
        assert_eq!(*boxed, Some(counter % STEPS), "the box on frame {counter}: {frames:?}");
    }
    let left_out = frames.windows(2).filter(|pair| pair[1].0 > pair[0].0 + 1).count();
    assert!(left_out > frames.len() / 2, "the model is slower than the camera");
}

/// Frames of a file that is slower than its own pace are late, and later with every second; who comes then sees them too.
#[test]
fn who_comes_late_sees_every_frame_of_a_slow_file() {
    let scratch = Scratch::new();
    let clip = counter_clip(&scratch, RATE, 20 * RATE as usize, &AS_CAMERAS);
    let out = format!("rtsp://127.0.0.1:{}/found", free_port());
    let records = format!("jsonl:{}", scratch.file("out.jsonl"));
    let settings = run_settings(&["--source", &clip, "--query", "a", "--out", &out, "--out", &records]);
    let model = Stepping { takes: Duration::from_millis(60) };
    let run = std::thread::spawn(move || spotter::run::stream(&settings, Box::new(model), None, true));
    super::until("half of it", super::PATIENCE, || {
        let so_far = std::fs::read_to_string(scratch.file("out.jsonl")).ok()?;
        (so_far.lines().count() > 250).then_some(())
    });
    let video = scratch.file("saved.mkv");
    let save = ["-y", "-v", "error", "-rtsp_transport", "tcp", "-i", &out, "-frames:v", "60", "-c", "copy", &video];
    crate::support::tool("ffmpeg", &save);
    let frames = counters_and_boxes(&video);
    assert!(frames.len() >= 60 && frames[0].0 > 200, "{frames:?}");
    assert!(frames.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "no frame is missing: {frames:?}");
    assert!(frames.iter().all(|(counter, boxed)| *boxed == Some(counter % STEPS)), "{frames:?}");
    assert!(run.join().expect("no panic").expect("no failure").frames.closed());
}

#[test]
fn in_low_latency_mode_every_frame_leaves_at_once() {
    /// Frames that pass while one is grounded.
    const SLOW: usize = 5;
    let takes = Duration::from_millis(SLOW as u64 * 1000 / u64::from(RATE));
    let Some(frames) = saved(takes, &["--overlay-sync", "low-latency"], 6) else { return };
    let counters: Vec<usize> = frames.iter().map(|(counter, _)| *counter).collect();
    assert!(counters.is_sorted_by(|a, b| a < b), "in order: {counters:?}");
    let missed: usize = counters.windows(2).map(|pair| pair[1] - pair[0] - 1).sum();
    assert!(missed * 50 < counters.len(), "{missed} of {} frames are missing: {counters:?}", counters.len());
    // The box is one of a frame before, and never the same for long.
    let boxes: Vec<usize> = frames.iter().filter_map(|(_, boxed)| *boxed).collect();
    assert!(boxes.len() > frames.len() - 3 * SLOW, "boxes are carried: {frames:?}");
    let late = |(counter, boxed): &(usize, Option<usize>)| boxed.map(|boxed| (counter + STEPS - boxed) % STEPS);
    let behind: Vec<usize> = frames.iter().filter_map(late).collect();
    assert!(behind.iter().all(|frames| (SLOW..=3 * SLOW).contains(frames)), "{behind:?}");
    let changes = boxes.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes > frames.len() / (2 * SLOW), "the newest box is shown: {boxes:?}");
}
