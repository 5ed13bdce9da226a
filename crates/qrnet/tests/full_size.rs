//! The full-size model with seeded random weights: it runs, and what stays resident stays small.
#![expect(clippy::print_stdout, reason = "the child process reports to its parent, and both to the log")]

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use blocks::preprocess::{Letterboxer, RgbView};
use blocks::text::tokenizer::QueryTokenizer;
use candle_core::{DType, Device};
use qrnet::params::{Part, parameters};
use qrnet::{CompiledQuery, Config, Grounder, ModelDir, NewModel, init};

/// Set in the child process that loads the model for frames only.
const CHILD: &str = "QRNET_FULL_SIZE_DIR";
const MEGABYTE: u64 = 1_000_000;

/// Memory of this process that is no file mapping, in bytes.
fn anonymous_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("RssAnon")).expect("RssAnon");
    let kilobytes: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    kilobytes * 1024
}

fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("VmHWM");
    let kilobytes: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    kilobytes * 1024
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

    let output = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "one_frame_runs_and_frame_time_needs_a_fifth_of_the_weights", "--nocapture"])
        .env(CHILD, &model)
        .output()
        .expect("the child runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find(|line| line.contains("frames only:")).expect("a report");
    let boxed = format!("box {raw:?}");
    assert!(line.contains(&boxed), "the frame-time loader gives another box: {line}, expected {boxed}");
    println!("whole model: peak {} MB; query {size} bytes; {line}", peak_memory() / MEGABYTE);
}

/// The child: loads without text and generators, grounds one frame.
fn frames_only(dir: &Path) {
    let before = anonymous_memory();
    let grounder = Grounder::load_for_frames(dir, &Device::Cpu).expect("loads");
    let query = grounder.load_query(&dir.join("query.safetensors")).expect("the query of this model");
    let resident = anonymous_memory() - before;
    assert!(resident < 250 * MEGABYTE, "{resident} bytes are resident after loading for frames");
    let start = Instant::now();
    let raw = ground(&grounder, &query);
    let (mb, peak) = (resident / MEGABYTE, peak_memory() / MEGABYTE);
    println!("frames only: resident {mb} MB, one 640x640 frame in {:?}, peak {peak} MB, box {raw:?}", start.elapsed());
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
