//! The full-size model with seeded random weights: it runs, what stays resident stays small, and processes share packed
//! weights.
#![expect(clippy::print_stdout, reason = "the child process reports to its parent, and both to the log")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use blocks::preprocess::{Letterboxer, RgbView};
use blocks::text::tokenizer::QueryTokenizer;
use candle_core::{DType, Device};
use qrnet::params::{Part, parameters};
use qrnet::{Arithmetic, CompiledQuery, Config, Grounder, ModelDir, NewModel, init, packed};

/// Set in the child process that loads the model for frames only.
const CHILD: &str = "QRNET_FULL_SIZE_DIR";
const MEGABYTE: u64 = 1_000_000;
const TEST: &str = "one_frame_runs_and_frame_time_needs_a_fifth_of_the_weights";

/// Memory of this process that is no file mapping, in bytes.
fn anonymous_memory() -> u64 {
    kilobytes(&std::fs::read_to_string("/proc/self/status").expect("Linux"), "RssAnon") * 1024
}

fn peak_memory() -> u64 {
    kilobytes(&std::fs::read_to_string("/proc/self/status").expect("Linux"), "VmHWM") * 1024
}

#[test]
fn one_frame_runs_and_frame_time_needs_a_fifth_of_the_weights() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return frames_only(Path::new(&dir));
    }
    let config =
        Config::from_toml(include_str!("../../../configs/model/qrnet-swin-s-l20.toml"), "swin-s").expect("valid");
    let frame_weights: u64 = parameters(&config)
        .filter(|spec| spec.part == Part::Frame)
        .map(|spec| 4 * spec.shape.iter().product::<usize>() as u64)
        .sum();
    assert!(frame_weights < 250 * MEGABYTE, "{frame_weights} bytes of frame-time weights");

    let dir = tempfile::tempdir().expect("a directory");
    let model = dir.path().join("model");
    {
        let tensors = init::parameters(&config, 1, &Device::Cpu).expect("drawn");
        assert_eq!(
            tensors.values().map(candle_core::Tensor::elem_count).sum::<usize>(),
            273_320_893 - 593_935 - 590_592
        );
        let tokenizer = QueryTokenizer::characters(config.max_query_len, config.bert.vocab_size).expect("a tokenizer");
        let new = NewModel {
            config: &config,
            tensors: &tensors,
            dtype: DType::F32,
            tokenizer: &tokenizer,
            card: "",
            trained: false,
        };
        ModelDir::write(&model, &new, false).expect("written").verify_digest().expect("the digest holds");
    }
    let grounder = Grounder::load(&model, &Device::Cpu).expect("loads");
    let longest = "abcdefghijklmnopqrstuvwxyz";
    let query = grounder.compile(longest).expect("compiles");
    assert_eq!(query.ids().len(), config.max_query_len);
    let file = model.join("query.safetensors");
    query.save(&file).expect("saved");
    let size = std::fs::metadata(&file).expect("there").len();
    assert!(size < 1_300_000, "the compiled query takes {size} bytes");
    let raw = ground(&grounder, &query);

    let boxed = format!("box {raw:?}");
    let alone = start(&model);
    let line = alone.report();
    assert!(line.contains(&boxed), "the frame-time loader gives another box: {line}, expected {boxed}");
    println!("whole model: peak {} MB; query {size} bytes; {line}", peak_memory() / MEGABYTE);
    let unpacked = alone.anonymous();
    drop(alone);

    let weights = packed::write(&ModelDir::open(&model).expect("opens"), Arithmetic::F32).expect("packed");
    let children = [start(&model), start(&model)];
    for child in &children {
        let line = child.report();
        assert!(line.contains(&boxed), "packed weights give another box: {line}, expected {boxed}");
        println!("with packed weights: {line}");
    }
    for child in &children {
        let (own, shares) = (child.anonymous(), child.shares(&weights));
        let rollup = child.file("smaps_rollup");
        println!("packed weights: resident {} MB, share {} MB; {}", shares.0, shares.1, pss(&rollup));
        assert!(own + frame_weights / 2 < unpacked, "{own} bytes of its own, {unpacked} without packed weights");
        // Each of two processes is charged with half of what both read.
        assert!(shares.0 > 0 && shares.1 * 10 <= shares.0 * 6, "{} of {} MB are this process's", shares.1, shares.0);
    }
}

