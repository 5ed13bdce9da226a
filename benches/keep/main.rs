//! What it costs to keep clips and pictures of two cameras: processor time against the same run without sightings, in turns, and
//! memory.
//!
//! `cargo bench --bench keep` (ten turns, seven minutes; `-- 3` for three); `cargo test` runs it in short.

#[path = "../frame/quiet.rs"]
#[allow(dead_code)] // Other benches use more of it.
mod quiet;

/// Where lines go.
mod report {
    use std::io::Write;

    pub(crate) fn say(line: &str) {
        writeln!(std::io::stdout(), "{line}").expect("printed");
    }
}

#[path = "../common/process.rs"]
mod process;

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use report::say;
use serde_json::Value;

use process::{memory, processor_seconds};

/// Bytes of packets for each camera; its film has more in the time that is kept.
const RING: &str = "16MiB";
/// Frames of each camera before what is measured, and in it.
const WARM: u64 = 100;
const FRAMES: u64 = 375;
const RATE: f64 = 25.0;

/// A process that ends with its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A camera made of a film, and its address.
fn camera(program: &Path, film: &Path) -> (Process, String) {
    let mut child = Command::new(program).arg(film).stdout(Stdio::piped()).spawn().expect("starts");
    let mut address = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut address).expect("says its address");
    (Process(child), address.trim().to_owned())
}

/// A film that no run sees the end of, of as many bytes as good cameras send.
fn film(folder: &Path, media: &Path) -> PathBuf {
    let (once, film) = (folder.join("once.mp4"), folder.join("film.mp4"));
    let ffmpeg = |args: &[&str], from: &Path, to: &Path| {
        let loops = if from == media { "0" } else { "30" };
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-stream_loop", loops, "-i"]).arg(from).args(["-map", "0:v"]).args(args).arg(to);
        assert!(command.status().expect("ffmpeg starts").success());
    };
    ffmpeg(&["-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", "25", "-qp", "14"], media, &once);
    ffmpeg(&["-c", "copy"], &once, &film);
    film
}

/// What a run takes: cores, and memory at its end.
#[derive(Debug, Clone, Copy)]
struct Cost {
    cores: f64,
    mebibytes: f64,
}

/// Runs until both cameras have given so many frames, counted by its records.
fn run(addresses: &[String], more: &[&str], frames: u64) -> Cost {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spotter"));
    command.env_remove("SPOTTER_MODEL").args(["-q", "run", "--query", "a red car", "--out", "jsonl:-"]);
    command.args(["--max-fps", "5", "--threshold", "0"]).args(more);
    for address in addresses {
        command.args(["--source", address]);
    }
    let mut process = Process(command.stdout(Stdio::piped()).spawn().expect("starts"));
    let pid = process.0.id();
    let lines = BufReader::new(process.0.stdout.take().expect("piped")).lines();
    let (mut counts, mut before) = (HashMap::<String, u64>::new(), None);
    for line in lines.map_while(Result::ok) {
        let line: Value = serde_json::from_str(&line).expect("JSON");
        if line["schema"] != "spotter.frame/2" {
            continue;
        }
        *counts.entry(line["source"].as_str().expect("a name").to_owned()).or_default() += 1;
        let least = if counts.len() < addresses.len() { 0 } else { counts.values().copied().min().unwrap_or(0) };
        match before {
            None if least >= WARM => before = Some(processor_seconds(pid)),
            Some(before) if least >= WARM + frames => {
                let seconds = frames as f64 / RATE;
                let cores = (processor_seconds(pid) - before) / seconds;
                return Cost { cores, mebibytes: memory(pid, "VmRSS:") };
            }
            _ => {}
        }
    }
    panic!("it ended by itself");
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

fn main() {
    // `cargo test` passes --test, `cargo bench` --bench.
    let short = !std::env::args().any(|arg| arg == "--bench");
    let typed = std::env::args().skip(1).find_map(|arg| arg.parse::<usize>().ok());
    let (turns, frames) = if short { (1, 50) } else { (typed.unwrap_or(10), FRAMES) };
    let camera_program = Path::new(env!("CARGO_BIN_EXE_spotter")).with_file_name("examples").join("rtsp_camera");
    let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/bikes.mp4");
    if !camera_program.exists() || !media.exists() {
        return say(
            "left out: there is no camera (cargo build --release --examples) or no film (scripts/fetch-media.sh)",
        );
    }
    let scratch = tempfile::tempdir().expect("a folder");
    let film = film(scratch.path(), &media);
    let (cameras, addresses): (Vec<_>, Vec<_>) = (0..2).map(|_| camera(&camera_program, &film)).unzip();
    let others: Vec<u32> = cameras.iter().map(|camera| camera.0.id()).collect();
    let folder = scratch.path().join("kept");
    let zones = |name: &str, keys: &str| {
        let table = scratch.path().join(name);
        std::fs::write(&table, format!("[sightings]\n{keys}")).expect("written");
        table.display().to_string()
    };
    let clips = format!("clips = {{ before = \"5s\", after = \"5s\", max_length = \"10s\", memory = {RING:?} }}");
    let kept = zones("kept.toml", &format!("dir = {:?}\nsnapshots = true\n{clips}\n", folder.display().to_string()));
    let ways: [(&str, &[&str]); 2] = [("no sightings", &[]), ("clips and pictures", &["--zones", &kept])];
    say(&format!("two cameras of 25 frames/s, {frames} frames each, five a second measured; rings of {RING} each"));
    let (mut costs, mut spoilt) = (vec![Vec::new(); ways.len()], 0);
    for turn in 0..turns {
        // Each is the first one half of the time.
        for way in (0..ways.len()).map(|way| (way + turn) % ways.len()) {
            let (name, more) = ways[way];
            let mut memory = f64::NAN;
            let cores = quiet::sample(name, &others, &mut spoilt, || {
                let Cost { cores, mebibytes } = run(&addresses, more, frames);
                memory = mebibytes;
                cores
            });
            say(&format!("  {name:<18} {cores:.4} cores, {memory:.1} MiB"));
            costs[way].push(Cost { cores, mebibytes: memory });
        }
    }
    let files = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let files = files.filter_map(|day| std::fs::read_dir(day.path()).ok()).map(Iterator::count).sum::<usize>();
    say(&format!("medians of {turns} turns, {spoilt} runs spoilt by others; {files} files were kept"));
    for ((name, _), costs) in ways.iter().zip(&costs) {
        let cores = median(costs.iter().map(|cost| cost.cores));
        let mebibytes = median(costs.iter().map(|cost| cost.mebibytes));
        say(&format!("  {name:<18} {cores:.4} cores, {mebibytes:.1} MiB"));
    }
    let growth = median(costs[1].iter().map(|cost| cost.cores)) / median(costs[0].iter().map(|cost| cost.cores)) - 1.0;
    say(&format!("  processor time grows by {:.2} %", 100.0 * growth));
}
