//! The program as its users start it: time to the first record, frames a second from file to records and to video, and
//! several streams at once.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::growth::{Curve, resident};
use super::quiet;
use super::report::{Row, Table, say};

/// A clip to ground: H.264, 1280x720.
pub(crate) struct Clip {
    pub(crate) path: PathBuf,
    pub(crate) frames: usize,
}

impl Clip {
    /// `copies` of `media/bigbuckbunny.mp4` after one another, in `folder`.
    pub(crate) fn of_copies(folder: &Path, copies: usize) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/bigbuckbunny.mp4");
        assert!(source.exists(), "{} is missing: `make bench` fetches it", source.display());
        let list = folder.join("clips.txt");
        let line = format!("file '{}'\n", source.display());
        std::fs::write(&list, line.repeat(copies)).expect("written");
        let path = folder.join(format!("clip-{copies}.mp4"));
        let made = Command::new("ffmpeg")
            .args(["-v", "error", "-y", "-f", "concat", "-safe", "0", "-i"])
            .arg(&list)
            .args(["-c", "copy", "-an"])
            .arg(&path)
            .status();
        assert!(made.expect("ffmpeg starts").success());
        Self { path, frames: 132 * copies }
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spotter"));
    command.env_remove("SPOTTER_MODEL").args(["-q", "run", "--source"]);
    command
}

/// Milliseconds of every way, by its flags, in turns.
fn in_turns(ways: &[(&str, Vec<&str>)], rounds: usize, once: impl Fn(&[&str]) -> f64) -> Vec<Row> {
    let row = |(name, _): &(&str, Vec<&str>)| Row { name: (*name).into(), times: Vec::new(), spoilt: 0 };
    let mut rows: Vec<Row> = ways.iter().map(row).collect();
    for _ in 0..rounds {
        for ((name, flags), Row { times, spoilt, .. }) in ways.iter().zip(&mut rows) {
            times.push(quiet::sample(name, &[], spoilt, || once(flags)));
        }
    }
    rows
}

/// Milliseconds from process start to the first record.
fn first_record(clip: &Clip, flags: &[&str]) -> f64 {
    let start = Instant::now();
    let mut child = program()
        .arg(&clip.path)
        .args(flags)
        .args(["--out", "jsonl:-"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let found = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("spotter.frame/")));
    let took = start.elapsed();
    assert!(found.is_some(), "{flags:?}: no record came");
    child.kill().and_then(|()| child.wait()).expect("ends");
    took.as_secs_f64() * 1e3
}

/// A copy of the model `full` with packed weights beside it.
fn packed(full: &Path, folder: &Path) -> PathBuf {
    let copy = folder.join("packed");
    std::fs::create_dir_all(&copy).expect("made");
    for file in std::fs::read_dir(full).expect("listed") {
        let file = file.expect("an entry");
        std::fs::copy(file.path(), copy.join(file.file_name())).expect("copied");
    }
    let done = Command::new(env!("CARGO_BIN_EXE_spotter")).args(["-q", "convert", "--packed"]).arg(&copy).status();
    assert!(done.expect("starts").success());
    copy
}

/// From process start to the first record, on a warm disk cache.
pub(crate) fn start(full: &Path, rounds: usize, folder: &Path) -> Table {
    let clip = Clip::of_copies(folder, 1);
    let picture = folder.join("first.png");
    image::RgbImage::from_pixel(64, 64, image::Rgb([90, 120, 60])).save(&picture).expect("written");
    let saved = |name: &str, model: &[&str]| -> String {
        let file = folder.join(format!("{name}.safetensors")).display().to_string();
        let done = Command::new(env!("CARGO_BIN_EXE_spotter"))
            .args(["-q", "ground"])
            .arg(&picture)
            .args(["--query", "the red car", "--save-query", &file])
            .args(model)
            .stdout(Stdio::null())
            .status();
        assert!(done.expect("starts").success());
        file
    };
    let packed = packed(full, folder).display().to_string();
    let full = full.display().to_string();
    let (default_query, full_query) = (saved("default", &[]), saved("full", &["--model", &full]));
    let ways: [(&str, Vec<&str>); 5] = [
        ("built-in model, query as text", vec!["--query", "the red car"]),
        ("built-in model, compiled query", vec!["--compiled-query", &default_query]),
        ("full model, query as text", vec!["--query", "the red car", "--model", &full]),
        ("full model, compiled query", vec!["--compiled-query", &full_query, "--model", &full]),
        ("full model with packed weights, compiled query", vec!["--compiled-query", &full_query, "--model", &packed]),
    ];
    let rows = in_turns(&ways, rounds, |flags| first_record(&clip, flags));
    let table = Table { title: "from process start to the first record, 1280x720 H.264".into(), rows };
    say(&table.markdown());
    table
}

/// Milliseconds a frame for a whole run of the built-in model.
fn whole_run(clip: &Clip, flags: &[&str]) -> f64 {
    let start = Instant::now();
    let done = program().arg(&clip.path).args(["--query", "the red circle"]).args(flags).status();
    assert!(done.expect("starts").success());
    start.elapsed().as_secs_f64() * 1e3 / clip.frames as f64
}

