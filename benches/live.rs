//! Live streams: delay and memory under overload, shares of streams of unequal rates, several streams on one model
//! against as many processes, and what it costs to serve one to nobody, to one and to eight clients.
//!
//! `cargo bench --bench live` (about eight minutes; `-- overload`, `shares`, `together` or `serve` for a part); `cargo test`
//! runs it in short.

#[path = "common/process.rs"]
mod process;

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use blocks::preprocess::Rect;
use crossbeam_channel::bounded;
use grounding::Canvas;
use records::RecordPlace;
use serde_json::Value;
use spotter::cli::RunArgs;
use spotter::config::RunSettings;
use spotter::run::stream_until;
use spotter::stage::{Answer, Ground, Job, one_box};

use process::{memory, processor_seconds};

/// Finds a box after a while, in all pictures at once or in one after the other.
struct Slow(Duration);

impl Ground for Slow {
    fn canvas(&self) -> Canvas {
        Canvas { width: 128, height: 128 }
    }

    fn ground(&mut self, jobs: &[Job]) -> grounding::Result<Vec<Answer>> {
        std::thread::sleep(self.0 * u32::try_from(jobs.len()).unwrap_or(1));
        Ok(jobs.iter().map(|_| one_box(Rect { x0: 10.0, y0: 10.0, x1: 60.0, y1: 60.0 }, None)).collect())
    }
}

fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("printed");
}

/// Frame records of a live run of so long.
fn run_for(sources: &[&str], model: Slow, length: Duration) -> Vec<Value> {
    let scratch = tempfile::tempdir().expect("a folder");
    let to = scratch.path().join("out.jsonl");
    let sources = sources.iter().map(|source| (*source).to_owned()).collect();
    let args = RunArgs { source: sources, query: vec!["anything".into()], ..RunArgs::default() };
    let mut settings = RunSettings::resolve(args).expect("valid");
    for stream in &mut settings.streams {
        stream.records.push(RecordPlace::native(to.clone()));
    }
    let (stop, stopped) = bounded(0);
    let run = std::thread::spawn(move || stream_until(&settings, Box::new(model), None, true, stopped));
    let began = Instant::now();
    let me = std::process::id();
    let mut rss = Vec::new();
    while began.elapsed() < length {
        std::thread::sleep(length / 10);
        rss.push(format!("{:.1}", memory(me, "VmRSS:")));
    }
    drop(stop);
    let books = run.join().expect("no panic").expect("no failure");
    assert!(books.frames.closed(), "{books}");
    say(&format!("  {books}; resident MiB over time: {}", rss.join(" ")));
    let text = std::fs::read_to_string(&to).expect("read");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a record"));
    lines.filter(|line| line["schema"] == "spotter.frame/2").collect()
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get((share * (values.len() - 1) as f64).round() as usize).copied().unwrap_or(f64::NAN)
}

fn overload(length: Duration) {
    say(&format!("overload: 30 frames/s, 300 ms a frame, {} s", length.as_secs()));
    let records = run_for(&["test:ball?live=true&fps=30&size=640x360"], Slow(Duration::from_millis(300)), length);
    for (what, measured) in [("measured", true), ("dropped", false)] {
        let of_kind = records.iter().filter(|record| record["measured"] == measured);
        let mut delays: Vec<f64> = of_kind.filter_map(|record| record["latency_ms"]["total"].as_f64()).collect();
        let count = delays.len();
        let (half, most) = (quantile(&mut delays, 0.5), quantile(&mut delays, 0.99));
        let worst = quantile(&mut delays, 1.0);
        say(&format!(
            "  {what:<9} {count:>6} frames: from appsink to record p50 {half:.0} ms, p99 {most:.0}, worst {worst:.0}"
        ));
    }
}

fn shares(length: Duration) {
    say("shares: one stream of 100 frames/s and three of 25, 30 ms a frame: 33 frames/s for all");
    let sources = [
        "test:ball?live=true&fps=100&size=320x192",
        "test:smpte?live=true&fps=25&size=320x192",
        "test:snow?live=true&fps=25&size=320x192",
        "test:bar?live=true&fps=25&size=320x192",
    ];
    let records = run_for(&sources, Slow(Duration::from_millis(30)), length);
    let mut counts: HashMap<String, usize> = HashMap::new();
    for record in records.iter().filter(|record| record["measured"] == true) {
        *counts.entry(record["source"].as_str().expect("a name").to_owned()).or_default() += 1;
    }
    let fair = counts.values().sum::<usize>() as f64 / sources.len() as f64;
    for source in sources {
        let count = counts.get(source).copied().unwrap_or(0);
        say(&format!("  {source:<45} {count:>5} measured: {:.0} % of a fair share", 100.0 * count as f64 / fair));
    }
}

