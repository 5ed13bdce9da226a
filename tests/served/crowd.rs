//! A hundred clients that come, leave, die and freeze.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::RngExt;

use super::{PATIENCE, Service, until};
use crate::rtsp::{AS_CAMERAS, RATE};
use crate::support::counter::{counter_clip, counters};
use crate::support::{Scratch, aloud, tool};

const CLIENTS: usize = 100;
const AT_ONCE: usize = 8;
/// When everything must be as it was.
const BACK_WITHIN: Duration = Duration::from_secs(90);
/// Memory that the C libraries keep for next time.
const SLACK_KIB: u64 = 6 * 1024;

fn client(address: &str, transport: &str, seconds: &str) -> Child {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "quiet", "-rtsp_transport", transport, "-probesize", "32768", "-i", address]);
    ffmpeg.args(["-t", seconds, "-c", "copy", "-f", "null", "-"]);
    ffmpeg.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts")
}

/// Resident memory in KiB, and open files.
fn held(id: &str) -> (u64, usize) {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("runs");
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a field");
    let rss = rss.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number");
    (rss, std::fs::read_dir(format!("/proc/{id}/fd")).expect("listed").count())
}

fn watching(place: &str) -> u64 {
    let (_, text) = super::page(place, "/metrics");
    let line = text.lines().find(|line| line.starts_with("spotter_rtsp_clients{")).expect("there");
    line.rsplit(' ').next().and_then(|count| count.parse().ok()).expect("a number")
}

#[test]
fn a_hundred_clients_leave_nothing_behind() {
    let scratch = Scratch::new();
    let clip = counter_clip(&scratch, RATE, 20 * RATE as usize, &AS_CAMERAS);
    let long = scratch.file("long.mp4");
    tool("ffmpeg", &["-v", "error", "-stream_loop", "30", "-i", &clip, "-c", "copy", &long]);
    let camera = crate::support::servers::Server::camera(&long, &[]);
    let flags = ["--source", &camera.address, "--query", "a", "--out", "rtsp://127.0.0.1:0/x"];
    let service = Service::start(&[&flags[..], &["--metrics", "127.0.0.1:0", "--out", "jsonl:-"]].concat());
    let place = service.told("metrics at http://").replace("/metrics", "");
    let address = service.address();
    let records = service.records.clone();
    super::wait(&records, "frame", |line| line.contains("spotter.frame/2"));
    let forwarded = Arc::new(AtomicUsize::new(0));
    std::thread::spawn({
        let forwarded = Arc::clone(&forwarded);
        move || {
            let records = records.iter().filter(|line| line.contains("spotter.frame/2"));
            records.filter(|line| !line.contains("\"dropped\"")).for_each(|_| {
                forwarded.fetch_add(1, Ordering::AcqRel);
            });
        }
    });
    // What is needed once is needed now.
    let first: Vec<Child> = (0..AT_ONCE).map(|k| client(&address, ["tcp", "udp"][k % 2], "2")).collect();
    for mut child in first {
        assert!(child.wait().expect("ends").success());
    }
    until("empty house", PATIENCE, || (watching(&place) == 0).then_some(()));
    let before = held(&service.id());

    let video = scratch.file("neighbour.mkv");
    let mut neighbour = Command::new("ffmpeg")
        .args(["-y", "-v", "error", "-rtsp_transport", "tcp", "-i", &address, "-c", "copy", &video])
        .stdin(Stdio::null())
        .spawn()
        .expect("starts");
    let mut frozen = client(&address, "tcp", "1000");
    until("two clients", PATIENCE, || (watching(&place) == 2).then_some(()));
    tool("kill", &["-STOP", &frozen.id().to_string()]);
    let at_first = forwarded.load(Ordering::Acquire);
    let mut random = rand::rng();
    let (mut there, mut started, mut killed) = (Vec::<Child>::new(), 0, 0);
    let began = Instant::now();
    while started < CLIENTS || !there.is_empty() {
        assert!(began.elapsed() < 4 * PATIENCE, "{started} clients came, {} are still there", there.len());
        while there.len() < AT_ONCE && started < CLIENTS {
            let transport = ["tcp", "udp"][random.random_range(0..2)];
            there.push(client(&address, transport, ["0.2", "0.5", "1000"][random.random_range(0..3)]));
            started += 1;
        }
        // Some are killed, at any moment of their lives; the others leave by themselves.
        if random.random_bool(0.3) {
            let victim = random.random_range(0..there.len());
            there[victim].kill().expect("killed");
            killed += 1;
        }
        there.retain_mut(|child| child.try_wait().expect("known").is_none());
        std::thread::sleep(Duration::from_millis(random.random_range(1..100)));
    }
    let shown = forwarded.load(Ordering::Acquire) - at_first;
    tool("kill", &["-CONT", &frozen.id().to_string()]);
    frozen.kill().expect("killed");
    frozen.wait().expect("gone");
    tool("kill", &["-INT", &neighbour.id().to_string()]);
    neighbour.wait().expect("ends");
    let last_left = Instant::now();
    let seen = counters(&video).len();
    let mut after = held(&service.id());
    while (after.0 > before.0 + SLACK_KIB || after.1 > before.1) && last_left.elapsed() < BACK_WITHIN {
        std::thread::sleep(Duration::from_millis(200));
        after = held(&service.id());
    }
    let seconds = last_left.elapsed().as_secs();
    aloud(&format!(
        "{CLIENTS} clients, {killed} of them killed, one frozen: {} KiB and {} files before, {} and {} {seconds} s after; \
         of {shown} frames \
         the neighbour saw {seen}",
        before.0, before.1, after.0, after.1,
    ));
    assert!(after.1 <= before.1, "files: {before:?}, then {after:?}");
    assert!(after.0 <= before.0 + SLACK_KIB, "memory: {before:?}, then {after:?}");
    assert!(shown > 5 * RATE as usize && seen * 20 >= shown * 19, "the neighbour saw {seen} of {shown}");
    assert_eq!(watching(&place), 0);
    assert!(service.stop().0.success());
}
