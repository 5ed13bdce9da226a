//! Hours without anybody who watches: nothing grows. `make test-slow` runs it; `SPOTTER_SOAK_HOURS` makes it shorter.

use std::fmt::Write as _;
use std::time::Duration;

use crossbeam_channel::bounded;
use spotter::run::stream_until;

use super::{PATIENCE, until};
use crate::support::counter::Counter;
use crate::support::servers::free_port;
use crate::support::{aloud, repository, run_settings};

/// Media time passes so many times faster than the clock.
const PACE: u32 = 10;
const RATE: u32 = 25;
const GROWTH_KIB: u64 = 2 * 1024;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("read");
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a field");
    rss.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
}

#[test]
#[ignore = "takes 36 minutes: make test-slow"]
fn soak_of_six_hours_without_a_client() {
    const NAME: &str = "served::endless::soak_of_six_hours_without_a_client";
    // It measures a process of its own.
    if std::env::var_os("SPOTTER_TEST_ALONE").is_none() {
        let this = std::env::current_exe().expect("known");
        let mut alone = std::process::Command::new(this);
        alone.args(["--exact", NAME, "--ignored", "--nocapture"]).env("SPOTTER_TEST_ALONE", "1");
        assert!(alone.status().expect("starts").success());
        return;
    }
    let hours: f64 = std::env::var("SPOTTER_SOAK_HOURS").ok().and_then(|text| text.parse().ok()).unwrap_or(6.0);
    let frames = (3600.0 * hours * f64::from(RATE)) as usize;
    let out = format!("rtsp://127.0.0.1:{}/x", free_port());
    let source = format!("test:ball?size=320x192&fps={RATE}&frames={}", frames + 60 * 60 * RATE as usize);
    let flags = ["--source", &source, "--query", "a", "--out", &out, "--pace", "fast", "--mode", "every-frame"];
    let settings = run_settings(&flags);
    let (stop, stopped) = bounded(0);
    let model = Counter { takes: Duration::from_secs(1) / (RATE * PACE) };
    let run = std::thread::spawn(move || stream_until(&settings, Box::new(model), None, true, stopped));
    // Twelve samples an hour of media time.
    let interval = Duration::from_mins(5) / PACE;
    let samples: Vec<u64> = (0..(12.0 * hours).round() as usize)
        .map(|_| {
            std::thread::sleep(interval);
            resident_kib()
        })
        .collect();
    // It serves as on the first day.
    until("stream", PATIENCE, || {
        let mut ffprobe = std::process::Command::new("ffprobe");
        ffprobe.args(["-v", "error", "-rtsp_transport", "tcp", &out]);
        ffprobe.status().expect("starts").success().then_some(())
    });
    drop(stop);
    let books = run.join().expect("no panic").expect("no failure");
    assert!(books.frames.closed() && books.frames.decoded as usize * 10 > frames * 8, "{books}: {frames} were wanted");
    let mut table = "| media time | RSS MiB |\n|---|---|\n".to_owned();
    for (k, kib) in samples.iter().enumerate() {
        let _ = writeln!(table, "| {} min | {:.1} |", 5 * (k + 1), *kib as f64 / 1024.0);
    }
    let folder = repository().join("out/soak");
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::write(folder.join("endless.md"), &table).expect("written");
    // What is needed once is needed in the first quarter.
    let early = samples[samples.len() / 4];
    let late = samples[samples.len() / 2..].iter().max().copied().unwrap_or(early);
    aloud(&format!("{table}\n{books}: {early} KiB, later at most {late}"));
    assert!(late <= early + GROWTH_KIB, "memory grows from {early} to {late} KiB");
}
