//! Half an hour of four cameras that come and go, each asked three queries, and an hour of one that a Grounding DINO looks at:
//! nothing grows. `make test-slow` runs them; `SPOTTER_SOAK_MINUTES` makes them shorter or longer.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use serde_json::Value;

use super::events;
use crate::support::relay::{self, Harm};
use crate::support::servers::Server;
use crate::support::{Scratch, aloud, bikes, command, grounding_dino, raw_lines, repository, tool};

/// Four streams that look for three things each: some for the same as others, some for what nobody else does.
const QUERIES: [[&str; 3]; 4] = [
    ["the red car", "a dog", "the white square"],
    ["a dog", "the blue circle", "the star"],
    ["the red car", "a dog", "the white square"],
    ["the white square", "the red car", "the green ring"],
];
/// What begins with this is asked for all that match.
const ALL: &str = "all: ";
/// A camera is harmed this often, each in its turn, for so long.
const EVERY: Duration = Duration::from_secs(20);
const LASTS: Duration = Duration::from_secs(6);
/// After what time a camera that came back is as it was.
const SETTLES: Duration = Duration::from_secs(8);
/// Until then everything that is needed once has been needed.
const WARM: f64 = 300.0;
const GROWTH_KIB: f64 = 5.0 * 1024.0;

/// What was seen in one second.
struct Second {
    at: f64,
    rss_kib: f64,
    threads: usize,
    files: usize,
    frames: usize,
    delays: Vec<f64>,
    /// All cameras have been there for a while.
    settled: bool,
}

#[test]
#[ignore = "takes half an hour: make test-slow"]
fn four_cameras_for_half_an_hour() {
    soak("soak", 30.0, &QUERIES, &[]);
}

/// Random weights: what is found means nothing, but there is always something, so that there are boxes, ids and ends of tracks.
#[test]
#[ignore = "takes an hour: make test-slow"]
fn a_camera_of_grounding_dino_for_an_hour() {
    let model = grounding_dino("idea-7");
    let queries = [["all: a red car", "the left dog", "all: small umbrella"]];
    let ids = soak("soak-dino", 60.0, &queries, &["--model", &model, "--threshold", "0.1"]);
    assert!(ids > 10, "{ids} things had an id");
}