/// From H.264 to records, and to records and video, with the built-in model.
pub(crate) fn pipeline(rounds: usize, folder: &Path) -> Table {
    let clip = Clip::of_copies(folder, 8);
    let pipeline = folder.join("ultrafast.toml");
    let built_in = include_str!("../../pipelines/mkv.toml");
    assert!(built_in.contains("speed-preset=veryfast"));
    std::fs::write(&pipeline, built_in.replace("speed-preset=veryfast", "speed-preset=ultrafast")).expect("written");
    let (records, video) = (format!("jsonl:{}", folder.join("out.jsonl").display()), folder.join("out.mkv"));
    let (video, pipeline) = (format!("mkv:{}", video.display()), pipeline.display().to_string());
    let ways: [(&str, Vec<&str>); 3] = [
        ("decode to JSON Lines", vec!["--out", &records]),
        ("and video, ultrafast", vec!["--out", &records, "--out", &video, "--pipeline", &pipeline]),
        ("and video, veryfast", vec!["--out", &records, "--out", &video]),
    ];
    let rows = in_turns(&ways, rounds, |flags| whole_run(&clip, flags));
    for row in &rows {
        say(&format!("{}: {:.0} frames/s", row.name, 1e3 / row.median()));
    }
    let table =
        Table { title: "built-in model, 1280x720 H.264, ms a frame, start of the program included".into(), rows };
    say(&table.markdown());
    table
}

/// What frames are asked where several things are looked for: sentences of one length.
pub(crate) const QUERIES: [&str; 3] = ["the red car", "a white dog", "the big bus"];

/// Milliseconds of processor time, user and system, of a whole run of the built-in model, a frame of each stream.
fn processor_time(flags: &[&str], frames: usize) -> f64 {
    let before = quiet::spent();
    let done = program().args(flags).status();
    assert!(done.expect("starts").success(), "{flags:?}");
    quiet::spent().saturating_sub(before).as_secs_f64() * 1e3 / frames as f64
}

/// What a second and third query cost, and a second and third stream, from H.264 to records.
pub(crate) fn several(rounds: usize, folder: &Path) -> Table {
    let clip = Clip::of_copies(folder, 4);
    let mut streams = String::new();
    for (k, query) in QUERIES.iter().enumerate() {
        let own = folder.join(format!("own-{k}.mp4"));
        std::fs::copy(&clip.path, &own).expect("copied");
        // Writing to a string cannot fail.
        let _ = writeln!(streams, "[[stream]]\nid = \"{k}\"\nsource = \"{}\"\nquery = \"{query}\"", own.display());
    }
    let file = folder.join("three.streams");
    std::fs::write(&file, streams).expect("written");
    let out = format!("jsonl:{}", folder.join("several-{source}.jsonl").display());
    let (clip, frames, file) = (clip.path.display().to_string(), clip.frames, file.display().to_string());
    let of_clip = |queries: &[&'static str]| -> Vec<&str> {
        let queries = queries.iter().flat_map(|query| ["--query", *query]);
        [clip.as_str(), "--out", &out].into_iter().chain(queries).collect()
    };
    let ways: [(&str, Vec<&str>); 3] = [
        ("one stream, one query", of_clip(&QUERIES[..1])),
        ("one stream, three queries", of_clip(&QUERIES)),
        ("three streams, one query each", vec![file.as_str(), "--out", &out]),
    ];
    let rows = in_turns(&ways, rounds, |flags| processor_time(flags, frames));
    let title =
        "built-in model, 1280x720 H.264 to records, ms of processor time a frame of each stream, start included";
    let table = Table { title: title.into(), rows };
    say(&table.markdown());
    table
}

/// Time for a frame of each of several streams, and the process's memory at its highest.
pub(crate) fn streams(folder: &Path) -> Curve {
    let clip = Clip::of_copies(folder, 4);
    let mut points = Vec::new();
    for count in [1, 2, 4, 8] {
        let start = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_spotter"));
        command.args(["-q", "run", "--query", "the red circle"]);
        for stream in 0..count {
            let own = folder.join(format!("stream-{stream}.mp4"));
            std::fs::copy(&clip.path, &own).expect("copied");
            command.arg("--source").arg(own);
        }
        command.args(["--out", &format!("jsonl:{}", folder.join("streams-{source}.jsonl").display())]);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("starts");
        let mut highest = 0.0f64;
        let status = loop {
            highest = highest.max(resident(&child.id().to_string()));
            if let Some(status) = child.try_wait().expect("known") {
                break status;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        let mut said = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut said).expect("heard");
        assert!(status.success(), "{said}");
        let ms = start.elapsed().as_secs_f64() * 1e3 / clip.frames as f64;
        points.push((f64::from(count), ms, highest));
    }
    Curve { title: "built-in model, streams of 1280x720 H.264".into(), unit: "streams", points, labels: None }
}
