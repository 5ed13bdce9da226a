//! Where a frame's time goes, part by part, beside what the matrix product alone would take.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use qrnet::Config;
use spotter::profile::Profile;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::engines::{Compiled, Engine};

/// Multiplications of a part, for one frame.
struct Work {
    /// As the profile names it; one part a block of a stage is summed over its blocks.
    part: String,
    macs: f64,
    /// Inside of tasks, whose times are added up over the threads.
    in_tasks: bool,
}

/// What a compiled frame multiplies in its dense layers and attentions. `text` is the number of pieces of the query,
/// `visual` that of the visual tokens that are looked at.
fn work(config: &Config, text: usize, visual: usize) -> Vec<Work> {
    let (swin, d) = (config.swin.as_ref().expect("the published model is a Swin"), config.vl.hidden_dim as f64);
    let mut parts = Vec::new();
    let mut add = |part: String, macs: f64| {
        let in_tasks = part.contains("windows/");
        parts.push(Work { part, macs, in_tasks });
    };
    let grid = |stage: usize| config.level_grid(config.canvas, stage);
    let tokens = |stage: usize| grid(stage).len() as f64;
    let channels = |stage: usize| config.stage_channels(stage) as f64;
    let patch = (3 * swin.patch_size * swin.patch_size) as f64;
    add("backbone/patch embed".into(), tokens(0) * patch * channels(0));
    for stage in 0..swin.depths.len() {
        let (n, c, depth) = (tokens(stage), channels(stage), swin.depths[stage] as f64);
        let window = |length: usize| length.next_multiple_of(swin.window_size);
        let padded = (window(grid(stage).h) * window(grid(stage).w)) as f64;
        let area = (swin.window_size * swin.window_size) as f64;
        let of = |name: &str| format!("backbone/stage {stage}/{name}");
        add(of("windows/norm"), 0.0);
        add(of("windows/qkv"), depth * padded * c * 3.0 * c);
        add(of("windows/attention"), depth * 2.0 * padded * area * c);
        add(of("windows/projection"), depth * padded * c * c);
        add(of("mlp"), depth * 2.0 * n * c * swin.mlp_ratio * c);
        // With the norm of the map and the merging of patches.
        add(of("gates"), if stage + 1 < swin.depths.len() { n / 4.0 * 4.0 * c * 2.0 * c } else { 0.0 });
    }
    let out = config.neck.out_channels as f64;
    add("neck".into(), (0..swin.depths.len()).map(|stage| tokens(stage) * channels(stage) * out).sum());
    let (s, ff) = ((1 + text + visual) as f64, config.vl.dim_feedforward as f64);
    let layers = config.vl.enc_layers as f64;
    let whole = s * d * 3.0 * d + 2.0 * s * s * d + s * d * d + 2.0 * s * d * ff;
    // In the last layer REG alone asks.
    let last = s * d * 2.0 * d + 2.0 * s * d;
    add("head".into(), visual as f64 * out * d + (layers - 1.0) * whole + last);
    parts
}

/// Multiplications a second of the matrix product that the model uses, on two threads, at a size that suits it.
fn rate() -> f64 {
    const SIDE: usize = 1536;
    let square = |seed: f32| Tensor::full(seed, (SIDE, SIDE), &Device::Cpu).expect("a matrix");
    let (a, b) = (square(0.5), square(0.25));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads");
    let once = || {
        let start = Instant::now();
        pool.install(|| a.matmul(&b)).expect("a product");
        start.elapsed()
    };
    let fastest = (0..9).map(|_| once()).min().unwrap_or(Duration::MAX);
    (SIDE * SIDE * SIDE) as f64 / fastest.as_secs_f64()
}

fn ratio(ms: f64, least: f64) -> String {
    if least > 0.0 { format!("{:.2}", ms / least) } else { String::new() }
}

/// Grounds `frames` frames and says where their time went. Takes the program's one subscriber.
pub(crate) fn table(name: &str, engine: &mut Compiled, frames: u32, trace: &Path) -> String {
    let config = engine.config().clone();
    let (pieces, visual) = engine.tokens();
    let rate = rate();
    // Buffers are filled for the first time; then frames that nobody watches.
    drop(engine.call());
    let start = Instant::now();
    (0..frames).for_each(|_| drop(engine.call()));
    let unwatched = start.elapsed().as_secs_f64() * 1e3 / f64::from(frames);
    let (profile, layer) = Profile::start(trace).expect("written");
    tracing_subscriber::registry().with(layer).init();
    let start = Instant::now();
    (0..frames).for_each(|_| drop(engine.call()));
    let frame = start.elapsed().as_secs_f64() * 1e3 / f64::from(frames);
    let parts = profile.parts();
    // Blocks of a stage are one part.
    let measured = |part: &str| -> f64 {
        let same = |path: &[String]| {
            let inner = path.iter().map(String::as_str).filter(|name| *name != "model" && !name.starts_with("block "));
            let path: Vec<&str> = inner.collect();
            path.join("/") == part
        };
        parts.iter().filter(|known| same(&known.path)).map(|known| known.busy.as_secs_f64()).sum::<f64>() * 1e3
            / f64::from(frames)
    };
    let mut text = format!(
        "### {name}, by part, 2 threads\n\nThe matrix product does {:.0} GMAC/s here; a frame takes {unwatched:.2} ms, and {frame:.2} ms while its \
         parts are recorded.\n\n\
         | part | GMAC | ms | ms of its products alone | ratio |\n|---|---|---|---|---|\n",
        rate / 1e9
    );
    let (mut all, mut bound, mut known) = (0.0, 0.0, 0.0);
    for Work { part, macs, in_tasks } in work(&config, pieces, visual) {
        let ms = measured(&part) / if in_tasks { 2.0 } else { 1.0 };
        let least = macs / rate * 1e3;
        (all, bound, known) = (all + macs, bound + least, known + ms);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {part} | {:.2} | {ms:.2} | {least:.2} | {} |", macs / 1e9, ratio(ms, least));
    }
    let _ = writeln!(text, "| everything else | | {:.2} | | |", frame - known);
    let _ = writeln!(text, "| **frame** | {:.2} | {frame:.2} | {bound:.2} | {:.2} |", all / 1e9, frame / bound);
    text
}
