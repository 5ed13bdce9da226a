//! What a process takes whose model only grounds: a process of its own, for memory that others left is not given back.

use std::path::Path;
use std::process::Command;

use blocks::canvas::Grid;
use candle_core::Device;
use grounding_dino::Grounder;

use super::given::picture;

/// Set in the child's environment: the model directory, and a compiled query.
const MODEL: &str = "SPOTTER_BENCH_MEMORY_MODEL";
const QUERY: &str = "SPOTTER_BENCH_MEMORY_QUERY";

/// Resident megabytes of this process.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a field");
    let kib: f64 = line.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number");
    kib * 1024.0 / 1e6
}

/// In the child: says what it takes before, with the model, and with a frame.
pub(crate) fn child() -> Option<String> {
    let (model, query) = (std::env::var_os(MODEL)?, std::env::var_os(QUERY)?);
    let before = resident();
    let grounder = Grounder::load_for_frames(Path::new(&model), &Device::Cpu).expect("loads");
    let loaded = resident();
    let query = grounder.load_query(Path::new(&query)).expect("a query");
    let picture = picture(Grid { h: 384, w: 640 });
    for _ in 0..2 {
        grounder.ground_each(&[&picture], &[&[&query]]).expect("grounds");
    }
    Some(format!("{before:.0} {loaded:.0} {:.0}", resident()))
}

/// Megabytes of a process that grounds with the model in `dir`: with the model loaded, and behind a frame of 640x384.
pub(crate) fn measured(dir: &Path, query: &Path) -> [f64; 2] {
    let this = std::env::current_exe().expect("this program");
    let ran = Command::new(this).env(MODEL, dir).env(QUERY, query).output().expect("runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let numbers: Vec<f64> = said.split_whitespace().map(|n| n.parse().expect("a number")).collect();
    let [before, loaded, frame] = numbers[..] else { panic!("{said:?}") };
    [loaded - before, frame - before]
}