/// Cameras that come and go, one for each of the lists of queries; tables go to `out/NAME`. Returns how many things had an id.
fn soak(name: &str, usual: f64, queries: &[[&str; 3]], flags: &[&str]) -> usize {
    let minutes = std::env::var("SPOTTER_SOAK_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let length = Duration::from_secs_f64(60.0 * minutes);
    let scratch = Scratch::new();
    let long = scratch.file("long.mp4");
    let loops = (length.as_secs() / 10 + 10).to_string();
    tool("ffmpeg", &["-v", "error", "-stream_loop", &loops, "-i", &bikes(), "-c", "copy", "-an", &long]);
    let cameras: Vec<Server> = queries.iter().map(|_| Server::camera(&long, &[])).collect();
    let (addresses, levers): (Vec<_>, Vec<_>) =
        cameras.iter().map(|camera| relay::tcp(&camera.address, Harm::None)).unzip();
    let streams = scratch.write("four.streams", settings(&addresses, queries).as_bytes());
    let usual = ["-q", "run", "--source", &streams, "--out", "jsonl:-", "--stall-timeout", "3s"];
    let mut run = command(&[&usual, flags].concat()).stdout(Stdio::piped()).spawn().expect("starts");
    let lines = BufReader::new(run.stdout.take().expect("piped")).lines();
    let delays = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&delays);
    let reader = std::thread::spawn(move || {
        let (mut told, mut ids) = (String::new(), std::collections::HashSet::new());
        for line in lines.map_while(Result::ok) {
            if line.contains("spotter.event/1") {
                told += &(line + "\n");
                continue;
            }
            let record: Value = serde_json::from_str(&line).expect("a record");
            let total = record["latency_ms"]["total"].as_f64().expect("a time");
            heard.lock().expect("whole").push(total);
            let things = record["objects"].as_array().into_iter().flatten();
            ids.extend(things.filter_map(|thing| thing["id"].as_u64()));
        }
        (told, ids.len())
    });

    let (began, folder) = (Instant::now(), format!("/proc/{}", run.id()));
    let mut seconds: Vec<Second> = Vec::new();
    let mut harmed = std::collections::HashSet::new();
    while began.elapsed() < length {
        std::thread::sleep(Duration::from_secs(1));
        let turn = began.elapsed().as_secs() / EVERY.as_secs();
        let (victim, harm) =
            (turn as usize % levers.len(), if turn.is_multiple_of(2) { Harm::Cut } else { Harm::Stall });
        let within = began.elapsed().saturating_sub(EVERY * u32::try_from(turn).expect("small"));
        let mends = within >= LASTS || turn == 0;
        if !mends {
            harmed.insert(turn);
        }
        levers[victim].set(if mends { Harm::None } else { harm });
        let status = std::fs::read_to_string(format!("{folder}/status")).expect("still runs");
        let field = |name: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
            line.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number")
        };
        let delays = std::mem::take(&mut *delays.lock().expect("whole"));
        seconds.push(Second {
            at: began.elapsed().as_secs_f64(),
            rss_kib: field("VmRSS:"),
            threads: field("Threads:") as usize,
            files: std::fs::read_dir(format!("{folder}/fd")).expect("listed").count(),
            frames: delays.len(),
            delays,
            settled: within > LASTS + SETTLES,
        });
    }
    for lever in &levers {
        lever.set(Harm::None);
    }
    tool("kill", &["-INT", &run.id().to_string()]);
    run.wait().expect("ends");
    let (told, ids) = reader.join().expect("read");
    let told = raw_lines(&told);

    let out = repository().join("out").join(name);
    std::fs::create_dir_all(&out).expect("made");
    let table = table(&seconds);
    std::fs::write(out.join("table.md"), &table).expect("written");
    plot(&seconds, &out.join("soak.png"));
    let harms = harmed.len();
    let gaps = events(&told, "gap_start").len();
    let back = events(&told, "gap_end").len();
    aloud(&format!("{table}\n{harms} times a camera was cut off or stalled; {gaps} gaps, {back} ended"));
    accounts_close(&told, queries);
    // The last harm may have come too late for the watchdog.
    assert!(gaps + 1 >= harms && back + queries.len() > gaps, "{gaps} gaps, {back} ended");
    if length.as_secs_f64() < 2.0 * WARM {
        aloud("too short to say whether memory grows");
        return ids;
    }
    // A connection holds more while it begins: like is compared with like.
    let rss = |from: f64, to: f64| {
        median(seconds.iter().filter(|s| s.settled && (from..to).contains(&s.at)).map(|s| s.rss_kib))
    };
    let last = seconds.last().expect("some").at;
    let (early, late) = (rss(WARM - 60.0, WARM + 60.0), rss(last - 120.0, last + 1.0));
    aloud(&format!("settled: {:.1} MiB around minute 5, {:.1} at the end", early / 1024.0, late / 1024.0));
    assert!(late - early < GROWTH_KIB, "{:.1} MiB more", (late - early) / 1024.0);
    ids
}

/// The cameras, each with its queries.
fn settings(addresses: &[String], queries: &[[&str; 3]]) -> String {
    let mut streams = String::new();
    for (k, (address, queries)) in addresses.iter().zip(queries).enumerate() {
        let _ = writeln!(streams, "[[stream]]\nid = \"camera-{k}\"\nsource = \"{address}\"");
        for query in queries {
            let (all, text) = (query.starts_with(ALL), query.strip_prefix(ALL).unwrap_or(query));
            let _ = writeln!(streams, "[[stream.query]]\ntext = \"{text}\"\nall = {all}");
        }
    }
    streams
}

