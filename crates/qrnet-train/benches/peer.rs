//! One training step against PyTorch's for the same model, batch, losses and threads, in turns.
//!
//! `make bench` runs it with the packages that it fetches (target/bench-peers); without them it says so and measures nothing.
//! A step is forward, losses, backward, clipping and `AdamW`. Theirs is `benches/peer/step_torch.py`.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use blocks::text::tokenizer::QueryTokenizer;
use candle_core::Device;
use qrnet::plan::CanvasPlan;
use qrnet::{Config, QrNet, init, weights};
use qrnet_train::batch::{Collator, Prepared};
use qrnet_train::data::DataSet;
use qrnet_train::objective::{Objective, Weights};
use qrnet_train::optim::{AdamW, Settings};
use qrnet_train::scenes::{self, Art, SceneSettings, Scenes};

/// The program's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 16;
const THREADS: usize = 2;
/// Turns, and steps in each of them.
const TURNS: usize = 7;
const STEPS: usize = 6;
/// Those of `step_torch.py`.
const LOSS: Weights = Weights {
    l1: 3.0,
    giou: 2.0,
    presence: 0.5,
    token_heat: 1.0,
    neck_heat: 0.4,
    token_box: 0.5,
    attention: 0.3,
    class: 0.0,
    colour: 0.0,
};

fn say(text: &str) {
    writeln!(std::io::stdout(), "{text}").expect("written");
}

struct Ours {
    model: QrNet,
    objective: Objective,
    optimiser: AdamW,
    plan: CanvasPlan,
    batch: Prepared,
}

impl Ours {
    fn new() -> Self {
        let device = Device::Cpu;
        let text = include_str!("../../../configs/model/photographs.toml");
        let config = Config { canvases: Vec::new(), ..Config::from_toml(text, "photographs").expect("valid") };
        let tensors = init::parameters(&config, 1, &device).expect("drawn");
        let (mut vars, vb) = weights::variables(&config, &tensors, &device).expect("variables");
        let model = QrNet::new(&config, &vb).expect("builds");
        let objective = Objective::new(&config, LOSS, scenes::CLASSES, 1, &device).expect("heads");
        vars.extend(objective.heads().iter().map(|(name, var)| (name.clone(), var.clone())));
        let settings = Settings { clip: Some(1.0), ..Settings::reference() };
        let plan = CanvasPlan::new(&config, config.canvas, &device).expect("a plan");
        let tokenizer =
            QueryTokenizer::words(scenes::words(), config.max_query_len, config.bert.vocab_size).expect("words");
        let art = Arc::new(Art::load(Path::new("."), &[]).expect("shapes need no art"));
        let scenes = Scenes::new(SceneSettings { side: 256, ..SceneSettings::default() }, art, 1, BATCH);
        let examples = scenes.expect("scenes").examples(0..BATCH).expect("examples");
        let batch = Collator::new(&plan, &tokenizer).collate(&examples).expect("a batch");
        let optimiser = AdamW::new(&vars, settings).expect("an optimiser");
        Self { model, objective, optimiser, plan, batch }
    }

    /// Seconds of one step.
    fn step(&mut self) -> f64 {
        let start = Instant::now();
        let inputs = self.batch.inputs(&Device::Cpu).expect("tensors");
        let mut pass = self.objective.pass(blocks::seeded::stream(1, "bench"));
        let query = self.model.query.encode(&inputs.ids, &inputs.text_ignore, &mut pass).expect("encoded");
        let frame = &self.model.frame;
        let output =
            frame.forward(&inputs.image, &inputs.image_ignore, &query, None, &self.plan, &mut pass).expect("runs");
        let losses = self.objective.loss(&self.model, &self.plan, &self.batch, &output, pass).expect("losses");
        self.optimiser.step(&losses.total.backward().expect("backward"), 1.0).expect("a step");
        start.elapsed().as_secs_f64()
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Median seconds of a step, by PyTorch's own report.
fn theirs(root: &Path, packages: &Path) -> f64 {
    let output = Command::new("python3")
        .arg(root.join("benches/peer/step_torch.py"))
        .args(["--threads", &THREADS.to_string(), "--steps", &STEPS.to_string(), "--batch", &BATCH.to_string()])
        .args(["--token-stride", "16", "--channels-last"])
        .env("PYTHONPATH", packages)
        .output()
        .expect("python3 starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a line of JSON");
    report["seconds"].as_f64().expect("seconds")
}

fn main() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let packages = root.join("target/bench-peers");
    if !packages.join("torch").exists() {
        say("SKIPPED: a training step beside PyTorch's: target/bench-peers lacks torch (`make bench` fetches it)");
        return;
    }
    rayon::ThreadPoolBuilder::new().num_threads(THREADS).build_global().expect("no pool before");
    let mut ours = Ours::new();
    let _warm = ours.step();
    let (mut own, mut other) = (Vec::new(), Vec::new());
    for turn in 1..=TURNS {
        own.push(median((0..STEPS).map(|_| ours.step()).collect()));
        other.push(theirs(root, &packages));
        say(&format!("turn {turn}: {:.3} s, PyTorch {:.3} s", own[turn - 1], other[turn - 1]));
    }
    let ratio = median(own.iter().zip(&other).map(|(a, b)| a / b).collect());
    say(&format!("\n### a training step of the photographs' model, batch {BATCH}, {THREADS} threads, f32\n"));
    say("| | seconds (median of turns) |\n|---|---|");
    say(&format!("| Spotter | {:.3} |\n| PyTorch, eager, channels last | {:.3} |", median(own), median(other)));
    say(&format!("\nSpotter's time over PyTorch's, median of {TURNS} turns: {ratio:.2}"));
}