/// The line of a process's proportional share of all that it has in memory.
fn pss(rollup: &str) -> String {
    rollup
        .lines()
        .find(|line| line.starts_with("Pss:"))
        .unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// A process that has grounded a frame, and waits.
struct Waiting {
    child: Child,
    told: String,
    /// It ends with an error where nobody listens.
    _output: BufReader<ChildStdout>,
}

fn start(model: &Path) -> Waiting {
    let mut child = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", TEST, "--nocapture"])
        .env(CHILD, model)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child runs");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut told = String::new();
    while output.read_line(&mut told).expect("text") > 0 {
        if told.contains("frames only:") {
            return Waiting { child, told, _output: output };
        }
    }
    panic!("the child ended: {:?}: {told}", child.wait());
}

impl Waiting {
    fn report(&self) -> &str {
        self.told.lines().last().unwrap_or_default()
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).expect("Linux")
    }

    fn anonymous(&self) -> u64 {
        kilobytes(&self.file("status"), "RssAnon") * 1024
    }

    /// Of a mapped file: what is in memory, and this process's share of it, in MB.
    fn shares(&self, mapped: &Path) -> (u64, u64) {
        let all = self.file("smaps");
        let name = mapped.canonicalize().expect("there");
        let own = all.split_once(name.to_str().expect("UTF-8")).expect("it is mapped").1;
        (kilobytes(own, "Rss:") / 1000, kilobytes(own, "Pss:") / 1000)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // The end of its input is what it waits for.
        drop(self.child.stdin.take());
        let ended = self.child.wait().expect("ends");
        assert!(ended.success() || std::thread::panicking(), "{ended}");
    }
}

/// The first number of kilobytes that a key has.
fn kilobytes(text: &str, key: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(key)).expect("the key");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

/// The child: loads without text and generators, grounds one frame, and waits.
fn frames_only(dir: &Path) {
    let (start, before) = (Instant::now(), anonymous_memory());
    let grounder = Grounder::load_for_frames(dir, &Device::Cpu).expect("loads");
    let query = grounder.load_query(&dir.join("query.safetensors")).expect("the query of this model");
    let loaded = start.elapsed();
    let resident = anonymous_memory() - before;
    assert!(resident < 250 * MEGABYTE, "{resident} bytes are resident after loading for frames");
    let start = Instant::now();
    let raw = ground(&grounder, &query);
    let first = start.elapsed();
    let start = Instant::now();
    assert_eq!(ground(&grounder, &query).map(f32::to_bits), raw.map(f32::to_bits), "twice the same");
    let (mb, peak, second) = (resident / MEGABYTE, peak_memory() / MEGABYTE, start.elapsed());
    println!(
        "frames only: loaded in {loaded:?}, resident {mb} MB of its own, one 640x640 frame in {first:?}, the next in {second:?}, peak {peak} MB, box {raw:?}"
    );
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).expect("waits");
}

fn ground(grounder: &Grounder, query: &CompiledQuery) -> [f32; 4] {
    let (width, height) = (1280, 720);
    let rgb: Vec<u8> = (0..3 * width * height).map(|i| (i * 7 % 253) as u8).collect();
    let view = RgbView::new(width, height, 3 * width, &rgb).expect("a picture");
    let picture = Letterboxer::default().letterbox(&view, grounder.canvas()).expect("letterboxed");
    let grounding = grounder.ground(&[&picture], query).expect("grounds")[0];
    assert!(grounding.raw.iter().all(|v| v.is_finite() && (0.0..=1.0).contains(v)), "{grounding:?}");
    grounding.raw
}
