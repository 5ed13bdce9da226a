//! What the stage costs: throughput with a grounder that does nothing, against the same GStreamer work without the stage, in
//! turns in one run; and memory over a hundred thousand frames.
//!
//! `cargo bench --bench stage`; `cargo test` runs it in short.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use blocks::preprocess::Rect;
use grounding::Canvas;
use gstreamer as gst;
use gstreamer::prelude::*;
use records::RecordPlace;
use spotter::cli::RunArgs;
use spotter::config::RunSettings;
use spotter::pipeline::SinkPart;
use spotter::run::stream;
use spotter::sink::Branch;
use spotter::stage::{Answer, Ground, Job, one_box};

/// Finds a box at once.
struct Null;

impl Ground for Null {
    fn canvas(&self) -> Canvas {
        Canvas { width: 128, height: 128 }
    }

    fn ground(&mut self, jobs: &[Job]) -> grounding::Result<Vec<Answer>> {
        Ok(jobs.iter().map(|_| one_box(Rect { x0: 10.0, y0: 10.0, x1: 60.0, y1: 60.0 }, Some(0.9))).collect())
    }
}

fn settings(source: &str) -> RunSettings {
    let typed = RunArgs { source: vec![source.into()], query: vec!["anything".into()], ..RunArgs::default() };
    RunSettings::resolve(typed).expect("valid")
}

fn with_stage(settings: &RunSettings) -> Duration {
    let start = Instant::now();
    stream(settings, Box::new(Null), Some(0.5), true).expect("runs");
    start.elapsed()
}

/// Runs a launch line to its end.
fn without_stage(launch: &str) -> Duration {
    let pipeline = gst::parse::launch(launch).expect("parses");
    let start = Instant::now();
    pipeline.set_state(gst::State::Playing).expect("plays");
    let bus = pipeline.bus().expect("a bus");
    let types = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(300), &types).expect("ends");
    assert_eq!(end.type_(), gst::MessageType::Eos, "{launch}");
    let spent = start.elapsed();
    pipeline.set_state(gst::State::Null).expect("stops");
    spent
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("printed");
}

/// Takes turns, so that both meet the same machine.
fn compare(name: &str, frames: f64, turns: usize, with: impl Fn() -> Duration, without: impl Fn() -> Duration) {
    // Files and registry are read once before.
    with();
    without();
    let (with, without): (Vec<_>, Vec<_>) = (0..turns).map(|_| (with(), without())).unzip();
    let (with, without) = (median(with), median(without));
    let cost = 100.0 * (with / without - 1.0);
    say(&format!(
        "{name:<28} {:>7.1} frames/s with the stage, {:>7.1} without: it costs {cost:+.1} %",
        frames / with,
        frames / without
    ));
}

/// Resident memory of this process, in MiB.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: f64 = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
    pages * 4096.0 / f64::from(1 << 20)
}

fn memory(frames: u64) {
    let count = Arc::new(AtomicU64::new(0));
    let mut settings = settings(&format!("test:ball?frames={frames}&size=320x240"));
    settings.streams[0].output.branches.push(Branch::new(move || {
        let sink = gst::ElementFactory::make("fakesink").property("sync", false).build().expect("a core element");
        let count = Arc::clone(&count);
        sink.static_pad("sink").expect("a pad").add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            let seen = count.fetch_add(1, Ordering::AcqRel) + 1;
            if seen.is_multiple_of(frames / 10) {
                say(&format!("{seen:>7} frames: {:.1} MiB resident", resident()));
            }
            gst::PadProbeReturn::Ok
        });
        Ok(sink)
    }));
    with_stage(&settings);
}

fn main() {
    gst::init().expect("GStreamer starts");
    // `cargo test` passes --test, `cargo bench` --bench.
    let short = !std::env::args().any(|arg| arg == "--bench");
    let (turns, frames) = if short { (1, 1000) } else { (5, 100_000) };
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/bigbuckbunny.mp4");
    assert!(clip.exists(), "{} is missing: run scripts/fetch-media.sh", clip.display());
    let scratch = tempfile::tempdir().expect("a folder");
    // Long enough that starting and stopping do not count.
    let (loops, count) = if short { ("0", 132.0) } else { ("7", 8.0 * 132.0) };
    let long = scratch.path().join("long.mp4");
    let copied = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-stream_loop", loops, "-i"])
        .arg(clip)
        .args(["-c", "copy", "-an"])
        .arg(&long)
        .status();
    assert!(copied.expect("ffmpeg is needed for this bench").success());
    let clip = long;
    let uri = gst::glib::filename_to_uri(&clip, None).expect("an address");
    let decode = format!(
        "uridecodebin uri={uri} caps=video/x-raw(ANY) expose-all-streams=false ! videoconvert \
         ! videoflip video-direction=auto ! videoconvert"
    );

    let mut plain = settings(clip.to_str().expect("UTF-8"));
    plain.streams[0].records.push(RecordPlace::native("/dev/null"));
    let convert = format!("{decode} ! video/x-raw,format=RGB ! fakesink sync=false");
    compare("decode and convert, 720p", count, turns, || with_stage(&plain), || without_stage(&convert));

    let encode = |name: &str| {
        format!(
            "videoconvert ! video/x-raw,format=I420 ! x264enc speed-preset=veryfast pass=qual quantizer=20 bframes=0 \
             ! h264parse ! mp4mux ! filesink location={}",
            scratch.path().join(name).display()
        )
    };
    let alone = format!("{decode} ! queue ! {}", encode("alone.mp4"));
    let mut video = plain.clone();
    video.streams[0].output.sinks.push(SinkPart { launch: encode("staged.mp4"), draw: false, target: None });
    compare("decode and encode, 720p", count, turns, || with_stage(&video), || without_stage(&alone));
    video.streams[0].output.sinks[0].draw = true;
    compare("the same, box drawn in", count, turns, || with_stage(&video), || without_stage(&alone));
    memory(frames);
}