/// The program, with the built-in model.
fn program(sources: &[&Path], more: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spotter"));
    command
        .env_remove("SPOTTER_MODEL")
        .args(["-q", "run", "--query", "a red car", "--out", "jsonl:/dev/null"])
        .args(more);
    for source in sources {
        command.arg("--source").arg(source);
    }
    command.stdout(Stdio::null()).spawn().expect("starts")
}

/// Seconds until all are done, and the most memory that they held together, MiB.
fn cost(mut children: Vec<Child>) -> (f64, f64) {
    let began = Instant::now();
    let mut most = 0.0_f64;
    loop {
        // What stands there is the most so far, also after the peak.
        let held: f64 = children.iter().map(|child| memory(child.id(), "VmHWM:")).filter(|mib| mib.is_finite()).sum();
        most = most.max(held);
        if children.iter_mut().all(|child| child.try_wait().expect("known").is_some()) {
            return (began.elapsed().as_secs_f64(), most);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn together_or_apart(turns: usize) {
    let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/bikes.mp4");
    assert!(media.exists(), "{} is missing: run scripts/fetch-media.sh", media.display());
    let scratch = tempfile::tempdir().expect("a folder");
    let clips: Vec<_> = (0..4)
        .map(|k| {
            let clip = scratch.path().join(format!("{k}.mp4"));
            std::fs::copy(&media, &clip).expect("copied");
            clip
        })
        .collect();
    let clips: Vec<&Path> = clips.iter().map(std::path::PathBuf::as_path).collect();
    let frames = 4.0 * 250.0;
    say("four clips of 250 frames at once, built-in model, decode to records (median of turns)");
    let ways: [(&str, &dyn Fn() -> Vec<Child>); 3] = [
        ("one process, batches of 4", &|| vec![program(&clips, &["--max-batch", "4"])]),
        ("one process, one by one", &|| vec![program(&clips, &["--max-batch", "1"])]),
        ("four processes", &|| clips.iter().map(|clip| program(&[clip], &[])).collect()),
    ];
    let mut costs = vec![Vec::new(); ways.len()];
    for _ in 0..turns {
        for (way, costs) in ways.iter().zip(&mut costs) {
            costs.push(cost(way.1()));
        }
    }
    for ((name, _), costs) in ways.iter().zip(costs) {
        let (mut seconds, mut memory): (Vec<f64>, Vec<f64>) = costs.into_iter().unzip();
        let (seconds, memory) = (quantile(&mut seconds, 0.5), quantile(&mut memory, 0.5));
        say(&format!("  {name:<26} {:>6.1} frames/s, {memory:>6.1} MiB", frames / seconds));
    }
}

fn serve(length: Duration) {
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let address = format!("rtsp://127.0.0.1:{port}/found");
    let source = Path::new("test:ball?live=true&fps=25&size=1280x720");
    say("serve: 720p at 25 frames/s, built-in model, H.264 by x264 ultrafast");
    let mut server = program(&[source], &["--out", &address]);
    let mut of_nobody = f64::NAN;
    for clients in [0, 1, 8] {
        let mut watching: Vec<Child> = (0..clients)
            .map(|_| {
                let mut ffmpeg = Command::new("ffmpeg");
                ffmpeg.args(["-v", "quiet", "-rtsp_transport", "tcp", "-i", &address, "-c", "copy", "-f", "null", "-"]);
                ffmpeg.stdin(Stdio::null()).spawn().expect("ffmpeg starts")
            })
            .collect();
        // They have to find out what it is.
        std::thread::sleep(length / 2);
        let before = processor_seconds(server.id());
        std::thread::sleep(length);
        let share = (processor_seconds(server.id()) - before) / length.as_secs_f64();
        if clients == 0 {
            of_nobody = share;
        }
        let times = share / of_nobody;
        let held = memory(server.id(), "VmRSS:");
        say(&format!("  {clients} clients: {share:.2} cores ({times:.2} times), {held:.0} MiB"));
        for client in &mut watching {
            client.kill().expect("killed");
            client.wait().expect("gone");
        }
    }
    server.kill().expect("killed");
    server.wait().expect("gone");
}

fn main() {
    gstreamer::init().expect("GStreamer starts");
    // `cargo test` passes --test, `cargo bench` --bench.
    let short = !std::env::args().any(|arg| arg == "--bench");
    let (long, some, turns, watched) = if short { (4, 3, 1, 2) } else { (300, 60, 5, 10) };
    let named: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| named.is_empty() || named.iter().any(|named| named == name);
    if wanted("overload") {
        overload(Duration::from_secs(long));
    }
    if wanted("shares") {
        shares(Duration::from_secs(some));
    }
    if wanted("together") {
        together_or_apart(turns);
    }
    if wanted("serve") {
        serve(Duration::from_secs(watched));
    }
}