/// Of every camera and every query.
fn accounts_close(told: &[Value], queries: &[[&str; 3]]) {
    for end in events(told, "end") {
        let count = |counts: &Value, kind: &str| counts[kind].as_u64().expect("a count");
        let entered = ["measured", "skipped", "dropped", "error"].map(|kind| count(&end["frames"], kind));
        assert_eq!(count(&end["frames"], "decoded"), entered.iter().sum::<u64>(), "the books close: {end}");
        let of_each = end["queries"].as_array().expect("a list");
        assert_eq!(of_each.len(), queries[0].len(), "{end}");
        for query in of_each {
            assert_eq!(count(query, "box") + count(query, "absent"), entered[0], "for every query: {end}");
        }
    }
    assert_eq!(events(told, "end").len(), queries.len());
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    quantile(&mut values.collect::<Vec<_>>(), 0.5)
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get((share * values.len().saturating_sub(1) as f64).round() as usize).copied().unwrap_or(f64::NAN)
}

/// A line a minute.
fn table(seconds: &[Second]) -> String {
    let mut text =
        "| minute | frames/s | delay ms p50 | p99 | RSS MiB | threads | files |\n|---|---|---|---|---|---|---|\n"
            .to_owned();
    for (minute, seconds) in seconds.chunk_by(|a, b| (a.at / 60.0) as u64 == (b.at / 60.0) as u64).enumerate() {
        let mut delays: Vec<f64> = seconds.iter().flat_map(|s| s.delays.iter().copied()).collect();
        let frames: usize = seconds.iter().map(|s| s.frames).sum();
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.1} | {:.1} | {:.1} | {} | {} |",
            minute + 1,
            frames as f64 / seconds.len() as f64,
            quantile(&mut delays, 0.5),
            quantile(&mut delays, 0.99),
            median(seconds.iter().map(|s| s.rss_kib)) / 1024.0,
            seconds.iter().map(|s| s.threads).max().unwrap_or(0),
            seconds.iter().map(|s| s.files).max().unwrap_or(0),
        );
    }
    text
}

/// Delay above, memory below, over minutes.
fn plot(seconds: &[Second], path: &Path) {
    const FONT: &str = "soak-sans";
    const SIZE: (u32, u32) = (1200, 700);
    // No font of the system is looked for.
    assert!(register_font(FONT, FontStyle::Normal, dejavu::sans::regular()).is_ok());
    let mut pixels = vec![255; 3 * (SIZE.0 * SIZE.1) as usize];
    {
        let root = BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area();
        root.fill(&WHITE).expect("drawn");
        let (top, bottom) = root.split_vertically(SIZE.1 / 2);
        let delay = |share: f64| -> Vec<(f64, f64)> {
            let mut points: Vec<_> =
                seconds.iter().map(|s| (s.at / 60.0, quantile(&mut s.delays.clone(), share))).collect();
            points.retain(|(_, delay)| delay.is_finite());
            points
        };
        let rss: Vec<(f64, f64)> = seconds.iter().map(|s| (s.at / 60.0, s.rss_kib / 1024.0)).collect();
        let end = seconds.last().map_or(1.0, |s| s.at / 60.0);
        let panels = [
            (top, "Delay from the decoder to the record, ms (median, and 99 of 100)", vec![delay(0.99), delay(0.5)]),
            (bottom, "Resident memory, MiB", vec![rss]),
        ];
        for (area, title, lines) in panels {
            let most = lines.iter().flatten().map(|(_, y)| *y).fold(1.0, f64::max);
            let mut chart = ChartBuilder::on(&area)
                .caption(title, (FONT, 20))
                .margin(12)
                .x_label_area_size(30)
                .y_label_area_size(60)
                .build_cartesian_2d(0.0..end, 0.0..1.1 * most)
                .expect("drawn");
            chart.configure_mesh().label_style((FONT, 14)).x_desc("minutes").draw().expect("drawn");
            for (line, colour) in lines.into_iter().zip([RGBColor(255, 127, 14), RGBColor(31, 119, 180)]) {
                chart.draw_series(LineSeries::new(line, colour)).expect("drawn");
            }
        }
        root.present().expect("drawn");
    }
    image::RgbImage::from_raw(SIZE.0, SIZE.1, pixels).expect("whole").save(path).expect("saved");
}
